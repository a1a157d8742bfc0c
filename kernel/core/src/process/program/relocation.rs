//! The words of a position-independent program that depend on where it lies.

use elf::abi::{
    DT_JMPREL, DT_NEEDED, DT_NULL, DT_PLTRELSZ, DT_REL, DT_RELA, DT_RELAENT, DT_RELASZ,
    R_X86_64_NONE, R_X86_64_RELATIVE,
};

use super::{Error, Segment};

/// The table of the compact form (the ELF gABI, "RELR").
const DT_RELR: i64 = 36;

/// The bytes of an entry of the dynamic section, and of a relocation: words of 8 bytes.
const ENTRY: usize = 16;
const RECORD: usize = 24;

/// A word that becomes an address of the program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Relocation {
    /// Where it is.
    pub address: u64,
    /// What it becomes.
    pub value: u64,
}

/// All relocations of a program, all checked.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Relocations<'a> {
    records: &'a [u8],
    slide: u64,
}

fn word(bytes: &[u8], number: usize) -> u64 {
    let bytes = bytes.get(8 * number..).and_then(|it| it.first_chunk());
    bytes.copied().map_or(0, u64::from_le_bytes)
}

impl<'a> Relocations<'a> {
    pub(super) fn parse(
        dynamic: &[u8],
        segments: &[Segment<'a>],
        slide: u64,
    ) -> Result<Self, Error> {
        let entries = dynamic.chunks_exact(ENTRY);
        let entries = entries.map(|entry| (word(entry, 0), word(entry, 1)));
        let entries = entries.take_while(|&(tag, _)| tag != DT_NULL.cast_unsigned());
        let entry = |wanted: i64| {
            let mut entries = entries.clone();
            let found = entries.find(|&(tag, _)| tag == wanted.cast_unsigned());
            found.map(|(_, value)| value)
        };
        if entry(DT_NEEDED).is_some() {
            return Err(Error::SharedLibrary);
        }
        if entry(DT_RELR).is_some() {
            return Err(Error::CompactRelocations);
        }
        // Those of calls to other files, of which there are none, and of another machine's form.
        let others = entry(DT_JMPREL).and(entry(DT_PLTRELSZ)).unwrap_or(0);
        if others != 0 || entry(DT_REL).is_some() {
            return Err(Error::RelocationTable);
        }
        let bytes = entry(DT_RELASZ).unwrap_or(0);
        let records = match entry(DT_RELA) {
            Some(_) if bytes == 0 => &[],
            Some(at) => table(segments, at.wrapping_add(slide), bytes)?,
            None => &[],
        };
        let record_bytes = entry(DT_RELAENT).unwrap_or(RECORD as u64);
        if record_bytes != RECORD as u64 || !records.len().is_multiple_of(RECORD) {
            return Err(Error::RelocationTable);
        }
        let relocations = Self { records, slide };
        relocations.check(segments)?;
        Ok(relocations)
    }

    /// Looks that each can be applied.
    fn check(&self, segments: &[Segment<'_>]) -> Result<(), Error> {
        for record in self.records.chunks_exact(RECORD) {
            match kind(record) {
                R_X86_64_NONE => continue,
                R_X86_64_RELATIVE => {}
                other => return Err(Error::RelocationType(other)),
            }
            let start = word(record, 0).wrapping_add(self.slide);
            let end = start.checked_add(8);
            let is_in = |end| segments.iter().any(|it| it.contains(&(start..end)));
            if !end.is_some_and(is_in) {
                return Err(Error::RelocationOutside(word(record, 0)));
            }
        }
        Ok(())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Relocation> {
        let records = self.records.chunks_exact(RECORD);
        let relative = records.filter(|record| kind(record) == R_X86_64_RELATIVE);
        relative.map(|record| Relocation {
            address: word(record, 0).wrapping_add(self.slide),
            value: word(record, 2).wrapping_add(self.slide),
        })
    }
}

/// The low half of the second word: the type; the high half names a symbol, which the types that
/// are known do without.
const fn kind(record: &[u8]) -> u32 {
    match record {
        [_, _, _, _, _, _, _, _, a, b, c, d, ..] => u32::from_le_bytes([*a, *b, *c, *d]),
        _ => R_X86_64_NONE,
    }
}

/// The bytes of the file at an address, if there are as many.
fn table<'a>(segments: &[Segment<'a>], at: u64, bytes: u64) -> Result<&'a [u8], Error> {
    let find = |segment: &Segment<'a>| {
        let offset = usize::try_from(at.checked_sub(segment.start)?).ok()?;
        let end = offset.checked_add(usize::try_from(bytes).ok()?)?;
        segment.content.get(offset..end)
    };
    segments.iter().find_map(find).ok_or(Error::RelocationTable)
}
