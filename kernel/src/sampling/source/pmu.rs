//! The source `pmu`: performance counters of each core, which interrupt it every so
//! many events.
//!
//! What they count and how they are programmed is [`profiler::pmu`]'s. Here is when:
//! every core looks at its own PMU and plans before any is chosen as the source
//! ([`survey`]), since cores may differ; then the first makes sure that an overflow
//! arrives, and measures what an interrupt costs in each event ([`Pmu::measure`]).
//! Counters count a core's own events, so the cores do not take turns.

use alloc::boxed::Box;
use core::fmt;
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering, Ordering::Relaxed};

use profiler::format::{Clock, Delivery, EventDescription, Text};
use profiler::pmu::counters::Counters;
use profiler::pmu::detect::{self, Interface, NoPmu};
use profiler::pmu::event::{Event, EventList, MAX_EVENTS, Named, What};
use profiler::pmu::plan::{Found, Plan, Slot, Unplanned};
use profiler::pmu::registers::{Refused, lvt};
use profiler::pmu::unit::{Entered, Unit};
use raw_cpuid::native_cpuid;
use spin::Once;

use super::Unavailable;
use crate::cpu::msr::pmu::ThisCore;
use crate::cpu::{self, CoreBlock};
use crate::sampling::calibration;
use crate::smp;
use crate::time::Deadline;
use crate::trap::vector;

/// What is counted where nothing else is asked for.
pub const DEFAULT_EVENTS: EventList = EventList::of(CYCLES);
const CYCLES: Event = Event::new(What::Named(Named::Cycles));

/// The period of a probe: long enough for the handler, short enough to wait for.
const PROBE: u64 = 100_000;
/// How often the passage is measured; what is least is taken.
const TRIALS: u32 = 32;

/// What a core knows of its PMU. Written by that core.
#[derive(Default)]
pub struct CorePmu {
    unit: Unit,
    /// What it counts: null, or leaked, so that a handler that still uses an old one
    /// may.
    plan: AtomicPtr<Plan>,
    /// What came of its survey.
    survey: Once<Result<Found, Problem>>,
    /// While calibrating, by event: the position at the last interrupt, and how far
    /// that was from the one before.
    positions: [AtomicU64; MAX_EVENTS],
    distances: [AtomicU64; MAX_EVENTS],
}

/// Why a core's PMU cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Problem {
    /// It has none.
    NoPmu(NoPmu),
    /// The processor refuses a register that it announces.
    Refused(Refused),
    /// It cannot count what it was asked for.
    Unplanned(Unplanned),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPmu(problem) => problem.fmt(f),
            Self::Refused(problem) => problem.fmt(f),
            Self::Unplanned(problem) => problem.fmt(f),
        }
    }
}

impl From<NoPmu> for Problem {
    fn from(problem: NoPmu) -> Self {
        Self::NoPmu(problem)
    }
}

impl From<Refused> for Problem {
    fn from(problem: Refused) -> Self {
        Self::Refused(problem)
    }
}

impl From<Unplanned> for Problem {
    fn from(problem: Unplanned) -> Self {
        Self::Unplanned(problem)
    }
}

impl CorePmu {
    #[inline]
    fn plan(&self) -> Option<&'static Plan> {
        // SAFETY: null, or a plan that was leaked: it lives for ever, and nobody
        // changes it once it is here.
        unsafe { self.plan.load(Ordering::Acquire).as_ref() }
    }

    fn set_plan(&self, plan: Plan) {
        let plan: *mut Plan = Box::leak(Box::new(plan));
        self.plan.store(plan, Ordering::Release);
    }
}

/// Lets every core look at its own PMU, and tries whether `events` can be counted
/// there: before any of them samples. What came of it is in the log, core by core.
pub fn survey(events: EventList) {
    ASKED.call_once(|| events);
    let others = &cpu::cores()[1..];
    others.iter().for_each(|core| smp::give(core, survey_here));
    survey_here();
    for core in cpu::cores() {
        let is_done = || core.sampling.pmu.survey.is_completed();
        let came = Deadline::after(smp::PATIENCE).wait_for(is_done);
        assert!(came, "core {} did not look at its PMU", core.index);
        if let Some(Err(problem)) = core.sampling.pmu.survey.get() {
            log::debug!("core {}: pmu: {problem}", core.index);
        }
    }
}

/// What [`survey`] was asked for.
static ASKED: Once<EventList> = Once::new();

