//! Reads an ELF file: its build-id, its symbol table and its DWARF sections.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use gimli::{self, Dwarf, EndianArcSlice, LittleEndian};
use object::read::elf::ElfFile64;
use object::{Object, ObjectSection, ObjectSegment, ObjectSymbol, SectionIndex, SymbolKind};
use profiler::address::{CodeAddress, CodeRange};
use thiserror::Error;

use super::Bytes;
use crate::units::hex;

/// Why a file is no kernel whose symbols can be read.
#[derive(Debug, Error)]
pub enum ElfError {
    /// It cannot be parsed as a 64-bit little-endian ELF file.
    #[error("not a 64-bit ELF file ({0})")]
    Elf(#[from] object::Error),
    /// Its debug information cannot be parsed.
    #[error("its debug information cannot be read ({0})")]
    Dwarf(#[from] gimli::Error),
    /// It has no GNU build-id.
    #[error(
        "it has no GNU build-id: link it with --build-id=sha1, and have the linker script keep .note.gnu.build-id: INCLUDE pmiscope.ld before a /DISCARD/ of .note*"
    )]
    NoBuildId,
    /// Its GNU build-id has another length than SHA-1.
    #[error("its GNU build-id has {0} bytes and not 20: link it with --build-id=sha1")]
    BuildIdLength(usize),
}

/// The GNU build-id, SHA-1 of what was linked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BuildId(pub [u8; 20]);

impl fmt::Display for BuildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

pub(super) type Elf<'data> = ElfFile64<'data, object::LittleEndian>;

pub(super) fn parse(elf: &[u8]) -> Result<Elf<'_>, ElfError> {
    Ok(Elf::parse(elf)?)
}

/// The build-id of an ELF file.
///
/// # Errors
///
/// [`ElfError`] if it has none, or is no ELF file.
pub fn build_id(elf: &[u8]) -> Result<BuildId, ElfError> {
    let id = parse(elf)?.build_id()?.ok_or(ElfError::NoBuildId)?;
    id.try_into()
        .map(BuildId)
        .map_err(|_| ElfError::BuildIdLength(id.len()))
}

/// The bytes of memory that the segments of an ELF file take.
///
/// # Errors
///
/// It is no ELF file.
pub fn loaded_bytes(elf: &[u8]) -> Result<u64, ElfError> {
    let elf = parse(elf)?;
    let sizes = elf.segments().map(|segment| segment.size());
    Ok(sizes.fold(0, u64::saturating_add))
}

/// Where a function begins: the one whose name, as it is linked or as a person
/// reads it, is `name` or ends with `::` and `name`.
///
/// # Errors
///
/// `LookupError` if there is none, or more than one.
pub fn entry_of(elf: &[u8], name: &str) -> Result<CodeAddress, LookupError> {
    let elf = parse(elf)?;
    let mut found = Vec::new();
    for symbol in elf.symbols().filter(|symbol| symbol.is_definition()) {
        let Ok(linked) = symbol.name() else { continue };
        let read = super::demangle(linked);
        let is_tail = read
            .strip_suffix(name)
            .is_some_and(|before| before.ends_with("::"));
        // Labels of assembly may have no type.
        let is_code = matches!(symbol.kind(), SymbolKind::Text | SymbolKind::Unknown);
        if is_code && (linked == name || read == name || is_tail) {
            found.push((symbol.address(), read));
        }
    }
    found.sort_unstable();
    found.dedup_by_key(|&mut (address, _)| address);
    match &found[..] {
        [(address, _)] => Ok(CodeAddress(*address)),
        [] => Err(LookupError::None(name.to_owned())),
        [(_, first), .., (_, last)] => Err(LookupError::Several {
            name: name.to_owned(),
            first: first.clone(),
            last: last.clone(),
        }),
    }
}

/// Why a function is not found.
#[derive(Debug, Error)]
pub enum LookupError {
    /// The file cannot be read.
    #[error(transparent)]
    Elf(#[from] ElfError),
    /// None has this name.
    #[error("the kernel has no function {0}: it may be inlined everywhere")]
    None(String),
    /// More than one has this name.
    #[error("{name} can be {first} or {last}: write more of it")]
    Several {
        /// What was looked for.
        name: String,
        /// The first of them.
        first: String,
        /// The last of them.
        last: String,
    },
}

/// The addresses of the executable segments.
pub(super) fn text(elf: &Elf<'_>) -> Vec<CodeRange> {
    elf.segments()
        .filter(|segment| segment.permissions().executable())
        .map(|segment| CodeRange {
            start: CodeAddress(segment.address()),
            end: CodeAddress(segment.address().saturating_add(segment.size())),
        })
        .collect()
}

/// The DWARF sections of an ELF file; those that it has not are empty.
pub(super) fn dwarf(elf: &Elf<'_>) -> Result<Dwarf<Bytes>, ElfError> {
    Dwarf::load(|id| {
        let section = elf.section_by_name(id.name());
        let data = match section {
            Some(section) => section.uncompressed_data()?,
            None => Cow::Borrowed(&[][..]),
        };
        Ok(EndianArcSlice::new(Arc::from(&*data), LittleEndian))
    })
}

/// The functions of the symbol table, by their addresses.
#[derive(Default)]
pub(super) struct SymbolTable(Vec<Symbol>);

struct Symbol {
    start: u64,
    /// The first address past it.
    end: u64,
    name: String,
}

impl SymbolTable {
    pub(super) fn new(elf: &Elf<'_>) -> Self {
        let mut code: Vec<_> = elf
            .symbols()
            .filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.is_definition())
            .filter_map(|symbol| {
                Some((
                    symbol.address(),
                    symbol.size(),
                    symbol.name().ok()?,
                    symbol.section_index()?,
                ))
            })
            .collect();
        // Of several names for one address, prefer one with a size.
        code.sort_by_key(|&(address, size, ..)| (address, std::cmp::Reverse(size)));
        code.dedup_by_key(|&mut (address, ..)| address);
        let section_end = |index: SectionIndex| {
            let section = elf.section_by_index(index).ok();
            section.map_or(u64::MAX, |section| {
                section.address().saturating_add(section.size())
            })
        };
        let next_starts = code
            .iter()
            .skip(1)
            .map(|&(address, ..)| address)
            .chain([u64::MAX]);
        let symbols = code
            .iter()
            .zip(next_starts)
            .map(|(&(start, size, name, section), next)| Symbol {
                start,
                // A label without a size reaches to the next one of its section.
                end: match size {
                    0 => next.min(section_end(section)),
                    _ => start.saturating_add(size),
                },
                name: name.to_owned(),
            });
        Self(symbols.collect())
    }

    /// The name of the function at `address`.
    pub(super) fn name(&self, address: CodeAddress) -> Option<&str> {
        let after = self.0.partition_point(|symbol| symbol.start <= address.0);
        let symbol = self.0[..after].last()?;
        (address.0 < symbol.end).then_some(&symbol.name)
    }
}
