//! Where a function is declared, according to DWARF.
//!
//! The entry of a function's code need not say it: an inlined call refers to
//! the function's abstract instance, and that may refer to the declaration in
//! the type that the function belongs to, which may stand in another unit.

use std::path::PathBuf;

use gimli::{self, AttributeValue, DebugInfoOffset, DwAt, Reader as _, UnitOffset, UnitRef};

use super::{Bytes, path};

/// How many references are followed: a real entry has two.
const MAX_REFERENCES: usize = 8;

/// What the entry of a function, and those that it refers to, say.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Declaration {
    /// The file, shortened to what tells it from others.
    pub file: Option<String>,
    /// The same with all its folders.
    pub path: Option<PathBuf>,
    pub line: Option<u32>,
    /// Whether there is the name by which it is linked.
    pub has_linkage_name: bool,
}

/// Where the function with the entry `die` of `unit` is declared, as far as the debug
/// information says it.
pub(super) fn of(unit: UnitRef<'_, Bytes>, die: UnitOffset) -> Declaration {
    let mut found = Declaration::default();
    // What is damaged ends the search.
    let _ = follow(unit, die, MAX_REFERENCES, &mut found);
    found
}

fn follow(
    unit: UnitRef<'_, Bytes>,
    die: UnitOffset,
    references: usize,
    found: &mut Declaration,
) -> Option<()> {
    let entry = unit.entry(die).ok()?;
    let number = |name: DwAt| entry.attr_value(name)?.udata_value();
    found.has_linkage_name |= [gimli::DW_AT_linkage_name, gimli::DW_AT_MIPS_linkage_name]
        .into_iter()
        .any(|name| entry.attr_value(name).is_some());
    if let Some(line) = number(gimli::DW_AT_decl_line)
        && found.line.is_none()
    {
        if let Some(AttributeValue::FileIndex(index)) = entry.attr_value(gimli::DW_AT_decl_file)
            && let Some((file, path)) = file(unit, index)
        {
            (found.file, found.path) = (Some(file), Some(path));
        }
        found.line = u32::try_from(line).ok().filter(|&line| line != 0);
    }
    let references = references.checked_sub(1)?;
    for name in [gimli::DW_AT_abstract_origin, gimli::DW_AT_specification] {
        match entry.attr_value(name) {
            Some(AttributeValue::UnitRef(die)) => return follow(unit, die, references, found),
            Some(AttributeValue::DebugInfoRef(offset)) => {
                let header = header_at(unit, offset)?;
                let die = offset.to_unit_offset(&header)?;
                let other = unit.dwarf.unit(header).ok()?;
                return follow(UnitRef::new(unit.dwarf, &other), die, references, found);
            }
            _ => {}
        }
    }
    None
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

/// The name of a file of the unit's line table, shortened and whole.
fn file(unit: UnitRef<'_, Bytes>, index: u64) -> Option<(String, PathBuf)> {
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
    let whole = parts.iter().flatten().collect();
    Some((path::shorten(parts), whole))
}
