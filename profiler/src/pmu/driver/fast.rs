//! The fast path of an interrupt: one that finds nothing but what most find.
//!
//! A fast handler stops the counters ([`PmuDriver::stop_one`]), finds what has overflowed
//! ([`PmuDriver::advance_one`]) and lets counters interrupt again ([`PmuDriver::unmask_one`]); or it
//! gives up after either of the first two ([`PmuDriver::give_up_fast`]). Each has a form for one
//! event and one for any. What they find, write and leave behind is what the exact path would:
//! positions, reload values, random numbers. They take what the plan knows from numbers that are
//! made when the counters are started, and iterate over the events that there are.
//!
//! Whatever is not usual is left to the exact path, before anything is changed but that the
//! counters stand still; in assembly, where there are several events, those before the one that is
//! not usual are moved on already. If that one has hardly moved, the exact path then takes the code
//! for standing still, once.
//!
//! | unusual | |
//! |---|---|
//! | the last handler was not settled | a check is under way; a wrapped counter waits for its interrupt; the code did not move; it is not known that one interrupt may be late |
//! | no counter wrapped, or one that did is not where its overflow is due | late, early, foreign |
//! | none of the events moved by more than their noise | a stall |
//! | an overflow was missed | the next is due already |
//!
//! Both forms stop the counters by the same accesses, in the same order, whatever they find: what
//! is counted up to there is an overhead, and is to be one number.
//!
//! # What is acknowledged
//!
//! The exact path reads which overflows the status shows, acknowledges them, and reads it again
//! until it shows none. Here the wrapped counters are known: theirs are acknowledged unseen, and
//! the status is read once, behind the write of the local vector table's entry. What it still
//! shows came late: the exact path's loop has it.

use core::hint::black_box;
use core::ops::Range;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};

use super::plain::Plain;
use super::state::Progress;
use super::{EventState, MAX_RETRIES, Overflows, PmuDriver, Stage};
use crate::hw::apic::PerformanceEntry;
use crate::pmu::counter_msrs::{CounterRegisters, has_wrapped};
use crate::pmu::event::MAX_EVENTS;
use crate::pmu::fast_form::FastForm;
use crate::pmu::plan::{Assignment, Plan};
use crate::pmu::registers::{Msr, Registers, Stored, select};

/// What the first step of a fast handler finds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FastStop {
    /// Another function is at work, or nothing counts: nothing was done.
    Untouched,
    /// The counters are stopped. It is not as usual: [`PmuDriver::give_up_fast`] must follow.
    Unsettled,
    /// They are stopped, and all may be as usual.
    Settled,
}

impl FastStop {
    #[inline(always)]
    fn of(stage: u8) -> Self {
        // Not known to the compiler: it would else have a way to the stop for each, and one of
        // them longer.
        if black_box(stage) == Stage::Settled as u8 {
            Self::Settled
        } else {
            Self::Unsettled
        }
    }
}

/// A value of a register, as `wrmsr` takes it.
#[derive(Default, Debug)]
pub(super) struct Halves {
    pub(super) low: AtomicU32,
    pub(super) high: AtomicU32,
}

impl Halves {
    fn set(&self, value: u64) {
        let [low, high] = halves(value);
        self.low.store(low, Relaxed);
        self.high.store(high, Relaxed);
    }

    #[inline(always)]
    fn write<R: Registers>(&self, registers: &R, register: Msr) {
        registers.write_halves(register, self.low.plain(), self.high.plain());
    }
}

/// The low and the high half.
#[inline(always)]
#[allow(clippy::cast_possible_truncation)] // it is cut in two
const fn halves(value: u64) -> [u32; 2] {
    [value as u32, (value >> 32) as u32]
}

/// A register that lets counters count, and what it holds.
#[derive(Default, Debug)]
pub(super) struct Gate {
    pub(super) register: Stored,
    pub(super) stopped: Halves,
    pub(super) started: Halves,
}

