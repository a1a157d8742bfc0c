//! Interrupts that firmware or the boot loader has left pending: a timer's, a device's. They
//! come as soon as a core lets interrupts in, and have no handler. They are ended and counted
//! until the core has let them all in; after that, such an interrupt ends the run.

use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};

use profiler::hw::tsc::Deadline;
use x86_64::instructions::interrupts;

use crate::cpu::per_core::per_core;
use crate::cpu::{self, apic};

/// For how long interrupts may come in that nobody has asked for: some 10 µs, in which what
/// is pending comes at once, and a message that is on its way arrives.
const DRAIN_TICKS: u64 = 50_000;

/// More of them on a core are no leftovers: something raises them again and again.
const MAX_LEFTOVERS: u64 = 512;

/// The vectors below are exceptions.
const FIRST_VECTOR: u8 = 32;

struct Leftovers {
    count: AtomicU64,
    /// The vector of the last one.
    vector: AtomicU8,
    /// No interrupt is a leftover any more.
    is_over: AtomicBool,
}

per_core! {
    static LEFTOVERS: Leftovers = Leftovers {
        count: AtomicU64::new(0),
        vector: AtomicU8::new(0),
        is_over: AtomicBool::new(false),
    };
}

/// Lets interrupts in on the running core, for the first time, and returns when no more
/// leftovers are to be expected.
pub fn let_in() {
    interrupts::enable();
    Deadline::after(DRAIN_TICKS).wait();
    LEFTOVERS.current().is_over.store(true, Relaxed);
}

/// Returns true if an interrupt with this vector may be a leftover: the running core has not
/// let all in, and has not asked for any itself. The APIC's own are none.
#[inline]
pub(super) fn may_come(vector: u8) -> bool {
    // Exceptions come before a core knows itself, interrupts do not.
    (FIRST_VECTOR..apic::ERROR.number()).contains(&vector)
        && !LEFTOVERS.current().is_over.load(Relaxed)
}

/// Ends an interrupt that may be a leftover, unless there were too many.
#[cold]
pub(super) fn end(vector: u8) -> bool {
    let leftovers = LEFTOVERS.current();
    let is_one = leftovers.count.fetch_add(1, Relaxed) < MAX_LEFTOVERS;
    if is_one {
        leftovers.vector.store(vector, Relaxed);
        apic::registers().end_of_interrupt();
    }
    is_one
}

/// Logs how many there were, if there were any.
pub fn log_count() {
    let all = cpu::cores().iter().map(|core| LEFTOVERS.get(core));
    let (count, vector) = all.fold((0, 0), |(count, vector), core| {
        (
            count + core.count.load(Relaxed),
            core.vector.load(Relaxed).max(vector),
        )
    });
    if count != 0 {
        log::info!("interrupts left pending by firmware: {count}, ended (vector {vector:#x})");
    }
}
