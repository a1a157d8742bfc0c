//! Where code is in its source, by the line programs of DWARF.
//!
//! [`super::Symbols`] reads debug information without them. Few addresses are asked for here, so
//! what cannot be read costs no more than their lines.

use std::cell::RefCell;
use std::path::PathBuf;

use addr2line::{Context, LookupContinuation, LookupResult};
use gimli::Dwarf;
use hashbrown::HashMap;
use kernel_core::symbols::lines::short_path;

use super::files::Chosen;
use super::{Bytes, LinkAddress, SymbolFiles, dwarf};

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
    /// The files of lines that were asked for, by their short names, as the compiler names them.
    paths: RefCell<HashMap<String, PathBuf>>,
}

impl Lines {
    /// Those of these files, if they have any.
    #[must_use]
    pub fn of_files(files: &SymbolFiles) -> Self {
        let parts = files.parts();
        let part = Chosen::new(&parts).debug_info();
        let dwarf: Option<Dwarf<Bytes>> =
            part.map(|part| dwarf::load((&part.elf, &part.file.bytes), |id| id.name()));
        Self {
            context: dwarf.and_then(|dwarf| Context::from_dwarf(dwarf).ok()),
            paths: RefCell::default(),
        }
    }

    /// Where the code at an address is, in each of the functions that were inlined there, innermost
    /// first; nothing if that is not known.
    #[must_use]
    pub fn at(&self, address: LinkAddress) -> Vec<Option<SourceLine>> {
        let Some(context) = &self.context else {
            return Vec::new();
        };
        let folder = loaded(context.find_dwarf_and_unit(address.0))
            .and_then(|unit| unit.comp_dir.as_ref().map(super::text));
        let mut lines = Vec::new();
        let Ok(mut frames) = loaded(context.find_frames(address.0)) else {
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
        self.paths.borrow().get(file).cloned()
    }

    fn note_path(&self, short: &str, path: &str) {
        let mut paths = self.paths.borrow_mut();
        if !paths.contains_key(short) {
            paths.insert(short.to_owned(), path.into());
        }
    }
}

/// The result of a look-up. Units that are split off are not looked for.
fn loaded<L: LookupContinuation<Buf = Bytes>>(mut result: LookupResult<L>) -> L::Output {
    loop {
        match result {
            LookupResult::Output(output) => return output,
            LookupResult::Load { continuation, .. } => result = continuation.resume(None),
        }
    }
}
