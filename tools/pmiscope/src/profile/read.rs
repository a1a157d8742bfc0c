//! Reads a profile: the chunks that are whole, and what is not.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use profiler::format::description::DESCRIPTION_BYTES;
use profiler::format::event::NewEvent;
use profiler::format::sample::MAX_WORDS;
use profiler::format::{Description, EventDescription, Sample, record_words};
use thiserror::Error;

use super::assembly::{Assembly, Core, Incomplete, StoredBlock};
use super::block::Slots;
use super::chains::{ChainCount, ChainHash};
use super::chunk::{Chunks, Kind};
use super::counted::{CountedColumns, CountedSamples, Reading};
use super::hash::{RunHash, StackHash, stack_hash};
use super::names::Names;
use super::samples::{BlockReader, Cache, CoreSamples};
use super::source::Source;
use super::stacks::StackTable;
use super::{FILE_HEADER, Host, MAGIC, RunEnd, VERSION, VERSION_OF_NAMES, VERSION_OF_SAMPLES};

/// Why a file is no profile that can be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum ProfileError {
    /// It does not begin as one.
    #[error("not a pmiscope profile")]
    Magic,
    /// It is of another version.
    #[error(
        "a profile of format version {0}, and this is pmiscope {this}, which reads versions {VERSION_OF_SAMPLES} to {VERSION_OF_NAMES}: use {other}",
        this = env!("CARGO_PKG_VERSION"),
        other = reader_of(*.0)
    )]
    Version(u32),
    /// What every profile starts with is damaged or missing.
    #[error("cut off or damaged before the run's description: nothing in it can be reported")]
    NoHead,
}

/// Which pmiscope reads a format version that this one does not.
fn reader_of(version: u32) -> &'static str {
    match version {
        3..=5 => "pmiscope 0.1.0, which wrote it",
        ..VERSION => "the one that wrote it",
        _ => "the one that wrote it, which is newer",
    }
}

/// Why a profile cannot be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The file cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is no profile that can be read.
    #[error(transparent)]
    Profile(#[from] ProfileError),
}

/// Why samples cannot be read that were whole when the profile was opened.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The file cannot be read any more.
    #[error("the part at byte {at} of the profile cannot be read: {error}")]
    Io {
        /// Where the part begins.
        at: usize,
        /// Why.
        error: io::Error,
    },
    /// No writer has made what is there.
    #[error("the part at byte {0} of the profile makes no sense: run pmiscope again")]
    Damaged(usize),
}

/// A profile, as far as it is whole. What it has of samples stays in the file, and is read when
/// it is asked for.
#[derive(Debug)]
pub struct Profile {
    source: Source,
    /// What the kernel said of the run.
    pub description: Description,
    /// What the host knew of it.
    pub host: Host,
    /// The kernel's ELF file; `None` if it is damaged.
    pub kernel: Option<Arc<[u8]>>,
    /// Separate debug files of it, with their names.
    pub debug_files: Vec<(String, Vec<u8>)>,
    /// Names in place of these.
    pub(crate) names: Option<Names>,
    /// How the run ended; `None` if the end is missing.
    pub end: Option<RunEnd>,
    contents: Contents,
    incomplete: Incomplete,
}

/// What there is of samples.
#[derive(Debug)]
pub(super) struct Contents {
    /// The hash that was made while they arrived; `None` if the end is missing.
    pub hash: Option<String>,
    pub stacks: StackTable,
    pub blocks: Vec<StoredBlock>,
    pub chains: Vec<ChainCount>,
    pub cores: Vec<Core>,
    /// What samples mean by an event's number.
    pub events: Vec<EventDescription>,
}

impl Profile {
    /// Reads a profile out of a file's bytes.
    ///
    /// # Errors
    ///
    /// [`ProfileError`] if there is nothing to report.
    pub fn read(file: Vec<u8>) -> Result<Self, ProfileError> {
        Self::of_source(file.into()).map_err(|error| match error {
            OpenError::Profile(error) => error,
            OpenError::Io(error) => unreachable!("memory is read: {error}"),
        })
    }

    /// Opens the profile in a file.
    ///
    /// # Errors
    ///
    /// There is nothing to report, or the file cannot be read.
    pub(crate) fn open(file: File) -> Result<Self, OpenError> {
        Self::of_source(Source::of_file(file)?)
    }

