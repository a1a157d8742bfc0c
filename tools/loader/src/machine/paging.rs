//! The page tables that the kernel is entered on: its image by its segments'
//! permissions, the direct map, and for base revision 0 an identity map, by the largest
//! pages that fit. Everything in both maps can be written and executed.

use loader::executable::Executable;
use loader::mapping::{self, Caching};
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

/// Mode 5 of those that [`Features::enable`] chooses from, write-combining, in an entry
/// for a large page (SDM vol. 3, table 5-16 and 12.12.3): bit 12 is 4 of it, and bit 3
/// is 1.
const WRITE_COMBINING: PageTableFlags =
    PageTableFlags::from_bits_retain(1 << 12).union(PageTableFlags::WRITE_THROUGH);

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
    // The map changes while tables are taken from it; what is mapped does not, as both
    // what is free and what is taken is.
    for range in mapping::ranges(base_revision, tables.memory.map().regions()) {
        let flags = match range.caching {
            Caching::WriteBack => all,
            Caching::WriteCombining if features.page_attributes => all | WRITE_COMBINING,
            Caching::WriteCombining => all,
        };
        let size = range.end - range.start;
        tables.map(direct_map(range.start), range.start, size, flags)?;
        if base_revision == 0 {
            let start = range.start.max(PhysAddr::new(PAGE));
            let same = VirtAddr::new(start.as_u64());
            tables.map(same, start, range.end - start, flags)?;
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
