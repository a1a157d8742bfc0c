//! Where a function is declared, according to DWARF.
//!
//! The entry of a function's code need not say it: an inlined call refers to
//! the function's abstract instance, and that may refer to the declaration in
//! the type that the function belongs to, which may stand in another unit, or
//! in a file that several kernels share.

use std::cell::{OnceCell, RefCell};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use hashbrown::HashMap;

use gimli::{
    self, AttributeValue, DebugInfoOffset, DwAt, Dwarf, DwoId, Unit, UnitHeader, UnitOffset,
    UnitRef,
};

use super::units::Code;
use super::{Bytes, path, text, texts};

/// The attributes that have names: by which a function is linked, and in the source.
const NAMES: [DwAt; 3] = [
    gimli::DW_AT_linkage_name,
    gimli::DW_AT_MIPS_linkage_name,
    gimli::DW_AT_name,
];

/// How many references are followed: a real entry has two.
const MAX_REFERENCES: usize = 8;

/// What the entry of a function, and those that it refers to, say.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Declaration {
    /// The file, shortened to what tells it from others.
    pub file: Option<String>,
    /// The same with all its folders.
    pub path: Option<PathBuf>,
    pub line: Option<u32>,
    /// Whether there is the name by which it is linked.
    pub has_linkage_name: bool,
    /// The section of its name, if that cannot be read there.
    pub unreadable_name: Option<&'static str>,
    /// The addresses of its code; none of a call that is inlined: nobody asks for them.
    pub code: Vec<Range<u64>>,
}

/// The declarations of an ELF file's functions.
pub(super) struct Declarations {
    own: Referred,
    /// Those of a file that has what several have in common.
    shared: Option<Referred>,
}

impl Declarations {
    pub(super) fn new(dwarf: &Arc<Dwarf<Bytes>>) -> Self {
        let shared = dwarf.sup.as_ref().map(Referred::new);
        Self {
            own: Referred::new(dwarf),
            shared,
        }
    }

    /// Where the function with the entry `die` of `unit` is declared, as far as the debug
    /// information says it.
    pub(super) fn of(
        &self,
        unit: UnitRef<'_, Bytes>,
        die: UnitOffset,
        is_inlined: bool,
    ) -> Declaration {
        let mut found = Declaration::default();
        // What is damaged ends the search.
        let _ = self.follow(unit, die, MAX_REFERENCES, &mut found);
        if !is_inlined {
            found.code = code(unit, die).unwrap_or_default();
        }
        found
    }

    /// The name of a source file, shortened and whole. It is kept: many functions are declared in one.
    fn file(&self, unit: UnitRef<'_, Bytes>, index: u64) -> Option<SourceName> {
        // The list of files of a unit that is split off stays where it was.
        let split = unit.dwo_id.filter(|_| self.file_of(unit).is_none());
        let skeleton = split.and_then(|id| self.own.skeleton(id));
        let unit = match &skeleton {
            Some(skeleton) => UnitRef::new(&self.own.dwarf, skeleton),
            None => unit,
        };
        let of_file = self.file_of(unit);
        let unit_at = unit.header.debug_info_offset();
        let (Some(of_file), Some(unit_at)) = (of_file, unit_at) else {
            return file(unit, index);
        };
        let mut sources = of_file.sources.borrow_mut();
        let source = sources.entry((unit_at, index));
        source.or_insert_with(|| file(unit, index)).clone()
    }

    /// The file that a unit is in; `None` if that is one of its own.
    fn file_of(&self, unit: UnitRef<'_, Bytes>) -> Option<&Referred> {
        let mut files = [Some(&self.own), self.shared.as_ref()]
            .into_iter()
            .flatten();
        files.find(|file| std::ptr::eq(unit.dwarf, &*file.dwarf))
    }