impl Gate {
    fn set(&self, register: Msr, stopped: u64, started: u64) {
        self.register.set_msr(register);
        self.stopped.set(stopped);
        self.started.set(started);
    }

    /// By the event select of a counter, which is `control` while it counts.
    fn open_by_select(&self, register: Msr, control: u64) {
        self.set(register, control & !select::ENABLE, control);
    }

    #[inline(always)]
    fn stop<R: Registers>(&self, registers: &R) {
        self.stopped.write(registers, self.register.msr());
    }
}

/// The counter of an event.
#[derive(Default, Debug)]
pub(super) struct FastCounter {
    pub(super) read: Stored,
    pub(super) write: Stored,
    /// Its bits, all set, and those that a write takes.
    pub(super) mask: AtomicU64,
    written: AtomicU64,
    /// The high half of that.
    pub(super) written_high: AtomicU32,
    /// The high half of what it holds before it wraps.
    pub(super) high: AtomicU32,
    /// Its bit of the global status.
    pub(super) status: Halves,
    /// Its event select, where nothing else starts it.
    pub(super) gate: Gate,
    /// What it held when it was read last.
    seen: AtomicU64,
}

impl FastCounter {
    fn set(&self, assignment: &Assignment, is_quick: bool) {
        let CounterRegisters {
            select,
            read,
            number,
            mask,
            write,
            written,
            ..
        } = assignment.registers;
        match number.filter(|_| is_quick) {
            Some(number) => self.read.set_counter(number),
            None => self.read.set_msr(read),
        }
        self.write.set_msr(write);
        self.mask.store(mask, Relaxed);
        self.written.store(written, Relaxed);
        self.written_high.store(halves(written)[1], Relaxed);
        self.high.store(halves(mask)[1], Relaxed);
        self.status.set(assignment.global_bit());
        if let Some(select) = select {
            self.gate.open_by_select(select, assignment.control);
        }
    }

    #[inline(always)]
    pub(super) fn read<R: Registers>(&self, registers: &R, is_quick: bool) -> u64 {
        if is_quick {
            registers.read_counter(self.read.counter())
        } else {
            registers.read(self.read.msr())
        }
    }
}

/// What its counter can be loaded with.
#[derive(Default, Debug)]
pub(super) struct Reach {
    min_count: AtomicU64,
    max_count: AtomicU64,
}

/// How an event is sampled, as its [`Assignment`] has it.
#[derive(Default, Debug)]
pub(super) struct Terms {
    pub(super) counter: FastCounter,
    /// 0: it is counted and not sampled.
    pub(super) period: AtomicU64,
    pub(super) jitter: AtomicU64,
    pub(super) overhead: AtomicU64,
    /// Below zero as well.
    pub(super) latency: AtomicU64,
    pub(super) tolerance: AtomicU64,
    pub(super) reach: Reach,
    /// A count between two handlers that is not above this is no progress.
    pub(super) least: AtomicU64,
    /// The position that was found last.
    position: AtomicU64,
    /// From where on, seen from where it is due, its counter may overflow: the tolerance before
    /// that. If its overflows are displaced, nowhere.
    pub(super) earliest: AtomicU64,
    /// Up to where, seen from its next overflow, the counter can be loaded for that.
    pub(super) latest: AtomicU64,
    /// How many positions it may be displaced to.
    pub(super) spread: AtomicU64,
    /// Its number, in the bits 24 to 32.
    pub(super) number: AtomicU32,
}

impl Terms {
    fn set(&self, assignment: &Assignment, is_quick: bool) {
        self.counter.set(assignment, is_quick);
        let earliest = match assignment.jitter {
            0 => assignment.tolerance.wrapping_neg(),
            _ => i64::MAX.cast_unsigned(),
        };
        let min_left = assignment
            .min_count
            .max(1)
            .saturating_add_signed(-assignment.arm_latency)
            .max(1);
        for (place, value) in [
            (&self.period, assignment.period.unwrap_or(0)),
            (&self.jitter, assignment.jitter),
            (&self.spread, 2 * assignment.jitter + 1),
            (&self.earliest, earliest),
            (&self.latest, min_left.wrapping_neg()),
            (&self.overhead, assignment.overhead),
            (&self.latency, assignment.arm_latency.cast_unsigned()),
            (&self.tolerance, assignment.tolerance),
            (&self.reach.min_count, assignment.min_count),
            (&self.reach.max_count, assignment.registers.max_count),
        ] {
            place.store(value, Relaxed);
        }
        self.set_noise(assignment.noise);
    }

