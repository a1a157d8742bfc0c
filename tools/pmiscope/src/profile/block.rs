//! A block: samples of all cores, as columns.
//!
//! The samples of each core are together, oldest first: a *segment*. What is coded as a
//! difference to the sample before has what came before the block in columns of its segment,
//! so that each block can be read without the others.
//!
//! ```text
//! core, count          of each segment: whose it is, the number of its samples
//! next, since, slots   of each segment: the sequence number that follows the sample before the
//!                      block, the time of that, the slot of its stack pointer; 0 if there is none
//! stack                by its number in the table of stacks
//! task, event, period, cost
//! gap                  the sequence number, − the one that follows the sample before (modulo 2³²)
//! time                 − the time before − period − cost
//! slot                 of the stack pointer, above its low bits, − the one before
//! low                  bits of the stack pointer, − those of the sample before it in the block
//!                      that has the same stack, or of the one before
//! loose                which words of the sample are loose: 1 the one on top, 2 the one below it,
//!                      and 4 × how many of the chain
//! top, below           for each sample whose word on top of the stack is loose: the word
//! crossings            for each word of a chain that is loose: the word
//! ```
//!
//! Differences but that of sequence numbers, and words, are signed, of which 0, −1, 1, −2, …
//! are stored as 0, 1, 2, 3, … The last three columns are varints.

use std::io;

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use super::column::{Column, Columns, Numbers, Packer, Unpacker, unzigzag, zigzag};

/// The most samples of a block.
pub(super) const MAX_SAMPLES: usize = 1 << 20;

/// All of a sample but its stack.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct SampleRow {
    /// The number of its stack.
    pub stack: u32,
    pub sequence: u32,
    pub cost: u32,
    pub task: u16,
    pub event: u8,
    pub time: u64,
    pub period: u64,
    pub sp: u64,
    pub loose: LooseCount,
}

/// How many loose words a sample has.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct LooseCount {
    pub top: bool,
    pub below: bool,
    pub crossings: u16,
}

impl LooseCount {
    fn code(self) -> u64 {
        u64::from(self.top) | u64::from(self.below) << 1 | u64::from(self.crossings) << 2
    }

    fn decode(code: u64) -> Option<Self> {
        Some(Self {
            top: code & 1 != 0,
            below: code & 2 != 0,
            crossings: u16::try_from(code >> 2).ok()?,
        })
    }
}

/// The loose words of samples, one sample's behind the other's.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Loose {
    pub top: Vec<u64>,
    pub below: Vec<u64>,
    pub crossings: Vec<u64>,
}

impl Loose {
    fn clear(&mut self) {
        self.top.clear();
        self.below.clear();
        self.crossings.clear();
    }
}

/// What came before a segment.
#[derive(Clone, Copy, Default)]
struct Before {
    /// The sequence number that follows.
    next: u32,
    time: u64,
    slot: u64,
    low: u64,
}

/// How a stack pointer is parted: the slots of stacks, if the kernel has such.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slots {
    bits: u32,
}

impl Slots {
    /// Those of a run whose description has this size.
    pub(super) const fn of_size(size: u64) -> Self {
        const DEFAULT: u32 = 16;
        Self {
            bits: match size.is_power_of_two() {
                true if size.trailing_zeros() < 48 => size.trailing_zeros(),
                _ => DEFAULT,
            },
        }
    }

    const fn split(self, sp: u64) -> (u64, u64) {
        (sp >> self.bits, sp & ((1 << self.bits) - 1))
    }

    const fn join(self, slot: u64, low: u64) -> u64 {
        (slot << self.bits).wrapping_add(low)
    }
}

/// The samples of a core that are not written yet.
#[derive(Default)]
struct Segment {
    before: Before,
    rows: Vec<SampleRow>,
    loose: Loose,
}

/// The samples of all cores that are not written yet.
pub(super) struct Pending {
    slots: Slots,
    cores: Vec<Segment>,
    count: usize,
}

impl Pending {
    pub(super) fn new(cores: usize, slots: Slots) -> Self {
        Self {
            slots,
            cores: std::iter::repeat_with(Segment::default)
                .take(cores)
                .collect(),
            count: 0,
        }
    }

