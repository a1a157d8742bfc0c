//! What the page tables map from the beginning: the image and the direct map.

use core::ops::Range;

use x86_64::structures::paging::mapper::MapToError;
use x86_64::structures::paging::{
    Mapper, OffsetPageTable, Page, PageSize, PageTableFlags, PhysFrame, Size1GiB, Size2MiB,
    Size4KiB,
};
use x86_64::{PhysAddr, VirtAddr};

use crate::boot::{BootInfo, RegionKind};
use crate::cpu::features::Features;
use crate::memory::frames::ForPageTables;
use crate::memory::image;

/// Data: written, not executed, the same on all cores.
pub(super) const DATA: PageTableFlags = PageTableFlags::PRESENT
    .union(PageTableFlags::WRITABLE)
    .union(PageTableFlags::NO_EXECUTE)
    .union(PageTableFlags::GLOBAL);

/// Tables above the last level restrict nothing.
pub(super) const TABLE: PageTableFlags = PageTableFlags::PRESENT.union(PageTableFlags::WRITABLE);

const READ_ONLY: PageTableFlags = DATA.difference(PageTableFlags::WRITABLE);
const CODE: PageTableFlags = READ_ONLY.difference(PageTableFlags::NO_EXECUTE);

/// Maps the image by the ELF's permissions.
pub(super) fn image(boot: &BootInfo, tables: &mut OffsetPageTable<'_>) {
    for (part, flags) in [
        (image::text(), CODE),
        (image::rodata(), READ_ONLY),
        (image::data(), DATA),
    ] {
        let physical = boot.image_physical + (part.start - boot.image_virtual);
        let mut mapping = Mapping { tables, flags };
        mapping.run(
            part.start,
            physical..physical + (part.end - part.start),
            false,
        );
    }
}

/// Maps all RAM at the boot loader's offset: written, except for the image's
/// read-only parts.
pub(super) fn direct_map(boot: &BootInfo, features: &Features, tables: &mut OffsetPageTable<'_>) {
    let read_only = image::text().start..image::rodata().end;
    let start = boot.image_physical + (read_only.start - boot.image_virtual);
    let read_only = start..start + (read_only.end - read_only.start);
    let gigabyte_pages = features.gigabyte_pages.is_some();
    let mut mapping = |range: Range<PhysAddr>, flags| {
        let start = boot.direct_map + range.start.as_u64();
        Mapping { tables, flags }.run(start, range, gigabyte_pages);
    };
    for ram in RamRanges::new(boot) {
        // What of it comes before, in and after the read-only part.
        let before = ram.start..ram.end.min(read_only.start);
        let within = ram.start.max(read_only.start)..ram.end.min(read_only.end);
        let after = ram.start.max(read_only.end)..ram.end;
        mapping(before, DATA);
        mapping(within, READ_ONLY);
        mapping(after, DATA);
    }
}

/// RAM that the direct map covers: neighbouring regions joined, ends on pages.
pub(super) struct RamRanges<I> {
    regions: I,
    next: Option<Range<PhysAddr>>,
}

impl RamRanges<()> {
    pub(super) fn new(boot: &BootInfo) -> RamRanges<impl Iterator<Item = Range<PhysAddr>>> {
        let ram = boot
            .regions()
            .filter(|region| region.kind != RegionKind::Other);
        RamRanges {
            regions: ram.map(|region| {
                let page = Size4KiB::SIZE;
                region.start.align_down(page)..region.end.align_up(page)
            }),
            next: None,
        }
    }
}

impl<I: Iterator<Item = Range<PhysAddr>>> Iterator for RamRanges<I> {
    type Item = Range<PhysAddr>;

    fn next(&mut self) -> Option<Range<PhysAddr>> {
        let mut range = self.next.take().or_else(|| self.regions.next())?;
        for region in self.regions.by_ref() {
            if region.start > range.end {
                self.next = Some(region);
                break;
            }
            range.end = range.end.max(region.end);
        }
        Some(range)
    }
}

struct Mapping<'a, 'b> {
    tables: &'a mut OffsetPageTable<'b>,
    flags: PageTableFlags,
}

impl Mapping<'_, '_> {
    /// Maps `physical` from `start` on, with the largest pages that fit.
    fn run(&mut self, start: VirtAddr, physical: Range<PhysAddr>, gigabyte_pages: bool) {
        let offset = start.as_u64().wrapping_sub(physical.start.as_u64());
        let mut at = physical.start;
        while at < physical.end {
            let page = VirtAddr::new(at.as_u64().wrapping_add(offset));
            let left = physical.end - at;
            let fits = |size: u64| page.is_aligned(size) && at.is_aligned(size) && left >= size;
            at += if gigabyte_pages && fits(Size1GiB::SIZE) {
                self.one::<Size1GiB>(page, at, PageTableFlags::HUGE_PAGE)
            } else if fits(Size2MiB::SIZE) {
                self.one::<Size2MiB>(page, at, PageTableFlags::HUGE_PAGE)
            } else {
                self.one::<Size4KiB>(page, at, PageTableFlags::empty())
            };
        }
    }

    fn one<S: PageSize>(&mut self, page: VirtAddr, at: PhysAddr, size: PageTableFlags) -> u64
    where
        for<'b> OffsetPageTable<'b>: Mapper<S>,
        MapToError<S>: core::fmt::Debug,
    {
        let page = Page::<S>::containing_address(page);
        let frame = PhysFrame::containing_address(at);
        let flags = self.flags | size;
        // SAFETY: these tables are not loaded yet; where they are, image and direct
        // map lie as the boot loader had them, with fewer rights.
        let mapped = unsafe {
            let frames = &mut ForPageTables;
            self.tables
                .map_to_with_table_flags(page, frame, flags, TABLE, frames)
        };
        match mapped {
            Ok(flush) => flush.ignore(),
            Err(error) => panic!("cannot map {page:?}: {error:?}"),
        }
        S::SIZE
    }
}
