//! Reads a profile: the chunks that are whole, and what is not.

use profiler::format::description::DESCRIPTION_BYTES;
use profiler::format::{Description, EventDescription, record_words};
use thiserror::Error;

use super::assembly::{Assembly, Core, Incomplete};
use super::chunk::{Chunk, Chunks, Framing, Kind};
use super::{FILE_HEADER, Host, MAGIC, RunEnd, head};

/// Why a file is no profile that can be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum ProfileError {
    /// It does not begin as one.
    #[error("not a pmiscope profile")]
    Magic,
    /// It is of another version.
    #[error(
        "a profile of format version {0}, and this pmiscope reads versions 3 to 5: use the one that wrote it"
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
    /// How the run ended; `None` if the end is missing.
    pub end: Option<RunEnd>,
    cores: Vec<Core>,
    /// What samples mean by an event's number.
    events: Vec<EventDescription>,
    incomplete: Incomplete,
}

impl Profile {
    /// Reads a profile out of a file's bytes.
    ///
    /// # Errors
    ///
    /// [`ProfileError`] if there is nothing to report.
    pub fn read(file: Vec<u8>) -> Result<Self, ProfileError> {
        Self::read_before(file, 0)
    }

    /// As [`Self::read`], of a file in which so many zeros follow.
    pub(crate) fn read_before(file: Vec<u8>, zeros: u64) -> Result<Self, ProfileError> {
        is_profile(&file)?;
        let header = file.get(..FILE_HEADER).ok_or(ProfileError::NoHead)?;
        let version = u32::from_le_bytes(core::array::from_fn(|i| header[MAGIC.len() + i]));
        let framing = Framing::of_version(version).ok_or(ProfileError::Version(version))?;
        let mut chunks = Chunks::new(&file, framing);
        let first = chunks.at(FILE_HEADER);
        let first = first.filter(|chunk| chunk.kind == Kind::Head);
        let first = first.ok_or(ProfileError::NoHead)?;
        let (description, host) = first
            .payload(&file)
            .and_then(|payload| decode_head(&payload, version))
            .ok_or(ProfileError::NoHead)?;
        let mut assembly = Assembly::new(&file, &description, first.run);
        assembly.zeros = zeros;
        assembly.read(chunks, first.end());
        let Assembly {
            kernel,
            debug_files,
            end,
            cores,
            events,
            incomplete,
            ..
        } = assembly;
        Ok(Self {
            description,
            host,
            kernel,
            debug_files: debug_files.all,
            end,
            cores,
            events,
            incomplete,
            file,
        })
    }

    /// What samples mean by an event's number: the events of the description, then those
    /// that were asked for while the run went on. None where ticks are sampled.
    #[must_use]
    pub fn events(&self) -> &[EventDescription] {
        &self.events
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
        self.incomplete.line()
    }
}

/// Checks that a file, or its beginning, is one of a profile.
///
/// # Errors
///
/// [`ProfileError::Magic`] if it is not.
pub(crate) fn is_profile(file: &[u8]) -> Result<(), ProfileError> {
    let magic = &file[..MAGIC.len().min(file.len())];
    if magic.is_empty() || !MAGIC.starts_with(magic) {
        return Err(ProfileError::Magic);
    }
    Ok(())
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
        self.at += record_words(self.words[start]);
        Some(&self.words[start..self.at])
    }
}

/// The words of a part's records.
pub(super) fn words(payload: &[u8]) -> Vec<u64> {
    let words = payload.as_chunks().0.iter();
    let mut words: Vec<_> = words.map(|&bytes| u64::from_le_bytes(bytes)).collect();
    head::from_profile(&mut words);
    words
}

/// Returns true if `words` begin with a whole record.
fn has_record(words: &[u64]) -> bool {
    let first = words.first();
    first.is_some_and(|&first| (1..=words.len()).contains(&record_words(first)))
}

/// The whole records at the beginning of `words`.
pub(super) fn records(words: &[u64]) -> impl Iterator<Item = &[u64]> {
    let mut rest = words;
    std::iter::from_fn(move || {
        if !has_record(rest) {
            return None;
        }
        let (record, behind) = rest.split_at(record_words(rest[0]));
        rest = behind;
        Some(record)
    })
}

/// The bytes of a description before version 5. What was added behind it means nothing as zeros.
const OLD_DESCRIPTION_BYTES: usize = 3776;

fn decode_head(payload: &[u8], version: u32) -> Option<(Description, Host)> {
    let bytes = if version < 5 {
        OLD_DESCRIPTION_BYTES
    } else {
        DESCRIPTION_BYTES
    };
    let (found, host) = payload.split_at_checked(bytes)?;
    let mut description = [0; DESCRIPTION_BYTES];
    description[..bytes].copy_from_slice(found);
    let description = Description::decode(&description).ok()?;
    // A profile has a list for each core: a bound on what a crafted file can ask.
    (description.cores <= 1 << 16).then_some(())?;
    Some((description, serde_json::from_slice(host).ok()?))
}
