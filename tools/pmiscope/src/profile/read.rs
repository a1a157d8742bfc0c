//! Reads a profile: the chunks that are whole, and what is not.

use profiler::format::description::DESCRIPTION_BYTES;
use profiler::format::event::NewEvent;
use profiler::format::{Description, EventDescription, record_words};
use thiserror::Error;

use super::chunk::{Chunk, Kind};
use super::{FILE_HEADER, Host, MAGIC, RunEnd, VERSION};
use crate::units::{counted, grouped};

/// Why a file is no profile that can be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum ProfileError {
    /// It does not begin as one.
    #[error("not a pmiscope profile")]
    Magic,
    /// It is of another version.
    #[error(
        "a profile of format version {0}, and this pmiscope reads version {VERSION}: use the one that wrote it"
    )]
    Version(u32),
    /// What every profile starts with is damaged or missing.
    #[error("cut off or damaged before the run's description: nothing in it can be reported")]
    NoHead,
}

/// A profile, as far as it is whole.
#[derive(Debug)]
pub struct Profile {
    file: Vec<u8>,
    /// What the kernel said of the run.
    pub description: Description,
    /// What the host knew of it.
    pub host: Host,
    /// The kernel's ELF file; `None` if it is damaged.
    pub kernel: Option<Vec<u8>>,
    /// Separate debug files of it, with their names.
    pub debug_files: Vec<(String, Vec<u8>)>,
    /// What was read of it so far.
    parts: KernelParts,
    debug_parts: KernelParts,
    /// How the run ended; `None` if the end is missing.
    pub end: Option<RunEnd>,
    cores: Vec<Core>,
    /// What samples mean by an event's number.
    events: Vec<EventDescription>,
    incomplete: Vec<String>,
}

/// The parts of a kernel's ELF file that come before its last.
#[derive(Debug, Default)]
pub(super) struct KernelParts {
    bytes: Vec<u8>,
    /// The number of them; one that is missing is the last that counts.
    count: u32,
}

impl KernelParts {
    /// Adds the part with this number.
    pub(super) fn add(&mut self, number: u32, part: &[u8]) {
        if number == self.count {
            self.bytes.extend(part);
            self.count += 1;
        }
    }

    /// The file, with its last part; `None` if one is missing.
    pub(super) fn take_last(&mut self, number: u32, last: Vec<u8>) -> Option<Vec<u8>> {
        if number != self.count {
            return None;
        }
        let mut bytes = std::mem::take(&mut self.bytes);
        if bytes.is_empty() {
            return Some(last);
        }
        bytes.extend(last);
        Some(bytes)
    }
}

/// What there is of a core.
#[derive(Clone, Debug, Default)]
struct Core {
    chunks: Vec<Chunk>,
    /// The whole records in them.
    records: u64,
}

impl Profile {
    /// Reads a profile out of a file's bytes.
    ///
    /// # Errors
    ///
    /// [`ProfileError`] if there is nothing to report.
    pub fn read(file: Vec<u8>) -> Result<Self, ProfileError> {
        let magic = &file[..MAGIC.len().min(file.len())];
        if magic.is_empty() || !MAGIC.starts_with(magic) {
            return Err(ProfileError::Magic);
        }
        let header = file.get(..FILE_HEADER).ok_or(ProfileError::NoHead)?;
        let version = u32::from_le_bytes(core::array::from_fn(|i| header[MAGIC.len() + i]));
        if version != VERSION {
            return Err(ProfileError::Version(version));
        }
        let first = Chunk::at(&file, FILE_HEADER).filter(|chunk| chunk.kind == Kind::Head);
        let first = first.ok_or(ProfileError::NoHead)?;
        let (description, host) = first
            .payload(&file)
            .and_then(|payload| decode_head(&payload))
            .ok_or(ProfileError::NoHead)?;
        let mut profile = Self {
            cores: vec![Core::default(); usize::try_from(description.cores).unwrap_or(0)],
            file,
            events: description.events().to_vec(),
            description,
            host,
            kernel: None,
            debug_files: Vec::new(),
            parts: KernelParts::default(),
            debug_parts: KernelParts::default(),
            end: None,
            incomplete: Vec::new(),
        };
        profile.read_chunks(first.end());
        Ok(profile)
    }

