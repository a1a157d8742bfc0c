//! Writes a profile while the guest runs.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::io::{self, Write};
use std::num::NonZero;
use std::thread;
use std::time::SystemTime;

use profiler::address::CodeRange;
use profiler::format::{Description, Sample, record_words};

use super::block::{LooseCount, Pending, SampleRow, Slots};
use super::chains::{self, ChainCount};
use super::chunk::{self, Kind, Label, Packed};
use super::column::Packer;
use super::distinct::Distinct;
use super::hash::RunHash;
use super::names::Names;
use super::stacks::{is_loose, top_places};
use super::{Ending, Head, Host, MAGIC, RunEnd, VERSION, VERSION_OF_NAMES, VERSION_OF_SAMPLES};

/// Samples that become a block by themselves; and words of a core's other records a chunk.
const BLOCK: usize = 64 << 10;

/// Levels of zstd: for what is packed once, and for large files, of which time is worth more
/// than room.
const LEVEL: i32 = 9;
const LEVEL_OF_LARGE: i32 = 1;

/// A profile that grows.
pub struct Writer<W: Write> {
    chunks: ChunkWriter<W>,
    text: CodeRange,
    packer: Packer,
    stacks: Distinct,
    pending: Pending,
    /// Chains that are not written yet.
    chains: Vec<ChainCount>,
    hash: RunHash,
    /// Other records that are not written yet, by core.
    records: Vec<Vec<u64>>,
}

/// A file that grows by chunks.
pub(super) struct ChunkWriter<W: Write> {
    out: W,
    ordinal: u32,
    /// What tells this run's chunks from those of others.
    run: u64,
}

/// A number that no other run has: std's hashers have a random key each.
fn number_of_run() -> u64 {
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u32(std::process::id());
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    hasher.write_u128(now.unwrap_or_default().as_nanos());
    // 0 are runs that have none.
    hasher.finish().max(1)
}

impl<W: Write> Writer<W> {
    /// Starts a profile.
    ///
    /// # Errors
    ///
    /// Those of `out`.
    pub fn new(out: W, head: &Head<'_>) -> io::Result<Self> {
        let embedded = Embedded::new(head.kernel, [])?;
        Self::with(out, head.description, head.host, embedded)
    }

    /// Starts a profile with files that were packed before.
    ///
    /// # Errors
    ///
    /// Those of `out`.
    pub fn with(
        out: W,
        description: &Description,
        host: &Host,
        files: Embedded,
    ) -> io::Result<Self> {
        let version = match description.table_bytes {
            _ if files.0.is_empty() => VERSION_OF_NAMES,
            0 => VERSION_OF_SAMPLES,
            _ => VERSION,
        };
        let mut chunks = ChunkWriter::new(out, version)?;
        let mut payload = description.encode().to_vec();
        serde_json::to_writer(&mut payload, host)?;
        chunks.pack(Kind::Head, 0, &payload)?;
        chunks.embed(files)?;
        let cores = usize::try_from(description.cores).map_err(io::Error::other)?;
        Ok(Self {
            chunks,
            text: description.text,
            packer: Packer::new()?,
            stacks: Distinct::new(description.text),
            pending: Pending::new(cores, Slots::of_size(description.stack_slot)),
            chains: Vec::new(),
            hash: RunHash::new(cores),
            records: vec![Vec::new(); cores],
        })
    }

