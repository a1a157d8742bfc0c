//! The debug information of an ELF file, as much of it as can be read.

use std::borrow::Cow;
use std::collections::HashSet;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;

use addr2line::Context;
use gimli::{
    self, DebugInfoOffset, Dwarf, EndianArcSlice, LittleEndian, Reader as _, Section as _,
    SectionId, UnitHeader, UnitRef,
};
use object::{Object as _, ObjectSection as _};

use super::Bytes;
use super::elf::Elf;
use super::split::{Split, SplitFiles};

/// The debug information of a kernel.
#[derive(Default)]
pub(super) struct DebugInfo {
    /// `None` if nothing of it can be read.
    pub context: Option<Context<Bytes>>,
    /// The files that have what is not in the ELF file itself.
    pub split: SplitFiles,
    /// Units that cannot be read.
    pub unreadable: u64,
    /// The names of the units without folders, if they have them themselves.
    pub units: Option<HashSet<String>>,
}

impl DebugInfo {
    /// Reads that of an ELF file, with what was moved to another one; files beside `beside`
    /// may have more.
    pub(super) fn new(elf: &Elf<'_>, moved_to: Option<&Elf<'_>>, beside: &[PathBuf]) -> Self {
        let mut dwarf = load_both(elf, moved_to);
        let unreadable = leave_out_unreadable(&mut dwarf);
        let units = unit_names(&dwarf);
        let dwarf = Arc::new(dwarf);
        let context = Context::from_arc_dwarf(Arc::clone(&dwarf));
        let context = context.or_else(|_| {
            // The table of addresses is damaged; the units have them as well.
            let mut without = load_both(elf, moved_to);
            without.debug_info = dwarf.debug_info.clone();
            without.debug_aranges = bytes(&[]).into();
            Context::from_dwarf(without)
        });
        Self {
            split: Split::new(beside).load(&dwarf),
            context: context.ok(),
            unreadable,
            units,
        }
    }
}

fn load_both(elf: &Elf<'_>, moved_to: Option<&Elf<'_>>) -> Dwarf<Bytes> {
    let mut dwarf = load(elf, |id| id.name());
    if let Some(moved_to) = moved_to {
        dwarf.set_sup(load(moved_to, |id| id.name()));
    }
    dwarf
}

/// The names of all units without folders; `None` if that of one is elsewhere.
fn unit_names(dwarf: &Dwarf<Bytes>) -> Option<HashSet<String>> {
    let mut names = HashSet::new();
    let mut headers = dwarf.units();
    while let Some(header) = headers.next().ok()? {
        let Ok(unit) = dwarf.unit(header) else {
            continue;
        };
        if unit.dwo_id.is_some() {
            return None;
        }
        let name = unit
            .name
            .as_ref()
            .and_then(|name| name.to_string_lossy().ok());
        names.extend(name.and_then(|name| Some(name.rsplit('/').next()?.to_owned())));
    }
    Some(names)
}

/// The sections of an ELF file that have these names; those that it has not, or that are
/// damaged, are empty.
pub(super) fn load(elf: &Elf<'_>, name: fn(SectionId) -> &'static str) -> Dwarf<Bytes> {
    let load = |id: SectionId| Ok::<_, Infallible>(bytes(&section(elf, name(id))));
    let Ok(dwarf) = Dwarf::load(load);
    dwarf
}

pub(super) fn section<'data>(elf: &Elf<'data>, name: &str) -> Cow<'data, [u8]> {
    let section = elf.section_by_name(name);
    let data = section.and_then(|section| section.uncompressed_data().ok());
    data.unwrap_or_default()
}

pub(super) fn bytes(data: &[u8]) -> Bytes {
    EndianArcSlice::new(Arc::from(data), LittleEndian)
}

/// Makes units that cannot be read such as the reader skips, and returns their number. What
/// is behind one whose end is not known is cut off.
fn leave_out_unreadable(dwarf: &mut Dwarf<Bytes>) -> u64 {
    let original = dwarf.debug_info.reader().clone();
    let mut made = None;
    let mut unreadable = 0;
    let mut start = 0;
    while start < original.bytes().len() {
        let end = unit_end(original.bytes(), start);
        let header = dwarf.debug_info.header_from_offset(DebugInfoOffset(start));
        let is_readable = header.is_ok_and(|header| is_readable(dwarf, header).is_ok());
        if let Some(end) = end.filter(|_| is_readable) {
            start = end;
            continue;
        }
        unreadable += 1;
        let info: &mut Vec<u8> = made.get_or_insert_with(|| original.bytes().to_vec());
        match end {
            Some(end) if leave_out(&mut info[start..end]) => start = end,
            _ => {
                info.truncate(start);
                break;
            }
        }
    }
    if let Some(info) = made {
        dwarf.debug_info = bytes(&info).into();
    }
    unreadable
}

/// Where the unit that begins at `start` ends, by its length.
fn unit_end(info: &[u8], start: usize) -> Option<usize> {
    let number = |at: usize, bytes: usize| {
        let number = info.get(at..at.checked_add(bytes)?)?;
        let number = number
            .iter()
            .rev()
            .fold(0_u64, |sum, &byte| sum << 8 | u64::from(byte));
        usize::try_from(number).ok()
    };
    let (begin, length) = match number(start, 4)? {
        0xffff_ffff => (start + 12, number(start + 4, 8)?),
        length => (start + 4, length),
    };
    let end = begin.checked_add(length)?;
    (end <= info.len()).then_some(end)
}

/// Makes a unit one of types, which has no code. Returns false if it is too short for that.
fn leave_out(unit: &mut [u8]) -> bool {
    const VERSION: [u8; 2] = [5, 0];
    const TYPES: u8 = 2;
    const ADDRESS_BYTES: u8 = 8;
    let (header, length_of_length, offset) = if unit.starts_with(&[0xff; 4]) {
        (40, 12, 8)
    } else {
        (24, 4, 4)
    };
    if unit.len() < header {
        return false;
    }
    let fields = &mut unit[length_of_length..header];
    fields.fill(0);
    fields[..2].copy_from_slice(&VERSION);
    fields[2] = TYPES;
    fields[3] = ADDRESS_BYTES;
    // Behind the offset of the abbreviations and the signature: the offset of the type.
    fields[4 + offset + 8] = u8::try_from(header).unwrap_or_default();
    true
}

/// Reads what the reader of all units reads of one.
fn is_readable(dwarf: &Dwarf<Bytes>, header: UnitHeader<Bytes>) -> gimli::Result<()> {
    let unit = dwarf.unit(header)?;
    let unit = UnitRef::new(dwarf, &unit);
    let mut entries = unit.entries_raw(None)?;
    let Some(abbreviation) = entries.read_abbreviation()? else {
        return Ok(());
    };
    for specification in abbreviation.attributes() {
        let attribute = entries.read_attribute(*specification)?;
        if let gimli::AttributeValue::DebugAddrIndex(index) = attribute.value() {
            unit.address(index)?;
        }
        if attribute.name() == gimli::DW_AT_ranges
            && let Some(offset) = unit.attr_ranges_offset(attribute.value())?
        {
            let mut ranges = unit.ranges(offset)?;
            while ranges.next()?.is_some() {}
        }
    }
    Ok(())
}
