//! The page of the local APIC's registers.

use core::cell::UnsafeCell;

use x86_64::registers::control::Cr3;
use x86_64::structures::paging::page_table::PageTable;
use x86_64::structures::paging::{
    FrameAllocator, Mapper, OffsetPageTable, Page, PageTableFlags, PhysFrame, Size4KiB,
};
use x86_64::{PhysAddr, VirtAddr};

use crate::boot::Boot;

const PHYSICAL: u64 = 0xfee0_0000;
/// Where nothing else is.
const VIRTUAL: u64 = 0xffff_f000_fee0_0000;

/// As many page tables as a page may need.
struct Tables(UnsafeCell<[PageTable; 3]>);

// SAFETY: they are given away once, on the one core that there is.
unsafe impl Sync for Tables {}

static TABLES: Tables = Tables(UnsafeCell::new([const { PageTable::new() }; 3]));

/// Gives away the physical frames of `TABLES`.
struct Frames<'a> {
    boot: &'a Boot,
    used: usize,
}

// SAFETY: nobody else uses the tables, and each is given away once.
unsafe impl FrameAllocator<Size4KiB> for Frames<'_> {
    fn allocate_frame(&mut self) -> Option<PhysFrame> {
        let table = TABLES.0.get().cast::<PageTable>().wrapping_add(self.used);
        let physical = (table.addr() as u64).wrapping_sub(self.boot.kernel_offset);
        self.used += 1;
        (self.used <= 3).then(|| PhysFrame::containing_address(PhysAddr::new(physical)))
    }
}

/// Maps the registers. Returns where. To be called once.
pub fn map(boot: &Boot) -> u64 {
    let (level4, _) = Cr3::read();
    let level4 = VirtAddr::new(boot.direct_map + level4.start_address().as_u64());
    // SAFETY: the loader's table, which it has in the direct map, as all of them; nobody
    // else refers to them.
    let level4 = unsafe { &mut *level4.as_mut_ptr::<PageTable>() };
    // SAFETY: likewise.
    let mut mapper = unsafe { OffsetPageTable::new(level4, VirtAddr::new(boot.direct_map)) };
    let page = Page::containing_address(VirtAddr::new(VIRTUAL));
    let frame: PhysFrame = PhysFrame::containing_address(PhysAddr::new(PHYSICAL));
    let flags = PageTableFlags::PRESENT
        | PageTableFlags::WRITABLE
        | PageTableFlags::NO_EXECUTE
        | PageTableFlags::NO_CACHE;
    let mut frames = Frames { boot, used: 0 };
    // SAFETY: device registers, which are no memory of anybody.
    let mapped = unsafe { mapper.map_to(page, frame, flags, &mut frames) };
    mapped.expect("room for the APIC's registers").flush();
    VIRTUAL
}
