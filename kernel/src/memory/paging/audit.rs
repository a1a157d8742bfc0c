//! The page tables, read back: is what is mapped what was meant?
//!
//! A wrong permission does no harm that anyone would notice, so it is looked for:
//! every entry that maps something is visited once, at boot.

use x86_64::structures::paging::{
    OffsetPageTable, PageSize, PageTable, PageTableFlags, Size1GiB, Size2MiB, Size4KiB,
};
use x86_64::{PhysAddr, VirtAddr};

use super::{SCREEN, with_tables};
use crate::boot::{BootInfo, Screen};
use crate::memory::{direct, image};

/// What the audit counted.
#[derive(Clone, Copy, Default, Debug)]
pub struct Report {
    /// Mapped entries, whatever their size.
    pub mappings: u64,
    /// Bytes that execute.
    pub executable: u64,
    /// Bytes that can be written.
    pub writable: u64,
}

/// Visits every mapping of the kernel's page tables.
///
/// # Panics
///
/// If anything is both written and executed, if anything but the image's text
/// executes, if a frame of text or constants can be written through any
/// mapping, or if a frame of the screen is mapped anywhere else, or all else there.
pub fn check(boot: &BootInfo) -> Report {
    let text = image::text();
    let constants_end = image::rodata().end;
    let frozen_start = boot.image_physical + (text.start - boot.image_virtual);
    let frozen = frozen_start..frozen_start + (constants_end - text.start);
    let screen = boot.screen.as_ref().map(Screen::pages);
    let screen = screen.unwrap_or(PhysAddr::zero()..PhysAddr::zero());
    let screen_end = SCREEN + (screen.end - screen.start);
    let mut report = Report::default();
    with_tables(|tables, _| {
        visit(tables, |leaf| {
            let writable = leaf.flags.contains(PageTableFlags::WRITABLE);
            let executable = !leaf.flags.contains(PageTableFlags::NO_EXECUTE);
            let is_text = text.start <= leaf.page && leaf.page < text.end;
            let is_frozen = leaf.frame < frozen.end && frozen.start < leaf.frame + leaf.bytes;
            assert!(
                !leaf.flags.contains(PageTableFlags::USER_ACCESSIBLE)
                    && executable == is_text
                    && !(writable && (executable || is_frozen)),
                "the mapping of {:?} to {:?} allows too much: {:?}",
                leaf.page,
                leaf.frame,
                leaf.flags,
            );
            let is_screen = SCREEN <= leaf.page && leaf.page < screen_end;
            let expected = is_screen.then(|| screen.start + (leaf.page - SCREEN));
            let shows_it = leaf.frame < screen.end && screen.start < leaf.frame + leaf.bytes;
            assert!(
                expected == shows_it.then_some(leaf.frame),
                "{:?} is mapped at {:?}, and the screen is at {:?}",
                leaf.frame,
                leaf.page,
                screen,
            );
            report.mappings += 1;
            report.executable += if executable { leaf.bytes } else { 0 };
            report.writable += if writable { leaf.bytes } else { 0 };
        });
    });
    assert_eq!(
        report.executable,
        text.end - text.start,
        "text is not mapped as a whole"
    );
    report
}

/// A mapping, with the rights of all levels combined.
struct Leaf {
    page: VirtAddr,
    frame: PhysAddr,
    bytes: u64,
    flags: PageTableFlags,
}

fn visit(tables: &OffsetPageTable<'_>, mut each: impl FnMut(&Leaf)) {
    let all = PageTableFlags::all().difference(PageTableFlags::NO_EXECUTE);
    level(
        tables.level_4_table(),
        0,
        512 * Size1GiB::SIZE,
        all,
        &mut each,
    );
}

/// Visits a table whose entries stand for `bytes` each, the first at `page`.
fn level(
    table: &PageTable,
    page: u64,
    bytes: u64,
    above: PageTableFlags,
    each: &mut impl FnMut(&Leaf),
) {
    for (index, entry) in (0_u64..).zip(table.iter()) {
        let flags = entry.flags();
        if !flags.contains(PageTableFlags::PRESENT) {
            continue;
        }
        let page = page + index * bytes;
        // Written and user only where every level agrees, not executed where any
        // level says so (SDM vol. 3, 5.6.1).
        let forbids = PageTableFlags::NO_EXECUTE;
        let rights = (flags & above).difference(forbids) | ((flags | above) & forbids);
        let is_leaf = bytes == Size4KiB::SIZE
            || (bytes <= Size1GiB::SIZE && flags.contains(PageTableFlags::HUGE_PAGE));
        if is_leaf {
            each(&Leaf {
                page: VirtAddr::new_truncate(page),
                frame: entry.addr(),
                bytes,
                flags: rights,
            });
        } else {
            let next: *const PageTable = direct::address_of(entry.addr()).as_ptr();
            // SAFETY: the entry is no leaf, so its frame holds a table, and the lock
            // that our caller holds keeps it as it is.
            let next = unsafe { &*next };
            level(next, page, bytes / 512, rights, each);
        }
    }
}
const _: () = assert!(Size1GiB::SIZE / 512 == Size2MiB::SIZE);