    fn of_source(source: Source) -> Result<Self, OpenError> {
        let mut header = Vec::new();
        let header = source.read(0..source.length().min(FILE_HEADER), &mut header)?;
        is_profile(header)?;
        if header.len() < FILE_HEADER {
            return Err(ProfileError::NoHead.into());
        }
        let version = u32::from_le_bytes(core::array::from_fn(|i| header[MAGIC.len() + i]));
        if ![VERSION_OF_SAMPLES, VERSION, VERSION_OF_NAMES].contains(&version) {
            return Err(ProfileError::Version(version).into());
        }
        let mut chunks = Chunks::new(&source);
        let first = chunks.at(FILE_HEADER)?;
        let first = first.filter(|chunk| chunk.kind == Kind::Head);
        let first = first.ok_or(ProfileError::NoHead)?;
        let head = first.unpack(chunks.stored(&first));
        let head = head.and_then(|payload| decode_head(&payload));
        let (description, host) = head.ok_or(ProfileError::NoHead)?;
        let mut assembly = Assembly::new(&source, &description, first.run)?;
        assembly.read(chunks, first.end())?;
        let (files, contents, incomplete) = assembly.finish();
        Ok(Self {
            description,
            host,
            kernel: files.kernel,
            debug_files: files.debug_files.all,
            names: files.names,
            end: files.end,
            contents,
            incomplete,
            source,
        })
    }

    /// What samples mean by an event's number: the events of the description, then those
    /// that were asked for while the run went on. None where ticks are sampled.
    #[must_use]
    pub fn events(&self) -> &[EventDescription] {
        &self.contents.events
    }

    /// The number of cores of the run.
    #[must_use]
    pub fn cores(&self) -> u32 {
        self.description.cores
    }

