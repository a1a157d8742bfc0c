//! The files that a kernel's symbols come from: its ELF file, and those that hold what was taken
//! out of that (`objcopy --only-keep-debug`).
//!
//! A file is asked for what it has, and trusted for nothing that it lacks: a section without
//! bytes (`SHT_NOBITS`) of a debug file says nothing about the code.
//!
//! | part | taken from |
//! |---|---|
//! | code | the first file that has its bytes |
//! | call frames | for each of the two sections, the first file that has it |
//! | names | the symbol tables of all files |
//! | debug information | the first file that has it, and the file that `dwz` has moved parts of it to |
//!
//! A file of another kernel, which the user has insisted on, stands alone; but where it has no
//! code, code and call frames stay those of what ran.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use object::elf::{FileHeader64, SHT_DYNSYM, SHT_SYMTAB, SectionHeader64};
use object::read::elf::{FileHeader as _, SectionHeader as _};
use object::{
    LittleEndian, Object as _, ObjectSection as _, ObjectSegment as _, ObjectSymbol as _,
    SymbolKind,
};
use serde::{Deserialize, Serialize};

use super::elf::{Elf, ElfError, is_code, parse};
use super::names::{code_symbols, has_unreadable_names};
use super::{BuildId, dwarf, separate};

/// A file that has something of a kernel.
#[derive(Clone, Debug)]
pub struct SymbolFile {
    /// What it is called in reports.
    pub name: String,
    /// Where it is, or the profile that it is in: other files are looked for beside it.
    pub path: Option<PathBuf>,
    pub bytes: Arc<[u8]>,
}

impl SymbolFile {
    /// The name of the kernel's ELF file that is in a profile.
    pub const IN_PROFILE: &str = "the kernel in the profile";

    /// The file at `path`, which has these bytes.
    #[must_use]
    pub fn at(path: &Path, bytes: impl Into<Arc<[u8]>>) -> Self {
        Self {
            name: path.strip_prefix(".").unwrap_or(path).display().to_string(),
            path: Some(path.to_owned()),
            bytes: bytes.into(),
        }
    }
}

/// Whose a file is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Owner {
    /// The kernel's.
    Kernel,
    /// Another kernel's, or it does not say: the user wants it.
    Another,
    /// Of debug information that several files have in common.
    Supplementary,
}

/// What a file has of a kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(clippy::struct_excessive_bools)] // a set
pub struct Parts {
    pub code: bool,
    pub call_frames: bool,
    pub names: bool,
    pub debug_info: bool,
}

impl Parts {
    pub(super) fn of(elf: &Elf<'_>) -> Self {
        // One that is damaged is none: that is known only of what was inflated.
        let has = |name: &str| has_section(elf, name) && !dwarf::section(elf, name).is_empty();
        Self {
            code: has_code(elf),
            call_frames: has(".eh_frame") || has(".debug_frame"),
            names: has_names(elf),
            debug_info: has(".debug_info"),
        }
    }

    /// Returns true if the file has nothing by which code is named, or its callers are found.
    #[must_use]
    pub fn is_useless(self) -> bool {
        !self.names && !self.debug_info && !self.call_frames
    }
}

/// Returns true if a section has bytes, be it damaged: they are not inflated for this.
fn has_section(elf: &Elf<'_>, name: &str) -> bool {
    let section = elf.section_by_name(name);
    let data = section.and_then(|section| section.compressed_data().ok());
    data.is_some_and(|data| data.uncompressed_size != 0)
}

fn has_names(elf: &Elf<'_>) -> bool {
    code_symbols(elf).any(|symbol| !symbol.has_no_name())
}

fn has_code(elf: &Elf<'_>) -> bool {
    let has_bytes = |data: object::Result<&[u8]>| data.is_ok_and(|data| !data.is_empty());
    let mut sections = elf.sections().filter(is_code);
    let mut segments = elf
        .segments()
        .filter(|segment| segment.permissions().executable());
    sections.any(|section| has_bytes(section.data()))
        || (elf.sections().next().is_none() && segments.any(|segment| has_bytes(segment.data())))
}

/// From which files the parts of a kernel were taken, by their names.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Origins {
    pub names: Vec<String>,
    #[serde(rename = "debug_information")]
    pub debug_info: Option<String>,
    #[serde(rename = "call_frame_information")]
    pub call_frames: Vec<String>,
    pub code: Option<String>,
    /// What should have been there and is not, or is not the kernel's.
    #[serde(skip)]
    pub problems: Problems,
}

