//! The kernel's own page tables: four levels, made once, shared by all cores.
//!
//! Nothing is both written and executed: the image follows the ELF, all else does
//! not execute. The image's frames are seen through the direct map too; the
//! read-only parts are read-only there as well ([`audit`] proves both at boot).
//! There is no identity mapping, so a null pointer faults.

pub mod audit;
pub mod look;
mod map;

use core::sync::atomic::{AtomicBool, Ordering};

use core::ops::Range;

use spin::Once;
use x86_64::registers::control::{Cr3, Cr3Flags};
use x86_64::structures::paging::{
    Mapper, OffsetPageTable, Page, PageTable, PageTableFlags, PhysFrame, Size4KiB,
};
use x86_64::{PhysAddr, VirtAddr};

use super::direct;
use super::frames::{self, ForPageTables};
use super::stacks;
use crate::boot::{BootInfo, Screen};
use crate::cpu::features::Features;
use crate::cpu::{control, msr};
use crate::screen;
use crate::sync::{Lock, lock_class};
use map::DATA;

/// Where device registers are mapped.
const DEVICES: VirtAddr = VirtAddr::new_truncate(0xffff_fd00_0000_0000);

/// Where the screen is mapped, if there is one.
const SCREEN: VirtAddr = VirtAddr::new_truncate(0xffff_fd80_0000_0000);

/// The root of the page tables.
static ROOT: Once<PhysFrame> = Once::new();
/// Held while page tables change. The value: where the next device goes.
static TABLES: Lock<VirtAddr> = Lock::new(lock_class!("page tables"), DEVICES);

/// Page tables of processes share the tables below the root's upper half: no entry of it changes any
/// more.
static IS_SHARED: AtomicBool = AtomicBool::new(false);

/// Makes the page tables and loads them.
pub(super) fn start(boot: &'static BootInfo, features: &Features) {
    // Bits that the tables below are about to use.
    control::allow_no_execute(features.no_execute);
    let root = take_root();
    ROOT.call_once(|| root);
    let table: *mut PageTable = direct::address_of(root.start_address()).as_mut_ptr();
    // SAFETY: the frame is ours, and the boot loader's direct map knows it.
    unsafe { table.write(PageTable::new()) };
    with_tables(|tables, _| {
        map::image(boot, tables);
        map::direct_map(boot, features, tables);
        if let Ok(screen) = &boot.screen {
            map_screen(tables, screen);
        }
    });
    // SAFETY: the image, this stack (in the direct map) and all that the boot
    // loader's answers refer to are mapped where they were.
    unsafe { Cr3::write(root, Cr3Flags::empty()) };
    if let Ok(found) = &boot.screen {
        let pixels = SCREEN + (found.physical - found.pages().start);
        // SAFETY: mapped there just now, and for ever.
        unsafe { screen::move_to(pixels) };
    }
}

/// A frame for the root: with another one behind it, as roots for user mode are told by that
/// ([`super::space::isolation`]).
fn take_root() -> PhysFrame {
    let bytes = 2 * frames::FRAME;
    let block = frames::take_block(bytes, bytes, None).expect("no frame for page tables");
    let unused = frames::Block {
        start: block.start + frames::FRAME,
        bytes: frames::FRAME,
    };
    // SAFETY: the second half of what was just taken.
    unsafe { frames::give_back(unused) };
    PhysFrame::containing_address(block.start)
}

/// Maps the pages of the screen: write-combining by entry 5 of the page attribute table, which
/// is what the Limine protocol has there on all cores; uncached where it is not.
fn map_screen(tables: &mut OffsetPageTable<'_>, screen: &Screen) {
    /// In an entry of the last level, what says "huge" in others (SDM vol. 3, table 5-20).
    const PAT: PageTableFlags = PageTableFlags::HUGE_PAGE;
    let caching = if msr::pat::is_write_combining(5) {
        PAT | PageTableFlags::WRITE_THROUGH
    } else {
        PageTableFlags::NO_CACHE | PageTableFlags::WRITE_THROUGH
    };
    let pages = screen.pages();
    for offset in (0..pages.end - pages.start).step_by(4096) {
        let page = Page::<Size4KiB>::containing_address(SCREEN + offset);
        let frame = PhysFrame::containing_address(pages.start + offset);
        // `map_to` takes the flag for a huge page's.
        map_page(tables, page, frame, DATA);
        // SAFETY: mapped just now, in tables that are not loaded.
        let updated = unsafe { tables.update_flags(page, DATA | caching) };
        match updated {
            Ok(flush) => flush.ignore(),
            Err(error) => panic!("cannot map {page:?}: {error:?}"),
        }
    }
}

