//! What a process has mapped where: ranges of pages, in the order of their addresses.

use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

use super::{PAGE, Rights, USER};

/// What a mapping is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A part of the program.
    Image,
    /// Memory that the program asked for.
    Anonymous,
    /// A thread's stack.
    Stack,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Image => "image",
            Self::Anonymous => "anonymous",
            Self::Stack => "stack",
        })
    }
}

/// A range of pages that are alike.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mapping {
    /// The first address.
    pub start: u64,
    /// The first address past it.
    pub end: u64,
    /// What the process may do with it.
    pub rights: Rights,
    /// What it is for.
    pub kind: Kind,
}

impl Mapping {
    /// Its addresses.
    #[must_use]
    pub const fn range(&self) -> Range<u64> {
        self.start..self.end
    }

    fn without_end_behind(self, end: u64) -> Option<Self> {
        let end = self.end.min(end);
        (self.start < end).then_some(Self { end, ..self })
    }

    fn without_start_before(self, start: u64) -> Option<Self> {
        let start = self.start.max(start);
        (start < self.end).then_some(Self { start, ..self })
    }
}

impl fmt::Display for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            start,
            end,
            rights,
            kind,
        } = self;
        write!(f, "{start:#x}-{end:#x} {rights} {kind}")
    }
}

/// Why nothing was mapped or unmapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    /// It does not begin or end on a page.
    Unaligned,
    /// It has no bytes.
    Empty,
    /// Some of it is no address of a process.
    NotUser,
    /// Some of it is mapped already.
    Overlap,
    /// No range of addresses that are free is as long.
    NoRoom,
    /// The process has [`Mappings::MOST`] mappings.
    TooMany,
    /// There is no memory for the list.
    NoMemory,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unaligned => "the range does not begin and end on pages",
            Self::Empty => "the range is empty",
            Self::NotUser => "the range is not among the addresses of processes",
            Self::Overlap => "some of the range is mapped already",
            Self::NoRoom => "no free range of addresses is as long",
            Self::TooMany => "the process has too many mappings",
            Self::NoMemory => "there is no memory for one more mapping",
        })
    }
}

impl core::error::Error for Error {}

/// Makes sure that these are whole pages that a process may map, one at least.
///
/// # Errors
///
/// They are not.
pub const fn check(range: &Range<u64>) -> Result<(), Error> {
    if !range.start.is_multiple_of(PAGE) || !range.end.is_multiple_of(PAGE) {
        return Err(Error::Unaligned);
    }
    if range.start >= range.end {
        return Err(Error::Empty);
    }
    if range.start < USER.start || range.end > USER.end {
        return Err(Error::NotUser);
    }
    Ok(())
}

/// All mappings of a process. No two overlap.
///
/// ```
/// use kernel_core::process::Rights;
/// use kernel_core::process::mappings::{Kind, Mapping, Mappings};
///
/// let mut mappings = Mappings::new();
/// let range = mappings.find_free(3 * 4096)?;
/// let heap = Mapping {
///     start: range.start,
///     end: range.end,
///     rights: Rights::Write,
///     kind: Kind::Anonymous,
/// };
/// mappings.insert(heap)?;
/// mappings.remove(range.start + 4096..range.start + 2 * 4096, |_| {})?;
/// assert_eq!(mappings.iter().count(), 2);
/// # Ok::<_, kernel_core::process::mappings::Error>(())
/// ```
#[derive(Default, Debug)]
pub struct Mappings {
    list: Vec<Mapping>,
}

impl Mappings {
    /// The most mappings of a process.
    pub const MOST: usize = 1024;

    /// None.
    #[must_use]
    pub const fn new() -> Self {
        Self { list: Vec::new() }
    }

