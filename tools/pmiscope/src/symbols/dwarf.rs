//! The debug information of an ELF file, as much of it as can be read.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashSet};
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;

use addr2line::{Context, LookupContinuation, LookupResult};
use gimli::{
    self, AbbreviationsCache, AbbreviationsCacheStrategy, AttributeValue, DebugInfoOffset, Dwarf,
    EndianArcSlice, LittleEndian, Reader as _, SectionId, UnitOffset, UnitRef,
};
use object::{CompressionFormat, Object as _, ObjectSection as _};

use super::Bytes;
use super::declaration::{Declaration, Declarations};
use super::elf::Elf;
use super::files::Part;
use super::slide::LinkAddress;
use super::split::{Split, SplitFiles};
use super::units::{Units, is_whole};

/// The debug information of a kernel.
#[derive(Default)]
pub(super) struct DebugInfo {
    read: Option<Read>,
    units: Units,
    /// The files that have what is not in the ELF file itself.
    pub split: SplitFiles,
    /// The sections of strings that units have none in, and should.
    pub unreadable_texts: BTreeSet<&'static str>,
    /// The names of the units without folders, if they have them themselves.
    pub names: Option<HashSet<String>>,
}

/// What is read of it.
struct Read {
    dwarf: Arc<Dwarf<Bytes>>,
    context: Context<Bytes>,
    declarations: Declarations,
}

/// What debug information says of an address.
pub(super) struct Found<'a> {
    pub unit: UnitRef<'a, Bytes>,
    /// The entries of the functions there, innermost first, with their names, if they have any that
    /// can be read. The last one has the code.
    pub entries: Vec<(UnitOffset, Option<Bytes>)>,
    /// Whether the innermost of them has one.
    pub names_innermost: bool,
}

impl DebugInfo {
    /// Reads that of an ELF file, with what was moved to another one; files beside `beside`
    /// may have more.
    pub(super) fn new(part: &Part<'_>, moved_to: Option<&Part<'_>>, beside: &[PathBuf]) -> Self {
        let load_all = |part: &Part<'_>| load((&part.elf, &part.file.bytes), |id| id.name());
        let mut dwarf = load_all(part);
        if let Some(moved_to) = moved_to {
            let mut shared = load_all(moved_to);
            Units::new(&mut shared);
            dwarf.set_sup(shared);
        }
        let mut units = Units::new(&mut dwarf);
        units.empty_lines(&mut dwarf);
        // What it says the units say as well, and that is right more often.
        dwarf.debug_aranges = bytes(&[]).into();
        let split = units.has_split.then(|| Split::new(beside).load(&dwarf));
        Self {
            split: split.unwrap_or_default(),
            unreadable_texts: std::mem::take(&mut units.unreadable_texts),
            names: (!units.has_split).then(|| std::mem::take(&mut units.names)),
            units,
            read: Read::new(dwarf),
        }
    }

    /// The number of units that cannot be read, as far as it is known.
    pub(super) fn unreadable(&self) -> u64 {
        self.units.left_out
    }

    /// Makes ready for looking `address` up. A unit that cannot be read to its end would have
    /// cost the names of others as well: it is left out, with all that are like it.
    pub(super) fn prepare(&mut self, address: LinkAddress) {
        if let Some(read) = &self.read
            && !self.units.are_whole_at(&read.dwarf, address.0)
        {
            let mut dwarf = copied(&read.dwarf);
            self.units.leave_out_damaged(&mut dwarf);
            self.read = Read::new(dwarf);
        }
    }

    /// What is known of an address that was made ready for.
    pub(super) fn find(&self, address: LinkAddress) -> Option<Found<'_>> {
        let context = &self.read.as_ref()?.context;
        let unit = self.loaded(context.find_dwarf_and_unit(address.0))?;
        let mut frames = self.loaded(context.find_frames(address.0)).ok()?;
        let mut entries = Vec::new();
        let mut names_innermost = None;
        while let Some(frame) = frames.next().ok()? {
            names_innermost.get_or_insert(frame.function.is_some());
            let name = frame.function.map(|function| function.name);
            let name = name.filter(|name| !name.is_empty());
            entries.push((frame.dw_die_offset?, name));
        }
        Some(Found {
            unit,
            entries,
            names_innermost: names_innermost?,
        })
    }

    /// Whether debug information that covers an address says which function it is, or need not
    /// say it; `None` if none covers it.
    pub(super) fn knows(&self, address: LinkAddress) -> Option<bool> {
        let context = &self.read.as_ref()?.context;
        let unit = self.loaded(context.find_dwarf_and_unit(address.0))?;
        let mut frames = self.loaded(context.find_frames(address.0)).ok();
        let innermost = frames.as_mut().and_then(|frames| frames.next().ok()?);
        if innermost
            .as_ref()
            .is_some_and(|frame| frame.function.is_some())
        {
            return Some(true);
        }
        let mut entries = unit.entries();
        let root = entries.next_dfs().ok().flatten();
        let language = root.and_then(|root| root.attr_value(gimli::DW_AT_language));
        match language {
            Some(AttributeValue::Language(language)) if ASSEMBLY.contains(&language) => Some(true),
            _ => innermost.map(|_| false),
        }
    }

    /// Where the function with an entry is declared.
    pub(super) fn declaration(
        &self,
        unit: UnitRef<'_, Bytes>,
        die: UnitOffset,
        is_inlined: bool,
    ) -> Declaration {
        let read = self.read.as_ref();
        let declaration = read.map(|read| read.declarations.of(unit, die, is_inlined));
        declaration.unwrap_or_default()
    }

    /// The result of a look-up, for which units that are split off are taken from their files.
    fn loaded<L: LookupContinuation<Buf = Bytes>>(&self, mut result: LookupResult<L>) -> L::Output {
        loop {
            match result {
                LookupResult::Output(output) => return output,
                LookupResult::Load { load, continuation } => {
                    let split = self.split.get(load.dwo_id);
                    result = continuation.resume(split.filter(|split| has_whole_unit(split)));
                }
            }
        }
    }
}

