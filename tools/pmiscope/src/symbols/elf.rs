//! Reads an ELF file: its build-id, and where its functions are.

use std::fmt;

use object::read::elf::ElfFile64;
use object::{Object, ObjectSection, ObjectSegment, ObjectSymbol as _, SectionFlags, elf};
use profiler::address::CodeAddress;
use thiserror::Error;

use super::demangle::demangle;
use super::names::code_symbols;
use crate::units::hex;

/// Why a file is no kernel whose symbols can be read.
#[derive(Debug, Error)]
pub enum ElfError {
    /// It cannot be parsed as a 64-bit little-endian ELF file.
    #[error("not a 64-bit ELF file ({0})")]
    Elf(object::Error),
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
    Elf::parse(elf).map_err(ElfError::Elf)
}

/// The build-id of an ELF file.
///
/// # Errors
///
/// [`ElfError`] if it has none, or is no ELF file.
pub fn build_id(elf: &[u8]) -> Result<BuildId, ElfError> {
    let id = parse(elf)?.build_id().map_err(ElfError::Elf)?;
    let id = id.ok_or(ElfError::NoBuildId)?;
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
    for symbol in code_symbols(&elf) {
        let linked = &*symbol.name;
        let read = demangle(linked);
        // In C++ a name has its parameters behind it.
        let (plain, _) = read.split_once('(').unwrap_or((&read, ""));
        let is_meant = [&*read, plain].iter().any(|read| {
            let before = read.strip_suffix(name);
            before.is_some_and(|before| before.is_empty() || before.ends_with("::"))
        });
        if linked == name || is_meant {
            found.push((symbol.start.0, read, linked.to_owned()));
        }
    }
    found.sort_unstable();
    found.dedup_by_key(|&mut (address, ..)| address);
    match &found[..] {
        [(address, ..)] => Ok(CodeAddress(*address)),
        [] => Err(LookupError::None(name.to_owned())),
        // Of one function there may be several, compiled for several crates.
        [(_, first, linked), .., (_, last, other)] if first == last => Err(LookupError::Several {
            name: name.to_owned(),
            first: linked.clone(),
            last: other.clone(),
        }),
        [(_, first, _), .., (_, last, _)] => Err(LookupError::Several {
            name: name.to_owned(),
            first: first.clone(),
            last: last.clone(),
        }),
    }
}

/// The address of the symbol of this name, whatever it is.
pub(crate) fn address_of(elf: &[u8], name: &str) -> Option<u64> {
    let elf = parse(elf).ok()?;
    let mut symbols = elf.symbols();
    let symbol = symbols.find(|symbol| symbol.name() == Ok(name))?;
    Some(symbol.address())
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

/// Returns true if a section has code that is in memory.
pub(super) fn is_code<'data>(section: &impl ObjectSection<'data>) -> bool {
    let SectionFlags::Elf { sh_flags, .. } = section.flags() else {
        return false;
    };
    let wanted = elf::SHF_ALLOC | elf::SHF_EXECINSTR;
    sh_flags & wanted == wanted
}
