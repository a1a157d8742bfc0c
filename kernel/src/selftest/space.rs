//! What processes map, without one that runs: pages by demand, what is refused, that all cores forget
//! what is unmapped, and that every frame comes back.

use alloc::boxed::Box;
use core::fmt;
use core::hint;
use core::ops::Range;
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use kernel_core::process::mappings::{self, Kind};
use kernel_core::process::program::Program;
use kernel_core::process::{PAGE, Rights};
use x86_64::instructions::smap::Smap;
use x86_64::registers::control::Cr3;

use crate::boot;
use crate::cpu;
use crate::memory::space::{self, Error, Fault, Space, Usage};
use crate::memory::{frames, image, paging};
use crate::smp;

pub(super) const TESTS: &[(&str, fn())] = &[
    ("space-pages", || by_the_frame(pages)),
    ("space-refused", || by_the_frame(refused)),
    ("space-shootdown", || by_the_frame(shootdown)),
    ("space-programs", || by_the_frame(programs)),
    ("space-storm", || by_the_frame(storm)),
];

/// Error codes of user code's page faults: of reading, writing and executing where nothing is.
const READ: u64 = 0b0_0100;
const WRITE: u64 = 0b0_0110;
const EXECUTE: u64 = 0b1_0100;

/// Runs a test twice: the second time no frame may be missing behind it, nor be one too many. (The
/// first time, the heap takes frames that it keeps.)
fn by_the_frame(test: fn()) {
    test();
    let before = frames::free_bytes();
    test();
    let after = frames::free_bytes();
    assert_eq!(after, before, "free bytes before and after");
    log::info!("spaces: {before} bytes are free before and after");
}

/// Runs `access` with a process's addresses open to the kernel.
fn as_user<R>(access: impl FnOnce() -> R) -> R {
    match Smap::new() {
        Some(smap) => smap.without_smap(access),
        None => access(),
    }
}

/// Reads a word at a process's address, as the process would.
fn load(address: u64) -> u64 {
    let word: *const u64 = ptr::with_exposed_provenance(address as usize);
    // SAFETY: callers have page tables loaded in which the page is mapped.
    as_user(|| unsafe { word.read_volatile() })
}

fn store(address: u64, value: u64) {
    let word: *mut u64 = ptr::with_exposed_provenance_mut(address as usize);
    // SAFETY: likewise, to be written.
    as_user(|| unsafe { word.write_volatile(value) });
}

fn new() -> Space {
    Space::new().expect("there is memory for a space")
}

fn map(space: &Space, pages: u64) -> Range<u64> {
    let range = space.map(pages * PAGE, Rights::Write, Kind::Anonymous);
    range.expect("there is room")
}

fn assert_usage(space: &Space, pages: u64, tables: u64) {
    assert_eq!(space.audit(), Usage { pages, tables }, "frames");
}

fn pages() {
    let free = frames::free_bytes();
    let space = new();
    assert_usage(&space, 0, 1);
    let range = map(&space, 16);
    assert_usage(&space, 0, 1);
    // Over the end of a page.
    let at = range.start + PAGE - 4;
    assert_eq!(
        space.write(at, &0x0123_4567_89ab_cdef_u64.to_le_bytes()),
        Ok(())
    );
    assert_usage(&space, 2, 4);
    assert_eq!(space.on_fault(range.start + 5 * PAGE + 7, WRITE), Ok(()));
    assert_usage(&space, 3, 4);
    // Another thread has been faster.
    assert_eq!(space.on_fault(range.start + 5 * PAGE, READ), Ok(()));
    assert_usage(&space, 3, 4);
    space.activate();
    assert_eq!(Cr3::read().0, space.root(), "page tables that are loaded");
    assert_eq!(load(at), 0x0123_4567_89ab_cdef);
    assert_eq!(load(range.start + 5 * PAGE), 0);
    store(range.start + 5 * PAGE + 8, 77);
    let mut bytes = [0xff; 24];
    assert_eq!(space.read(range.start + 5 * PAGE, &mut bytes), Ok(()));
    assert_eq!((bytes[7], bytes[8], bytes[16]), (0, 77, 0));
    assert_eq!(space.load_u32(range.start + 5 * PAGE + 8), Ok(77));
    let taken = 3 + 4;
    assert_eq!(frames::free_bytes(), free - taken * PAGE, "free bytes");
    // A hole, in which there is one page.
    let hole = range.start + 4 * PAGE..range.start + 8 * PAGE;
    assert_eq!(space.unmap(hole.clone()), Ok(()));
    assert_usage(&space, 2, 4);
    assert_eq!(
        frames::free_bytes(),
        free - (taken - 1) * PAGE,
        "free bytes"
    );
    let gone = space.read(hole.start + PAGE, &mut bytes);
    assert_eq!(gone, Err(Fault::NotMapped(hole.start + PAGE)));
    // It is as new where it is mapped again.
    let (rights, kind) = (Rights::Write, Kind::Anonymous);
    assert_eq!(space.map_at(hole.clone(), rights, kind), Ok(()));
    assert_eq!(space.on_fault(hole.start + PAGE, READ), Ok(()));
    assert_eq!(load(hole.start + PAGE + 8), 0);
    assert_usage(&space, 3, 4);
    // Another one does not see it, and this core leaves what it has loaded.
    let other = new();
    assert_eq!(other.read(at, &mut bytes), Err(Fault::NotMapped(at)));
    other.activate();
    drop(space);
    drop(other);
    assert_eq!(Cr3::read().0, paging::root(), "page tables that are loaded");
    assert_eq!(frames::free_bytes(), free, "free bytes");
}

