//! Makes a region of the blocks that have arrived.

use std::collections::BTreeMap;

use memmap2::MmapMut;
use profiler::format::region::{PAGE, RegionError};
use profiler::format::wire::{Frame, Kind, Misplaced, RingBlocks, TableBlocks};
use thiserror::Error;

use super::{Blocks, Missing};
use crate::collect::Mapping;
use crate::units::size;

/// Why there is no region.
#[derive(Debug, Error)]
pub enum ImageError {
    #[error("what says what the run is did not arrive, without which nothing can be read")]
    NoHeader,
    #[error("the kernel could not sample: {0}")]
    Refused(String),
    #[error("{0}")]
    Region(RegionError),
    #[error("no memory for a region of {}", size(*.0))]
    NoMemory(u64),
    #[error("a block is not what its sender has packed")]
    Unpackable,
    #[error("{0}")]
    Misplaced(#[from] Misplaced),
}

type Page = [u8; PAGE];
/// Blocks, by what and which core they are of.
type Parts<'a> = BTreeMap<(Kind, u16), Vec<&'a Frame>>;

/// A region in this process's memory.
pub struct Image {
    pub memory: Mapping,
    /// What is not there.
    pub missing: Missing,
}

impl Image {
    /// Makes it of a run's blocks.
    ///
    /// # Errors
    ///
    /// [`ImageError`]. Of blocks that have arrived whole, only a sender that is broken makes one
    /// but the first.
    pub fn new(blocks: &Blocks) -> Result<Self, ImageError> {
        let parts = blocks.by_part();
        let header = page(&parts, Kind::Header, 0)?.ok_or(ImageError::NoHeader)?;
        let bytes = region_bytes(&header)?;
        let mut memory = anonymous(bytes)?;
        memory[..PAGE].copy_from_slice(&header[..]);
        let memory = Mapping::private(memory);
        let missing = place_rings(Missing::new(blocks), &parts, &memory)?;
        Ok(Self { memory, missing })
    }
}

fn anonymous(bytes: usize) -> Result<MmapMut, ImageError> {
    MmapMut::map_anon(bytes).map_err(|_| ImageError::NoMemory(bytes as u64))
}

/// The page of which these are the blocks; `None` if some are missing.
fn page(parts: &Parts<'_>, kind: Kind, core: u16) -> Result<Option<Box<Page>>, ImageError> {
    let mut page = Vec::with_capacity(PAGE);
    for frame in parts.get(&(kind, core)).into_iter().flatten() {
        if frame.part.position != page.len() as u64 {
            return Ok(None);
        }
        page.extend(unpacked(frame)?);
    }
    Ok(page.into_boxed_slice().try_into().ok())
}

/// What a block carries.
fn unpacked(frame: &Frame) -> Result<Vec<u8>, ImageError> {
    let raw = if frame.is_packed {
        let unpacked = lz4_flex::block::decompress(frame.payload(), frame.raw_len.into());
        unpacked.map_err(|_| ImageError::Unpackable)?
    } else {
        frame.payload().to_vec()
    };
    if raw.len() == usize::from(frame.raw_len) {
        Ok(raw)
    } else {
        Err(ImageError::Unpackable)
    }
}

/// The bytes of the region with this header page.
fn region_bytes(header: &Page) -> Result<usize, ImageError> {
    let mut memory = anonymous(PAGE)?;
    memory.copy_from_slice(header);
    let mapping = Mapping::private(memory);
    match mapping.open(0).map(drop) {
        Ok(()) => Ok(PAGE),
        Err(RegionError::Truncated(bytes)) => Ok(bytes),
        Err(RegionError::Refused) => {
            let reason = mapping.refusal(0).unwrap_or_default();
            Err(ImageError::Refused(reason))
        }
        Err(other) => Err(ImageError::Region(other)),
    }
}

/// Puts the rings' pages and blocks where they were.
fn place_rings(
    mut missing: Missing,
    parts: &Parts<'_>,
    memory: &Mapping,
) -> Result<Missing, ImageError> {
    let (region, _) = memory.open(0).map_err(ImageError::Region)?;
    for core in 0..region.cores() {
        // What has more cores than a frame can say was not sent by one.
        let number = u16::try_from(core).map_err(|_| Misplaced)?;
        let page = page(parts, Kind::Page, number)?;
        let mut ring = RingBlocks::new(&region, core, page.as_deref());
        for frame in parts.get(&(Kind::Ring, number)).into_iter().flatten() {
            ring.add(frame, &unpacked(frame)?)?;
        }
        // Some may have been read before, by somebody else.
        let is_known = page.is_some() && region.reader(core).position() == 0;
        let mut table = TableBlocks::new(&region, core);
        for frame in parts.get(&(Kind::Table, number)).into_iter().flatten() {
            table.add(frame, &unpacked(frame)?)?;
        }
        let here = ring.records().saturating_add(table.samples());
        missing.add_core(core, is_known.then(|| region.stored(core)), here);
        ring.end();
    }
    Ok(missing)
}
