//! An interrupt's handler: its first step stops the counters and finds what has overflowed, its
//! last one lets them count on.

use core::sync::atomic::Ordering::Relaxed;

use super::{Cause, Interrupt, MAX_BARREN, MAX_RETRIES, Overflows, Place, PmuDriver, Stage};
use crate::hw::apic::PerformanceEntry;
use crate::pmu::ibs::Stopped;
use crate::pmu::plan::Plan;
use crate::pmu::registers::Registers;

/// What the counters say at an interrupt.
#[derive(Default)]
struct Found {
    /// Those that have overflowed, or have a sample of an op.
    wrapped: Overflows,
    /// That of the event that samples ops, in place of a sample.
    backstop: Overflows,
    /// The interrupted code has got on.
    has_moved: bool,
}

impl PmuDriver {
    /// First step of an interrupt's handler: stops the counters, finds the events that have
    /// overflowed and reloads the counters. Also called for an interrupt that may not be
    /// the PMU's.
    #[inline]
    pub fn on_interrupt<R: Registers>(&self, registers: &R, plan: &Plan) -> Interrupt {
        self.stop_and_collect(registers, plan, Some(Place::UNKNOWN))
    }

    /// The same, where there are checks: `place` is what the interrupt came at.
    #[inline]
    pub fn on_interrupt_at<R: Registers>(
        &self,
        registers: &R,
        plan: &Plan,
        place: Place,
    ) -> Interrupt {
        self.stop_and_collect(registers, plan, Some(place))
    }

    /// [`Self::on_interrupt`] for an interrupt that cannot be the PMU's, as its overflows
    /// are delivered another way: they stay due for the interrupt that delivers them.
    #[cold]
    #[inline(never)]
    pub fn on_foreign_nmi<R: Registers>(&self, registers: &R, plan: &Plan) -> Interrupt {
        self.stop_and_collect(registers, plan, None)
    }

    /// For an interrupt's handler that does something long before it calls one of these: the counters
    /// stand still from here on. What interrupts a function that is at work leaves them to it.
    #[cold]
    pub fn stand_still<R: Registers>(&self, registers: &R, plan: &Plan) {
        if self.running.load(Relaxed) && self.stage.load() != Stage::Busy {
            plan.stop(registers, self.others.load(Relaxed));
        }
    }

    #[inline(always)] // else the hot one of the two is as slow as both
    fn stop_and_collect<R: Registers>(
        &self,
        registers: &R,
        plan: &Plan,
        place: Option<Place>,
    ) -> Interrupt {
        let delivers = place.is_some();
        if self.set_busy() {
            if delivers {
                // The check's, perhaps: no other comes for it.
                self.lose_check();
            }
            return Interrupt::Busy;
        }
        if !self.running.load(Relaxed) {
            self.stage.store(Stage::Off);
            return self.found_off(delivers);
        }
        plan.stop(registers, self.others.load(Relaxed));
        let is_check = self.check.is_armed() && self.end_check(registers, plan, place);
        let ibs = self.stop_ibs(registers, plan);
        let Found {
            mut wrapped,
            backstop,
            has_moved,
        } = self.advance_all(registers, plan, ibs);
        if let Some((event, Stopped::Sample)) = ibs {
            let is_own = delivers && !is_check && wrapped.0 == 1 << event;
            // It may have come for another event's overflow, which a handler before has taken.
            let is_stale = plan.event_count() > 1 && self.stale_interrupts.load(Relaxed) != 0;
            let is_own = is_own && !(is_stale && self.ibs.doubts());
            self.judge_sample(plan, event, is_own);
        }
        let any_wrapped = wrapped.0 | backstop.0 != 0;
        let shift = self.backoff_shift(has_moved, any_wrapped);
        wrapped.0 |= self.deferred.load(Relaxed);
        self.deferred
            .store(if delivers { 0 } else { wrapped.0 }, Relaxed);
        let due = if delivers {
            wrapped
        } else {
            Overflows::default()
        };
        let stale = if is_check {
            Overflows(u16::MAX)
        } else {
            wrapped
        };
        let overflows = self.take_due(registers, plan, due, stale, shift);
        wrapped.0 |= backstop.0;
        let cause = if is_check {
            Cause::Check
        } else {
            self.cause(delivers, wrapped)
        };
        if let Some((_, Stopped::Tagged)) = ibs {
            // Its interrupt will find nothing.
            let stale = self.stale_interrupts.load(Relaxed);
            self.stale_interrupts.store(stale.max(1), Relaxed);
        }
        Interrupt::Stopped(overflows, cause)
    }

