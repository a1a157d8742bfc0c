//! More events than counters: they are counted in groups, one group at a time.
//!
//! [`Groups::split`] makes groups each of which fits the counters that are free.
//! A [`Multiplexer`] lets a core's counters count one of them, then the next, and
//! keeps for each event how often it happened while it was counted, and two times:
//!
//! * *enabled*: the time for which the interrupted code ran since the begin;
//! * *running*: that part of it in which the event had a counter.
//!
//! What the event's count would have been is then the count times enabled by running
//! ([`Reading::scaled`]): an estimate, which is as good as the code is uniform over
//! many rounds of the groups. If there is only one group, running is enabled, and the
//! count is exact.
//!
//! # What is counted
//!
//! The interrupted code's events alone, as with samples (see [`super::driver`]):
//! counters are stopped from [`Multiplexer::pause`] to [`Multiplexer::resume`], which
//! are a handler's first and last steps, and the overhead is subtracted, from the times as
//! well. So counting begins and ends in a handler, too, which the code calls by an
//! instruction; that instruction is accounted for, too ([`Cost`]).
//!
//! Counts do not wrap: a counter interrupts when it does, and [`PmuDriver`] adds up in 64
//! bits.

use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use crate::format::count::Reading;
use crate::hw::apic::PerformanceEntry;

use super::driver::{Interrupt, PmuDriver};
use super::event::{EventList, MAX_EVENTS, What};
use super::ibs::NoIbs;
use super::plan::{Plan, PlanError, PmuState};
use super::registers::{MsrFault, Registers};

/// Which events of a list are counted at the same time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Groups {
    /// By group: its events, a bit each, by their places in the list.
    members: [u16; MAX_EVENTS],
    len: usize,
    /// By event: why no group has it.
    problems: [Option<PlanError>; MAX_EVENTS],
}

impl Groups {
    /// Puts each of `events` into the first group beside whose events it finds a
    /// counter, or into a new one. Events that stand beside each other stay together
    /// where they can.
    #[must_use]
    pub fn split(found: &PmuState, events: &EventList) -> Self {
        let mut groups = Self {
            members: [0; MAX_EVENTS],
            len: 0,
            problems: [None; MAX_EVENTS],
        };
        for (index, event) in events.iter().enumerate() {
            if let What::IbsOp(_) = event.what {
                groups.problems[index] = Some(PlanError::NoIbs(NoIbs::CountsNothing));
                continue;
            }
            let alone = EventList::of(*event);
            if let Err(problem) = Plan::make(found, &alone, None) {
                groups.problems[index] = Some(at(problem, index));
                continue;
            }
            let fits = |&members: &u16| {
                let list = chosen(events, members | 1 << index);
                list.is_some_and(|list| Plan::make(found, &list, None).is_ok())
            };
            let group = groups.members[..groups.len].iter().position(fits);
            let group = group.unwrap_or_else(|| {
                groups.len += 1;
                groups.len - 1
            });
            groups.members[group] |= 1 << index;
        }
        groups
    }

    /// How many groups there are; none if no event can be counted.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Returns true if no event can be counted.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Why the event at `index` cannot be counted, if it cannot, even alone.
    #[must_use]
    pub fn problem(&self, index: usize) -> Option<&PlanError> {
        self.problems.get(index)?.as_ref()
    }

    /// The group with this number, of those that [`Self::split`] made of `events`.
    #[must_use]
    pub fn group(&self, found: &PmuState, events: &EventList, number: usize) -> Option<Group> {
        let members = *self.members[..self.len].get(number)?;
        let list = chosen(events, members)?;
        Some(Group {
            plan: Plan::make(found, &list, None).ok()?,
            members,
            calls: [0; MAX_EVENTS],
            spreads: [0; MAX_EVENTS],
            time: Cost::default(),
        })
    }
}

/// The problem of a list of one event, as that of the event at `index`.
fn at(problem: PlanError, index: usize) -> PlanError {
    match problem {
        PlanError::NoIbs(_) | PlanError::TwoIbs => problem,
        PlanError::Event { event, problem, .. } => PlanError::Event {
            place: index,
            event,
            problem,
        },
        PlanError::TooMany {
            event,
            mut problem,
            busy,
            dead,
        } => {
            problem.event = index;
            PlanError::TooMany {
                event,
                problem,
                busy,
                dead,
            }
        }
    }
}

