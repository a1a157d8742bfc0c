//! Overflows that are no samples: those by which a source is tried and calibrated.

use core::arch::asm;
use core::sync::atomic::Ordering::Relaxed;

use super::per_core::Core;
use super::vector;
use crate::format::Delivery;
use crate::hw::tsc::Deadline;

/// How long an overflow may take to arrive: a tenth of a second or so.
pub(crate) const ARRIVAL_TIMEOUT_TICKS: u64 = 400_000_000;

/// An overflow, real or raised by software, of a trial. Returns the count to re-arm
/// with, if any.
pub(crate) fn on_trial_overflow(core: &Core, entry_tsc: u64) -> Option<u32> {
    core.timing.entry_tsc.store(entry_tsc, Relaxed);
    core.overflow.set_fired();
    core.trial.count_overflow();
    core.trial.take_rearm_count()
}

/// Returns true if an overflow of the source arrives in time on the running core, `core`, once
/// `provoke` has asked the source for one. An interrupt of somebody else's is none.
pub(crate) fn await_overflow(core: &Core, provoke: impl FnOnce()) -> bool {
    await_overflow_for(ARRIVAL_TIMEOUT_TICKS, core, provoke)
}

/// The same, if it arrives within `ticks`.
pub(crate) fn await_overflow_for(ticks: u64, core: &Core, provoke: impl FnOnce()) -> bool {
    let before = core.trial.overflows();
    core.trial.set_awaits_source(true);
    provoke();
    let has_arrived = || core.trial.overflows() != before;
    let arrives = Deadline::after(ticks).wait_for(has_arrived);
    core.trial.set_awaits_source(false);
    arrives
}

/// Raises a sampling interrupt by software.
pub(crate) fn raise(delivery: Delivery) {
    match delivery {
        // SAFETY: the gate's handler returns. (`int 2` does not block NMIs.)
        Delivery::Nmi => unsafe { asm!("int 2") },
        // SAFETY: likewise; the handler's end of interrupt finds nothing to end.
        Delivery::Irq => unsafe { asm!("int {v}", v = const vector::OVERFLOW) },
    }
}
