//! The source `pmu`: performance counters of each core, which interrupt it every so
//! many events.
//!
//! What they count and how they are programmed is [`profiler::pmu`]'s. Here is when:
//! every core looks at its own PMU and plans before any is chosen as the source
//! ([`survey`]), since cores may differ; then the first makes sure that an overflow
//! arrives on each ([`Pmu::try_out`]), and lets each measure what an interrupt costs in
//! each event ([`Pmu::measure`]). Counters count a core's own events, so the cores do not
//! take turns.

mod measure;
mod trial;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, Ordering, Ordering::Relaxed};

use profiler::format::Delivery;
use profiler::pmu::counters::Counters;
use profiler::pmu::detect::{self, Interface, Leaf, NoPmu};
use profiler::pmu::driver::{Interrupt, Overflow, PmuDriver};
use profiler::pmu::event::{Event, EventList, Named, What};
use profiler::pmu::plan::{Plan, PlanError, PmuState};
use profiler::pmu::registers::{MsrFault, lvt};
use raw_cpuid::native_cpuid;
use spin::Once;

use super::Unavailable;
use crate::cpu::apic::{self, Destination, Message};
use crate::cpu::msr::pmu::ThisCore;
use crate::cpu::{self, CoreBlock};
use crate::sampling::calibration;
use crate::smp;
use crate::time::Deadline;
use crate::trap::{nmi, vector};
pub use measure::{Jitter, Measured};
use trial::{ARRIVAL, Trial};

/// What is counted where nothing else is asked for.
pub const DEFAULT_EVENTS: EventList = EventList::of(CYCLES);
const CYCLES: Event = Event::new(What::Named(Named::Cycles));

/// How long a core may take to answer, in ticks of the time stamp counter.
pub const PATIENCE: u64 = smp::PATIENCE / 4;

/// What a core knows of its PMU. Written by that core; what it counts and what it is asked
/// for, by the first one.
#[derive(Default)]
pub struct CorePmu {
    driver: PmuDriver,
    /// What it counts: null, or leaked, so that a handler that still uses an old one
    /// may.
    plan: AtomicPtr<Plan>,
    /// What came of its survey.
    survey: Once<Result<PmuState, Problem>>,
    /// What is asked of the core's next handler.
    wanted: AtomicU8,
    /// The number of the refusal that the last start met; 0: none.
    refused: AtomicU32,
    /// What it tries before it samples.
    trials: trial::Trials,
}

/// What a handler is asked for.
#[repr(u8)]
enum Wanted {
    Nothing,
    Start,
    Stop,
    TryPassages,
    TryOverflows,
}

impl Wanted {
    const fn from_number(number: u8) -> Self {
        match number {
            1 => Self::Start,
            2 => Self::Stop,
            3 => Self::TryPassages,
            4 => Self::TryOverflows,
            _ => Self::Nothing,
        }
    }
}

/// Why a core's PMU cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Problem {
    /// It has none.
    NoPmu(NoPmu),
    /// The processor refuses a register that it announces.
    Refused(MsrFault),
    /// It cannot count what it was asked for.
    PlanError(PlanError),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPmu(problem) => problem.fmt(f),
            Self::Refused(problem) => problem.fmt(f),
            Self::PlanError(problem) => problem.fmt(f),
        }
    }
}

impl From<NoPmu> for Problem {
    fn from(problem: NoPmu) -> Self {
        Self::NoPmu(problem)
    }
}

impl From<MsrFault> for Problem {
    fn from(problem: MsrFault) -> Self {
        Self::Refused(problem)
    }
}

impl From<PlanError> for Problem {
    fn from(problem: PlanError) -> Self {
        Self::PlanError(problem)
    }
}

impl CorePmu {
    #[inline]
    fn plan(&self) -> Option<&'static Plan> {
        // SAFETY: null, or a plan that was leaked: it lives for ever, and nobody
        // changes it once it is here.
        unsafe { self.plan.load(Ordering::Acquire).as_ref() }
    }

    /// The PMU, as the core's survey found it.
    pub fn found(&self) -> Option<&PmuState> {
        self.survey.get()?.as_ref().ok()
    }

    /// Why the last start did not start anything.
    pub fn refusal(&self) -> Option<MsrFault> {
        MsrFault::from_number(self.refused.load(Relaxed))
    }

    /// Asks the core's next handler for something.
    fn want(&self, wanted: Wanted) {
        self.wanted.store(wanted as u8, Ordering::Release);
    }

    fn set_plan(&self, plan: Plan) {
        self.bring_back(Some(Box::leak(Box::new(plan))));
    }

    /// Plans again what was planned before.
    fn bring_back(&self, plan: Option<&'static Plan>) {
        let plan = plan.map_or(ptr::null(), ptr::from_ref);
        self.plan.store(plan.cast_mut(), Ordering::Release);
    }
}