impl Read {
    fn new(dwarf: Dwarf<Bytes>) -> Option<Self> {
        let dwarf = Arc::new(dwarf);
        Some(Self {
            context: Context::from_arc_dwarf(Arc::clone(&dwarf)).ok()?,
            declarations: Declarations::new(&dwarf),
            dwarf,
        })
    }
}

/// The same sections once more.
fn copied(dwarf: &Dwarf<Bytes>) -> Dwarf<Bytes> {
    let mut copied = Dwarf {
        debug_abbrev: dwarf.debug_abbrev.clone(),
        debug_addr: dwarf.debug_addr.clone(),
        debug_aranges: dwarf.debug_aranges.clone(),
        debug_info: dwarf.debug_info.clone(),
        debug_line: dwarf.debug_line.clone(),
        debug_line_str: dwarf.debug_line_str.clone(),
        debug_macinfo: dwarf.debug_macinfo.clone(),
        debug_macro: dwarf.debug_macro.clone(),
        debug_names: dwarf.debug_names.clone(),
        debug_str: dwarf.debug_str.clone(),
        debug_str_offsets: dwarf.debug_str_offsets.clone(),
        debug_types: dwarf.debug_types.clone(),
        locations: dwarf.locations.clone(),
        ranges: dwarf.ranges.clone(),
        file_type: dwarf.file_type,
        sup: dwarf.sup.clone(),
        abbreviations_cache: AbbreviationsCache::new(),
    };
    // Each unit is read again, and many can have their abbreviations in common.
    copied.populate_abbreviations_cache(AbbreviationsCacheStrategy::All);
    copied
}

/// Returns true if the only unit of a file can be read to its end.
pub(super) fn has_whole_unit(dwarf: &Dwarf<Bytes>) -> bool {
    is_whole(dwarf, DebugInfoOffset(0))
}

/// Languages in which nothing is inlined (DWARF 5, table 7.17, and what assemblers use).
const ASSEMBLY: [gimli::DwLang; 2] = [gimli::DW_LANG_Mips_Assembler, gimli::DwLang(0x31)];

/// The sections of an ELF file with these bytes that have these names; those that it has not, or that are
/// damaged, are empty, and those of variables and macros.
pub(super) fn load(
    (elf, file): (&Elf<'_>, &Arc<[u8]>),
    name: fn(SectionId) -> &'static str,
) -> Dwarf<Bytes> {
    let load = |id: SectionId| {
        let is_read = !matches!(
            id,
            SectionId::DebugLoc
                | SectionId::DebugLocLists
                | SectionId::DebugMacinfo
                | SectionId::DebugMacro
                | SectionId::DebugNames
                | SectionId::DebugTypes
        );
        let data = is_read.then(|| shared_section(elf, file, name(id)));
        Ok::<_, Infallible>(data.flatten().unwrap_or_else(|| bytes(&[])))
    };
    let Ok(dwarf) = Dwarf::load(load);
    dwarf
}

/// A section, which has its bytes in common with the file if it is not compressed.
fn shared_section(elf: &Elf<'_>, file: &Arc<[u8]>, name: &str) -> Option<Bytes> {
    let section = elf.section_by_name(name)?;
    let place = section.compressed_file_range().ok()?;
    if place.format != CompressionFormat::None {
        return Some(bytes(&section.uncompressed_data().ok()?));
    }
    let start = usize::try_from(place.offset).ok()?;
    let end = start.checked_add(usize::try_from(place.uncompressed_size).ok()?)?;
    (end <= file.len()).then(|| Bytes::new(Arc::clone(file), LittleEndian).range(start..end))
}

pub(super) fn section<'data>(elf: &Elf<'data>, name: &str) -> Cow<'data, [u8]> {
    let section = elf.section_by_name(name);
    let data = section.and_then(|section| section.uncompressed_data().ok());
    data.unwrap_or_default()
}

pub(super) fn bytes(data: &[u8]) -> Bytes {
    EndianArcSlice::new(Arc::from(data), LittleEndian)
}
