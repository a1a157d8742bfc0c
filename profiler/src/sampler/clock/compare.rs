//! The time stamp counter compared with a counter of known rate.
//!
//! Either is read at once, but between the readings anything may come: firmware takes the
//! processor away for a while (SMM), a hypervisor runs another guest. So at both ends the two
//! are read several times, the counter between two readings of the time stamp counter, and the
//! tightest such pair is taken.

use core::fmt;

use crate::hw::hpet;

/// More than any time stamp counter makes.
pub(super) const MOST_TICKS_PER_NANOSECOND: u64 = 64;

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
pub(crate) trait Clocks {
    /// Reads the time stamp counter, in program order.
    fn tsc(&self) -> u64;

    /// Reads the counter.
    fn count(&self) -> u64;
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
        parts_per_million(self.width, self.ticks)
    }
}

/// How much of a million `part` is of `all`, rounded up.
pub(crate) fn parts_per_million(part: u64, all: u64) -> u32 {
    let parts = u128::from(part) * 1_000_000;
    let parts = parts.div_ceil(u128::from(all.max(1)));
    u32::try_from(parts).unwrap_or(u32::MAX)
}

/// Why nothing can be measured by a counter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Problem {
    /// The kernel does not say where one is, or there is none.
    Absent,
    /// What the kernel says is the HPET is none.
    NoHpet(hpet::Problem),
    StandsStill,
    GoesBackwards,
    /// It did not count long enough in time, or no time stamp counter has such a rate.
    Implausible,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoHpet(problem) => return problem.fmt(f),
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
    // Not inlined, so that both ends of a comparison are the same code: where instructions are
    // counted they are then equally far from what they read.
    #[inline(never)]
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

/// How far the time stamp counter and a counter advanced, side by side.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Span {
    pub counts: u64,
    pub ticks: u64,
    /// To within so many ticks.
    pub width: u64,
}

impl Span {
    /// While `pass` lets time go by; of a counter of 32 bits, which does not come round meanwhile.
    pub(crate) fn over(clocks: &impl Clocks, pass: impl FnOnce()) -> Self {
        let start = Pair::tightest(clocks);
        pass();
        Self::between(start, Pair::tightest(clocks), u64::from(u32::MAX))
    }

    /// Of a counter of the bits in `mask`.
    fn between(start: Pair, end: Pair, mask: u64) -> Self {
        let counts = end.count.wrapping_sub(start.count) & mask;
        let ticks = end.tsc.wrapping_sub(start.tsc);
        // Each end is somewhere in its pair, and both are in their counts.
        let ends = start
            .width
            .div_ceil(2)
            .saturating_add(end.width.div_ceil(2));
        let a_count = (ticks / counts.max(1)).saturating_add(1);
        Self {
            counts,
            ticks,
            width: ends.saturating_add(a_count),
        }
    }
}

/// Compares the two, of which the counter is `counter`, for 20 ms.
///
/// # Errors
///
/// The counter is none.
pub(super) fn compare(clocks: &impl Clocks, counter: Counter) -> Result<Comparison, Problem> {
    let start = Pair::tightest(clocks);
    wait(clocks, counter, start)?;
    let span = Span::between(start, Pair::tightest(clocks), counter.mask());
    let nanoseconds = counter.nanoseconds(span.counts);
    let ticks = span.ticks;
    let is_plausible = nanoseconds >= NANOSECONDS
        && ticks / MOST_TICKS_PER_NANOSECOND <= nanoseconds
        && nanoseconds / MOST_NANOSECONDS_PER_TICK <= ticks;
    if !is_plausible {
        return Err(Problem::Implausible);
    }
    // The nanoseconds are rounded down, by less than one.
    let a_nanosecond = ticks / nanoseconds + 1;
    Ok(Comparison {
        nanoseconds,
        ticks,
        width: span.width.saturating_add(a_nanosecond),
    })
}

