//! The kernel's ELF file: what of it is to be loaded, where, and whether it can be.

use arrayvec::ArrayVec;
use elf::abi::{ELFCLASS64, EM_X86_64, ET_DYN, ET_EXEC, PF_W, PF_X, PT_DYNAMIC, PT_LOAD};
use elf::endian::LittleEndian;
use elf::segment::ProgramHeader;
use elf::{ElfBytes, ParseError};
use x86_64::VirtAddr;

use crate::memory_map::PAGE;
use crate::{Error, Result, kaslr, relocation};

/// The top 2 GiB begin here; the kernel code model reaches nothing else.
const LOWEST: VirtAddr = VirtAddr::new(0xffff_ffff_8000_0000);

/// The last page of all is left free, so that an end is an address, too.
const LAST_PAGE: u64 = 0xffff_ffff_ffff_f000;

/// A part of the kernel that has its own pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment<'a> {
    /// The first address.
    pub start: VirtAddr,
    /// In memory, in bytes; never zero.
    pub size: u64,
    /// What lies there; zeros follow it.
    pub content: &'a [u8],
    /// Whether it may be written.
    pub writable: bool,
    /// Whether it may be executed.
    pub executable: bool,
}

impl Segment<'_> {
    /// The first address of its first page.
    #[must_use]
    pub fn first_page(&self) -> VirtAddr {
        self.start.align_down(PAGE)
    }

    /// The first address past its last page.
    #[must_use]
    pub fn pages_end(&self) -> VirtAddr {
        (self.start + self.size).align_up(PAGE)
    }
}

/// A kernel that can be loaded: it has segments, all in the top 2 GiB, and no two
/// of them share a page.
#[derive(PartialEq, Eq, Debug)]
pub struct Executable<'a> {
    /// Where they lie once the kernel is moved.
    segments: ArrayVec<Segment<'a>, 16>,
    /// Where it is entered unless it requests otherwise.
    pub entry: u64,
    /// How far it is moved from where it was linked.
    pub slide: u64,
    /// What has to be changed because of that.
    relocations: relocation::Tables,
    /// Where it lists its requests, if it does so by a section of its own.
    pub request_list: Option<u64>,
}

impl<'a> Executable<'a> {
    /// Checks an ELF file, and decides where the kernel goes:
    ///
    /// | linked | without a seed | with a seed for KASLR |
    /// |---|---|---|
    /// | for a fixed address | there | [`Error::NotRelocatable`] |
    /// | relocatable, in the top 2 GiB | there | [further up](kaslr) |
    /// | relocatable, below | as far above `0xffffffff80000000` | further up from that |
    ///
    /// # Errors
    ///
    /// Those of [`Error`] that speak of the kernel's file, its segments or its place.
    pub fn parse(file: &'a [u8], seed: Option<u64>) -> Result<Self> {
        let elf = kernel(file)?;
        let headers = || elf.segments().into_iter().flatten();
        let dynamic = match headers().find(|header| header.p_type == PT_DYNAMIC) {
            Some(header) => elf.segment_data(&header).map_err(|_| Error::CutShort)?,
            None => &[],
        };
        let is_relocatable = elf.ehdr.e_type == ET_DYN || relocation::is_pie(dynamic);
        if seed.is_some() && !is_relocatable {
            return Err(Error::NotRelocatable);
        }
        let loaded = || headers().filter(|header| header.p_type == PT_LOAD && header.p_memsz > 0);
        let slide = if is_relocatable {
            slide(loaded(), seed)?
        } else {
            0
        };
        let mut segments = ArrayVec::new();
        for header in loaded() {
            let content = elf.segment_data(&header).map_err(|_| Error::CutShort)?;
            let segment = segment(&header, content, slide)?;
            segments
                .try_push(segment)
                .map_err(|_| Error::TooManySegments)?;
        }
        segments.sort_unstable_by_key(|segment| segment.start);
        for pair in segments.windows(2) {
            if pair[0].pages_end() > pair[1].first_page() {
                return Err(Error::SegmentsOverlap(pair[1].first_page()));
            }
        }
        if segments.is_empty() {
            return Err(Error::NoSegments);
        }
        let relocations = if is_relocatable {
            relocation::Tables::parse(dynamic)?
        } else {
            relocation::Tables::default()
        };
        let list = elf.section_header_by_name(".limine_reqs").ok().flatten();
        Ok(Self {
            segments,
            entry: elf.ehdr.e_entry.wrapping_add(slide),
            slide,
            relocations,
            request_list: list.map(|section| section.sh_addr.wrapping_add(slide)),
        })
    }