fn refused() {
    let space = new();
    let range = map(&space, 2);
    let (read, execute) = (Rights::Read, Rights::Execute);
    let code = space
        .map(PAGE, execute, Kind::Image)
        .expect("there is room");
    let mut bytes = [0; 16];
    let kernel = image::text().start.as_u64();
    for at in [0, 8, range.start - 1, range.end, kernel, u64::MAX - 7] {
        assert_eq!(space.read(at, &mut bytes), Err(Fault::NotMapped(at)));
        assert_eq!(space.write(at, &bytes), Err(Fault::NotMapped(at)));
        assert_eq!(space.on_fault(at, READ), Err(Fault::NotMapped(at)));
    }
    assert_eq!(
        space.write(range.end - 8, &bytes),
        Err(Fault::NotMapped(range.end))
    );
    assert_eq!(
        space.load_u32(range.start + 2),
        Err(Fault::Unaligned(range.start + 2))
    );
    let refused = |address, wanted| {
        Err(Fault::NotAllowed {
            address,
            wanted,
            mapping: space.mapping_at(address).expect("something is there"),
        })
    };
    let wanted = refused(range.start, execute);
    assert_eq!(space.on_fault(range.start, EXECUTE), wanted);
    assert_eq!(
        space.on_fault(code.start, WRITE),
        refused(code.start, Rights::Write)
    );
    assert_eq!(
        space.write(code.start, &bytes),
        refused(code.start, Rights::Write)
    );
    assert_eq!(space.on_fault(code.start, EXECUTE), Ok(()));
    // A reserved bit, and the kernel's own.
    assert_eq!(
        space.on_fault(range.start, 0b1101),
        Err(Fault::Unusual(0b1101))
    );
    assert_eq!(space.on_fault(range.start, 0b10), Err(Fault::Unusual(0b10)));
    let mapping = |error| Err(Error::Mapping(error));
    let overlap = space.map_at(range.start..range.end + PAGE, read, Kind::Image);
    assert_eq!(overlap, mapping(mappings::Error::Overlap));
    assert_eq!(
        space.unmap(kernel..kernel + PAGE),
        mapping(mappings::Error::NotUser)
    );
    assert_eq!(
        space.unmap(range.start + 1..range.end),
        mapping(mappings::Error::Unaligned)
    );
    // More than the machine has: addresses, and no memory.
    let bytes = 1 << 40;
    let huge = space.map(bytes, Rights::Write, Kind::Anonymous);
    let huge = huge.expect("there are addresses");
    let mut at = huge.start;
    while space.on_fault(at, WRITE).is_ok() {
        at += PAGE;
    }
    assert_eq!(space.on_fault(at, WRITE), Err(Fault::NoMemory));
    log::info!(
        "spaces: {} pages are all that there are",
        (at - huge.start) / PAGE
    );
    space.audit();
    assert_eq!(space.unmap(huge), Ok(()));
    assert_eq!(space.audit().pages, 2);
}

/// Programs among the modules are loaded, as for a process, and looked at; others are refused.
fn programs() {
    for module in boot::info().modules() {
        match Program::parse(module.content) {
            Ok(program) => log::info!("program {}: {}", module.name, Loaded(&program)),
            Err(problem) => log::info!("program {}: refused: {problem}", module.name),
        }
    }
}

/// A program, as it is in memory once it is loaded.
struct Loaded<'a>(&'a Program<'a>);

impl fmt::Display for Loaded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let space = new();
        if let Err(problem) = space.load(self.0) {
            return write!(f, "not loaded: {problem}");
        }
        let usage = space.audit();
        let mut sum = 0_u64;
        for segment in self.0.segments() {
            let mut byte = [0];
            for at in segment.start..segment.start + segment.bytes {
                space.read(at, &mut byte).expect("it is mapped");
                sum = sum.wrapping_mul(31).wrapping_add(byte[0].into());
            }
            writeln!(f)?;
            let mapping = space.mapping_at(segment.start).expect("it is mapped");
            write!(f, "{mapping}")?;
        }
        let (entry, relocations) = (self.0.entry(), self.0.relocations().count());
        let (pages, tables) = (usage.pages, usage.tables);
        write!(
            f,
            "\nentry {entry:#x}, {relocations} relocations, {pages} pages, {tables} tables, sum {sum:x}"
        )
    }
}

