//! Chunks: how they are framed, found and checked.

use std::io::{self, Write};
use std::ops::Range;
use std::sync::Arc;

use memchr::memmem::Finder;
use zstd::bulk::{Compressor, Decompressor};

use super::source::Source;
use super::zeros::zeros;

/// What a chunk starts with.
const MARKER: [u8; 4] = *b"\x93PMI";

/// The most bytes that a payload may have when it is unpacked: bounds what a crafted file can
/// make a reader allocate.
pub(super) const MAX_RAW: usize = 256 << 20;

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
    /// Samples of all cores, as columns.
    Samples = 3,
    /// How the run ended.
    End = 4,
    /// A part of the kernel's ELF file, of which [`Self::Kernel`] is the last.
    KernelPart = 5,
    /// A separate debug file of the kernel: its name, a zero byte, the file.
    DebugFile = 6,
    /// A part of such a file, of which [`Self::DebugFile`] is the last.
    DebugFilePart = 7,
    /// Stacks that the samples behind it are the first to have.
    Stacks = 8,
    /// Other records of one core, as they stood in its ring.
    Records = 9,
    /// Chains that were counted in place.
    Chains = 10,
    /// Names in place of the kernel.
    Names = 11,
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
            Self::Stacks,
            Self::Records,
            Self::Chains,
            Self::Names,
        ]
        .into_iter()
        .find(|&kind| kind as u32 == number)
    }
}

/// Bytes of a chunk before its payload.
const HEADER: usize = 40;

/// A whole chunk in a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Chunk {
    pub kind: Kind,
    pub ordinal: u32,
    pub core: u32,
    /// Which run it is of.
    pub run: u64,
    /// Bytes of the payload when it is unpacked.
    raw_len: usize,
    /// Where the payload lies in the file.
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
    /// Packs a payload.
    ///
    /// # Errors
    ///
    /// A payload too long for the format.
    pub(super) fn new(payload: &[u8], level: i32) -> io::Result<Self> {
        if payload.len() > MAX_RAW {
            return Err(too_long());
        }
        let most = HEADER + zstd::zstd_safe::compress_bound(payload.len());
        let mut chunk = vec![0; most];
        let packed = Compressor::new(level)?.compress_to_buffer(payload, &mut chunk[HEADER..])?;
        chunk.truncate(HEADER + packed);
        chunk.shrink_to_fit();
        Ok(Self {
            raw_len: u32::try_from(payload.len()).map_err(|_| too_long())?,
            chunk,
        })
    }

    /// A payload as another file has it.
    ///
    /// # Errors
    ///
    /// A payload too long for the format.
    pub(super) fn stored(stored: &[u8], of: &Chunk) -> io::Result<Self> {
        Ok(Self {
            raw_len: u32::try_from(of.raw_len).map_err(|_| too_long())?,
            chunk: [&[0; HEADER][..], stored].concat(),
        })
    }

    /// A payload whose columns are packed already, written behind the room for the header.
    ///
    /// # Errors
    ///
    /// A payload too long for the format.
    pub(super) fn of_columns(
        write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>,
    ) -> io::Result<Self> {
        let mut chunk = vec![0; HEADER];
        write(&mut chunk)?;
        let raw_len = chunk.len() - HEADER;
        if raw_len > MAX_RAW {
            return Err(too_long());
        }
        Ok(Self {
            raw_len: u32::try_from(raw_len).map_err(|_| too_long())?,
            chunk,
        })
    }
}

fn too_long() -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, "too much for one chunk")
}

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
    source: &'a Source,
    marker: Finder<'static>,
    /// Room for the chunk that is looked at.
    buffer: Vec<u8>,
    /// Bytes that may still be checked in vain.
    patience: usize,
    /// Whether something was not checked for want of that.
    has_given_up: bool,
}

impl<'a> Chunks<'a> {
    pub(super) fn new(source: &'a Source) -> Self {
        Self {
            source,
            marker: Finder::new(&MARKER),
            buffer: Vec::new(),
            patience: source.length().saturating_mul(PATIENCE),
            has_given_up: false,
        }
    }

    /// Returns true if the file has so many chunks whose content is damaged that some were
    /// not looked at.
    pub(super) fn has_given_up(&self) -> bool {
        self.has_given_up
    }

