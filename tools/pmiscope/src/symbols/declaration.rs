//! Where a function is declared, according to DWARF.
//!
//! The entry of a function's code need not say it: an inlined call refers to
//! the function's abstract instance, and that may refer to the declaration in
//! the type that the function belongs to, which may stand in another unit.

use gimli::{self, AttributeValue, DebugInfoOffset, DwAt, Reader as _, UnitOffset, UnitRef};

use super::{Bytes, path};

/// How many references are followed: a real entry has two.
const MAX_REFERENCES: usize = 8;

/// The file and the line in which the function with the entry `die` of `unit`
/// is declared. `None` if the debug information does not say or is damaged.
pub(super) fn of(
    unit: UnitRef<'_, Bytes>,
    die: UnitOffset,
) -> Option<(Option<String>, Option<u32>)> {
    let mut found = follow(unit, die, MAX_REFERENCES);
    if let Some((_, line)) = &mut found {
        *line = line.filter(|&line| line != 0);
    }
    found
}

fn follow(
    unit: UnitRef<'_, Bytes>,
    die: UnitOffset,
    references: usize,
) -> Option<(Option<String>, Option<u32>)> {
    let entry = unit.entry(die).ok()?;
    let number = |name: DwAt| entry.attr_value(name)?.udata_value();
    if let Some(line) = number(gimli::DW_AT_decl_line) {
        let file = match entry.attr_value(gimli::DW_AT_decl_file) {
            Some(AttributeValue::FileIndex(index)) => file(unit, index),
            _ => None,
        };
        return Some((file, u32::try_from(line).ok()));
    }
    let references = references.checked_sub(1)?;
    [gimli::DW_AT_abstract_origin, gimli::DW_AT_specification]
        .into_iter()
        .find_map(|name| match entry.attr_value(name)? {
            AttributeValue::UnitRef(die) => follow(unit, die, references),
            AttributeValue::DebugInfoRef(offset) => {
                let header = header_at(unit, offset)?;
                let die = offset.to_unit_offset(&header)?;
                let other = unit.dwarf.unit(header).ok()?;
                follow(UnitRef::new(unit.dwarf, &other), die, references)
            }
            _ => None,
        })
}

/// The header of the unit that holds the entry at `offset`.
fn header_at(
    unit: UnitRef<'_, Bytes>,
    offset: DebugInfoOffset,
) -> Option<gimli::UnitHeader<Bytes>> {
    let mut headers = unit.dwarf.units();
    while let Some(header) = headers.next().ok()? {
        if offset.to_unit_offset(&header).is_some() {
            return Some(header);
        }
    }
    None
}

/// The name of a file of the unit's line table.
fn file(unit: UnitRef<'_, Bytes>, index: u64) -> Option<String> {
    let text = |value| {
        Some(
            unit.attr_string(value)
                .ok()?
                .to_string_lossy()
                .ok()?
                .into_owned(),
        )
    };
    let header = unit.line_program.as_ref()?.header();
    let entry = header.file(index)?;
    let compiled_in = unit
        .comp_dir
        .as_ref()
        .and_then(|dir| Some(dir.to_string_lossy().ok()?.into_owned()));
    let directory = entry.directory(header).and_then(text);
    let name = text(entry.path_name())?;
    let parts = [compiled_in.as_deref(), directory.as_deref(), Some(&*name)];
    Some(path::shorten(parts))
}
