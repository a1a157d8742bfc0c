//! A profile's chunks, put together: what is whole, and what is not.

use std::io;
use std::sync::Arc;

use memchr::memmem::Finder;
use profiler::format::event::NewEvent;
use profiler::format::{Description, EventDescription, Sample};

use super::block::{Block, Slots};
use super::chains;
use super::chunk::{Chunk, Chunks, Kind};
use super::column::Unpacker;
use super::kernel_parts::{DebugFiles, KernelParts};
use super::names::Names;
use super::read::{Contents, records, words};
use super::samples::BlockReader;
use super::source::Source;
use super::stacks::StackTable;
use super::{Ending, FILE_HEADER, MAGIC, RunEnd};
use crate::units::{counted, grouped};

/// What there is of a core.
#[derive(Clone, Debug, Default)]
pub(super) struct Core {
    /// The samples whose stacks are there.
    pub samples: u64,
    /// Those that were counted in place.
    pub counted: u64,
    /// The other records.
    pub others: Vec<u64>,
    /// The number of these.
    others_count: u64,
}

impl Core {
    pub(super) fn records(&self) -> u64 {
        self.samples + self.counted + self.others_count
    }
}

/// A block, in the file.
#[derive(Debug)]
pub(super) struct StoredBlock {
    /// Where its chunk begins.
    pub at: usize,
    pub chunk: Chunk,
    /// Whose samples it has.
    pub cores: Vec<u32>,
    /// The stacks of some are lost: it was said.
    pub has_lost: bool,
}

/// What of a profile is not whole.
#[derive(Debug, Default)]
pub(super) struct Incomplete {
    /// The first of it.
    said: Vec<String>,
    more: u64,
}

impl Incomplete {
    fn push(&mut self, what: String) {
        const SHOWN: usize = 4;
        if self.said.len() < SHOWN {
            self.said.push(what);
        } else {
            self.more += 1;
        }
    }

    /// In one line; `None` if all is whole.
    pub(super) fn line(&self) -> Option<String> {
        if self.said.is_empty() {
            return None;
        }
        let mut line = self.said.join("; ");
        if self.more > 0 {
            line += &format!("; and {} more", grouped(self.more));
        }
        Some(line)
    }
}

/// Whether the file has something of another run.
#[derive(Default)]
struct Others {
    /// A profile begins behind the first one's begin.
    profile: bool,
    /// The chunks of other runs, and where the first is.
    chunks: u64,
    first_at: usize,
}

/// What was read of a profile so far.
pub(super) struct Assembly<'a> {
    source: &'a Source,
    /// The run that it is of.
    run: u64,
    slots: Slots,
    unpacker: Unpacker,
    parts: KernelParts,
    files: Files,
    contents: Contents,
    incomplete: Incomplete,
    others: Others,
}

/// What of a profile is not samples.
#[derive(Default)]
pub(super) struct Files {
    pub kernel: Option<Arc<[u8]>>,
    pub debug_files: DebugFiles,
    pub names: Option<Names>,
    pub end: Option<RunEnd>,
}

impl<'a> Assembly<'a> {
    pub(super) fn new(source: &'a Source, description: &Description, run: u64) -> io::Result<Self> {
        let cores = usize::try_from(description.cores).unwrap_or(0);
        Ok(Self {
            source,
            run,
            slots: Slots::of_size(description.stack_slot),
            unpacker: Unpacker::new()?,
            parts: KernelParts::default(),
            files: Files::default(),
            contents: Contents {
                hash: None,
                stacks: StackTable::default(),
                blocks: Vec::new(),
                chains: Vec::new(),
                cores: vec![Core::default(); cores],
                events: description.events().to_vec(),
            },
            incomplete: Incomplete::default(),
            others: Others::default(),
        })
    }

    /// Reads the chunks from `at` on.
    ///
    /// # Errors
    ///
    /// Those of reading the file.
    pub(super) fn read(&mut self, mut chunks: Chunks<'_>, at: usize) -> io::Result<()> {
        self.read_chunks(&mut chunks, at)?;
        if chunks.has_given_up() {
            self.incomplete
                .push("too many parts are damaged: some were not looked at".into());
        }
        if self.others.chunks > 0 && !self.others.profile {
            self.incomplete.push(format!(
                "{} of another run left out, the first at byte {}",
                counted(self.others.chunks, "part"),
                self.others.first_at
            ));
        }
        if self.files.kernel.is_none() && self.files.names.is_none() {
            self.incomplete
                .push("the kernel's symbols are missing".into());
        }
        let mut lost = self.leave_out_chains();
        if self.incomplete.line().is_some() {
            lost += self.leave_out_samples()?;
        }
        if lost > 0 {
            self.incomplete.push(format!(
                "{} left out, whose stacks were in a part that is missing",
                counted(lost, "sample")
            ));
        }
        match self.files.end.take() {
            None => self
                .incomplete
                .push("the end is missing, and with it the final counters".into()),
            Some(end) => {
                self.check_end(&end);
                self.files.end = Some(end);
            }
        }
        Ok(())
    }

