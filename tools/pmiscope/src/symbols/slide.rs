//! How far the kernel's text was moved from where its ELF file has it: by a boot loader that
//! chooses an address at random (KASLR), or one of its own for code that can lie anywhere (PIE).
//!
//! What runs has [`CodeAddress`]es; what the ELF file says is about [`LinkAddress`]es. Nothing
//! but a [`Slide`] makes one of the other.

use std::ops::Range;

use object::{Object as _, ObjectSection as _, ObjectSegment as _, ObjectSymbol as _};
use profiler::address::{CodeAddress, CodeRange};

use super::elf::{Elf, is_code};

/// What memory is mapped by, and so what text is moved by multiples of.
const PAGE: u64 = 4096;

/// An address as the ELF file has it: of a symbol, of debug information, of code.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LinkAddress(pub u64);

/// How far text was moved.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Slide {
    /// What is added to a link-time address, modulo 2⁶⁴; `None` if that cannot be told.
    distance: Option<u64>,
    /// What the ELF file maps as executable; nothing if there is none.
    text: Vec<Range<LinkAddress>>,
}

impl Slide {
    /// That of an ELF file that runs where it was linked for.
    pub(super) fn none(elf: &Elf<'_>) -> Self {
        Self {
            distance: Some(0),
            text: text(elf),
        }
    }

    /// That of an ELF file whose text was `run` when it ran. The symbols of `named` are its.
    pub(super) fn of_run<'a>(
        elf: &Elf<'_>,
        mut named: impl Iterator<Item = &'a Elf<'a>>,
        run: CodeRange,
    ) -> Self {
        let text = text(elf);
        let contains = |text: &Range<LinkAddress>| {
            run.start.0 <= text.start.0 && text.end.0 <= run.end.0 && !text.is_empty()
        };
        let distance = if !text.is_empty() && text.iter().all(contains) {
            // A range that is larger than all text says nothing else.
            Some(0)
        } else {
            let is_possible = |&distance: &u64| is_possible(distance, &text);
            let by_symbols = named.find_map(|elf| of_fragment(elf, run));
            by_symbols
                .filter(is_possible)
                .or_else(|| of_sections(elf, run).filter(is_possible))
        };
        Self { distance, text }
    }

    /// That of a profile which has no ELF file.
    pub(super) fn recorded(distance: Option<u64>, text: &[(u64, u64)]) -> Self {
        let range = |&(start, end): &(u64, u64)| LinkAddress(start)..LinkAddress(end);
        Self {
            distance,
            text: text.iter().map(range).collect(),
        }
    }

    /// What the ELF file maps as executable.
    pub(super) fn text_ranges(&self) -> Vec<(u64, u64)> {
        let ranges = self.text.iter();
        ranges.map(|range| (range.start.0, range.end.0)).collect()
    }

    /// What is added to an address of the ELF file; `None` if that cannot be told, and
    /// addresses are taken as they are.
    #[must_use]
    pub fn distance(&self) -> Option<u64> {
        self.distance
    }

    /// Returns true if there is an ELF file with code.
    #[must_use]
    pub fn has_text(&self) -> bool {
        !self.text.is_empty()
    }

    /// Where the ELF file has what ran at `address`. Where text was moved, nothing else of
    /// the file is at its own address.
    #[must_use]
    pub fn link(&self, address: CodeAddress) -> Option<LinkAddress> {
        match self.distance {
            None | Some(0) => Some(LinkAddress(address.0)),
            Some(distance) => {
                let link = LinkAddress(address.0.wrapping_sub(distance));
                self.is_text(link).then_some(link)
            }
        }
    }

    /// Where ran what the ELF file has at `address`.
    #[must_use]
    pub fn run(&self, address: LinkAddress) -> CodeAddress {
        CodeAddress(address.0.wrapping_add(self.distance.unwrap_or(0)))
    }

    /// Returns true if the ELF file has code that ran at `address`.
    #[must_use]
    pub fn has_code_at(&self, address: CodeAddress) -> bool {
        self.link(address).is_some_and(|link| self.is_text(link))
    }

    /// Returns true if all code of the ELF file ran in this range.
    #[must_use]
    pub fn is_within(&self, range: CodeRange) -> bool {
        self.text.iter().all(|text| {
            let [start, end] = [text.start, text.end].map(|address| self.run(address));
            range.start <= start && end <= range.end
        })
    }

    /// The address by which reports name what ran at `address`: the ELF file's, which other
    /// tools know. A return address may be the first one behind all code.
    #[must_use]
    pub fn shown(&self, address: CodeAddress) -> u64 {
        let before = CodeAddress(address.0.wrapping_sub(1));
        let behind = || Some(self.link(before)?.0.wrapping_add(1));
        let link = self.link(address).map(|link| link.0);
        link.or_else(behind).unwrap_or(address.0)
    }

    fn is_text(&self, address: LinkAddress) -> bool {
        self.text.iter().any(|text| text.contains(&address))
    }
}

