//! A core's PMU at work: started, interrupted, stopped.
//!
//! # What a period counts
//!
//! A period is so many events *of the interrupted code*. The counters are stopped
//! while the handler works, and what they count on the way into it and out of it, the
//! *overhead*, is taken off. So each event has a position: how many of it the
//! interrupted code has had since the start.
//!
//! Overflows are due at positions that are fixed from the start on: at the period, at
//! twice the period, and so on. A counter is loaded with what is left to the next of
//! them. However late an interrupt comes, and however far the counter is past zero by
//! then, the mean of the distances is the period, to the last event.
//!
//! Whatever a handler came for, it loads all counters anew with what is left, so that
//! what they have counted on its way is none of it. A counter that goes round all the
//! same before its event is where it is due makes no sample; and if the interrupted
//! code has not moved at all, it is loaded with more, each time. So samples are the
//! interrupted code's alone, and it progresses, whatever an interrupt costs and however
//! short the period.
//!
//! # What is believed
//!
//! A counter has gone round if it has counted what it was loaded with. The
//! status register is acknowledged, for the next interrupt depends on it, and otherwise
//! not believed: it may show an overflow late, an older one, or somebody else's.
//!
//! # Nested handlers
//!
//! All state is in atomics which the core alone writes, and any of the functions may
//! be interrupted by an NMI whose handler calls them. While one of them is at work,
//! [`PmuDriver::on_interrupt`] says so and touches nothing; the one that was interrupted sees
//! what the NMI came for, as it looks at the counters itself.

use core::sync::atomic::{
    AtomicBool, AtomicU16, AtomicU32, AtomicU64, Ordering::Relaxed, compiler_fence,
};

use super::counter_msrs::CounterMsrs;
use super::counters::Counter;
use super::event::MAX_EVENTS;
use super::plan::{Assignment, Plan};
use super::registers::{Msr, MsrFault, Registers, intel, lvt};

/// Where an event stands.
#[derive(Default, Debug)]
struct Progress {
    /// What its counter was loaded with: it overflows after so many.
    loaded: AtomicU64,
    /// What it read when it was looked at last.
    raw: AtomicU64,
    /// Events of the interrupted code since the start.
    position: AtomicU64,
    /// Where the next overflow is due, jitter left aside.
    due: AtomicU64,
    /// Where it is due, jitter included.
    target: AtomicU64,
    /// The position at the last overflow.
    last: AtomicU64,
    /// Events of the interrupted code between the last two overflows.
    ran: AtomicU64,
    /// Overflows that were due before the last one was handled, and are not to be had
    /// any more.
    missed: AtomicU64,
}

/// What the registers held before the start.
#[derive(Default, Debug)]
struct Saved {
    control: AtomicU64,
    fixed_control: AtomicU64,
    /// Whether counters froze when they interrupted.
    freezes: AtomicBool,
    lvtpc: AtomicU64,
    /// By event: its counter, and its event select.
    counters: [AtomicU64; MAX_EVENTS],
    selects: [AtomicU64; MAX_EVENTS],
}

/// A core's PMU. Used on that core alone; a use may interrupt another, but then ends
/// before that goes on.
#[derive(Default, Debug)]
pub struct PmuDriver {
    running: AtomicBool,
    /// One of the functions is at work on the registers.
    busy: AtomicBool,
    /// Interrupts that may be on their way though what they come for was seen.
    stale_interrupts: AtomicU32,
    /// Handlers that found a counter gone round, since the interrupted code has moved.
    stalls: AtomicU32,
    /// Events whose counters [`PmuDriver::on_foreign_nmi`] has found gone round: their interrupt is on
    /// its way.
    passed: AtomicU16,
    /// In the global control register, the bits of counters that are not ours.
    others: AtomicU64,
    /// For the displacement of overflows.
    random: AtomicU64,
    progress: [Progress; MAX_EVENTS],
    saved: Saved,
}