    /// What was read.
    pub(super) fn finish(self) -> (Files, Contents, Incomplete) {
        (self.files, self.contents, self.incomplete)
    }

    /// Leaves out the chains whose stacks are lost. Returns of how many samples they are.
    fn leave_out_chains(&mut self) -> u64 {
        let Contents {
            stacks,
            chains,
            cores,
            ..
        } = &mut self.contents;
        let mut lost = 0;
        for (core, count) in chains::leave_out(chains, stacks) {
            cores[core as usize].counted -= count;
            lost += count;
        }
        lost
    }

    /// Leaves out the samples whose stacks are lost. Returns how many.
    fn leave_out_samples(&mut self) -> io::Result<u64> {
        let Contents {
            stacks,
            blocks,
            cores,
            ..
        } = &mut self.contents;
        let mut reader = BlockReader::new(self.source, cores.len(), self.slots)?;
        let mut lost = 0;
        for stored in blocks {
            // What cannot be read says so when it is asked for.
            let Ok(lost_of_cores) = reader.lost(stored, stacks) else {
                continue;
            };
            for (core, count) in lost_of_cores {
                stored.has_lost = true;
                cores[core as usize].samples -= count;
                lost += count;
            }
        }
        Ok(lost)
    }

    fn read_chunks(&mut self, chunks: &mut Chunks<'_>, mut at: usize) -> io::Result<()> {
        let length = self.source.length();
        let mut next_ordinal = 1;
        while at < length {
            let found = chunks.find(at)?;
            let start = found.as_ref().map_or(length, |&(start, _)| start);
            self.skip(at, start)?;
            let Some((start, chunk)) = found else {
                return Ok(());
            };
            at = chunk.end();
            if chunk.run != self.run {
                if self.others.chunks == 0 {
                    self.others.first_at = start;
                }
                self.others.chunks += 1;
                continue;
            }
            if chunk.ordinal < next_ordinal || self.files.end.is_some() {
                self.out_of_order(start, chunk.kind);
                continue;
            }
            if chunk.ordinal > next_ordinal {
                let missing = u64::from(chunk.ordinal - next_ordinal);
                self.incomplete.push(format!(
                    "{} missing before byte {start}",
                    counted(missing, "part")
                ));
            }
            next_ordinal = chunk.ordinal.saturating_add(1);
            if self.take(start, &chunk, chunks.stored(&chunk)).is_none() {
                self.incomplete
                    .push(format!("the part at byte {start} makes no sense"));
            }
        }
        if !self.others.profile {
            self.skip(at, at)?;
        }
        Ok(())
    }

    /// Says what the bytes in which no chunk was found are, if there are any.
    fn skip(&mut self, start: usize, end: usize) -> io::Result<()> {
        let is_last = end == self.source.length();
        let zeros = if is_last { self.source.zeros() } else { 0 };
        if start == end && zeros == 0 {
            return Ok(());
        }
        let another = self.source.find(&Finder::new(&MAGIC), start..end)?;
        match another {
            Some(begin) if begin > start => self.damaged(start, begin),
            Some(_) => {}
            None if is_last && !self.others.profile => {
                let rest = (end - start) as u64 + zeros;
                self.incomplete.push(format!(
                    "the last {} (from byte {start} on) are no whole part",
                    counted(rest, "byte")
                ));
            }
            None => self.damaged(start, end),
        }
        if let Some(begin) = another {
            self.another_profile(begin);
            if end > begin + FILE_HEADER {
                self.damaged(begin + FILE_HEADER, end);
            }
        }
        Ok(())
    }

    fn damaged(&mut self, start: usize, end: usize) {
        self.incomplete
            .push(format!("bytes {start} to {} are damaged", end - 1));
    }

    fn another_profile(&mut self, begin: usize) {
        self.others.profile = true;
        self.incomplete.push(format!(
            "another profile begins at byte {begin}: of two in one file the first alone is read"
        ));
    }

    /// Says that a chunk comes after a later one.
    fn out_of_order(&mut self, start: usize, kind: Kind) {
        if self.others.profile {
            // The same profile once more.
        } else if kind == Kind::Head {
            self.another_profile(start);
        } else {
            self.incomplete
                .push(format!("the part at byte {start} is out of order"));
        }
    }

