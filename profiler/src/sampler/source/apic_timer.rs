//! The source `apic-timer`: the timer of the core's own local APIC, one shot at a
//! time.
//!
//! As an NMI it is a gift of QEMU's emulation: the timer's entry in the local
//! vector table has no delivery mode in the manuals (SDM vol. 3, 12.5.1), real
//! APICs deliver its vector whatever stands there, and QEMU honours the mode. So
//! the entry is written and read back, then an interrupt has to arrive as an NMI.
//!
//! Under instruction counting the timer counts instructions, one each.

use super::SourceError;
use crate::format::Delivery;
use crate::hw::apic::{self, DELIVER_NMI, DELIVERY_MODE, LVT_MASKED, Register, TIMER_DIVIDE_BY_1};
use crate::hw::tsc;
use crate::sampler::clock::{Ratio, RunClock};
use crate::sampler::vector;

/// How long to compare the timer with the clock.
const COMPARISON_NANOSECONDS: u64 = 10_000_000;

/// The APIC timers of all cores.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ApicTimer {
    delivery: Delivery,
    /// Counts of the timer per tick of the run.
    rate: Ratio,
}

impl ApicTimer {
    /// Finds out whether the timer can be used, on the running core, and how fast it
    /// counts.
    ///
    /// # Errors
    ///
    /// It does not deliver as it should.
    pub(crate) fn probe(delivery: Delivery, clock: &RunClock) -> Result<Self, SourceError> {
        let mut timer = Self {
            delivery,
            rate: Ratio::ONE,
        };
        timer.enable();
        let entry = apic::registers().read(Register::LvtTimer);
        if delivery == Delivery::Nmi && entry & DELIVERY_MODE != DELIVER_NMI {
            disable();
            return Err(SourceError::TimerIgnoresNmi);
        }
        timer.rate = rate(clock);
        Ok(timer)
    }

    /// Prepares the running core's timer.
    pub(crate) fn enable(&self) {
        set_up(match self.delivery {
            Delivery::Nmi => DELIVER_NMI,
            Delivery::Irq => vector::OVERFLOW.into(),
        });
    }

    /// Starts the running core's timer: one interrupt, `count` counts from now; none if
    /// it is 0.
    #[inline]
    pub(crate) fn arm(&self, count: u32) {
        start(count);
    }

    /// Returns true if the running core's timer has run out.
    #[inline]
    #[must_use]
    pub(crate) fn has_fired(&self) -> bool {
        apic::registers().read(Register::TimerCurrentCount) == 0
    }

    /// The counts of the timer in `ticks` ticks of the run.
    #[must_use]
    pub(crate) fn counts(&self, ticks: u64) -> u64 {
        self.rate.of(ticks)
    }
}

/// Makes the running core's timer, which is stopped, raise what the entry says, once.
pub(crate) fn set_up(entry: u32) {
    let registers = apic::registers();
    // SAFETY: a valid divider; a stopped timer delivers nothing.
    unsafe { registers.write(Register::TimerDivide, TIMER_DIVIDE_BY_1) };
    // SAFETY: one shot; NMIs and the sampler's vectors have handlers.
    unsafe { registers.write(Register::LvtTimer, entry) };
}

fn disable() {
    // SAFETY: a masked entry delivers nothing.
    unsafe { apic::registers().write(Register::LvtTimer, LVT_MASKED) };
}

/// Starts the running core's timer with `count`; 0 stops it.
#[inline]
pub(crate) fn start(count: u32) {
    // SAFETY: any count may be written; `set_up` said what it delivers.
    unsafe { apic::registers().write(Register::TimerInitialCount, count) };
}

/// The counts that the running core's timer, which is masked, makes in `ticks` ticks of
/// the run.
pub(crate) fn counts_in(ticks: u64, clock: &RunClock) -> u32 {
    u32::try_from(rate(clock).of(ticks)).unwrap_or(u32::MAX)
}

/// The timer's counts in a tick of the run.
fn rate(clock: &RunClock) -> Ratio {
    let registers = apic::registers();
    let delivering = registers.read(Register::LvtTimer);
    // SAFETY: masked, it delivers nothing while it is compared.
    unsafe { registers.write(Register::LvtTimer, delivering | LVT_MASKED) };
    // The largest count does not run out meanwhile.
    start(u32::MAX);
    let first = registers.read(Register::TimerCurrentCount);
    let before = tsc::ticks();
    clock.pass(COMPARISON_NANOSECONDS);
    let last = registers.read(Register::TimerCurrentCount);
    let ticks = clock.ticks(tsc::ticks().saturating_sub(before));
    start(0);
    // SAFETY: as it was.
    unsafe { registers.write(Register::LvtTimer, delivering) };
    Ratio::new(first.wrapping_sub(last).into(), ticks)
}
