//! What the timer of a local APIC is set to, so that another user of it can put that back.

use core::arch::asm;

use super::lvt::{LocalInterrupt, TimerEntry};
use super::{Register, Registers, Vector};
use crate::hw::msr;

/// `IA32_TSC_DEADLINE` (SDM vol. 3, "TSC-Deadline Mode"): when the timer interrupts, by the time
/// stamp counter; 0: never. An APIC with that mode has it.
const TSC_DEADLINE: u32 = 0x6e0;

/// The timer of a core's APIC, as its user has set it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct TimerState {
    pub entry: TimerEntry,
    pub divide: u32,
    /// What is left of a one-shot, and all of what comes again; 0: it is stopped.
    pub count: u32,
    /// In place of the count, by the time stamp counter.
    pub deadline: u64,
}

impl TimerState {
    /// The vector by which it interrupts sooner or later; `None` if it does not.
    pub(crate) fn ticks_by(&self) -> Option<Vector> {
        let is_started = if self.entry.has_deadline() {
            self.deadline != 0
        } else {
            self.count != 0
        };
        is_started.then_some(self.entry.delivers()).flatten()
    }
}

impl Registers {
    /// The vector that stands in the timer's entry, of whoever has written that.
    #[inline]
    pub(crate) fn timer_vector(self) -> u8 {
        self.read_entry(LocalInterrupt::Timer).to_le_bytes()[0]
    }

    /// What the running core's timer is set to. In place of what is illegal in its entry stands
    /// `spare`, masked.
    pub(crate) fn timer_state(self, spare: Vector) -> TimerState {
        let entry = TimerEntry::as_left(self.read_entry(LocalInterrupt::Timer), spare);
        let count = if entry.comes_again() {
            Register::TimerInitialCount
        } else {
            Register::TimerCurrentCount
        };
        TimerState {
            entry,
            divide: self.read(Register::TimerDivide),
            count: self.read(count),
            deadline: if entry.has_deadline() {
                // SAFETY: in that mode the register is there; reading it changes nothing.
                unsafe { msr::read(TSC_DEADLINE) }
            } else {
                0
            },
        }
    }

    /// Sets the running core's timer to what it was.
    ///
    /// # Safety
    ///
    /// What it delivered then, it may deliver now.
    pub(crate) unsafe fn restore_timer(self, state: TimerState) {
        // SAFETY: a stopped timer delivers nothing.
        unsafe { self.write(Register::TimerInitialCount, 0) };
        // SAFETY: as it was read.
        unsafe { self.write(Register::TimerDivide, state.divide) };
        // SAFETY: as it was; the caller's condition.
        unsafe { self.set_timer_entry(state.entry) };
        if state.entry.has_deadline() {
            // SAFETY: it keeps the entry's write, which is to memory in xAPIC mode, before that
            // of the deadline.
            unsafe { asm!("mfence", options(nostack, preserves_flags)) };
            // SAFETY: in that mode the register is there. One that has passed interrupts at once.
            unsafe { msr::write(TSC_DEADLINE, state.deadline) };
        } else {
            // SAFETY: the caller's condition.
            unsafe { self.write(Register::TimerInitialCount, state.count) };
        }
    }
}
