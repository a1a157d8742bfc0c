//! A file that has a guest's memory in it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use memmap2::MmapMut;
use object::elf::{ET_CORE, FileHeader64, PT_LOAD, PT_NOTE};
use object::read::ReadCache;
use object::read::elf::{FileHeader as _, ProgramHeader as _};
use object::{Endianness, elf};
use profiler::format::region::{MAGIC, PAGE};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::collect::Mapping;
use crate::input::data_from;
use crate::units::grouped;

/// Bytes that are read at a time.
const BLOCK: usize = 1 << 20;
const PAGE_BYTES: u64 = PAGE as u64;

/// Files that are something else: what they start with, what they are, what to do.
const OTHER_KINDS: [(&[u8], &str, &str); 9] = [
    (b"QFI\xfb", "a qcow2 image", SNAPSHOT),
    (
        b"QEVM",
        "a saved state of QEMU's (migration or savevm)",
        SNAPSHOT,
    ),
    (b"KDUMP   ", "a compressed kdump", KDUMP),
    (b"makedumpfile", "a compressed kdump, flattened", KDUMP),
    (b"PAGEDU64", "a dump for Windows' debuggers", KDUMP),
    (b"PAGEDUMP", "a dump for Windows' debuggers", KDUMP),
    (b"\x1f\x8b\x08", "compressed by gzip", "unpack it first"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd", "unpack it first"),
    (
        &crate::profile::MAGIC,
        "a profile",
        "pmiscope report shows it",
    ),
];
/// Why Linux may not let its memory be read.
const KEPT_BACK: &str = "a Linux with CONFIG_STRICT_DEVMEM keeps its memory to itself, and one that is locked down all: start it with memmap=SIZE$ADDRESS, so that this memory is not its own";
const SNAPSHOT: &str = "the memory in it is not laid out as the guest's: load it into QEMU, and take an ELF core by QMP's dump-guest-memory";
const KDUMP: &str = "take an ELF core instead: QMP's dump-guest-memory without `format` (in the monitor, without -z, -l, -s or -w)";

/// A stretch of the guest's memory in the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Extent {
    /// Its first address. In a file that backs the memory, its place in the file.
    address: u64,
    offset: u64,
    bytes: u64,
}

impl Extent {
    fn end(&self) -> u64 {
        self.address + self.bytes
    }
}

/// A file that has a guest's memory in it.
pub struct Image {
    path: PathBuf,
    file: File,
    /// In the order of their addresses.
    extents: Vec<Extent>,
    kind: Kind,
    bytes: u64,
    /// It ends within a page, which is left out.
    is_cut: bool,
}

/// What a file is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// What backs a guest's memory.
    Ram,
    /// A dump of it.
    Dump,
    /// This machine's own memory, by addresses: /dev/mem.
    Device,
}

/// What to do with a file that backs a guest's memory and is no multiple of a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Odd {
    /// No guest runs with it.
    Refused,
    /// It was one, and is cut.
    Cut,
}