/// What of a kernel's files cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Problems {
    /// Why the kernel's separate debug file is not there, a sentence each.
    pub missed: Vec<String>,
    /// Sections that are damaged, with the names of their files; or whole files.
    pub damaged: Vec<String>,
    /// Whether these are whole files.
    pub has_lost_file: bool,
    /// The file that debug information has parts in, if it is not there.
    pub supplement: Option<String>,
    /// Whether a compiler has made the kernel, or part of it.
    pub is_compiled: bool,
    /// Files that were compiled without debug information, where others have it.
    pub without_debug_info: Vec<String>,
}

impl Origins {
    /// What is from which file, in a line; `None` if all is from one.
    #[must_use]
    pub fn listed(&self) -> Option<String> {
        let parts = [
            ("names", self.names.iter()),
            ("debug information", self.debug_info.as_slice().iter()),
            ("call-frame information", self.call_frames.iter()),
            ("code", self.code.as_slice().iter()),
        ];
        let mut files: Vec<(&str, Vec<&str>)> = Vec::new();
        for (part, names) in parts {
            for name in names {
                match files.iter_mut().find(|(it, _)| it == name) {
                    Some((_, parts)) => parts.push(part),
                    None => files.push((name, vec![part])),
                }
            }
        }
        let listed = files
            .iter()
            .map(|(file, parts)| format!("{} from {file}", parts.join(", ")));
        (files.len() > 1).then(|| listed.collect::<Vec<_>>().join("; "))
    }
}

/// The files of a kernel, in the order in which they are asked.
#[derive(Clone, Debug, Default)]
pub struct SymbolFiles {
    files: Vec<HeldFile>,
    /// As in [`Problems::missed`].
    pub(super) missed: Vec<String>,
    /// Files that cannot be read at all, and why.
    unreadable: Vec<String>,
    /// Symbol tables that cannot be read.
    damaged: Vec<String>,
}

/// A file, and what it has.
#[derive(Clone, Debug)]
struct HeldFile {
    file: SymbolFile,
    owner: Owner,
    has: Parts,
}

/// A file of a kernel, taken apart.
pub(super) struct Part<'a> {
    pub file: &'a SymbolFile,
    pub elf: Elf<'a>,
    pub has: Parts,
    pub owner: Owner,
}

impl SymbolFiles {
    /// This file alone.
    ///
    /// # Errors
    ///
    /// [`ElfError`] if it is none that can be read.
    pub(crate) fn of(file: SymbolFile) -> Result<Self, ElfError> {
        let mut files = Self::default();
        files.add(file, Owner::Kernel)?;
        Ok(files)
    }

    /// Adds a file behind those that are there.
    ///
    /// # Errors
    ///
    /// [`ElfError`] if it is none that can be read.
    pub fn add(&mut self, file: SymbolFile, owner: Owner) -> Result<(), ElfError> {
        let mut file = file;
        if let Err(error) = parse(&file.bytes) {
            // A damaged symbol table costs names, and nothing else.
            without_symbol_tables(Arc::make_mut(&mut file.bytes));
            if parse(&file.bytes).is_err() {
                return Err(error);
            }
            self.damaged.push(format!(".symtab of {}", file.name));
        }
        let has = Parts::of(&parse(&file.bytes)?);
        self.files.push(HeldFile { file, owner, has });
        Ok(())
    }

    /// Looks for separate files with what these lack.
    pub fn find_separate(&mut self, wanted: BuildId) {
        separate::find(self, wanted, Path::new(separate::SYSTEM));
    }

