//! A core's PMU at work: started, interrupted, stopped.
//!
//! # What a period counts
//!
//! A period is N events *of the interrupted code*. The counters are stopped while the
//! handler works, and what they count on the way into it and out of it, the *overhead*, is
//! subtracted. So each event has a position: how often it happened in the interrupted code
//! since the start.
//!
//! Overflows are due at fixed positions: the period, twice the period, and so on. A counter
//! is loaded with the distance to the next of them. However late an interrupt comes, and
//! however far the counter is past zero by then, the mean distance is the period, to the
//! event.
//!
//! Every handler reloads all counters, whatever it came for, so that none counts the
//! handler's way. A counter that wraps before its overflow is due makes no sample. If the
//! interrupted code has not moved at all, the reload values back off. So every sample is the
//! interrupted code's, and that code progresses, whatever an interrupt costs and however
//! short the period.
//!
//! # What is trusted
//!
//! A counter wrapped if it counted at least its reload value. Overflow status bits are only
//! acknowledged, as the next interrupt depends on that: one may show late, be left over, or
//! be of a counter that is not ours.
//!
//! # Why progress is not judged by instructions
//!
//! An instruction is one whatever it costs, so a count of them would show without a doubt that
//! code moves; it would not show that it does not: a repeated string instruction works for
//! thousands of cycles, goes on where it was interrupted, and retires once. And it would take
//! two more accesses to registers in each interrupt, on AMD also a counter that others may
//! want. What the checks ([`check`]) find to be no progress keeps code going, for nothing.
//!
//! # Nested handlers
//!
//! All state is in atomics that the core alone writes, and an NMI whose handler calls any of
//! the functions may interrupt any of them. While one of them works, [`PmuDriver::on_interrupt`]
//! returns [`Interrupt::Busy`] and touches nothing; the interrupted one sees what the NMI
//! came for, as it looks at the counters itself.

mod check;

use core::sync::atomic::{
    AtomicBool, AtomicU16, AtomicU32, AtomicU64, Ordering::Relaxed, compiler_fence,
};

use super::counter_msrs::CounterMsrs;
use super::counters::Counter;
use super::event::MAX_EVENTS;
use super::ibs::{IbsState, Sampling, Stopped};
use super::plan::{Assignment, Plan};
use super::registers::{Freeze, Msr, MsrFault, Registers, intel};
use crate::hw::apic::PerformanceEntry;
use check::Check;
pub use check::Place;

/// Where an event stands.
#[derive(Default, Debug)]
struct Progress {
    /// The reload value: its counter overflows after that many events.
    loaded: AtomicU64,
    /// The counter's value when it was last read.
    raw: AtomicU64,
    /// Events of the interrupted code since the start.
    position: AtomicU64,
    /// The position of the next overflow, without jitter.
    due: AtomicU64,
    /// The position of the next overflow, with jitter.
    target: AtomicU64,
    /// The position at the last overflow.
    last: AtomicU64,
    /// Events of the interrupted code between the last two overflows.
    ran: AtomicU64,
    /// Overflows merged into the last one.
    missed: AtomicU64,
    /// What checks have counted since the start, all together.
    checked: AtomicU64,
    /// A count between two handlers that is not above this is no progress.
    noise: AtomicU64,
}

/// What the registers held before the start.
#[derive(Default, Debug)]
struct Saved {
    control: AtomicU64,
    fixed_control: AtomicU64,
    /// True if counters froze when they interrupted.
    freezes: AtomicBool,
    /// True if they freeze in system management mode since the start.
    freezes_in_smm: AtomicBool,
    lvtpc: AtomicU32,
    /// By event: its counter, and its event select.
    counters: [AtomicU64; MAX_EVENTS],
    selects: [AtomicU64; MAX_EVENTS],
}

/// A core's PMU. Used on that core alone; a use may interrupt another, but then ends
/// before that one continues.
#[derive(Default, Debug)]
pub struct PmuDriver {
    running: AtomicBool,
    /// A function is working on the registers.
    busy: AtomicBool,
    /// Interrupts that may still arrive although their overflow was handled.
    stale_interrupts: AtomicU32,
    /// Handlers that found a wrapped counter since the interrupted code last moved.
    stalls: AtomicU32,
    /// Events whose counters [`PmuDriver::on_foreign_nmi`] found wrapped: their interrupt
    /// is still to come.
    deferred: AtomicU16,
    /// In the global control register, the bits of counters that are not ours.
    others: AtomicU64,
    /// The state of the random numbers.
    random: AtomicU64,
    progress: [Progress; MAX_EVENTS],
    check: Check,
    saved: Saved,
    ibs: IbsState,
}

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