    /// An interrupt has come that overflows are delivered by or not, and nothing runs.
    #[cold]
    fn found_off(&self, delivers: bool) -> Interrupt {
        if delivers && self.ibs.takes_late() {
            Interrupt::OffLate
        } else {
            Interrupt::Off
        }
    }

    /// Judges the sample of an op, for the event at `index`; `is_own` as [`IbsState::judge`] has it.
    #[inline]
    fn judge_sample(&self, plan: &Plan, index: usize, is_own: bool) {
        let tolerance = plan.assignment(index).map_or(0, |it| it.tolerance);
        let position = self.position(index).saturating_add(tolerance);
        self.ibs.judge(is_own, position);
    }

    /// Reads all counters, which are stopped, as `ibs` is.
    #[inline(always)] // as its caller
    fn advance_all<R: Registers>(
        &self,
        registers: &R,
        plan: &Plan,
        ibs: Option<(usize, Stopped)>,
    ) -> Found {
        let mut found = Found::default();
        for (index, assignment) in plan.assignments() {
            let (own, has_wrapped) =
                self.advance(registers, index, assignment, assignment.overhead);
            found.has_moved |= own > self.events[index].progress.noise.load(Relaxed);
            let (set, is_in) = match ibs {
                Some((event, Stopped::Sample)) if event == index => (&mut found.wrapped, true),
                Some((event, _)) if event == index => (&mut found.backstop, has_wrapped),
                _ => (&mut found.wrapped, has_wrapped),
            };
            set.0 |= u16::from(is_in) << index;
        }
        found
    }

    /// Takes those of the `wrapped` events that are due, and returns them. Loads the counters of
    /// `stale` ones anew, and those whose next overflow has moved.
    #[inline(always)] // as its caller
    fn take_due<R: Registers>(
        &self,
        registers: &R,
        plan: &Plan,
        wrapped: Overflows,
        stale: Overflows,
        shift: u32,
    ) -> Overflows {
        let mut overflows = Overflows::default();
        self.has_missed.store(false, Relaxed);
        for (index, assignment) in plan.assignments() {
            let has = |set: Overflows| set.0 >> index & 1 != 0;
            let sampling = plan.sampling_of(index);
            let is_due = || match sampling {
                None => self.has_come(index, assignment),
                Some(_) => self.ibs.is_due(),
            };
            if let Some(period) = assignment.period.filter(|_| has(wrapped))
                && is_due()
            {
                self.note_overflow(index, assignment, period);
                overflows.0 |= 1 << index;
            }
            // The count of what samples ops has begun anew.
            if has(stale) || assignment.overhead != 0 || sampling.is_some() {
                self.compute_reload(plan, index, assignment, shift);
                self.load(registers, index, assignment);
            }
        }
        overflows
    }

    /// What an interrupt came for, that overflows are delivered by or not, and that has found
    /// these counters `wrapped`.
    #[inline]
    pub(super) fn cause(&self, delivers: bool, wrapped: Overflows) -> Cause {
        let stale = self.stale_interrupts.load(Relaxed);
        let cause = match (delivers, !wrapped.is_empty(), stale) {
            (true, true, _) => Cause::Counter,
            (true, false, 1..) => Cause::Late,
            (true, false, 0) | (false, ..) => Cause::Other,
        };
        // Each wrapped counter interrupts, and this is one of those interrupts. The others
        // will find nothing. They may merge, so this is no sum.
        let stale = stale.saturating_sub(delivers.into());
        let stale = stale.max(wrapped.0.count_ones());
        self.stale_interrupts.store(stale, Relaxed);
        cause
    }

