//! Where code is in its source, by the line programs of DWARF.
//!
//! [`super::Symbols`] reads debug information without them. Few addresses are asked for here, so
//! what cannot be read costs no more than their lines.

use std::cell::RefCell;
use std::path::PathBuf;

use addr2line::{Context, LookupContinuation, LookupResult};
use gimli::{Dwarf, Section as _};
use hashbrown::HashMap;
use kernel_core::symbols::lines::short_path;
use profiler::address::{CodeAddress, UserAddress};

use super::dwarf::has_whole_unit;
use super::files::Chosen;
use super::split::{Split, SplitFiles};
use super::{Bytes, LinkAddress, SymbolFiles, Symbols, dwarf};

/// A place in a source file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SourceLine {
    /// The file, as [`short_path`] has it.
    pub file: String,
    pub line: u32,
}

/// The line programs of a kernel.
#[derive(Default)]
pub struct Lines {
    context: Option<Context<Bytes>>,
    /// What is not in the ELF file itself: which calls are inlined there.
    split: SplitFiles,
    /// The files of lines that were asked for, by their short names, as the compiler names them.
    paths: RefCell<HashMap<String, PathBuf>>,
    /// Those of the user's programs, by their numbers.
    programs: HashMap<u16, Lines>,
}

impl Lines {
    /// Those of these files, if they have any.
    #[must_use]
    pub fn of_files(files: &SymbolFiles) -> Self {
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
            paths: RefCell::default(),
            programs: HashMap::new(),
        }
    }

    /// Those of a kernel's files, and of the programs whose functions `symbols` has.
    #[must_use]
    pub fn with_programs(files: &SymbolFiles, symbols: &Symbols) -> Self {
        let programs = symbols.programs();
        let programs = programs.map(|it| (it.number, Self::of_files(it.files)));
        Self {
            programs: programs.collect(),
            ..Self::of_files(files)
        }
    }

    /// Where the code is that ran at an address, likewise, as many as `symbols` has functions there:
    /// each unknown if what has the lines knows others.
    #[must_use]
    pub fn of_code(&self, address: CodeAddress, symbols: &Symbols) -> Vec<Option<SourceLine>> {
        let lines = match UserAddress::of_program(address) {
            Some(user) => {
                let program = self.programs.get(&symbols.program_of(user.program));
                program.map(|lines| lines.at(LinkAddress(user.address)))
            }
            None => symbols.slide().link(address).map(|link| self.at(link)),
        };
        let functions = symbols.frames(address).len();
        let lines = lines.filter(|lines| lines.len() == functions);
        lines.unwrap_or_else(|| vec![None; functions])
    }

    /// Returns true if there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.context.is_none()
    }

    /// Where the code at an address is, in each of the functions that were inlined there, innermost
    /// first; nothing if that is not known.
    #[must_use]
    pub fn at(&self, address: LinkAddress) -> Vec<Option<SourceLine>> {
        let Some(context) = &self.context else {
            return Vec::new();
        };
        let unit = self.loaded(context.find_dwarf_and_unit(address.0));
        let folder = unit.and_then(|unit| {
            let whole = || self.split.folder(unit.dwo_id?);
            unit.comp_dir.as_ref().or_else(whole).map(super::text)
        });
        let mut lines = Vec::new();
        let Ok(mut frames) = self.loaded(context.find_frames(address.0)) else {
            return lines;
        };
        while let Ok(Some(frame)) = frames.next() {
            let line = frame.location.and_then(|place| {
                let file = place.file?;
                let short = short_path(file, folder.as_deref());
                self.note_path(short, file);
                Some(SourceLine {
                    file: short.to_owned(),
                    line: place.line?,
                })
            });
            lines.push(line);
        }
        lines
    }
}

impl Lines {
    /// The file of a line that was asked for, by its short name; it may be on another machine.
    #[must_use]
    pub fn path(&self, file: &str) -> Option<PathBuf> {
        let own = self.paths.borrow().get(file).cloned();
        own.or_else(|| self.programs.values().find_map(|lines| lines.path(file)))
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

    fn note_path(&self, short: &str, path: &str) {
        let mut paths = self.paths.borrow_mut();
        if !paths.contains_key(short) {
            paths.insert(short.to_owned(), path.into());
        }
    }
}

/// Returns true if units may be split off: these have their addresses in a table.
fn has_split(dwarf: &Dwarf<Bytes>) -> bool {
    !dwarf.debug_addr.reader().bytes().is_empty()
}