    fn follow(
        &self,
        unit: UnitRef<'_, Bytes>,
        die: UnitOffset,
        references: usize,
        found: &mut Declaration,
    ) -> Option<()> {
        let entry = unit.entry(die).ok()?;
        let number = |name: DwAt| entry.attr_value(name)?.udata_value();
        for name in NAMES {
            let Some(attribute) = entry.attr(name) else {
                continue;
            };
            found.has_linkage_name |= name != gimli::DW_AT_name;
            found.unreadable_name = found
                .unreadable_name
                .or_else(|| texts::unreadable(unit, attribute));
        }
        if let Some(line) = number(gimli::DW_AT_decl_line)
            && found.line.is_none()
        {
            if let Some(AttributeValue::FileIndex(index)) = entry.attr_value(gimli::DW_AT_decl_file)
                && let Some((file, path)) = self.file(unit, index)
            {
                (found.file, found.path) = (Some(file), Some(path));
            }
            found.line = u32::try_from(line).ok().filter(|&line| line != 0);
        }
        let references = references.checked_sub(1)?;
        let reference = [gimli::DW_AT_abstract_origin, gimli::DW_AT_specification]
            .into_iter()
            .find_map(|name| entry.attr_value(name))?;
        let (referred, offset) = match reference {
            AttributeValue::UnitRef(die) => return self.follow(unit, die, references, found),
            AttributeValue::DebugInfoRef(offset) => (self.file_of(unit)?, offset),
            AttributeValue::DebugInfoRefSup(offset) => (self.shared.as_ref()?, offset),
            _ => return None,
        };
        let (other, die) = referred.find(offset)?;
        let other = UnitRef::new(&referred.dwarf, &other);
        self.follow(other, die, references, found)
    }
}

/// The name of a source file, shortened and whole.
type SourceName = (String, PathBuf);

/// The units of a file that entries refer to.
struct Referred {
    dwarf: Arc<Dwarf<Bytes>>,
    headers: Vec<UnitHeader<Bytes>>,
    /// Those that were read, by their places among the headers.
    units: RefCell<HashMap<usize, Arc<Unit<Bytes>>>>,
    /// What is left of units that are split off, by their numbers.
    skeletons: OnceCell<HashMap<u64, Arc<Unit<Bytes>>>>,
    /// The names of source files, by the unit and their numbers in it.
    sources: RefCell<HashMap<(DebugInfoOffset, u64), Option<SourceName>>>,
}

impl Referred {
    fn new(dwarf: &Arc<Dwarf<Bytes>>) -> Self {
        let mut headers = Vec::new();
        let mut all = dwarf.units();
        while let Ok(Some(header)) = all.next() {
            headers.push(header);
        }
        Self {
            dwarf: Arc::clone(dwarf),
            headers,
            units: RefCell::default(),
            skeletons: OnceCell::new(),
            sources: RefCell::default(),
        }
    }

    /// What is left of a unit that is split off.
    fn skeleton(&self, id: DwoId) -> Option<Arc<Unit<Bytes>>> {
        let find = || {
            let units = self.headers.iter();
            let units = units.filter_map(|header| self.dwarf.unit(header.clone()).ok());
            let split = units.filter_map(|unit| Some((unit.dwo_id?.0, Arc::new(unit))));
            split.collect()
        };
        self.skeletons.get_or_init(find).get(&id.0).cloned()
    }

    /// The unit that has this entry, and where it is in it.
    fn find(&self, offset: DebugInfoOffset) -> Option<(Arc<Unit<Bytes>>, UnitOffset)> {
        let behind = self
            .headers
            .partition_point(|header| header.debug_info_offset().is_some_and(|it| it <= offset));
        let index = behind.checked_sub(1)?;
        let header = &self.headers[index];
        let die = offset.to_unit_offset(header)?;
        let mut units = self.units.borrow_mut();
        let unit = match units.get(&index) {
            Some(unit) => Arc::clone(unit),
            None => {
                let unit = Arc::new(self.dwarf.unit(header.clone()).ok()?);
                units.insert(index, Arc::clone(&unit));
                unit
            }
        };
        Some((unit, die))
    }
}

fn code(unit: UnitRef<'_, Bytes>, die: UnitOffset) -> gimli::Result<Vec<Range<u64>>> {
    let entry = unit.entry(die)?;
    let mut code = Code::default();
    for attribute in entry.attrs() {
        code.read(unit, attribute)?;
    }
    code.ranges(unit)
}

/// The name of a file of the unit's line table, shortened and whole.
fn file(unit: UnitRef<'_, Bytes>, index: u64) -> Option<SourceName> {
    let string = |value| Some(text(&unit.attr_string(value).ok()?));
    let header = unit.line_program.as_ref()?.header();
    let entry = header.file(index)?;
    let compiled_in = unit.comp_dir.as_ref().map(text);
    let directory = entry.directory(header).and_then(string);
    let name = string(entry.path_name())?;
    let parts = [compiled_in.as_deref(), directory.as_deref(), Some(&*name)];
    let whole = parts.iter().flatten().collect();
    Some((path::shorten(parts), whole))
}