/// Waits until the counter is as far from `start` as a comparison takes.
fn wait(clocks: &impl Clocks, counter: Counter, start: Pair) -> Result<(), Problem> {
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
        /// How much of that goes by before it is read, in hundredths.
        before: fn(u64) -> u64,
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
            before: |_| 50,
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
            let reads = self.reads.get();
            assert!(reads <= u64::from(MOST_READS + 2 * PAIRS), "read for ever");
            let cost = (self.cost)(reads);
            self.reads.set(reads + 1);
            let now = self.nanoseconds.get();
            self.nanoseconds.set(now + cost);
            (self.count)(now + cost * (self.before)(reads) / 100)
        }
    }

    impl<F: Fn(u64) -> u64> Machine<F> {
        fn compare(&self) -> Result<Comparison, Problem> {
            compare(self, self.counter)
        }
    }

    /// The rate that is found is 3 ticks a nanosecond, to within what is said.
    #[track_caller]
    fn is_right(found: Result<Comparison, Problem>, most_parts: u32) {
        let found = found.unwrap();
        let off = found.ticks.abs_diff(3 * found.nanoseconds);
        assert!(off <= found.width, "{off}: {found:?}");
        assert!(found.parts_per_million() <= most_parts, "{found:?}");
    }

    #[test]
    fn a_rate_is_found_to_within_what_is_said() {
        // An HPET of 100 MHz and a PM timer.
        is_right(machine(64, 10_000_000, |now| now / 10).compare(), 30);
        let pm = machine(24, 279_365_114, |now| now * 3_579_545 / 1_000_000_000);
        is_right(pm.compare(), 45);
        // As far apart as can be: first thing at the start, last thing at the end.
        let mut wide = machine(64, 10_000_000, |now| now / 10);
        wide.before = |read| if read < u64::from(PAIRS) { 0 } else { 100 };
        is_right(wide.compare(), 30);
    }

    #[test]
    fn a_counter_may_go_round() {
        for bits in [24, 32] {
            let high = 0xdead_0000_0000_0000;
            // Goes round in the middle; what is above its bits is anything.
            let start = (1 << bits) - 1_100_000;
            let counter = move |now: u64| (start + now / 10) & ((1 << bits) - 1) | high;
            is_right(machine(bits, 10_000_000, counter).compare(), 30);
        }
    }

    /// A timer of 25 MHz beside it, whose readings are held up at both ends, all but one.
    #[test]
    fn how_far_two_advance_is_known_to_within_what_is_said() {
        let mut machine = machine(32, 40_000_000, |now| now / 40);
        machine.cost = |read| if read % 8 == 5 { 500 } else { 1_000_000 };
        machine.before = |read| if read < u64::from(PAIRS) { 0 } else { 100 };
        let pass = |machine: &Machine<_>| {
            let now = machine.nanoseconds.get();
            machine.nanoseconds.set(now + 10_000_000);
        };
        let span = Span::over(&machine, || pass(&machine));
        // 3 GHz are 120 ticks a count.
        let off = span.ticks.abs_diff(120 * span.counts);
        assert!(off <= span.width, "{off}: {span:?}");
        assert!(span.counts >= 250_000, "{span:?}");
        // 510 ns at each end, and a count.
        assert!(span.width <= 2 * 765 + 121 + 1, "{span:?}");
        assert_eq!(parts_per_million(0, 1000), 0);
        assert_eq!(parts_per_million(1, 1_000_000), 1);
        assert_eq!(parts_per_million(1, 999_999), 2);
    }

    /// Something takes a millisecond in most readings at both ends.
    #[test]
    fn the_tightest_pair_counts() {
        let mut machine = machine(64, 10_000_000, |now| now / 10);
        machine.cost = |read| if read % 8 == 5 { 500 } else { 1_000_000 };
        is_right(machine.compare(), 60);
    }

    #[test]
    fn counters_that_are_none_are_no_reference() {
        let ends = |count: fn(u64) -> u64| machine(64, 10_000_000, count).compare();
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
        assert_eq!(machine.compare(), Err(Problem::StandsStill));
    }

    #[test]
    fn a_time_stamp_counter_that_stands_still_has_no_rate() {
        let mut machine = machine(64, 10_000_000, |now| now / 10);
        machine.ticks_per_nanosecond = 0;
        assert_eq!(machine.compare(), Err(Problem::Implausible));
    }
}
