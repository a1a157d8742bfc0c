//! How far the time stamp counters of cores are apart.
//!
//! They are reset together, and run together; but firmware may write one, and packages that
//! were not powered up together have their own. A core's counter is compared with the first
//! one's by a few words of memory: the first core asks, the other answers with its counter,
//! which was somewhere between the asking and the answer's arrival. The tightest of many such
//! rounds is taken.

use core::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

use crate::hw::tsc::Deadline;

/// So often a core is asked,
const ROUNDS: u64 = 64;
/// and for no longer than this: an emulator may let another core run.
const TIMEOUT_TICKS: u64 = 200_000_000;
/// What is asked at the end.
const OVER: u64 = u64::MAX;

/// How far a core's counter is behind the first one's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Offset {
    /// To be added to the core's counter, which may go round zero.
    pub ticks: u64,
    /// To within so many.
    pub within: u64,
}

impl Offset {
    /// By how much the two differ, either way.
    const fn distance(self) -> u64 {
        self.ticks.cast_signed().unsigned_abs()
    }

    /// Returns true if it is more than what the comparison could have made.
    pub(crate) const fn is_known(self) -> bool {
        self.distance() > self.within
    }
}

/// What a core and the first one compare their counters by, and what came of it. All zeros:
/// nothing yet.
#[derive(Default)]
pub(crate) struct ClockExchange {
    /// The round that the first core asks for.
    asked: AtomicU64,
    /// The last one that the core has answered, and with what.
    answered: AtomicU64,
    answer: AtomicU64,
    /// To be added to the core's counter.
    offset: AtomicU64,
}

impl ClockExchange {
    /// The core's counter where it reads `tsc`, as the first core's would.
    #[inline]
    pub(crate) fn as_first(&self, tsc: u64) -> u64 {
        tsc.wrapping_add(self.offset.load(Relaxed))
    }

    /// From now on the core's counter is taken for so far behind.
    pub(crate) fn correct(&self, offset: Offset) {
        self.offset.store(offset.ticks, Relaxed);
    }

    /// Before the core is asked to [`Self::answer`].
    pub(crate) fn reset(&self) {
        self.asked.store(0, Relaxed);
        self.answered.store(0, Relaxed);
    }

    /// Asks the core, from the first one, whose counter `tsc` reads; `None` if there is no
    /// answer in time.
    pub(crate) fn ask(&self, tsc: impl Fn() -> u64) -> Option<Offset> {
        let deadline = Deadline::after(TIMEOUT_TICKS);
        let mut tightest: Option<Offset> = None;
        for round in 1..=ROUNDS {
            let before = tsc();
            self.asked.store(round, Release);
            if !wait_for(&deadline, || self.answered.load(Acquire) == round) {
                break;
            }
            let answer = self.answer.load(Relaxed);
            let width = tsc().wrapping_sub(before);
            let offset = Offset {
                ticks: before.wrapping_add(width / 2).wrapping_sub(answer),
                within: width.div_ceil(2),
            };
            if tightest.is_none_or(|it| offset.within < it.within) {
                tightest = Some(offset);
            }
        }
        self.asked.store(OVER, Release);
        tightest
    }

    /// Answers the first core, from the core whose counter `tsc` reads.
    pub(crate) fn answer(&self, tsc: impl Fn() -> u64) {
        let deadline = Deadline::after(TIMEOUT_TICKS);
        for round in 1..=ROUNDS {
            let is_asked = || self.asked.load(Acquire) >= round;
            if !wait_for(&deadline, is_asked) || self.asked.load(Acquire) == OVER {
                return;
            }
            self.answer.store(tsc(), Relaxed);
            self.answered.store(round, Release);
        }
    }
}

/// Waits without a pause: the shorter the way, the tighter the answer.
fn wait_for(deadline: &Deadline, condition: impl Fn() -> bool) -> bool {
    /// Looks at the clock once in so many.
    const LOOKS: u32 = 64;
    loop {
        if (0..LOOKS).any(|_| condition()) {
            return true;
        }
        if deadline.is_over() {
            return false;
        }
    }
}

/// What came of all cores.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Differences {
    /// The largest that is corrected, in ticks of the time stamp counter; 0: none is.
    pub largest: u64,
    /// By how much any of them may still be off: what a corrected one is known to within, and
    /// what may be the difference of one that is not.
    pub within: u64,
    /// Cores that did not answer.
    pub unknown: u32,
}

impl Differences {
    /// Of cores that were not compared.
    pub(crate) const NONE: Self = Self {
        largest: 0,
        within: 0,
        unknown: 0,
    };

    /// Adds what came of a core. Returns how its counter is to be corrected, if at all.
    pub(crate) fn add(&mut self, found: Option<Offset>) -> Option<Offset> {
        let Some(offset) = found else {
            self.unknown += 1;
            return None;
        };
        if !offset.is_known() {
            let at_most = offset.distance().saturating_add(offset.within);
            self.within = self.within.max(at_most);
            return None;
        }
        self.largest = self.largest.max(offset.distance());
        self.within = self.within.max(offset.within);
        Some(offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hw::tsc::ordered_ticks;

    /// Compares a core whose counter is so far behind.
    fn compare(behind: u64) -> Option<Offset> {
        let exchange = ClockExchange::default();
        exchange.reset();
        std::thread::scope(|scope| {
            scope.spawn(|| exchange.answer(|| ordered_ticks().wrapping_sub(behind)));
            exchange.ask(ordered_ticks)
        })
    }

    #[test]
    fn an_offset_is_found_to_within_what_is_said() {
        for behind in [0, 1 << 40, 0_u64.wrapping_sub(1 << 40)] {
            let found = compare(behind).expect("an answer");
            let off = found
                .ticks
                .wrapping_sub(behind)
                .cast_signed()
                .unsigned_abs();
            assert!(off <= found.within, "{behind}: {found:?}");
            assert_eq!(found.is_known(), behind != 0, "{found:?}");
        }
    }

    #[test]
    fn a_core_that_does_not_answer_is_given_up() {
        assert_eq!(ClockExchange::default().ask(ordered_ticks), None);
        // Nor does one wait for ever that is not asked.
        ClockExchange::default().answer(ordered_ticks);
    }

    #[test]
    fn only_what_is_known_is_corrected() {
        let mut differences = Differences::NONE;
        let offset = |ticks, within| Some(Offset { ticks, within });
        assert_eq!(differences.add(offset(50, 50)), None);
        assert_eq!(differences.add(offset(0_u64.wrapping_sub(50), 60)), None);
        // They agree to within this.
        let uncorrected = Differences {
            within: 110,
            ..Differences::NONE
        };
        assert_eq!(differences, uncorrected);
        assert_eq!(differences.add(offset(1000, 50)), offset(1000, 50));
        let ahead = offset(0_u64.wrapping_sub(3000), 40);
        assert_eq!(differences.add(ahead), ahead);
        assert_eq!(differences.add(None), None);
        let all = Differences {
            largest: 3000,
            within: 110,
            unknown: 1,
        };
        assert_eq!(differences, all);
    }

    #[test]
    fn a_corrected_counter_reads_as_the_first() {
        let exchange = ClockExchange::default();
        assert_eq!(exchange.as_first(1000), 1000);
        exchange.correct(Offset {
            ticks: 0_u64.wrapping_sub(10),
            within: 1,
        });
        assert_eq!(exchange.as_first(1000), 990);
    }
}
