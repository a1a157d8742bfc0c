//! From addresses to functions.
//!
//! A profile has few different addresses and each of them many times: they are
//! collected first, and each is looked up once, in order. The answer is a list
//! of *frames*, innermost first: one function that has code of its own, and
//! before it those that the compiler inlined into it at that place.
//!
//! What code is called the symbol table knows best; calls that were inlined, and where functions
//! are declared, DWARF alone. What is in neither stays an address: as the ELF file has it, where
//! the text was moved. `naming` says which of two names goes first.

mod by_code;
pub(crate) mod callframe;
mod code;
mod coverage;
mod declaration;
pub(crate) mod demangle;
mod dwarf;
pub(crate) mod elf;
pub(crate) mod files;
mod function_code;
mod functions;
mod kernel_file;
mod lines;
mod names;
mod naming;
mod path;
mod programs;
mod recorded;
mod separate;
mod slide;
mod source_names;
mod spans;
mod split;
mod texts;
mod units;

pub use elf::{BuildId, ElfError, build_id};
pub(crate) use programs::in_its_file;
pub use slide::{LinkAddress, Slide};

pub(crate) use callframe::Callers;
pub(crate) use code::Code;
pub(crate) use coverage::Coverage;
pub(crate) use elf::{address_of, entry_of, loaded_bytes};
pub(crate) use files::{Origins, Owner, Problems, SymbolFile, SymbolFiles};
pub(crate) use kernel_file::{check, check_kernel};
pub(crate) use lines::{Lines, SourceLine};
pub(crate) use separate::Whose;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use gimli::{self, DebugInfoOffset, EndianArcSlice, LittleEndian};
use hashbrown::{HashMap, HashSet};
use profiler::address::{CodeAddress, CodeRange, UserAddress};

use demangle::demangle;
use dwarf::{DebugInfo, Found};
use files::{Chosen, Part};
use functions::{Functions, Identity};
use names::{CodeSymbol, SymbolTable};
use naming::{Declared, Verdict};
use programs::Program;

type Bytes = EndianArcSlice<LittleEndian>;

/// A function, by its place in the list of [`Symbols`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FunctionId(u32);

impl FunctionId {
    /// Its place in the list.
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }

    /// The function at this place.
    pub(crate) const fn of_index(index: u32) -> Self {
        Self(index)
    }
}

/// A function, as reports name it. Two instances of a generic function that
/// have the same name are the same function. Two others that have the same name differ in where
/// they are declared, or else have their addresses behind their names.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Function {
    /// The demangled name, without a hash.
    pub name: String,
    /// The file in which it is declared, shortened to what tells it from others.
    pub file: Option<String>,
    /// The line there.
    pub line: Option<u32>,
}

/// A function that was executing at an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame {
    /// Which.
    pub function: FunctionId,
    /// Whether it was inlined into the next frame.
    pub inlined: bool,
}

/// A string of debug information. What is not UTF-8 of it is replaced.
fn text(bytes: &Bytes) -> String {
    // Most is: that is seen at once.
    let whole = str::from_utf8(bytes.bytes()).map(str::to_owned);
    whole.unwrap_or_else(|_| String::from_utf8_lossy(bytes.bytes()).into_owned())
}

/// An entry of debug information: the unit that is split off, the unit, the entry.
type EntryKey = (Option<u64>, Option<DebugInfoOffset>, usize);

/// The functions of a kernel, by the addresses at which it ran.
pub struct Symbols {
    origins: Origins,
    debug: DebugInfo,
    table: Arc<SymbolTable>,
    code: Arc<Code>,
    callers: Callers,
    slide: Slide,
    functions: Functions,
    declared: HashMap<EntryKey, Rc<Declared>>,
    /// The sections of debug information that have strings which cannot be read.
    unreadable_texts: BTreeSet<&'static str>,
    programs: Vec<Program>,
    /// By their numbers, which addresses have in place of their programs'.
    processes: BTreeMap<u16, programs::Process>,
    resolved: HashMap<CodeAddress, Resolved>,
    /// What is known of the kernel's code, where a profile has names in place of its file.
    covered: HashMap<CodeAddress, Coverage>,
}

/// What an address is resolved to.
struct Resolved {
    frames: Box<[Frame]>,
    names: DebugNames,
}

/// What debug information has of the names of functions at an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum DebugNames {
    /// That of the innermost.
    Innermost,
    /// Some cannot be read.
    Unreadable,
    /// It is to be asked.
    Unknown,
}

impl Symbols {
    /// The functions of an ELF file that runs where it was linked for.
    ///
    /// # Errors
    ///
    /// [`ElfError`] if it is none that can be read.
    pub fn new(elf: &[u8]) -> Result<Self, ElfError> {
        let files = SymbolFiles::of(SymbolFile {
            name: String::new(),
            path: None,
            bytes: elf.into(),
        })?;
        Ok(Self::of_files(&files, None))
    }

