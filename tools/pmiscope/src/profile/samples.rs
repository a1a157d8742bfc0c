//! Samples that are read back: some columns of all, or all of a core's.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::{Rc, Weak};

use profiler::address::StackAddress;
use profiler::format::Sample;

use super::assembly::StoredBlock;
use super::block::{Block, Field, Place, SampleRow, Samples, Slots};
use super::column::{Numbers, Unpacker};
use super::read::{Profile, ReadError};
use super::source::Source;
use super::stacks::StackTable;

/// Reads blocks, one at a time.
pub(super) struct BlockReader<'a> {
    source: &'a Source,
    cores: usize,
    slots: Slots,
    unpacker: Unpacker,
    buffer: Vec<u8>,
}

impl<'a> BlockReader<'a> {
    pub(super) fn new(source: &'a Source, cores: usize, slots: Slots) -> std::io::Result<Self> {
        Ok(Self {
            source,
            cores,
            slots,
            unpacker: Unpacker::new()?,
            buffer: Vec::new(),
        })
    }

    /// A block, and what unpacks its columns.
    pub(super) fn block(
        &mut self,
        stored: &StoredBlock,
    ) -> Result<(Block<'_>, &mut Unpacker), ReadError> {
        let at = stored.at;
        let payload = stored.chunk.stored(self.source, &mut self.buffer);
        let payload = payload.map_err(|error| ReadError::Io { at, error })?;
        let block = Block::new(payload, self.cores, &mut self.unpacker);
        Ok((block.ok_or(ReadError::Damaged(at))?, &mut self.unpacker))
    }

    /// How many samples of each core have stacks that are not in the table.
    pub(super) fn lost(
        &mut self,
        stored: &StoredBlock,
        stacks: &StackTable,
    ) -> Result<Vec<(u32, u64)>, ReadError> {
        let mut numbers = Numbers::default();
        let (block, unpacker) = self.block(stored)?;
        let whole = block.field(Field::Stack, unpacker, &mut numbers);
        whole.ok_or(ReadError::Damaged(stored.at))?;
        let is_lost = |&index: &usize| {
            let number = usize::try_from(numbers.at(index));
            !number.is_ok_and(|number| stacks.has(number))
        };
        let mut at = 0;
        let mut all = Vec::new();
        for (core, count) in block.cores() {
            let lost = (at..at + count).filter(is_lost).count() as u64;
            at += count;
            all.extend((lost > 0).then_some((core, lost)));
        }
        Ok(all)
    }

    /// All samples of a block.
    pub(super) fn samples(&mut self, stored: &StoredBlock) -> Result<Samples, ReadError> {
        let slots = self.slots;
        let (block, unpacker) = self.block(stored)?;
        let samples = block.samples(slots, unpacker);
        samples.ok_or(ReadError::Damaged(stored.at))
    }
}

/// Blocks that are unpacked, as long as somebody reads them.
pub(super) struct Cache<'a> {
    reader: BlockReader<'a>,
    /// By their places in the profile's list.
    unpacked: HashMap<usize, Weak<Samples>>,
}

impl<'a> Cache<'a> {
    pub(super) fn new(reader: BlockReader<'a>) -> Self {
        Self {
            reader,
            unpacked: HashMap::new(),
        }
    }

    fn get(&mut self, number: usize, stored: &StoredBlock) -> Result<Rc<Samples>, ReadError> {
        if let Some(samples) = self.unpacked.get(&number).and_then(Weak::upgrade) {
            return Ok(samples);
        }
        let samples = Rc::new(self.reader.samples(stored)?);
        self.unpacked.retain(|_, it| it.strong_count() > 0);
        self.unpacked.insert(number, Rc::downgrade(&samples));
        Ok(samples)
    }
}

/// When a sample was taken, and of what.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Timed {
    pub core: u32,
    /// The number of its stack.
    pub stack: u32,
    pub task: u16,
    pub event: u8,
    pub sequence: u32,
    pub time: u64,
}

/// The samples of a core, oldest first.
pub(crate) struct CoreSamples<'a> {
    profile: &'a Profile,
    core: u32,
    cache: Rc<RefCell<Cache<'a>>>,
    /// The number of the block that comes next.
    next: usize,
    /// The block that is read, where, and the row at which the core's samples in it end.
    block: Rc<Samples>,
    at: Place,
    end: usize,
    /// The sample at hand; its chain's words.
    row: SampleRow,
    stack_top: [u64; 2],
    chain: Vec<u64>,
}