    /// The number of samples.
    pub(super) const fn len(&self) -> usize {
        self.count
    }

    /// Adds the next sample of `core`, whose loose words `row` does not count yet: the words on
    /// top of the stack and in the chain.
    pub(super) fn push(
        &mut self,
        core: usize,
        mut row: SampleRow,
        [top, below]: [Option<u64>; 2],
        crossings: impl Iterator<Item = u64>,
    ) {
        let segment = &mut self.cores[core];
        let before = segment.loose.crossings.len();
        segment.loose.top.extend(top);
        segment.loose.below.extend(below);
        segment.loose.crossings.extend(crossings);
        let crossings = segment.loose.crossings.len() - before;
        row.loose = LooseCount {
            top: top.is_some(),
            below: below.is_some(),
            // No chain has so many words.
            crossings: u16::try_from(crossings).unwrap_or(u16::MAX),
        };
        segment.rows.push(row);
        self.count += 1;
    }

    /// Appends the block's columns to `out`, and begins the next one.
    ///
    /// # Errors
    ///
    /// It is too long.
    pub(super) fn pack(&mut self, packer: &mut Packer, out: &mut Vec<u8>) -> io::Result<()> {
        let mut coder = Coder::new(self.slots);
        for (core, segment) in (0..).zip(&mut self.cores) {
            if !segment.rows.is_empty() {
                coder.add(core, segment);
                segment.before = coder.before;
                segment.rows.clear();
                segment.loose.clear();
            }
        }
        self.count = 0;
        for column in coder.segments.iter().chain(&coder.columns) {
            packer.planes(column, out)?;
        }
        for column in &coder.loose {
            packer.varints(column, out)?;
        }
        Ok(())
    }
}

/// The columns of segments, by number.
const SEGMENTS: usize = 5;
/// Those of samples.
const FIELDS: usize = 10;
/// Those of loose words.
const LOOSE_COLUMNS: usize = 3;

/// The columns of samples that are read without the others: the first, by their numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Field {
    Stack,
    Task,
    Event,
    Period,
    Cost,
    Gap,
    Time,
}

/// Makes columns of samples.
struct Coder {
    slots: Slots,
    segments: [Vec<u64>; SEGMENTS],
    columns: [Vec<u64>; FIELDS],
    loose: [Vec<u64>; LOOSE_COLUMNS],
    before: Before,
    /// The low bits of the stack pointer, by stack.
    lows: HashMap<u32, u64>,
}

impl Coder {
    fn new(slots: Slots) -> Self {
        Self {
            slots,
            segments: Default::default(),
            columns: Default::default(),
            loose: Default::default(),
            before: Before::default(),
            lows: HashMap::new(),
        }
    }

    fn add(&mut self, core: u64, segment: &Segment) {
        self.before = Before {
            low: 0,
            ..segment.before
        };
        let Before {
            next, time, slot, ..
        } = self.before;
        let count = segment.rows.len() as u64;
        let fields = [core, count, next.into(), time, slot];
        for (column, number) in self.segments.iter_mut().zip(fields) {
            column.push(number);
        }
        for row in &segment.rows {
            let fields = self.code(row);
            for (column, number) in self.columns.iter_mut().zip(fields) {
                column.push(number);
            }
        }
        let Loose {
            top,
            below,
            crossings,
        } = &segment.loose;
        for (column, words) in self.loose.iter_mut().zip([top, below, crossings]) {
            column.extend(words.iter().map(|&word| zigzag(word)));
        }
    }

    /// A sample's numbers, in the order of the columns.
    fn code(&mut self, row: &SampleRow) -> [u64; FIELDS] {
        let before = &mut self.before;
        let (slot, low) = self.slots.split(row.sp);
        let expected = before
            .time
            .wrapping_add(row.period)
            .wrapping_add(row.cost.into());
        let low_before = self.lows.insert(row.stack, low).unwrap_or(before.low);
        let fields = [
            row.stack.into(),
            row.task.into(),
            row.event.into(),
            row.period,
            row.cost.into(),
            row.sequence.wrapping_sub(before.next).into(),
            zigzag(row.time.wrapping_sub(expected)),
            zigzag(slot.wrapping_sub(before.slot)),
            zigzag(low.wrapping_sub(low_before)),
            row.loose.code(),
        ];
        *before = Before {
            next: row.sequence.wrapping_add(1),
            time: row.time,
            slot,
            low,
        };
        fields
    }
}

