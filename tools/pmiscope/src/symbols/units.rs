//! The units of debug information: which are where, and which can be read.
//!
//! The reader of all units (`addr2line`) gives up at the first one that it cannot read, and a
//! look-up at an address fails if one of the units that claim it does. So whatever cannot be
//! read is taken out before it sees it. The roots of all units are read at the start, as that
//! reader does; the rest of a unit when an address in it is looked up.

use std::collections::{BTreeSet, HashSet};
use std::ops::Range;
use std::sync::Arc;

use gimli::{
    self, Abbreviations, AbbreviationsCacheStrategy, Attribute, AttributeSpecification,
    AttributeValue, DebugAranges, DebugInfoOffset, Dwarf, EndianSlice, LittleEndian,
    RangeListsOffset, RawRngListEntry, Reader, Section as _, Unit, UnitHeader, UnitRef,
};

use super::dwarf::bytes;
use super::{Bytes, texts};

/// How deep calls may be inlined into each other: the reader calls itself for each. Real ones
/// are some tens deep.
const MAX_INLINED: usize = 300;

/// The header of a unit of version 4: the length (which is written over), the version, where its
/// abbreviations are, the size of an address. Zeros behind it are no entries.
const EMPTY_UNIT: [u8; 11] = [0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 8];

/// A length of nothing.
const PADDING: usize = 4;

/// The units of an ELF file.
#[derive(Default)]
pub(super) struct Units {
    /// Where their headers are.
    starts: Vec<usize>,
    /// The addresses that they claim, and which unit does, by their ends.
    claims: Vec<Claim>,
    /// Those that do not say what they claim.
    anywhere: Vec<usize>,
    /// Whether all of these were read to their ends.
    is_anywhere_whole: bool,
    /// Those that were read to their ends.
    whole: HashSet<usize>,
    /// How many cannot be read.
    pub left_out: u64,
    /// The names of those that can, without folders; of one that is split off it is elsewhere.
    pub names: HashSet<String>,
    pub has_split: bool,
    /// The sections of strings that a unit has none in, and should.
    pub unreadable_texts: BTreeSet<&'static str>,
}

struct Claim {
    range: Range<u64>,
    unit: usize,
    /// The first address of this and of all that end behind it.
    first: u64,
}

impl Units {
    /// Finds the units, and makes those that cannot be read such as a reader skips.
    pub(super) fn new(dwarf: &mut Dwarf<Bytes>) -> Self {
        // Each unit is read more than once.
        dwarf.populate_abbreviations_cache(AbbreviationsCacheStrategy::All);
        let mut units = Self::default();
        let mut writer = Writer::default();
        let listed = listed(&dwarf.debug_aranges);
        let info = dwarf.debug_info.reader().clone();
        let mut start = 0;
        while start < info.bytes().len() {
            let end = unit_end(info.bytes(), start);
            // In front of the first unit is nothing.
            let begin = writer.last.map_or(0, |_| start);
            start = match (units.claim(dwarf, start), end) {
                (Ok(()), Some(end)) if begin == start => {
                    writer.last = Some(start);
                    end
                }
                (Ok(()), Some(end)) => {
                    units.move_first(writer.move_behind(info.bytes(), start..end));
                    end
                }
                (_, Some(end)) if end == start + PADDING => {
                    writer.write_over(info.bytes(), begin, end)
                }
                _ => {
                    units.left_out += 1;
                    let end = next_unit(dwarf, &listed, start, end);
                    writer.write_over(info.bytes(), begin, end)
                }
            };
        }
        units.claims.sort_by_key(|claim| claim.range.end);
        let mut first = u64::MAX;
        for claim in units.claims.iter_mut().rev() {
            first = first.min(claim.range.start);
            claim.first = first;
        }
        writer.finish(dwarf);
        units
    }

