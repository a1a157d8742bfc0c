//! A core's own timer, to end its halts: where the source of samples counts nothing
//! while a core is halted, nothing else may ever come.

use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::apic::{self, Register, TimerEntry, Vector};

/// The vector of ticks. Whoever calls [`enable`] registers its handler before.
pub const VECTOR: u8 = 0x45;

/// The APIC timer's counts in a tick; 0: there are no ticks.
static COUNT: AtomicU32 = AtomicU32::new(0);

/// From now on there are ticks, of `count` counts of the APIC timer, on the running core,
/// whose timer has no other user.
pub fn enable(count: u32) {
    COUNT.store(count, Relaxed);
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