    /// Appends the next record of `core`, whole: a sample, or what stays as it stood in the ring.
    ///
    /// # Errors
    ///
    /// Those of the output; a core that the run does not have; what is no whole record.
    pub fn record(&mut self, core: u32, record: &[u64]) -> io::Result<()> {
        if let Ok(sample) = Sample::decode(record) {
            return self.sample(core, &sample);
        }
        let is_whole = record
            .first()
            .is_some_and(|&first| record_words(first) == record.len());
        if !is_whole {
            let what = "not a whole record";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        let of_core = usize::try_from(core).ok();
        let records = of_core.and_then(|core| self.records.get_mut(core));
        let records = records.ok_or_else(no_such_core)?;
        records.extend_from_slice(record);
        if records.len() >= BLOCK {
            self.write_records()?;
        }
        Ok(())
    }

    /// Appends the next sample of `core`.
    ///
    /// # Errors
    ///
    /// Those of the output; a core that the run does not have.
    pub fn sample(&mut self, core: u32, sample: &Sample<'_>) -> io::Result<()> {
        let core = usize::try_from(core).ok();
        let core = core.filter(|&core| core < self.records.len());
        let core = core.ok_or_else(no_such_core)?;
        let (stack, hash) = self.stacks.find(sample)?;
        let row = SampleRow {
            stack,
            sequence: sample.sequence,
            cost: sample.handler_cost,
            task: sample.task,
            event: sample.event,
            time: sample.time,
            period: sample.period,
            sp: sample.sp.0,
            loose: LooseCount::default(),
        };
        self.hash.add(core, &row, &hash);
        let loose = |word: u64| is_loose(self.text, word).then_some(word);
        let crossings = top_places(sample.chain_words);
        let crossings = crossings.filter_map(|place| loose(sample.chain_words[place]));
        self.pending
            .push(core, row, sample.stack_top.map(loose), crossings);
        if self.pending.len() >= BLOCK {
            self.write_samples()?;
        }
        Ok(())
    }

    /// Appends a chain of `core` that was counted in place as often as that: what `sample` has beside it
    /// means nothing.
    ///
    /// # Errors
    ///
    /// Those of the output; a core that the run does not have.
    pub fn chain(&mut self, core: u32, sample: &Sample<'_>, samples: u64) -> io::Result<()> {
        if usize::try_from(core).is_ok_and(|core| core >= self.records.len()) {
            return Err(no_such_core());
        }
        let (stack, _) = self.stacks.find(sample)?;
        self.chains.push(ChainCount {
            core,
            stack,
            task: sample.task,
            event: sample.event,
            samples,
        });
        if self.chains.len() >= BLOCK {
            self.write_chains()?;
        }
        Ok(())
    }

    /// Writes all samples and other records that were appended: what was written is not lost if
    /// the tool is.
    ///
    /// # Errors
    ///
    /// Those of the output.
    pub fn flush(&mut self) -> io::Result<()> {
        self.write_samples()?;
        self.write_chains()?;
        self.write_records()
    }

    /// Writes what the table of stacks has that is new.
    fn write_stacks(&mut self) -> io::Result<()> {
        if let Some(part) = self.stacks.take_part() {
            let part = Packed::of_columns(|out| part.pack(&mut self.packer, out))?;
            self.chunks.append(Kind::Stacks, 0, part)?;
        }
        Ok(())
    }

    fn write_chains(&mut self) -> io::Result<()> {
        if self.chains.is_empty() {
            return Ok(());
        }
        self.write_stacks()?;
        let chains = std::mem::take(&mut self.chains);
        let part = Packed::of_columns(|out| chains::pack(&chains, &mut self.packer, out))?;
        self.chunks.append(Kind::Chains, 0, part)
    }

    fn write_samples(&mut self) -> io::Result<()> {
        if self.pending.len() == 0 {
            return Ok(());
        }
        // Stacks first: what a cut file has of samples is of use.
        self.write_stacks()?;
        let block = Packed::of_columns(|out| self.pending.pack(&mut self.packer, out))?;
        self.chunks.append(Kind::Samples, 0, block)
    }

    fn write_records(&mut self) -> io::Result<()> {
        for (core, words) in (0..).zip(&mut self.records) {
            if !words.is_empty() {
                let payload: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
                self.chunks.pack(Kind::Records, core, &payload)?;
                words.clear();
            }
        }
        Ok(())
    }

    /// Appends names, in place of a kernel.
    ///
    /// # Errors
    ///
    /// Those of the output.
    pub(crate) fn names(&mut self, names: &Names) -> io::Result<()> {
        self.chunks
            .pack(Kind::Names, 0, &serde_json::to_vec(names)?)
    }

    /// The bytes that make a whole profile of a copy of what was written until now, if all that was
    /// appended was written by [`Self::flush`].
    ///
    /// # Errors
    ///
    /// A payload too long for the format.
    pub(crate) fn end_so_far(&self, end: &RunEnd) -> io::Result<Vec<u8>> {
        let ending = Ending {
            run: end.clone(),
            sample_hash: self.hash.clone().finish(),
        };
        let payload = Packed::new(&serde_json::to_vec(&ending)?, LEVEL)?;
        let label = Label {
            kind: Kind::End,
            ordinal: self.chunks.ordinal,
            core: 0,
            run: self.chunks.run,
        };
        let mut bytes = Vec::new();
        chunk::write(&mut bytes, label, payload)?;
        Ok(bytes)
    }

    /// Ends the profile and gives back the output.
    ///
    /// # Errors
    ///
    /// Those of the output.
    pub fn finish(mut self, end: &RunEnd) -> io::Result<W> {
        self.flush()?;
        let ending = Ending {
            run: end.clone(),
            sample_hash: self.hash.finish(),
        };
        let payload = serde_json::to_vec(&ending)?;
        self.chunks.pack(Kind::End, 0, &payload)?;
        self.chunks.out.flush()?;
        Ok(self.chunks.out)
    }
}

fn no_such_core() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "the run has no such core")
}

