//! Where events stand: what their counters have counted, where overflows are due, and what
//! counters are loaded with.

use core::sync::atomic::Ordering::Relaxed;

use super::{Overflow, PmuDriver};
use crate::pmu::ibs::Sampling;
use crate::pmu::plan::{Assignment, Plan};
use crate::pmu::registers::{Msr, Registers};

/// The number of handlers in a row that may find a wrapped counter and no progress by
/// coincidence.
const MAX_STALLS: u32 = 2;
/// The largest shift of the backoff.
const MAX_BACKOFF_SHIFT: u32 = 6;

impl PmuDriver {
    /// The overflow of an event that [`Self::on_interrupt`] has found.
    #[must_use]
    #[inline]
    pub fn overflow(&self, event: usize) -> Overflow {
        let progress = &self.events[event].progress;
        Overflow {
            ran: progress.ran.load(Relaxed),
            missed: progress.missed.load(Relaxed),
        }
    }

    /// What the interrupted code has run between the last two overflows of an event.
    #[must_use]
    #[inline]
    pub fn ran(&self, event: usize) -> u64 {
        self.events[event].progress.ran.load(Relaxed)
    }

    /// Events of the interrupted code up to the current or the last interrupt.
    #[must_use]
    #[inline]
    pub fn position(&self, event: usize) -> u64 {
        self.events[event].progress.position.load(Relaxed)
    }

    /// Events of the interrupted code since the start; while the counters run, as of some
    /// instruction of this function. For tests.
    #[cfg(test)]
    pub fn count<R: Registers>(&self, registers: &R, plan: &Plan, event: usize) -> u64 {
        let progress = &self.events[event].progress;
        let Some(assignment) = plan.assignment(event) else {
            return 0;
        };
        if !self.running.load(Relaxed) {
            return progress.position.load(Relaxed);
        }
        // A handler in between changes all three values.
        let mut position = 0;
        for _ in 0..super::MAX_RETRIES {
            let (before, raw) = (progress.position.load(Relaxed), progress.raw.load(Relaxed));
            core::sync::atomic::compiler_fence(core::sync::atomic::Ordering::SeqCst);
            let now = registers.read(assignment.registers.read);
            core::sync::atomic::compiler_fence(core::sync::atomic::Ordering::SeqCst);
            position = before + (now.wrapping_sub(raw) & assignment.registers.mask);
            if progress.raw.load(Relaxed) == raw && progress.position.load(Relaxed) == before {
                break;
            }
        }
        position
    }

    /// Returns the shift of the backoff by which counters are loaded with more than the
    /// distance to their overflow; 0 for none.
    ///
    /// | the code moved | a counter wrapped | stalls in a row | backoff |
    /// |---|---|---|---|
    /// | yes | | back to 0 | none |
    /// | no | yes | one more | doubles each time |
    /// | no | no | as before | from [`MAX_STALLS`] + 1 on |
    ///
    /// Without progress, counters wrapped on the way to the handler and would again: each
    /// brings the next interrupt.
    #[inline]
    pub(super) fn backoff_shift(&self, has_moved: bool, any_wrapped: bool) -> u32 {
        let stalls = if has_moved {
            0
        } else {
            self.stalls.load(Relaxed) + u32::from(any_wrapped)
        };
        self.stalls.store(stalls, Relaxed);
        let barren = if has_moved || any_wrapped {
            0
        } else {
            self.barren.load(Relaxed).saturating_add(1)
        };
        self.barren.store(barren, Relaxed);
        if any_wrapped || stalls > MAX_STALLS {
            stalls
        } else {
            0
        }
    }

    /// Adds what the counter of an event has counted, less `overhead`, to its position.
    /// Returns the events added, and whether the counter wrapped.
    #[inline]
    pub(super) fn advance<R: Registers>(
        &self,
        registers: &R,
        index: usize,
        assignment: &Assignment,
        overhead: u64,
    ) -> (u64, bool) {
        let progress = &self.events[index].progress;
        let raw = registers.read(assignment.registers.read);
        let counted = raw.wrapping_sub(progress.raw.load(Relaxed)) & assignment.registers.mask;
        progress.raw.store(raw, Relaxed);
        progress.missed.store(0, Relaxed);
        let position = progress.position.load(Relaxed);
        let own = counted.saturating_sub(overhead);
        progress.position.store(position + own, Relaxed);
        (own, assignment.registers.has_wrapped(raw))
    }

