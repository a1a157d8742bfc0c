//! Page tables for user mode that have next to nothing of the kernel (`kpti=on`).
//!
//! A process has two roots then, side by side: the kernel's, whose address has the bit [`USER_ROOT`]
//! clear, and the user's, which has it set. So entries and exits change that bit of CR3, and need
//! nothing else. Both have the same tables for the process's own half; in the kernel's root their
//! entries forbid execution, so that a way to user mode that keeps the kernel's root ends at the
//! program's first instruction.
//!
//! | in the user's upper half | why |
//! |---|---|
//! | the border's code | entries up to where they load the kernel's root, exits behind that |
//! | gates; each core's segments, and its block | read by the processor; by entries through GS |
//! | each core's stacks of NMIs, #DB, #DF and #MC | the processor pushes there, and `iretq` pops |
//! | the top page of the kernel's stack of each thread of this process | likewise; the frame of user code lies there |
//!
//! All but the last is the same for all processes: [`start`] makes it once. No translation is global,
//! so each write of CR3 drops all that a core has of the other root: nothing else is to be done for
//! pages that go ([`super::shootdown`]).

use alloc::vec::Vec;
use core::ops::Range;
use core::sync::atomic::{AtomicBool, Ordering};

use kernel_core::process::{PAGE_BYTES, Rights};
use spin::Once;
use x86_64::structures::paging::PageTableFlags;
use x86_64::{PhysAddr, VirtAddr};

use super::tables::{self, ADDRESS, ENTRIES, NoMemory};
use crate::memory::frames::FRAME;
use crate::memory::paging::look;
use crate::memory::stacks;

/// The bit of a root's address that is set in the user's.
pub const USER_ROOT: u64 = FRAME;

/// A part of the kernel that user mode's page tables have: whole pages.
#[derive(Clone, Debug)]
pub struct Part {
    /// Its addresses, the same as in the kernel's page tables.
    pub pages: Range<VirtAddr>,
    /// What the kernel may do there with the user's root.
    pub rights: Rights,
}

/// What all processes have.
struct Shared {
    /// A root that has it in its upper half.
    root: PhysAddr,
    parts: Vec<Part>,
}

static IS_ON: AtomicBool = AtomicBool::new(false);
static SHARED: Once<Shared> = Once::new();

/// Spaces that are made from now on have two roots, once there is what [`start`] makes.
pub fn ask() {
    IS_ON.store(true, Ordering::Relaxed);
}

/// Spaces have two roots.
#[must_use]
pub fn is_on() -> bool {
    IS_ON.load(Ordering::Relaxed)
}

/// Makes what all processes have of the kernel in user mode, before the first space. The kernel's own
/// page tables are loaded. Returns the number of pages.
///
/// # Panics
///
/// If there is no memory, or a page is not the kernel's.
pub fn start(parts: Vec<Part>) -> u64 {
    let mut count = 0;
    SHARED.call_once(|| {
        let root = tables::take_zeroed().expect("no frame for page tables");
        let root = root.start_address();
        for part in &parts {
            for page in pages(part) {
                map(root, page, part.rights, &mut 0).expect("no frame for a page table");
                count += 1;
            }
        }
        Shared { root, parts }
    });
    count
}

fn pages(part: &Part) -> impl Iterator<Item = VirtAddr> {
    let Range { start, end } = part.pages;
    (0..end - start)
        .step_by(PAGE_BYTES)
        .map(move |offset| start + offset)
}

fn shared() -> &'static Shared {
    SHARED
        .get()
        .expect("`start` is called before there are spaces")
}

/// The flags of a page of the kernel's: those of a program's page, without user mode.
const fn flags_of(rights: Rights) -> PageTableFlags {
    tables::flags_of(rights).difference(PageTableFlags::USER_ACCESSIBLE)
}

/// Of tables that have nothing of a program's.
const TABLE: PageTableFlags = PageTableFlags::PRESENT.union(PageTableFlags::WRITABLE);

/// Maps a page of the kernel's where the kernel has it. Adds the tables that are made to `made`.
fn map(root: PhysAddr, page: VirtAddr, rights: Rights, made: &mut u64) -> Result<(), NoMemory> {
    let found = look::look_up(page.as_u64()).ok();
    let frame = found.and_then(|it| it.physical);
    let frame = frame.expect("a page of the kernel's");
    let entry = tables::entry_or_new_in(root, page.as_u64(), TABLE, made, &mut |_, _| {})?;
    let word = frame.as_u64() | flags_of(rights).bits();
    entry.store(word, Ordering::Release);
    Ok(())
}

/// The side of a process's page tables that is for user mode.
#[derive(Debug)]
pub(super) struct UserSide {
    root: PhysAddr,
    /// Frames that hold tables, the root among them.
    pub(super) tables: u64,
    /// Pages of stacks of threads.
    stacks: u64,
}

/// The place in a root of what has all stacks.
fn place_of_stacks() -> usize {
    tables::index(stacks::AREA.as_u64(), 3)
}