    /// Reads what the reader of all units reads of one.
    fn claim(&mut self, dwarf: &Dwarf<Bytes>, start: usize) -> gimli::Result<()> {
        let header = dwarf
            .debug_info
            .header_from_offset(DebugInfoOffset(start))?;
        let unit = dwarf.unit(header)?;
        let unit = UnitRef::new(dwarf, &unit);
        let mut entries = unit.entries_raw(None)?;
        let Some(abbreviation) = entries.read_abbreviation()? else {
            self.has_split |= unit.dwo_id.is_some();
            return Ok(());
        };
        let mut claims = Code::default();
        for &specification in abbreviation.attributes() {
            let attribute = entries.read_attribute(specification)?;
            claims.read(unit, &attribute)?;
            let unreadable = texts::unreadable(unit, &attribute);
            self.unreadable_texts.extend(unreadable);
        }
        self.has_split |= unit.dwo_id.is_some();
        let name = unit.name.as_ref().and_then(|it| it.to_string_lossy().ok());
        let name = name.as_deref().and_then(|name| name.rsplit('/').next());
        self.names.extend(name.map(str::to_owned));
        let has_list = claims.list.is_some();
        let claims = claims.ranges(unit)?;
        // One whose list has nothing left in it was removed by the linker: it is nowhere.
        if claims.is_empty() && !has_list {
            self.anywhere.push(start);
        }
        self.starts.push(start);
        self.claims.extend(claims.into_iter().map(|range| Claim {
            first: range.start,
            range,
            unit: start,
        }));
        Ok(())
    }

    /// Says that the first unit, of those that were found the only one, is elsewhere.
    fn move_first(&mut self, to: usize) {
        for unit in self.starts.iter_mut().chain(&mut self.anywhere) {
            *unit = to;
        }
        for claim in &mut self.claims {
            claim.unit = to;
        }
    }

    /// Takes the lines out of the programs for them: where code is in its source nobody asks,
    /// and one that is damaged would cost its unit's names. Their lists of files stay. Without
    /// them a unit that does not say which addresses it has would be nowhere.
    pub(super) fn empty_lines(&self, dwarf: &mut Dwarf<Bytes>) {
        let anywhere: HashSet<_> = self.anywhere.iter().copied().collect();
        let mut lines: Arc<[u8]> = dwarf.debug_line.reader().bytes().into();
        let written = Arc::get_mut(&mut lines).expect("it is new");
        for &start in self.starts.iter().filter(|start| !anywhere.contains(start)) {
            let header = dwarf.debug_info.header_from_offset(DebugInfoOffset(start));
            let Ok(unit) = header.and_then(|header| dwarf.unit(header)) else {
                continue;
            };
            let Some(program) = &unit.line_program else {
                continue;
            };
            let header = program.header();
            let length = header.unit_length() - header.raw_program_buf().bytes().len();
            let at = header.offset().0;
            let field = match header.format() {
                gimli::Format::Dwarf32 => at..at + 4,
                gimli::Format::Dwarf64 => at + 4..at + 12,
            };
            let size = field.len();
            written[field].copy_from_slice(&length.to_le_bytes()[..size]);
        }
        dwarf.debug_line = Bytes::new(lines, LittleEndian).into();
    }

    /// Returns true if all units that claim an address can be read to their ends.
    pub(super) fn are_whole_at(&mut self, dwarf: &Dwarf<Bytes>, address: u64) -> bool {
        let behind = self
            .claims
            .partition_point(|claim| claim.range.end <= address);
        let claims = self.claims[behind..]
            .iter()
            .take_while(|claim| claim.first <= address)
            .filter(|claim| claim.range.contains(&address));
        let claims = claims.map(|claim| claim.unit);
        let whole = &mut self.whole;
        let mut is_whole =
            |unit| whole.contains(&unit) || (is_whole_at(dwarf, unit) && whole.insert(unit));
        // They claim each address: that is asked once.
        self.is_anywhere_whole =
            self.is_anywhere_whole || self.anywhere.iter().all(|&unit| is_whole(unit));
        self.is_anywhere_whole && claims.into_iter().all(is_whole)
    }

