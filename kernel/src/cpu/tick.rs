//! A core's own timer, to end its halts: where the source of samples counts nothing
//! while a core is halted, nothing else may ever come.

use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::apic::{self, Register};
use crate::trap::{TrapFrame, vector};

/// The APIC timer's counts in a tick; 0: there are no ticks.
static COUNT: AtomicU32 = AtomicU32::new(0);

/// From now on there are ticks, of so many counts of the APIC timer, on each core that
/// calls [`enable`].
pub fn start(count: u32) {
    COUNT.store(count, Relaxed);
}

/// Prepares the running core's timer, which is nobody else's.
pub fn enable() {
    let registers = apic::registers();
    // SAFETY: a valid divider; a stopped timer delivers nothing.
    unsafe { registers.write(Register::TimerDivide, apic::TIMER_DIVIDE_BY_1) };
    // SAFETY: one shot; the vector has a handler.
    unsafe { registers.write(Register::LvtTimer, vector::TICK.into()) };
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

/// The handler of [`vector::TICK`]: that it came is all.
pub fn on_tick(_: &mut TrapFrame) {
    apic::registers().end_of_interrupt();
}
