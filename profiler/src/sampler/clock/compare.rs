//! The time stamp counter compared with a counter of known rate.
//!
//! Either is read at once, but between the readings anything may come: firmware takes the
//! processor away for a while (SMM), a hypervisor runs another guest. So at both ends the two
//! are read several times, the counter between two readings of the time stamp counter, and the
//! tightest such pair is taken.

use core::fmt;

use super::MOST_TICKS_PER_NANOSECOND;

/// How long to compare.
const NANOSECONDS: u64 = 20_000_000;
/// More ticks of the time stamp counter than that takes.
const TIMEOUT_TICKS: u64 = NANOSECONDS * MOST_TICKS_PER_NANOSECOND;
/// More readings: one takes 100 ns or more. It ends a comparison of two that stand still.
const MOST_READS: u32 = 2_000_000;
/// A counter that has not moved for so many ticks of the time stamp counter, and so many
/// readings, stands still.
const STILL_TICKS: u64 = 100_000 * MOST_TICKS_PER_NANOSECOND;
const STILL_READS: u32 = 1000;
/// Pairs of readings at each end.
const PAIRS: u32 = 8;
const FEMTOSECONDS_PER_NANOSECOND: u64 = 1_000_000;
/// No time stamp counter takes longer for a tick.
const MOST_NANOSECONDS_PER_TICK: u64 = 1000;

/// What the time stamp counter is compared with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counter {
    /// The bits that count; those above mean nothing.
    pub bits: u32,
    /// The time of a count.
    pub femtoseconds: u64,
}

impl Counter {
    /// The counts from `first` to `last`, whether it has gone round meanwhile or not.
    const fn between(self, first: u64, last: u64) -> u64 {
        last.wrapping_sub(first) & self.mask()
    }

    const fn mask(self) -> u64 {
        u64::MAX >> (64 - self.bits)
    }

    const fn nanoseconds(self, counts: u64) -> u64 {
        counts.saturating_mul(self.femtoseconds) / FEMTOSECONDS_PER_NANOSECOND
    }
}

/// The time stamp counter and a counter, side by side.
pub(super) trait Clocks {
    /// Reads the time stamp counter, in program order.
    fn tsc(&self) -> u64;

    /// Reads the counter.
    fn count(&self) -> u64;

    /// What it is.
    fn counter(&self) -> Counter;
}

/// A time, and how far the time stamp counter advanced in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Comparison {
    pub nanoseconds: u64,
    pub ticks: u64,
    /// To within so many ticks.
    pub width: u64,
}

impl Comparison {
    /// To within how much of a million the rate is known, rounded up.
    pub(super) fn parts_per_million(self) -> u32 {
        let parts = u128::from(self.width) * 1_000_000;
        let parts = parts.div_ceil(u128::from(self.ticks.max(1)));
        u32::try_from(parts).unwrap_or(u32::MAX)
    }
}

/// Why nothing can be measured by a counter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Problem {
    /// The kernel does not say where one is, or there is none.
    Absent,
    StandsStill,
    GoesBackwards,
    /// It did not count long enough in time, or no time stamp counter has such a rate.
    Implausible,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Absent => "is not known",
            Self::StandsStill => "stands still",
            Self::GoesBackwards => "goes backwards",
            Self::Implausible => "makes no sense",
        })
    }
}

/// A reading of the counter between two of the time stamp counter.
#[derive(Clone, Copy)]
struct Pair {
    /// Halfway.
    tsc: u64,
    /// From the one to the other.
    width: u64,
    count: u64,
}

impl Pair {
    fn read(clocks: &impl Clocks) -> Self {
        let before = clocks.tsc();
        let count = clocks.count();
        let width = clocks.tsc().wrapping_sub(before);
        Self {
            tsc: before.wrapping_add(width / 2),
            width,
            count,
        }
    }

    /// The tightest of several.
    fn tightest(clocks: &impl Clocks) -> Self {
        let mut tightest = Self::read(clocks);
        for _ in 1..PAIRS {
            let pair = Self::read(clocks);
            if pair.width < tightest.width {
                tightest = pair;
            }
        }
        tightest
    }
}

/// Compares the two for 20 ms.
///
/// # Errors
///
/// The counter is none.
pub(super) fn compare(clocks: &impl Clocks) -> Result<Comparison, Problem> {
    let start = Pair::tightest(clocks);
    wait(clocks, start)?;
    let end = Pair::tightest(clocks);
    let counter = clocks.counter();
    let nanoseconds = counter.nanoseconds(counter.between(start.count, end.count));
    let ticks = end.tsc.wrapping_sub(start.tsc);
    let is_plausible = nanoseconds >= NANOSECONDS
        && ticks / MOST_TICKS_PER_NANOSECOND <= nanoseconds
        && nanoseconds / MOST_NANOSECONDS_PER_TICK <= ticks;
    if !is_plausible {
        return Err(Problem::Implausible);
    }
    // Each end is somewhere in its pair, and in its count.
    let ticks_per_count = u128::from(ticks) * u128::from(counter.femtoseconds)
        / u128::from(FEMTOSECONDS_PER_NANOSECOND)
        / u128::from(nanoseconds);
    let count = u64::try_from(ticks_per_count).unwrap_or(u64::MAX);
    Ok(Comparison {
        nanoseconds,
        ticks,
        width: ((start.width / 2).saturating_add(end.width / 2)).saturating_add(count),
    })
}

