//! The source files of a kernel, as they are on this machine.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::SystemTime;

use crate::input;
use crate::output::line_of_log;
use crate::symbols::Lines;

/// A larger file is not taken for source.
const MOST_BYTES: u64 = 8 << 20;

/// What names of files end with that have source in them. A kernel's debug information comes from
/// elsewhere: what else it names is nobody's business.
const ENDINGS: &[&str] = &[
    "S", "ads", "adb", "asm", "c", "cc", "cpp", "cxx", "d", "go", "h", "hh", "hpp", "inc", "inl",
    "m", "nim", "rs", "s", "swift", "zig",
];

/// A source file's lines, as a terminal or a page can show them.
pub(crate) type Text = Rc<Vec<String>>;

/// Source files that were looked for.
pub(crate) struct Sources<'a> {
    lines: &'a Lines,
    /// Folders that have files in place of those of the debug information.
    folders: &'a [PathBuf],
    /// When the code was there: what was changed later may be other lines.
    before: Option<SystemTime>,
    known: RefCell<BTreeMap<String, Option<Text>>>,
    changed: RefCell<Vec<String>>,
    is_off: bool,
}

impl<'a> Sources<'a> {
    /// Those of these lines; `before` is when the profile was written.
    pub(crate) fn new(
        lines: &'a Lines,
        folders: &'a [PathBuf],
        before: Option<SystemTime>,
    ) -> Self {
        Self {
            lines,
            folders,
            before,
            known: RefCell::default(),
            changed: RefCell::default(),
            is_off: false,
        }
    }

    /// No files at all, if they are not asked for.
    pub(crate) fn only_if(self, is_asked_for: bool) -> Self {
        Self {
            is_off: !is_asked_for,
            ..self
        }
    }

    /// Returns true if a file was looked for and is not there, by its short name.
    pub(super) fn lacks(&self, file: &str) -> bool {
        !self.is_off && self.text(file).is_none()
    }

    /// The lines of a file, by its short name.
    pub(crate) fn text(&self, file: &str) -> Option<Text> {
        if self.is_off {
            return None;
        }
        if let Some(known) = self.known.borrow().get(file) {
            return known.clone();
        }
        let found = self.find(file);
        self.known
            .borrow_mut()
            .insert(file.to_owned(), found.clone());
        found
    }

    /// A line of a file, as the source has it.
    pub(super) fn line(&self, file: &str, line: u32) -> Option<String> {
        let index = usize::try_from(line.saturating_sub(1)).ok()?;
        self.text(file)?.get(index).cloned()
    }

    /// Files that were found and changed since the profile was written.
    pub(crate) fn changed(&self) -> Vec<String> {
        self.changed.borrow().clone()
    }

    fn find(&self, file: &str) -> Option<Text> {
        let path = self.lines.path(file)?;
        let found = self.places(&path).find_map(|place| read(&place))?;
        if self.before.is_some_and(|before| found.1 > before) {
            self.changed.borrow_mut().push(file.to_owned());
        }
        Some(Rc::new(found.0))
    }

    /// Where a file may be: in the folders that are named, with as much of its path as is there; else
    /// where it was compiled.
    fn places(&self, path: &Path) -> impl Iterator<Item = PathBuf> {
        let parts: Vec<_> = path
            .components()
            .filter(|part| matches!(part, std::path::Component::Normal(_)))
            .collect();
        let ends: Vec<PathBuf> = (0..parts.len())
            .map(|from| parts[from..].iter().collect())
            .collect();
        let named = self
            .folders
            .iter()
            .flat_map(move |folder| ends.clone().into_iter().map(move |end| folder.join(end)));
        named
            .chain([path.to_owned()])
            .collect::<Vec<_>>()
            .into_iter()
    }
}

/// A file's lines, and when it was changed.
fn read(path: &Path) -> Option<(Vec<String>, SystemTime)> {
    let ending = path.extension()?.to_str()?;
    let found = fs::metadata(path).ok()?;
    if !ENDINGS.contains(&ending) || !found.is_file() || found.len() > MOST_BYTES {
        return None;
    }
    let bytes = input::read(path).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let lines = text.lines().map(|line| line_of_log(line).into_owned());
    Some((
        lines.collect(),
        found.modified().unwrap_or(SystemTime::UNIX_EPOCH),
    ))
}