    /// Returns true if there is none.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty() && self.unreadable.is_empty()
    }

    /// Puts a file before all others.
    ///
    /// # Errors
    ///
    /// [`ElfError`] if it is none that can be read.
    pub fn add_first(&mut self, file: SymbolFile, owner: Owner) -> Result<(), ElfError> {
        self.add(file, owner)?;
        self.files.rotate_right(1);
        Ok(())
    }

    /// Adds a file that was in a profile before the others. That it cannot be read is
    /// remembered.
    pub fn add_embedded(&mut self, file: SymbolFile, owner: Owner) {
        let name = file.name.clone();
        if let Err(error) = self.add_first(file, owner) {
            self.unreadable.push(format!("{name} ({error})"));
        }
    }

    /// Returns true if an ELF file has names of code.
    #[must_use]
    pub fn has_names(bytes: &[u8]) -> bool {
        parse(bytes).is_ok_and(|elf| has_names(&elf))
    }

    /// Returns true if a file has nothing that is of use here.
    #[must_use]
    pub fn is_useless(bytes: &[u8]) -> bool {
        parse(bytes).is_ok_and(|elf| !has_names(&elf) && Parts::of(&elf).is_useless())
    }

    /// The files, in the order in which they are asked.
    pub fn into_files(self) -> impl Iterator<Item = SymbolFile> {
        self.files.into_iter().map(|known| known.file)
    }

    /// The files, taken apart.
    pub(super) fn parts(&self) -> Vec<Part<'_>> {
        let files = self.files.iter();
        let parsed = files.filter_map(|known| {
            Some(Part {
                file: &known.file,
                elf: parse(&known.file.bytes).ok()?,
                has: known.has,
                owner: known.owner,
            })
        });
        parsed.collect()
    }

    /// Where files may be, beside these.
    pub(super) fn places(&self) -> Vec<PathBuf> {
        let mut places = Vec::new();
        for path in self.files.iter().filter_map(|it| it.file.path.clone()) {
            if !places.contains(&path) {
                places.push(path);
            }
        }
        places
    }

    /// Files and symbol tables that cannot be read.
    fn damaged(&self) -> Vec<String> {
        self.unreadable
            .iter()
            .chain(&self.damaged)
            .cloned()
            .collect()
    }
}

/// Makes the symbol tables of a file sections that nobody reads.
fn without_symbol_tables(file: &mut [u8]) {
    let Ok(header) = FileHeader64::<LittleEndian>::parse(&*file) else {
        return;
    };
    let little = LittleEndian;
    let Ok(sections) = header.section_headers(little, &*file) else {
        return;
    };
    let start = header.e_shoff(little);
    let entry = u64::from(header.e_shentsize(little));
    let is_table = |section: &SectionHeader64<LittleEndian>| {
        [SHT_SYMTAB, SHT_DYNSYM].contains(&section.sh_type(little))
    };
    let tables = (0..).zip(sections).filter(|(_, section)| is_table(section));
    let tables: Vec<u64> = tables.map(|(number, _)| start + number * entry).collect();
    for table in tables.into_iter().filter_map(|at| usize::try_from(at).ok()) {
        // Behind the name: the type.
        if let Some(kind) = file.get_mut(table + 4..table + 8) {
            kind.fill(0);
        }
    }
}

/// Which files are asked for which part.
pub(super) struct Chosen<'a> {
    /// Those that may have code and call frames.
    pub of_code: Vec<&'a Part<'a>>,
    /// Those that may have names and debug information.
    pub of_names: Vec<&'a Part<'a>>,
    pub supplementary: Vec<&'a Part<'a>>,
}

