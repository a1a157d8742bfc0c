//! From addresses to functions.
//!
//! A profile has few different addresses and each of them many times: they are
//! collected first, and each is looked up once, in order. The answer is a list
//! of *frames*, innermost first: one function that has code of its own, and
//! before it those that the compiler inlined into it at that place.
//!
//! Functions come from DWARF; what it does not know (assembly stubs) from the
//! ELF's symbol table; what is in neither stays an address.

pub(crate) mod callframe;
mod declaration;
pub(crate) mod elf;
mod path;

pub use elf::{BuildId, ElfError, build_id};

pub(crate) use callframe::Callers;
pub(crate) use elf::{entry_of, loaded_bytes};

use std::collections::HashMap;

use addr2line::Context;
use gimli::{DebugInfoOffset, EndianArcSlice, LittleEndian};
use profiler::address::{CodeAddress, CodeRange};

use elf::SymbolTable;

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

/// The functions of a kernel.
pub struct Symbols {
    dwarf: Option<Context<Bytes>>,
    table: SymbolTable,
    callers: Callers,
    /// What the ELF file maps as executable.
    text: Vec<CodeRange>,
    functions: Vec<Function>,
    ids: HashMap<Function, FunctionId>,
    declared: HashMap<(DebugInfoOffset, usize), FunctionId>,
    frames: HashMap<CodeAddress, Box<[Frame]>>,
}

impl Symbols {
    /// The functions of an ELF file.
    ///
    /// # Errors
    ///
    /// [`ElfError`] if it is none that can be read.
    pub fn new(elf: &[u8]) -> Result<Self, ElfError> {
        let file = elf::parse(elf)?;
        let mut symbols = Self::without_elf();
        symbols.table = SymbolTable::new(&file);
        symbols.callers = Callers::new(&file);
        symbols.text = elf::text(&file);
        symbols.dwarf = Some(Context::from_dwarf(elf::dwarf(&file)?)?);
        Ok(symbols)
    }

    /// No functions: every address stays an address.
    #[must_use]
    pub fn without_elf() -> Self {
        Self {
            dwarf: None,
            table: SymbolTable::default(),
            callers: Callers::default(),
            text: Vec::new(),
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

    /// The addresses at which the ELF file has code; empty without one.
    #[must_use]
    pub fn text(&self) -> &[CodeRange] {
        &self.text
    }

    /// The function with this id.
    #[must_use]
    pub fn function(&self, id: FunctionId) -> &Function {
        &self.functions[id.0 as usize]
    }

    fn look_up(&mut self, address: CodeAddress) -> Box<[Frame]> {
        let mut frames = self.frames_by_dwarf(address).unwrap_or_default();
        if frames.is_empty() {
            let name = self
                .table
                .name(address)
                .map_or_else(|| format!("{:#x}", address.0), demangle);
            let function = self.intern(Function {
                name,
                file: None,
                line: None,
            });
            frames.push(Frame {
                function,
                inlined: false,
            });
        }
        frames.into()
    }

    /// The frames that DWARF knows; none if it knows not all of their names.
    fn frames_by_dwarf(&mut self, address: CodeAddress) -> Option<Vec<Frame>> {
        let context = self.dwarf.take()?;
        let frames = self.frames_of(&context, address);
        self.dwarf = Some(context);
        frames
    }

    fn frames_of(&mut self, context: &Context<Bytes>, address: CodeAddress) -> Option<Vec<Frame>> {
        let unit = context.find_dwarf_and_unit(address.0).skip_all_loads()?;
        let mut found = context.find_frames(address.0).skip_all_loads().ok()?;
        let mut frames = Vec::new();
        while let Some(frame) = found.next().ok()? {
            let name = frame.function?;
            let die = frame.dw_die_offset?;
            let key = (unit.header.debug_info_offset()?, die.0);
            let function = match self.declared.get(&key) {
                Some(&known) => known,
                None => {
                    let (file, line) = declaration::of(unit, die).unwrap_or_default();
                    let name = demangle(&name.raw_name().ok()?);
                    let id = self.intern(Function { name, file, line });
                    self.declared.insert(key, id);
                    id
                }
            };
            frames.push(Frame {
                function,
                inlined: true,
            });
        }
        if let Some(outermost) = frames.last_mut() {
            outermost.inlined = false;
        }
        Some(frames)
    }

    fn intern(&mut self, function: Function) -> FunctionId {
        if let Some(&id) = self.ids.get(&function) {
            return id;
        }
        let id = FunctionId(u32::try_from(self.functions.len()).expect("fewer functions than 2³²"));
        self.functions.push(function.clone());
        self.ids.insert(function, id);
        id
    }
}

/// The name without mangling and without a hash.
fn demangle(name: &str) -> String {
    format!("{:#}", rustc_demangle::demangle(name))
}
