//! A program: an ELF file, static or position-independent, of which nothing is believed.

mod error;
mod relocation;

use alloc::vec::Vec;
use core::ops::Range;

use elf::abi::{
    ELFCLASS64, EM_X86_64, ET_DYN, ET_EXEC, PF_W, PF_X, PT_DYNAMIC, PT_GNU_STACK, PT_INTERP,
    PT_LOAD, PT_TLS,
};
use elf::endian::LittleEndian;
use elf::segment::ProgramHeader;
use elf::{ElfBytes, ParseError};

pub use error::Error;
pub use relocation::Relocation;

use super::{PAGE, Rights, USER};
use relocation::Relocations;

/// Where position-independent programs begin, as in Linux without random addresses.
pub const PIE_BASE: u64 = 0x5555_5555_4000;

/// The most segments of a program that are loaded.
const MOST_SEGMENTS: usize = 16;
/// The most bytes of a program's segments in memory.
const MOST_BYTES: u64 = 256 << 20;
/// The largest alignment of a segment.
const MOST_ALIGN: u64 = 1 << 30;

/// A part of a program that has its own pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment<'a> {
    /// The first address.
    pub start: u64,
    /// In memory, in bytes; never zero.
    pub bytes: u64,
    /// What lies there; zeros follow it.
    pub content: &'a [u8],
    /// What the program may do with it.
    pub rights: Rights,
}

impl Segment<'_> {
    /// The pages that it lies in.
    #[must_use]
    pub const fn pages(&self) -> Range<u64> {
        let end = (self.start + self.bytes).next_multiple_of(PAGE);
        self.start / PAGE * PAGE..end
    }

    fn contains(&self, place: &Range<u64>) -> bool {
        self.start <= place.start && place.end <= self.start + self.bytes
    }
}

/// A program that can be loaded: its segments are all among the addresses of processes, no two
/// share a page, and none is both written and executed.
#[derive(PartialEq, Eq, Debug)]
pub struct Program<'a> {
    segments: Vec<Segment<'a>>,
    relocations: Relocations<'a>,
    entry: u64,
    slide: u64,
}

impl<'a> Program<'a> {
    /// Checks an ELF file. One that is linked for fixed addresses goes there, a position-independent
    /// one to [`PIE_BASE`].
    ///
    /// # Errors
    ///
    /// It cannot be loaded.
    pub fn parse(file: &'a [u8]) -> Result<Self, Error> {
        let elf = executable(file)?;
        let headers = || elf.segments().into_iter().flatten();
        check_kinds(headers())?;
        let dynamic = match headers().find(|header| header.p_type == PT_DYNAMIC) {
            Some(header) => elf.segment_data(&header).map_err(|_| Error::CutShort)?,
            None => &[],
        };
        let loaded = || headers().filter(|header| header.p_type == PT_LOAD && header.p_memsz > 0);
        let is_movable = elf.ehdr.e_type == ET_DYN;
        let slide = if is_movable { slide(loaded())? } else { 0 };
        let mut segments = Vec::with_capacity(MOST_SEGMENTS);
        for header in loaded() {
            if segments.len() == MOST_SEGMENTS {
                return Err(Error::TooManySegments);
            }
            let content = elf.segment_data(&header).map_err(|_| Error::CutShort)?;
            segments.push(segment(&header, content, slide)?);
        }
        check_places(&mut segments)?;
        let entry = elf.ehdr.e_entry.wrapping_add(slide);
        let is_code = |it: &Segment<'_>| {
            it.rights == Rights::Execute && it.contains(&(entry..entry.saturating_add(1)))
        };
        if !segments.iter().any(is_code) {
            return Err(Error::Entry(elf.ehdr.e_entry));
        }
        // Those of a program with fixed addresses are its own to apply.
        let dynamic = if is_movable { dynamic } else { &[] };
        let relocations = Relocations::parse(dynamic, &segments, slide)?;
        Ok(Self {
            segments,
            relocations,
            entry,
            slide,
        })
    }

    /// The segments, in the order of their addresses; at least one.
    #[must_use]
    pub fn segments(&self) -> &[Segment<'a>] {
        &self.segments
    }

    /// The words that differ from what the segments have, because of where the program lies: each
    /// is in one segment.
    pub fn relocations(&self) -> impl Iterator<Item = Relocation> {
        self.relocations.iter()
    }

    /// Where the program begins, which is executed.
    #[must_use]
    pub const fn entry(&self) -> u64 {
        self.entry
    }

    /// How far above the addresses in its file it lies.
    #[must_use]
    pub const fn slide(&self) -> u64 {
        self.slide
    }
}