    /// The functions of an ELF file whose text was `run` when it ran. Debug information that
    /// is not in it is looked for beside the file `beside`.
    ///
    /// # Errors
    ///
    /// [`ElfError`] if it is none that can be read.
    pub fn of_run(elf: &[u8], run: CodeRange, beside: &Path) -> Result<Self, ElfError> {
        let files = SymbolFiles::of(SymbolFile::at(beside, elf))?;
        Ok(Self::of_files(&files, Some(run)))
    }

    /// The functions of a kernel whose text was `run` when it ran, or that ran where it was
    /// linked for.
    #[must_use]
    pub(crate) fn of_files(files: &SymbolFiles, run: Option<CodeRange>) -> Self {
        let parts = files.parts();
        let chosen = Chosen::new(&parts);
        let named = || chosen.of_names.iter().map(|part| &part.elf);
        let Some(Part {
            elf: with_code,
            file,
            ..
        }) = chosen.code()
        else {
            return Self {
                origins: chosen.origins(files),
                ..Self::without_elf()
            };
        };
        let slide = run.map_or_else(
            || Slide::none(with_code),
            |run| Slide::of_run(with_code, named(), run),
        );
        let table = Arc::new(SymbolTable::new(named()));
        let code = Arc::new(Code::new(with_code, &file.bytes));
        let frames = |section: &str| chosen.frames(section).map(|part| &part.elf);
        let debug = chosen.debug_info().map(|part| {
            let moved_to = chosen.supplementary.first().copied();
            DebugInfo::new(part, moved_to, &files.places())
        });
        let mut debug = debug.unwrap_or_default();
        let mut origins = chosen.origins(files);
        if let Some(units) = debug.names.as_ref() {
            origins.problems.without_debug_info = chosen.sources_but(units);
        }
        let mut symbols = Self {
            origins,
            unreadable_texts: std::mem::take(&mut debug.unreadable_texts),
            debug,
            callers: Callers::new(frames, slide.clone(), Arc::clone(&code), Arc::clone(&table)),
            code,
            table,
            slide,
            ..Self::without_elf()
        };
        symbols.note_unreadable_texts();
        symbols
    }

    /// No functions: every address stays an address.
    #[must_use]
    pub fn without_elf() -> Self {
        Self {
            origins: Origins::default(),
            debug: DebugInfo::default(),
            table: Arc::default(),
            code: Arc::default(),
            callers: Callers::default(),
            slide: Slide::default(),
            functions: Functions::default(),
            declared: HashMap::new(),
            unreadable_texts: BTreeSet::new(),
            programs: Vec::new(),
            processes: BTreeMap::new(),
            resolved: HashMap::new(),
            covered: HashMap::new(),
        }
    }

    /// Looks up all of `addresses`, for [`Self::frames`].
    pub fn resolve(&mut self, addresses: impl IntoIterator<Item = CodeAddress>) {
        let is_new = |address: &CodeAddress| !self.resolved.contains_key(address);
        // Far fewer are different than there are.
        let new: HashSet<_> = addresses.into_iter().filter(is_new).collect();
        let mut new: Vec<_> = new.into_iter().collect();
        new.sort_unstable();
        for address in new {
            let resolved = self.look_up(address);
            self.resolved.insert(address, resolved);
        }
        self.functions.tell_apart();
        self.note_unreadable_texts();
    }

    /// Says which sections of strings are damaged. Of many it is known once one is wanted.
    fn note_unreadable_texts(&mut self) {
        let Some(file) = &self.origins.debug_info else {
            return;
        };
        let damaged = &mut self.origins.problems.damaged;
        for section in &self.unreadable_texts {
            let says = format!("{section} of {file}");
            if !damaged.contains(&says) {
                damaged.push(says);
            }
        }
    }

    /// The frames at an address that was resolved, innermost first: one or more.
    ///
    /// # Panics
    ///
    /// If the address was not resolved.
    #[must_use]
    pub fn frames(&self, address: CodeAddress) -> &[Frame] {
        &self.resolved[&address].frames
    }

    /// The kernel's call-frame information.
    #[must_use]
    pub fn callers(&self) -> &Callers {
        &self.callers
    }

    /// How far the kernel's text was moved.
    #[must_use]
    pub fn slide(&self) -> &Slide {
        &self.slide
    }

    /// From which files all this is.
    #[must_use]
    pub fn origins(&self) -> &Origins {
        &self.origins
    }

    /// The units of debug information that are in files of their own which were not found,
    /// and the folders in which these were looked for.
    #[must_use]
    pub fn missing_units(&self) -> (u64, &[PathBuf]) {
        (self.debug.split.missing, &self.debug.split.looked_in)
    }

    /// The units of debug information that cannot be read.
    #[must_use]
    pub fn unreadable_units(&self) -> u64 {
        self.debug.unreadable()
    }

    /// The function with this id.
    #[must_use]
    pub fn function(&self, id: FunctionId) -> &Function {
        self.functions.get(id)
    }