    /// All of them, in the order of their addresses.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Mapping> {
        self.list.iter()
    }

    /// The mapping that an address is in.
    #[must_use]
    pub fn find(&self, address: u64) -> Option<&Mapping> {
        let mapping = self.list.get(self.first_ending_after(address))?;
        mapping.range().contains(&address).then_some(mapping)
    }

    /// The number of the first mapping that ends behind an address.
    fn first_ending_after(&self, address: u64) -> usize {
        self.list.partition_point(|mapping| mapping.end <= address)
    }

    /// A range of so many bytes, rounded up to pages, that is free and has a free page on both of its
    /// sides: the highest that there is.
    ///
    /// # Errors
    ///
    /// There is none, or it would be empty.
    pub fn find_free(&self, bytes: u64) -> Result<Range<u64>, Error> {
        if bytes == 0 {
            return Err(Error::Empty);
        }
        let bytes = bytes.checked_next_multiple_of(PAGE).ok_or(Error::NoRoom)?;
        let mut end = USER.end;
        let starts = self.list.iter().rev().map(|mapping| mapping.range());
        // Below all others is room as if there were one that ends where addresses begin.
        for mapping in starts.chain(core::iter::once(0..USER.start)) {
            let lowest = mapping.end.saturating_add(PAGE);
            let start = end.checked_sub(bytes.saturating_add(PAGE));
            if let Some(start) = start.filter(|&start| start >= lowest) {
                return Ok(start..start + bytes);
            }
            end = mapping.start;
        }
        Err(Error::NoRoom)
    }

    /// Adds a mapping.
    ///
    /// # Errors
    ///
    /// It cannot be one, overlaps with another, or is one too many.
    pub fn insert(&mut self, mapping: Mapping) -> Result<(), Error> {
        check(&mapping.range())?;
        let at = self.first_ending_after(mapping.start);
        if let Some(next) = self.list.get(at)
            && next.start < mapping.end
        {
            return Err(Error::Overlap);
        }
        self.make_room()?;
        self.list.insert(at, mapping);
        Ok(())
    }

    fn make_room(&mut self) -> Result<(), Error> {
        if self.list.len() >= Self::MOST {
            return Err(Error::TooMany);
        }
        self.list.try_reserve(1).map_err(|_| Error::NoMemory)
    }

    /// Takes all out that is mapped in a range, and tells `removed` of each part of it, the lowest
    /// first. A mapping that has parts on both sides becomes two.
    ///
    /// # Errors
    ///
    /// The range cannot be mapped, or there would be too many mappings: nothing is changed then.
    pub fn remove(
        &mut self,
        range: Range<u64>,
        mut removed: impl FnMut(Mapping),
    ) -> Result<(), Error> {
        check(&range)?;
        let first = self.first_ending_after(range.start);
        let last = self.list.partition_point(|it| it.start < range.end);
        let Some(touched) = self.list.get(first..last).filter(|it| !it.is_empty()) else {
            return Ok(());
        };
        let below = touched[0].without_end_behind(range.start);
        let above = touched[touched.len() - 1].without_start_before(range.end);
        let kept = usize::from(below.is_some()) + usize::from(above.is_some());
        if kept > touched.len() {
            self.make_room()?;
        }
        let parts = below.into_iter().chain(above);
        for mapping in self.list.splice(first..last, parts) {
            let end = mapping.end.min(range.end);
            let start = mapping.start.max(range.start);
            removed(Mapping {
                start,
                end,
                ..mapping
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    const BASE: u64 = 0x4000_0000;

    fn pages(range: Range<u64>) -> Range<u64> {
        BASE + range.start * PAGE..BASE + range.end * PAGE
    }

    fn mapping(range: Range<u64>, rights: Rights) -> Mapping {
        let Range { start, end } = pages(range);
        Mapping {
            start,
            end,
            rights,
            kind: Kind::Anonymous,
        }
    }

    #[test]
    fn a_hole_makes_two_of_one() {
        let mut mappings = Mappings::new();
        mappings.insert(mapping(0..10, Rights::Write)).unwrap();
        let mut removed = Vec::new();
        mappings
            .remove(pages(4..6), |part| removed.push(part))
            .unwrap();
        assert_eq!(removed, [mapping(4..6, Rights::Write)]);
        let left: Vec<_> = mappings.iter().copied().collect();
        assert_eq!(
            left,
            [mapping(0..4, Rights::Write), mapping(6..10, Rights::Write)]
        );
        assert_eq!(mappings.find(BASE + 4 * PAGE - 1), Some(&left[0]));
        assert_eq!(mappings.find(BASE + 4 * PAGE), None);
        assert_eq!(mappings.find(BASE + 6 * PAGE - 1), None);
        assert_eq!(mappings.find(BASE + 6 * PAGE), Some(&left[1]));
    }

    #[test]
    fn several_are_removed_at_once() {
        let mut mappings = Mappings::new();
        for range in [0..2, 3..5, 6..9] {
            mappings.insert(mapping(range, Rights::Read)).unwrap();
        }
        let mut removed = Vec::new();
        mappings
            .remove(pages(1..7), |part| removed.push(part.range()))
            .unwrap();
        assert_eq!(removed, [pages(1..2), pages(3..5), pages(6..7)]);
        let left: Vec<_> = mappings.iter().map(Mapping::range).collect();
        assert_eq!(left, [pages(0..1), pages(7..9)]);
        // Nothing is there: nothing is done.
        mappings.remove(pages(1..7), |_| panic!("removed")).unwrap();
    }

    #[test]
    fn what_cannot_be_mapped_is_refused() {
        let mut mappings = Mappings::new();
        let mut insert = |start, end| {
            mappings.insert(Mapping {
                start,
                end,
                rights: Rights::Read,
                kind: Kind::Image,
            })
        };
        assert_eq!(insert(BASE + 1, BASE + PAGE), Err(Error::Unaligned));
        assert_eq!(insert(BASE, BASE + 1), Err(Error::Unaligned));
        assert_eq!(insert(BASE, BASE), Err(Error::Empty));
        assert_eq!(insert(BASE + PAGE, BASE), Err(Error::Empty));
        assert_eq!(insert(0, PAGE), Err(Error::NotUser));
        assert_eq!(insert(USER.start - PAGE, USER.end), Err(Error::NotUser));
        assert_eq!(insert(BASE, USER.end + PAGE), Err(Error::NotUser));
        assert_eq!(insert(BASE, u64::MAX - PAGE + 1), Err(Error::NotUser));
        assert_eq!(insert(USER.start, USER.start + PAGE), Ok(()));
        assert_eq!(insert(USER.end - PAGE, USER.end), Ok(()));
        assert_eq!(insert(USER.start, USER.end), Err(Error::Overlap));
        assert_eq!(
            mappings.remove(USER.start..USER.end + PAGE, |_| {}),
            Err(Error::NotUser)
        );
    }

    #[test]
    fn free_ranges_have_a_free_page_on_both_sides() {
        let mut mappings = Mappings::new();
        let mut map = |bytes| {
            let range = mappings.find_free(bytes)?;
            let Range { start, end } = range.clone();
            let (rights, kind) = (Rights::Write, Kind::Stack);
            mappings.insert(Mapping {
                start,
                end,
                rights,
                kind,
            })?;
            Ok(range)
        };
        let first = USER.end - 2 * PAGE..USER.end - PAGE;
        assert_eq!(map(1), Ok(first.clone()));
        assert_eq!(
            map(2 * PAGE),
            Ok(first.start - 3 * PAGE..first.start - PAGE)
        );
        assert_eq!(map(0), Err(Error::Empty));
        assert_eq!(map(u64::MAX), Err(Error::NoRoom));
        assert_eq!(map(USER.end), Err(Error::NoRoom));
        // All that is left, without a page on each side.
        let left = first.start - 3 * PAGE - USER.start - 2 * PAGE;
        assert_eq!(map(left + 1), Err(Error::NoRoom));
        let whole = USER.start + PAGE..USER.start + PAGE + left;
        assert_eq!(map(left), Ok(whole));
        assert_eq!(map(1), Err(Error::NoRoom));
    }

    #[test]
    fn there_is_an_end_to_mappings() {
        let mut mappings = Mappings::new();
        let most = Mappings::MOST as u64;
        for number in 0..most - 1 {
            let range = 3 * number..3 * number + 1;
            mappings.insert(mapping(range, Rights::Read)).unwrap();
        }
        let last = mapping(3 * most..3 * most + 3, Rights::Read);
        mappings.insert(last).unwrap();
        let one_more = mapping(3 * most + 4..3 * most + 5, Rights::Read);
        assert_eq!(mappings.insert(one_more), Err(Error::TooMany));
        // A hole in one makes one more; a shorter one does not.
        let middle = pages(3 * most + 1..3 * most + 2);
        let refused = mappings.remove(middle, |_| panic!("removed"));
        assert_eq!(refused, Err(Error::TooMany));
        assert_eq!(mappings.find(last.start), Some(&last));
        mappings
            .remove(pages(3 * most..3 * most + 1), |_| {})
            .unwrap();
        assert_eq!(mappings.list.len(), Mappings::MOST);
    }

    proptest! {
        /// Against a plain table of pages.
        #[test]
        fn mappings_are_what_a_table_of_pages_says(
            steps in proptest::collection::vec((0..3_u8, 0..40_u64, 1..12_u64, 0..3_u8), 1..60)
        ) {
            let mut mappings = Mappings::new();
            let mut table = BTreeMap::new();
            for (what, start, length, rights) in steps {
                let rights = [Rights::Read, Rights::Write, Rights::Execute][usize::from(rights)];
                let range = start..start + length;
                if what == 0 {
                    let mut gone = Vec::new();
                    mappings.remove(pages(range.clone()), |part| gone.push(part)).unwrap();
                    let mut told = Vec::new();
                    for part in gone {
                        let pages = (part.start - BASE) / PAGE..(part.end - BASE) / PAGE;
                        told.extend(pages.map(|page| (page, part.rights)));
                    }
                    let mut expected = Vec::new();
                    for page in range {
                        expected.extend(table.remove(&page).map(|rights| (page, rights)));
                    }
                    prop_assert_eq!(told, expected);
                } else {
                    let is_free = range.clone().all(|page| !table.contains_key(&page));
                    let inserted = mappings.insert(mapping(range.clone(), rights));
                    prop_assert_eq!(inserted.is_ok(), is_free);
                    if is_free {
                        table.extend(range.map(|page| (page, rights)));
                    }
                }
                for page in 0..60 {
                    let found = mappings.find(BASE + page * PAGE + PAGE / 2);
                    prop_assert_eq!(found.map(|it| it.rights), table.get(&page).copied());
                }
                let list: Vec<_> = mappings.iter().collect();
                prop_assert!(list.windows(2).all(|pair| pair[0].end <= pair[1].start));
            }
        }

        /// What is found can be mapped, and its neighbours are free.
        #[test]
        fn what_is_found_is_free(
            taken in proptest::collection::vec((0..0x7_ffff_ffff_u64, 1..0x1_0000_0000_u64), 0..12),
            bytes in 1..0x7fff_0000_0000_u64,
        ) {
            let mut mappings = Mappings::new();
            for (page, count) in taken {
                let _ = mappings.insert(Mapping {
                    start: page * PAGE,
                    end: (page + count) * PAGE,
                    rights: Rights::Read,
                    kind: Kind::Anonymous,
                });
            }
            if let Ok(range) = mappings.find_free(bytes) {
                prop_assert_eq!(range.end - range.start, bytes.next_multiple_of(PAGE));
                let (start, end) = (range.start - PAGE, range.end + PAGE);
                prop_assert!(start >= USER.start && end <= USER.end);
                let (rights, kind) = (Rights::Write, Kind::Stack);
                prop_assert_eq!(mappings.insert(Mapping { start, end, rights, kind }), Ok(()));
            }
        }
    }
}
