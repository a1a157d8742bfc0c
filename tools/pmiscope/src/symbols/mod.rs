//! From addresses to functions.
//!
//! A profile has few different addresses and each of them many times: they are
//! collected first, and each is looked up once, in order. The answer is a list
//! of *frames*, innermost first: one function that has code of its own, and
//! before it those that the compiler inlined into it at that place.
//!
//! Functions come from DWARF; what it does not know (assembly stubs) from the
//! ELF's symbol table; what is in neither stays an address: as the ELF file has it, where the
//! text was moved.

mod by_code;
pub(crate) mod callframe;
mod code;
mod declaration;
mod demangle;
mod dwarf;
pub(crate) mod elf;
pub(crate) mod files;
mod kernel_file;
mod known;
mod names;
mod path;
mod separate;
mod slide;
mod split;

pub use elf::{BuildId, ElfError, build_id};
pub use slide::{LinkAddress, Slide};

pub(crate) use callframe::Callers;
pub(crate) use code::Code;
pub(crate) use elf::{entry_of, loaded_bytes};
pub(crate) use files::{Origins, Owner, SymbolFile, SymbolFiles};
pub(crate) use kernel_file::{check, check_kernel};
pub(crate) use known::Known;
pub(crate) use separate::Whose;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use addr2line::{Context, LookupContinuation, LookupResult};
use gimli::{self, DebugInfoOffset, EndianArcSlice, LittleEndian};
use profiler::address::{CodeAddress, CodeRange};

use declaration::Declaration;
use demangle::demangle;
use dwarf::DebugInfo;
use files::Chosen;
use names::SymbolTable;
use split::SplitFiles;

type Bytes = EndianArcSlice<LittleEndian>;

/// A function, by its place in the list of [`Symbols`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FunctionId(u32);

/// A function, as reports name it. Two instances of a generic function that
/// have the same name are the same function.
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

/// What makes two functions one: not all that has one name is.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Identity {
    name: String,
    /// Where it is declared, with all folders.
    path: Option<PathBuf>,
    line: Option<u32>,
    /// Where it starts, if only that tells it from another of its name.
    start: Option<LinkAddress>,
}

/// A function that debug information names.
#[derive(Clone)]
struct Declared {
    function: FunctionId,
    /// Its name in the source, if its debug information does not have the one by which it is
    /// linked.
    unlinked_name: Option<String>,
}

/// An entry of debug information: the unit that is split off, the unit, the entry.
type EntryKey = (Option<u64>, Option<DebugInfoOffset>, usize);

/// The functions of a kernel, by the addresses at which it ran.
pub struct Symbols {
    origins: Origins,
    debug: DebugInfo,
    table: Arc<SymbolTable>,
    callers: Callers,
    slide: Slide,
    functions: Vec<Function>,
    ids: HashMap<Identity, FunctionId>,
    declared: HashMap<EntryKey, Declared>,
    frames: HashMap<CodeAddress, Box<[Frame]>>,
}

impl Symbols {
    /// The functions of an ELF file that runs where it was linked for.
    ///
    /// # Errors
    ///
    /// [`ElfError`] if it is none that can be read.
    pub fn new(elf: &[u8]) -> Result<Self, ElfError> {
        let mut files = SymbolFiles::default();
        let file = SymbolFile {
            name: String::new(),
            path: None,
            bytes: elf.to_vec(),
        };
        files.add(file, Owner::Kernel)?;
        Ok(Self::of_files(&files, None))
    }

    /// The functions of an ELF file whose text was `run` when it ran. Debug information that
    /// is not in it is looked for beside the file `beside`.
    ///
    /// # Errors
    ///
    /// [`ElfError`] if it is none that can be read.
    pub fn of_run(elf: &[u8], run: CodeRange, beside: &Path) -> Result<Self, ElfError> {
        let mut files = SymbolFiles::default();
        files.add(SymbolFile::at(beside, elf.to_vec()), Owner::Kernel)?;
        Ok(Self::of_files(&files, Some(run)))
    }

