//! Cuts a region into blocks, each of which can be read without the others.

use core::sync::atomic::{AtomicU64 as PlainAtomicU64, Ordering};

use super::crc::Crc;
use super::frame::{Frame, Kind, Number, PAYLOAD, Part};
use super::pack::{TABLE, TooLong, pack};
use crate::address::CodeRange;
use crate::format::expand::{self, GAP_UNITS, MAX_UNITS};
use crate::format::region::{PAGE, Region};
use crate::format::ring::place_of;
use crate::format::sample::compact::Context;
use crate::format::table::{Coder, MAX_ENTRY, MOST_BYTES};
use crate::format::{RecordHead, kind};
use crate::sync;

/// The most bytes that a block holds, unpacked.
const RAW: usize = PAGE;
/// What is tried first of records: a little more than usually fits.
const FIRST_TRY: usize = 5 * PAYLOAD;
/// How often another length is tried.
const TRIES: usize = 6;
/// The least by which another length differs: about the shortest record.
const LEAST_STEP: usize = 40;
/// The units of a block of what is no record. The reader stops at the first of them.
const CORRUPT_UNITS: u64 = 16;
const UNIT: usize = 4;
/// What is tried first of a table's entries, of which hardly anything repeats.
const FIRST_TRY_ENTRIES: usize = PAYLOAD * 5 / 4;

/// An entry fits as it is.
const _: () = assert!(MOST_BYTES <= PAYLOAD);

/// The memory that cutting takes.
pub(super) struct Scratch {
    raw: [u8; RAW],
    table: [u16; TABLE],
}

impl Scratch {
    pub(super) const fn new() -> Self {
        Self {
            raw: [0; RAW],
            table: [0; TABLE],
        }
    }
}

/// Where the next block begins.
#[derive(Clone, Copy, Debug)]
struct Place {
    part: Part,
    /// Of records: what the reader knows by then.
    context: Option<Context>,
}

/// The blocks of a region that nobody writes to, always the same ones.
pub(super) struct Blocks<'a, 'region> {
    region: &'a Region<'region>,
    scratch: &'a mut Scratch,
    /// `None` behind the last block.
    next: Option<Place>,
    block: u32,
}

/// How much of what is there is taken, and what is known behind it.
struct Gathered {
    bytes: usize,
    /// The same as the parts' positions count it.
    taken: u64,
    context: Option<Context>,
    /// What follows is no record: nobody reads on there.
    is_corrupt: bool,
}

impl<'a, 'region> Blocks<'a, 'region> {
    pub(super) fn new(region: &'a Region<'region>, scratch: &'a mut Scratch) -> Self {
        let part = Part {
            kind: Kind::Header,
            core: 0,
            position: 0,
        };
        Self {
            region,
            scratch,
            next: Some(Place {
                part,
                context: None,
            }),
            block: 0,
        }
    }

    /// What the numbers of the region's blocks have in common.
    pub(super) fn count(region: &Region<'_>, scratch: &mut Scratch) -> Number {
        let mut blocks = Blocks::new(region, scratch);
        let mut crc = Crc::new();
        let mut number = Number::default();
        while let Some(frame) = blocks.next(number) {
            crc = crc.add(frame.payload());
            number.of += 1;
        }
        number.run = crc.value();
        number
    }

    /// The next block.
    #[inline(never)]
    pub(super) fn next(&mut self, all: Number) -> Option<Frame> {
        // A ring or a table may have nothing.
        while self.next.is_some_and(|place| self.left(place.part) == 0) {
            self.next = self.part_behind(self.next?.part);
        }
        let place = self.next?;
        let number = Number {
            block: self.block,
            ..all
        };
        self.block += 1;
        let mut frame = Frame::empty(place.part.kind, number);
        frame.part = place.part;
        frame.context = place.context;
        let gathered = self.fill(place, &mut frame);
        #[allow(clippy::cast_possible_truncation)] // at most a page
        {
            frame.raw_len = gathered.bytes as u16;
        }
        let mut part = place.part;
        part.position += gathered.taken;
        self.next = if gathered.is_corrupt {
            self.part_behind(part)
        } else {
            let context = gathered.context;
            Some(Place { part, context })
        };
        Some(frame)
    }