/// Waits until the counter is as far from `start` as a comparison takes.
fn wait(clocks: &impl Clocks, start: Pair) -> Result<(), Problem> {
    let counter = clocks.counter();
    let mut last = start.count;
    for read in 0..MOST_READS {
        let count = clocks.count();
        if counter.between(last, count) > counter.mask() / 2 {
            return Err(Problem::GoesBackwards);
        }
        last = count;
        let passed = counter.between(start.count, count);
        if counter.nanoseconds(passed) >= NANOSECONDS {
            return Ok(());
        }
        let ticks = clocks.tsc().wrapping_sub(start.tsc);
        if passed == 0 && read >= STILL_READS && ticks >= STILL_TICKS {
            return Err(Problem::StandsStill);
        }
        if ticks >= TIMEOUT_TICKS {
            break;
        }
        core::hint::spin_loop();
    }
    Err(if last == start.count {
        Problem::StandsStill
    } else {
        Problem::Implausible
    })
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// A time stamp counter of 3 GHz, and a counter of a rate that each reading takes.
    struct Machine<F> {
        nanoseconds: Cell<u64>,
        /// What a reading of the counter takes, by its number.
        cost: fn(u64) -> u64,
        reads: Cell<u64>,
        ticks_per_nanosecond: u64,
        counter: Counter,
        /// The counter at a time.
        count: F,
    }

    fn machine<F: Fn(u64) -> u64>(bits: u32, femtoseconds: u64, count: F) -> Machine<F> {
        Machine {
            nanoseconds: Cell::new(1_000_000),
            cost: |_| 500,
            reads: Cell::new(0),
            ticks_per_nanosecond: 3,
            counter: Counter { bits, femtoseconds },
            count,
        }
    }

    impl<F: Fn(u64) -> u64> Clocks for Machine<F> {
        fn tsc(&self) -> u64 {
            self.nanoseconds.set(self.nanoseconds.get() + 10);
            (self.nanoseconds.get() * self.ticks_per_nanosecond).wrapping_sub(u64::MAX / 2)
        }

        fn count(&self) -> u64 {
            let cost = (self.cost)(self.reads.get());
            self.reads.set(self.reads.get() + 1);
            let now = self.nanoseconds.get();
            self.nanoseconds.set(now + cost);
            (self.count)(now + cost / 2)
        }

        fn counter(&self) -> Counter {
            self.counter
        }
    }

    /// The rate that is found is 3 ticks a nanosecond, to within what is said.
    #[track_caller]
    fn is_right(found: Result<Comparison, Problem>, most_parts: u32) {
        let found = found.unwrap();
        let off = found.ticks.abs_diff(3 * found.nanoseconds);
        assert!(off <= found.width + 3, "{off}: {found:?}");
        assert!(found.parts_per_million() <= most_parts, "{found:?}");
    }

    #[test]
    fn a_rate_is_found_to_within_what_is_said() {
        // An HPET of 100 MHz and a PM timer.
        is_right(compare(&machine(64, 10_000_000, |now| now / 10)), 30);
        let pm = machine(24, 279_365_114, |now| now * 3_579_545 / 1_000_000_000);
        is_right(compare(&pm), 45);
    }

    #[test]
    fn a_counter_may_go_round() {
        for bits in [24, 32] {
            let high = 0xdead_0000_0000_0000;
            // Goes round in the middle; what is above its bits is anything.
            let start = (1 << bits) - 1_100_000;
            let counter = move |now: u64| (start + now / 10) & ((1 << bits) - 1) | high;
            is_right(compare(&machine(bits, 10_000_000, counter)), 30);
        }
    }

    /// Something takes a millisecond in most readings at both ends.
    #[test]
    fn the_tightest_pair_counts() {
        let mut machine = machine(64, 10_000_000, |now| now / 10);
        machine.cost = |read| if read % 8 == 5 { 500 } else { 1_000_000 };
        is_right(compare(&machine), 60);
    }

    #[test]
    fn counters_that_are_none_are_no_reference() {
        let ends = |count: fn(u64) -> u64| compare(&machine(64, 10_000_000, count));
        assert_eq!(ends(|_| u64::MAX), Err(Problem::StandsStill));
        assert_eq!(ends(|_| 0), Err(Problem::StandsStill));
        assert_eq!(ends(|now| !(now / 10)), Err(Problem::GoesBackwards));
        // Stops on the way; jumps; is much too slow.
        assert_eq!(
            ends(|now| now.min(5_000_000) / 10),
            Err(Problem::Implausible)
        );
        let jumps = |now| if now % 8192 < 4096 { now / 10 } else { 0 };
        assert_eq!(ends(jumps), Err(Problem::GoesBackwards));
        assert_eq!(ends(|now| now / 1000), Err(Problem::Implausible));
    }

    /// Nothing but the number of readings ends it.
    #[test]
    fn two_that_stand_still_end() {
        let mut machine = machine(64, 10_000_000, |_| 7);
        machine.ticks_per_nanosecond = 0;
        assert_eq!(compare(&machine), Err(Problem::StandsStill));
        assert!(machine.reads.get() <= u64::from(MOST_READS + 2 * PAIRS));
    }

    #[test]
    fn a_time_stamp_counter_that_stands_still_has_no_rate() {
        let mut machine = machine(64, 10_000_000, |now| now / 10);
        machine.ticks_per_nanosecond = 0;
        assert_eq!(compare(&machine), Err(Problem::Implausible));
    }
}
