//! The source `apic-timer`: the timer of the core's own local APIC, one shot at a
//! time.
//!
//! As an NMI it is a gift of QEMU's emulation: the timer's entry in the local
//! vector table has no delivery mode in the manuals (SDM vol. 3, 12.5.1), real
//! APICs deliver its vector whatever stands there, and QEMU honours the mode. So
//! it is not believed: the entry is written and read back, then an interrupt has
//! to arrive as an NMI.
//!
//! Under instruction counting the timer counts instructions, one each.

use profiler::format::{Clock, Delivery};

use super::Unavailable;
use crate::cpu::apic::{self, DELIVER_NMI, DELIVERY_MODE, Register, TIMER_DIVIDE_BY_1};
use crate::sampling::clock::{self, RunClock};
use crate::sampling::vector;
use crate::time;

/// How long to compare the timer with the clock, in nanoseconds.
const COMPARISON: u64 = 10_000_000;

/// The APIC timers of all cores.
#[derive(Clone, Copy, Debug)]
pub struct ApicTimer {
    delivery: Delivery,
    /// Counts of the timer per tick of the run; see [`clock::ratio`].
    rate: u64,
}

impl ApicTimer {
    /// Looks whether the timer can be used, on the running core, and how fast it
    /// counts.
    ///
    /// # Errors
    ///
    /// It does not deliver as it should.
    pub fn probe(delivery: Delivery, run_clock: &RunClock) -> Result<Self, Unavailable> {
        let registers = apic::registers();
        let mut timer = Self {
            delivery,
            rate: 1 << 32,
        };
        timer.enable();
        let entry = registers.read(Register::LvtTimer);
        if delivery == Delivery::Nmi && entry & DELIVERY_MODE != DELIVER_NMI {
            timer.disable();
            return Err(Unavailable::TimerIgnoresNmi);
        }
        timer.rate = rate(run_clock);
        Ok(timer)
    }

    /// Prepares the running core's timer.
    pub fn enable(&self) {
        let entry = match self.delivery {
            Delivery::Nmi => DELIVER_NMI,
            Delivery::Irq => vector::SAMPLING.into(),
        };
        let registers = apic::registers();
        // SAFETY: a valid divider; a stopped timer delivers nothing.
        unsafe { registers.write(Register::TimerDivide, TIMER_DIVIDE_BY_1) };
        // SAFETY: one shot; both ways of delivery have a handler.
        unsafe { registers.write(Register::LvtTimer, entry) };
    }

    fn disable(self) {
        // SAFETY: a masked entry delivers nothing.
        unsafe { apic::registers().write(Register::LvtTimer, apic::LVT_MASKED) };
    }

    /// Starts the running core's timer: one interrupt, `count` counts from now.
    #[inline]
    pub fn arm(&self, count: u32) {
        // SAFETY: any count may be written; `enable` said what it delivers.
        unsafe { apic::registers().write(Register::TimerInitialCount, count) };
    }

    /// Whether the running core's timer has run out.
    #[inline]
    #[must_use]
    pub fn has_fired(&self) -> bool {
        apic::registers().read(Register::TimerCurrentCount) == 0
    }

    /// Counts in so many ticks of the run.
    #[must_use]
    pub fn counts(&self, ticks: u64) -> u64 {
        clock::scaled(ticks, self.rate)
    }
}

/// How many counts the running core's timer, which is masked, makes in so many ticks of
/// the run.
pub fn counts_in(ticks: u64, run_clock: &RunClock) -> u32 {
    let counts = clock::scaled(ticks, rate(run_clock));
    u32::try_from(counts).unwrap_or(u32::MAX)
}

/// How many counts the timer makes in a tick of the run.
fn rate(run_clock: &RunClock) -> u64 {
    let registers = apic::registers();
    let delivering = registers.read(Register::LvtTimer);
    // SAFETY: masked, it delivers nothing while it is compared.
    unsafe { registers.write(Register::LvtTimer, delivering | apic::LVT_MASKED) };
    // SAFETY: as above; the largest count does not run out meanwhile.
    unsafe { registers.write(Register::TimerInitialCount, u32::MAX) };
    let counted =
        |since: u32| u64::from(since.wrapping_sub(registers.read(Register::TimerCurrentCount)));
    let start = registers.read(Register::TimerCurrentCount);
    let before = time::ticks();
    match run_clock.clock {
        Clock::Instructions => (0..COMPARISON / 10_000).for_each(|_| core::hint::black_box(())),
        // Detecting the clock has waited by the same HPET before.
        Clock::Time => drop(clock::wait(COMPARISON)),
    }
    let counts = counted(start);
    let ticks = run_clock.ticks(time::ticks() - before);
    // SAFETY: zero stops it.
    unsafe { registers.write(Register::TimerInitialCount, 0) };
    // SAFETY: as it was.
    unsafe { registers.write(Register::LvtTimer, delivering) };
    clock::ratio(counts, ticks)
}