/// The RAM that the direct map has, for ever: neighbouring regions joined.
pub fn ram(boot: &BootInfo) -> impl Iterator<Item = Range<PhysAddr>> {
    map::RamRanges::new(boot)
}

fn with_tables<R>(action: impl FnOnce(&mut OffsetPageTable<'_>, &mut VirtAddr) -> R) -> R {
    let root = root();
    TABLES.with(|next_device| {
        let root: *mut PageTable = direct::address_of(root.start_address()).as_mut_ptr();
        // SAFETY: the frame holds the root table, and the lock makes us its only user.
        let root = unsafe { &mut *root };
        // SAFETY: the direct map maps every frame, tables included, at this offset.
        let mut tables = unsafe { OffsetPageTable::new(root, direct::offset()) };
        action(&mut tables, next_device)
    })
}

/// The root table's frame, as every core loads it.
///
/// # Panics
///
/// If there are no page tables yet.
#[must_use]
pub fn root() -> PhysFrame {
    *ROOT.get().expect("page tables are asked for too early")
}

/// The entries of the root's upper half, for page tables of a process. What the kernel maps later is
/// in those as well.
///
/// # Panics
///
/// If there is no frame for a page table.
pub(super) fn kernel_half() -> [u64; 256] {
    with_tables(|tables, _| {
        if !IS_SHARED.load(Ordering::Relaxed) {
            for area in [DEVICES, stacks::AREA] {
                make_table(tables, area);
            }
            IS_SHARED.store(true, Ordering::Relaxed);
        }
        let root = tables.level_4_table();
        core::array::from_fn(|index| {
            let entry = &root[256 + index];
            entry.addr().as_u64() | entry.flags().bits()
        })
    })
}

/// Makes the table below the root for an address, if there is none.
fn make_table(tables: &mut OffsetPageTable<'_>, at: VirtAddr) {
    let entry = &mut tables.level_4_table_mut()[at.p4_index()];
    if entry.is_unused() {
        let frame = frames::take().expect("no frame for a page table");
        let table: *mut PageTable = direct::address_of(frame.start_address()).as_mut_ptr();
        // SAFETY: the frame is ours, and the direct map has it.
        unsafe { table.write(PageTable::new()) };
        entry.set_addr(frame.start_address(), map::TABLE);
    }
}

/// Maps a page of device registers, uncached, and returns where `address` is.
///
/// `PCD` and `PWT` select entry 3 of the page attribute table, which is
/// uncacheable after reset and in the table that Limine writes (SDM vol. 3, 13.12).
///
/// # Panics
///
/// If there is no frame for a page table.
pub fn map_device(address: PhysAddr) -> VirtAddr {
    let flags = DATA | PageTableFlags::NO_CACHE | PageTableFlags::WRITE_THROUGH;
    let frame = PhysFrame::<Size4KiB>::containing_address(address);
    with_tables(|tables, next| {
        let page = Page::containing_address(*next);
        *next += frames::FRAME;
        map_page(tables, page, frame, flags);
        page.start_address() + (address - frame.start_address())
    })
}

/// Backs a page of a stack with memory. Returns false if there is none.
///
/// # Panics
///
/// If there is none for the page tables themselves, or the page is mapped already.
#[must_use]
pub(super) fn map_stack_page(page: Page) -> bool {
    let frame = frames::take();
    if let Some(frame) = frame {
        with_tables(|tables, _| map_page(tables, page, frame, DATA));
    }
    frame.is_some()
}

/// Maps one page. It was not mapped before, so no core has to forget it.
fn map_page(tables: &mut OffsetPageTable<'_>, page: Page, frame: PhysFrame, flags: PageTableFlags) {
    assert!(
        !IS_SHARED.load(Ordering::Relaxed) || !tables.level_4_table()[page.p4_index()].is_unused(),
        "{page:?} would be missing in the page tables of processes"
    );
    // SAFETY: callers map frames that nothing in Rust's view owns: fresh memory,
    // device registers, or what the boot loader had mapped in the same place.
    let mapped = unsafe {
        tables.map_to_with_table_flags(page, frame, flags, map::TABLE, &mut ForPageTables)
    };
    match mapped {
        Ok(flush) => flush.ignore(),
        Err(error) => panic!("cannot map {page:?}: {error:?}"),
    }
}
