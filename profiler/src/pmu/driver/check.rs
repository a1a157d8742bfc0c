//! Overheads, measured again while a run lasts.
//!
//! What an overhead is was measured before the run, and it may be another one meanwhile:
//! another thread of the same physical core has the caches, or the processor runs slower. So
//! a handler may send the core one more interrupt, which comes as it returns:
//! [`PmuDriver::begin_check`]. What is counted from one handler to the other is an overhead
//! and nothing of any other code. It is no event of the interrupted code, and no sample.
//!
//! | the next interrupt | the check |
//! |---|---|
//! | interrupts the same place, and no counter counted more than one overhead can be | is done: [`Cause::Check`] |
//! | interrupts another place: it came late, or something else before it | is lost |
//! | finds a counter that counted more, or wrapped: something else was handled on the way | is lost |
//! | is of another delivery, or comes while the driver works | is lost |
//! | has a higher vector than ours, and was pending before | is lost: the caller looks |
//! | finds the counters stopped | was forgotten by the stop |
//!
//! One overhead can be what was measured and [`CHECK_ROOM`] times that: by so much the
//! counters are loaded with more, as none is to overflow on the way. If the interrupt does
//! not come at all, the next overflow is late by that much, which its period says. A lost
//! check's own interrupt, whenever it comes, is a late one.
//!
//! An NMI comes right behind the handler that asks for it: no other has a higher priority. A
//! maskable one may find that others were requested meanwhile, which are handled before it, at
//! the same place: the caller looks for them, and gives the check up ([`PmuDriver::lose_check`]).
//!
//! The checks say as well what is no progress: a count that is no more above the overhead
//! than theirs were, in the mean, does not show that the interrupted code has moved. So code
//! gets on even if interrupts have become dearer than anything that was measured.

use core::sync::atomic::Ordering::Relaxed;

use super::PmuDriver;
use super::state::Place;
use crate::pmu::plan::{Assignment, Plan};
use crate::pmu::registers::Registers;

/// By how many overheads overflows are put off in a check: an overhead that is longer by
/// more than that is one of something else.
const CHECK_ROOM: u64 = 4;

/// By how many events overflows are put off.
const fn room(assignment: &Assignment) -> u64 {
    CHECK_ROOM * (assignment.overhead + assignment.noise)
}

impl PmuDriver {
    /// Between [`Self::on_interrupt`], which came at `place`, and [`Self::resume`]: the caller
    /// sends the core an interrupt, which comes as the handler returns. Returns false if it is
    /// not to: an overflow is due that is delivered another way, or nothing is counted.
    #[cold]
    #[inline(never)]
    pub fn begin_check<R: Registers>(&self, registers: &R, plan: &Plan, place: Place) -> bool {
        if self.deferred.load(Relaxed) != 0 || !self.is_running() {
            return false;
        }
        for (index, assignment) in plan.assignments() {
            if assignment.overhead == 0 {
                // It has counted on from its last reload. (The others were reloaded just now.)
                self.compute_reload(plan, index, assignment, 0);
            }
            let reload = &self.events[index].progress.reload;
            let events = reload.load(Relaxed).saturating_add(room(assignment));
            reload.store(events.min(assignment.registers.max_count), Relaxed);
            if let Some(sampling) = plan.sampling_of(index) {
                self.ibs.put_off(sampling, room(assignment));
            }
            self.load(registers, index, assignment);
        }
        self.check.pc.store(place.pc, Relaxed);
        self.check.sp.store(place.sp, Relaxed);
        self.check.is_armed.store(true, Relaxed);
        true
    }

    /// What the last check has counted of an event: an overhead.
    #[must_use]
    pub fn checked(&self, event: usize) -> u64 {
        self.check.counted[event].load(Relaxed)
    }

    /// An interrupt that may be the armed check's has come, at `place` if it is of the
    /// overflows' delivery: the counters are stopped. Returns true if the check is done: what
    /// was counted is then none of the interrupted code's.
    #[cold]
    #[inline(never)]
    pub(super) fn end_check<R: Registers>(
        &self,
        registers: &R,
        plan: &Plan,
        place: Option<Place>,
    ) -> bool {
        let expected = Place {
            pc: self.check.pc.load(Relaxed),
            sp: self.check.sp.load(Relaxed),
        };
        let counts = |(index, assignment): (usize, &Assignment)| {
            let progress = &self.events[index].progress;
            let raw = registers.read(assignment.registers.read);
            let counted = raw.wrapping_sub(progress.raw.load(Relaxed)) & assignment.registers.mask;
            let most = assignment.overhead + room(assignment);
            let is_one = counted <= most && !assignment.registers.has_wrapped(raw);
            (index, raw, counted, is_one)
        };
        let are_overheads = plan.assignments().all(|it| counts(it).3);
        if place != Some(expected) || !are_overheads {
            self.lose_check();
            return false;
        }
        self.check.is_armed.store(false, Relaxed);
        let done = self.check.done.load(Relaxed) + 1;
        self.check.done.store(done, Relaxed);
        for (index, raw, counted, _) in plan.assignments().map(counts) {
            let progress = &self.events[index].progress;
            progress.raw.store(raw, Relaxed);
            self.check.counted[index].store(counted, Relaxed);
            let all = progress.checked.load(Relaxed) + counted;
            progress.checked.store(all, Relaxed);
            if let Some(assignment) = plan.assignment(index) {
                let excess = (all / done).saturating_sub(assignment.overhead);
                let noise = assignment.noise + excess;
                progress.noise.store(noise, Relaxed);
                self.set_noise(index, noise);
            }
        }
        true
    }

    /// Gives the check up, if there is one. Its interrupt may still come, or be this one.
    #[cold]
    #[inline(never)]
    pub fn lose_check(&self) {
        if self.check.is_armed.swap(false, Relaxed) {
            let stale = self.stale_interrupts.load(Relaxed).max(1);
            self.stale_interrupts.store(stale, Relaxed);
        }
    }
}
