//! The kernel's ELF file: what of it is to be loaded, and whether it can be.

use arrayvec::ArrayVec;
use elf::abi::{ELFCLASS64, EM_X86_64, ET_EXEC, PF_W, PF_X, PT_LOAD};
use elf::endian::LittleEndian;
use elf::segment::ProgramHeader;
use elf::{ElfBytes, ParseError};
use x86_64::VirtAddr;

use crate::memory_map::PAGE;
use crate::{Error, Result};

/// The top 2 GiB begin here; the kernel code model reaches nothing else.
const LOWEST: VirtAddr = VirtAddr::new(0xffff_ffff_8000_0000);

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
    segments: ArrayVec<Segment<'a>, 16>,
    /// Where it is entered unless it requests otherwise.
    pub entry: u64,
}

impl<'a> Executable<'a> {
    /// Checks an ELF file.
    ///
    /// # Errors
    ///
    /// Those of [`Error`] that speak of the kernel's file or its segments.
    pub fn parse(file: &'a [u8]) -> Result<Self> {
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
        if elf.ehdr.e_type != ET_EXEC {
            return Err(Error::NotExecutable);
        }
        let mut segments = ArrayVec::new();
        for header in elf.segments().into_iter().flatten() {
            if header.p_type == PT_LOAD && header.p_memsz > 0 {
                let content = elf.segment_data(&header).map_err(|_| Error::CutShort)?;
                let segment = segment(&header, content)?;
                segments
                    .try_push(segment)
                    .map_err(|_| Error::TooManySegments)?;
            }
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
        Ok(Self {
            segments,
            entry: elf.ehdr.e_entry,
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

    /// Writes the image, and returns how many bytes at its beginning come from the
    /// file: behind them all is zero.
    ///
    /// # Panics
    ///
    /// If `image` is not of the image's size.
    pub fn load(&self, image: &mut [u8]) -> usize {
        assert_eq!(self.size(), image.len() as u64, "the image's size");
        image.fill(0);
        let mut end = 0;
        for segment in self
            .segments
            .iter()
            .filter(|segment| !segment.content.is_empty())
        {
            let offset = usize::try_from(segment.start - self.start()).expect("is in the image");
            end = offset + segment.content.len();
            image[offset..end].copy_from_slice(segment.content);
        }
        end
    }
}

fn segment<'a>(header: &ProgramHeader, content: &'a [u8]) -> Result<Segment<'a>> {
    let (start, size) = (header.p_vaddr, header.p_memsz);
    // The last page of all is left free, so that an end is an address, too.
    let last = VirtAddr::new(u64::MAX).align_down(PAGE).as_u64();
    let address = VirtAddr::new_truncate(start);
    if start < LOWEST.as_u64() || start.checked_add(size).is_none_or(|end| end > last) {
        return Err(Error::SegmentOutside(address));
    }
    if content.len() as u64 > size {
        return Err(Error::CutShort);
    }
    Ok(Segment {
        start: address,
        size,
        content,
        writable: header.p_flags & PF_W != 0,
        executable: header.p_flags & PF_X != 0,
    })
}

#[cfg(test)]
mod tests;
