//! The page tables of a process: its own half of the addresses, and the kernel's half, whose tables
//! all share.
//!
//! The processor reads entries and marks what it has used, and a walk over a process's stack reads
//! them in an NMI: each is written as one word. A page of a process has a frame that nothing else
//! has. Tables stay until the process ends, whatever is unmapped.

use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering};

use kernel_core::process::{PAGE, PAGE_BYTES, Rights, USER};
use x86_64::PhysAddr;
use x86_64::structures::paging::{PageTableFlags, PhysFrame};

use super::isolation::{self, USER_ROOT, UserSide};
use crate::memory::frames::{self, Block, FRAME};
use crate::memory::{direct, paging};

/// The entries of a table.
pub(super) const ENTRIES: usize = 512;

/// Bits of an entry that are an address.
pub(super) const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// Rights are restricted by the last level alone.
const TABLE: PageTableFlags = PageTableFlags::PRESENT
    .union(PageTableFlags::WRITABLE)
    .union(PageTableFlags::USER_ACCESSIBLE);

/// Frames that processes leave to the kernel: below this many bytes they get none.
const KEPT_FOR_KERNEL: u64 = 4 << 20;

/// There is no memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct NoMemory;

type Table = [AtomicU64; ENTRIES];

/// A page of a process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Page {
    pub(super) start: u64,
    pub(super) frame: PhysAddr,
    pub(super) flags: PageTableFlags,
}

impl Page {
    fn new(address: u64, entry: &AtomicU64) -> Option<Self> {
        let (frame, flags) = parts(entry.load(Ordering::Acquire))?;
        let start = address / PAGE * PAGE;
        Some(Self {
            start,
            frame,
            flags,
        })
    }
}

/// Page tables. All that is mapped in the process's half is theirs, and goes with them.
#[derive(Debug)]
pub(super) struct Tables {
    root: PhysFrame,
    /// Frames that hold tables.
    tables: u64,
    /// Frames that hold pages.
    pages: u64,
    /// For user mode, if that has a root of its own.
    user: Option<UserSide>,
}

/// A frame without anything in it.
pub(super) fn take_zeroed() -> Result<PhysFrame, NoMemory> {
    if frames::free_bytes() < KEPT_FOR_KERNEL {
        return Err(NoMemory);
    }
    let frame = frames::take().ok_or(NoMemory)?;
    zero(frame);
    Ok(frame)
}

/// Makes a frame zero that nothing else has.
fn zero(frame: PhysFrame) {
    let bytes: *mut u8 = direct::address_of(frame.start_address()).as_mut_ptr();
    // SAFETY: nothing else has it, and the direct map does.
    unsafe { bytes.write_bytes(0, PAGE_BYTES) };
}

/// A frame for a root, and if user mode has one of its own, that one behind it.
fn take_roots() -> Result<(PhysFrame, Option<PhysFrame>), NoMemory> {
    if !isolation::is_on() {
        return Ok((take_zeroed()?, None));
    }
    let bytes = 2 * FRAME;
    if frames::free_bytes() < KEPT_FOR_KERNEL {
        return Err(NoMemory);
    }
    let block = frames::take_block(bytes, bytes, None).ok_or(NoMemory)?;
    let [kernels, users] =
        [0, USER_ROOT].map(|offset| PhysFrame::containing_address(block.start + offset));
    zero(kernels);
    zero(users);
    Ok((kernels, Some(users)))
}

/// Gives a frame back.
///
/// # Safety
///
/// It was taken by [`take_zeroed`], and no core can reach it any more.
pub(super) unsafe fn give_back(start: PhysAddr) {
    let bytes = FRAME;
    // SAFETY: by the condition.
    unsafe { frames::give_back(Block { start, bytes }) };
}

/// The table in a frame.
///
/// # Safety
///
/// The frame holds a table for as long as the result is used.
pub(super) unsafe fn table<'a>(start: PhysAddr) -> &'a Table {
    let table: *const Table = direct::address_of(start).as_ptr();
    // SAFETY: by the condition, mapped by the direct map; what of it changes is atomic.
    unsafe { &*table }
}

/// The flags of a program's page with these rights.
pub(super) const fn flags_of(rights: Rights) -> PageTableFlags {
    let read = PageTableFlags::PRESENT.union(PageTableFlags::USER_ACCESSIBLE);
    match rights {
        Rights::Read => read.union(PageTableFlags::NO_EXECUTE),
        Rights::Write => read
            .union(PageTableFlags::NO_EXECUTE)
            .union(PageTableFlags::WRITABLE),
        Rights::Execute => read,
    }
}

/// Returns true if an entry has these rights, and no others: said once more, for the audit.
pub(super) fn has_rights(flags: PageTableFlags, rights: Rights) -> bool {
    let others = PageTableFlags::GLOBAL | PageTableFlags::HUGE_PAGE;
    flags.contains(PageTableFlags::USER_ACCESSIBLE)
        && flags.contains(PageTableFlags::WRITABLE) == (rights == Rights::Write)
        && flags.contains(PageTableFlags::NO_EXECUTE) == (rights != Rights::Execute)
        && !flags.intersects(others)
}