    fn set_noise(&self, noise: u64) {
        let least = self.overhead.load(Relaxed).saturating_add(noise);
        self.least.store(least, Relaxed);
    }

    /// Returns true if the event, whose counter has wrapped, is there where its overflow is due,
    /// and the next one is not.
    #[inline(always)]
    fn is_usual(&self, progress: &Progress, position: u64) -> bool {
        let period = self.period.plain();
        let latest = position.saturating_add(self.tolerance.plain());
        let has_come = latest >= progress.target.plain();
        period == 0 || has_come && position < progress.due.plain() + period
    }

    /// The event is where it was found to be. Returns that.
    #[inline(always)]
    fn commit(&self, progress: &Progress) -> u64 {
        let position = self.position.plain();
        progress.position.store(position, Relaxed);
        position
    }

    /// Loads its counter with what is left to the next overflow.
    #[inline(always)]
    fn reload<R: Registers>(&self, registers: &R, progress: &Progress) {
        let most = self.reach.max_count.plain();
        let events = if self.period.plain() == 0 {
            most
        } else {
            let left = progress
                .target
                .plain()
                .saturating_sub(self.position.plain());
            let latency = self.latency.plain().cast_signed();
            let events = left.max(1).saturating_add_signed(latency).max(1);
            events.max(self.reach.min_count.plain()).min(most)
        };
        let raw = events.wrapping_neg();
        progress.raw.store(raw & self.counter.mask.plain(), Relaxed);
        let [low, high] = halves(raw & self.counter.written.plain());
        registers.write_halves(self.counter.write.msr(), low, high);
    }
}

/// What the plan knows, as handlers need it, and what they have found on their way.
#[derive(Default, Debug)]
pub(super) struct Fast {
    is_possible: AtomicBool,
    /// The events: from the first to before the end.
    first: AtomicU8,
    end: AtomicU8,
    /// The counters are read by `rdpmc`.
    is_quick: AtomicBool,
    /// They have a global control; else each has its own.
    is_global: AtomicBool,
    pub(super) gate: Gate,
    pub(super) acknowledge: Acknowledge,
    pub(super) found: Found,
}

/// What a handler in assembly needs and finds, of several events.
#[derive(Default, Debug)]
pub(super) struct Found {
    /// The length of the list behind its first one, in bytes.
    pub(super) further: AtomicU32,
    /// Those that have overflowed: the number of each, above 24 bits of what has run since it
    /// overflowed before.
    pub(super) list: [AtomicU32; MAX_EVENTS],
    /// Where the events are and end. The offsets of [`super::at`] are from the driver's start to
    /// what is of the first event: that is where these are from as well.
    pub(super) begin: AtomicU64,
    pub(super) end: AtomicU64,
}

/// What overflows are acknowledged by.
#[derive(Default, Debug)]
pub(super) struct Acknowledge {
    pub(super) status: Stored,
    pub(super) reset: Stored,
    /// The bits of the status that are to be clear: those of counters that are nobody's too.
    pub(super) ours: Halves,
    /// Those of the counters. A handler that has found overflows acknowledges them all: of a counter
    /// that stands still only what is late can show, and that is to be acknowledged as well.
    pub(super) counters: Halves,
}