impl<W: Write> ChunkWriter<W> {
    /// Starts a file of this version.
    pub(super) fn new(mut out: W, version: u32) -> io::Result<Self> {
        out.write_all(&MAGIC)?;
        out.write_all(&version.to_le_bytes())?;
        out.write_all(&[0; 4])?;
        Ok(Self {
            out,
            ordinal: 0,
            run: number_of_run(),
        })
    }

    /// Ends the file.
    pub(super) fn into_output(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }

    /// Appends files.
    fn embed(&mut self, files: Embedded) -> io::Result<()> {
        for Part {
            kind,
            number,
            packed,
        } in files.0
        {
            self.append(kind, number, packed)?;
        }
        Ok(())
    }

    pub(super) fn pack(&mut self, kind: Kind, core: u32, payload: &[u8]) -> io::Result<()> {
        self.append(kind, core, Packed::new(payload, LEVEL)?)
    }

    pub(super) fn append(&mut self, kind: Kind, core: u32, payload: Packed) -> io::Result<()> {
        let label = Label {
            kind,
            ordinal: self.ordinal,
            core,
            run: self.run,
        };
        chunk::write(&mut self.out, label, payload)?;
        self.ordinal += 1;
        Ok(())
    }
}

/// The files that a profile embeds, packed: of large ones that takes seconds, in which a
/// guest that already ran would fill its rings.
pub struct Embedded(Vec<Part>);

/// A part of a file.
struct Part {
    kind: Kind,
    number: u32,
    packed: Packed,
}

/// The most bytes of a part: large ones are packed by several threads.
const PART: usize = 16 << 20;

impl Embedded {
    /// None: there are to be [names](Writer::names).
    pub(crate) const fn nothing() -> Self {
        Self(Vec::new())
    }

    /// Packs a kernel, and what was taken out of it, by their names.
    ///
    /// # Errors
    ///
    /// Those of packing.
    pub fn new<'a>(
        kernel: &[u8],
        debug_files: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) -> io::Result<Self> {
        let mut files = Self(Vec::new());
        files.add([Kind::KernelPart, Kind::Kernel], kernel, PART)?;
        for (name, elf) in debug_files {
            files.add_debug_file(name, elf)?;
        }
        Ok(files)
    }

    fn add_debug_file(&mut self, name: &str, elf: &[u8]) -> io::Result<()> {
        let payload = [name.replace('\0', "").as_bytes(), &[0], elf].concat();
        self.add([Kind::DebugFilePart, Kind::DebugFile], &payload, PART)
    }

    /// Packs a file in parts of at most `most` bytes.
    fn add(&mut self, [part_of, last_of]: [Kind; 2], all: &[u8], most: usize) -> io::Result<()> {
        let mut parts: Vec<&[u8]> = all.chunks(most).collect();
        if parts.is_empty() {
            parts.push(&[]);
        }
        let level = if all.len() > LARGE {
            LEVEL_OF_LARGE
        } else {
            LEVEL
        };
        let last = parts.len() - 1;
        for (number, packed) in pack(&parts, level)?.into_iter().enumerate() {
            self.0.push(Part {
                kind: if number == last { last_of } else { part_of },
                number: u32::try_from(number).map_err(io::Error::other)?,
                packed,
            });
        }
        Ok(())
    }
}

/// Bytes of a file from which on time is worth more than room.
const LARGE: usize = 64 << 20;

/// Packs parts, on all processors.
fn pack(parts: &[&[u8]], level: i32) -> io::Result<Vec<Packed>> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let share = parts.len().div_ceil(threads).max(1);
    let pack = |parts: &[&[u8]]| -> io::Result<Vec<Packed>> {
        let packed = parts.iter().map(|part| Packed::new(part, level));
        packed.collect()
    };
    if share == parts.len() {
        return pack(parts);
    }
    thread::scope(|scope| {
        let started: Vec<_> = parts
            .chunks(share)
            .map(|share| scope.spawn(move || pack(share)))
            .collect();
        let mut all = Vec::new();
        for thread in started {
            all.extend(thread.join().expect("packing does not panic")?);
        }
        Ok(all)
    })
}