/// A block that is read: its columns are unpacked when they are asked for.
pub(super) struct Block<'a> {
    segments: Vec<(u32, usize, Before)>,
    fields: [Column<'a>; FIELDS],
    loose: [Column<'a>; LOOSE_COLUMNS],
}

impl<'a> Block<'a> {
    /// Reads what a block says of itself; `None` if that is not valid. `cores` are those of
    /// the run.
    pub(super) fn new(payload: &'a [u8], cores: usize, unpacker: &mut Unpacker) -> Option<Self> {
        let mut columns = Columns::new(payload);
        let mut segments: [_; SEGMENTS] = Default::default();
        for numbers in &mut segments {
            unpacker.unpack(columns.next()?, numbers)?;
        }
        let segments = segments_of(&segments, cores)?;
        let first = columns.next()?;
        let mut fields = [first; FIELDS];
        for field in &mut fields[1..] {
            *field = columns.next()?;
        }
        let loose = [columns.next()?, columns.next()?, columns.next()?];
        let mut count = 0_usize;
        for &(_, samples, _) in &segments {
            count = count.checked_add(samples)?;
        }
        let is_whole = fields.iter().all(|column| column.len() == count);
        (columns.is_empty() && is_whole && count <= MAX_SAMPLES).then_some(Self {
            segments,
            fields,
            loose,
        })
    }

    /// The cores whose samples it has, and the number of these.
    pub(super) fn cores(&self) -> impl Iterator<Item = (u32, usize)> {
        self.segments.iter().map(|&(core, count, _)| (core, count))
    }

    /// The sequence number that each core's first sample of the block would have if none is missing.
    pub(super) fn next_of(&self, segment: usize) -> u32 {
        self.segments[segment].2.next
    }

    /// The time of each core's last sample before the block.
    pub(super) fn since(&self, segment: usize) -> u64 {
        self.segments[segment].2.time
    }

    /// Puts the numbers of all samples into `out`. Returns `None` if they are not valid.
    pub(super) fn field(
        &self,
        field: Field,
        unpacker: &mut Unpacker,
        out: &mut Numbers,
    ) -> Option<()> {
        unpacker.numbers(self.fields[field as usize], out)
    }

    /// All samples. Returns `None` if they are not valid.
    pub(super) fn samples(&self, slots: Slots, unpacker: &mut Unpacker) -> Option<Samples> {
        let mut fields: [Vec<u64>; FIELDS] = Default::default();
        for (numbers, &column) in fields.iter_mut().zip(&self.fields) {
            unpacker.unpack(column, numbers)?;
        }
        let mut samples = Samples::default();
        let mut at = Place::default();
        let mut lows = HashMap::new();
        for &(core, count, mut before) in &self.segments {
            let begin = at;
            for index in (at.row..).take(count) {
                let numbers = fields.each_ref().map(|numbers| numbers[index]);
                let row = decode(numbers, &mut before, &mut lows, slots)?;
                at.pass(&row);
                samples.rows.push(row);
            }
            samples.segments.push((core, begin, at.row));
        }
        let mut loose: [Vec<u64>; LOOSE_COLUMNS] = Default::default();
        for (words, &column) in loose.iter_mut().zip(&self.loose) {
            unpacker.unpack(column, words)?;
            words.iter_mut().for_each(|word| *word = unzigzag(*word));
        }
        let [top, below, crossings] = loose;
        let lengths = [top.len(), below.len(), crossings.len()];
        samples.loose = Loose {
            top,
            below,
            crossings,
        };
        (lengths == [at.top, at.below, at.crossings]).then_some(samples)
    }
}

/// The samples of a block, unpacked.
#[derive(Default, Debug)]
pub(super) struct Samples {
    pub rows: Vec<SampleRow>,
    pub loose: Loose,
    /// For each core: where its samples begin, and the row behind them.
    segments: Vec<(u32, Place, usize)>,
}

impl Samples {
    /// The cores, and the samples of each.
    pub(super) fn cores(&self) -> impl Iterator<Item = (u32, &[SampleRow])> {
        let segments = self.segments.iter();
        segments.map(|&(core, begin, end)| (core, &self.rows[begin.row..end]))
    }

    /// Where the samples of a core begin, and the row behind them.
    pub(super) fn of_core(&self, core: u32) -> Option<(Place, usize)> {
        let mut segments = self.segments.iter();
        let &(_, begin, end) = segments.find(|&&(of, ..)| of == core)?;
        Some((begin, end))
    }
}

/// A place among the samples of a block.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Place {
    pub row: usize,
    pub top: usize,
    pub below: usize,
    pub crossings: usize,
}

