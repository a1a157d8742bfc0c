//! Where code is in its source, by the line programs of DWARF.
//!
//! [`super::Symbols`] reads debug information without them. Few addresses are asked for here, so
//! what cannot be read costs no more than their lines.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use addr2line::{Context, LookupContinuation, LookupResult};
use gimli::{Dwarf, Section as _};
use hashbrown::HashMap;
use kernel_core::symbols::lines::short_path;
use profiler::address::{CodeAddress, UserAddress};

use super::dwarf::has_whole_unit;
use super::files::Chosen;
use super::source_names::SourceNames;
use super::split::{Split, SplitFiles};
use super::{Bytes, LinkAddress, SymbolFiles, Symbols, dwarf};

/// A place in a source file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SourceLine {
    /// The file, as [`short_path`] has it, with more of its folders where another one is called so.
    pub file: String,
    pub line: u32,
}

/// Where the functions at an address are, innermost first: the file's number, and the line.
type Places = Rc<[Option<(usize, u32)>]>;

/// The lines of a kernel, and of the user's programs.
#[derive(Default)]
pub struct Lines {
    kernel: FileLines,
    /// Those of programs that ran, by their numbers.
    programs: HashMap<u16, FileLines>,
    names: RefCell<SourceNames>,
    /// By [`Symbols::place`].
    known: RefCell<HashMap<u64, Places>>,
}

impl Lines {
    /// Those of these files, if they have any.
    #[must_use]
    pub fn of_files(files: &SymbolFiles) -> Self {
        Self {
            kernel: FileLines::new(files),
            ..Self::default()
        }
    }

    /// Those of a kernel's files, and of the programs that ran: `addresses` are all that have samples, of
    /// which `symbols` has the functions. Their files are told apart.
    pub(crate) fn of_run(
        files: &SymbolFiles,
        symbols: &Symbols,
        addresses: impl Iterator<Item = CodeAddress>,
    ) -> Self {
        let mut lines = Self::of_files(files);
        for address in addresses {
            if let Some(user) = UserAddress::of_program(address) {
                let number = symbols.program_of(user.program);
                if !lines.programs.contains_key(&number) {
                    let mut programs = symbols.programs();
                    let program = programs.find(|it| it.number == number);
                    let program = program.map(|it| FileLines::new(it.files));
                    lines.programs.insert(number, program.unwrap_or_default());
                }
            }
            lines.places(address, symbols);
        }
        lines.names.borrow_mut().tell_apart();
        lines
    }

    /// Where the code is that ran at an address, innermost first, as many as `symbols` has functions there:
    /// each unknown if what has the lines knows others.
    #[must_use]
    pub fn of_code(&self, address: CodeAddress, symbols: &Symbols) -> Vec<Option<SourceLine>> {
        self.named(&self.places(address, symbols))
    }

    fn places(&self, address: CodeAddress, symbols: &Symbols) -> Places {
        let place = symbols.place(address);
        if let Some(known) = self.known.borrow().get(&place) {
            return Rc::clone(known);
        }
        let names = &mut *self.names.borrow_mut();
        let places = match UserAddress::of_program(address) {
            Some(user) => {
                let program = self.programs.get(&symbols.program_of(user.program));
                program.map(|lines| lines.at(LinkAddress(user.address), names))
            }
            None => {
                let link = symbols.slide().link(address);
                link.map(|link| self.kernel.at(link, names))
            }
        };
        let functions = symbols.frames(address).len();
        let places = places.filter(|places| places.len() == functions);
        let places: Places = places.unwrap_or_else(|| vec![None; functions]).into();
        self.known.borrow_mut().insert(place, Rc::clone(&places));
        places
    }

    /// Returns true if there are none of the code at an address.
    #[must_use]
    pub(crate) fn is_empty_at(&self, address: CodeAddress, symbols: &Symbols) -> bool {
        let lines = match UserAddress::of_program(address) {
            Some(user) => self.programs.get(&symbols.program_of(user.program)),
            None => Some(&self.kernel),
        };
        lines.is_none_or(|lines| lines.context.is_none())
    }

    /// Where the code at an address of the kernel is, in each of the functions that were inlined there,
    /// innermost first; nothing if that is not known.
    #[must_use]
    pub fn at(&self, address: LinkAddress) -> Vec<Option<SourceLine>> {
        let places = self.kernel.at(address, &mut self.names.borrow_mut());
        self.named(&places)
    }

    /// The file of a line that was asked for, by its name; it may be on another machine.
    #[must_use]
    pub fn path(&self, file: &str) -> Option<PathBuf> {
        self.names.borrow().path(file).map(Path::to_owned)
    }

    /// The name of the file with this path, if the short one is another one's too.
    pub(crate) fn longer_name(&self, path: &Path) -> Option<String> {
        self.names.borrow().longer(path).map(str::to_owned)
    }

    fn named(&self, places: &[Option<(usize, u32)>]) -> Vec<Option<SourceLine>> {
        let names = self.names.borrow();
        let named = places.iter().map(|place| {
            place.map(|(file, line)| SourceLine {
                file: names.name(file).to_owned(),
                line,
            })
        });
        named.collect()
    }
}

/// The line programs of a kernel, or of a program.
#[derive(Default)]
struct FileLines {
    context: Option<Context<Bytes>>,
    /// What is not in the ELF file itself: which calls are inlined there.
    split: SplitFiles,
}

impl FileLines {
    fn new(files: &SymbolFiles) -> Self {
        let parts = files.parts();
        let part = Chosen::new(&parts).debug_info();
        let dwarf: Option<Dwarf<Bytes>> =
            part.map(|part| dwarf::load((&part.elf, &part.file.bytes), |id| id.name()));
        let mut with_split = dwarf.iter().filter(|dwarf| has_split(dwarf));
        let split = with_split
            .next()
            .map(|dwarf| Split::new(&files.places()).load(dwarf));
        Self {
            split: split.unwrap_or_default(),
            context: dwarf.and_then(|dwarf| Context::from_dwarf(dwarf).ok()),
        }
    }

    /// As [`Lines::at`], with the files' numbers.
    fn at(&self, address: LinkAddress, names: &mut SourceNames) -> Vec<Option<(usize, u32)>> {
        let Some(context) = &self.context else {
            return Vec::new();
        };
        let unit = self.loaded(context.find_dwarf_and_unit(address.0));
        let folder = unit.and_then(|unit| {
            let whole = || self.split.folder(unit.dwo_id?);
            unit.comp_dir.as_ref().or_else(whole).map(super::text)
        });
        let folder = folder.as_deref();
        let mut lines = Vec::new();
        let Ok(mut frames) = self.loaded(context.find_frames(address.0)) else {
            return lines;
        };
        while let Ok(Some(frame)) = frames.next() {
            let line = frame.location.and_then(|place| {
                let file = place.file?;
                let file = names.number(file, short_path(file, folder), folder);
                Some((file, place.line?))
            });
            lines.push(line);
        }
        lines
    }

    /// The result of a look-up, for which units that are split off are taken from their files.
    fn loaded<L: LookupContinuation<Buf = Bytes>>(&self, mut result: LookupResult<L>) -> L::Output {
        loop {
            match result {
                LookupResult::Output(output) => return output,
                LookupResult::Load { load, continuation } => {
                    let split = self.split.get(load.dwo_id).filter(|it| has_whole_unit(it));
                    result = continuation.resume(split);
                }
            }
        }
    }
}

/// Returns true if units may be split off: these have their addresses in a table.
fn has_split(dwarf: &Dwarf<Bytes>) -> bool {
    !dwarf.debug_addr.reader().bytes().is_empty()
}