    /// Makes all units that cannot be read to their ends such as a reader skips.
    pub(super) fn leave_out_damaged(&mut self, dwarf: &mut Dwarf<Bytes>) {
        let mut writer = Writer::default();
        let info = dwarf.debug_info.reader().clone();
        self.starts.retain(|&start| {
            let is_whole = is_whole_at(dwarf, start);
            if !is_whole && let Some(end) = unit_end(info.bytes(), start) {
                writer.write_over(info.bytes(), start, end);
                self.left_out += 1;
            } else {
                writer.last = Some(start);
            }
            is_whole
        });
        let left: HashSet<_> = self.starts.iter().copied().collect();
        self.claims.retain(|claim| left.contains(&claim.unit));
        self.anywhere.retain(|unit| left.contains(unit));
        self.is_anywhere_whole = true;
        self.whole = left;
        writer.finish(dwarf);
    }
}

/// Writes units over, in a copy that is made for the first of them.
#[derive(Default)]
struct Writer {
    copy: Option<Vec<u8>>,
    /// The unit before, whatever it is.
    last: Option<usize>,
}

impl Writer {
    /// Makes what is between these places such as a reader skips, and returns where that ends.
    /// What is too short and has no unit before it is left to what comes next.
    fn write_over(&mut self, info: &[u8], start: usize, end: usize) -> usize {
        let copy = self.copy.get_or_insert_with(|| info.to_vec());
        if end - start >= EMPTY_UNIT.len() {
            copy[start..end].fill(0);
            copy[start..start + EMPTY_UNIT.len()].copy_from_slice(&EMPTY_UNIT);
            set_unit_end(copy, start, end);
            self.last = Some(start);
        } else if let Some(last) = self.last {
            // Zeros behind the entries of a unit are nothing.
            let behind = unit_end(copy, last).map_or(start, |behind| behind.min(start));
            copy[behind..end].fill(0);
            set_unit_end(copy, last, end);
        }
        end
    }

    /// Puts the first unit behind all others, as too little is in front of it to write anything
    /// there. Returns where it is now: what it refers to in itself is as far from its start as
    /// before.
    ///
    /// In its old place its entries stay where they are, for those of others that refer to them;
    /// but its header begins at the front, and nothing is between that and the entries, so that
    /// it has no code.
    fn move_behind(&mut self, info: &[u8], unit: Range<usize>) -> usize {
        let copy = self.copy.get_or_insert_with(|| info.to_vec());
        let moved = copy.len();
        copy.extend_from_slice(&info[unit.clone()]);
        let is_long = info[unit.start..].starts_with(&[0xff; 4]);
        let (length, offset) = if is_long { (12, 8) } else { (4, 4) };
        let has_kind = info[unit.start + length] >= 5;
        // The version, in version 5 what kind of unit it is, the abbreviations, and the size of
        // an address.
        let header = length + 2 + usize::from(has_kind) + offset + 1;
        copy.copy_within(unit.start..unit.start + header, 0);
        copy[header..unit.start + header].fill(0);
        if has_kind {
            copy[length + 2] = gimli::DW_UT_partial.0;
        }
        set_unit_end(copy, 0, unit.end);
        self.last = Some(0);
        moved
    }

    fn finish(self, dwarf: &mut Dwarf<Bytes>) {
        if let Some(mut copy) = self.copy {
            if self.last.is_none() {
                // There is too little for any unit.
                copy.clear();
            }
            dwarf.debug_info = bytes(&copy).into();
        }
    }
}

/// Where the units are that the table of addresses names.
fn listed(table: &DebugAranges<Bytes>) -> Vec<usize> {
    let mut headers = table.headers();
    let mut listed = Vec::new();
    while let Ok(Some(header)) = headers.next() {
        listed.push(header.debug_info_offset().0);
    }
    listed.sort_unstable();
    listed
}

/// Where the unit begins that is next behind one that cannot be read, which may be wrong about
/// its `end`: none that is listed is within another.
fn next_unit(dwarf: &Dwarf<Bytes>, listed: &[usize], start: usize, end: Option<usize>) -> usize {
    let end = end.unwrap_or(dwarf.debug_info.reader().bytes().len());
    let behind = &listed[listed.partition_point(|&at| at <= start)..];
    let header = |at: usize| dwarf.debug_info.header_from_offset(DebugInfoOffset(at));
    let before_end = behind.iter().copied().take_while(|&at| at < end);
    before_end
        .into_iter()
        .find(|&at| header(at).is_ok())
        .unwrap_or(end)
}

