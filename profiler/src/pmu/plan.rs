//! What is counted on a core: the PMU as it was found, and for each event its counter,
//! its period, and what an interrupt costs in it.

use core::fmt;

use super::allocate::{self, TooMany};
use super::counter_msrs::{CounterMsrs, CounterRegisters, GlobalRegisters};
use super::counters::{Counter, Counters};
use super::detect::{Capabilities, Interface};
use super::encode::{Encoding, NoEncoding};
use super::event::{Event, EventList, MAX_EVENTS, What};
use super::fast_form::FastForm;
use super::ibs::{Ibs, NoIbs, Sampling};
use super::registers::{MsrFault, Registers, intel, select};

/// A core's PMU as its registers show it before anything is counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PmuState {
    /// What CPUID says.
    pub capabilities: Capabilities,
    /// Its registers.
    pub msrs: CounterMsrs,
    /// Counters that work and are not in use.
    pub free: Counters,
    /// Counters in use by firmware, a hypervisor or an earlier kernel.
    pub busy: Counters,
    /// Counters that do not keep what is written to them.
    pub dead: Counters,
    /// Free counters that `rdpmc` reads.
    pub quick: Counters,
    /// What ops are sampled by, or why they are not.
    pub ibs: Result<Ibs, NoIbs>,
}

impl PmuState {
    /// Probes the running core's PMU, and restores its registers.
    ///
    /// # Errors
    ///
    /// The processor refuses a register that CPUID announces: a hypervisor's bug.
    pub fn probe<R: Registers>(
        registers: &R,
        capabilities: &Capabilities,
    ) -> Result<Self, MsrFault> {
        let features = match capabilities.interface {
            Interface::Intel(_) if capabilities.has_capabilities => {
                registers.try_read(intel::CAPABILITIES)?
            }
            _ => 0,
        };
        let msrs = CounterMsrs::new(capabilities, features);
        // Every register that is written later is written here, or at least read.
        if let Some(global) = msrs.global() {
            global.try_out(registers)?;
        }
        let fixed_control = match capabilities.counters.fixed {
            0 => 0,
            _ => registers.try_read(intel::FIXED_CONTROL)?,
        };
        let mut found = Self {
            capabilities: *capabilities,
            msrs,
            free: Counters::NONE,
            busy: Counters::NONE,
            dead: Counters::NONE,
            quick: Counters::NONE,
            ibs: Ibs::probe(registers, capabilities),
        };
        for counter in capabilities.counters.iter() {
            let is_busy = match counter {
                Counter::General(number) => {
                    registers.try_read(msrs.event_select(number))? & select::ENABLE != 0
                }
                Counter::Fixed(number) => fixed_control & CounterMsrs::fixed_field(number) != 0,
            };
            let set = if is_busy {
                &mut found.busy
            } else if keeps_what_is_written(registers, &msrs, counter)? {
                &mut found.free
            } else {
                &mut found.dead
            };
            set.insert(counter);
        }
        for counter in found.free.iter() {
            if is_quick(registers, &msrs, counter)? {
                found.quick.insert(counter);
            }
        }
        if let Some(global) = msrs.global() {
            global.try_counters(registers, found.free)?;
        }
        Ok(found)
    }
}

/// Returns true if `counter`, which is stopped, keeps what is written. Restores its value.
fn keeps_what_is_written<R: Registers>(
    registers: &R,
    msrs: &CounterMsrs,
    counter: Counter,
) -> Result<bool, MsrFault> {
    // Not negative in any width, and not what an emulator answers that knows no such
    // register.
    const PATTERN: u64 = 0x2bcd;
    let before = registers.try_read(msrs.counter(counter))?;
    let probe = before & 0xffff ^ PATTERN;
    msrs.try_set(registers, counter, probe)?;
    let kept = registers.try_read(msrs.counter(counter))?;
    msrs.try_set(registers, counter, before)?;
    Ok(kept == probe)
}