    /// The functions of a kernel whose text was `run` when it ran, or that ran where it was
    /// linked for.
    #[must_use]
    pub(crate) fn of_files(files: &SymbolFiles, run: Option<CodeRange>) -> Self {
        let parts = files.parts();
        let chosen = Chosen::new(&parts);
        let named = || chosen.of_names.iter().map(|part| &part.elf);
        let Some(with_code) = chosen.code().map(|part| &part.elf) else {
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
        let code = Arc::new(Code::new(with_code));
        let frames = |section: &str| chosen.frames(section).map(|part| &part.elf);
        let debug = chosen.debug_info().map(|part| {
            let moved_to = chosen.supplementary.first().map(|part| &part.elf);
            DebugInfo::new(&part.elf, moved_to, &files.places())
        });
        let debug = debug.unwrap_or_default();
        let mut origins = chosen.origins(files);
        if let Some(units) = debug.units.as_ref() {
            origins.problems.without_debug_info = chosen.sources_but(units);
        }
        Self {
            origins,
            debug,
            callers: Callers::new(frames, slide.clone(), code, Arc::clone(&table)),
            table,
            slide,
            ..Self::without_elf()
        }
    }

    /// No functions: every address stays an address.
    #[must_use]
    pub fn without_elf() -> Self {
        Self {
            origins: Origins::default(),
            debug: DebugInfo::default(),
            table: Arc::default(),
            callers: Callers::default(),
            slide: Slide::default(),
            functions: Vec::new(),
            ids: HashMap::new(),
            declared: HashMap::new(),
            frames: HashMap::new(),
        }
    }

    /// Looks up all of `addresses`, for [`Self::frames`].
    pub fn resolve(&mut self, addresses: impl IntoIterator<Item = CodeAddress>) {
        let mut addresses: Vec<_> = addresses.into_iter().collect();
        addresses.sort_unstable();
        addresses.dedup();
        for address in addresses {
            if !self.frames.contains_key(&address) {
                let frames = self.look_up(address);
                self.frames.insert(address, frames);
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
        &self.frames[&address]
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
        self.debug.unreadable
    }

    /// The function with this id.
    #[must_use]
    pub fn function(&self, id: FunctionId) -> &Function {
        &self.functions[id.0 as usize]
    }

    fn look_up(&mut self, address: CodeAddress) -> Box<[Frame]> {
        let link = self.slide.link(address);
        let frames = link.and_then(|link| self.frames_by_dwarf(link));
        if let Some(frames) = frames.filter(|frames| !frames.is_empty()) {
            return frames.into();
        }
        let symbol = link.and_then(|link| self.table.at(link));
        let (name, start) = match symbol {
            Some(symbol) => (
                demangle(&symbol.name),
                symbol.is_twin.then_some(symbol.start),
            ),
            None => (format!("{:#x}", self.slide.shown(address)), None),
        };
        let function = self.intern(name, Declaration::default(), start);
        Box::new([Frame {
            function,
            inlined: false,
        }])
    }

    /// The frames that debug information knows; `None` if it knows not all of their names, or
    /// if the symbol table knows better.
    fn frames_by_dwarf(&mut self, address: LinkAddress) -> Option<Vec<Frame>> {
        let context = self.debug.context.take()?;
        let frames = self.frames_of(&context, address);
        self.debug.context = Some(context);
        let frames = frames?;
        let outermost = frames.last()?.clone();
        if outermost
            .unlinked_name
            .is_some_and(|name| self.is_another(address, &name))
        {
            return None;
        }
        let last = frames.len() - 1;
        let frames = frames.into_iter().enumerate();
        let frames = frames.map(|(index, declared)| Frame {
            function: declared.function,
            inlined: index != last,
        });
        Some(frames.collect())
    }

    /// Returns true if the symbol table has a function around `address` that is not called
    /// `name`: what has no code of its own any more may be said to be there.
    fn is_another(&self, address: LinkAddress, name: &str) -> bool {
        let around = self
            .table
            .at(address)
            .filter(|symbol| symbol.covers(address));
        let Some(around) = around.filter(|symbol| symbol.is_function) else {
            return false;
        };
        // A compiler's variant has a dot and more behind the name.
        let is_it = |linked: &str| {
            let rest = linked.strip_prefix(name);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let all = self.table.starting_at(around.start);
        !all.iter().any(|symbol| is_it(&symbol.name))
    }

    fn frames_of(
        &mut self,
        context: &Context<Bytes>,
        address: LinkAddress,
    ) -> Option<Vec<Declared>> {
        let split = &self.debug.split;
        let unit = loaded(context.find_dwarf_and_unit(address.0), split)?;
        let mut found = loaded(context.find_frames(address.0), split).ok()?;
        let mut frames = Vec::new();
        while let Some(frame) = found.next().ok()? {
            let name = frame.function?;
            let die = frame.dw_die_offset?;
            let key = (
                unit.dwo_id.map(|id| id.0),
                unit.header.debug_info_offset(),
                die.0,
            );
            if !self.declared.contains_key(&key) {
                let declaration = declaration::of(unit, die);
                let raw = name.raw_name().ok()?;
                let unlinked_name = (!declaration.has_linkage_name).then(|| raw.to_string());
                let function = self.intern(demangle(&raw), declaration, None);
                let declared = Declared {
                    function,
                    unlinked_name,
                };
                self.declared.insert(key, declared);
            }
            frames.push(self.declared[&key].clone());
        }
        Some(frames)
    }

    fn intern(
        &mut self,
        name: String,
        declaration: Declaration,
        start: Option<LinkAddress>,
    ) -> FunctionId {
        let Declaration {
            file, path, line, ..
        } = declaration;
        let identity = Identity {
            name: name.clone(),
            path,
            line,
            start,
        };
        let next = self.functions.len();
        let next = FunctionId(u32::try_from(next).expect("fewer functions than 2³²"));
        let id = *self.ids.entry(identity).or_insert(next);
        if id == next {
            self.functions.push(Function { name, file, line });
        }
        id
    }
}

/// The result of a look-up, for which units that are split off are taken from `split`.
fn loaded<L: LookupContinuation<Buf = Bytes>>(
    mut result: LookupResult<L>,
    split: &SplitFiles,
) -> L::Output {
    loop {
        match result {
            LookupResult::Output(output) => return output,
            LookupResult::Load { load, continuation } => {
                result = continuation.resume(split.get(load.dwo_id));
            }
        }
    }
}