/// Where the unit that begins at `start` ends, by its length.
fn unit_end(info: &[u8], start: usize) -> Option<usize> {
    let number = |at: usize, bytes: usize| {
        let number = info.get(at..at.checked_add(bytes)?)?;
        let number = number
            .iter()
            .rev()
            .fold(0_u64, |sum, &byte| sum << 8 | u64::from(byte));
        usize::try_from(number).ok()
    };
    let (begin, length) = match number(start, 4)? {
        0xffff_ffff => (start + 12, number(start + 4, 8)?),
        length => (start + 4, length),
    };
    let end = begin.checked_add(length)?;
    (end <= info.len()).then_some(end)
}

/// Writes the length of a unit: one of more than 4 GiB that has no room for it stays as it is.
fn set_unit_end(info: &mut [u8], start: usize, end: usize) {
    if info[start..].starts_with(&[0xff; 4]) {
        let length = (end - start - 12) as u64;
        info[start + 4..start + 12].copy_from_slice(&length.to_le_bytes());
    } else if let Ok(length) = u32::try_from(end - start - 4) {
        info[start..start + 4].copy_from_slice(&length.to_le_bytes());
    }
}

fn is_whole_at(dwarf: &Dwarf<Bytes>, start: usize) -> bool {
    is_whole(dwarf, DebugInfoOffset(start))
}

/// Returns true if the unit that begins there can be read to its end.
pub(super) fn is_whole(dwarf: &Dwarf<Bytes>, start: DebugInfoOffset) -> bool {
    // All of a unit is read for this, and nothing kept: slices of the sections are enough. What is
    // to be called instead wants the sections by themselves, which nobody keeps.
    #[allow(deprecated)]
    let slices = dwarf.borrow(|section| EndianSlice::new(section.bytes(), LittleEndian));
    let read = || {
        let header = dwarf.debug_info.header_from_offset(start)?;
        let abbreviations = dwarf.abbreviations(&header)?;
        let header = slices.debug_info.header_from_offset(start)?;
        read_all(&slices, header, abbreviations)
    };
    read().is_ok_and(|nesting| nesting <= MAX_INLINED)
}

/// Reads what the reader of all units may read of one. Returns how deep calls are inlined.
fn read_all<R: Reader<Offset = usize>>(
    dwarf: &Dwarf<R>,
    header: UnitHeader<R>,
    abbreviations: Arc<Abbreviations>,
) -> gimli::Result<usize> {
    let unit = Unit::new_with_abbreviations(dwarf, header, abbreviations)?;
    let unit = UnitRef::new(dwarf, &unit);
    let mut entries = unit.entries_raw(None)?;
    let mut deepest = 0;
    // The depths of the inlined calls around an entry.
    let mut around = Vec::new();
    while !entries.is_empty() {
        let depth = entries.next_depth();
        let Some(abbreviation) = entries.read_abbreviation()? else {
            continue;
        };
        while around.last().is_some_and(|&outer| depth <= outer) {
            around.pop();
        }
        let has_code = [gimli::DW_TAG_subprogram, gimli::DW_TAG_inlined_subroutine];
        if !has_code.contains(&abbreviation.tag()) {
            entries.skip_attributes(abbreviation.attributes())?;
            continue;
        }
        if abbreviation.tag() == gimli::DW_TAG_inlined_subroutine {
            around.push(depth);
            deepest = deepest.max(around.len());
        }
        let attributes = abbreviation.attributes();
        if !attributes.iter().any(Code::refers) {
            entries.skip_attributes(attributes)?;
            continue;
        }
        let mut code = Code::default();
        for some in attributes.chunk_by(|one, other| !Code::refers(one) && !Code::refers(other)) {
            // Of what refers to nothing it is enough that it is there.
            if Code::refers(&some[0]) {
                code.read(unit, &entries.read_attribute(some[0])?)?;
            } else {
                entries.skip_attributes(some)?;
            }
        }
        code.for_each_range(unit, |_| {})?;
    }
    Ok(deepest)
}