/// What an interrupt is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Interrupt {
    /// Nothing is counted.
    Off,
    /// It came while the PMU was being worked on, by what it has interrupted.
    Busy,
    /// These events have overflowed; there may be none. Counters are stopped, until
    /// [`PmuDriver::resume`].
    Stopped(Overflows, Cause),
}

/// What an interrupt came for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// A counter has gone round: an overflow, if one was due there, or a part of the
    /// way to it.
    Counter,
    /// Nothing any more, but it may have been on its way since an overflow that was
    /// handled before.
    Late,
    /// Somebody else.
    Other,
}

/// Events that have overflowed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Overflows(
    /// By place in the plan's list.
    u16,
);

impl Overflows {
    /// Whether there is none.
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
    /// Overflows before this one that were due and came too close to be told apart.
    pub missed: u64,
}

/// How many handlers in a row may find a counter gone round, and the interrupted code
/// where it was, by coincidence.
const MAX_STALLS: u32 = 2;
/// How often what a counter is loaded with beyond what is left is doubled at most.
const MAX_BACKOFF_SHIFT: u32 = 6;
/// How often an acknowledged status may show something anew.
const MAX_RETRIES: u32 = 8;

/// A seed as a state of the random numbers, which must not be zero: neighbours are far
/// apart (the finalizer of `SplitMix64`).
const fn scattered(seed: u64) -> u64 {
    let mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    match mixed ^ (mixed >> 31) {
        0 => 1,
        state => state,
    }
}

impl PmuDriver {
    /// Programs the running core by `plan`. The counters stand still until
    /// [`Self::resume`], which is to follow.
    ///
    /// # Errors
    ///
    /// The processor refuses a value. Everything is as it was before.
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

    /// Stops counting, and brings all registers back to what they held before the
    /// start. What was counted can be read still.
    pub fn stop<R: Registers>(&self, registers: &R, plan: &Plan) {
        let was_busy = self.set_busy();
        if !self.running.load(Relaxed) {
            self.busy.store(was_busy, Relaxed);
            return;
        }
        plan.stop(registers, self.others.load(Relaxed));
        for (index, assignment) in plan.assignments() {
            self.advance(registers, index, assignment, 0);
        }
        self.ack_overflows(registers, plan);
        self.restore(registers, plan);
        self.running.store(false, Relaxed);
        self.busy.store(false, Relaxed);
    }

    /// The first step of an interrupt's handler: stops the counters, finds the events
    /// that have overflowed, and says what is due next. The same for an NMI that is
    /// not the PMU's, or may not be.
    #[inline]
    pub fn on_interrupt<R: Registers>(&self, registers: &R, plan: &Plan) -> Interrupt {
        self.stop_and_collect(registers, plan, true)
    }

    /// The same where overflows do not come by such an interrupt as this one: what has
    /// overflowed stays due, for the one that does.
    #[cold]
    #[inline(never)]
    pub fn on_foreign_nmi<R: Registers>(&self, registers: &R, plan: &Plan) -> Interrupt {
        self.stop_and_collect(registers, plan, false)
    }