/// Returns true if `rdpmc` reads `counter`, which is stopped and keeps what is written. Restores
/// its value.
fn is_quick<R: Registers>(
    registers: &R,
    msrs: &CounterMsrs,
    counter: Counter,
) -> Result<bool, MsrFault> {
    let Some(number) = msrs.number(counter) else {
        return Ok(false);
    };
    let before = registers.try_read(msrs.counter(counter))?;
    // All but the high bits, which not every counter takes: not what was there.
    let probe = !before & 0x7fff_ffff;
    msrs.try_set(registers, counter, probe)?;
    let read = registers.try_read_counter(number);
    msrs.try_set(registers, counter, before)?;
    Ok(read == Ok(probe))
}

/// How an event is counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Assignment {
    /// The event.
    pub event: Event,
    /// Its counter.
    pub counter: Counter,
    /// The registers of that counter.
    pub registers: CounterRegisters,
    /// The value of the counter's event select, or of its field of the fixed counters'
    /// control register.
    pub control: u64,
    /// Events of the interrupted code from one overflow to the next; `None` if it is
    /// counted and not sampled.
    pub period: Option<u64>,
    /// The events by which an overflow may be moved at random, either way.
    pub jitter: u64,
    /// The events of an interrupt's entry and exit, which are not the interrupted code's.
    pub overhead: u64,
    /// Events that go by from the counters' start until the interrupted code is
    /// reached, less those by which an interrupt is late: what an overflow is put off
    /// by, so that it interrupts where it is due; or below zero, brought forward.
    pub arm_latency: i64,
    /// By how many events the overhead varies: so few between two handlers do not show that
    /// the interrupted code has moved.
    pub noise: u64,
    /// By how many events an overflow may interrupt too early and be taken all the
    /// same. What is lacking is made up for by the next.
    pub tolerance: u64,
    /// The fewest events after which an overflow interrupts reliably.
    pub min_count: u64,
}

/// What is counted on a core.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Plan {
    /// How the counters are reached.
    pub msrs: CounterMsrs,
    /// The registers that start and stop all of them, if there are any.
    pub global: Option<GlobalRegisters>,
    /// By event.
    assignments: [Option<Assignment>; MAX_EVENTS],
    len: usize,
    /// The counters that it uses.
    pub counters: Counters,
    /// All that the processor has.
    present: Counters,
    /// Those of somebody else's: see [`PmuState::busy`].
    busy: Counters,
    /// The seed of the random numbers for jitter.
    pub seed: u64,
    /// All its counters are read by `rdpmc`.
    pub quick: bool,
    /// Which fast path its interrupts have, if they have one.
    pub form: Option<FastForm>,
    /// How ops are sampled, if an event asks for that.
    pub ibs: Option<Sampling>,
}

/// Why events cannot be counted on a core.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PlanError {
    /// One of them cannot be counted at all.
    Event {
        /// Its place in the list.
        place: usize,
        /// The event.
        event: Event,
        /// The reason.
        problem: NoEncoding,
    },
    /// Ops cannot be sampled.
    NoIbs(NoIbs),
    /// There are two events that sample ops, of which a core has one.
    TwoIbs,
    /// There are not enough counters.
    TooMany {
        /// The first that has none.
        event: Event,
        /// Its place, and the counters that there are.
        problem: TooMany,
        /// Counters in use by firmware or a hypervisor.
        busy: Counters,
        /// Counters that do not work.
        dead: Counters,
    },
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Event {
                place,
                event,
                problem,
            } => write!(f, "event {}, {}: {problem}", place + 1, event.counted()),
            Self::NoIbs(problem) => write!(f, "ibs_op: {problem}"),
            Self::TwoIbs => {
                f.write_str("ibs_op: a core samples ops by one event at a time; name one")
            }
            Self::TooMany {
                event,
                problem,
                busy,
                dead,
            } => {
                if problem.free.is_empty() && busy.is_empty() {
                    // An emulator or a hypervisor that drops writes.
                    return write!(f, "no counter keeps what is written to it ({dead})");
                }
                write!(f, "{}: {problem}", event.counted())?;
                if !busy.is_empty() {
                    write!(f, "; in use by firmware or a hypervisor: {busy}")?;
                }
                if !dead.is_empty() {
                    write!(f, "; not working: {dead}")?;
                }
                Ok(())
            }
        }
    }
}

