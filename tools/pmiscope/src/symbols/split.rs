//! Debug information that is in files of its own (`-gsplit-dwarf`): a `.dwo` for each unit, or
//! all of them packed into a `.dwp`.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gimli::{self, Dwarf, DwarfPackage, DwoId, Reader as _, SectionId, UnitRef};

use super::Bytes;
use super::{dwarf, elf};
use crate::input;

/// What was found of the units that are split off.
#[derive(Default)]
pub(super) struct SplitFiles {
    found: HashMap<u64, Arc<Dwarf<Bytes>>>,
    /// The folders that units were compiled in: those that are split off need not say them.
    folders: HashMap<u64, Bytes>,
    /// Units that were not found.
    pub missing: u64,
    /// Folders in which these were looked for.
    pub looked_in: Vec<PathBuf>,
}

impl SplitFiles {
    pub(super) fn get(&self, id: DwoId) -> Option<Arc<Dwarf<Bytes>>> {
        self.found.get(&id.0).cloned()
    }

    /// The folder that a unit was compiled in.
    pub(super) fn folder(&self, id: DwoId) -> Option<&Bytes> {
        self.folders.get(&id.0)
    }
}

/// Looks for files.
pub(super) struct Split<'a> {
    beside: &'a [PathBuf],
    looked_in: BTreeSet<PathBuf>,
    /// Files that were read, and the unit that each is of, if it is of one.
    of_units: HashMap<PathBuf, Option<DwoId>>,
}

impl<'a> Split<'a> {
    /// Looks where the compiler has put them, and beside these files.
    pub(super) fn new(beside: &'a [PathBuf]) -> Self {
        Self {
            beside,
            looked_in: BTreeSet::new(),
            of_units: HashMap::new(),
        }
    }

    /// Loads what the units of `main` are split into.
    pub(super) fn load(mut self, main: &Dwarf<Bytes>) -> SplitFiles {
        let mut files = SplitFiles::default();
        let mut packages = None;
        let mut headers = main.units();
        while let Ok(Some(header)) = headers.next() {
            let Ok(unit) = main.unit(header) else {
                continue;
            };
            let Some(id) = unit.dwo_id.filter(|id| files.get(*id).is_none()) else {
                continue;
            };
            let packages: &Vec<_> = packages.get_or_insert_with(|| self.packages());
            let packed = packages
                .iter()
                .find_map(|package| package.find_cu(id, main).ok()?);
            let found = packed.or_else(|| self.file(main, UnitRef::new(main, &unit), id));
            files
                .folders
                .extend(unit.comp_dir.clone().map(|folder| (id.0, folder)));
            match found {
                Some(found) => {
                    files.found.insert(id.0, Arc::new(found));
                }
                None => files.missing += 1,
            }
        }
        files.looked_in = self.looked_in.into_iter().collect();
        files
    }

    /// The packages of the ELF files: their names with `.dwp` behind, or in place of what is
    /// behind the last dot.
    fn packages(&mut self) -> Vec<DwarfPackage<Bytes>> {
        let names = self.beside.iter().flat_map(|beside| {
            let mut appended = OsString::from(beside);
            appended.push(".dwp");
            [PathBuf::from(appended), beside.with_extension("dwp")]
        });
        let folders = self.beside.iter().map(|beside| folder_of(beside));
        self.looked_in.extend(folders);
        let package = |path: PathBuf| {
            let file = input::read(&path).ok()?;
            let elf = elf::parse(&file).ok()?;
            let load = |id: SectionId| {
                let name = id.dwo_name().unwrap_or_default();
                Ok::<_, gimli::Error>(dwarf::bytes(&dwarf::section(&elf, name)))
            };
            DwarfPackage::load(load, dwarf::bytes(&[])).ok()
        };
        names.filter_map(package).collect()
    }

    /// The file of a unit of its own.
    fn file(
        &mut self,
        main: &Dwarf<Bytes>,
        unit: UnitRef<'_, Bytes>,
        id: DwoId,
    ) -> Option<Dwarf<Bytes>> {
        let text = |text: Bytes| Some(PathBuf::from(&*text.to_string_lossy().ok()?));
        let name = unit
            .attr_string(unit.dwo_name().ok()??)
            .ok()
            .and_then(text)?;
        let compiled_in = unit.comp_dir.clone().and_then(text).unwrap_or_default();
        let mut places = vec![compiled_in.join(&name)];
        for folder in self.beside.iter().map(|beside| folder_of(beside)) {
            places.push(folder.join(&name));
            places.extend(name.file_name().map(|name| folder.join(name)));
        }
        let found = places.iter().find_map(|path| self.read(path, main, id));
        if found.is_none() {
            self.looked_in
                .extend(places.iter().map(|path| folder_of(path)));
        }
        found
    }

    /// What is in a file, if it is of this unit.
    fn read(&mut self, path: &Path, main: &Dwarf<Bytes>, id: DwoId) -> Option<Dwarf<Bytes>> {
        // Any number of units can name one file, which is only one's.
        if self.of_units.get(path).is_some_and(|&it| it != Some(id)) {
            return None;
        }
        let found = load(path);
        let of = found.as_ref().map(|&(id, _)| id);
        self.of_units.insert(path.to_owned(), of);
        let (_, mut found) = found.filter(|_| of == Some(id))?;
        found.make_dwo(main);
        Some(found)
    }
}

/// What is in a file of a unit, and of which.
fn load(path: &Path) -> Option<(DwoId, Dwarf<Bytes>)> {
    let file: Arc<[u8]> = input::read(path).ok()?.into();
    let elf = elf::parse(&file).ok()?;
    let found = dwarf::load((&elf, &file), |id| id.dwo_name().unwrap_or_default());
    let header = found.units().next().ok()??;
    let id = found.unit(header).ok()?.dwo_id?;
    Some((id, found))
}

/// The folder that a file is in.
pub(super) fn folder_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(folder) if folder != Path::new("") => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}