impl Fast {
    /// Takes what handlers need of all events together from `plan`; `others` as in
    /// [`PmuDriver`].
    fn set(&self, plan: &Plan, others: u64) {
        self.is_possible.store(FastForm::is_right(plan), Relaxed);
        let mut places = plan.assignments().map(|(index, _)| index);
        let first = places.next().unwrap_or(0);
        let end = places.last().unwrap_or(first) + 1;
        self.first.store(first.to_le_bytes()[0], Relaxed);
        self.end.store(end.to_le_bytes()[0], Relaxed);
        self.is_quick.store(plan.quick, Relaxed);
        self.is_global.store(plan.global.is_some(), Relaxed);
        if let Some(global) = &plan.global {
            let started = plan.counters.global_bits() | others;
            self.gate.set(global.control, others, started);
            self.acknowledge.status.set_msr(global.status);
            self.acknowledge.reset.set_msr(global.reset);
            self.acknowledge.ours.set(global.ours(plan.acknowledged()));
            let counters = plan.counters.global_bits();
            self.acknowledge.counters.set(counters);
        }
        for (_, assignment) in plan.assignments() {
            if let (None, Some(select)) = (&plan.global, assignment.registers.select) {
                // That of a single event.
                self.gate.open_by_select(select, assignment.control);
            }
        }
    }

    #[inline(always)]
    pub(super) fn events(&self) -> Range<usize> {
        self.first.plain().into()..self.end.plain().into()
    }
}

impl PmuDriver {
    /// First step of the fast handler of a plan with one event ([`FastForm::One`]): stops the
    /// counters.
    #[inline(always)]
    pub fn stop_one<R: Registers>(&self, registers: &R) -> FastStop {
        let stage = self.stage.number();
        if stage < Stage::Running as u8 {
            return FastStop::Untouched;
        }
        self.stage.store(Stage::Busy);
        self.fast.gate.stop(registers);
        FastStop::of(stage)
    }

    /// The same of one with any [`FastForm`].
    #[inline(always)]
    pub fn stop_any<R: Registers>(&self, registers: &R) -> FastStop {
        let stage = self.stage.number();
        if stage < Stage::Running as u8 {
            return FastStop::Untouched;
        }
        self.stage.store(Stage::Busy);
        if self.fast.is_global.plain() {
            self.fast.gate.stop(registers);
        } else {
            for event in self.sampled() {
                event.terms.counter.gate.stop(registers);
            }
        }
        FastStop::of(stage)
    }

    /// What the offsets of [`super::at`] are from.
    pub(super) fn base(&self) -> *const u8 {
        core::ptr::from_ref(self).cast()
    }

    /// Takes what handlers need from `plan`, whose counters are programmed.
    pub(super) fn set_fast(&self, plan: &Plan) {
        self.fast.set(plan, self.others.load(Relaxed));
        let Range { start, end } = self.fast.events();
        let places = [(&self.fast.found.begin, start), (&self.fast.found.end, end)];
        for (place, events) in places {
            let bytes = events * size_of::<EventState>();
            place.store((self.base().addr() + bytes) as u64, Relaxed);
        }
        for (index, assignment) in plan.assignments() {
            self.events[index].terms.set(assignment, plan.quick);
        }
    }

    /// A check has found what the noise of the event at `index` is.
    pub(super) fn set_noise(&self, index: usize, noise: u64) {
        self.events[index].terms.set_noise(noise);
    }

    /// Lets lists of overflows have the events' numbers from this one on.
    pub(crate) fn number_from(&self, first: u8) {
        for (event, number) in self.events.iter().zip(first..) {
            event.terms.number.store(u32::from(number) << 24, Relaxed);
        }
    }

    /// After such a first step, something is unusual: lets [`Self::on_interrupt_at`] go on.
    #[inline(always)]
    pub fn give_up_fast(&self) {
        self.stage.store(Stage::Running);
    }