    /// The records of all cores.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.contents.cores.iter().map(Core::records).sum()
    }

    /// The number of records of `core`.
    #[must_use]
    pub fn records_of_core(&self, core: u32) -> u64 {
        self.core(core).map_or(0, Core::records)
    }

    fn core(&self, core: u32) -> Option<&Core> {
        self.contents.cores.get(usize::try_from(core).ok()?)
    }

    /// The records of `core` that are no samples, as they stood in its ring.
    pub fn other_records(&self, core: u32) -> impl Iterator<Item = &[u64]> {
        let words = self.core(core).map_or(&[][..], |core| &core.others);
        records(words)
    }

    /// The number of records of `core` that this version cannot read.
    pub(crate) fn unreadable(&self, core: u32) -> u64 {
        let records = self.other_records(core);
        records
            .filter(|record| NewEvent::decode(record).is_none())
            .count() as u64
    }

    /// Returns true if equal chains were counted in place: order, times and periods of samples are
    /// not there.
    #[must_use]
    pub fn keeps_chains(&self) -> bool {
        self.description.table_bytes != 0
    }

    /// The chains that were counted in place.
    #[must_use]
    pub fn chains(&self) -> &[ChainCount] {
        &self.contents.chains
    }

    /// The hash of chains and counts, wherever they were counted.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn chain_hash(&self) -> Result<String, ReadError> {
        let stacks = &self.contents.stacks;
        let mut hashes: Vec<Option<StackHash>> = vec![None; stacks.len()];
        let mut words = Vec::new();
        let mut hash = ChainHash::default();
        let mut add = |chain: ChainCount| {
            let number = chain.stack as usize;
            let Some(stack) = stacks.get(number) else {
                return;
            };
            let text = self.description.text;
            let of_stack =
                *hashes[number].get_or_insert_with(|| stack_hash(text, &stack.sample(&mut words)));
            hash.add(chain, of_stack);
        };
        for &chain in self.chains() {
            add(chain);
        }
        self.for_each_of(
            |_| true,
            Reading::Counts,
            |samples| {
                samples.for_each(|sample| {
                    add(ChainCount {
                        core: samples.core,
                        stack: sample.stack,
                        task: sample.task,
                        event: sample.event,
                        samples: 1,
                    });
                })
            },
        )?;
        Ok(hash.finish())
    }

    /// The stacks of the samples.
    #[must_use]
    pub fn stacks(&self) -> &StackTable {
        &self.contents.stacks
    }

    /// Calls `each` with what is counted of the samples of these cores: block by block, each core's
    /// in order. What is not in `reading` is not there.
    ///
    /// # Errors
    ///
    /// [`ReadError`]; those of `each`.
    pub(crate) fn for_each_of(
        &self,
        is_selected: impl Fn(u32) -> bool,
        reading: Reading,
        mut each: impl FnMut(&CountedSamples<'_>) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        let mut reader = self.reader()?;
        let mut columns = CountedColumns::default();
        for stored in &self.contents.blocks {
            if !stored.cores.iter().any(|&core| is_selected(core)) {
                continue;
            }
            let (block, unpacker) = reader.block(stored)?;
            for (field, column) in columns.read(reading) {
                let whole = block.field(field, unpacker, column);
                whole.ok_or(ReadError::Damaged(stored.at))?;
            }
            let mut at = 0;
            for (segment, (core, count)) in block.cores().enumerate() {
                let rows = at..at + count;
                at = rows.end;
                if is_selected(core) {
                    each(&CountedSamples {
                        profile: self,
                        block: stored,
                        columns: &columns,
                        rows,
                        next: block.next_of(segment),
                        has_costs: reading >= Reading::Costs,
                        since: (reading == Reading::Times).then(|| block.since(segment)),
                        core,
                    })?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn source(&self) -> &Source {
        &self.source
    }

    fn reader(&self) -> Result<BlockReader<'_>, ReadError> {
        let slots = Slots::of_size(self.description.stack_slot);
        let reader = BlockReader::new(&self.source, self.contents.cores.len(), slots);
        reader.map_err(|error| ReadError::Io { at: 0, error })
    }

    pub(super) fn blocks(&self) -> &[StoredBlock] {
        &self.contents.blocks
    }

    /// Whether a sample's stack is known; it was said if not.
    #[inline]
    pub(super) fn has_stack(&self, stack: u32, block: &StoredBlock) -> Result<bool, ReadError> {
        if self.contents.stacks.has(stack as usize) {
            return Ok(true);
        }
        if block.has_lost {
            return Ok(false);
        }
        Err(ReadError::Damaged(block.at))
    }

    /// The samples of all cores, each core's by itself. Those that are in one block and are read
    /// at about the same time are unpacked together.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub(crate) fn samples_of_cores(&self) -> Result<Vec<CoreSamples<'_>>, ReadError> {
        let cache = Rc::new(RefCell::new(Cache::new(self.reader()?)));
        let of = |core| CoreSamples::new(self, core, Rc::clone(&cache));
        Ok((0..self.cores()).map(of).collect())
    }

    /// Calls `each` with every sample of `core`, oldest first.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn for_each_sample(
        &self,
        core: u32,
        mut each: impl FnMut(&Sample<'_>),
    ) -> Result<(), ReadError> {
        let cache = Rc::new(RefCell::new(Cache::new(self.reader()?)));
        let mut samples = CoreSamples::new(self, core, cache);
        while let Some(sample) = samples.next()? {
            each(&sample);
        }
        Ok(())
    }

    /// Calls `each` with every record of `core` as it would stand in a ring: the samples, oldest
    /// first, then the others.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn for_each_record(
        &self,
        core: u32,
        mut each: impl FnMut(&[u64]),
    ) -> Result<(), ReadError> {
        let mut record = [0; MAX_WORDS];
        self.for_each_sample(core, |sample| {
            let words = sample.encode(&mut record);
            each(&record[..words]);
        })?;
        self.other_records(core).for_each(each);
        Ok(())
    }

    /// The hash of the samples: that which was made while they arrived, if all are there.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn sample_hash(&self) -> Result<String, ReadError> {
        match &self.contents.hash {
            Some(hash) if self.incomplete.line().is_none() => Ok(hash.clone()),
            _ => self.hash_again(),
        }
    }

    /// The hash of the samples that are there, and the one that was made while they arrived, if
    /// all are there and these differ.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub(crate) fn wrong_hash(&self) -> Result<Option<[String; 2]>, ReadError> {
        let made = self.sample_hash()?;
        let found = self.hash_again()?;
        Ok((found != made).then_some([found, made]))
    }

    /// The hash of the samples that are there.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    fn hash_again(&self) -> Result<String, ReadError> {
        let Contents {
            stacks,
            blocks,
            cores,
            ..
        } = &self.contents;
        let mut hash = RunHash::new(cores.len());
        let mut hashes: Vec<Option<StackHash>> = vec![None; stacks.len()];
        let mut chain = Vec::new();
        let mut reader = self.reader()?;
        for stored in blocks {
            let samples = reader.samples(stored)?;
            for (core, rows) in samples.cores() {
                for row in rows {
                    let stack = row.stack as usize;
                    if !self.has_stack(row.stack, stored)? {
                        continue;
                    }
                    let of_stack = hashes[stack].get_or_insert_with(|| {
                        let stack = stacks.get(stack).expect("it is there");
                        stack_hash(self.description.text, &stack.sample(&mut chain))
                    });
                    hash.add(core as usize, row, of_stack);
                }
            }
        }
        Ok(hash.finish())
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

pub(super) fn words(payload: &[u8]) -> Vec<u64> {
    let words = payload.as_chunks().0.iter();
    words.map(|&bytes| u64::from_le_bytes(bytes)).collect()
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

fn decode_head(payload: &[u8]) -> Option<(Description, Host)> {
    let (description, host) = payload.split_first_chunk::<DESCRIPTION_BYTES>()?;
    let description = Description::decode(description).ok()?;
    // A profile has a list for each core: a bound on what a crafted file can ask.
    (description.cores <= 1 << 16).then_some(())?;
    Some((description, serde_json::from_slice(host).ok()?))
}