/// Returns true if a list of ranges, in which there is none, was written over by a byte that repeats
/// itself, or is not there: compilers write no list without an entry, and no two bases in a row.
fn is_overwritten<R: Reader<Offset = usize>>(
    unit: UnitRef<'_, R>,
    list: RangeListsOffset,
) -> gimli::Result<bool> {
    let is_base = |entry: &Option<_>| matches!(entry, Some(RawRngListEntry::BaseAddress { .. }));
    let mut entries = unit.raw_ranges(list)?;
    let first = entries.next()?;
    if first.is_some() {
        return Ok(is_base(&first) && is_base(&entries.next()?));
    }
    let encoding = unit.encoding();
    let size = match encoding.version {
        ..=4 => 2 * usize::from(encoding.address_size),
        _ => 1,
    };
    let behind = |size| unit.raw_ranges(RangeListsOffset(list.0 + size)).ok();
    let is_cut = behind(size).is_none();
    // One that is the last of the section has nothing behind it.
    let next = behind(size + 1).and_then(|_| behind(size));
    Ok(is_cut || next.is_some_and(|mut next| matches!(next.next(), Ok(None))))
}

/// The attributes of an entry that say where its code is.
#[derive(Default)]
pub(super) struct Code {
    start: Option<u64>,
    end: Option<u64>,
    size: Option<u64>,
    list: Option<RangeListsOffset>,
}

impl Code {
    /// Returns true if an attribute is one of these, and has to be looked up in another section.
    fn refers(attribute: &AttributeSpecification) -> bool {
        match attribute.name() {
            gimli::DW_AT_ranges => true,
            gimli::DW_AT_low_pc | gimli::DW_AT_high_pc => !matches!(
                attribute.form(),
                gimli::DW_FORM_addr
                    | gimli::DW_FORM_data1
                    | gimli::DW_FORM_data2
                    | gimli::DW_FORM_data4
                    | gimli::DW_FORM_data8
                    | gimli::DW_FORM_udata
            ),
            _ => false,
        }
    }

    /// Takes an attribute, if it is one of these.
    pub(super) fn read<R: Reader<Offset = usize>>(
        &mut self,
        unit: UnitRef<'_, R>,
        attribute: &Attribute<R>,
    ) -> gimli::Result<()> {
        let address = |value| match value {
            AttributeValue::Addr(address) => Ok(Some(address)),
            AttributeValue::DebugAddrIndex(index) => unit.address(index).map(Some),
            _ => Ok(None),
        };
        let value = attribute.value();
        match attribute.name() {
            gimli::DW_AT_low_pc => self.start = address(value)?,
            gimli::DW_AT_high_pc => match value {
                AttributeValue::Udata(size) => self.size = Some(size),
                value => self.end = address(value)?,
            },
            gimli::DW_AT_ranges => self.list = unit.attr_ranges_offset(value)?,
            _ => {}
        }
        Ok(())
    }

    /// Where the code is: ranges that have something in them.
    pub(super) fn ranges<R: Reader<Offset = usize>>(
        &self,
        unit: UnitRef<'_, R>,
    ) -> gimli::Result<Vec<Range<u64>>> {
        let mut ranges = Vec::new();
        self.for_each_range(unit, |range| {
            if !range.is_empty() {
                ranges.push(range);
            }
        })?;
        Ok(ranges)
    }

    fn for_each_range<R: Reader<Offset = usize>>(
        &self,
        unit: UnitRef<'_, R>,
        mut each: impl FnMut(Range<u64>),
    ) -> gimli::Result<()> {
        if let Some(list) = self.list {
            let mut is_empty = true;
            let mut ranges = unit.ranges(list)?;
            while let Some(range) = ranges.next()? {
                is_empty = false;
                each(range.begin..range.end);
            }
            // Of code that the linker has removed entries stay, which are nowhere.
            if is_empty && is_overwritten(unit, list)? {
                return Err(gimli::Error::OffsetOutOfBounds(list.0 as u64));
            }
        } else if let Some(start) = self.start {
            let by_size = self.size.map(|size| start.wrapping_add(size));
            if let Some(end) = self.end.or(by_size) {
                each(start..end);
            }
        }
        Ok(())
    }
}