impl Image {
    /// Opens the file that backs a guest's memory, or a dump, for reading.
    ///
    /// # Errors
    ///
    /// There is no such file, or it is something else; the message says what.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_file(path, "--ram", Odd::Refused)
    }

    /// The same, for a command that takes it as its argument, and what there is of one that is cut.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn open_for(path: &Path, command: &str) -> Result<Self> {
        Self::open_file(path, command, Odd::Cut)
    }

    /// Opens the memory in which a run before a reset has left its samples: a file as by
    /// [`Self::open`], or /dev/mem.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn open_kept(path: &Path) -> Result<Self> {
        let shown = || path.display().to_string();
        let metadata = fs::metadata(path).with_context(shown)?;
        if !metadata.file_type().is_char_device() {
            return Self::open_file(path, "--memory", Odd::Refused);
        }
        let file =
            File::open(path).with_context(|| format!("cannot read {}: be root", path.display()))?;
        // As far as an offset can say.
        let bytes = i64::MAX as u64 / PAGE_BYTES * PAGE_BYTES;
        Ok(Self {
            path: path.to_owned(),
            file,
            extents: vec![ram_extent(bytes)?],
            kind: Kind::Device,
            bytes,
            is_cut: false,
        })
    }

    fn open_file(path: &Path, option: &str, odd: Odd) -> Result<Self> {
        let shown = || path.display().to_string();
        let metadata = fs::metadata(path).with_context(shown)?;
        if !metadata.is_file() {
            let what = if metadata.is_dir() {
                "a directory"
            } else {
                "no regular file"
            };
            bail!(
                "{} is {what}: {option} wants the file that backs the guest's memory (mem-path), or a dump of it",
                shown()
            );
        }
        let file = File::open(path).with_context(shown)?;
        let mut start = [0; 64];
        let length = file.read_at(&mut start, 0).with_context(shown)?;
        let start = &start[..length];
        for (magic, what, remedy) in OTHER_KINDS {
            if start.starts_with(magic) {
                bail!("{} is {what}, not a guest's memory: {remedy}", shown());
            }
        }
        let bytes = metadata.len();
        let kind = if start.starts_with(&elf::ELFMAG) {
            Kind::Dump
        } else {
            Kind::Ram
        };
        let pages = bytes / PAGE_BYTES * PAGE_BYTES;
        let is_cut = kind == Kind::Ram && odd == Odd::Cut && pages != bytes && pages != 0;
        let extents = if kind == Kind::Dump {
            dump_extents(&file, bytes).with_context(shown)?
        } else {
            let whole = if is_cut { pages } else { bytes };
            vec![ram_extent(whole).with_context(shown)?]
        };
        Ok(Self {
            path: path.to_owned(),
            file,
            extents,
            kind,
            bytes,
            is_cut,
        })
    }

    /// The file, for messages.
    pub fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// Returns true if it is a dump, which nobody writes to any more.
    pub fn is_dump(&self) -> bool {
        self.kind == Kind::Dump
    }

    /// Returns true if it backs a guest's memory and ends within a page: it is not whole.
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// Returns true if it is the memory of this machine.
    pub fn is_device(&self) -> bool {
        self.kind == Kind::Device
    }

    /// The device and the inode that the file is, and its path without links.
    pub fn identity(&self) -> Result<(u64, u64, PathBuf)> {
        let metadata = self.file.metadata().with_context(|| self.name())?;
        let path = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        Ok((metadata.dev(), metadata.ino(), path))
    }

    /// Claims the rings: as their only reader if `is_reader`, else against one.
    ///
    /// # Errors
    ///
    /// Somebody else reads them.
    pub fn claim(&self, is_reader: bool) -> Result<()> {
        let operation = if is_reader {
            FlockOperation::NonBlockingLockExclusive
        } else {
            FlockOperation::NonBlockingLockShared
        };
        match flock(&self.file, operation) {
            Err(Errno::WOULDBLOCK) => bail!(
                "another pmiscope reads {}, and a ring has one reader: end that one first",
                self.name()
            ),
            other => other.with_context(|| format!("cannot lock {}", self.name())),
        }
    }

    /// Maps a live guest's memory, to read its rings in place.
    ///
    /// # Errors
    ///
    /// It cannot be written, or not be mapped.
    pub fn map(&self) -> Result<Mapping> {
        let writable = OpenOptions::new().read(true).write(true).open(&self.path);
        let writable = writable.with_context(|| {
            format!(
                "cannot write to {}, and what was read has to be marked in a live guest's rings (--once reads what they have now, and marks nothing)",
                self.name()
            )
        })?;
        let (own, other) = (self.file.metadata()?, writable.metadata()?);
        if (own.dev(), own.ino()) != (other.dev(), other.ino()) {
            bail!(
                "{} was replaced by another file just now: try again",
                self.name()
            );
        }
        let bytes = usize::try_from(self.bytes).context("too much memory")?;
        Mapping::foreign(&writable, bytes).with_context(|| format!("cannot map {}", self.name()))
    }

    /// Returns true if the file has been shortened since it was opened.
    pub fn is_shortened(&self) -> Result<bool> {
        let metadata = self.file.metadata().with_context(|| self.name())?;
        Ok(metadata.len() < self.bytes)
    }

    /// The memory of a guest that this tool has run, which has this file.
    ///
    /// # Errors
    ///
    /// Those of asking for its length.
    pub fn of_guest(file: &File) -> Result<Self> {
        let bytes = file.metadata()?.len();
        Ok(Self {
            path: PathBuf::from("the guest's memory"),
            file: file.try_clone()?,
            extents: vec![ram_extent(bytes)?],
            kind: Kind::Ram,
            bytes,
            is_cut: false,
        })
    }

    /// The bytes of the file.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Reads what is at an address. Returns false if not all of it is there.
    pub fn read_at(&self, address: u64, into: &mut [u8]) -> bool {
        let Ok(pieces) = self.pieces(address, into.len() as u64) else {
            return false;
        };
        let mut rest = into;
        for piece in pieces {
            let length = usize::try_from(piece.bytes).unwrap_or(rest.len());
            let (part, behind) = rest.split_at_mut(length.min(rest.len()));
            if self.read(part, piece.offset).is_err() {
                return false;
            }
            rest = behind;
        }
        true
    }

    /// The notes in which a dump has the registers of processors; none of a file that is cut there.
    pub fn process_notes(&self) -> Vec<Vec<u8>> {
        if self.is_dump() {
            process_notes(&self.file).unwrap_or_default()
        } else {
            Vec::new()
        }
    }

    /// The addresses of all pages that begin with the magic of a region.
    ///
    /// # Errors
    ///
    /// Those of reading the file.
    pub fn candidates(&self) -> Result<Vec<u64>> {
        self.pages_with(&MAGIC)
    }

    /// The addresses of all pages that begin with `magic`. Holes are not read: they have none.
    ///
    /// # Errors
    ///
    /// Those of reading the file.
    pub fn pages_with(&self, magic: &[u8]) -> Result<Vec<u64>> {
        let mut found = Vec::new();
        let mut block = vec![0; BLOCK];
        for extent in &self.extents {
            self.search(extent, magic, &mut block, &mut found)
                .with_context(|| format!("cannot search {}", self.name()))?;
        }
        Ok(found)
    }

    fn search(
        &self,
        extent: &Extent,
        magic: &[u8],
        block: &mut [u8],
        found: &mut Vec<u64>,
    ) -> io::Result<()> {
        let offset_of = |address: u64| extent.offset + (address - extent.address);
        let mut address = extent.address.next_multiple_of(PAGE_BYTES);
        while address < extent.end() {
            let Some(data) = data_from(&self.file, offset_of(address))? else {
                break;
            };
            let skipped = data.start.saturating_sub(offset_of(address));
            address += skipped / PAGE_BYTES * PAGE_BYTES;
            let end = extent
                .end()
                .min(extent.address + data.end.saturating_sub(extent.offset));
            while address < end {
                let wanted = (end - address).min(block.len() as u64);
                let wanted = usize::try_from(wanted).unwrap_or(block.len());
                let read = read_up_to(&self.file, &mut block[..wanted], offset_of(address))?;
                let pages = (address..).step_by(PAGE).zip(block[..read].chunks(PAGE));
                found.extend(
                    pages
                        .filter(|(_, page)| page.starts_with(magic))
                        .map(|(at, _)| at),
                );
                if read < wanted {
                    // The file was shortened.
                    return Ok(());
                }
                address += (wanted as u64).next_multiple_of(PAGE_BYTES);
            }
        }
        Ok(())
    }

    /// A copy of `bytes` bytes from `address` on, whichever stretches they lie in.
    ///
    /// # Errors
    ///
    /// The file does not have all of them.
    pub fn copy(&self, address: u64, bytes: usize) -> Result<Mapping> {
        let pieces = self.pieces(address, bytes as u64).with_context(|| {
            format!(
                "{} does not hold all of the region at {address:#x}",
                self.name()
            )
        })?;
        let mut memory = MmapMut::map_anon(bytes).context("no memory for a copy of the region")?;
        let mut rest = &mut memory[..];
        for piece in pieces {
            let (part, behind) = rest.split_at_mut(usize::try_from(piece.bytes)?);
            self.read(part, piece.offset)?;
            rest = behind;
        }
        Ok(Mapping::private(memory))
    }

    fn read(&self, place: &mut [u8], offset: u64) -> Result<()> {
        if !self.is_device() {
            let read = self.file.read_exact_at(place, offset);
            return read.with_context(|| format!("cannot read {}", self.name()));
        }
        // Linux looks at each page whether it may be read.
        for (page, at) in place.chunks_mut(PAGE).zip((offset..).step_by(PAGE)) {
            let read = self.file.read_exact_at(page, at);
            read.with_context(|| format!("cannot read {} at {at:#x}: {KEPT_BACK}", self.name()))?;
        }
        Ok(())
    }

    /// Where these bytes lie, in their order.
    fn pieces(&self, mut address: u64, mut bytes: u64) -> Result<Vec<Extent>> {
        let mut pieces = Vec::new();
        while bytes > 0 {
            let holds = |extent: &&Extent| extent.address <= address && address < extent.end();
            let Some(extent) = self.extents.iter().find(holds) else {
                bail!(
                    "the {} bytes from address {address:#x} on are not in it: it was cut, or is of a part of the memory only",
                    grouped(bytes)
                );
            };
            let length = bytes.min(extent.end() - address);
            pieces.push(Extent {
                address,
                offset: extent.offset + (address - extent.address),
                bytes: length,
            });
            address += length;
            bytes -= length;
        }
        Ok(pieces)
    }
}