#[cfg(test)]
mod tests {
    use super::super::FILE_HEADER;
    use super::super::chunk::Chunks;
    use super::super::kernel_parts::KernelParts;
    use super::super::source::Source;
    use super::*;

    /// The kernel that is read from chunks of at most 10 bytes, without the ones `lost`.
    fn read_back(elf: &[u8], lost: &[usize]) -> (usize, Option<Vec<u8>>) {
        let mut writer = ChunkWriter::new(Vec::new(), VERSION).unwrap();
        let mut files = Embedded(Vec::new());
        files
            .add([Kind::KernelPart, Kind::Kernel], elf, 10)
            .unwrap();
        writer.embed(files).unwrap();
        let source = Source::from(writer.out);
        let mut parts = KernelParts::default();
        let (mut at, mut count, mut kernel) = (FILE_HEADER, 0, None);
        let mut chunks = Chunks::new(&source);
        while let Some(chunk) = chunks.at(at).unwrap() {
            at = chunk.end();
            if !lost.contains(&count) {
                let payload = chunk.unpack(chunks.stored(&chunk)).unwrap();
                if chunk.kind == Kind::Kernel {
                    kernel = parts.take_last(chunk.core, payload);
                } else {
                    parts.add(chunk.core, &payload);
                }
            }
            count += 1;
        }
        (count, kernel)
    }

    #[test]
    fn a_kernel_too_large_for_a_chunk_is_in_several() {
        let elf: Vec<u8> = (0..25).collect();
        for (length, chunks) in [(0, 1), (1, 1), (10, 1), (11, 2), (20, 2), (21, 3), (25, 3)] {
            let elf = &elf[..length];
            assert_eq!(read_back(elf, &[]), (chunks, Some(elf.to_vec())));
        }
    }

    #[test]
    fn what_is_saved_is_whole() {
        use profiler::address::{CodeAddress, StackAddress};
        use profiler::format::{ChainEnd, State};

        let text = CodeRange {
            start: CodeAddress(0x1000),
            end: CodeAddress(0x2000),
        };
        let description = Description::new([0; 20], text, 1, 1 << 10);
        let host = Host {
            pmiscope: String::new(),
            qemu: String::new(),
            emulator: crate::qemu::Emulator::Other,
            pmu: None,
            mode: super::super::Mode::Realtime,
            arguments: Vec::new(),
            asked: super::super::Asked::default(),
            imported: None,
        };
        let files = Embedded::new(b"a kernel", []).unwrap();
        let mut writer = Writer::with(Vec::new(), &description, &host, files).unwrap();
        let mut sample = Sample {
            sequence: 0,
            handler_cost: 0,
            event: 0,
            task: 0,
            state: State(0),
            time: 0,
            period: 1,
            sp: StackAddress(0),
            stack_top: [0; 2],
            pc: CodeAddress(0x1000),
            exact: None,
            end: ChainEnd::Complete,
            chain_words: &[],
        };
        writer.sample(0, &sample).unwrap();
        writer.flush().unwrap();
        let end = RunEnd {
            outcome: super::super::Outcome::Unfinished,
            message: String::new(),
            cores: vec![super::super::CoreEnd {
                stored: 1,
                ..super::super::CoreEnd::default()
            }],
        };
        let mut saved = writer.chunks.out.clone();
        saved.extend(writer.end_so_far(&end).unwrap());
        let saved = super::super::Profile::read(saved).unwrap();
        assert_eq!((saved.incomplete(), saved.records()), (None, 1));
        assert_eq!(saved.wrong_hash().unwrap(), None);
        // The run goes on as if nothing had been saved.
        sample.sequence = 1;
        writer.sample(0, &sample).unwrap();
        let mut end = end;
        end.cores[0].stored = 2;
        let whole = super::super::Profile::read(writer.finish(&end).unwrap()).unwrap();
        assert_eq!((whole.incomplete(), whole.records()), (None, 2));
    }

    #[test]
    fn a_kernel_without_all_its_parts_is_none() {
        let elf = [7; 25];
        for lost in [&[0][..], &[1], &[2], &[0, 1]] {
            assert_eq!(read_back(&elf, lost).1, None, "without {lost:?}");
        }
    }
}