/// Those of `events` whose bits are set in `members`; `None` if there are none.
fn chosen(events: &EventList, members: u16) -> Option<EventList> {
    let mut list: Option<EventList> = None;
    for (index, event) in events.iter().enumerate() {
        if members >> index & 1 != 0 {
            list = match list {
                None => Some(EventList::of(*event)),
                Some(list) => list.and(*event),
            };
        }
    }
    list
}

/// The overhead of a handler.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Cost {
    /// Of an interrupt, from the end of one handler to the start of the next ([`super::plan::Assignment::overhead`]).
    pub overhead: u64,
    /// Of the instruction by which code calls the handler.
    pub call: u64,
    /// By how much more than the overhead an interrupt may cost, as far as was measured.
    pub spread: u64,
}

/// Events that are counted at the same time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Group {
    /// How they are counted; its assignments are the group's events, in order.
    plan: Plan,
    /// Its events, a bit each, by their places in the whole list.
    members: u16,
    /// By assignment: events of the instruction by which code calls the handler.
    calls: [u32; MAX_EVENTS],
    /// By assignment: by how many more events than are taken off an interrupt may cost.
    spreads: [u32; MAX_EVENTS],
    /// In ticks.
    time: Cost,
}

impl Group {
    /// The group's events: each one's assignment in the group's plan, and its place in the
    /// whole list.
    pub fn events(&self) -> impl Iterator<Item = (usize, usize)> {
        let members = self.members;
        let places = (0..MAX_EVENTS).filter(move |place| members >> place & 1 != 0);
        places.enumerate()
    }

    /// How its events are counted.
    #[cfg(test)]
    pub const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Sets the overhead of the handler in the event of the assignment `index`.
    pub fn set_cost(&mut self, index: usize, cost: Cost) {
        if let Some(assignment) = self.plan.assignment_mut(index) {
            assignment.overhead = cost.overhead;
        }
        // A way of so many events would be none.
        let narrow = |events: u64| u32::try_from(events).unwrap_or(u32::MAX);
        self.calls[index] = narrow(cost.call);
        self.spreads[index] = narrow(cost.spread);
    }

    /// What is taken off for each interrupt in the event of the assignment `index`.
    #[must_use]
    pub fn cost(&self, index: usize) -> Cost {
        let assignment = self.plan.assignment(index);
        Cost {
            overhead: assignment.map_or(0, |it| it.overhead),
            call: self.calls[index].into(),
            spread: self.spreads[index].into(),
        }
    }

    /// Sets the overhead of the handler in ticks, from the time given to
    /// [`Multiplexer::resume`] to the one given to [`Multiplexer::pause`].
    pub const fn set_time(&mut self, cost: Cost) {
        self.time = cost;
    }
}

/// The totals of an event.
#[derive(Default, Debug)]
struct Account {
    /// Its count in the finished turns of its group.
    count: AtomicU64,
    /// The ticks that its group had the counters.
    running: AtomicU64,
    /// What is to be taken off its count in this turn.
    calls: AtomicU64,
}

/// Counts the events of several groups on a core, one group at a time.
///
/// Used on that core alone, in its handler, which nothing interrupts that uses it too:
/// a maskable interrupt's, for the counters' overflows as for everything else. All
/// functions are given the same groups, one at least.
#[derive(Default, Debug)]
pub struct Multiplexer {
    driver: PmuDriver,
    /// The number of the group that has the counters.
    current: AtomicUsize,
    accounts: [Account; MAX_EVENTS],
    enabled: AtomicU64,
    /// When the last handler ended.
    resumed: AtomicU64,
    /// How often an overhead was taken off.
    passages: AtomicU64,
}

impl Multiplexer {
    /// Begins to count, with the first group: from [`Self::resume`] on.
    ///
    /// # Errors
    ///
    /// The processor refuses a value. All registers are restored.
    pub fn begin<R: Registers>(&self, registers: &R, groups: &[Group]) -> Result<(), MsrFault> {
        for account in &self.accounts {
            account.count.store(0, Relaxed);
            account.running.store(0, Relaxed);
            account.calls.store(0, Relaxed);
        }
        self.enabled.store(0, Relaxed);
        self.passages.store(0, Relaxed);
        self.turn_on(registers, groups, 0)
    }

    /// First step of a handler, which came at `now`, in ticks: stops the counters. Returns
    /// true if they ran; then the handler must end by [`Self::resume`].
    #[inline]
    pub fn pause<R: Registers>(&self, registers: &R, groups: &[Group], now: u64) -> bool {
        let Some(group) = groups.get(self.current.load(Relaxed)) else {
            return false;
        };
        // Whatever its cause, it has collected the counts.
        let Interrupt::Stopped(..) = self.driver.on_interrupt(registers, &group.plan) else {
            return false;
        };
        add(&self.passages, 1);
        let ran = now.wrapping_sub(self.resumed.load(Relaxed));
        let ran = ran.saturating_sub(group.time.overhead);
        add(&self.enabled, ran);
        for (_, event) in group.events() {
            add(&self.accounts[event].running, ran);
        }
        true
    }