    #[inline(always)] // else the hot one of the two is as slow as both
    fn stop_and_collect<R: Registers>(&self, registers: &R, plan: &Plan, takes: bool) -> Interrupt {
        if self.set_busy() {
            return Interrupt::Busy;
        }
        if !self.running.load(Relaxed) {
            self.busy.store(false, Relaxed);
            return Interrupt::Off;
        }
        plan.stop(registers, self.others.load(Relaxed));
        let mut rounds = Overflows::default();
        let mut has_moved = false;
        for (index, assignment) in plan.assignments() {
            let (own, is_round) = self.advance(registers, index, assignment, assignment.overhead);
            has_moved |= own > assignment.noise;
            rounds.0 |= u16::from(is_round) << index;
        }
        let shift = self.backoff_shift(has_moved, !rounds.is_empty());
        rounds.0 |= self.passed.load(Relaxed);
        self.passed.store(if takes { 0 } else { rounds.0 }, Relaxed);
        let has_gone_round = !rounds.is_empty();
        let mut overflows = Overflows::default();
        for (index, assignment) in plan.assignments() {
            let is_round = rounds.0 >> index & 1 != 0;
            if is_round && takes && self.is_due(index, assignment) {
                overflows.0 |= 1 << index;
            }
            if is_round || assignment.overhead != 0 {
                self.compute_reload(index, assignment, shift);
                self.load(registers, index, assignment);
            }
        }
        // Each counter that has gone round interrupts, and this interrupt is one of them.
        // What is on its way still finds nothing. They may merge, so it is not a sum.
        let stale_interrupts = self.stale_interrupts.load(Relaxed);
        let cause = match (takes, has_gone_round, stale_interrupts) {
            (true, true, _) => Cause::Counter,
            (true, false, 1..) => Cause::Late,
            (true, false, 0) | (false, ..) => Cause::Other,
        };
        let stale_interrupts = stale_interrupts.saturating_sub(takes.into());
        let stale_interrupts = stale_interrupts.max(rounds.0.count_ones());
        self.stale_interrupts.store(stale_interrupts, Relaxed);
        Interrupt::Stopped(overflows, cause)
    }

    /// What is known of an overflow that [`Self::on_interrupt`] has found.
    #[must_use]
    #[inline]
    pub fn overflow(&self, event: usize) -> Overflow {
        let progress = &self.progress[event];
        Overflow {
            ran: progress.ran.load(Relaxed),
            missed: progress.missed.load(Relaxed),
        }
    }

    /// The last step of the handler, and of the start: the counters go on. Interrupts
    /// are delivered as the entry `lvtpc` of the local vector table says.
    #[inline]
    pub fn resume<R: Registers>(&self, registers: &R, plan: &Plan, lvtpc: u32) {
        if !self.running.load(Relaxed) {
            // The handler has stopped it.
            return;
        }
        // An entry that is unmasked while the status shows an overflow interrupts for it
        // anew (Haswell and later).
        self.ack_overflows(registers, plan);
        // Hardware masks the entry when it delivers, some hypervisors do not.
        registers.write_lvtpc(lvtpc);
        // An overflow that showed meanwhile has found it masked, and would stay in the
        // status for good, where it keeps all others from interrupting.
        self.ack_overflows(registers, plan);
        self.enable(registers, plan);
    }

    /// Events of the interrupted code since the start.
    ///
    /// Where the counters run, it is as of some instruction in here.
    pub fn count<R: Registers>(&self, registers: &R, plan: &Plan, event: usize) -> u64 {
        let progress = &self.progress[event];
        let Some(assignment) = plan.assignment(event) else {
            return 0;
        };
        if !self.running.load(Relaxed) {
            return progress.position.load(Relaxed);
        }
        // A handler in between moves all of it on. It does not come each time.
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

    /// Events of the interrupted code up to the interrupt that is being handled, or
    /// the last one.
    #[must_use]
    #[inline]
    pub fn position(&self, event: usize) -> u64 {
        self.progress[event].position.load(Relaxed)
    }

    /// Whether it was started, and not stopped.
    #[must_use]
    #[inline]
    pub fn is_running(&self) -> bool {
        self.running.load(Relaxed)
    }

    /// Whether counters are to be loaded with more than what is left, and how often that
    /// is to be doubled: the interrupted code has moved or not, a counter has gone round
    /// or not.
    ///
    /// Without a move, counters went round on the way to the handler, and they would
    /// again: each brings the next interrupt. One more handler comes of the last round
    /// and puts things right, unless interrupts are so slow that more are on their way.
    #[inline]
    fn backoff_shift(&self, has_moved: bool, has_gone_round: bool) -> u32 {
        let stalls = match has_moved {
            true => 0,
            false => self.stalls.load(Relaxed) + u32::from(has_gone_round),
        };
        self.stalls.store(stalls, Relaxed);
        match has_gone_round || stalls > MAX_STALLS {
            true => stalls,
            false => 0,
        }
    }

    /// Notes what the counter of an event has counted, `overhead` of it on the way from
    /// and to the handler. Gives what of it is the interrupted code's, and whether the
    /// counter has gone round.
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
        // It was loaded with that many below zero.
        let loaded = progress.loaded.load(Relaxed);
        let since = raw.wrapping_add(loaded) & assignment.registers.mask;
        (own, since >= loaded)
    }