fn survey_here() {
    let pmu = &cpu::current().sampling.pmu;
    pmu.survey.call_once(|| {
        let events = ASKED.get().ok_or(NoPmu::NoCounters)?;
        let capabilities = detect::detect(|leaf, subleaf| {
            let answer = native_cpuid::cpuid_count(leaf, subleaf);
            [answer.eax, answer.ebx, answer.ecx, answer.edx]
        })?;
        let found = Found::look(&ThisCore, &capabilities)?;
        let plan = Plan::make(&found, events, None)?;
        // All values that are written later are taken, or it is known here.
        pmu.unit.start(&ThisCore, &plan, lvt::MASKED | lvt::NMI)?;
        pmu.unit.stop(&ThisCore, &plan);
        pmu.set_plan(plan);
        Ok(found)
    });
}

/// What an interrupt costs, and what comes of that.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// Ticks of the time stamp counter that are neither the handler's nor the
    /// interrupted code's.
    pub passage: u64,
    /// How each event is sampled.
    pub events: [EventDescription; MAX_EVENTS],
    /// How many there are.
    pub event_count: u8,
}

/// How overflows are displaced at random.
#[derive(Clone, Copy, Debug)]
pub struct Jitter {
    /// By up to so much of the period, either way.
    pub percent: u8,
    /// Where the random numbers begin.
    pub seed: u64,
}

/// Fills in what is known by measuring: an interrupt costs from the first to the
/// second of `span` events. Gives the shortest period that progresses.
fn settle_slot(
    slot: &mut Slot,
    (least, most): (u64, u64),
    clock: Clock,
    period: u64,
    jitter: Jitter,
) -> u64 {
    // The second `int` itself: an instruction, and where instructions are the clock, a
    // cycle.
    let is_counted = match slot.event.what {
        What::Named(Named::Instructions) => true,
        _ => clock == Clock::Instructions && least > 0,
    };
    slot.passage = least.saturating_sub(u64::from(is_counted));
    // More than the passage varies by.
    let floor = (2 * (most - least)).max(slot.least);
    let period = slot.event.period.unwrap_or(period).max(floor);
    slot.period = Some(period);
    slot.jitter = period * u64::from(jitter.percent) / 100;
    floor
}

/// The PMUs of all cores.
#[derive(Clone, Copy, Debug)]
pub struct Pmu {
    delivery: Delivery,
    /// What the first core has.
    interface: Interface,
    counters: Counters,
}

impl fmt::Display for Pmu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counters { general, fixed } = self.counters;
        let (general, fixed) = (general.count_ones(), fixed.count_ones());
        write!(f, "{}, {general}+{fixed} counters", self.interface)
    }
}

impl Pmu {
    /// Makes sure that every core can count, and that the running core's counters
    /// interrupt it.
    ///
    /// # Errors
    ///
    /// A core cannot, or no interrupt arrives.
    pub fn probe(delivery: Delivery) -> Result<Self, Unavailable> {
        for core in cpu::cores() {
            if let Some(Err(problem)) = core.sampling.pmu.survey.get() {
                return Err(Unavailable::Pmu {
                    core: core.index,
                    problem: *problem,
                });
            }
        }
        let core = cpu::current();
        let survey = core.sampling.pmu.survey.get().and_then(|it| it.ok());
        let found = survey.ok_or(Unavailable::NoPmu)?;
        Ok(Self {
            delivery,
            interface: found.capabilities.interface,
            counters: found.free,
        })
    }

    /// Lets an overflow happen on the running core.
    ///
    /// # Errors
    ///
    /// None arrives: a hypervisor whose virtual APIC does not deliver them.
    pub fn try_out(&self) -> Result<(), Unavailable> {
        let core = cpu::current();
        let pmu = &core.sampling.pmu;
        let survey = pmu.survey.get().and_then(|it| it.ok());
        let found = survey.ok_or(Unavailable::NoPmu)?;
        let asked = pmu.plan.load(Relaxed);
        let refused = |problem| Unavailable::Pmu {
            core: core.index,
            problem,
        };
        let probe = Plan::make(&found, &DEFAULT_EVENTS, Some(PROBE));
        pmu.set_plan(probe.map_err(|problem| refused(problem.into()))?);
        let outcome = calibration::arrival(|core| self.arm(core));
        self.disarm(core);
        pmu.plan.store(asked, Relaxed);
        outcome
    }

