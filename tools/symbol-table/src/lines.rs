//! Where the code of an ELF file is in its source, by its debug information.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Range;
use std::rc::Rc;

use addr2line::Context;
use anyhow::{Context as _, Result};
use gimli::{Dwarf, EndianRcSlice, LittleEndian, Reader as _};
use kernel_core::symbols::lines::short_path;
use object::{Object as _, ObjectSection as _};

type Bytes = EndianRcSlice<LittleEndian>;

/// A file, and a line in it.
pub type Place = (String, u32);

/// The debug information of a kernel, as far as it says where code is.
pub struct Lines {
    context: Context<Bytes>,
    /// Where what is inlined begins and ends.
    edges: BTreeSet<u64>,
}

impl Lines {
    /// That of this file.
    pub fn of(file: &object::File<'_>) -> Result<Self> {
        Self::read(file).context("its debug information cannot be read")
    }

    fn read(file: &object::File<'_>) -> Result<Self> {
        let edges = edges(&load(file)?)?;
        let context = Context::from_dwarf(load(file)?)?;
        Ok(Self { context, edges })
    }

    /// Where the code at an address is, in the function that it lies in: of what is inlined there,
    /// where it is called.
    pub fn at(&self, address: u64) -> Option<Place> {
        let unit = self.context.find_dwarf_and_unit(address).skip_all_loads();
        let folder = unit.and_then(|unit| unit.comp_dir.as_ref());
        let folder = folder.and_then(|it| it.to_string_lossy().ok());
        let mut frames = self.context.find_frames(address).skip_all_loads().ok()?;
        let mut outermost = None;
        while let Ok(Some(frame)) = frames.next() {
            outermost = frame.location;
        }
        let place = outermost?;
        let line = place.line.filter(|&line| line != 0)?;
        Some((short_path(place.file?, folder.as_deref()).to_owned(), line))
    }

    /// Where all of the text is, from each address to the next one.
    pub fn of_text(&self, text: &Range<u64>) -> Result<Vec<(u64, Option<Place>)>> {
        let ranges = self.context.find_location_range(text.start, text.end);
        // They come unit by unit.
        let mut edges: BTreeSet<u64> = ranges
            .context("its line programs")?
            .flat_map(|(start, bytes, _)| [start, start.saturating_add(bytes)])
            .chain(self.edges.iter().copied())
            .filter(|edge| text.contains(edge))
            .collect();
        edges.insert(text.start);
        let rows = edges.into_iter().map(|edge| (edge, self.at(edge)));
        let mut rows: Vec<_> = rows.collect();
        rows.dedup_by(|row, before| row.1 == before.1);
        Ok(rows)
    }
}

fn load(file: &object::File<'_>) -> Result<Dwarf<Bytes>> {
    let dwarf = Dwarf::load(|id| {
        let section = file.section_by_name(id.name());
        let bytes = section.map_or(Ok(Cow::default()), |it| it.uncompressed_data())?;
        Ok::<_, object::Error>(Bytes::new(Rc::from(&*bytes), LittleEndian))
    });
    Ok(dwarf?)
}

/// Where functions, and calls that are inlined, begin and end.
fn edges(dwarf: &Dwarf<Bytes>) -> Result<BTreeSet<u64>> {
    let mut edges = BTreeSet::new();
    let mut headers = dwarf.units();
    while let Some(header) = headers.next()? {
        let unit = dwarf.unit(header)?;
        let mut entries = unit.entries();
        while let Some(entry) = entries.next_dfs()? {
            let tag = entry.tag();
            if tag != gimli::DW_TAG_inlined_subroutine && tag != gimli::DW_TAG_subprogram {
                continue;
            }
            let mut ranges = dwarf.die_ranges(&unit, entry)?;
            while let Some(range) = ranges.next()? {
                edges.extend([range.begin, range.end]);
            }
        }
    }
    Ok(edges)
}