    /// What follows a part that was cut to its end.
    fn part_behind(&self, part: Part) -> Option<Place> {
        let cores = u16::try_from(self.region.cores()).unwrap_or(u16::MAX);
        let (kind, core) = match part.kind {
            Kind::Header => (Kind::Page, 0),
            Kind::Page if part.core + 1 == cores => (Kind::Ring, 0),
            Kind::Ring if part.core + 1 == cores && self.region.has_tables() => (Kind::Table, 0),
            kind => (kind, part.core + 1),
        };
        if core >= cores {
            return None;
        }
        if kind != Kind::Ring {
            let position = 0;
            let part = Part {
                kind,
                core,
                position,
            };
            let context = None;
            return Some(Place { part, context });
        }
        let position = self.region.reader(core.into()).position();
        let control = self.region.control(core.into());
        Some(Place {
            part: Part {
                kind,
                core,
                position,
            },
            context: control.context(position),
        })
    }

    /// The entry of a table with this number in its order; `None` of all else.
    fn entry(&self, part: Part) -> Option<&'region [PlainAtomicU64]> {
        let is_table = part.kind == Kind::Table;
        let table = is_table.then(|| self.region.table(part.core.into()))??;
        table.sorted(part.position)
    }

    /// How much there is from there on: bytes of a page, units of a ring, an entry of a table.
    fn left(&self, part: Part) -> u64 {
        let core = part.core.into();
        match part.kind {
            Kind::Ring => {}
            Kind::Table => return self.entry(part).map_or(0, |_| 1),
            _ => return PAGE as u64 - part.position,
        }
        let tail = self.region.reader(core).position();
        let unread = self.region.control(core).unread();
        // A wild one has no records.
        let is_wild = unread > self.region.ring_data(core).len() as u64;
        if is_wild || tail.checked_add(unread).is_none() {
            return 0;
        }
        unread.saturating_sub(part.position.wrapping_sub(tail))
    }

    /// Fills the frame with as much as fits, but a record at least.
    #[inline(never)]
    fn fill(&mut self, place: Place, frame: &mut Frame) -> Gathered {
        let limit = self.limit(place, frame);
        let gathered = self.gather(place, limit);
        let raw = &self.scratch.raw[..gathered.bytes];
        match pack(raw, &mut self.scratch.table, &mut frame.payload) {
            Ok(len) => {
                frame.is_packed = true;
                set_len(frame, len);
            }
            // As it is: what is longer is a filler, which packs.
            Err(_) if raw.len() <= PAYLOAD => {
                frame.payload[..raw.len()].copy_from_slice(raw);
                set_len(frame, raw.len());
            }
            Err(_) => set_len(frame, 0),
        }
        gathered
    }

    /// About the most bytes that fit when they are packed, found by trying.
    #[inline(never)]
    fn limit(&mut self, place: Place, frame: &mut Frame) -> usize {
        let (mut fits, mut too_long) = (PAYLOAD, usize::MAX);
        let mut limit = match place.part.kind {
            Kind::Table => FIRST_TRY_ENTRIES,
            _ => FIRST_TRY,
        };
        for _ in 0..TRIES {
            let gathered = self.gather(place, limit);
            if gathered.bytes == fits {
                break;
            }
            let raw = &self.scratch.raw[..gathered.bytes];
            match pack(raw, &mut self.scratch.table, &mut frame.payload) {
                Ok(len) => {
                    fits = gathered.bytes;
                    // As many bytes more as the room that is left is for.
                    let more = (PAYLOAD - len) * fits / len.max(1);
                    limit = fits + more;
                    if more < LEAST_STEP {
                        break;
                    }
                }
                Err(TooLong(fit)) => {
                    too_long = gathered.bytes;
                    limit = fit;
                }
            }
            limit = limit.min(too_long.saturating_sub(LEAST_STEP));
            if limit <= fits {
                break;
            }
        }
        fits
    }

    /// Copies what lies there to the scratch memory: at most `limit` bytes of it, but a record at
    /// least, and whole records only.
    fn gather(&mut self, place: Place, limit: usize) -> Gathered {
        let limit = limit.min(RAW);
        match place.part.kind {
            Kind::Ring => self.gather_records(place, limit),
            Kind::Table => self.gather_entries(place, limit),
            Kind::Page => {
                self.gather_page(self.region.page_words(place.part.core.into()), place, limit)
            }
            _ => self.gather_page(self.region.header_words(), place, limit),
        }
    }

    fn gather_page(&mut self, words: &[PlainAtomicU64], place: Place, limit: usize) -> Gathered {
        // Below a page, which has whole words.
        let start = usize::try_from(place.part.position).unwrap_or(PAGE) / 8;
        let places = self.scratch.raw[..limit / 8 * 8].as_chunks_mut().0;
        let mut bytes = 0;
        for (to, word) in places.iter_mut().zip(&words[start..]) {
            *to = word.load(Ordering::Relaxed).to_le_bytes();
            bytes += to.len();
        }
        Gathered {
            bytes,
            taken: bytes as u64,
            context: None,
            is_corrupt: false,
        }
    }

    #[inline(never)]
    fn gather_records(&mut self, place: Place, limit: usize) -> Gathered {
        let data = self.region.ring_data(place.part.core.into());
        let end = place.part.position + self.left(place.part);
        let mut gathered = Gathered {
            bytes: 0,
            taken: 0,
            context: place.context,
            is_corrupt: false,
        };
        loop {
            let taken = gathered.bytes / UNIT;
            let at = place.part.position + gathered.taken;
            if at == end {
                return gathered;
            }
            let Some(record) = Record::at(data, at, end, gathered.context, self.region.text())
            else {
                if taken == 0 {
                    gathered.bytes = self.gather_corrupt(data, at, end);
                    gathered.taken = (gathered.bytes / UNIT) as u64;
                    gathered.is_corrupt = true;
                }
                return gathered;
            };
            let bytes = (taken + record.len) * UNIT;
            // In place of a block that is missing there has to be room for a gap.
            if bytes > limit && taken >= GAP_UNITS {
                return gathered;
            }
            put(&mut self.scratch.raw[gathered.bytes..bytes], &record.units);
            gathered.bytes = bytes;
            gathered.taken += record.len as u64;
            gathered.context = record.context;
        }
    }

    /// Codes entries of a table that follow each other in its order.
    #[inline(never)]
    fn gather_entries(&mut self, place: Place, limit: usize) -> Gathered {
        let mut gathered = Gathered {
            bytes: 0,
            taken: 0,
            context: None,
            is_corrupt: false,
        };
        let mut coder = Coder::default();
        let mut part = place.part;
        while let Some(entry) = self.entry(part) {
            let mut copy = [0; MAX_ENTRY];
            for (to, word) in copy.iter_mut().zip(entry) {
                *to = word.load(Ordering::Relaxed);
            }
            let room = &mut self.scratch.raw[gathered.bytes..limit];
            let Some(bytes) = coder.write(&copy[..entry.len()], room) else {
                break;
            };
            gathered.bytes += bytes;
            gathered.taken += 1;
            part.position += 1;
        }
        gathered
    }

    /// Copies units that are no record, for the reader to stop there.
    fn gather_corrupt(&mut self, data: &[sync::AtomicU32], at: u64, end: u64) -> usize {
        let mut bytes = 0;
        for position in at..end.min(at + CORRUPT_UNITS) {
            put(
                &mut self.scratch.raw[bytes..][..UNIT],
                &[unit(data, position)],
            );
            bytes += UNIT;
        }
        bytes
    }
}