    /// Last step of the handler, which ends at `now`, in ticks: restarts the counters, with
    /// `lvtpc` as their entry of the local vector table.
    #[inline]
    pub fn resume<R: Registers>(
        &self,
        registers: &R,
        groups: &[Group],
        lvtpc: PerformanceEntry,
        now: u64,
    ) {
        if let Some(group) = groups.get(self.current.load(Relaxed)) {
            self.resumed.store(now, Relaxed);
            self.driver.resume(registers, &group.plan, lvtpc);
        }
    }

    /// Between the two: gives the counters to the next group.
    ///
    /// # Errors
    ///
    /// The processor refuses a value; nothing is counted from then on.
    pub fn rotate<R: Registers>(&self, registers: &R, groups: &[Group]) -> Result<(), MsrFault> {
        self.end(registers, groups, false);
        let next = (self.current.load(Relaxed) + 1) % groups.len().max(1);
        self.turn_on(registers, groups, next)
    }

    /// After [`Self::pause`]: ends counting and restores all registers. `is_called`: the
    /// code itself called the handler.
    pub fn end<R: Registers>(&self, registers: &R, groups: &[Group], is_called: bool) {
        let Some(group) = groups.get(self.current.load(Relaxed)) else {
            return;
        };
        for (index, event) in group.events() {
            let account = &self.accounts[event];
            let call = if is_called {
                group.calls[index].into()
            } else {
                0
            };
            let calls = account.calls.swap(0, Relaxed) + call;
            let counted = self.driver.position(index).saturating_sub(calls);
            add(&account.count, counted);
            if is_called {
                take_off(&account.running, group.time.call);
            }
        }
        if is_called {
            take_off(&self.enabled, group.time.call);
        }
        self.driver.stop(registers, &group.plan);
    }

    /// The totals of the event at `index` of the whole list, once counting has ended.
    #[must_use]
    pub fn reading(&self, index: usize) -> Reading {
        let account = &self.accounts[index];
        Reading {
            count: account.count.load(Relaxed),
            enabled: self.enabled.load(Relaxed),
            running: account.running.load(Relaxed),
        }
    }

    /// Between [`Self::pause`] and [`Self::resume`]: the code has called the handler and goes on, which
    /// is none of what is counted.
    pub fn take_off_call(&self, groups: &[Group]) {
        let Some(group) = groups.get(self.current.load(Relaxed)) else {
            return;
        };
        for (index, event) in group.events() {
            let account = &self.accounts[event];
            add(&account.calls, group.calls[index].into());
            take_off(&account.running, group.time.call);
        }
        take_off(&self.enabled, group.time.call);
    }

    /// Between [`Self::pause`] and [`Self::resume`]: the totals so far of the event at `index` of the whole
    /// list, as [`Self::reading`] has them at the end.
    #[must_use]
    pub fn so_far(&self, groups: &[Group], index: usize) -> Reading {
        let group = groups.get(self.current.load(Relaxed));
        let counter = group.and_then(|group| group.events().find(|&(_, event)| event == index));
        let account = &self.accounts[index];
        let calls = account.calls.load(Relaxed);
        let turn = counter.map_or(0, |(counter, _)| self.driver.position(counter));
        let mut reading = self.reading(index);
        reading.count += turn.saturating_sub(calls);
        reading
    }

    /// How often the handler was come through since the begin, the last time included.
    #[must_use]
    pub fn passages(&self) -> u64 {
        self.passages.load(Relaxed)
    }

    /// Programs a group's counters, without starting them.
    fn turn_on<R: Registers>(
        &self,
        registers: &R,
        groups: &[Group],
        number: usize,
    ) -> Result<(), MsrFault> {
        let Some(group) = groups.get(number) else {
            return Ok(());
        };
        self.current.store(number, Relaxed);
        self.driver.start(registers, &group.plan)
    }
}

/// Only the core itself writes, here and below.
fn take_off(from: &AtomicU64, less: u64) {
    from.store(from.load(Relaxed).saturating_sub(less), Relaxed);
}

#[inline]
fn add(to: &AtomicU64, more: u64) {
    to.store(to.load(Relaxed) + more, Relaxed);
}