    /// The counter of an event has gone round: gives whether an overflow was due, and
    /// says where the next one is.
    #[inline]
    fn is_due(&self, index: usize, assignment: &Assignment) -> bool {
        let progress = &self.progress[index];
        let Some(period) = assignment.period else {
            return false;
        };
        let position = progress.position.load(Relaxed);
        let target = progress.target.load(Relaxed);
        if position.saturating_add(assignment.tolerance) < target {
            return false;
        }
        let last = progress.last.swap(position, Relaxed);
        progress.ran.store(position - last, Relaxed);

        // The first that has not been passed yet.
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
            .store(self.displaced(due, assignment), Relaxed);
        true
    }

    /// Says what to load so that the next overflow interrupts at its target; no further
    /// than the counter counts, and later if the interrupted code does not move.
    #[inline]
    fn compute_reload(&self, index: usize, assignment: &Assignment, shift: u32) {
        let progress = &self.progress[index];
        let position = progress.position.load(Relaxed);
        let most = assignment.registers.max_count;
        let events = match assignment.period {
            None => most,
            Some(_) => {
                let left = progress.target.load(Relaxed).saturating_sub(position);
                let more = match shift {
                    0 => 0,
                    // At first as much as keeps it from going round on the way to the
                    // next handler.
                    doublings => (assignment.overhead + 1) << doublings.min(MAX_BACKOFF_SHIFT) >> 1,
                };
                let events = left.max(1) + assignment.arm_latency + more;
                events.max(assignment.min_count).min(most)
            }
        };
        progress.loaded.store(events, Relaxed);
    }

    /// Loads the counter of an event, which stands still, with what is next.
    #[inline]
    fn load<R: Registers>(&self, registers: &R, index: usize, assignment: &Assignment) {
        let (register, value) = self.loading(index, assignment);
        registers.write(register, value);
    }

    /// The register that loads the counter, and the value: it is taken to have been
    /// written.
    #[inline]
    fn loading(&self, index: usize, assignment: &Assignment) -> (Msr, u64) {
        let progress = &self.progress[index];
        let loaded = progress.loaded.load(Relaxed);
        let raw = loaded.wrapping_neg() & assignment.registers.mask;
        progress.raw.store(raw, Relaxed);
        assignment.registers.load(loaded)
    }

    /// A position near `due`, at random if the event has jitter.
    #[inline]
    fn displaced(&self, due: u64, assignment: &Assignment) -> u64 {
        if assignment.jitter == 0 {
            return due;
        }
        // xorshift64 (Marsaglia, "Xorshift RNGs"): never 0 if it did not start there.
        let mut random = self.random.load(Relaxed);
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        self.random.store(random, Relaxed);
        due - assignment.jitter + random % (2 * assignment.jitter + 1)
    }

    /// Acknowledges what the status shows of our counters, which stand still, until it
    /// shows nothing more.
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

    /// Keeps nested handlers from the registers. Gives whether they were kept already. What
    /// is looked at before is not to be trusted: one may come in between.
    #[inline]
    fn set_busy(&self) -> bool {
        let was_busy = self.busy.load(Relaxed);
        self.busy.store(true, Relaxed);
        compiler_fence(core::sync::atomic::Ordering::SeqCst);
        was_busy
    }