    /// The chunk that starts at `at`, if a whole one does.
    ///
    /// # Errors
    ///
    /// Those of reading the file.
    pub(super) fn at(&mut self, at: usize) -> io::Result<Option<Chunk>> {
        let Some(start) = at.checked_add(HEADER) else {
            return Ok(None);
        };
        if start > self.source.length() {
            return Ok(None);
        }
        let mut header = [0; HEADER];
        header.copy_from_slice(self.source.read(at..start, &mut self.buffer)?);
        let Some((label, mut chunk)) = Chunk::labelled(&header, start) else {
            return Ok(None);
        };
        if chunk.payload.end > self.source.length() {
            return Ok(None);
        }
        let length = chunk.payload.len();
        if length > self.patience {
            self.has_given_up = true;
            return Ok(None);
        }
        let content = self.source.read(chunk.payload.clone(), &mut self.buffer)?;
        if checksum([&header[4..36], content]) != label.sum {
            self.patience -= length;
            return Ok(None);
        }
        let Some(kind) = Kind::from_number(label.kind) else {
            return Ok(None);
        };
        chunk.kind = kind;
        Ok(Some(chunk))
    }

    /// The payload, as it is stored, of the chunk that was found last.
    pub(super) fn stored(&self, chunk: &Chunk) -> &[u8] {
        let in_memory = self.source.in_memory(chunk.payload.clone());
        in_memory.unwrap_or_else(|| &self.buffer[..chunk.payload.len()])
    }

    /// The next whole chunk that starts at or after `from`, and where.
    ///
    /// # Errors
    ///
    /// Those of reading the file.
    pub(super) fn find(&mut self, mut from: usize) -> io::Result<Option<(usize, Chunk)>> {
        loop {
            if let Some(chunk) = self.at(from)? {
                return Ok(Some((from, chunk)));
            }
            let rest = from + 1..self.source.length();
            match self.source.find(&self.marker, rest)? {
                Some(start) => from = start,
                None => return Ok(None),
            }
        }
    }
}

/// What of a header is not the chunk's.
struct Unchecked {
    kind: u32,
    sum: u32,
}

impl Chunk {
    /// The chunk with this header, whose payload starts at `start`. Nothing is known of that,
    /// nor is the kind set.
    fn labelled(header: &[u8; HEADER], start: usize) -> Option<(Unchecked, Self)> {
        if header[..4] != MARKER {
            return None;
        }
        let (words, _) = header.as_chunks();
        let word = |index: usize| u32::from_le_bytes(words[index]);
        if checksum([&header[4..32]]) != word(8) {
            return None;
        }
        let chunk = Self {
            kind: Kind::Head,
            ordinal: word(2),
            core: word(3),
            run: u64::from(word(6)) | u64::from(word(7)) << 32,
            raw_len: usize::try_from(word(4)).ok()?,
            payload: start..start.checked_add(usize::try_from(word(5)).ok()?)?,
        };
        let unchecked = Unchecked {
            kind: word(1),
            sum: word(9),
        };
        Some((unchecked, chunk))
    }

    /// The first byte of the file past the chunk.
    pub(super) fn end(&self) -> usize {
        self.payload.end
    }

    /// The payload as it is stored.
    ///
    /// # Errors
    ///
    /// Those of reading the file.
    pub(super) fn stored<'a>(
        &self,
        source: &'a Source,
        buffer: &'a mut Vec<u8>,
    ) -> io::Result<&'a [u8]> {
        source.read(self.payload.clone(), buffer)
    }

    /// Unpacks the payload, of a kind that is packed as one; `None` if that does not give what the
    /// header says.
    pub(super) fn unpack(&self, stored: &[u8]) -> Option<Vec<u8>> {
        if self.raw_len > MAX_RAW {
            return None;
        }
        let raw = zstd::bulk::decompress(stored, self.raw_len).ok();
        raw.filter(|raw| raw.len() == self.raw_len)
    }

    /// The same, where several will have parts of it.
    pub(super) fn unpack_shared(&self, stored: &[u8]) -> Option<Arc<[u8]>> {
        if self.raw_len > MAX_RAW {
            return None;
        }
        let mut raw = zeros(self.raw_len);
        let room = Arc::get_mut(&mut raw)?;
        let length = Decompressor::new()
            .ok()?
            .decompress_to_buffer(stored, room)
            .ok()?;
        (length == self.raw_len).then_some(raw)
    }
}