    /// Second step of the fast handler of one event, where the stop found all as usual. Returns
    /// what the interrupted code has run since the event's last overflow, if this is the next
    /// one; then the counter is loaded with what is left to the one after that. `None`: nothing
    /// is changed, and [`Self::give_up_fast`] must follow.
    #[inline(always)]
    pub fn advance_one<R: Registers>(&self, registers: &R) -> Option<u64> {
        let progress = &self.events[0].progress;
        let terms = &self.events[0].terms;
        let counter = &terms.counter;
        // It was less than 2³² below zero. Above that it has not wrapped; and if it has come so
        // far that the difference does not borrow, it has counted 2³² or more.
        let now = u32::try_from(registers.read_counter(counter.read.counter())).ok()?;
        let [before, _] = halves(progress.raw.plain());
        let (counted, borrows) = now.overflowing_sub(before);
        let counted = u64::from(counted);
        if !borrows || counted <= terms.least.plain() {
            return None;
        }
        let position = counted - terms.overhead.plain() + progress.position.plain();
        // There is no jitter: the target is where it is due.
        let due = progress.due.plain();
        let from_due = position.wrapping_sub(due).cast_signed();
        if from_due < terms.earliest.plain().cast_signed() {
            return None;
        }
        let period = terms.period.plain();
        // Before it, and the counter can be loaded with the distance.
        let from_next = from_due.wrapping_sub(period.cast_signed());
        if from_next > terms.latest.plain().cast_signed() {
            return None;
        }

        progress.due.store(due + period, Relaxed);
        progress.position.store(position, Relaxed);
        let ran = position - progress.last.plain();
        progress.ran.store(ran, Relaxed);
        progress.last.store(position, Relaxed);
        // The latency may be less than nothing.
        let raw = from_next
            .cast_unsigned()
            .wrapping_sub(terms.latency.plain());
        progress.raw.store(raw, Relaxed);
        let [low, _] = halves(raw);
        let high = counter.written_high.plain();
        registers.write_halves(counter.write.msr(), low, high);
        Some(ran)
    }

    /// Third step of that handler: lets the counter interrupt again. What follows is to start it:
    /// [`Self::start_unmasked`], at [`Stage::Settled`].
    #[inline(always)]
    pub fn unmask_one<R: Registers>(&self, registers: &R, lvtpc: PerformanceEntry) {
        if self.fast.is_global.plain() {
            self.ack_and_unmask(registers, &self.events[0].terms.counter.status, lvtpc);
        } else {
            registers.write_lvtpc(lvtpc);
        }
    }

    /// [`Self::advance_one`] for any [`FastForm`]. Returns the events that have overflowed; it may
    /// be none, if one has that is not sampled.
    #[inline(always)]
    pub fn advance_any<R: Registers>(&self, registers: &R) -> Option<Overflows> {
        let wrapped = self.look(registers)?;
        let (mut overflows, mut count) = (Overflows::default(), 0);
        let mut bit = 1 << self.fast.first.plain();
        for EventState { progress, terms } in self.sampled() {
            if wrapped & bit != 0 {
                count += 1;
                if self.commit_overflow(progress, terms) {
                    overflows.0 |= bit;
                }
                terms.reload(registers, progress);
            } else if terms.overhead.plain() != 0 {
                terms.commit(progress);
                terms.reload(registers, progress);
            } else {
                terms.commit(progress);
                progress.raw.store(terms.counter.seen.plain(), Relaxed);
            }
            bit <<= 1;
        }
        // As `cause` has it: this is the interrupt of one of them.
        let stale = self.stale_interrupts.plain() - 1;
        self.stale_interrupts.store(stale.max(count), Relaxed);
        Some(overflows)
    }

    #[inline(always)]
    fn sampled(&self) -> &[EventState] {
        self.events.get(self.fast.events()).unwrap_or_default()
    }