    /// Adds an event that came later than the description.
    fn add_event(&mut self, NewEvent { number, event }: NewEvent) {
        let number = usize::from(number);
        let events = &mut self.contents.events;
        if number >= events.len() {
            events.resize(number + 1, EventDescription::EMPTY);
        }
        events[number] = event;
    }

    /// Reads the content of the chunk at `at`. Returns `None` if it is not valid.
    fn take(&mut self, at: usize, chunk: &Chunk, stored: &[u8]) -> Option<()> {
        match chunk.kind {
            Kind::Head => return None,
            Kind::Stacks => return self.contents.stacks.add(stored, &mut self.unpacker),
            Kind::Samples => return self.take_block(at, stored, chunk),
            Kind::Chains => return self.take_chains(stored),
            _ => {}
        }
        if chunk.kind == Kind::Kernel && chunk.core == 0 {
            // As a rule it is in one piece, and is not copied.
            self.files.kernel = chunk.unpack_shared(stored);
            return self.files.kernel.is_some().then_some(());
        }
        let payload = chunk.unpack(stored)?;
        match chunk.kind {
            Kind::Head | Kind::Samples | Kind::Stacks | Kind::Chains => None,
            Kind::Kernel => {
                let kernel = self.parts.take_last(chunk.core, payload);
                self.files.kernel = kernel.map(Arc::from);
                self.files.kernel.is_some().then_some(())
            }
            Kind::KernelPart => {
                self.parts.add(chunk.core, &payload);
                Some(())
            }
            Kind::DebugFilePart => {
                self.files.debug_files.add(chunk.core, &payload);
                Some(())
            }
            Kind::DebugFile => self.files.debug_files.add_last(chunk.core, payload),
            Kind::Records => self.take_records(chunk.core, &payload),
            Kind::Names => {
                let names: Names = serde_json::from_slice(&payload).ok()?;
                self.files.names = Some(names).filter(Names::is_valid);
                self.files.names.is_some().then_some(())
            }
            Kind::End => {
                let ending: Ending = serde_json::from_slice(&payload).ok()?;
                (ending.run.cores.len() == self.contents.cores.len()).then_some(())?;
                self.files.end = Some(ending.run);
                self.contents.hash = Some(ending.sample_hash);
                Some(())
            }
        }
    }

    fn take_block(&mut self, at: usize, payload: &[u8], chunk: &Chunk) -> Option<()> {
        let all = &mut self.contents.cores;
        let block = Block::new(payload, all.len(), &mut self.unpacker)?;
        let mut cores = Vec::new();
        for (core, count) in block.cores() {
            all[core as usize].samples += count as u64;
            cores.push(core);
        }
        self.contents.blocks.push(StoredBlock {
            at,
            chunk: chunk.clone(),
            cores,
            has_lost: false,
        });
        Some(())
    }

    fn take_chains(&mut self, payload: &[u8]) -> Option<()> {
        let cores = &mut self.contents.cores;
        let chains = chains::unpack(payload, cores.len(), &mut self.unpacker)?;
        for chain in &chains {
            let counted = &mut cores[chain.core as usize].counted;
            *counted = counted.checked_add(chain.samples)?;
        }
        self.contents.chains.extend(chains);
        Some(())
    }

    fn take_records(&mut self, core: u32, payload: &[u8]) -> Option<()> {
        if !payload.len().is_multiple_of(8) {
            return None;
        }
        let core = self.contents.cores.get_mut(usize::try_from(core).ok()?)?;
        let words = words(payload);
        let (mut count, mut read, mut new_events) = (0, 0, Vec::new());
        for record in records(&words) {
            count += 1;
            read += record.len();
            new_events.extend(NewEvent::decode(record));
        }
        // No writer has made what is no whole record.
        let has_sample = records(&words).any(|record| Sample::decode(record).is_ok());
        (read == words.len() && !has_sample).then_some(())?;
        core.others_count += count;
        core.others.extend(words);
        new_events.into_iter().for_each(|new| self.add_event(new));
        Some(())
    }

    /// Compares the records that are there with what the cores have counted.
    fn check_end(&mut self, end: &RunEnd) {
        let mut missing = 0_u64;
        for (number, (core, end)) in self.contents.cores.iter().zip(&end.cores).enumerate() {
            missing = missing.saturating_add(end.stored.saturating_sub(core.records()));
            if end.damaged_chains > 0 {
                self.incomplete.push(format!(
                    "{} of the table of core {number} made no sense",
                    counted(end.damaged_chains, "entry")
                ));
            }
            if let Some(word) = end.corrupt_at {
                self.incomplete.push(format!(
                    "the ring of core {number} made no sense from word {word} on"
                ));
            }
        }
        if missing > 0 {
            self.incomplete
                .push(format!("{} of the run missing", counted(missing, "sample")));
        }
    }
}
