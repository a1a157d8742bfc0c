//! The memory map, which is the loader's allocator as well: what the loader takes
//! becomes another kind of region, so that the map handed to the kernel cannot
//! forget anything.
//!
//! Memory is taken from the lowest place that fits. The loader and the kernel lie
//! at the low end anyway, so the great usable blocks stay in one piece.

use core::ops::Range;

use arrayvec::ArrayVec;
use x86_64::PhysAddr;

use crate::{Error, Result};

/// Bytes in a page.
pub const PAGE: u64 = 4096;

/// More than any firmware reports, and what the loader itself adds.
pub const CAPACITY: usize = 256;

/// What lies in a region, by the numbers of the Limine protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u64)]
pub enum Kind {
    /// Free for the kernel.
    Usable = 0,
    /// Not to be touched.
    Reserved = 1,
    /// ACPI tables; free once the kernel has read them.
    AcpiReclaimable = 2,
    /// The firmware's, to be kept.
    AcpiNvs = 3,
    /// Broken.
    Bad = 4,
    /// The loader, its answers, page tables and stacks, and the kernel's file.
    BootloaderReclaimable = 5,
    /// The kernel's image and the modules.
    ExecutableAndModules = 6,
    /// What a screen shows.
    Framebuffer = 7,
    /// The firmware's tables, where it does not call them ACPI's. From base revision 4
    /// on; before, they are reserved.
    ReservedMapped = 8,
}

/// A region of physical memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Region {
    /// The first address.
    pub start: PhysAddr,
    /// The first address past it.
    pub end: PhysAddr,
    /// What lies there.
    pub kind: Kind,
}

/// Regions in ascending order, none empty, none overlapping; usable ones begin
/// and end on pages and leave page zero alone, and so do those of the loader.
pub struct MemoryMap {
    regions: ArrayVec<Region, CAPACITY>,
}

impl MemoryMap {
    /// Makes a map of what the firmware says, in any order and with overlaps:
    /// there the more restrictive kind is believed.
    ///
    /// # Errors
    ///
    /// [`Error::MemoryMapTooLong`].
    pub fn new(firmware: impl Iterator<Item = Region> + Clone) -> Result<Self> {
        let mut map = Self {
            regions: ArrayVec::new(),
        };
        for kind in [
            Kind::Usable,
            Kind::AcpiReclaimable,
            Kind::AcpiNvs,
            Kind::Reserved,
            Kind::Bad,
        ] {
            for region in firmware.clone().filter(|region| region.kind == kind) {
                map.overlay(region)?;
            }
        }
        for region in &mut map.regions {
            if region.kind == Kind::Usable {
                region.start = region.start.max(PhysAddr::new(PAGE)).align_up(PAGE);
                region.end = region.end.align_down(PAGE);
            }
        }
        map.regions.retain(|region| region.start < region.end);
        Ok(map)
    }

    /// The regions, in ascending order.
    #[must_use]
    pub fn regions(&self) -> &[Region] {
        &self.regions
    }

    /// Makes what is usable in the pages of `range` into `kind`.
    ///
    /// # Errors
    ///
    /// [`Error::MemoryMapTooLong`].
    pub fn claim(&mut self, range: Range<PhysAddr>, kind: Kind) -> Result<()> {
        let (start, end) = (range.start.align_down(PAGE), range.end.align_up(PAGE));
        for region in self.regions.clone() {
            if region.kind == Kind::Usable {
                let (start, end) = (region.start.max(start), region.end.min(end));
                self.overlay(Region { start, end, kind })?;
            }
        }
        Ok(())
    }

    /// Makes what is free, reserved or not spoken of in the pages of `range` into
    /// firmware tables that the kernel may read; what else there is stays what it is.
    ///
    /// # Errors
    ///
    /// [`Error::MemoryMapTooLong`].
    pub fn show_tables(&mut self, range: Range<PhysAddr>) -> Result<()> {
        let (start, end) = (range.start.align_down(PAGE), range.end.align_up(PAGE));
        let before = self.regions.clone();
        self.overlay(Region {
            start,
            end,
            kind: Kind::ReservedMapped,
        })?;
        for region in before {
            if !matches!(region.kind, Kind::Usable | Kind::Reserved) {
                let (start, end) = (region.start.max(start), region.end.min(end));
                self.overlay(Region {
                    start,
                    end,
                    ..region
                })?;
            }
        }
        Ok(())
    }

    /// Takes the lowest usable block of `size` bytes (rounded up to pages) within
    /// `range` that begins on a multiple of `align`, a power of two.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`], [`Error::MemoryMapTooLong`].
    pub fn allocate(
        &mut self,
        size: u64,
        align: u64,
        range: Range<PhysAddr>,
        kind: Kind,
    ) -> Result<PhysAddr> {
        let pages = size.div_ceil(PAGE);
        let usable = self
            .regions
            .iter()
            .filter(|region| region.kind == Kind::Usable);
        let place = usable.map(|region| {
            let start = region.start.max(range.start).align_up(align.max(PAGE));
            let end = region.end.min(range.end).as_u64();
            (start, end.saturating_sub(start.as_u64()) / PAGE)
        });
        let (start, _) = place
            .filter(|&(_, room)| room >= pages && pages > 0)
            .min_by_key(|&(start, _)| start)
            .ok_or(Error::OutOfMemory(size))?;
        self.overlay(Region {
            start,
            end: start + pages * PAGE,
            kind,
        })?;
        Ok(start)
    }

    /// Puts a region in the place of whatever was there.
    fn overlay(&mut self, new: Region) -> Result<()> {
        if new.start >= new.end {
            return Ok(());
        }
        let mut pieces = ArrayVec::<Region, { 2 * CAPACITY + 1 }>::new();
        for &old in &self.regions {
            pieces.push(Region {
                end: old.end.min(new.start),
                ..old
            });
            pieces.push(Region {
                start: old.start.max(new.end),
                ..old
            });
        }
        pieces.push(new);
        pieces.retain(|piece| piece.start < piece.end);
        pieces.sort_unstable_by_key(|piece| piece.start);

        self.regions.clear();
        for piece in pieces {
            match self.regions.last_mut() {
                Some(last) if last.kind == piece.kind && last.end == piece.start => {
                    last.end = piece.end;
                }
                _ => self
                    .regions
                    .try_push(piece)
                    .map_err(|_| Error::MemoryMapTooLong)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
