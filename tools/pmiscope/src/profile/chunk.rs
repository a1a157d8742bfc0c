//! Chunks: how they are framed, found and checked.

use std::io::{self, Write};
use std::ops::Range;

use flate2::write::DeflateEncoder;
use flate2::{Compression, Decompress, FlushDecompress, Status};
use memchr::memmem::Finder;

/// What a chunk starts with.
const MARKER: [u8; 4] = *b"\x93PMI";

/// The most bytes that a payload may inflate to: bounds what a crafted file can
/// make a reader allocate.
pub(super) const MAX_RAW: usize = 256 << 20;

/// How many bytes one of a deflated payload can be at most, and a few more: 258 for two bits
/// (RFC 1951, 3.2.5).
const MAX_RATIO: usize = 258 * 4 + 8;

/// How often a search may check as many bytes as the file has in vain. A damaged chunk is
/// checked in vain once; only a file that is made for it has more.
const PATIENCE: usize = 4;

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

/// How a version of the format frames chunks: see the layout in the parent module.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Framing {
    /// Version 3: the chunk does not say which run it is of, and has one checksum.
    Anonymous,
    /// Versions 4 and 5.
    OfRun,
}

impl Framing {
    /// The framing of this version of the format, if it can be read.
    pub(super) const fn of_version(version: u32) -> Option<Self> {
        match version {
            3 => Some(Self::Anonymous),
            4 | 5 => Some(Self::OfRun),
            _ => None,
        }
    }

    /// Bytes of a chunk before its payload.
    const fn header(self) -> usize {
        match self {
            Self::Anonymous => 28,
            Self::OfRun => 40,
        }
    }
}

/// A whole chunk in a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Chunk {
    pub kind: Kind,
    pub ordinal: u32,
    pub core: u32,
    /// Which run it is of; 0 in a format that does not say.
    pub run: u64,
    raw_len: usize,
    /// Where the deflated payload lies in the file.
    payload: Range<usize>,
}

/// What a chunk's header says of it.
#[derive(Clone, Copy)]
pub(super) struct Label {
    pub kind: Kind,
    pub ordinal: u32,
    pub core: u32,
    pub run: u64,
}

/// A payload as it is stored, with room for the header before it.
pub(super) struct Packed {
    raw_len: u32,
    chunk: Vec<u8>,
}

impl Packed {
    /// Deflates a payload.
    ///
    /// # Errors
    ///
    /// A payload too long for the format.
    pub(super) fn new(payload: &[u8], level: Compression) -> io::Result<Self> {
        if payload.len() > MAX_RAW {
            return Err(too_long());
        }
        let mut chunk = Vec::with_capacity(HEADER + payload.len() / 2);
        chunk.resize(HEADER, 0);
        let mut deflate = DeflateEncoder::new(chunk, level);
        deflate.write_all(payload)?;
        Ok(Self {
            raw_len: u32::try_from(payload.len()).map_err(|_| too_long())?,
            chunk: deflate.finish()?,
        })
    }
}

fn too_long() -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, "too much for one chunk")
}

/// Bytes of the header of the chunks that are written.
const HEADER: usize = Framing::OfRun.header();

/// Writes a chunk, in one call, so that the file grows by whole chunks as far
/// as the file system keeps a write together.
///
/// # Errors
///
/// Those of `out`; a payload too long for the format.
pub(super) fn write(out: &mut impl Write, label: Label, payload: Packed) -> io::Result<()> {
    let Packed { raw_len, mut chunk } = payload;
    let stored = u32::try_from(chunk.len() - HEADER).map_err(|_| too_long())?;
    let Label {
        kind,
        ordinal,
        core,
        run,
    } = label;
    let fields = [kind as u32, ordinal, core, raw_len, stored];
    chunk[..4].copy_from_slice(&MARKER);
    for (place, field) in chunk[4..24].as_chunks_mut().0.iter_mut().zip(fields) {
        *place = field.to_le_bytes();
    }
    chunk[24..32].copy_from_slice(&run.to_le_bytes());
    let sum = checksum([&chunk[4..32]]);
    chunk[32..36].copy_from_slice(&sum.to_le_bytes());
    let sum = checksum([&chunk[4..36], &chunk[HEADER..]]);
    chunk[36..HEADER].copy_from_slice(&sum.to_le_bytes());
    out.write_all(&chunk)
}

