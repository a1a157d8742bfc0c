//! A core's own timer, to end its halts: where the source of samples counts nothing
//! while a core is halted, nothing else may ever come.

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

use super::apic::{self, Register, TimerEntry, Vector};
use super::features::Features;

/// The vector of ticks. Whoever calls [`enable`] registers its handler before.
pub const VECTOR: u8 = 0x45;

/// The APIC timer's counts in a tick; 0: there are no ticks.
static COUNT: AtomicU32 = AtomicU32::new(0);

/// Halts are to be ended by the timer, which stands still in them.
static IS_LOST: AtomicBool = AtomicBool::new(false);

/// From now on halts are to be ended by the APIC timer, by ticks or by what else it delivers.
/// Where it stops while a core halts (CPUID leaf 6, EAX bit 2, is clear: no ARAT), nothing else
/// may ever come, so cores do not halt.
pub fn rely_on_timer() {
    let runs = Features::get().always_running_timer.is_some();
    IS_LOST.store(!runs, Relaxed);
}

/// Returns true if what is to end a halt does not come in it.
#[inline]
pub(super) fn is_lost_in_halts() -> bool {
    IS_LOST.load(Relaxed)
}

/// From now on there are ticks, of `count` counts of the APIC timer, on the running core,
/// whose timer has no other user.
pub fn enable(count: u32) {
    COUNT.store(count, Relaxed);
    rely_on_timer();
    // SAFETY: a valid divider; a stopped timer delivers nothing.
    unsafe { apic::registers().write(Register::TimerDivide, apic::TIMER_DIVIDE_BY_1) };
    set_repeating(false);
}

/// Lets ticks come one after the other on the running core, whether it halts or not; or
/// one in each halt, as from [`enable`] on.
pub fn set_repeating(repeats: bool) {
    const TICK: Vector = Vector::new(VECTOR);
    let entry = if repeats {
        TimerEntry::periodic(TICK)
    } else {
        TimerEntry::one_shot(TICK)
    };
    // SAFETY: the vector has a handler.
    unsafe { apic::registers().set_timer_entry(entry) };
    if repeats {
        arm();
    }
}

/// Lets an interrupt come a tick from now, if there are ticks.
#[inline]
pub(super) fn arm() {
    let count = COUNT.load(Relaxed);
    if count != 0 {
        // SAFETY: any count may be written; `enable` said what it delivers, and before
        // it the entry is masked.
        unsafe { apic::registers().write(Register::TimerInitialCount, count) };
    }
}