    /// Returns true if a wrapped counter has reached its overflow.
    #[inline]
    pub(super) fn has_come(&self, index: usize, assignment: &Assignment) -> bool {
        let progress = &self.events[index].progress;
        let position = progress.position.load(Relaxed);
        position.saturating_add(assignment.tolerance) >= progress.target(assignment)
    }

    /// Notes the overflow of an event, and sets the position of the next.
    #[inline]
    pub(super) fn note_overflow(&self, index: usize, assignment: &Assignment, period: u64) {
        let progress = &self.events[index].progress;
        let position = progress.position.load(Relaxed);
        let last = progress.last.swap(position, Relaxed);
        progress.ran.store(position - last, Relaxed);

        // The first position that the code has not reached.
        let mut due = progress.due.load(Relaxed) + period;
        let missed = match position.checked_sub(due) {
            None => 0,
            Some(behind) => behind / period + 1,
        };
        due += missed * period;
        progress.missed.store(missed, Relaxed);
        if missed != 0 {
            self.has_missed.store(true, Relaxed);
        }
        progress.due.store(due, Relaxed);
        progress
            .target
            .store(self.jittered(due, assignment.jitter), Relaxed);
    }

    /// Computes the reload value for the next target: at most what the counter can count,
    /// and more by the backoff if the interrupted code does not move.
    #[inline]
    pub(super) fn compute_reload(
        &self,
        plan: &Plan,
        index: usize,
        assignment: &Assignment,
        shift: u32,
    ) {
        let progress = &self.events[index].progress;
        let position = progress.position.load(Relaxed);
        let most = assignment.registers.max_count;
        let events = match assignment.period {
            None => most,
            Some(period) => {
                let left = progress.target(assignment).saturating_sub(position);
                let more = match shift {
                    0 => 0,
                    // At first as much as keeps it from wrapping on the way to the next
                    // handler.
                    doublings => (assignment.overhead + 1) << doublings.min(MAX_BACKOFF_SHIFT) >> 1,
                };
                let latency = assignment.arm_latency;
                let events = match plan.sampling_of(index) {
                    None => (left.max(1) + more).saturating_add_signed(latency).max(1),
                    Some(sampling) => {
                        let after = self.tag_after(left, sampling, assignment) + more;
                        let events = after.saturating_add_signed(latency).max(1);
                        let expected = (position + events).saturating_add_signed(-latency);
                        self.ibs.set_distance(sampling, events, expected);
                        self.ibs.distance() + Sampling::backstop(period)
                    }
                };
                events.max(assignment.min_count).min(most)
            }
        };
        progress.reload.store(events, Relaxed);
    }

    /// After how many events an op is tagged of which a sample is due after `left`: somewhat
    /// later, at random, and not on the way out of the handler, which is less than an overhead.
    #[inline]
    fn tag_after(&self, left: u64, sampling: &Sampling, assignment: &Assignment) -> u64 {
        let later = match sampling.spread {
            0 => 0,
            spread => self.random() % (spread + 1),
        };
        let way_out = assignment.overhead + assignment.noise;
        left.max(1 + way_out) + later
    }

    /// Reloads the counter of an event, which is stopped.
    #[inline]
    pub(super) fn load<R: Registers>(&self, registers: &R, index: usize, assignment: &Assignment) {
        let (register, value) = self.reload(index, assignment);
        registers.write(register, value);
    }

    /// The register and the value that reload the counter, which the caller must write.
    #[inline]
    pub(super) fn reload(&self, index: usize, assignment: &Assignment) -> (Msr, u64) {
        let progress = &self.events[index].progress;
        let events = progress.reload.load(Relaxed);
        let raw = events.wrapping_neg() & assignment.registers.mask;
        progress.raw.store(raw, Relaxed);
        assignment.registers.load(events)
    }

    /// The position `due`, moved at random by up to `jitter`.
    #[inline]
    pub(super) fn jittered(&self, due: u64, jitter: u64) -> u64 {
        if jitter == 0 {
            return due;
        }
        due - jitter + self.random() % (2 * jitter + 1)
    }

    /// A random number.
    #[inline]
    fn random(&self) -> u64 {
        // xorshift64 (Marsaglia, "Xorshift RNGs"): never 0 if it did not start there.
        let mut random = self.random.load(Relaxed);
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        self.random.store(random, Relaxed);
        random
    }
}