/// The frame and the flags of an entry that is present.
fn parts(entry: u64) -> Option<(PhysAddr, PageTableFlags)> {
    let flags = PageTableFlags::from_bits_truncate(entry & !ADDRESS);
    let start = PhysAddr::new_truncate(entry & ADDRESS);
    flags
        .contains(PageTableFlags::PRESENT)
        .then_some((start, flags))
}

/// An address's place in the tables of a level: 3 is the root's, 0 the last one.
pub(super) const fn index(address: u64, level: u32) -> usize {
    (address >> (12 + 9 * level) & 0x1ff) as usize
}

/// The bytes of addresses that an entry of a level stands for.
const fn bytes_of(level: u32) -> u64 {
    PAGE << (9 * level)
}

/// The entry of the last level for an address, in the tables of a root. Makes the tables that are
/// missing, with these flags, adds them to `made`, and calls `in_root` for a new entry of the root
/// itself.
pub(super) fn entry_or_new_in<'a>(
    root: PhysAddr,
    address: u64,
    flags: PageTableFlags,
    made: &mut u64,
    in_root: &mut dyn FnMut(&AtomicU64, u64),
) -> Result<&'a AtomicU64, NoMemory> {
    let mut start = root;
    for level in [3, 2, 1] {
        // SAFETY: reached from the root by entries that are present, none of which is a leaf.
        let table = unsafe { table(start) };
        let entry = &table[index(address, level)];
        start = match parts(entry.load(Ordering::Relaxed)) {
            Some((next, _)) => next,
            None => {
                let next = take_zeroed()?.start_address();
                let word = next.as_u64() | flags.bits();
                // Whoever finds it finds zeros.
                entry.store(word, Ordering::Release);
                if level == 3 {
                    in_root(entry, word);
                }
                *made += 1;
                next
            }
        };
    }
    // SAFETY: likewise.
    Ok(&unsafe { table(start) }[index(address, 0)])
}

/// What an entry maps.
pub(super) struct Leaf {
    pub(super) address: u64,
    pub(super) bytes: u64,
    pub(super) entry: u64,
}

/// Calls `each` for all that an entry of a table of this level maps, which is for addresses from
/// `address` on.
pub(super) fn visit(entry: u64, level: u32, address: u64, each: &mut dyn FnMut(&Leaf)) {
    let Some((next, flags)) = parts(entry) else {
        return;
    };
    let bytes = bytes_of(level);
    if level == 0 || flags.contains(PageTableFlags::HUGE_PAGE) {
        each(&Leaf {
            address,
            bytes,
            entry,
        });
        return;
    }
    // SAFETY: callers have tables that stay as they are meanwhile.
    for (place, entry) in (0..).zip(unsafe { table(next) }) {
        let address = address + place * bytes_of(level - 1);
        visit(entry.load(Ordering::Relaxed), level - 1, address, each);
    }
}

/// Frees a table of a level, and the tables that it leads to, but no page.
pub(super) fn free_tables(start: PhysAddr, level: u32) {
    if level > 0 {
        // SAFETY: as in `free`.
        for entry in unsafe { table(start) } {
            if let Some((next, _)) = parts(entry.load(Ordering::Relaxed)) {
                free_tables(next, level - 1);
            }
        }
    }
    // SAFETY: likewise.
    unsafe { give_back(start) };
}

impl Tables {
    /// Tables that map nothing but the kernel.
    pub(super) fn new() -> Result<Self, NoMemory> {
        let (root, users) = take_roots()?;
        // SAFETY: it has been zeroed, so it is a table, and lives as long as this.
        let table = unsafe { table(root.start_address()) };
        for (own, kernels) in table[256..].iter().zip(paging::kernel_half()) {
            own.store(kernels, Ordering::Relaxed);
        }
        let mut tables = Self {
            root,
            tables: 1,
            pages: 0,
            user: None,
        };
        if let Some(users) = users {
            let users = users.start_address();
            tables.user = Some(UserSide::new(users).inspect_err(|_| {
                // SAFETY: taken above, and nothing has it.
                unsafe { give_back(users) };
            })?);
        }
        Ok(tables)
    }

    /// The root's frame.
    pub(super) const fn root(&self) -> PhysFrame {
        self.root
    }

    /// Returns true if the entries of the root's upper half are these.
    pub(super) fn has_kernel_half(&self, half: &[u64; 256]) -> bool {
        // SAFETY: as in `entry`.
        let root = unsafe { table(self.root.start_address()) };
        let own = root[256..].iter();
        let used = PageTableFlags::ACCESSED.bits();
        let mut pairs = own.zip(half);
        pairs.all(|(own, kernels)| own.load(Ordering::Relaxed) & !used == kernels & !used)
    }