impl core::error::Error for PlanError {}

/// How the one of `events` that samples ops does so, if one does.
fn sampling(found: &PmuState, events: &EventList) -> Result<Option<Sampling>, PlanError> {
    let mut asked = events.iter().enumerate().filter_map(|(event, it)| {
        let What::IbsOp(count) = it.what else {
            return None;
        };
        Some((event, count))
    });
    let Some((event, count)) = asked.next() else {
        return Ok(None);
    };
    if asked.next().is_some() {
        return Err(PlanError::TwoIbs);
    }
    let ibs = found.ibs.map_err(PlanError::NoIbs)?;
    Ok(Some(Sampling {
        ibs,
        count,
        event,
        spread: 0,
    }))
}

/// The events that are for the cores of one kind: where each stands in the list, and what
/// counts it.
struct Asked {
    events: [Option<(usize, Encoding)>; MAX_EVENTS],
    len: usize,
}

impl Asked {
    /// Those of `events` for a core with what was `found`: one at least.
    fn of(found: &PmuState, events: &EventList) -> Result<Self, PlanError> {
        let cannot = |place: usize, problem| PlanError::Event {
            place,
            event: events.as_slice()[place],
            problem,
        };
        let mut asked = Self {
            events: [None; MAX_EVENTS],
            len: 0,
        };
        for (place, event) in events.iter().enumerate() {
            match (event.cores, found.capabilities.core_kind) {
                (Some(_), None) => return Err(cannot(place, NoEncoding::NotHybrid)),
                (Some(cores), Some(own)) if cores != own => continue,
                _ => {}
            }
            let encoding = found.capabilities.encode(event);
            let encoding = encoding.map_err(|problem| cannot(place, problem))?;
            asked.events[asked.len] = Some((place, encoding));
            asked.len += 1;
        }
        if asked.len == 0 {
            return Err(cannot(0, NoEncoding::OtherCores));
        }
        Ok(asked)
    }

    fn iter(&self) -> impl Iterator<Item = (usize, Encoding)> {
        self.events.iter().flatten().copied()
    }

    /// A counter for each of them, in their order.
    fn allocate(
        &self,
        found: &PmuState,
        events: &EventList,
    ) -> Result<[Option<Counter>; MAX_EVENTS], PlanError> {
        let mut allowed = [Counters::NONE; MAX_EVENTS];
        for (allowed, (_, encoding)) in allowed.iter_mut().zip(self.iter()) {
            *allowed = encoding.counters;
        }
        allocate::allocate(&allowed[..self.len], found.free).map_err(|mut problem| {
            if let Some((place, _)) = self.events[problem.event] {
                problem.event = place;
            }
            PlanError::TooMany {
                event: events.as_slice()[problem.event],
                problem,
                busy: found.busy,
                dead: found.dead,
            }
        })
    }
}

impl Assignment {
    /// The bit of its counter in the global registers.
    pub(super) fn global_bit(&self) -> u64 {
        let mut counters = Counters::NONE;
        counters.insert(self.counter);
        counters.global_bits()
    }

    fn new(
        found: &PmuState,
        event: Event,
        encoding: Encoding,
        counter: Counter,
        period: Option<u64>,
    ) -> Self {
        let control = match counter {
            Counter::General(_) => encoding.select | select::ENABLE | select::INTERRUPT,
            Counter::Fixed(_) => encoding.fixed | super::registers::fixed::INTERRUPT,
        };
        Self {
            event,
            counter,
            registers: found.msrs.registers(counter),
            control,
            period,
            jitter: 0,
            overhead: 0,
            arm_latency: 0,
            noise: 0,
            tolerance: 0,
            min_count: encoding.min_count,
        }
    }
}