/// Checks what has to be so of any program.
fn executable(file: &[u8]) -> Result<ElfBytes<'_, LittleEndian>, Error> {
    if !file.starts_with(&[0x7f, b'E', b'L', b'F']) {
        return Err(Error::NotElf);
    }
    if file.get(4) != Some(&ELFCLASS64) {
        return Err(Error::NotX86_64);
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

/// Refuses what a program may want, and does not get.
fn check_kinds(headers: impl Iterator<Item = ProgramHeader>) -> Result<(), Error> {
    for header in headers {
        match header.p_type {
            PT_INTERP => return Err(Error::Interpreter),
            PT_TLS if header.p_memsz > 0 => return Err(Error::ThreadLocal),
            PT_GNU_STACK if header.p_flags & PF_X != 0 => return Err(Error::ExecutableStack),
            _ => {}
        }
    }
    Ok(())
}

/// How far a position-independent program with these segments is moved.
fn slide(loaded: impl Iterator<Item = ProgramHeader>) -> Result<u64, Error> {
    let (mut start, mut align) = (u64::MAX, PAGE);
    for header in loaded {
        start = start.min(header.p_vaddr);
        align = align.max(header.p_align);
    }
    if !align.is_power_of_two() || align > MOST_ALIGN {
        return Err(Error::Alignment(align));
    }
    // Addresses in a page, or in what else it is aligned to, stay as they are. One that is linked
    // at the top wraps, and ends up at the same place.
    let base = PIE_BASE.next_multiple_of(align);
    Ok(base.wrapping_sub(start / align * align))
}

fn segment<'a>(
    header: &ProgramHeader,
    content: &'a [u8],
    slide: u64,
) -> Result<Segment<'a>, Error> {
    let start = header.p_vaddr.wrapping_add(slide);
    let bytes = header.p_memsz;
    if bytes > MOST_BYTES {
        return Err(Error::TooLarge);
    }
    let end = start.checked_add(bytes);
    if start < USER.start || end.is_none_or(|end| end > USER.end) {
        return Err(Error::Outside(header.p_vaddr));
    }
    if content.len() as u64 > bytes {
        return Err(Error::CutShort);
    }
    let rights = match (header.p_flags & PF_W != 0, header.p_flags & PF_X != 0) {
        (true, true) => return Err(Error::WrittenAndExecuted(header.p_vaddr)),
        (true, false) => Rights::Write,
        (false, true) => Rights::Execute,
        (false, false) => Rights::Read,
    };
    Ok(Segment {
        start,
        bytes,
        content,
        rights,
    })
}

/// Sorts segments by their addresses, and looks how they lie among each other.
fn check_places(segments: &mut [Segment<'_>]) -> Result<(), Error> {
    if segments.is_empty() {
        return Err(Error::NoSegments);
    }
    segments.sort_unstable_by_key(|segment| segment.start);
    for pair in segments.windows(2) {
        if pair[0].pages().end > pair[1].pages().start {
            return Err(Error::Overlap(pair[1].pages().start));
        }
    }
    let bytes: u64 = segments.iter().map(|segment| segment.bytes).sum();
    if bytes > MOST_BYTES {
        return Err(Error::TooLarge);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