/// Reads until the buffer is full or the file ends.
fn read_up_to(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut read = 0;
    while read < buffer.len() {
        match file.read_at(&mut buffer[read..], offset + read as u64) {
            Ok(0) => break,
            Ok(count) => read += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

/// The memory in a file of this length that backs it.
fn ram_extent(bytes: u64) -> Result<Extent> {
    if bytes == 0 {
        bail!("the file is empty: QEMU has not begun to use it, or has another one");
    }
    if !bytes.is_multiple_of(PAGE_BYTES) {
        bail!(
            "this is no guest's memory: its {} bytes are no multiple of a page ({PAGE})",
            grouped(bytes)
        );
    }
    Ok(Extent {
        address: 0,
        offset: 0,
        bytes,
    })
}

/// The notes in which a dump has the registers of processors.
fn process_notes(file: &File) -> Option<Vec<Vec<u8>>> {
    let cache = ReadCache::new(file);
    let header = FileHeader64::<Endianness>::parse(&cache).ok()?;
    let endian = header.endian().ok()?;
    let mut found = Vec::new();
    for segment in header.program_headers(endian, &cache).ok()? {
        let mut notes = segment.notes(endian, &cache).ok().flatten();
        while let Some(Ok(Some(note))) = notes.as_mut().map(object::read::elf::NoteIterator::next) {
            if note.name() == b"CORE" && note.n_type(endian) == elf::NT_PRSTATUS {
                found.push(note.desc().to_vec());
            }
        }
    }
    Some(found)
}

/// Where a dump of a guest has its memory, by physical addresses.
fn dump_extents(file: &File, bytes: u64) -> Result<Vec<Extent>> {
    let cache = ReadCache::new(file);
    let header = FileHeader64::<Endianness>::parse(&cache);
    let header =
        header.context("not a 64-bit ELF file: of a guest in 64-bit mode QEMU dumps one")?;
    let endian = header.endian().context("a damaged ELF file")?;
    if header.e_type(endian) != ET_CORE {
        bail!("this is an ELF program, not a guest's memory: --kernel takes the kernel");
    }
    let segments = header.program_headers(endian, &cache);
    let segments = segments.context("a damaged core file")?;
    let mut is_guests = false;
    for segment in segments
        .iter()
        .filter(|segment| segment.p_type(endian) == PT_NOTE)
    {
        let mut notes = segment.notes(endian, &cache).ok().flatten();
        while let Some(Ok(Some(note))) = notes.as_mut().map(object::read::elf::NoteIterator::next) {
            is_guests |= note.name() == b"QEMU";
        }
    }
    if !is_guests {
        bail!(
            "this is the core of a process, not of a guest (it has no note of QEMU's): give the file that backs the guest's memory, or a dump by QMP's dump-guest-memory"
        );
    }
    let loaded = segments
        .iter()
        .filter(|segment| segment.p_type(endian) == PT_LOAD);
    let mut extents: Vec<_> = loaded
        .map(|segment| {
            let offset = segment.p_offset(endian);
            Extent {
                address: segment.p_paddr(endian),
                offset,
                // A file that was cut has less than its header says.
                bytes: segment.p_filesz(endian).min(bytes.saturating_sub(offset)),
            }
        })
        .filter(|extent| extent.bytes > 0 && extent.address.checked_add(extent.bytes).is_some())
        .collect();
    extents.sort_by_key(|extent| (extent.address, extent.bytes));
    if extents.is_empty() {
        bail!("this dump has no memory in it: it was cut");
    }
    Ok(extents)
}