    fn read_chunks(&mut self, mut at: usize) {
        let mut next_ordinal = 1;
        while at < self.file.len() {
            let Some((start, chunk)) = Chunk::find(&self.file, at) else {
                let rest = (self.file.len() - at) as u64;
                self.incomplete.push(format!(
                    "the last {} (from byte {at} on) are no whole part",
                    counted(rest, "byte")
                ));
                break;
            };
            if start != at {
                self.incomplete
                    .push(format!("bytes {at} to {} are damaged", start - 1));
            }
            at = chunk.end();
            if chunk.ordinal < next_ordinal {
                self.incomplete
                    .push(format!("the part at byte {start} is out of order"));
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
        if self.kernel.is_none() {
            self.incomplete
                .push("the kernel's symbols are missing".into());
        }
        match &self.end {
            None => self
                .incomplete
                .push("the end is missing, and with it the final counters".into()),
            Some(end) => {
                let end = end.clone();
                self.check_end(&end);
            }
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

    /// What samples mean by an event's number: the events of the description, then those
    /// that were asked for while the run went on. None where ticks are sampled.
    #[must_use]
    pub fn events(&self) -> &[EventDescription] {
        &self.events
    }

    /// Reads a chunk's content. Returns `None` if it is not valid.
    fn take(&mut self, chunk: Chunk) -> Option<()> {
        let payload = chunk.payload(&self.file)?;
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
                self.debug_parts.add(chunk.core, &payload);
                Some(())
            }
            Kind::DebugFile => {
                let mut parts = std::mem::take(&mut self.debug_parts);
                let mut name = parts.take_last(chunk.core, payload)?;
                let end = name.iter().position(|&byte| byte == 0)?;
                let file = name.split_off(end + 1);
                name.pop();
                let name = String::from_utf8_lossy(&name).into_owned();
                self.debug_files.push((name, file));
                Some(())
            }
            Kind::Samples => {
                let mut new_events = Vec::new();
                if payload.len() % 8 != 0 {
                    return None;
                }
                let core = self.cores.get_mut(usize::try_from(chunk.core).ok()?)?;
                core.chunks.push(chunk);
                let words = words(&payload);
                for record in records(&words) {
                    core.records += 1;
                    new_events.extend(NewEvent::decode(record));
                }
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
        let mut missing = 0;
        for (number, (core, end)) in self.cores.iter().zip(&end.cores).enumerate() {
            missing += end.stored.saturating_sub(core.records);
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

    /// The number of cores of the run.
    #[must_use]
    pub fn cores(&self) -> u32 {
        self.description.cores
    }

    /// The whole records of all cores.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.cores.iter().map(|core| core.records).sum()
    }

    /// The number of whole records of `core`.
    #[must_use]
    pub fn records_of_core(&self, core: u32) -> u64 {
        let core = usize::try_from(core).ok();
        core.and_then(|core| self.cores.get(core))
            .map_or(0, |core| core.records)
    }

    /// The whole records of `core`, oldest first.
    #[must_use]
    pub fn records_of(&self, core: u32) -> Records<'_> {
        let core = usize::try_from(core)
            .ok()
            .and_then(|core| self.cores.get(core));
        Records {
            file: &self.file,
            chunks: core.map_or(&[][..], |core| &core.chunks).iter(),
            words: Vec::new(),
            at: 0,
        }
    }

    /// Calls `take` with every whole record of `core`, oldest first.
    pub fn for_each_record(&self, core: u32, mut take: impl FnMut(&[u64])) {
        let mut records = self.records_of(core);
        while let Some(record) = records.read() {
            take(record);
        }
    }

    /// What is not whole, in one line, if anything is not.
    #[must_use]
    pub fn incomplete(&self) -> Option<String> {
        const SHOWN: usize = 4;
        let what = &self.incomplete;
        if what.is_empty() {
            return None;
        }
        let mut line = what[..what.len().min(SHOWN)].join("; ");
        if what.len() > SHOWN {
            line += &format!("; and {} more", grouped((what.len() - SHOWN) as u64));
        }
        Some(line)
    }
}

/// The records of a core, one part of the file at a time.
#[derive(Debug)]
pub struct Records<'a> {
    file: &'a [u8],
    /// The parts that come next.
    chunks: std::slice::Iter<'a, Chunk>,
    /// The part that is being read, and how far.
    words: Vec<u64>,
    at: usize,
}

impl Records<'_> {
    /// The next record; `None` at the end.
    pub fn read(&mut self) -> Option<&[u64]> {
        while !has_record(&self.words[self.at..]) {
            let chunk = self.chunks.next()?;
            // It was inflated when the file was read, so it inflates again.
            self.words = words(&chunk.payload(self.file).unwrap_or_default());
            self.at = 0;
        }
        let start = self.at;
        self.at += record_length(self.words[start]);
        Some(&self.words[start..self.at])
    }
}

fn words(payload: &[u8]) -> Vec<u64> {
    let words = payload.as_chunks().0.iter();
    words.map(|&bytes| u64::from_le_bytes(bytes)).collect()
}

/// The words of the record that begins with `first`, one or more.
fn record_length(first: u64) -> usize {
    record_words(first).max(1)
}

/// Returns true if `words` begin with a whole record.
fn has_record(words: &[u64]) -> bool {
    let first = words.first();
    first.is_some_and(|&first| record_length(first) <= words.len())
}

/// The whole records at the beginning of `words`.
fn records(words: &[u64]) -> impl Iterator<Item = &[u64]> {
    let mut rest = words;
    std::iter::from_fn(move || {
        if !has_record(rest) {
            return None;
        }
        let (record, behind) = rest.split_at(record_length(rest[0]));
        rest = behind;
        Some(record)
    })
}

fn decode_head(payload: &[u8]) -> Option<(Description, Host)> {
    let (description, host) = payload.split_first_chunk::<DESCRIPTION_BYTES>()?;
    let description = Description::decode(description).ok()?;
    // A profile has a list for each core: a bound on what a crafted file can ask.
    (description.cores <= 1 << 16).then_some(())?;
    Some((description, serde_json::from_slice(host).ok()?))
}
