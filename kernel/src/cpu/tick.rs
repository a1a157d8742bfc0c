//! A core's own timer, to end its halts: where the source of samples counts nothing
//! while a core is halted, nothing else may ever come.

use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::apic::{self, Register};

/// The vector of ticks. Whoever calls [`enable`] registers its handler before.
pub const VECTOR: u8 = 0x45;

/// The APIC timer's counts in a tick; 0: there are no ticks.
static COUNT: AtomicU32 = AtomicU32::new(0);

/// From now on there are ticks, of `count` counts of the APIC timer, on each core that
/// calls [`enable`].
pub fn start(count: u32) {
    COUNT.store(count, Relaxed);
}

/// Prepares the running core's timer, which must have no other user.
pub fn enable() {
    let registers = apic::registers();
    // SAFETY: a valid divider; a stopped timer delivers nothing.
    unsafe { registers.write(Register::TimerDivide, apic::TIMER_DIVIDE_BY_1) };
    // SAFETY: one shot; the vector has a handler.
    unsafe { registers.write(Register::LvtTimer, VECTOR.into()) };
}

/// Lets ticks come periodically on the running core, halted or not, until it calls
/// [`enable`].
pub fn repeat() {
    let registers = apic::registers();
    let entry = apic::TIMER_PERIODIC | u32::from(VECTOR);
    // SAFETY: the vector has a handler.
    unsafe { registers.write(Register::LvtTimer, entry) };
    arm();
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