/// What an interrupt found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Interrupt {
    /// The PMU does not run.
    Off,
    /// It does not run any more; what it has sampled last may interrupt yet, as this one.
    OffLate,
    /// It interrupted a function of the driver.
    Busy,
    /// These events have overflowed, if any. The counters are stopped until
    /// [`PmuDriver::resume`].
    Stopped(Overflows, Cause),
}

/// Why an interrupt came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// A counter wrapped: at an overflow, or on the way to one.
    Counter,
    /// For an overflow that an earlier handler may have handled.
    Late,
    /// A check's: see [`PmuDriver::checked`].
    Check,
    /// For something else than the PMU.
    Other,
}

/// Events that have overflowed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Overflows(
    /// A bit each, by place in the plan's list.
    u16,
);

impl Overflows {
    /// Returns true if there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The places of the events in the plan's list, the first one first.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..MAX_EVENTS).filter(move |event| self.0 >> event & 1 != 0)
    }
}

/// An event's overflow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Overflow {
    /// Events of the interrupted code since the overflow before.
    pub ran: u64,
    /// Overflows merged into this one.
    pub missed: u64,
}

/// The number of handlers in a row that may find a wrapped counter and no progress by
/// coincidence.
const MAX_STALLS: u32 = 2;
/// The largest shift of the backoff.
const MAX_BACKOFF_SHIFT: u32 = 6;
/// The number of times that an acknowledged status, or a count that a handler moved, is
/// read again.
const MAX_RETRIES: u32 = 8;

/// Makes a state of the random numbers of a seed: never zero, and far apart for
/// neighbouring seeds (the finalizer of `SplitMix64`).
const fn mix_seed(seed: u64) -> u64 {
    let mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    match mixed ^ (mixed >> 31) {
        0 => 1,
        state => state,
    }
}

impl PmuDriver {
    /// Programs the running core by `plan`. The counters stay stopped until
    /// [`Self::resume`], which must follow.
    ///
    /// # Errors
    ///
    /// The processor refuses a value. All registers are restored.
    pub fn start<R: Registers>(&self, registers: &R, plan: &Plan) -> Result<(), MsrFault> {
        self.busy.store(true, Relaxed);
        let outcome = self.save(registers, plan).and_then(|()| {
            self.program(registers, plan)
                .inspect_err(|_| self.restore(registers, plan))
        });
        match outcome {
            Ok(()) => {
                self.stale_interrupts.store(0, Relaxed);
                self.running.store(true, Relaxed);
            }
            Err(_) => self.busy.store(false, Relaxed),
        }
        outcome
    }

