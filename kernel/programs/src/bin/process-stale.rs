//! Uses memory that it has just unmapped, which has to end it: on the core that has unmapped it, and on
//! another one, which had it in use. A core that still translates the address would let it go on.

#![no_std]
#![no_main]

use core::hint;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use programs::call::FAULTED;
use programs::{Futex, Line, exit, map, move_to, spawn, start_thread, unmap, wait};

programs::program!(main);

const PAGE: u64 = 4096;
const PAGE_FAULT: u64 = 14;

/// What a child does, as bits of its argument, which is never 0.
const IS_CHILD: u64 = 1;
const ON_OTHER_CORE: u64 = 2;
const WRITES: u64 = 4;

/// Where the page is.
static SHARED: AtomicU64 = AtomicU64::new(0);
/// The other core has it in use.
static IN_USE: Futex = Futex(AtomicU32::new(0));
/// It is unmapped.
static IS_GONE: AtomicU32 = AtomicU32::new(0);

/// A parent has a child of each kind, and looks whether each has ended by a page fault.
fn main(kind: u64) -> u64 {
    if kind != 0 {
        return child(kind);
    }
    let mut failed = 0;
    for kind in [
        IS_CHILD,
        IS_CHILD | WRITES,
        IS_CHILD | ON_OTHER_CORE,
        IS_CHILD | ON_OTHER_CORE | WRITES,
    ] {
        let ended = spawn("process-stale", kind).and_then(wait);
        if ended != Ok(FAULTED | PAGE_FAULT) {
            Line::log(format_args!(
                "kind {kind} has used what is unmapped: {ended:?}"
            ));
            failed += 1;
        }
    }
    failed
}

fn child(kind: u64) -> u64 {
    let Ok(page) = map(PAGE) else { return 2 };
    SHARED.store(page.addr() as u64, Ordering::Relaxed);
    // Both cores are other ones than that of anybody who might wait for them.
    if move_to(0).is_err() {
        return 3;
    }
    let is_elsewhere = kind & ON_OTHER_CORE != 0;
    if is_elsewhere {
        if start_thread(other, kind).is_err() {
            return 4;
        }
        while IN_USE.0.load(Ordering::Acquire) == 0 {
            IN_USE.wait(0);
        }
    } else {
        access(page, kind);
    }
    // SAFETY: who uses it from now on does so to be ended.
    if unsafe { unmap(page, PAGE) }.is_err() {
        return 5;
    }
    if !is_elsewhere {
        access(page, kind);
        return 1;
    }
    IS_GONE.store(1, Ordering::Release);
    loop {
        // The other thread ends the process, one way or the other.
        IN_USE.wait(1);
    }
}

/// Stays in user mode from before the page is unmapped until it uses it again, so that nothing but being
/// asked lets the core forget it.
extern "C" fn other(kind: u64) {
    if move_to(1).is_err() {
        exit(6);
    }
    let address = usize::try_from(SHARED.load(Ordering::Relaxed)).unwrap_or(0);
    let page = core::ptr::with_exposed_provenance_mut(address);
    access(page, kind);
    IN_USE.set_and_wake(1, 1);
    // With what waking has led to behind it.
    access(page, kind);
    while IS_GONE.load(Ordering::Acquire) == 0 {
        hint::spin_loop();
    }
    access(page, kind);
    exit(1);
}

#[inline(never)]
fn access(page: *mut u8, kind: u64) {
    if kind & WRITES != 0 {
        // SAFETY: it is mapped, or the process ends there.
        unsafe { page.write_volatile(1) };
    } else {
        // SAFETY: as above.
        unsafe { page.read_volatile() };
    }
}