/// Plans `events` for `core`, as its survey found its PMU.
fn plan_on(core: &CoreBlock, events: &EventList, period: Option<u64>) -> Result<Plan, Unavailable> {
    let found = core.sampling.pmu.found().ok_or(Unavailable::NoPmu)?;
    Plan::make(found, events, period).map_err(|problem| Unavailable::Pmu {
        core: core.index,
        problem: problem.into(),
    })
}

/// Plans `events` for each of `cores`.
///
/// # Errors
///
/// A core cannot count them.
pub fn plan_all(cores: &[&CoreBlock], events: &EventList) -> Result<Vec<Plan>, Unavailable> {
    cores
        .iter()
        .map(|core| plan_on(core, events, None))
        .collect()
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

/// The shortest period that each of the events takes on the first core, as far as is
/// known; 0 without counters.
pub fn least_period() -> u64 {
    let plan = cpu::core(0).sampling.pmu.plan();
    let slots = plan.into_iter().flat_map(Plan::assignments);
    slots.map(|(_, slot)| slot.min_count).max().unwrap_or(0)
}

/// What [`survey`] was asked for.
static ASKED: Once<EventList> = Once::new();

fn survey_here() {
    let pmu = &cpu::current().sampling.pmu;
    pmu.survey.call_once(|| {
        let events = ASKED.get().ok_or(NoPmu::NoCounters)?;
        let found = look()?;
        let plan = Plan::make(&found, events, None)?;
        // All values that are written later are taken, or it is known here.
        pmu.driver.start(&ThisCore, &plan)?;
        pmu.driver.stop(&ThisCore, &plan);
        pmu.set_plan(plan);
        Ok(found)
    });
}

/// Looks at the running core's PMU.
///
/// # Errors
///
/// It has none, or not what it announces.
pub fn look() -> Result<PmuState, Problem> {
    let capabilities = detect::detect(cpuid)?;
    Ok(PmuState::probe(&ThisCore, &capabilities)?)
}

/// What CPUID of the running core has in a leaf.
#[must_use]
pub fn cpuid(leaf: u32, subleaf: u32) -> Leaf {
    let answer = native_cpuid::cpuid_count(leaf, subleaf);
    [answer.eax, answer.ebx, answer.ecx, answer.edx]
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
    /// Makes sure that every core can count.
    ///
    /// # Errors
    ///
    /// A core cannot.
    pub fn probe(delivery: Delivery) -> Result<Self, Unavailable> {
        for core in cpu::cores() {
            if let Some(Err(problem)) = core.sampling.pmu.survey.get() {
                return Err(Unavailable::Pmu {
                    core: core.index,
                    problem: *problem,
                });
            }
        }
        let found = cpu::current().sampling.pmu.found();
        let found = found.ok_or(Unavailable::NoPmu)?;
        Ok(Self {
            delivery,
            interface: found.capabilities.interface,
            counters: found.free,
        })
    }

    /// How overflows interrupt.
    #[inline]
    pub const fn delivery(&self) -> Delivery {
        self.delivery
    }

    /// The entry of the local vector table by which overflows interrupt.
    #[inline]
    fn lvtpc(&self) -> u32 {
        match self.delivery {
            Delivery::Nmi => lvt::NMI,
            Delivery::Irq => vector::SAMPLING.into(),
        }
    }

    /// Starts the counters of the running core, `core`. It lets the sampling interrupt come
    /// for that: the way out of a handler is what the counters' own start is calibrated
    /// by.
    pub fn start(&self, core: &CoreBlock) {
        self.raise(core, Wanted::Start);
    }

    /// Stops the counters of the running core, `core`, likewise. Its registers are then
    /// as they were before the start.
    pub fn stop(&self, core: &CoreBlock) {
        self.raise(core, Wanted::Stop);
    }

    /// Lets the sampling interrupt come to the running core, `core`, for that, and waits
    /// for it.
    fn raise(&self, core: &CoreBlock, wanted: Wanted) {
        core.sampling.pmu.want(wanted);
        match self.delivery {
            // A real one: `int 2` does not keep NMIs out, and an overflow's would come in
            // the landing and overwrite what the first has pushed there.
            Delivery::Nmi => {
                self.interrupt(core);
                let is_done = || core.sampling.pmu.wanted.load(Relaxed) == Wanted::Nothing as u8;
                let _ = Deadline::after(ARRIVAL).wait_for(is_done);
            }
            Delivery::Irq => calibration::raise(self.delivery),
        }
    }

    /// Asks another core to start its counters. [`CorePmu::refusal`] says if it could not.
    pub fn ask_to_start(&self, core: &CoreBlock) {
        core.sampling.pmu.refused.store(0, Relaxed);
        self.ask(core, Wanted::Start);
    }

    /// Asks another core to stop its counters.
    pub fn ask_to_stop(&self, core: &CoreBlock) {
        self.ask(core, Wanted::Stop);
    }

    /// Takes back what another core was asked for and has not begun. Gives whether there
    /// was such a thing.
    pub fn ask_nothing(&self, core: &CoreBlock) -> bool {
        let nothing = Wanted::Nothing as u8;
        core.sampling.pmu.wanted.swap(nothing, Ordering::AcqRel) != nothing
    }

    fn ask(&self, core: &CoreBlock, wanted: Wanted) {
        core.sampling.pmu.want(wanted);
        self.interrupt(core);
    }

    /// Lets the sampling interrupt come to `core`.
    fn interrupt(&self, core: &CoreBlock) {
        let message = match self.delivery {
            Delivery::Nmi => Message::Nmi,
            Delivery::Irq => Message::Fixed(vector::SAMPLING),
        };
        // SAFETY: both have a handler.
        unsafe { apic::registers().send(message, Destination::Core(core.apic_id)) };
    }

    /// Whether the counters of `core` count.
    #[must_use]
    pub fn is_running(&self, core: &CoreBlock) -> bool {
        core.sampling.pmu.driver.is_running()
    }

    /// Does in the handler of the running core, `core`, which has entered, what the core
    /// is asked for. Gives whether it was, and if so whether the counters are to be
    /// armed.
    #[inline]
    pub fn obey(&self, core: &CoreBlock) -> Option<bool> {
        let wanted = &core.sampling.pmu.wanted;
        match wanted.load(Relaxed) == Wanted::Nothing as u8 {
            true => None,
            false => self.do_what_is_asked(core),
        }
    }

    /// The part of [`Self::obey`] that hardly an interrupt comes for.
    #[cold]
    #[inline(never)]
    fn do_what_is_asked(&self, core: &CoreBlock) -> Option<bool> {
        let wanted = &core.sampling.pmu.wanted;
        let asked = wanted.swap(Wanted::Nothing as u8, Ordering::Acquire);
        let trial = match Wanted::from_number(asked) {
            Wanted::Nothing => return None,
            Wanted::Start => return Some(true),
            Wanted::Stop => None,
            Wanted::TryPassages => Some(Trial::Passages),
            Wanted::TryOverflows => {
                let patience = core.sampling.pmu.trials.patience();
                Some(Trial::Overflows(patience))
            }
        };
        self.disarm(core);
        if let Some(trial) = trial {
            // Its interrupts are to come in this handler.
            nmi::let_in();
            self.try_here(core, trial);
        }
        Some(false)
    }

    /// Lets the counters of the running core, `core`, count: from the start, or on
    /// from where [`Self::enter`] has stopped them. The last step of a handler.
    ///
    /// If the processor refuses the start, nothing counts, and [`CorePmu::refusal`] says
    /// why.
    #[inline]
    pub fn arm(&self, core: &CoreBlock) {
        let pmu = &core.sampling.pmu;
        let Some(plan) = pmu.plan() else {
            return;
        };
        if !pmu.driver.is_running() {
            let outcome = pmu.driver.start(&ThisCore, plan);
            let register = outcome.map_or_else(MsrFault::number, |()| 0);
            pmu.refused.store(register, Relaxed);
        }
        // The way from here out of the handler is the same each time.
        pmu.driver.resume(&ThisCore, plan, self.lvtpc());
    }

    /// Stops the counters of the running core, `core`, in a handler that has entered.
    pub fn disarm(&self, core: &CoreBlock) {
        let pmu = &core.sampling.pmu;
        if let Some(plan) = pmu.plan() {
            pmu.driver.stop(&ThisCore, plan);
        }
    }

    /// Stops the counters of the running core, `core`, until it is armed again, and
    /// finds which have overflowed; none if overflows do not come as the interrupt does
    /// that has come by `delivery`.
    #[inline]
    pub fn enter(&self, core: &CoreBlock, delivery: Delivery) -> Interrupt {
        let pmu = &core.sampling.pmu;
        match pmu.plan() {
            Some(plan) if delivery == self.delivery => pmu.driver.on_interrupt(&ThisCore, plan),
            Some(plan) => pmu.driver.on_foreign_nmi(&ThisCore, plan),
            None => Interrupt::Off,
        }
    }

    /// The overflow of the event at `index` that [`Self::enter`] has found.
    #[inline]
    pub fn overflow(&self, core: &CoreBlock, index: usize) -> Overflow {
        core.sampling.pmu.driver.overflow(index)
    }
}