    /// Reads all counters, and notes where the events are. Returns those whose counters wrapped,
    /// by bits; `None` if something is unusual.
    #[inline(always)]
    fn look<R: Registers>(&self, registers: &R) -> Option<u16> {
        let is_quick = self.fast.is_quick.plain();
        let (mut wrapped, mut has_moved) = (0, false);
        let mut bit = 1 << self.fast.first.plain();
        for EventState { progress, terms } in self.sampled() {
            let counter = &terms.counter;
            let mask = counter.mask.plain();
            let now = counter.read(registers, is_quick);
            counter.seen.store(now, Relaxed);
            let counted = now.wrapping_sub(progress.raw.plain()) & mask;
            has_moved |= counted > terms.least.plain();
            let own = counted.saturating_sub(terms.overhead.plain());
            let position = progress.position.plain() + own;
            terms.position.store(position, Relaxed);
            if has_wrapped(now, mask) {
                if !terms.is_usual(progress, position) {
                    return None;
                }
                wrapped |= bit;
            }
            bit <<= 1;
        }
        (has_moved && wrapped != 0).then_some(wrapped)
    }

    /// An event's counter has wrapped, where it was to. Returns true if that is an overflow.
    #[inline(always)]
    fn commit_overflow(&self, progress: &Progress, terms: &Terms) -> bool {
        let position = terms.commit(progress);
        let period = terms.period.plain();
        if period == 0 {
            return false;
        }
        let last = progress.last.plain();
        progress.last.store(position, Relaxed);
        progress.ran.store(position - last, Relaxed);
        let due = progress.due.plain() + period;
        progress.due.store(due, Relaxed);
        let target = self.jittered(due, terms.jitter.plain());
        progress.target.store(target, Relaxed);
        true
    }

    /// [`Self::unmask_one`] for any [`FastForm`].
    #[inline(always)]
    pub fn unmask_any<R: Registers>(&self, registers: &R, lvtpc: PerformanceEntry) {
        if self.fast.is_global.plain() {
            self.ack_and_unmask(registers, &self.fast.acknowledge.counters, lvtpc);
        } else {
            registers.write_lvtpc(lvtpc);
        }
    }

    /// Acknowledges the overflows of counters that have wrapped, by their bits of the `status`,
    /// and lets them interrupt again.
    #[inline(always)]
    fn ack_and_unmask<R: Registers>(
        &self,
        registers: &R,
        status: &Halves,
        lvtpc: PerformanceEntry,
    ) {
        let acknowledge = &self.fast.acknowledge;
        status.write(registers, acknowledge.reset.msr());
        registers.write_lvtpc(lvtpc);
        let [low, high] = registers.read_halves(acknowledge.status.msr());
        let ours = &acknowledge.ours;
        if low & ours.low.plain() | high & ours.high.plain() != 0 {
            self.ack_late(registers);
        }
    }

    /// Acknowledges what has shown late, as the exact path does.
    #[cold]
    #[inline(never)]
    pub fn ack_late<R: Registers>(&self, registers: &R) {
        let Acknowledge {
            status,
            reset,
            ours,
            ..
        } = &self.fast.acknowledge;
        for _ in 0..MAX_RETRIES {
            let [low, high] = registers.read_halves(status.msr());
            let [low, high] = [low & ours.low.plain(), high & ours.high.plain()];
            if low | high == 0 {
                break;
            }
            registers.write_halves(reset.msr(), low, high);
        }
    }

    /// For tests: all that is kept of the event at `index` from one handler to the next.
    #[cfg(test)]
    pub fn books(&self, plan: &Plan, index: usize) -> [u64; 7] {
        let progress = &self.events[index].progress;
        let assignment = plan.assignment(index).unwrap();
        [
            progress.raw.load(Relaxed) & assignment.registers.mask,
            progress.position.load(Relaxed),
            progress.due.load(Relaxed),
            progress.target(assignment),
            progress.last.load(Relaxed),
            progress.noise.load(Relaxed),
            self.random.load(Relaxed),
        ]
    }

    /// Returns true if the next interrupt may find all as usual.
    pub(super) fn is_settled(&self) -> bool {
        self.fast.is_possible.load(Relaxed)
            && self.stalls.load(Relaxed) == 0
            && self.stale_interrupts.load(Relaxed) != 0
            && self.deferred.load(Relaxed) == 0
            // Fast handlers miss none, and do not say so.
            && !self.has_missed.load(Relaxed)
            && !self.check.is_armed()
    }
}