impl<'a> Chosen<'a> {
    pub(super) fn new(parts: &'a [Part<'a>]) -> Self {
        let owned = |owner| parts.iter().filter(move |part| part.owner == owner);
        let foreign: Vec<_> = owned(Owner::Another).collect();
        let own: Vec<_> = owned(Owner::Kernel).collect();
        let supplementary = owned(Owner::Supplementary).collect();
        let (of_code, of_names) = if foreign.is_empty() {
            (own.clone(), own)
        } else if own.is_empty() || foreign.iter().any(|part| part.has.code) {
            (foreign.clone(), foreign)
        } else {
            (own, foreign)
        };
        Self {
            of_code,
            of_names,
            supplementary,
        }
    }

    /// The first file with code; else the first one, whose segments say where code would be.
    pub(super) fn code(&self) -> Option<&'a Part<'a>> {
        let with_code = self.of_code.iter().find(|part| part.has.code);
        with_code.or(self.of_code.first()).copied()
    }

    pub(super) fn debug_info(&self) -> Option<&'a Part<'a>> {
        let found = self.of_names.iter().find(|part| part.has.debug_info);
        found.copied()
    }

    /// The section of this name of the first file that has it, with that file.
    pub(super) fn frames(&self, section: &str) -> Option<&'a Part<'a>> {
        let has = |part: &&&Part<'_>| !dwarf::section(&part.elf, section).is_empty();
        self.of_code.iter().find(has).copied()
    }

    /// The compiled files that are not among these, and may have code.
    pub(super) fn sources_but(&self, units: &HashSet<String>) -> Vec<String> {
        let sources = self.of_names.iter().flat_map(|part| {
            let others = compiled_sources(&part.elf).filter(|source| !units.contains(source));
            others.filter(|source| !is_crate_without_code(&part.elf, source))
        });
        sources.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// The files that have names which those before them have not.
    fn naming(&self) -> Vec<&'a Part<'a>> {
        let mut with_names = self.of_names.iter().filter(|part| part.has.names).copied();
        let Some(first) = with_names.next() else {
            return Vec::new();
        };
        let mut naming = vec![first];
        let mut known = HashSet::new();
        for part in with_names {
            if known.is_empty() {
                known.extend(code_symbols(&first.elf).map(|it| (it.start, it.name)));
            }
            let count = known.len();
            known.extend(code_symbols(&part.elf).map(|it| (it.start, it.name)));
            if known.len() > count {
                naming.push(part);
            }
        }
        naming
    }

    pub(super) fn origins(&self, files: &SymbolFiles) -> Origins {
        let name = |part: &Part<'_>| match part.owner {
            Owner::Another => format!("{} (another kernel's)", part.file.name),
            Owner::Kernel | Owner::Supplementary => part.file.name.clone(),
        };
        let mut call_frames: Vec<_> = [".debug_frame", ".eh_frame"]
            .iter()
            .filter_map(|section| self.frames(section).map(name))
            .collect();
        call_frames.dedup();
        // They are the same as a rule.
        let of_code = |part: &&&Part<'_>| self.of_code.iter().any(|it| std::ptr::eq(*it, **part));
        let others = self.of_names.iter().filter(|part| !of_code(part));
        let all = || self.of_code.iter().chain(others.clone());
        Origins {
            names: self.naming().into_iter().map(name).collect(),
            debug_info: self.debug_info().map(name),
            call_frames,
            code: self.code().filter(|part| part.has.code).map(name),
            problems: Problems {
                missed: files.missed.clone(),
                damaged: damaged(files, all().copied()),
                has_lost_file: !files.unreadable.is_empty(),
                supplement: separate::missing_supplement(files),
                is_compiled: all().any(|part| is_compiled(&part.elf)),
                without_debug_info: Vec::new(),
            },
        }
    }
}

/// Sections that are there and cannot be read, and files.
fn damaged<'a>(files: &SymbolFiles, parts: impl Iterator<Item = &'a Part<'a>>) -> Vec<String> {
    let mut damaged = files.damaged();
    for part in parts {
        if has_unreadable_names(&part.elf) {
            damaged.push(format!(".strtab of {}", part.file.name));
        }
        for section in part.elf.sections() {
            let name = section.name().unwrap_or_default();
            let is_of_use = [".debug_", ".zdebug_", ".eh_frame", ".text"]
                .iter()
                .any(|start| name.starts_with(start));
            if is_of_use && section.uncompressed_data().is_err() {
                let says = format!("{name} of {}", part.file.name);
                if !damaged.contains(&says) {
                    damaged.push(says);
                }
            }
        }
    }
    damaged
}

/// Returns true if a compiler has left its name: assembly has no calls that are inlined.
fn is_compiled(elf: &Elf<'_>) -> bool {
    compiled_sources(elf).next().is_some() || has_section(elf, ".comment")
}

/// Returns true of a part of a crate none of whose functions has a name in the table: its tables
/// and constants have no debug information to be missed.
fn is_crate_without_code(elf: &Elf<'_>, source: &str) -> bool {
    let Some((name, _)) = source.split_once('.').filter(|_| source.contains("-cgu.")) else {
        return false;
    };
    let mut functions = elf
        .symbols()
        .filter(|symbol| symbol.kind() == SymbolKind::Text);
    // Both ways to mangle names have those of crates as they are.
    !functions.any(|symbol| {
        let symbol = symbol.name_bytes().unwrap_or_default();
        memchr::memmem::find(symbol, name.as_bytes()).is_some()
    })
}

/// The files that compilers say they have read, without folders: of C and C++, and the parts
/// of crates in Rust.
pub(super) fn compiled_sources(elf: &Elf<'_>) -> impl Iterator<Item = String> {
    const ENDS: [&str; 5] = [".c", ".cc", ".cpp", ".cxx", ".C"];
    elf.symbols().filter_map(|symbol| {
        let name = symbol.name_bytes().unwrap_or_default();
        let name = String::from_utf8_lossy(name);
        let name = name.rsplit('/').next().unwrap_or_default();
        let is_source = ENDS.iter().any(|end| name.ends_with(end)) || name.contains("-cgu.");
        (symbol.kind() == SymbolKind::File && is_source).then(|| name.to_owned())
    })
}