impl UserSide {
    /// One whose own half is empty, with a root in this frame, which is zero.
    pub(super) fn new(root: PhysAddr) -> Result<Self, NoMemory> {
        let from = shared().root;
        // SAFETY: both hold tables for as long as they are used.
        let [own, common] = [root, from].map(|it| unsafe { tables::table(it) });
        for (own, common) in own[256..].iter().zip(&common[256..]) {
            own.store(common.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        // Stacks of threads come to it, so that table is the process's own.
        let place = place_of_stacks();
        let stacks = tables::take_zeroed()?.start_address();
        let common = PhysAddr::new_truncate(common[place].load(Ordering::Relaxed) & ADDRESS);
        // SAFETY: likewise.
        let [to, from] = [stacks, common].map(|it| unsafe { tables::table(it) });
        for (own, common) in to.iter().zip(from) {
            own.store(common.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        own[place].store(stacks.as_u64() | TABLE.bits(), Ordering::Relaxed);
        Ok(Self {
            root,
            tables: 2,
            stacks: 0,
        })
    }

    /// The root has this entry for the process's own half.
    pub(super) fn set(&self, place: usize, entry: u64) {
        // SAFETY: it holds a table as long as this lives.
        let root = unsafe { tables::table(self.root) };
        root[place].store(entry, Ordering::Release);
    }

    /// Maps a page of a thread's stack.
    pub(super) fn show(&mut self, page: VirtAddr) -> Result<(), NoMemory> {
        map(self.root, page, Rights::Write, &mut self.tables)?;
        self.stacks += 1;
        Ok(())
    }

    /// Unmaps it. The core that has used it has the kernel's root.
    pub(super) fn hide(&mut self, page: VirtAddr) {
        let entry =
            tables::entry_or_new_in(self.root, page.as_u64(), TABLE, &mut 0, &mut |_, _| {});
        if let Ok(entry) = entry {
            entry.store(0, Ordering::Release);
            self.stacks -= 1;
        }
    }

    /// Makes sure that user mode has what it should have, and nothing else: its own half as `kernels`,
    /// the kernel's root, has it, the parts that [`start`] was told, and the stacks of threads.
    pub(super) fn audit(&self, kernels: PhysAddr) {
        // SAFETY: both hold tables as long as this lives.
        let [own, kernels] = [self.root, kernels].map(|it| unsafe { tables::table(it) });
        let used = PageTableFlags::ACCESSED.bits();
        let forbidden = PageTableFlags::NO_EXECUTE.bits();
        for (own, kernels) in own[..256].iter().zip(&kernels[..256]) {
            let (own, kernels) = (own.load(Ordering::Relaxed), kernels.load(Ordering::Relaxed));
            let wanted = if own == 0 { 0 } else { own | forbidden };
            assert!(
                wanted & !used == kernels & !used,
                "the two roots differ: {own:#x}, {kernels:#x}"
            );
        }
        let (mut in_parts, mut others) = (0, 0);
        for (place, entry) in (0_u64..).zip(own).skip(ENTRIES / 2) {
            let entry = entry.load(Ordering::Relaxed);
            tables::visit(entry, 3, place << 39 | 0xffff << 48, &mut |leaf| {
                let page = VirtAddr::new(leaf.address);
                let parts = &shared().parts;
                let part = parts.iter().find(|part| part.pages.contains(&page));
                let rights = part.map_or(Rights::Write, |part| part.rights);
                let flags = PageTableFlags::from_bits_retain(leaf.entry & !ADDRESS);
                let seen = PageTableFlags::ACCESSED | PageTableFlags::DIRTY;
                assert!(
                    leaf.bytes == FRAME && flags - seen == flags_of(rights),
                    "{page:?} is mapped in user mode with other rights than it should: {flags:?}"
                );
                in_parts += u64::from(part.is_some());
                others += u64::from(part.is_none());
                assert!(
                    part.is_some() || stacks::is_top_of_task(page),
                    "{page:?} of the kernel is mapped in user mode"
                );
            });
        }
        let wanted: usize = shared().parts.iter().map(|part| pages(part).count()).sum();
        assert_eq!(
            (in_parts, others),
            (wanted as u64, self.stacks),
            "pages of the kernel in user mode"
        );
    }
}

impl Drop for UserSide {
    /// Gives back all frames that are not the same for all processes. No core has the root any more.
    fn drop(&mut self) {
        let place = place_of_stacks();
        // SAFETY: it holds a table as long as this lives, and so does what all have.
        let roots = [self.root, shared().root].map(|it| unsafe { tables::table(it) });
        let [own, common] =
            roots.map(|root| PhysAddr::new_truncate(root[place].load(Ordering::Relaxed) & ADDRESS));
        // SAFETY: likewise.
        let [of_stacks, of_common] = [own, common].map(|it| unsafe { tables::table(it) });
        for (entry, common) in of_stacks.iter().zip(of_common) {
            let [entry, common] = [entry, common].map(|it| it.load(Ordering::Relaxed) & ADDRESS);
            if entry != common {
                tables::free_tables(PhysAddr::new_truncate(entry), 1);
            }
        }
        for start in [own, self.root] {
            // SAFETY: taken for this, and no core has the tables any more.
            unsafe { tables::give_back(start) };
        }
    }
}
