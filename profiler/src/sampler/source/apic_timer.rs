//! The source `apic-timer`: the timer of the core's own local APIC, one shot at a
//! time.
//!
//! As an NMI it is a gift of QEMU's emulation: the timer's entry in the local
//! vector table has no delivery mode in the manuals (SDM vol. 3, 12.5.1). Real
//! APICs deliver its vector whatever stands there, or refuse the write; QEMU
//! honours the mode. So it is tried where the processor is QEMU's alone: the entry
//! is written and read back, then an interrupt has to arrive as an NMI.
//!
//! Under instruction counting the timer counts instructions, one each.
//!
//! The kernel may have a tick by the same timer. What it was set to is noted when it is taken, and
//! set again when it is given up ([`KernelTimer`]).

use core::fmt;

use super::SourceError;
use crate::format::{Clock, Delivery};
use crate::hw::apic::{self, Register, TIMER_DIVIDE_BY_1, TimerEntry, Vector};
use crate::hw::{cpuid, tsc};
use crate::sampler::clock::{Clocks, Ratio, RunClock, Span, parts_per_million};
use crate::sampler::per_core::Core;
use crate::sampler::per_core::kernel_timer::KernelTimer;
use crate::sampler::vector;

/// How long to compare the timer with the clock.
const COMPARISON_NANOSECONDS: u64 = 10_000_000;

/// The timer's entry by which it samples as IRQ. Also where it is masked: no entry may have
/// an illegal vector, masked or not.
const OVERFLOW: TimerEntry = TimerEntry::one_shot(Vector::new(vector::OVERFLOW));

/// The APIC timers of all cores.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ApicTimer {
    delivery: Delivery,
    rate: Rate,
}

/// How fast a timer counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Rate {
    /// Counts of the timer per tick of the run,
    counts: Ratio,
    /// to within how many parts of a million; 0: exactly.
    within: u32,
}

impl ApicTimer {
    /// Finds out whether the timer can be used, on the running core, `core`, and how fast it
    /// counts.
    ///
    /// # Errors
    ///
    /// It does not deliver as it should, and is the kernel's.
    pub(crate) fn probe(
        delivery: Delivery,
        clock: &RunClock,
        core: &Core,
    ) -> Result<Self, SourceError> {
        if delivery == Delivery::Nmi && !cpuid::is_tcg() {
            return Err(SourceError::TimerIgnoresNmi);
        }
        let mut timer = Self {
            delivery,
            rate: Rate {
                counts: Ratio::ONE,
                within: 0,
            },
        };
        if !timer.enable(core) {
            mask();
            give_back(core);
            return Err(SourceError::TimerIgnoresNmi);
        }
        timer.rate = rate(clock);
        timer.enable(core);
        Ok(timer)
    }

    /// Prepares the timer of the running core, `core`. Returns true if it delivers as it should.
    pub(crate) fn enable(&self, core: &Core) -> bool {
        match self.delivery {
            Delivery::Irq => {
                set_up(vector::OVERFLOW, core);
                true
            }
            Delivery::Nmi => {
                core.apic_timer.take(apic::registers());
                start(0);
                set_divider();
                // SAFETY: both have handlers.
                unsafe { apic::registers().try_set_timer_nmi(Vector::new(vector::OVERFLOW)) }
            }
        }
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
        self.rate.counts.of(ticks)
    }
}

/// To within what its rate is known, if it is not exactly.
impl fmt::Display for ApicTimer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rate.within {
            0 => Ok(()),
            within => write!(f, "its rate to within {within} ppm of the clock's"),
        }
    }
}

/// Makes the timer of the running core, `core`, interrupt once by one of the sampler's vectors,
/// when it is started.
pub(crate) fn set_up(vector: u8, core: &Core) {
    core.apic_timer.take(apic::registers());
    start(0);
    set_divider();
    let entry = TimerEntry::one_shot(Vector::new(vector));
    // SAFETY: the sampler's vectors have handlers.
    unsafe { apic::registers().set_timer_entry(entry) };
}

/// Gives the timer of the running core, `core`, back to the kernel, if it was taken.
pub(crate) fn give_back(core: &Core) {
    if let Some(registers) = apic::find_registers() {
        core.apic_timer.give_back(registers);
    }
}

/// The vector of the tick that the kernel has by the running core's timer, if it has one.
pub(crate) fn kernels_tick() -> Option<u8> {
    KernelTimer::ticks_by(apic::registers())
}

fn mask() {
    // SAFETY: a masked entry delivers nothing.
    unsafe { apic::registers().set_timer_entry(OVERFLOW.masked()) };
}

fn set_divider() {
    // SAFETY: a valid divider; a stopped timer delivers nothing.
    unsafe { apic::registers().write(Register::TimerDivide, TIMER_DIVIDE_BY_1) };
}

/// Starts the running core's timer with `count`; 0 stops it.
#[inline]
pub(crate) fn start(count: u32) {
    // SAFETY: any count may be written; `set_up` said what it delivers.
    unsafe { apic::registers().write(Register::TimerInitialCount, count) };
}

/// The counts that the timer of the running core, `core`, makes in `ticks` ticks of the run.
pub(crate) fn counts_in(ticks: u64, clock: &RunClock, core: &Core) -> u32 {
    core.apic_timer.take(apic::registers());
    let rate = rate(clock);
    give_back(core);
    u32::try_from(rate.counts.of(ticks)).unwrap_or(u32::MAX)
}

/// How fast the timer counts. Leaves it stopped and masked.
fn rate(clock: &RunClock) -> Rate {
    set_divider();
    mask();
    // The largest count does not run out meanwhile.
    start(u32::MAX);
    let span = Span::over(&Timer, || clock.pass(COMPARISON_NANOSECONDS));
    start(0);
    rate_of(span, clock)
}

/// The rate of a timer that was seen to count.
fn rate_of(span: Span, clock: &RunClock) -> Rate {
    Rate {
        counts: Ratio::new(span.counts, clock.ticks(span.ticks)),
        within: if clock.clock == Clock::Instructions {
            // Each reading takes the same instructions.
            0
        } else {
            parts_per_million(span.width, span.ticks)
        },
    }
}

/// The running core's timer beside its time stamp counter.
struct Timer;

impl Clocks for Timer {
    fn tsc(&self) -> u64 {
        tsc::ordered_ticks()
    }

    /// What it has counted: it counts down.
    fn count(&self) -> u64 {
        let left = apic::registers().read(Register::TimerCurrentCount);
        u64::from(u32::MAX - left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Text;

    #[test]
    fn a_rate_says_to_within_what_it_is_known() {
        let span = Span {
            counts: 10_000_000,
            ticks: 30_000_000,
            width: 1501,
        };
        let clock = |clock| RunClock::of_ticks(clock, Text::EMPTY);
        let rate = rate_of(span, &clock(Clock::Time));
        assert_eq!(rate.counts.of(3_000_000), 1_000_000);
        let timer = ApicTimer {
            delivery: Delivery::Irq,
            rate,
        };
        let said = "its rate to within 51 ppm of the clock's";
        assert_eq!(timer.to_string(), said);
        // Nothing is told of what is exact.
        let rate = rate_of(span, &clock(Clock::Instructions));
        assert_eq!(rate.within, 0);
        assert_eq!(ApicTimer { rate, ..timer }.to_string(), "");
    }
}
