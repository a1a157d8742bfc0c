//! What an overflow costs beside its handler, measured before it matters.
//!
//! * The *overhead*: from the reading of the clock beside the arming to the
//!   last instruction of the exit, and from the first of the entry to the reading
//!   of the clock there. Two sampling interrupts are raised by software, one
//!   right behind the other: what the clock shows between them is the overhead and
//!   the one `int` instruction.
//! * The *arm latency*: by how many of its counts the source fires late, counted from
//!   that same reading. One overflow comes in code that waits for it; the overhead
//!   taken off, what the clock shows is what that code got.
//! * The *minimum period*: what interrupted code gets if the source is given no time.
//!
//! Under instruction counting each of these is one exact number; but for the latency of a source
//! whose counts are coarser than the clock's: that is the mean of trials that begin at different
//! places between two counts. In real time the least of several trials is taken, on the first core
//! while the others are halted: periods are of microseconds and more. Of counters, whose periods
//! are shorter, see [`crate::pmu::cost`].

use super::clock::RunClock;
use super::per_core::Core;
use super::source::{Source, SourceError, step};
use super::trial::{self, ARRIVAL_TIMEOUT_TICKS};
use super::vector;
use crate::format::{Clock, Delivery};
use crate::hw::tsc::Deadline;
use core::arch::asm;
use core::hint::black_box;

/// What is known of the way through an overflow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Overhead {
    /// Ticks of the time stamp counter that are neither the handler's nor the
    /// interrupted code's.
    pub ticks: u64,
    /// Counts of the source to add to a period.
    pub arm_latency: u64,
    /// The shortest period that progresses, in ticks of the run.
    pub min_period: u64,
}

/// Trials where time makes them differ.
const TRIALS: u32 = 32;
/// Trials where instructions are counted, which begin at different places between two counts.
const PHASES: u64 = 16;
/// A count that no trial waits for.
const MAX_COUNT: u64 = u32::MAX as u64;
/// The period of the trial that finds the arm latency, in ticks.
const TRIAL_PERIOD: u64 = 5000;

impl Overhead {
    /// Where it is measured otherwise, or not at all.
    const fn of_ticks(ticks: u64) -> Self {
        Self {
            ticks,
            arm_latency: 0,
            min_period: 1,
        }
    }

    /// Measures the way through an overflow on the running core, `core`.
    ///
    /// # Errors
    ///
    /// An overflow did not arrive.
    pub(crate) fn measure(
        source: &Source,
        delivery: Delivery,
        clock: &RunClock,
        core: &Core,
    ) -> Result<Self, SourceError> {
        match source {
            Source::Step => {
                let ticks = (0..TRIALS).map(|_| ticks_of_step(core)).min();
                return Ok(Self::of_ticks(ticks.unwrap_or(0)));
            }
            // It measures that itself, beside its events.
            Source::Pmu(_) => return Ok(Self::of_ticks(0)),
            Source::ApicTimer(_) | Source::Hpet(_) | Source::Ipi(_) => {}
        }
        let ticks = (0..TRIALS).map(|_| ticks_of_interrupt(source, delivery, core));
        let ticks = ticks.min().unwrap_or(0);
        if !source.is_one_shot() {
            // Another core's clock decides when.
            return Ok(Self::of_ticks(ticks));
        }
        match clock.clock {
            Clock::Instructions => Self::exactly(ticks, source, delivery, core),
            Clock::Time | Clock::Ticks => Self::at_best(ticks, source, delivery, clock, core),
        }
    }

    fn exactly(
        ticks: u64,
        source: &Source,
        delivery: Delivery,
        core: &Core,
    ) -> Result<Self, SourceError> {
        let count = source.counts(TRIAL_PERIOD);
        let mut got = 0;
        for trial in 0..PHASES {
            // As many instructions later between two counts.
            (0..trial).for_each(|step| {
                black_box(step);
            });
            got += try_once(source, count, delivery, core)?.saturating_sub(ticks);
        }
        let arm_latency = mean_latency(count, source.counts(got));
        Ok(Self {
            ticks,
            arm_latency,
            min_period: source.least_period(core, arm_latency),
        })
    }

    fn at_best(
        ticks: u64,
        source: &Source,
        delivery: Delivery,
        clock: &RunClock,
        core: &Core,
    ) -> Result<Self, SourceError> {
        let mut min_period = u64::MAX;
        for _ in 0..TRIALS {
            let count = source.least_count(core);
            let got = try_once(source, count, delivery, core)?.saturating_sub(ticks);
            min_period = min_period.min(clock.ticks(got));
        }
        Ok(Self {
            ticks,
            arm_latency: source.counts(clock.ticks(ticks)),
            min_period: min_period.max(1),
        })
    }
}

/// By how many counts an overflow comes late in the mean, to the nearest, where code got so many
/// counts in all trials that were armed with `count`.
const fn mean_latency(count: u64, got: u64) -> u64 {
    let late = (count * PHASES).saturating_sub(got);
    (late + PHASES / 2) / PHASES
}

/// Raises two sampling interrupts in a row. Returns what lies between them, in
/// ticks of the time stamp counter.
fn ticks_of_interrupt(source: &Source, delivery: Delivery, core: &Core) -> u64 {
    source.quiet(core);
    // The first one re-arms, the second does not.
    core.trial.set_rearm_count(MAX_COUNT);
    raise_two(delivery);
    source.disarm(core);
    // The second `int` itself.
    core.timing.ticks_since_arming().saturating_sub(1)
}

/// Raises two, one right behind the other.
fn raise_two(delivery: Delivery) {
    match delivery {
        // SAFETY: the gates' handlers return. (`int 2` does not block NMIs, and
        // none is due.)
        Delivery::Nmi => unsafe { asm!("int 2", "int 2") },
        // SAFETY: likewise; the handler's end of interrupt finds nothing to end.
        Delivery::Irq => unsafe {
            asm!("int {v}", "int {v}", v = const vector::OVERFLOW);
        },
    }
}

/// The same, of two steps.
fn ticks_of_step(core: &Core) -> u64 {
    core.trial.set_rearm_count(MAX_COUNT);
    step::trap_twice();
    // The instruction between them.
    core.timing.ticks_since_arming().saturating_sub(1)
}

/// Lets the source overflow once, armed with `count` by the handler's own last
/// step. Returns the ticks of the time stamp counter from there to the entry.
fn try_once(
    source: &Source,
    count: u64,
    delivery: Delivery,
    core: &Core,
) -> Result<u64, SourceError> {
    source.quiet(core);
    let before = core.trial.overflows();
    core.trial.set_rearm_count(count);
    trial::raise(delivery);
    let has_arrived = || core.trial.overflows() > before + 1;
    if Deadline::after(ARRIVAL_TIMEOUT_TICKS).wait_for(has_arrived) {
        Ok(core.timing.ticks_since_arming())
    } else {
        Err(SourceError::NoArrival)
    }
}

#[cfg(test)]
mod tests {
    use super::{PHASES, mean_latency};

    #[test]
    fn an_overflow_is_late_by_the_mean_of_all_trials() {
        for (got, late) in [
            (500 * PHASES, 0),
            (497 * PHASES, 3),
            // Half of the trials got a count more.
            (497 * PHASES + PHASES / 2, 3),
            (497 * PHASES + PHASES / 2 + 1, 2),
            // No trial gets more than it was armed with.
            (501 * PHASES, 0),
        ] {
            assert_eq!(mean_latency(500, got), late, "{got}");
        }
    }
}
