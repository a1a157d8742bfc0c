//! The relocations of a position-independent kernel: words of its image that have to be
//! changed because it lies elsewhere than it was linked.
//!
//! All are of one type, `R_X86_64_RELATIVE`: the word becomes an address of the image,
//! plus the slide. They come in two forms, a table of records (RELA) and a compact one
//! (RELR: an address, then bitmaps of the words behind it; the ELF gABI, "RELR").

use core::fmt;
use core::ops::Range;

use arrayvec::ArrayVec;
use elf::abi::{
    DF_1_PIE, DT_FLAGS_1, DT_JMPREL, DT_NEEDED, DT_NULL, DT_PLTRELSZ, DT_REL, DT_RELA, DT_RELAENT,
    DT_RELASZ, R_X86_64_64, R_X86_64_COPY, R_X86_64_DTPMOD64, R_X86_64_DTPOFF64, R_X86_64_GLOB_DAT,
    R_X86_64_IRELATIVE, R_X86_64_JUMP_SLOT, R_X86_64_NONE, R_X86_64_PC32, R_X86_64_RELATIVE,
    R_X86_64_TPOFF64,
};

use crate::bytes::u64_at;
use crate::{Error, Result};

const DT_RELRSZ: i64 = 35;
const DT_RELR: i64 = 36;
const DT_RELRENT: i64 = 37;

/// Bytes of a record of RELA, and of a word.
const RECORD: u64 = 24;
const WORD: u64 = 8;

/// Returns true if a dynamic section says that the executable is position-independent: GNU ld
/// says so in the file's header only if it is linked at zero.
#[must_use]
pub fn is_pie(dynamic: &[u8]) -> bool {
    let flags = entry(dynamic, DT_FLAGS_1).unwrap_or(0);
    flags & DF_1_PIE.cast_unsigned() != 0
}

/// The value of the first entry with this tag.
fn entry(dynamic: &[u8], tag: i64) -> Option<u64> {
    let entries = dynamic.chunks_exact(16).map(|entry| {
        let word = |offset| u64_at(entry, offset).unwrap_or_default();
        (word(0).cast_signed(), word(8))
    });
    let mut entries = entries.take_while(|&(tag, _)| tag != DT_NULL);
    let found = entries.find(|&(found, _)| found == tag);
    found.map(|(_, value)| value)
}

/// Where the tables are, by the addresses that they were linked at.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Tables {
    records: ArrayVec<Range<u64>, 2>,
    compact: Option<Range<u64>>,
}

/// An image that is being relocated.
struct Image<'a> {
    bytes: &'a mut [u8],
    /// The address that its first byte was linked at.
    linked_at: u64,
    slide: u64,
}

impl Tables {
    /// Reads the dynamic section.
    ///
    /// # Errors
    ///
    /// [`Error::SharedLibrary`], [`Error::RelocationTable`].
    pub fn parse(dynamic: &[u8]) -> Result<Self> {
        let entry = |tag| entry(dynamic, tag);
        if entry(DT_NEEDED).is_some() {
            return Err(Error::SharedLibrary);
        }
        let table = |start, size, record_size: Option<u64>, expected: u64| {
            let (Some(start), Some(size)) = (entry(start), entry(size)) else {
                return Ok(None);
            };
            let end = start.checked_add(size).ok_or(Error::RelocationTable)?;
            if size % expected != 0 || record_size.is_some_and(|size| size != expected) {
                return Err(Error::RelocationTable);
            }
            Ok(Some(start..end))
        };
        if entry(DT_REL).is_some() {
            return Err(Error::RelocationTable);
        }
        let all = table(DT_RELA, DT_RELASZ, entry(DT_RELAENT), RECORD)?;
        let calls = table(DT_JMPREL, DT_PLTRELSZ, None, RECORD)?;
        Ok(Self {
            records: all.into_iter().chain(calls).collect(),
            compact: table(DT_RELR, DT_RELRSZ, entry(DT_RELRENT), WORD)?,
        })
    }

    /// Relocates an image whose first byte was linked at `linked_at`.
    ///
    /// # Errors
    ///
    /// [`Error::RelocationType`], [`Error::RelocationTable`]; the image is then of no use.
    pub fn apply(&self, bytes: &mut [u8], linked_at: u64, slide: u64) -> Result<()> {
        let mut image = Image {
            bytes,
            linked_at,
            slide,
        };
        for table in &self.records {
            for record in table.clone().step_by(24) {
                let target = image.word(record)?;
                let info = image.word(record + WORD)?;
                let addend = image.word(record + 2 * WORD)?;
                #[allow(clippy::cast_possible_truncation)] // the type is the low half
                match info as u32 {
                    R_X86_64_NONE => {}
                    R_X86_64_RELATIVE => image.set(target, addend.wrapping_add(slide))?,
                    other => return Err(Error::RelocationType(Type(other))),
                }
            }
        }
        match &self.compact {
            Some(table) => image.apply_compact(table.clone()),
            None => Ok(()),
        }
    }
}

impl Image<'_> {
    fn offset(&self, address: u64) -> Result<usize> {
        let offset = address.checked_sub(self.linked_at);
        let offset = offset.and_then(|offset| usize::try_from(offset).ok());
        let is_inside = |&offset: &usize| u64_at(self.bytes, offset).is_some();
        offset.filter(is_inside).ok_or(Error::RelocationTable)
    }

    fn word(&self, address: u64) -> Result<u64> {
        u64_at(self.bytes, self.offset(address)?).ok_or(Error::RelocationTable)
    }

    fn set(&mut self, address: u64, word: u64) -> Result<()> {
        let offset = self.offset(address)?;
        self.bytes[offset..offset + 8].copy_from_slice(&word.to_le_bytes());
        Ok(())
    }

    fn add_slide(&mut self, address: u64) -> Result<()> {
        let word = self.word(address)?;
        self.set(address, word.wrapping_add(self.slide))
    }

    fn apply_compact(&mut self, table: Range<u64>) -> Result<()> {
        let mut next = None;
        for entry in table.step_by(8) {
            let entry = self.word(entry)?;
            if entry & 1 == 0 {
                self.add_slide(entry)?;
                next = Some(entry + WORD);
                continue;
            }
            // Bit n is the word n - 1 behind those that came before.
            let first = next.ok_or(Error::RelocationTable)?;
            for bit in (1..64).filter(|bit| entry >> bit & 1 != 0) {
                self.add_slide(first + (bit - 1) * WORD)?;
            }
            next = first.checked_add(63 * WORD);
        }
        Ok(())
    }
}

/// The type of a relocation, by its number in the psABI.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Type(pub u32);

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            R_X86_64_64 => "R_X86_64_64",
            R_X86_64_PC32 => "R_X86_64_PC32",
            R_X86_64_COPY => "R_X86_64_COPY",
            R_X86_64_GLOB_DAT => "R_X86_64_GLOB_DAT",
            R_X86_64_JUMP_SLOT => "R_X86_64_JUMP_SLOT",
            R_X86_64_DTPMOD64 => "R_X86_64_DTPMOD64",
            R_X86_64_DTPOFF64 => "R_X86_64_DTPOFF64",
            R_X86_64_TPOFF64 => "R_X86_64_TPOFF64",
            R_X86_64_IRELATIVE => "R_X86_64_IRELATIVE",
            other => return write!(f, "number {other}"),
        })
    }
}

#[cfg(test)]
mod tests;