impl<'a> CoreSamples<'a> {
    pub(super) fn new(profile: &'a Profile, core: u32, cache: Rc<RefCell<Cache<'a>>>) -> Self {
        Self {
            profile,
            core,
            cache,
            next: 0,
            block: Rc::default(),
            at: Place::default(),
            end: 0,
            row: SampleRow::default(),
            stack_top: [0; 2],
            chain: Vec::new(),
        }
    }

    /// Goes to the next sample. Returns false at the end.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub(crate) fn advance(&mut self) -> Result<bool, ReadError> {
        let Some(at) = self.advance_row()? else {
            return Ok(false);
        };
        let stored = self.profile.blocks()[self.next - 1].at;
        self.complete(at).ok_or(ReadError::Damaged(stored))
    }

    /// The next sample, by the number of its stack; `None` at the end.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub(crate) fn next_timed(&mut self) -> Result<Option<Timed>, ReadError> {
        let is_there = self.advance_row()?.is_some();
        Ok(is_there.then_some(Timed {
            core: self.core,
            stack: self.row.stack,
            task: self.row.task,
            event: self.row.event,
            sequence: self.row.sequence,
            time: self.row.time,
        }))
    }

    /// Goes to the next sample whose stack is known. Returns where its loose words are; `None` at
    /// the end.
    fn advance_row(&mut self) -> Result<Option<Place>, ReadError> {
        loop {
            if self.at.row == self.end && !self.next_block()? {
                return Ok(None);
            }
            let stored = &self.profile.blocks()[self.next - 1];
            let row = self.block.rows[self.at.row];
            let at = self.at;
            self.at.pass(&row);
            if self.profile.has_stack(row.stack, stored)? {
                self.row = row;
                return Ok(Some(at));
            }
        }
    }

    /// Goes to the next block that has samples of the core.
    fn next_block(&mut self) -> Result<bool, ReadError> {
        while let Some(stored) = self.profile.blocks().get(self.next) {
            self.next += 1;
            if stored.cores.contains(&self.core) {
                self.block = self.cache.borrow_mut().get(self.next - 1, stored)?;
                let found = self.block.of_core(self.core);
                (self.at, self.end) = found.ok_or(ReadError::Damaged(stored.at))?;
                if self.at.row < self.end {
                    return Ok(true);
                }
            }
        }
        // Others may still need it.
        self.block = Rc::default();
        (self.at, self.end) = (Place::default(), 0);
        Ok(false)
    }

    /// Makes the sample at hand of its stack and its loose words, which are at `at`. Returns
    /// `None` if these do not fit each other.
    fn complete(&mut self, at: Place) -> Option<bool> {
        let stack = self.profile.stacks().get(self.row.stack as usize)?;
        let loose = &self.block.loose;
        let count = self.row.loose;
        self.stack_top = stack.top;
        for (word, is_loose, words, at) in [
            (0, count.top, &loose.top, at.top),
            (1, count.below, &loose.below, at.below),
        ] {
            (is_loose == (stack.top[word] == 0)).then_some(())?;
            if is_loose {
                self.stack_top[word] = words[at];
            }
        }
        self.chain.clear();
        self.chain.extend(stack.chain_words());
        let mut at = at.crossings;
        let end = at + usize::from(count.crossings);
        for place in stack.loose_in_chain() {
            (at < end).then_some(())?;
            self.chain[place] = loose.crossings[at];
            at += 1;
        }
        (at == end).then_some(true)
    }

    /// The next sample; `None` at the end.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub(crate) fn next(&mut self) -> Result<Option<Sample<'_>>, ReadError> {
        let is_there = self.advance()?;
        Ok(self.sample().filter(|_| is_there))
    }

    /// The sample that it has gone to.
    pub(crate) fn sample(&self) -> Option<Sample<'_>> {
        let stack = self.profile.stacks().get(self.row.stack as usize)?;
        Some(Sample {
            sequence: self.row.sequence,
            handler_cost: self.row.cost,
            event: self.row.event,
            task: self.row.task,
            time: self.row.time,
            period: self.row.period,
            sp: StackAddress(self.row.sp),
            stack_top: self.stack_top,
            pc: stack.pc,
            exact: stack.exact,
            state: stack.state,
            end: stack.end,
            chain_words: &self.chain,
        })
    }
}
