//! Writes a profile while the guest runs.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::io::{self, Write};
use std::num::NonZero;
use std::thread;
use std::time::SystemTime;

use flate2::Compression;

use profiler::format::Description;

use super::chunk::{self, Kind, Label, Packed};
use super::{Head, Host, MAGIC, RunEnd, VERSION, head};

/// A profile that grows.
pub struct Writer<W: Write> {
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
        mut out: W,
        description: &Description,
        host: &Host,
        files: Embedded,
    ) -> io::Result<Self> {
        out.write_all(&MAGIC)?;
        out.write_all(&VERSION.to_le_bytes())?;
        out.write_all(&[0; 4])?;
        let mut writer = Self {
            out,
            ordinal: 0,
            run: number_of_run(),
        };
        let mut payload = description.encode().to_vec();
        serde_json::to_writer(&mut payload, host)?;
        writer.chunk(Kind::Head, 0, &payload, Compression::default())?;
        writer.embed(files)?;
        Ok(writer)
    }

    /// Appends files.
    fn embed(&mut self, files: Embedded) -> io::Result<()> {
        for Part {
            kind,
            number,
            packed,
        } in files.0
        {
            self.packed(kind, number, packed)?;
        }
        Ok(())
    }

    /// Appends whole records of `core`.
    ///
    /// # Errors
    ///
    /// Those of the output.
    pub fn samples(&mut self, core: u32, words: &[u64]) -> io::Result<()> {
        let mut words = words.to_vec();
        head::to_profile(&mut words);
        let payload: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.chunk(Kind::Samples, core, &payload, Compression::fast())
    }

    /// Ends the profile and gives back the output.
    ///
    /// # Errors
    ///
    /// Those of the output.
    pub fn finish(mut self, end: &RunEnd) -> io::Result<W> {
        let payload = serde_json::to_vec(end)?;
        self.chunk(Kind::End, 0, &payload, Compression::default())?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn chunk(
        &mut self,
        kind: Kind,
        core: u32,
        payload: &[u8],
        level: Compression,
    ) -> io::Result<()> {
        self.packed(kind, core, Packed::new(payload, level)?)
    }

    fn packed(&mut self, kind: Kind, core: u32, payload: Packed) -> io::Result<()> {
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
            Compression::fast()
        } else {
            Compression::default()
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
fn pack(parts: &[&[u8]], level: Compression) -> io::Result<Vec<Packed>> {
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
    use super::super::chunk::{Chunks, Framing};
    use super::super::kernel_parts::KernelParts;
    use super::*;

    /// The kernel that is read from chunks of at most 10 bytes, without the ones `lost`.
    fn read_back(elf: &[u8], lost: &[usize]) -> (usize, Option<Vec<u8>>) {
        let mut writer = Writer {
            out: Vec::new(),
            ordinal: 0,
            run: 1,
        };
        let mut files = Embedded(Vec::new());
        files
            .add([Kind::KernelPart, Kind::Kernel], elf, 10)
            .unwrap();
        writer.embed(files).unwrap();
        let file = writer.out;
        let mut parts = KernelParts::default();
        let (mut at, mut count, mut kernel) = (0, 0, None);
        let mut chunks = Chunks::new(&file, Framing::OfRun);
        while let Some(chunk) = chunks.at(at) {
            at = chunk.end();
            if !lost.contains(&count) {
                let payload = chunk.payload(&file).unwrap();
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
    fn a_kernel_without_all_its_parts_is_none() {
        let elf = [7; 25];
        for lost in [&[0][..], &[1], &[2], &[0, 1]] {
            assert_eq!(read_back(&elf, lost).1, None, "without {lost:?}");
        }
    }
}
