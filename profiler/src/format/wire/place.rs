//! Puts the blocks that have arrived of a ring where they were.

use super::frame::{Frame, Kind};
use crate::format::expand::{GAP_UNITS, MAX_UNITS, gap};
use crate::format::region::{PAGE, Region};
use crate::format::ring::place_of;
use crate::format::table::{Coder, Table};
use crate::format::{RecordHead, further, kind};
use crate::sync::Ordering;

/// A block that cannot lie there.
///
/// ```
/// use profiler::format::wire::Misplaced;
///
/// let says = "a block of a ring does not fit where it says it lies";
/// assert_eq!(Misplaced.to_string(), says);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Misplaced;

impl core::fmt::Display for Misplaced {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("a block of a ring does not fit where it says it lies")
    }
}

impl core::error::Error for Misplaced {}

/// A ring that is made of the blocks of it that have arrived. What is missing between two becomes
/// a gap, behind which compact samples are read by what the block says.
///
/// ```
/// use profiler::format::region::Region;
/// use profiler::format::wire::{Frame, Misplaced, RingBlocks};
///
/// fn place(region: &Region<'_>, blocks: &[(Frame, Vec<u8>)]) -> Result<(), Misplaced> {
///     let mut ring = RingBlocks::new(region, 0, None);
///     for (frame, unpacked) in blocks {
///         ring.add(frame, unpacked)?;
///     }
///     ring.end();
///     Ok(())
/// }
/// ```
pub struct RingBlocks<'a, 'region> {
    region: &'a Region<'region>,
    core: u32,
    /// Whether the ring has a beginning: its page has said where, or a block.
    is_begun: bool,
    tail: u64,
    next: u64,
    records: u64,
}

impl<'a, 'region> RingBlocks<'a, 'region> {
    /// The ring of `core`, of which all is zeros, with its page, if that has arrived.
    ///
    /// # Panics
    ///
    /// If there is no such core.
    #[must_use]
    pub fn new(region: &'a Region<'region>, core: u32, page: Option<&[u8; PAGE]>) -> Self {
        let bytes = page.map_or(&[][..], |page| page.as_chunks().0);
        for (word, bytes) in region.page_words(core).iter().zip(bytes) {
            word.store(u64::from_le_bytes(*bytes), Ordering::Relaxed);
        }
        let tail = region.reader(core).position();
        Self {
            region,
            core,
            is_begun: region.control(core).unread() != 0,
            tail,
            next: tail,
            records: 0,
        }
    }

    /// Puts a block there. They come by their positions.
    ///
    /// # Errors
    ///
    /// [`Misplaced`] if it is of something else, lies on another one, or behind the ring's end.
    pub fn add(&mut self, frame: &Frame, unpacked: &[u8]) -> Result<(), Misplaced> {
        let (units, rest) = unpacked.as_chunks();
        let at = frame.part.position;
        let is_of_ring = frame.part.kind == Kind::Ring && u32::from(frame.part.core) == self.core;
        if !is_of_ring || !rest.is_empty() {
            return Err(Misplaced);
        }
        if !self.is_begun {
            (self.is_begun, self.tail, self.next) = (true, at, at);
            self.region.control(self.core).advance(0, at, frame.context);
        }
        let missing = at.checked_sub(self.next).ok_or(Misplaced)?;
        let end = at.checked_add(units.len() as u64).ok_or(Misplaced)?;
        let has_room = end - self.tail <= self.region.ring_data(self.core).len() as u64;
        if !has_room || (missing != 0 && missing < GAP_UNITS as u64) {
            return Err(Misplaced);
        }
        if missing != 0 {
            self.leave_gap(at, frame);
        }
        for (position, unit) in (at..).zip(units) {
            self.put(position, u32::from_le_bytes(*unit));
        }
        self.next = end;
        self.records += records(units);
        Ok(())
    }

    /// The records in the blocks so far, each sample one.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.records
    }

    /// The ring ends behind the last block.
    pub fn end(self) {
        self.region.control(self.core).set_head(self.next);
    }

    /// Fills what is missing before a block.
    fn leave_gap(&mut self, until: u64, frame: &Frame) {
        for unit in gap(frame.context) {
            self.put(self.next, unit);
            self.next += 1;
        }
        while self.next < until {
            let units = (until - self.next).min(MAX_UNITS as u64);
            let [units_byte, ..] = units.to_le_bytes();
            let head = u32::from(units_byte) | u32::from(kind::FILLER) << 8;
            self.put(self.next, head);
            self.next += units;
        }
    }

    fn put(&self, position: u64, unit: u32) {
        let data = self.region.ring_data(self.core);
        data[place_of(position, data.len())].store(unit, Ordering::Relaxed);
    }
}

/// A table that is made of the blocks of it that have arrived.
///
/// ```
/// use profiler::format::region::Region;
/// use profiler::format::wire::{Frame, Misplaced, TableBlocks};
///
/// fn counted(region: &Region<'_>, blocks: &[(Frame, Vec<u8>)]) -> Result<u64, Misplaced> {
///     let mut table = TableBlocks::new(region, 0);
///     for (frame, unpacked) in blocks {
///         table.add(frame, unpacked)?;
///     }
///     Ok(table.samples())
/// }
/// ```
pub struct TableBlocks<'region> {
    table: Option<Table<'region>>,
    core: u32,
    samples: u64,
}

impl<'region> TableBlocks<'region> {
    /// The table of `core`, without an entry; that of a region without tables takes none.
    ///
    /// # Panics
    ///
    /// If there is no such core.
    #[must_use]
    pub fn new(region: &Region<'region>, core: u32) -> Self {
        let table = region.table(core);
        if let Some(table) = &table {
            table.clear();
        }
        Self {
            table,
            core,
            samples: 0,
        }
    }

    /// Adds the entries of a block.
    ///
    /// # Errors
    ///
    /// [`Misplaced`] if it is of something else, or does not fit.
    pub fn add(&mut self, frame: &Frame, unpacked: &[u8]) -> Result<(), Misplaced> {
        let is_of_table = frame.part.kind == Kind::Table && u32::from(frame.part.core) == self.core;
        let table = self.table.filter(|_| is_of_table).ok_or(Misplaced)?;
        let (mut coder, mut rest) = (Coder::default(), unpacked);
        while !rest.is_empty() {
            let (count, key) = coder.read(&mut rest).ok_or(Misplaced)?;
            table.put(count, key.words()).map_err(|_| Misplaced)?;
            self.samples = self.samples.saturating_add(count);
        }
        Ok(())
    }

    /// The samples that the entries so far have counted.
    #[must_use]
    pub fn samples(&self) -> u64 {
        self.samples
    }
}

/// The records in the units of a block.
fn records(mut units: &[[u8; 4]]) -> u64 {
    let mut records = 0;
    while let [head, ..] = units {
        let head = u32::from_le_bytes(*head);
        let RecordHead { kind, units: len } = RecordHead::from_unit(head);
        // What is no record counts as none; the reader stops there.
        let rest = units.get(usize::from(len)..).filter(|_| len > 0);
        let Some(rest) = rest else {
            break;
        };
        if kind != kind::FILLER {
            records += 1 + further::count(head) as u64;
        }
        units = rest;
    }
    records
}