    /// Measures what an interrupt costs in each event on the running core, and plans
    /// by that for all cores: events that have no period of their own get `period`, and
    /// one that is too short to progress is lengthened.
    pub fn measure(&self, clock: Clock, period: u64, jitter: Jitter) -> Measured {
        let core = cpu::current();
        let pmu = &core.sampling.pmu;
        let mut measured = Measured {
            passage: u64::MAX,
            events: [EventDescription::EMPTY; MAX_EVENTS],
            event_count: 0,
        };
        let Some(asked) = pmu.plan() else {
            return measured;
        };
        pmu.set_plan(asked.without_periods());
        self.arm(core);
        let mut spans = [(u64::MAX, 0); MAX_EVENTS];
        for _ in 0..TRIALS {
            calibration::raise_two(self.delivery);
            // The second `int` itself.
            let passage = calibration::between(core).saturating_sub(1);
            measured.passage = measured.passage.min(passage);
            for (span, distance) in spans.iter_mut().zip(&pmu.distances) {
                let distance = distance.load(Relaxed);
                *span = (span.0.min(distance), span.1.max(distance));
            }
        }
        self.disarm(core);
        pmu.set_plan(*asked);
        for core in cpu::cores() {
            let Some(plan) = core.sampling.pmu.plan() else {
                continue;
            };
            let mut plan = *plan;
            // The cores would keep step with each other.
            plan.seed = jitter.seed ^ u64::from(core.index) << 32;
            for (index, &span) in spans.iter().enumerate() {
                let Some(slot) = plan.slot_mut(index) else {
                    continue;
                };
                let floor = settle_slot(slot, span, clock, period, jitter);
                if core.index == 0 {
                    measured.events[index] = EventDescription {
                        name: Text::formatted(format_args!("{}", slot.event.counted())),
                        requested_period: slot.event.period.unwrap_or(period),
                        period: slot.period.unwrap_or(0),
                        floor,
                    };
                    measured.event_count += 1;
                }
            }
            core.sampling.pmu.set_plan(plan);
        }
        measured
    }

    /// The entry of the local vector table by which overflows interrupt.
    #[inline]
    fn lvtpc(&self) -> u32 {
        match self.delivery {
            Delivery::Nmi => lvt::NMI,
            Delivery::Irq => vector::SAMPLING.into(),
        }
    }

    /// Lets the counters of the running core, `core`, count: from the start, or on
    /// from where [`Self::enter`] has stopped them.
    #[inline]
    pub fn arm(&self, core: &CoreBlock) {
        let pmu = &core.sampling.pmu;
        let Some(plan) = pmu.plan() else {
            return;
        };
        if pmu.unit.is_running() {
            pmu.unit.leave(&ThisCore, plan, self.lvtpc());
        } else {
            let started = pmu.unit.start(&ThisCore, plan, self.lvtpc());
            started.expect("the PMU has taken all of this before");
        }
    }

    /// Stops the counters of the running core, `core`, for good; its registers are as
    /// they were before.
    pub fn disarm(&self, core: &CoreBlock) {
        let pmu = &core.sampling.pmu;
        if let Some(plan) = pmu.plan() {
            pmu.unit.stop(&ThisCore, plan);
        }
    }

    /// Stops the counters of the running core, `core`, until it is armed again, and
    /// finds which have overflowed.
    #[inline]
    pub fn enter(&self, core: &CoreBlock) -> Entered {
        let pmu = &core.sampling.pmu;
        match pmu.plan() {
            Some(plan) => pmu.unit.enter(&ThisCore, plan),
            None => Entered::Off,
        }
    }

    /// An interrupt while calibrating: notes how far the events have come. Gives whether
    /// counters have been stopped for that, and are to be armed again.
    pub fn trial(&self, core: &CoreBlock) -> bool {
        let pmu = &core.sampling.pmu;
        let Some(plan) = pmu.plan() else {
            return false;
        };
        let Entered::Stopped(..) = pmu.unit.enter(&ThisCore, plan) else {
            return false;
        };
        for (index, _) in plan.slots() {
            let position = pmu.unit.position(index);
            let before = pmu.positions[index].swap(position, Relaxed);
            pmu.distances[index].store(position.wrapping_sub(before), Relaxed);
        }
        true
    }

    /// The overflow of the event at `index` that [`Self::enter`] has found.
    #[inline]
    pub fn overflow(&self, core: &CoreBlock, index: usize) -> profiler::pmu::unit::Overflow {
        core.sampling.pmu.unit.overflow(index)
    }
}
