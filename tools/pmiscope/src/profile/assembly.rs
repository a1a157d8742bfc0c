//! A profile's chunks, put together: what is whole, and what is not.

use memchr::memmem;
use profiler::format::event::NewEvent;
use profiler::format::{Description, EventDescription};

use super::chunk::{Chunk, Chunks, Kind};
use super::kernel_parts::{DebugFiles, KernelParts};
use super::read::{records, words};
use super::{FILE_HEADER, MAGIC, RunEnd};
use crate::units::{counted, grouped};

/// What there is of a core.
#[derive(Clone, Debug, Default)]
pub(super) struct Core {
    pub chunks: Vec<Chunk>,
    /// The whole records in them.
    pub records: u64,
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
    file: &'a [u8],
    /// How many zeros follow in the file.
    pub zeros: u64,
    /// The run that it is of; 0 if chunks do not say.
    run: u64,
    pub kernel: Option<Vec<u8>>,
    parts: KernelParts,
    pub debug_files: DebugFiles,
    pub end: Option<RunEnd>,
    pub cores: Vec<Core>,
    /// What samples mean by an event's number.
    pub events: Vec<EventDescription>,
    pub incomplete: Incomplete,
    others: Others,
}

impl<'a> Assembly<'a> {
    pub(super) fn new(file: &'a [u8], description: &Description, run: u64) -> Self {
        Self {
            file,
            zeros: 0,
            run,
            kernel: None,
            parts: KernelParts::default(),
            debug_files: DebugFiles::default(),
            end: None,
            cores: vec![Core::default(); usize::try_from(description.cores).unwrap_or(0)],
            events: description.events().to_vec(),
            incomplete: Incomplete::default(),
            others: Others::default(),
        }
    }

    /// Reads the chunks from `at` on.
    pub(super) fn read(&mut self, mut chunks: Chunks<'_>, at: usize) {
        self.read_chunks(&mut chunks, at);
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
        if self.kernel.is_none() {
            self.incomplete
                .push("the kernel's symbols are missing".into());
        }
        match self.end.take() {
            None => self
                .incomplete
                .push("the end is missing, and with it the final counters".into()),
            Some(end) => {
                self.check_end(&end);
                self.end = Some(end);
            }
        }
    }

    fn read_chunks(&mut self, chunks: &mut Chunks<'_>, mut at: usize) {
        let mut next_ordinal = 1;
        while at < self.file.len() && !self.may_be_another_run() {
            let found = chunks.find(at);
            let start = found.as_ref().map_or(self.file.len(), |&(start, _)| start);
            self.skip(at, start);
            let Some((start, chunk)) = found else { break };
            at = chunk.end();
            if chunk.run != self.run {
                if self.others.chunks == 0 {
                    self.others.first_at = start;
                }
                self.others.chunks += 1;
                continue;
            }
            if self.may_be_another_run() {
                break;
            }
            if chunk.ordinal < next_ordinal || self.end.is_some() {
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
            if self.take(chunk).is_none() {
                self.incomplete
                    .push(format!("the part at byte {start} makes no sense"));
            }
        }
        if at == self.file.len() && !self.others.profile {
            self.skip(at, at);
        }
    }

    /// Returns true if what follows may be of another run and does not say so.
    fn may_be_another_run(&self) -> bool {
        self.run == 0 && self.others.profile
    }

    /// Says what the bytes in which no chunk was found are, if there are any.
    fn skip(&mut self, start: usize, end: usize) {
        let is_last = end == self.file.len();
        let zeros = if is_last { self.zeros } else { 0 };
        if start == end && zeros == 0 {
            return;
        }
        let gap = &self.file[start..end];
        let another = memmem::find(gap, &MAGIC).map(|offset| start + offset);
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
            if end > begin + FILE_HEADER && self.run != 0 {
                self.damaged(begin + FILE_HEADER, end);
            }
        }
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
        } else if self.run == 0 {
            self.others.profile = true;
            self.incomplete.push(format!(
                "the part at byte {start} is out of order: it and all behind it may be another run's, and are left out"
            ));
        } else {
            self.incomplete
                .push(format!("the part at byte {start} is out of order"));
        }
    }

    /// Adds an event that came later than the description.
    fn add_event(&mut self, NewEvent { number, event }: NewEvent) {
        let number = usize::from(number);
        if number >= self.events.len() {
            self.events.resize(number + 1, EventDescription::EMPTY);
        }
        self.events[number] = event;
    }

    /// Reads a chunk's content. Returns `None` if it is not valid.
    fn take(&mut self, chunk: Chunk) -> Option<()> {
        let payload = chunk.payload(self.file)?;
        match chunk.kind {
            Kind::Head => None,
            Kind::Kernel => {
                self.kernel = self.parts.take_last(chunk.core, payload);
                self.kernel.is_some().then_some(())
            }
            Kind::KernelPart => {
                self.parts.add(chunk.core, &payload);
                Some(())
            }
            Kind::DebugFilePart => {
                self.debug_files.add(chunk.core, &payload);
                Some(())
            }
            Kind::DebugFile => self.debug_files.add_last(chunk.core, payload),
            Kind::Samples => {
                let mut new_events = Vec::new();
                if payload.len() % 8 != 0 {
                    return None;
                }
                let core = self.cores.get_mut(usize::try_from(chunk.core).ok()?)?;
                let words = words(&payload);
                let (mut count, mut read) = (0, 0);
                for record in records(&words) {
                    count += 1;
                    read += record.len();
                    new_events.extend(NewEvent::decode(record));
                }
                // No writer has made what is no whole record.
                (read == words.len()).then_some(())?;
                core.records += count;
                core.chunks.push(chunk);
                new_events.into_iter().for_each(|new| self.add_event(new));
                Some(())
            }
            Kind::End => {
                let end: RunEnd = serde_json::from_slice(&payload).ok()?;
                (end.cores.len() == self.cores.len()).then_some(())?;
                self.end = Some(end);
                Some(())
            }
        }
    }

    /// Compares the records that are there with what the cores have counted.
    fn check_end(&mut self, end: &RunEnd) {
        let mut missing = 0_u64;
        for (number, (core, end)) in self.cores.iter().zip(&end.cores).enumerate() {
            missing = missing.saturating_add(end.stored.saturating_sub(core.records));
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
