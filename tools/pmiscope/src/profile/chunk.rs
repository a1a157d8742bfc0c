//! Chunks: how they are framed, found and checked.

use std::io::{self, Read, Write};
use std::ops::Range;

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;

/// What a chunk starts with.
const MARKER: [u8; 4] = *b"\x93PMI";

/// Bytes of a chunk before its payload.
const HEADER: usize = 28;

/// The most bytes that a payload may inflate to: bounds what a crafted file can
/// make a reader allocate.
pub(super) const MAX_RAW: usize = 256 << 20;

/// What a chunk holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub(super) enum Kind {
    /// The run.
    Head = 1,
    /// The kernel's ELF file.
    Kernel = 2,
    /// Records of one core.
    Samples = 3,
    /// How the run ended.
    End = 4,
    /// A part of the kernel's ELF file, of which [`Self::Kernel`] is the last.
    KernelPart = 5,
    /// A separate debug file of the kernel: its name, a zero byte, the file.
    DebugFile = 6,
    /// A part of such a file, of which [`Self::DebugFile`] is the last.
    DebugFilePart = 7,
}

impl Kind {
    fn from_number(number: u32) -> Option<Self> {
        [
            Self::Head,
            Self::Kernel,
            Self::Samples,
            Self::End,
            Self::KernelPart,
            Self::DebugFile,
            Self::DebugFilePart,
        ]
        .into_iter()
        .find(|&kind| kind as u32 == number)
    }
}

/// A whole chunk in a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Chunk {
    pub kind: Kind,
    pub ordinal: u32,
    pub core: u32,
    raw_len: usize,
    /// Where the deflated payload lies in the file.
    payload: Range<usize>,
}

/// Writes a chunk, in one call, so that the file grows by whole chunks as far
/// as the file system keeps a write together.
///
/// # Errors
///
/// Those of `out`; a payload too long for the format.
pub(super) fn write(
    out: &mut impl Write,
    (kind, ordinal, core): (Kind, u32, u32),
    payload: &[u8],
    level: Compression,
) -> io::Result<()> {
    let too_long = || io::Error::new(io::ErrorKind::FileTooLarge, "too much for one chunk");
    let number = |len: usize| u32::try_from(len).map_err(|_| too_long());
    if payload.len() > MAX_RAW {
        return Err(too_long());
    }
    let mut chunk = Vec::with_capacity(HEADER + payload.len() / 2);
    chunk.resize(HEADER, 0);
    let mut deflate = DeflateEncoder::new(chunk, level);
    deflate.write_all(payload)?;
    let mut chunk = deflate.finish()?;
    let stored = number(chunk.len() - HEADER)?;
    let fields = [kind as u32, ordinal, core, number(payload.len())?, stored];
    chunk[..4].copy_from_slice(&MARKER);
    for (place, field) in chunk[4..24].as_chunks_mut().0.iter_mut().zip(fields) {
        *place = field.to_le_bytes();
    }
    let sum = checksum(&chunk[4..24], &chunk[HEADER..]);
    chunk[24..HEADER].copy_from_slice(&sum.to_le_bytes());
    out.write_all(&chunk)
}

fn checksum(fields: &[u8], payload: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(fields);
    sum.update(payload);
    sum.finalize()
}

impl Chunk {
    /// The chunk that starts at `at`, if a whole one does.
    pub(super) fn at(file: &[u8], at: usize) -> Option<Self> {
        let header = file.get(at..at.checked_add(HEADER)?)?;
        if header[..4] != MARKER {
            return None;
        }
        let (words, _) = header[4..].as_chunks();
        let [kind, ordinal, core, raw_len, len, sum] =
            core::array::from_fn(|index| u32::from_le_bytes(words[index]));
        let start = at + HEADER;
        let payload = start..start.checked_add(usize::try_from(len).ok()?)?;
        if checksum(&header[4..24], file.get(payload.clone())?) != sum {
            return None;
        }
        Some(Self {
            kind: Kind::from_number(kind)?,
            ordinal,
            core,
            raw_len: usize::try_from(raw_len).ok()?,
            payload,
        })
    }

    /// The next whole chunk that starts at or after `from`, and where.
    pub(super) fn find(file: &[u8], from: usize) -> Option<(usize, Self)> {
        let tail = file.get(from..)?;
        tail.windows(MARKER.len())
            .enumerate()
            .filter(|(_, window)| *window == MARKER)
            .find_map(|(offset, _)| Some((from + offset, Self::at(file, from + offset)?)))
    }

    /// The first byte of the file past the chunk.
    pub(super) fn end(&self) -> usize {
        self.payload.end
    }

    /// The payload, or `None` if it does not inflate to what the header says.
    pub(super) fn payload(&self, file: &[u8]) -> Option<Vec<u8>> {
        if self.raw_len > MAX_RAW {
            return None;
        }
        let limit = self.raw_len as u64 + 1;
        let mut inflate = DeflateDecoder::new(&file[self.payload.clone()]).take(limit);
        let mut raw = Vec::with_capacity(self.raw_len.min(1 << 20));
        inflate.read_to_end(&mut raw).ok()?;
        (raw.len() == self.raw_len).then_some(raw)
    }
}