/// The addresses of the executable segments.
fn text(elf: &Elf<'_>) -> Vec<Range<LinkAddress>> {
    elf.segments()
        .filter(|segment| segment.permissions().executable())
        .map(|segment| range(segment.address(), segment.size()))
        .collect()
}

fn range(start: u64, size: u64) -> Range<LinkAddress> {
    LinkAddress(start)..LinkAddress(start.saturating_add(size))
}

/// Returns true if text can have been moved so far: by whole pages, to where there are
/// addresses.
fn is_possible(distance: u64, text: &[Range<LinkAddress>]) -> bool {
    // The half of the address space in which an address is, at 57 bits of it.
    let half = |address: u64| match address >> 56 {
        0 => Some(false),
        0xff => Some(true),
        _ => None,
    };
    let is_somewhere = |text: &Range<LinkAddress>| {
        let [first, last] = [text.start.0, text.end.0.wrapping_sub(1)];
        let [first, last] = [first, last].map(|it| it.wrapping_add(distance));
        first <= last && half(first).is_some() && half(first) == half(last)
    };
    distance.is_multiple_of(PAGE) && text.iter().all(is_somewhere)
}

/// The distance by the symbols of the library's linker fragment, from which the library takes
/// the text that it describes.
fn of_fragment(elf: &Elf<'_>, run: CodeRange) -> Option<u64> {
    let at = |name: &str| {
        let mut symbols = elf.symbols();
        let symbol = symbols.find(|symbol| symbol.name() == Ok(name))?;
        Some(symbol.address())
    };
    let [start, end] = ["__pmiscope_text_start", "__pmiscope_text_end"].map(at);
    let [from_start, from_end] = [(run.start.0, start?), (run.end.0, end?)]
        .map(|(run, linked): (u64, u64)| run.wrapping_sub(linked));
    (from_start == from_end).then_some(from_start)
}

/// The distance by what has the same size: an executable segment, or executable sections
/// from one to another, perhaps up to a whole page. `None` if nothing has, or if that would
/// be several distances; but what is in its place was not moved.
fn of_sections(elf: &Elf<'_>, run: CodeRange) -> Option<u64> {
    let size = run
        .end
        .0
        .checked_sub(run.start.0)
        .filter(|&size| size > 0)?;
    let mut sections: Vec<_> = elf
        .sections()
        .filter(|section| is_code(section) && section.size() > 0)
        .map(|section| (section.address(), section.address() + section.size()))
        .collect();
    sections.sort_unstable();
    let spans = (0..sections.len()).flat_map(|first| {
        let from = &sections[first..];
        let start = sections[first].0;
        from.iter().map(move |&(_, end)| (start, end))
    });
    let segments = text(elf).into_iter();
    let segments = segments.map(|text| (text.start.0, text.end.0));
    let mut found = None;
    for (start, end) in spans.chain(segments) {
        let sizes = [end, end.next_multiple_of(PAGE)].map(|end| end.wrapping_sub(start));
        let distance = run.start.0.wrapping_sub(start);
        if sizes.contains(&size) && distance.is_multiple_of(PAGE) {
            if distance == 0 {
                return Some(0);
            }
            if found.is_some_and(|found| found != distance) {
                return None;
            }
            found = Some(distance);
        }
    }
    found
}
