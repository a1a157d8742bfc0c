//! The page tables that the kernel is entered on: its image by its segments'
//! permissions, the direct map, and for base revision 0 an identity map.
//!
//! Both maps cover the first 4 GiB, and above them the memory map's regions, by
//! the largest pages that fit; everything there can be written and executed.

use loader::executable::Executable;
use loader::memory_map::{Kind, PAGE};
use loader::{Error, Result, direct_map};
use x86_64::structures::paging::mapper::{MapToError, Mapper};
use x86_64::structures::paging::{
    FrameAllocator, OffsetPageTable, Page, PageSize, PageTable, PageTableFlags, PhysFrame,
    Size1GiB, Size2MiB, Size4KiB,
};
use x86_64::{PhysAddr, VirtAddr};

use super::Features;
use super::memory::{Memory, pointer};

const FOUR_GIB: PhysAddr = PhysAddr::new(1 << 32);

/// Builds them, and returns where they are.
pub fn build(
    memory: &mut Memory,
    features: Features,
    base_revision: u64,
    executable: &Executable<'_>,
    image: PhysAddr,
) -> Result<PhysAddr> {
    let mut tables = Tables::new(memory, features.gigabyte_pages)?;
    let root = tables.root;
    let present = PageTableFlags::PRESENT;
    for segment in executable.segments() {
        let mut flags = present;
        flags.set(PageTableFlags::WRITABLE, segment.writable);
        flags.set(
            PageTableFlags::NO_EXECUTE,
            !segment.executable && features.no_execute,
        );
        let start = segment.first_page();
        let size = segment.pages_end() - start;
        tables.map(start, image + (start - executable.start()), size, flags)?;
    }

    let all = present | PageTableFlags::WRITABLE;
    let identity = |address: PhysAddr| VirtAddr::new(address.as_u64());
    tables.map(
        direct_map(PhysAddr::zero()),
        PhysAddr::zero(),
        FOUR_GIB.as_u64(),
        all,
    )?;
    if base_revision == 0 {
        let start = PhysAddr::new(PAGE);
        tables.map(identity(start), start, FOUR_GIB - start, all)?;
    }
    // Rounded to large pages, regions may meet in one.
    let mut mapped = FOUR_GIB;
    let mut index = 0;
    while let Some(&region) = tables.memory.map().regions().get(index) {
        index += 1;
        let start = region.start.align_down(Size2MiB::SIZE).max(mapped);
        let end = region.end.align_up(Size2MiB::SIZE);
        let memory = base_revision == 0 || !matches!(region.kind, Kind::Reserved | Kind::Bad);
        if memory && start < end {
            tables.map(direct_map(start), start, end - start, all)?;
            if base_revision == 0 {
                tables.map(identity(start), start, end - start, all)?;
            }
            mapped = end;
        }
    }
    Ok(root)
}

struct Tables<'a> {
    memory: &'a mut Memory,
    root: PhysAddr,
    tables: OffsetPageTable<'static>,
    gigabyte_pages: bool,
}

impl<'a> Tables<'a> {
    fn new(memory: &'a mut Memory, gigabyte_pages: bool) -> Result<Self> {
        let block = memory.allocate(PAGE, PAGE, Kind::BootloaderReclaimable)?;
        block.bytes.fill(0);
        // SAFETY: a page that nobody else has, all zero: a table without entries.
        let root = unsafe { &mut *pointer::<PageTable>(block.start) };
        // SAFETY: all page tables are below 4 GiB, mapped at their physical addresses.
        let tables = unsafe { OffsetPageTable::new(root, VirtAddr::zero()) };
        Ok(Self {
            memory,
            root: block.start,
            tables,
            gigabyte_pages,
        })
    }

    fn map(
        &mut self,
        to: VirtAddr,
        from: PhysAddr,
        size: u64,
        flags: PageTableFlags,
    ) -> Result<()> {
        let mut done = 0;
        while done < size {
            let (to, from) = (to + done, from + done);
            let fits =
                |page: u64| to.is_aligned(page) && from.is_aligned(page) && size - done >= page;
            done += if self.gigabyte_pages && fits(Size1GiB::SIZE) {
                self.map_page::<Size1GiB>(to, from, flags)?
            } else if fits(Size2MiB::SIZE) {
                self.map_page::<Size2MiB>(to, from, flags)?
            } else {
                self.map_page::<Size4KiB>(to, from, flags)?
            };
        }
        Ok(())
    }

    /// Returns the page's size.
    fn map_page<S: PageSize>(
        &mut self,
        to: VirtAddr,
        from: PhysAddr,
        flags: PageTableFlags,
    ) -> Result<u64>
    where
        OffsetPageTable<'static>: Mapper<S>,
        MapToError<S>: core::fmt::Debug,
    {
        let page = Page::<S>::containing_address(to);
        let frame = PhysFrame::containing_address(from);
        let mut frames = TableFrames(self.memory);
        // SAFETY: these tables are not in use yet.
        match unsafe { self.tables.map_to(page, frame, flags, &mut frames) } {
            Ok(flush) => flush.ignore(),
            Err(MapToError::FrameAllocationFailed) => return Err(Error::OutOfMemory(PAGE)),
            Err(error) => unreachable!("mapped twice: {to:?}: {error:?}"),
        }
        Ok(S::SIZE)
    }
}

struct TableFrames<'a>(&'a mut Memory);

// SAFETY: each block is handed out once, and is as large as a frame.
unsafe impl FrameAllocator<Size4KiB> for TableFrames<'_> {
    fn allocate_frame(&mut self) -> Option<PhysFrame> {
        let block = self
            .0
            .allocate(PAGE, PAGE, Kind::BootloaderReclaimable)
            .ok()?;
        Some(PhysFrame::containing_address(block.start))
    }
}