    /// Where a function is declared: the file's name as short as it can be, unless `lines` know another
    /// file by that, and the line.
    pub(crate) fn declared_in(
        &self,
        id: FunctionId,
        lines: &Lines,
    ) -> (Option<String>, Option<u32>) {
        let (identity, _) = self.functions.identity(id);
        let longer = identity
            .path
            .as_deref()
            .and_then(|path| lines.longer_name(path));
        let shown = self.function(id);
        (longer.or_else(|| shown.file.clone()), shown.line)
    }

    /// The name of a function, with where it is declared behind it if another has the same.
    #[must_use]
    pub fn label(&self, id: FunctionId) -> &str {
        self.functions.label(id)
    }

    fn look_up(&mut self, address: CodeAddress) -> Resolved {
        if let Some(user) = UserAddress::of_program(address) {
            return self.look_up_in_program(user);
        }
        let link = self.slide.link(address);
        let table = Arc::clone(&self.table);
        let symbol = link.and_then(|link| table.naming(link));
        if let Some(link) = link {
            self.debug.prepare(link);
            if let Some(resolved) = self.look_up_by_dwarf(link, symbol) {
                return resolved;
            }
        }
        let function = match symbol {
            Some(symbol) => link
                .and_then(|link| self.function_before(link, symbol))
                .unwrap_or_else(|| self.of_symbol(symbol)),
            None => {
                let identity = Identity {
                    name: format!("{:#x}", self.slide.shown(address)),
                    ..Identity::default()
                };
                self.functions.intern(identity, None)
            }
        };
        let frame = Frame {
            function,
            inlined: false,
        };
        Resolved {
            frames: Box::new([frame]),
            names: DebugNames::Unknown,
        }
    }

    /// The function of code behind its end, which nothing else names: what debug information says of
    /// it is said of that too, or it would be another function of its name.
    fn function_before(&mut self, address: LinkAddress, symbol: &CodeSymbol) -> Option<FunctionId> {
        if !symbol.is_function || symbol.size == 0 || symbol.covers(address) {
            return None;
        }
        self.debug.prepare(symbol.start);
        let found = self.look_up_by_dwarf(symbol.start, Some(symbol))?;
        found.frames.last().map(|frame| frame.function)
    }

    /// The function that only the symbol table knows.
    fn of_symbol(&mut self, symbol: &CodeSymbol) -> FunctionId {
        let file = symbol.file.as_deref().filter(|_| symbol.is_twin);
        let identity = Identity {
            name: demangle(&symbol.name),
            path: file.map(PathBuf::from),
            line: None,
            // Different names may read the same.
            start: Some(symbol.start),
        };
        self.functions.intern(identity, file.map(str::to_owned))
    }

    /// The frames that debug information knows; `None` if it knows none, or if the symbol table
    /// knows better.
    fn look_up_by_dwarf(
        &mut self,
        address: LinkAddress,
        symbol: Option<&CodeSymbol>,
    ) -> Option<Resolved> {
        let (mut declared, names) = self.declared(address)?;
        let outermost = declared.pop()?;
        let around = symbol.filter(|symbol| symbol.is_function && symbol.covers(address));
        let verdict = around.map_or(Verdict::Declared, |symbol| {
            let all = self.table.starting_at(symbol.start);
            outermost.judge(address, symbol, all)
        });
        let function = match verdict {
            Verdict::Declared => outermost.function(&mut self.functions)?,
            Verdict::Symbol(symbol) => {
                let name = demangle(&symbol.name);
                outermost.function_named(name, &mut self.functions)
            }
            Verdict::OnlySymbol => return None,
        };
        let mut frames = Vec::with_capacity(declared.len() + 1);
        for inlined in declared {
            frames.push(Frame {
                function: inlined.function(&mut self.functions)?,
                inlined: true,
            });
        }
        frames.push(Frame {
            function,
            inlined: false,
        });
        Some(Resolved {
            frames: frames.into(),
            names,
        })
    }

    /// What debug information says of the functions at an address, innermost first, and of their names.
    /// Calls without a name are left out.
    fn declared(&mut self, address: LinkAddress) -> Option<(Vec<Rc<Declared>>, DebugNames)> {
        let Found {
            unit,
            entries,
            names_innermost,
        } = self.debug.find(address)?;
        let outermost = entries.len() - 1;
        let mut all = Vec::with_capacity(entries.len());
        let mut names = match names_innermost {
            true => DebugNames::Innermost,
            false => DebugNames::Unknown,
        };
        for (place, (die, name)) in entries.into_iter().enumerate() {
            let key = (
                unit.dwo_id.map(|id| id.0),
                unit.header.debug_info_offset(),
                die.0,
            );
            let declared = self.declared.entry(key).or_insert_with(|| {
                let declaration = self.debug.declaration(unit, die, place < outermost);
                Rc::new(Declared::new(name.map(|name| text(&name)), declaration))
            });
            if let Some(section) = declared.unreadable_name() {
                self.unreadable_texts.insert(section);
                names = DebugNames::Unreadable;
            }
            if place == outermost || declared.is_named() {
                all.push(Rc::clone(declared));
            }
        }
        Some((all, names))
    }
}