impl Plan {
    /// Gives each event a counter; events without a period of their own get `period`. Those
    /// of another kind of core are left out.
    ///
    /// # Errors
    ///
    /// [`PlanError`] if one of them cannot be counted, or all are left out; then none is.
    pub fn make(
        found: &PmuState,
        events: &EventList,
        period: Option<u64>,
    ) -> Result<Self, PlanError> {
        let ibs = sampling(found, events)?;
        let asked = Asked::of(found, events)?;
        let counters = asked.allocate(found, events)?;
        let mut plan = Self {
            msrs: found.msrs,
            global: found.msrs.global(),
            assignments: [None; MAX_EVENTS],
            len: events.as_slice().len(),
            counters: Counters::NONE,
            present: found.capabilities.counters,
            busy: found.busy,
            seed: 0,
            quick: false,
            form: None,
            ibs,
        };
        for ((place, encoding), counter) in asked.iter().zip(counters.into_iter().flatten()) {
            let event = events.as_slice()[place];
            let period = event.period.or(period);
            plan.counters.insert(counter);
            plan.assignments[place] =
                Some(Assignment::new(found, event, encoding, counter, period));
        }
        plan.quick = plan.counters.without(found.quick).is_empty();
        plan.form = FastForm::of(&plan);
        Ok(plan)
    }

    /// The counters whose overflows are acknowledged: those that are nobody's as well, as what
    /// shows of them is left over.
    #[must_use]
    pub const fn acknowledged(&self) -> Counters {
        self.present.without(self.busy)
    }

    /// All counters, those of somebody else's too.
    #[must_use]
    pub const fn present(&self) -> Counters {
        self.present
    }

    /// How each event is counted, by its place in the list.
    #[inline]
    pub fn assignments(&self) -> impl Iterator<Item = (usize, &Assignment)> {
        let assignments = self.assignments.iter().take(self.len).enumerate();
        assignments.filter_map(|(index, assignment)| Some((index, assignment.as_ref()?)))
    }

    /// The number of events.
    #[must_use]
    pub const fn event_count(&self) -> usize {
        self.len
    }

    /// How the event at `index` is counted.
    #[must_use]
    #[inline]
    pub fn assignment(&self, index: usize) -> Option<&Assignment> {
        self.assignments.get(index)?.as_ref()
    }

    /// How the event at `index` is counted, to be changed before counting starts.
    pub fn assignment_mut(&mut self, index: usize) -> Option<&mut Assignment> {
        self.assignments.get_mut(index)?.as_mut()
    }

    /// How ops are sampled, if it is the event at `index` that does so.
    #[inline]
    pub(crate) fn sampling_of(&self, index: usize) -> Option<&Sampling> {
        self.ibs.as_ref().filter(|it| it.event == index)
    }

    /// The plan that counts the same and samples nothing.
    #[must_use]
    pub fn without_periods(mut self) -> Self {
        for assignment in self.assignments.iter_mut().flatten() {
            assignment.period = None;
        }
        self
    }

    /// Stops its counters. Those of `others`, by their bits in the global control
    /// register, keep counting.
    #[inline]
    pub(super) fn stop<R: Registers>(&self, registers: &R, others: u64) {
        match &self.global {
            Some(global) => registers.write(global.control, others),
            None => self.write_selects(registers, !select::ENABLE),
        }
    }

    /// Starts its counters.
    #[inline]
    pub(super) fn enable<R: Registers>(&self, registers: &R, others: u64) {
        match &self.global {
            Some(global) => {
                registers.write(global.control, self.counters.global_bits() | others);
            }
            None => self.write_selects(registers, u64::MAX),
        }
    }

    #[inline]
    fn write_selects<R: Registers>(&self, registers: &R, mask: u64) {
        for (_, assignment) in self.assignments() {
            if let Some(select) = assignment.registers.select {
                registers.write(select, assignment.control & mask);
            }
        }
    }
}