    /// Stops counting and restores all registers to their values before the start. The
    /// counts stay readable.
    pub fn stop<R: Registers>(&self, registers: &R, plan: &Plan) {
        let was_busy = self.set_busy();
        if !self.running.load(Relaxed) {
            self.busy.store(was_busy, Relaxed);
            return;
        }
        plan.stop(registers, self.others.load(Relaxed));
        if let Some((_, Stopped::Sample)) = self.stop_ibs(registers, plan) {
            self.ibs.note_late();
        }
        for (index, assignment) in plan.assignments() {
            self.advance(registers, index, assignment, 0);
        }
        self.ack_overflows(registers, plan);
        self.restore(registers, plan);
        self.running.store(false, Relaxed);
        self.busy.store(false, Relaxed);
    }

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
            self.busy.store(false, Relaxed);
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
            found.has_moved |= own > self.progress[index].noise.load(Relaxed);
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
    fn cause(&self, delivers: bool, wrapped: Overflows) -> Cause {
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

    /// The overflow of an event that [`Self::on_interrupt`] has found.
    #[must_use]
    #[inline]
    pub fn overflow(&self, event: usize) -> Overflow {
        let progress = &self.progress[event];
        Overflow {
            ran: progress.ran.load(Relaxed),
            missed: progress.missed.load(Relaxed),
        }
    }

    /// Last step of the handler, and of the start: restarts the counters. `lvtpc` becomes
    /// their entry of the local vector table.
    #[inline]
    pub fn resume<R: Registers>(&self, registers: &R, plan: &Plan, lvtpc: PerformanceEntry) {
        if !self.running.load(Relaxed) {
            // The handler has stopped it.
            return;
        }
        // Unmasking the entry while the status shows an overflow interrupts for it again
        // (Haswell and later).
        self.ack_overflows(registers, plan);
        // Hardware masks the entry when it delivers, some hypervisors do not.
        registers.write_lvtpc(lvtpc);
        // An overflow that showed since found the entry masked: it would stay in the status
        // and keep all others from interrupting.
        self.ack_overflows(registers, plan);
        self.enable(registers, plan, lvtpc);
    }

    /// Events of the interrupted code since the start; while the counters run, as of some
    /// instruction of this function. For tests.
    #[cfg(test)]
    pub fn count<R: Registers>(&self, registers: &R, plan: &Plan, event: usize) -> u64 {
        let progress = &self.progress[event];
        let Some(assignment) = plan.assignment(event) else {
            return 0;
        };
        if !self.running.load(Relaxed) {
            return progress.position.load(Relaxed);
        }
        // A handler in between changes all three values.
        let mut position = 0;
        for _ in 0..MAX_RETRIES {
            let (before, raw) = (progress.position.load(Relaxed), progress.raw.load(Relaxed));
            compiler_fence(core::sync::atomic::Ordering::SeqCst);
            let now = registers.read(assignment.registers.read);
            compiler_fence(core::sync::atomic::Ordering::SeqCst);
            position = before + (now.wrapping_sub(raw) & assignment.registers.mask);
            if progress.raw.load(Relaxed) == raw && progress.position.load(Relaxed) == before {
                break;
            }
        }
        position
    }

    /// Events of the interrupted code up to the current or the last interrupt.
    #[must_use]
    #[inline]
    pub fn position(&self, event: usize) -> u64 {
        self.progress[event].position.load(Relaxed)
    }

    /// Returns true between start and stop.
    #[must_use]
    #[inline]
    pub fn is_running(&self) -> bool {
        self.running.load(Relaxed)
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
    fn backoff_shift(&self, has_moved: bool, any_wrapped: bool) -> u32 {
        let stalls = if has_moved {
            0
        } else {
            self.stalls.load(Relaxed) + u32::from(any_wrapped)
        };
        self.stalls.store(stalls, Relaxed);
        if any_wrapped || stalls > MAX_STALLS {
            stalls
        } else {
            0
        }
    }

    /// Adds what the counter of an event has counted, less `overhead`, to its position.
    /// Returns the events added, and whether the counter wrapped.
    #[inline]
    fn advance<R: Registers>(
        &self,
        registers: &R,
        index: usize,
        assignment: &Assignment,
        overhead: u64,
    ) -> (u64, bool) {
        let progress = &self.progress[index];
        let raw = registers.read(assignment.registers.read);
        let counted = raw.wrapping_sub(progress.raw.load(Relaxed)) & assignment.registers.mask;
        progress.raw.store(raw, Relaxed);
        let position = progress.position.load(Relaxed);
        let own = counted.saturating_sub(overhead);
        progress.position.store(position + own, Relaxed);
        // It was loaded with its reload value below zero.
        let loaded = progress.loaded.load(Relaxed);
        let since = raw.wrapping_add(loaded) & assignment.registers.mask;
        (own, since >= loaded)
    }

    /// Returns true if a wrapped counter has reached its overflow.
    #[inline]
    fn has_come(&self, index: usize, assignment: &Assignment) -> bool {
        let progress = &self.progress[index];
        let position = progress.position.load(Relaxed);
        position.saturating_add(assignment.tolerance) >= progress.target.load(Relaxed)
    }

    /// Notes the overflow of an event, and sets the position of the next.
    #[inline]
    fn note_overflow(&self, index: usize, assignment: &Assignment, period: u64) {
        let progress = &self.progress[index];
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
        progress.due.store(due, Relaxed);
        progress
            .target
            .store(self.jittered(due, assignment), Relaxed);
    }

    /// Computes the reload value for the next target: at most what the counter can count,
    /// and more by the backoff if the interrupted code does not move.
    #[inline]
    fn compute_reload(&self, plan: &Plan, index: usize, assignment: &Assignment, shift: u32) {
        let progress = &self.progress[index];
        let position = progress.position.load(Relaxed);
        let most = assignment.registers.max_count;
        let events = match assignment.period {
            None => most,
            Some(period) => {
                let left = progress.target.load(Relaxed).saturating_sub(position);
                let more = match shift {
                    0 => 0,
                    // At first as much as keeps it from wrapping on the way to the next
                    // handler.
                    doublings => (assignment.overhead + 1) << doublings.min(MAX_BACKOFF_SHIFT) >> 1,
                };
                let more = assignment.arm_latency + more;
                let events = match plan.sampling_of(index) {
                    None => left.max(1) + more,
                    Some(sampling) => {
                        let events = self.tag_after(left, sampling, assignment) + more;
                        let expected = position + events - assignment.arm_latency;
                        self.ibs.set_distance(sampling, events, expected);
                        self.ibs.distance() + Sampling::backstop(period)
                    }
                };
                events.max(assignment.min_count).min(most)
            }
        };
        progress.loaded.store(events, Relaxed);
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
    fn load<R: Registers>(&self, registers: &R, index: usize, assignment: &Assignment) {
        let (register, value) = self.reload(index, assignment);
        registers.write(register, value);
    }

    /// The register and the value that reload the counter, which the caller must write.
    #[inline]
    fn reload(&self, index: usize, assignment: &Assignment) -> (Msr, u64) {
        let progress = &self.progress[index];
        let loaded = progress.loaded.load(Relaxed);
        let raw = loaded.wrapping_neg() & assignment.registers.mask;
        progress.raw.store(raw, Relaxed);
        assignment.registers.load(loaded)
    }

    /// The position `due`, moved at random if the event has jitter.
    #[inline]
    fn jittered(&self, due: u64, assignment: &Assignment) -> u64 {
        if assignment.jitter == 0 {
            return due;
        }
        due - assignment.jitter + self.random() % (2 * assignment.jitter + 1)
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

    /// Acknowledges the overflows of our counters, which are stopped, until the status
    /// shows none.
    #[inline]
    fn ack_overflows<R: Registers>(&self, registers: &R, plan: &Plan) {
        let Some(global) = &plan.global else {
            return;
        };
        for _ in 0..MAX_RETRIES {
            if !global.acknowledge(registers, plan.counters) {
                break;
            }
        }
    }

    /// Keeps nested handlers from the registers. Returns true if they were kept already.
    /// State that was read before is stale: a handler may have come in between.
    #[inline]
    fn set_busy(&self) -> bool {
        let was_busy = self.busy.load(Relaxed);
        self.busy.store(true, Relaxed);
        compiler_fence(core::sync::atomic::Ordering::SeqCst);
        was_busy
    }

    /// Starts the counters. An overflow may interrupt even within.
    #[inline]
    fn enable<R: Registers>(&self, registers: &R, plan: &Plan, entry: PerformanceEntry) {
        self.busy.store(false, Relaxed);
        compiler_fence(core::sync::atomic::Ordering::SeqCst);
        self.start_ibs(registers, plan, entry);
        plan.enable(registers, self.others.load(Relaxed));
        if !self.running.load(Relaxed) {
            // A nested handler has stopped it before the counters started.
            self.busy.store(true, Relaxed);
            plan.stop(registers, self.others.load(Relaxed));
            self.stop_ibs(registers, plan);
            self.restore(registers, plan);
            self.busy.store(false, Relaxed);
        }
    }

    /// Stops the sampling of ops, if `plan` has that. Returns the place of its event, and
    /// what there was.
    #[inline]
    fn stop_ibs<R: Registers>(&self, registers: &R, plan: &Plan) -> Option<(usize, Stopped)> {
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

    /// The address of the op for which the event at `index` has overflowed, if it is one
    /// that samples ops and the processor has it.
    #[must_use]
    #[inline]
    pub fn exact_address(&self, plan: &Plan, index: usize) -> Option<u64> {
        let _ = plan.sampling_of(index)?;
        self.ibs.address()
    }

    /// Saves the registers that `plan` changes.
    fn save<R: Registers>(&self, registers: &R, plan: &Plan) -> Result<(), MsrFault> {
        let saved = &self.saved;
        let msrs = &plan.msrs;
        saved.freezes_in_smm.store(false, Relaxed);
        let control = match &plan.global {
            Some(global) => registers.try_read(global.control)?,
            None => 0,
        };
        saved.control.store(control, Relaxed);
        self.others
            .store(control & !plan.counters.global_bits(), Relaxed);
        saved.lvtpc.store(registers.read_lvtpc(), Relaxed);
        if plan.counters.fixed != 0 {
            let fixed = registers.try_read(intel::FIXED_CONTROL)?;
            saved.fixed_control.store(fixed, Relaxed);
        }
        if msrs.has_freeze() {
            saved
                .freezes
                .store(registers.try_freezes(Freeze::OnInterrupt)?, Relaxed);
        }
        if let Some(sampling) = &plan.ibs {
            self.ibs.save(registers, sampling)?;
        }
        for (index, assignment) in plan.assignments() {
            let counter = registers.try_read(assignment.registers.read)?;
            saved.counters[index].store(counter, Relaxed);
            if let Some(select) = assignment.registers.select {
                let select = registers.try_read(select)?;
                saved.selects[index].store(select, Relaxed);
            }
        }
        Ok(())
    }

    /// Programs the counters, without starting them.
    fn program<R: Registers>(&self, registers: &R, plan: &Plan) -> Result<(), MsrFault> {
        let msrs = &plan.msrs;
        // Stopped and masked first: a counter starts when its select is written if its bit
        // of the global control is set, as it is after a reset.
        registers.write_lvtpc(PerformanceEntry::NMI.masked());
        if let Some(global) = &plan.global {
            registers.write(global.control, self.others.load(Relaxed));
        }
        if let Some(sampling) = &plan.ibs {
            self.ibs.program(registers, sampling)?;
        }
        self.random.store(mix_seed(plan.seed), Relaxed);
        self.stalls.store(0, Relaxed);
        self.deferred.store(0, Relaxed);
        self.check.reset();
        let mut fixed_control = self.saved.fixed_control.load(Relaxed);
        for (index, assignment) in plan.assignments() {
            let progress = &self.progress[index];
            for zero in [
                &progress.position,
                &progress.last,
                &progress.due,
                &progress.missed,
                &progress.ran,
                &progress.checked,
            ] {
                zero.store(0, Relaxed);
            }
            progress.noise.store(assignment.noise, Relaxed);
            self.schedule_first(plan, index, assignment);
            let (register, value) = self.reload(index, assignment);
            registers.try_write(register, value)?;
            match assignment.counter {
                Counter::General(number) => {
                    let control = if plan.global.is_some() {
                        assignment.control
                    } else {
                        // Nothing else keeps it from counting.
                        assignment.control & !super::registers::select::ENABLE
                    };
                    registers.try_write(msrs.event_select(number), control)?;
                }
                Counter::Fixed(number) => {
                    fixed_control &= !CounterMsrs::fixed_field(number);
                    fixed_control |= assignment.control << (4 * number);
                }
            }
        }
        if plan.counters.fixed != 0 {
            registers.try_write(intel::FIXED_CONTROL, fixed_control)?;
        }
        if msrs.has_freeze() && self.saved.freezes.load(Relaxed) {
            registers.try_set_freezing(Freeze::OnInterrupt, false)?;
        }
        let freezes_in_smm = self.freeze_in_smm(registers, plan);
        self.saved.freezes_in_smm.store(freezes_in_smm, Relaxed);
        Ok(())
    }

    /// Lets the counters stand still in system management mode, where they can: what the
    /// firmware does there is not the interrupted code's. Returns true if they did not before.
    /// A hypervisor that announces it and refuses costs nothing more.
    fn freeze_in_smm<R: Registers>(&self, registers: &R, plan: &Plan) -> bool {
        plan.msrs.has_smm_freeze()
            && registers.try_freezes(Freeze::InSmm) == Ok(false)
            && registers.try_set_freezing(Freeze::InSmm, true).is_ok()
    }

    /// The first overflow is due after the period.
    fn schedule_first(&self, plan: &Plan, index: usize, assignment: &Assignment) {
        let progress = &self.progress[index];
        let period = assignment.period.unwrap_or(0);
        progress.due.store(period, Relaxed);
        let target = self.jittered(period, assignment);
        progress.target.store(target, Relaxed);
        self.compute_reload(plan, index, assignment, 0);
    }

    /// Restores what [`Self::save`] has saved. The counters are stopped.
    fn restore<R: Registers>(&self, registers: &R, plan: &Plan) {
        let saved = &self.saved;
        let msrs = &plan.msrs;
        if let Some(sampling) = &plan.ibs {
            self.ibs.restore(registers, sampling);
        }
        // A value that the register held cannot be refused; nothing could be done if it were.
        for (index, assignment) in plan.assignments() {
            if let Some(select) = assignment.registers.select {
                let before = saved.selects[index].load(Relaxed);
                let _ = registers.try_write(select, before);
            }
            let counter = saved.counters[index].load(Relaxed);
            let _ = msrs.try_set(registers, assignment.counter, counter);
        }
        if plan.counters.fixed != 0 {
            let fixed = saved.fixed_control.load(Relaxed);
            let _ = registers.try_write(intel::FIXED_CONTROL, fixed);
        }
        if msrs.has_freeze() && saved.freezes.load(Relaxed) {
            let _ = registers.try_set_freezing(Freeze::OnInterrupt, true);
        }
        if saved.freezes_in_smm.load(Relaxed) {
            let _ = registers.try_set_freezing(Freeze::InSmm, false);
        }
        if let Some(global) = &plan.global {
            registers.write(global.control, saved.control.load(Relaxed));
        }
        // After a reset that is an illegal vector.
        registers.write_lvtpc(PerformanceEntry::as_left(saved.lvtpc.load(Relaxed)));
    }
}