fn checksum<const N: usize>(parts: [&[u8]; N]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    parts.into_iter().for_each(|part| sum.update(part));
    sum.finalize()
}

/// The chunks of a file.
pub(super) struct Chunks<'a> {
    file: &'a [u8],
    framing: Framing,
    marker: Finder<'static>,
    /// Bytes that may still be checked in vain.
    patience: usize,
    /// Whether something was not checked for want of that.
    has_given_up: bool,
}

impl<'a> Chunks<'a> {
    pub(super) fn new(file: &'a [u8], framing: Framing) -> Self {
        Self {
            file,
            framing,
            marker: Finder::new(&MARKER),
            patience: file.len().saturating_mul(PATIENCE),
            has_given_up: false,
        }
    }

    /// Returns true if the file has so many chunks whose content is damaged that some were
    /// not looked at.
    pub(super) fn has_given_up(&self) -> bool {
        self.has_given_up
    }

    /// The chunk that starts at `at`, if a whole one does.
    pub(super) fn at(&mut self, at: usize) -> Option<Chunk> {
        let start = at.checked_add(self.framing.header())?;
        let header = self.file.get(at..start)?;
        if header[..4] != MARKER {
            return None;
        }
        let (words, _) = header.as_chunks();
        let word = |index: usize| u32::from_le_bytes(words[index]);
        let (run, sum, summed) = match self.framing {
            Framing::Anonymous => (0, word(6), 4..24),
            Framing::OfRun => {
                if checksum([&header[4..32]]) != word(8) {
                    return None;
                }
                let run = u64::from(word(6)) | u64::from(word(7)) << 32;
                (run, word(9), 4..36)
            }
        };
        let payload = start..start.checked_add(usize::try_from(word(5)).ok()?)?;
        let content = self.file.get(payload.clone())?;
        if content.len() > self.patience {
            self.has_given_up = true;
            return None;
        }
        if checksum([&header[summed], content]) != sum {
            self.patience -= content.len();
            return None;
        }
        Some(Chunk {
            kind: Kind::from_number(word(1))?,
            ordinal: word(2),
            core: word(3),
            run,
            raw_len: usize::try_from(word(4)).ok()?,
            payload,
        })
    }

    /// The next whole chunk that starts at or after `from`, and where.
    pub(super) fn find(&mut self, mut from: usize) -> Option<(usize, Chunk)> {
        loop {
            let start = from + self.marker.find(self.file.get(from..)?)?;
            if let Some(chunk) = self.at(start) {
                return Some((start, chunk));
            }
            from = start + 1;
        }
    }
}

impl Chunk {
    /// The first byte of the file past the chunk.
    pub(super) fn end(&self) -> usize {
        self.payload.end
    }

    /// The payload, or `None` if it does not inflate to what the header says.
    pub(super) fn payload(&self, file: &[u8]) -> Option<Vec<u8>> {
        let deflated = &file[self.payload.clone()];
        let most = deflated.len().saturating_mul(MAX_RATIO).min(MAX_RAW);
        if self.raw_len > most {
            return None;
        }
        let mut raw = Vec::with_capacity(self.raw_len + 1);
        let mut inflate = Decompress::new(false);
        let status = inflate.decompress_vec(deflated, &mut raw, FlushDecompress::Finish);
        let is_whole = status.is_ok_and(|status| status == Status::StreamEnd);
        (is_whole && raw.len() == self.raw_len).then_some(raw)
    }
}
