//! Memory that is unmapped while a thread on another core uses what is beside it: each time that core has
//! to forget its translations (a shootdown), and what is mapped there next begins with zeros.

#![no_std]
#![no_main]

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use programs::{Futex, map, mix, move_to, pid, start_thread, unmap};

programs::program!(main);

const PAGE: u64 = 4096;
const ROUNDS: u32 = 6;

/// Where the page is that the other thread is to use; 0: none.
static SHARED: AtomicU64 = AtomicU64::new(0);
/// The rounds that have begun, and those that the other thread has done.
static BEGUN: Futex = Futex(AtomicU32::new(0));
static DONE: Futex = Futex(AtomicU32::new(0));
/// What was not as it should be.
static FAILED: AtomicU64 = AtomicU64::new(0);

fn main(_: u64) -> u64 {
    if start_thread(other, 0).is_err() {
        return 1;
    }
    for round in 1..=ROUNDS {
        let Ok(page) = map(PAGE) else { return 1 };
        SHARED.store(page.addr() as u64, Ordering::Relaxed);
        BEGUN.set_and_wake(round, 1);
        // Beside it, meanwhile.
        let Ok(own) = map(PAGE) else { return 1 };
        fill(own, mix(round.into(), 50));
        wait_for(&DONE, round);
        // The other core has the translation of this one.
        if !has(page, round.into()) {
            FAILED.fetch_add(1, Ordering::Relaxed);
        }
        for page in [page, own] {
            // SAFETY: nothing uses it any more.
            if unsafe { unmap(page, PAGE) }.is_err() {
                FAILED.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
    FAILED.load(Ordering::Relaxed)
}

extern "C" fn other(_: u64) {
    // There may be fewer cores.
    let _ = move_to(u32::try_from(pid() % 4).unwrap_or(0));
    for round in 1..=ROUNDS {
        wait_for(&BEGUN, round);
        let address = usize::try_from(SHARED.load(Ordering::Relaxed)).unwrap_or(0);
        let page = core::ptr::with_exposed_provenance_mut(address);
        // By a stale translation it would be what the last round has left.
        if !has(page, 0) {
            FAILED.fetch_add(1, Ordering::Relaxed);
        }
        fill(page, round.into());
        DONE.set_and_wake(round, 1);
    }
}

fn wait_for(futex: &Futex, round: u32) {
    loop {
        let value = futex.0.load(Ordering::Acquire);
        if value >= round {
            break;
        }
        futex.wait(value);
    }
}

#[inline(never)]
fn fill(page: *mut u8, value: u64) {
    // SAFETY: it is mapped, can be written to, and is aligned.
    unsafe { page.cast::<u64>().write_volatile(value) };
}

#[inline(never)]
fn has(page: *mut u8, value: u64) -> bool {
    // SAFETY: it is mapped and aligned.
    unsafe { page.cast::<u64>().read_volatile() == value }
}