impl Place {
    /// Moves behind this sample, which is the one here.
    pub(super) fn pass(&mut self, row: &SampleRow) {
        self.row += 1;
        self.top += usize::from(row.loose.top);
        self.below += usize::from(row.loose.below);
        self.crossings += usize::from(row.loose.crossings);
    }
}

/// The segments, as far as they are valid: each core at most once, in order.
fn segments_of(columns: &[Vec<u64>; SEGMENTS], cores: usize) -> Option<Vec<(u32, usize, Before)>> {
    let [core, count, next, since, slots] = columns;
    let is_whole = columns.iter().all(|column| column.len() == core.len());
    let is_in_order = core.is_sorted_by(|a, b| a < b);
    (is_whole && is_in_order).then_some(())?;
    let segment = |index: usize| {
        let before = Before {
            next: u32::try_from(next[index]).ok()?,
            time: since[index],
            slot: slots[index],
            low: 0,
        };
        let number = u32::try_from(core[index]).ok()?;
        let is_there = usize::try_from(number).is_ok_and(|number| number < cores);
        is_there.then_some(())?;
        Some((number, usize::try_from(count[index]).ok()?, before))
    };
    (0..core.len()).map(segment).collect()
}

/// The sample with these numbers, in the order of the columns.
fn decode(
    numbers: [u64; FIELDS],
    before: &mut Before,
    lows: &mut HashMap<u32, u64>,
    slots: Slots,
) -> Option<SampleRow> {
    let [
        stack,
        task,
        event,
        period,
        cost,
        gap,
        time,
        slot,
        low,
        loose,
    ] = numbers;
    let stack = u32::try_from(stack).ok()?;
    let cost = u32::try_from(cost).ok()?;
    let expected = before.time.wrapping_add(period).wrapping_add(cost.into());
    let sequence = before.next.wrapping_add(u32::try_from(gap).ok()?);
    let slot = before.slot.wrapping_add(unzigzag(slot));
    let low = match lows.entry(stack) {
        Entry::Occupied(mut it) => {
            *it.get_mut() = it.get().wrapping_add(unzigzag(low));
            *it.get()
        }
        Entry::Vacant(it) => *it.insert(before.low.wrapping_add(unzigzag(low))),
    };
    let row = SampleRow {
        stack,
        sequence,
        cost,
        task: u16::try_from(task).ok()?,
        event: u8::try_from(event).ok()?,
        time: expected.wrapping_add(unzigzag(time)),
        period,
        sp: slots.join(slot, low),
        loose: LooseCount::decode(loose)?,
    };
    *before = Before {
        next: sequence.wrapping_add(1),
        time: row.time,
        slot,
        low,
    };
    Some(row)
}

#[cfg(test)]
mod tests {
    use super::Slots;

    #[test]
    fn a_stack_pointer_is_parted_by_the_slots_of_stacks() {
        for (size, sp, expected) in [
            (1 << 17, 0xffff_8000_0002_1238, (0x7fff_c000_0001, 0x1238)),
            (0, 0x1_2345, (1, 0x2345)),
            (3 << 12, 0x1_2345, (1, 0x2345)),
            (1, 0x1_2345, (0x1_2345, 0)),
            (1 << 50, 0x1_2345, (1, 0x2345)),
        ] {
            let slots = Slots::of_size(size);
            assert_eq!(slots.split(sp), expected, "{size:#x}");
            assert_eq!(slots.join(expected.0, expected.1), sp, "{size:#x}");
        }
    }
}