    /// How many frames hold tables, the root among them, and how many hold pages.
    pub(super) fn frames(&self) -> (u64, u64) {
        let users = self.user.as_ref().map_or(0, |user| user.tables);
        (self.tables + users, self.pages)
    }

    /// The side for user mode, if that has a root of its own.
    pub(super) const fn user_side(&mut self) -> Option<&mut UserSide> {
        self.user.as_mut()
    }

    /// Makes sure that user mode has nothing else of the kernel than it should.
    pub(super) fn audit_user_side(&self) {
        if let Some(user) = &self.user {
            user.audit(self.root.start_address());
        }
    }

    /// The entry of the last level for an address of a process.
    ///
    /// # Errors
    ///
    /// There is no table for it: so many bytes of addresses around it have none.
    fn entry(&self, address: u64) -> Result<&AtomicU64, u64> {
        let mut start = self.root.start_address();
        for level in [3, 2, 1] {
            // SAFETY: reached from the root by entries that are present, none of which is a leaf.
            let table = unsafe { table(start) };
            let entry = table[index(address, level)].load(Ordering::Relaxed);
            (start, _) = parts(entry).ok_or(bytes_of(level))?;
        }
        // SAFETY: likewise.
        Ok(&unsafe { table(start) }[index(address, 0)])
    }

    /// The same; makes the tables that are missing.
    fn entry_or_new(&mut self, address: u64) -> Result<&AtomicU64, NoMemory> {
        assert!(USER.contains(&address), "{address:#x} is no process's");
        let user = &self.user;
        let root = self.root.start_address();
        // The kernel has no business in what is a program's: it is not to run there.
        let mut in_root = |entry: &AtomicU64, word: u64| {
            if let Some(user) = user {
                user.set(index(address, 3), word);
                entry.store(word | PageTableFlags::NO_EXECUTE.bits(), Ordering::Release);
            }
        };
        entry_or_new_in(root, address, TABLE, &mut self.tables, &mut in_root)
    }

    /// The page that an address is in, if it is mapped.
    pub(super) fn page(&self, address: u64) -> Option<Page> {
        if !USER.contains(&address) {
            return None;
        }
        Page::new(address, self.entry(address).ok()?)
    }

    /// Maps a page of zeros at an address that has none. Returns its frame.
    pub(super) fn map(&mut self, address: u64, rights: Rights) -> Result<PhysAddr, NoMemory> {
        let entry: *const AtomicU64 = self.entry_or_new(address)?;
        let frame = take_zeroed()?.start_address();
        // SAFETY: it lies in a table of ours, which stays as long as we do.
        let entry = unsafe { &*entry };
        let word = frame.as_u64() | flags_of(rights).bits();
        let before = entry.swap(word, Ordering::Release);
        assert!(parts(before).is_none(), "{address:#x} is mapped already");
        self.pages += 1;
        Ok(frame)
    }

    /// The pages that are mapped in a range of pages, and their entries.
    fn entries_in(&self, range: Range<u64>) -> impl Iterator<Item = (Page, &AtomicU64)> {
        let mut at = range.start;
        core::iter::from_fn(move || {
            while at < range.end {
                let start = at;
                let entry = self.entry(start);
                let bytes = entry.err().unwrap_or(PAGE);
                at = (start + 1).next_multiple_of(bytes);
                if let Ok(entry) = entry
                    && let Some(page) = Page::new(start, entry)
                {
                    return Some((page, entry));
                }
            }
            None
        })
    }

    /// The pages that are mapped in a range of pages.
    pub(super) fn pages_in(&self, range: Range<u64>) -> impl Iterator<Item = Page> {
        self.entries_in(range).map(|(page, _)| page)
    }

    /// Takes the pages in a range of pages out of the tables. They are still to be given back, once
    /// no core has them in its translations.
    pub(super) fn unmap(&mut self, range: Range<u64>, mut removed: impl FnMut(PhysAddr)) {
        let mut count = 0;
        for (page, entry) in self.entries_in(range) {
            entry.store(0, Ordering::SeqCst);
            removed(page.frame);
            count += 1;
        }
        self.pages -= count;
    }
}

impl Drop for Tables {
    /// Gives back all frames. No core has the tables any more.
    fn drop(&mut self) {
        free(self.root.start_address(), 3);
    }
}

/// Frees a table of a level and what it leads to: of the root, the process's half alone.
fn free(start: PhysAddr, level: u32) {
    let own = if level == 3 { ENTRIES / 2 } else { ENTRIES };
    // SAFETY: called for tables alone, each of which is freed behind what it leads to.
    let table = unsafe { table(start) };
    for entry in &table[..own] {
        let Some((next, _)) = parts(entry.load(Ordering::Relaxed)) else {
            continue;
        };
        if level == 0 {
            // SAFETY: `map` took it, and no core has these tables any more.
            unsafe { give_back(next) };
        } else {
            free(next, level - 1);
        }
    }
    // SAFETY: likewise.
    unsafe { give_back(start) };
}
