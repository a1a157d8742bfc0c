//! The timer of a core's APIC, which the kernel may have a tick by: what it was set to before it
//! was the sampler's.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use crate::hw::apic::{Registers, TimerEntry, TimerState, Vector};
use crate::sampler::vector;

const OWN: Vector = Vector::new(vector::OVERFLOW);

/// What the kernel's timer was set to. Used on its core alone.
///
/// Whose it is stands in the timer's entry: one that has a vector of the sampler's is the
/// sampler's. So a kernel that has set it anew meanwhile keeps it.
#[derive(Default)]
pub(crate) struct KernelTimer {
    /// 0: it was never taken.
    entry: AtomicU32,
    divide: AtomicU32,
    count: AtomicU32,
    deadline: AtomicU64,
}

impl KernelTimer {
    /// The timer is about to be the sampler's: notes what it is set to, unless it is already.
    pub(crate) fn take(&self, registers: Registers) {
        if is_samplers(registers) {
            return;
        }
        let state = registers.timer_state(OWN);
        self.divide.store(state.divide, Relaxed);
        self.count.store(state.count, Relaxed);
        self.deadline.store(state.deadline, Relaxed);
        self.entry.store(state.entry.bits(), Relaxed);
    }

    /// Sets the timer to what it was, if it was taken and is the sampler's still.
    pub(crate) fn give_back(&self, registers: Registers) {
        let entry = self.entry.load(Relaxed);
        if entry == 0 || !is_samplers(registers) {
            return;
        }
        let state = TimerState {
            entry: TimerEntry::as_left(entry, OWN),
            divide: self.divide.load(Relaxed),
            count: self.count.load(Relaxed),
            deadline: self.deadline.load(Relaxed),
        };
        // SAFETY: the kernel has set it to that.
        unsafe { registers.restore_timer(state) };
    }

    /// The vector of the kernel's tick by the timer, which is not the sampler's now; `None` if it
    /// has none.
    pub(crate) fn ticks_by(registers: Registers) -> Option<u8> {
        if is_samplers(registers) {
            return None;
        }
        registers.timer_state(OWN).ticks_by().map(Vector::number)
    }
}

fn is_samplers(registers: Registers) -> bool {
    matches!(
        registers.timer_vector(),
        vector::OVERFLOW | vector::COUNT_TIMER
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hw::apic::{LocalInterrupt, Register};

    /// The page of an xAPIC's registers, of plain memory: nothing counts.
    struct Page(Box<[u32; 1024]>);

    impl Page {
        /// Of a timer that is set so.
        fn of_timer(entry: u32, divide: u32, initial: u32, current: u32) -> Self {
            let page = Self(Box::new([0; 1024]));
            page.set(LocalInterrupt::Timer as u16, entry);
            page.set(Register::TimerDivide as u16, divide);
            page.set(Register::TimerInitialCount as u16, initial);
            page.set(Register::TimerCurrentCount as u16, current);
            page
        }

        fn registers(&self) -> Registers {
            Registers::XApic(self.0.as_ptr().cast_mut().expose_provenance() as u64)
        }

        fn set(&self, offset: u16, value: u32) {
            let register = self.0.as_ptr().cast_mut().wrapping_byte_add(offset.into());
            // SAFETY: within the page; memory of a test.
            unsafe { register.write_volatile(value) };
        }

        /// Entry, divider and initial count.
        fn timer(&self) -> [u32; 3] {
            let registers = self.registers();
            [
                registers.read_entry(LocalInterrupt::Timer),
                registers.read(Register::TimerDivide),
                registers.read(Register::TimerInitialCount),
            ]
        }

        /// As the source does.
        fn sample(&self, by: u8) {
            self.set(LocalInterrupt::Timer as u16, by.into());
            self.set(Register::TimerDivide as u16, 0b1011);
            self.set(Register::TimerInitialCount as u16, 77);
        }
    }

    #[test]
    fn the_kernels_tick_goes_on_when_it_is_given_back() {
        for (entry, initial, current, count) in [
            (0x2_0020, 1000, 600, 1000), // periodic: the next one is a whole one away
            (0x0_0020, 1000, 600, 600),  // one shot: what was left of it
            (0x0_0020, 1000, 0, 0),      // that had come already
            (0x1_00fe, 0, 0, 0),         // masked
        ] {
            for by in [vector::OVERFLOW, vector::COUNT_TIMER] {
                let page = Page::of_timer(entry, 0b0011, initial, current);
                let timer = KernelTimer::default();
                timer.take(page.registers());
                page.sample(by);
                // Probes and the run take it one after the other.
                timer.take(page.registers());
                timer.give_back(page.registers());
                assert_eq!(
                    page.timer(),
                    [entry, 0b0011, count],
                    "{entry:#x} by {by:#x}"
                );
            }
        }
    }

    #[test]
    fn what_is_not_the_samplers_is_not_touched() {
        // Never taken, though the vector is the sampler's.
        let page = Page::of_timer(vector::OVERFLOW.into(), 0, 5, 5);
        let timer = KernelTimer::default();
        timer.give_back(page.registers());
        assert_eq!(page.timer(), [vector::OVERFLOW.into(), 0, 5]);
        // The kernel has set it anew in the run.
        let page = Page::of_timer(0x2_0020, 0, 1000, 600);
        timer.take(page.registers());
        page.sample(vector::OVERFLOW);
        page.set(LocalInterrupt::Timer as u16, 0x21);
        timer.give_back(page.registers());
        assert_eq!(page.timer(), [0x21, 0b1011, 77]);
    }

    #[test]
    fn a_tick_is_known_by_a_timer_that_interrupts() {
        for (entry, initial, current, tick) in [
            (0x2_0020, 1000, 600, Some(0x20)),
            (0x0_00ec, 1000, 600, Some(0xec)),
            (0x0_00ec, 1000, 0, None),
            (0x3_0020, 1000, 600, None),
            (0x1_0000, 0, 0, None),
            (0x0_0000, 1000, 600, None),
            (vector::OVERFLOW.into(), 1000, 600, None),
        ] {
            let page = Page::of_timer(entry, 0, initial, current);
            let found = KernelTimer::ticks_by(page.registers());
            assert_eq!(found, tick, "{entry:#x}, {current}");
        }
    }
}