    /// The segments, in ascending order; at least one.
    #[must_use]
    pub fn segments(&self) -> &[Segment<'a>] {
        &self.segments
    }

    /// The first address of the image: of its first page.
    #[must_use]
    pub fn start(&self) -> VirtAddr {
        self.segments[0].first_page()
    }

    /// Bytes in the image, with all holes, in whole pages.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.segments[self.segments.len() - 1].pages_end() - self.start()
    }

    /// Bytes at the image's beginning that come from the file: behind them all is zero.
    #[must_use]
    pub fn from_file(&self) -> usize {
        let ends = self.segments.iter().map(|segment| {
            let size = segment.content.len();
            // An empty one may lie behind all others.
            if size == 0 {
                0
            } else {
                self.offset(segment) + size
            }
        });
        ends.max().unwrap_or(0)
    }

    /// Writes the image, relocated, or only its beginning if `image` is shorter.
    ///
    /// # Errors
    ///
    /// [`Error::RelocationType`], [`Error::RelocationTable`].
    ///
    /// # Panics
    ///
    /// If `image` has no room for what comes from the file.
    pub fn load(&self, image: &mut [u8]) -> Result<()> {
        image.fill(0);
        for segment in &self.segments {
            if !segment.content.is_empty() {
                image[self.offset(segment)..][..segment.content.len()]
                    .copy_from_slice(segment.content);
            }
        }
        let linked_at = self.start().as_u64().wrapping_sub(self.slide);
        self.relocations.apply(image, linked_at, self.slide)
    }

    fn offset(&self, segment: &Segment<'_>) -> usize {
        usize::try_from(segment.start - self.start()).expect("is in the image")
    }
}

/// Checks what has to be so of any kernel.
fn kernel(file: &[u8]) -> Result<ElfBytes<'_, LittleEndian>> {
    if !file.starts_with(&[0x7f, b'E', b'L', b'F', ELFCLASS64]) {
        return Err(Error::NotElf);
    }
    let elf = ElfBytes::<LittleEndian>::minimal_parse(file).map_err(|error| match error {
        ParseError::UnsupportedElfEndianness(_) => Error::NotX86_64,
        _ => Error::CutShort,
    })?;
    if elf.ehdr.e_machine != EM_X86_64 {
        return Err(Error::NotX86_64);
    }
    if !matches!(elf.ehdr.e_type, ET_EXEC | ET_DYN) {
        return Err(Error::NotExecutable);
    }
    Ok(elf)
}

/// How far a relocatable kernel with these segments is moved.
fn slide(loaded: impl Iterator<Item = ProgramHeader>, seed: Option<u64>) -> Result<u64> {
    let (mut start, mut end, mut align) = (u64::MAX, 0, PAGE);
    for header in loaded {
        start = start.min(header.p_vaddr);
        end = end.max(header.p_vaddr.saturating_add(header.p_memsz));
        align = align.max(header.p_align);
    }
    if !align.is_power_of_two() {
        return Err(Error::CutShort);
    }
    let smallest = if start < LOWEST.as_u64() {
        LOWEST.as_u64()
    } else {
        0
    };
    let Some(seed) = seed else {
        return Ok(smallest);
    };
    let room = end
        .checked_add(smallest)
        .and_then(|end| LAST_PAGE.checked_sub(end));
    let further = room.and_then(|room| kaslr::offset(seed, room, align));
    Ok(smallest + further.ok_or(Error::NoRoomToMove)?)
}

fn segment<'a>(header: &ProgramHeader, content: &'a [u8], slide: u64) -> Result<Segment<'a>> {
    let size = header.p_memsz;
    let start = header.p_vaddr.checked_add(slide);
    let start = start.filter(|&start| {
        let end = start.checked_add(size);
        start >= LOWEST.as_u64() && end.is_some_and(|end| end <= LAST_PAGE)
    });
    let outside = Error::SegmentOutside(header.p_vaddr);
    let start = start.map(VirtAddr::new).ok_or(outside)?;
    if content.len() as u64 > size {
        return Err(Error::CutShort);
    }
    Ok(Segment {
        start,
        size,
        content,
        writable: header.p_flags & PF_W != 0,
        executable: header.p_flags & PF_X != 0,
    })
}

#[cfg(test)]
mod tests;