/// A record of a ring.
pub(in crate::format) struct Record {
    pub(in crate::format) units: [u32; MAX_UNITS],
    pub(in crate::format) len: usize,
    /// What is known behind it.
    pub(in crate::format) context: Option<Context>,
}

impl Record {
    /// The record at a position; `None` if it is none, or does not end before `end`.
    pub(in crate::format) fn at(
        data: &[sync::AtomicU32],
        at: u64,
        end: u64,
        context: Option<Context>,
        text: CodeRange,
    ) -> Option<Self> {
        let head = RecordHead::from_unit(unit(data, at));
        if u64::from(head.units) > end - at {
            return None;
        }
        let mut units = [0; MAX_UNITS];
        let len = usize::from(head.units);
        // The rest of a filler may be anything.
        let copied = if head.kind == kind::FILLER { 1 } else { len };
        for (position, place) in (at..).zip(&mut units[..copied.min(len)]) {
            *place = unit(data, position);
        }
        let context = expand::behind(&units[..len], context, text)?.context();
        Some(Self {
            units,
            len,
            context,
        })
    }
}

fn put(place: &mut [u8], units: &[u32]) {
    for (bytes, unit) in place.as_chunks_mut().0.iter_mut().zip(units) {
        *bytes = unit.to_le_bytes();
    }
}

fn unit(data: &[sync::AtomicU32], position: u64) -> u32 {
    data[place_of(position, data.len())].load(sync::Ordering::Relaxed)
}

#[allow(clippy::cast_possible_truncation)] // at most the payload's
fn set_len(frame: &mut Frame, len: usize) {
    frame.packed_len = len as u16;
    frame.payload[len..].fill(0);
}
