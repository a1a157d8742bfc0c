//! Writes a profile while the guest runs.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::io::{self, Write};
use std::time::SystemTime;

use flate2::Compression;

use super::chunk::{self, Kind, Label, MAX_RAW};
use super::{Head, MAGIC, RunEnd, VERSION};

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
    pub fn new(mut out: W, head: &Head<'_>) -> io::Result<Self> {
        out.write_all(&MAGIC)?;
        out.write_all(&VERSION.to_le_bytes())?;
        out.write_all(&[0; 4])?;
        let mut writer = Self {
            out,
            ordinal: 0,
            run: number_of_run(),
        };
        let mut payload = head.description.encode().to_vec();
        serde_json::to_writer(&mut payload, head.host)?;
        writer.chunk(Kind::Head, 0, &payload, Compression::default())?;
        writer.kernel(head.kernel, MAX_RAW)?;
        Ok(writer)
    }

    /// Appends the kernel, in chunks of so many bytes at most.
    fn kernel(&mut self, elf: &[u8], most: usize) -> io::Result<()> {
        self.parts([Kind::KernelPart, Kind::Kernel], elf, most)
    }

    /// Appends a separate debug file of the kernel, which reports call by this name.
    ///
    /// # Errors
    ///
    /// Those of the output.
    pub fn debug_file(&mut self, name: &str, elf: &[u8]) -> io::Result<()> {
        let payload = [name.replace('\0', "").as_bytes(), &[0], elf].concat();
        self.parts([Kind::DebugFilePart, Kind::DebugFile], &payload, MAX_RAW)
    }

    fn parts(&mut self, [part_of, last_of]: [Kind; 2], all: &[u8], most: usize) -> io::Result<()> {
        let mut rest = all;
        let mut number = 0;
        while let Some((part, behind)) = rest.split_at_checked(most).filter(|it| !it.1.is_empty()) {
            self.chunk(part_of, number, part, Compression::default())?;
            rest = behind;
            number += 1;
        }
        self.chunk(last_of, number, rest, Compression::default())
    }

    /// Appends whole records of `core`.
    ///
    /// # Errors
    ///
    /// Those of the output.
    pub fn samples(&mut self, core: u32, words: &[u64]) -> io::Result<()> {
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
        let label = Label {
            kind,
            ordinal: self.ordinal,
            core,
            run: self.run,
        };
        chunk::write(&mut self.out, label, payload, level)?;
        self.ordinal += 1;
        Ok(())
    }
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
        writer.kernel(elf, 10).unwrap();
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