    /// Lets the counters go on. An overflow may interrupt from there on, even within.
    #[inline]
    fn enable<R: Registers>(&self, registers: &R, plan: &Plan) {
        self.busy.store(false, Relaxed);
        compiler_fence(core::sync::atomic::Ordering::SeqCst);
        plan.enable(registers, self.others.load(Relaxed));
        if !self.running.load(Relaxed) {
            // A nested handler has stopped it before it was let go.
            self.busy.store(true, Relaxed);
            plan.stop(registers, self.others.load(Relaxed));
            self.restore(registers, plan);
            self.busy.store(false, Relaxed);
        }
    }

    /// Notes what the registers hold that `plan` changes.
    fn save<R: Registers>(&self, registers: &R, plan: &Plan) -> Result<(), MsrFault> {
        let saved = &self.saved;
        let msrs = &plan.msrs;
        let control = match &plan.global {
            Some(global) => registers.try_read(global.control)?,
            None => 0,
        };
        saved.control.store(control, Relaxed);
        self.others
            .store(control & !plan.counters.global_bits(), Relaxed);
        saved
            .lvtpc
            .store(u64::from(registers.read_lvtpc()), Relaxed);
        if plan.counters.fixed != 0 {
            let fixed = registers.try_read(intel::FIXED_CONTROL)?;
            saved.fixed_control.store(fixed, Relaxed);
        }
        if msrs.has_freeze() {
            saved.freezes.store(registers.try_freezes()?, Relaxed);
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

    /// Programs the counters, which do not count yet.
    fn program<R: Registers>(&self, registers: &R, plan: &Plan) -> Result<(), MsrFault> {
        let msrs = &plan.msrs;
        // Stopped first, and nothing delivered: a select that is written counts at once
        // where the global control has its bit set, as it has after a reset.
        registers.write_lvtpc(lvt::MASKED | lvt::NMI);
        if let Some(global) = &plan.global {
            registers.write(global.control, self.others.load(Relaxed));
        }
        self.random.store(scattered(plan.seed), Relaxed);
        self.stalls.store(0, Relaxed);
        self.passed.store(0, Relaxed);
        let mut fixed_control = self.saved.fixed_control.load(Relaxed);
        for (index, assignment) in plan.assignments() {
            let progress = &self.progress[index];
            for zero in [
                &progress.position,
                &progress.last,
                &progress.due,
                &progress.missed,
                &progress.ran,
            ] {
                zero.store(0, Relaxed);
            }
            self.schedule_first(index, assignment);
            let (register, value) = self.loading(index, assignment);
            registers.try_write(register, value)?;
            match assignment.counter {
                Counter::General(number) => {
                    let control = match plan.global.is_some() {
                        true => assignment.control,
                        // By itself it would count from here on.
                        false => assignment.control & !super::registers::select::ENABLE,
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
            registers.try_set_freezing(false)?;
        }
        Ok(())
    }

    /// The first overflow is due after the period.
    fn schedule_first(&self, index: usize, assignment: &Assignment) {
        let progress = &self.progress[index];
        let period = assignment.period.unwrap_or(0);
        progress.due.store(period, Relaxed);
        let target = self.displaced(period, assignment);
        progress.target.store(target, Relaxed);
        self.compute_reload(index, assignment, 0);
    }

    /// Brings back what [`Self::save`] has noted. Counters stand still.
    fn restore<R: Registers>(&self, registers: &R, plan: &Plan) {
        let saved = &self.saved;
        let msrs = &plan.msrs;
        // What was taken before cannot be refused now; and there is nothing to be done
        // if it is.
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
            let _ = registers.try_set_freezing(true);
        }
        if let Some(global) = &plan.global {
            registers.write(global.control, saved.control.load(Relaxed));
        }
        #[allow(clippy::cast_possible_truncation)] // an entry has 32 bits
        registers.write_lvtpc(saved.lvtpc.load(Relaxed) as u32);
    }
}