    /// The address of the op for which the event at `index` has overflowed, if it is one
    /// that samples ops and the processor has it.
    #[must_use]
    #[inline]
    pub fn exact_address(&self, plan: &Plan, index: usize) -> Option<u64> {
        let _ = plan.sampling_of(index)?;
        self.ibs.address()
    }

    /// Last step of the handler, and of the start: restarts the counters. `lvtpc` becomes
    /// their entry of the local vector table.
    #[inline]
    pub fn resume<R: Registers>(&self, registers: &R, plan: &Plan, lvtpc: PerformanceEntry) {
        if let Some(stage) = self.unmask(registers, plan, lvtpc) {
            self.start_unmasked(registers, plan, stage);
        }
    }

    /// All of that but to start the counters, which the caller does then, at the stage that is
    /// returned; `None`: it does not, as the handler has stopped them for good.
    #[inline]
    pub fn unmask<R: Registers>(
        &self,
        registers: &R,
        plan: &Plan,
        lvtpc: PerformanceEntry,
    ) -> Option<Stage> {
        if !self.running.load(Relaxed) {
            return None;
        }
        // Unmasking the entry while the status shows an overflow interrupts for it again
        // (Haswell and later).
        self.ack_overflows(registers, plan);
        self.entry.store(lvtpc.bits(), Relaxed);
        // Hardware masks the entry when it delivers, some hypervisors do not.
        registers.write_lvtpc(lvtpc);
        // An overflow that showed since found the entry masked: it would stay in the status
        // and keep all others from interrupting.
        self.ack_overflows(registers, plan);
        Some(if self.is_settled() {
            Stage::Settled
        } else {
            Stage::Running
        })
    }

    /// Acknowledges the overflows of our counters, which are stopped, until the status shows
    /// none, and of those that are nobody's. Of somebody else's they are left to him, unless they
    /// bring on one interrupt after the other, so that no code runs any more.
    #[inline]
    pub(super) fn ack_overflows<R: Registers>(&self, registers: &R, plan: &Plan) {
        let Some(global) = &plan.global else {
            return;
        };
        let counters = if self.barren.load(Relaxed) > MAX_BARREN {
            plan.present()
        } else {
            plan.acknowledged()
        };
        for _ in 0..MAX_RETRIES {
            if !global.acknowledge(registers, counters) {
                break;
            }
        }
    }

    /// Starts the counters, which may interrupt. They may do so even within.
    #[inline]
    pub fn start_unmasked<R: Registers>(&self, registers: &R, plan: &Plan, stage: Stage) {
        let entry = PerformanceEntry::as_left(self.entry.load(Relaxed));
        self.stage.store(stage);
        self.start_ibs(registers, plan, entry);
        plan.enable(registers, self.others.load(Relaxed));
        if !self.running.load(Relaxed) {
            self.stop_again(registers, plan);
        }
    }

    /// A nested handler has stopped the counters for good before the last step of this one has
    /// started them.
    #[cold]
    #[inline(never)]
    pub fn stop_again<R: Registers>(&self, registers: &R, plan: &Plan) {
        self.stage.store(Stage::Busy);
        plan.stop(registers, self.others.load(Relaxed));
        self.stop_ibs(registers, plan);
        self.restore(registers, plan);
        self.stage.store(Stage::Off);
    }

    /// Stops the sampling of ops, if `plan` has that. Returns the place of its event, and
    /// what there was.
    #[inline]
    pub(super) fn stop_ibs<R: Registers>(
        &self,
        registers: &R,
        plan: &Plan,
    ) -> Option<(usize, Stopped)> {
        let sampling = plan.ibs.as_ref()?;
        Some((sampling.event, self.ibs.stop(registers, sampling)))
    }

    /// Starts it, before the counters, so that what follows them is the same with it and
    /// without.
    #[inline]
    fn start_ibs<R: Registers>(&self, registers: &R, plan: &Plan, entry: PerformanceEntry) {
        let Some(sampling) = &plan.ibs else {
            return;
        };
        let assignment = plan.assignment(sampling.event);
        if assignment.is_some_and(|it| it.period.is_some()) {
            self.ibs.start(registers, sampling, entry);
        }
    }
}
