//! Upcalls: the kernel interrupts the program where it is and has it run a function, as a signal does. The
//! function's callers are what was interrupted, and that continues as if nothing had been.

#![no_std]
#![no_main]

use core::hint::black_box;
use core::sync::atomic::{AtomicU64, Ordering};

use programs::{descend, mix, nothing, on_message, pid, send, spawn, wait};

programs::program!(main);

const ROUNDS: u64 = 8;

/// The messages, added up, and their number.
static SUM: AtomicU64 = AtomicU64::new(0);
static COUNT: AtomicU64 = AtomicU64::new(0);

/// A child sends messages to the number in its argument.
fn main(parent: u64) -> u64 {
    if parent != 0 {
        return (1..=ROUNDS)
            .map(|round| u64::from(send(parent, round).is_err()))
            .sum();
    }
    on_message(called);
    let me = pid();
    let mut failed = 0;
    for round in 1..=ROUNDS {
        // To itself, from stacks of several depths: it comes on the way back from the call.
        let before = mix(round, 10);
        failed += u64::from(send(me, round).is_err());
        failed += descend(u32::try_from(round % 5).unwrap_or(0), nothing) - round % 5;
        failed += u64::from(before != mix(round, 10));
    }
    failed += u64::from(COUNT.load(Ordering::Relaxed) != ROUNDS);
    let Ok(child) = spawn("process-upcall", me) else {
        return 1;
    };
    failed += u64::from(wait(child) != Ok(0));
    // All have come, as this was interrupted by none of them for ever.
    let _ = nothing();
    let all = 2 * (ROUNDS * (ROUNDS + 1) / 2);
    failed += NESTED.load(Ordering::Relaxed) + UNORDERED.load(Ordering::Relaxed);
    failed + u64::from(SUM.load(Ordering::Relaxed) != all)
}

/// Upcalls that have begun and not ended, and how often there was more than one.
static BEGUN: AtomicU64 = AtomicU64::new(0);
static NESTED: AtomicU64 = AtomicU64::new(0);

/// How often a message was not the next one: the upcall for it came before the one that had begun.
static UNORDERED: AtomicU64 = AtomicU64::new(0);

extern "C" fn called(message: u64) {
    NESTED.fetch_add(BEGUN.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
    SUM.fetch_add(message, Ordering::Relaxed);
    let before = COUNT.fetch_add(1, Ordering::Relaxed);
    UNORDERED.fetch_add(u64::from(message != before % ROUNDS + 1), Ordering::Relaxed);
    black_box(mix(message, 30));
    // Not on the way back from here, either.
    let _ = nothing();
    BEGUN.fetch_sub(1, Ordering::Relaxed);
}