/// The space that all cores have.
static SHARED: AtomicPtr<Space> = AtomicPtr::new(ptr::null_mut());
/// Where it is mapped.
static PLACE: AtomicU64 = AtomicU64::new(0);
/// What is mapped there: a number, from 1 on.
static ROUND: AtomicU64 = AtomicU64::new(0);
/// Cores that have looked, all rounds together.
static LOOKED: AtomicU64 = AtomicU64::new(0);
/// Cores that have seen something else.
static STALE: AtomicU64 = AtomicU64::new(0);

const ROUNDS: u64 = 200;

fn shared() -> &'static Space {
    // SAFETY: callers run while the first core waits for them, before it drops the space.
    unsafe { &*SHARED.load(Ordering::Acquire) }
}

fn share(space: Space) {
    for counter in [&ROUND, &LOOKED, &STALE] {
        counter.store(0, Ordering::Relaxed);
    }
    SHARED.store(Box::into_raw(Box::new(space)), Ordering::Release);
}

/// Drops the space. The other cores have done with it, and some have it loaded still.
fn unshare() {
    // SAFETY: `share` made it.
    drop(unsafe { Box::from_raw(SHARED.swap(ptr::null_mut(), Ordering::AcqRel)) });
}

fn wait_until(is_so: impl Fn() -> bool) {
    while !is_so() {
        hint::spin_loop();
    }
}

/// A page is unmapped and mapped again, with another frame; all cores look what is there.
fn shootdown() {
    let space = new();
    let range = map(&space, 1);
    PLACE.store(range.start, Ordering::Relaxed);
    share(space);
    let space = shared();
    space.activate();
    smp::give_others(look);
    let others = u64::from(cpu::count()) - 1;
    for round in 1..=ROUNDS {
        if round > 1 {
            let next = map(space, 1);
            assert_eq!(space.unmap(range.clone()), Ok(()));
            // This gets the frame that has become free.
            assert_eq!(space.write(next.start, &[0xee; 8]), Ok(()));
            let (rights, kind) = (Rights::Write, Kind::Anonymous);
            assert_eq!(space.map_at(range.clone(), rights, kind), Ok(()));
            assert_eq!(space.unmap(next), Ok(()));
        }
        assert_eq!(space.write(range.start, &round.to_le_bytes()), Ok(()));
        assert_eq!(load(range.start), round, "what the first core sees");
        ROUND.store(round, Ordering::Release);
        wait_until(|| LOOKED.load(Ordering::Acquire) == round * others);
    }
    assert_usage(space, 1, 4);
    let (looked, stale) = (
        LOOKED.load(Ordering::Relaxed),
        STALE.load(Ordering::Relaxed),
    );
    log::info!("spaces: looked {looked} times, saw what was unmapped {stale} times");
    assert_eq!((looked, stale), (ROUNDS * others, 0));
    unshare();
}

fn look() {
    shared().activate();
    for round in 1..=ROUNDS {
        wait_until(|| ROUND.load(Ordering::Acquire) == round);
        if load(PLACE.load(Ordering::Relaxed)) != round {
            STALE.fetch_add(1, Ordering::Relaxed);
        }
        // Some have left when the space ends.
        if round == ROUNDS && cpu::current_index().is_multiple_of(2) {
            space::leave();
        }
        LOOKED.fetch_add(1, Ordering::Release);
    }
}

/// All cores map, use and unmap memory of one process at once, and look that nobody else has it.
fn storm() {
    share(new());
    smp::give_others(rounds);
    rounds();
    wait_until(|| LOOKED.load(Ordering::Acquire) == u64::from(cpu::count()));
    let (usage, stale) = (shared().audit(), STALE.load(Ordering::Relaxed));
    log::info!(
        "spaces: {} pages left, {stale} had what others wrote",
        usage.pages
    );
    assert_eq!((usage.pages, stale), (0, 0));
    unshare();
}

fn rounds() {
    let space = shared();
    space.activate();
    let me = u64::from(cpu::current_index()) + 1;
    for round in 0..ROUNDS {
        let range = map(space, 1 + (round * 7 + me * 3) % 40);
        for page in range.clone().step_by(PAGE as usize) {
            assert_eq!(space.on_fault(page, WRITE), Ok(()));
            let mark = me << 32 | round;
            let before = load(page);
            store(page, mark);
            if before != 0 || load(page) != mark {
                STALE.fetch_add(1, Ordering::Relaxed);
            }
        }
        assert_eq!(space.unmap(range), Ok(()));
    }
    LOOKED.fetch_add(1, Ordering::Release);
}
