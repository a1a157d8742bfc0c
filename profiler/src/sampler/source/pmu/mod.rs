//! The source `pmu`: performance counters of each core, which interrupt it every N
//! events.
//!
//! What they count and how they are programmed is in [`crate::pmu`]. Here is when:
//! every core probes its own PMU and plans before any is chosen as the source, since cores
//! may differ; then the first makes sure that an overflow
//! arrives on each ([`Pmu::try_out`]), and lets each measure what an interrupt costs in
//! each event ([`Pmu::measure`]). Counters count a core's own events, so the cores do not
//! take turns.

mod check;
mod command;
mod measure;
mod trial;

use core::fmt;
use core::sync::atomic::Ordering::Relaxed;

use super::{SourceError, leave};
use crate::address::CodeAddress;
use crate::entry::returns;
use crate::format::Delivery;
use crate::hw::apic::{self, Destination, Message, PerformanceEntry, Vector};
use crate::hw::tsc::Deadline;
use crate::pmu::counters::Counters;
use crate::pmu::detect::Interface;
use crate::pmu::driver::{Interrupt, Overflow, Place};
use crate::pmu::event::{Event, EventList, Named, What};
use crate::pmu::plan::{Assignment, Plan};
use crate::pmu::this_core::ThisCore;
use crate::sampler::per_core::Core;
use crate::sampler::per_core::pmu::FastHandler;
use crate::sampler::vector;
pub(crate) use command::CommandOutcome;
pub(crate) use measure::{Jitter, Measured};

/// What is counted where nothing else is asked for.
pub(crate) const DEFAULT_EVENTS: EventList = EventList::of(CYCLES);
const CYCLES: Event = Event::new(What::Named(Named::Cycles));

/// How long a core may take to answer.
pub(crate) const ANSWER_TIMEOUT_TICKS: u64 = 2_500_000_000;

/// How long an interrupt that a core sends itself may be on its way.
const SELF_INTERRUPT_TICKS: u64 = 4_000;

/// Plans `events` for `core`, as it has found its PMU.
fn plan_for(core: &Core, events: &EventList, period: Option<u64>) -> Result<Plan, SourceError> {
    let state = core.pmu.state().ok_or(SourceError::NotProbed)?;
    Plan::make(state, events, period).map_err(|problem| SourceError::Pmu {
        core: core.index,
        problem: problem.into(),
    })
}

/// The shortest period that each of the events takes on `core`, as far as is known; 0
/// without counters.
pub(crate) fn min_count(core: &Core) -> u64 {
    let assignments = core.pmu.plan().into_iter().flat_map(Plan::assignments);
    let least = assignments.map(|(_, Assignment { min_count, .. })| *min_count);
    least.max().unwrap_or(0)
}

/// The PMUs of all cores.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pmu {
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
    pub(crate) fn probe(delivery: Delivery, cores: &[Core]) -> Result<Self, SourceError> {
        for core in cores {
            if let Some(problem) = core.pmu.problem() {
                return Err(SourceError::Pmu {
                    core: core.index,
                    problem,
                });
            }
        }
        let first = cores.first().and_then(|core| core.pmu.state());
        let state = first.ok_or(SourceError::NotProbed)?;
        Ok(Self {
            delivery,
            interface: state.capabilities.interface,
            counters: state.free,
        })
    }

    /// How overflows interrupt.
    #[inline]
    pub(crate) const fn delivery(&self) -> Delivery {
        self.delivery
    }

    /// The entry of the local vector table by which overflows interrupt.
    #[inline]
    fn lvtpc(&self) -> PerformanceEntry {
        PerformanceEntry::new(match self.delivery {
            Delivery::Nmi => apic::Delivery::Nmi,
            Delivery::Irq => apic::Delivery::Fixed(Vector::new(vector::OVERFLOW)),
        })
    }

    /// Sends the sampling interrupt to `core`.
    fn interrupt(&self, core: &Core) {
        let message = match self.delivery {
            Delivery::Nmi => Message::Nmi,
            Delivery::Irq => Message::Fixed(vector::OVERFLOW),
        };
        // SAFETY: both have a handler.
        unsafe { apic::registers().send(message, Destination::Core(core.apic_id)) };
    }

    /// Sends the sampling interrupt to the running core, `core`, in whose handler it waits until
    /// that returns.
    #[inline]
    fn interrupt_on_return(&self, core: &Core) {
        self.interrupt(core);
        // One that arrives only after this handler would count what it has interrupted.
        Deadline::after(SELF_INTERRUPT_TICKS).wait();
    }

    /// Lets the counters of the running core, `core`, count: from the start, or on
    /// from where [`Self::on_interrupt`] has stopped them. The last step of a handler.
    ///
    /// If the processor refuses the start, nothing counts, and [`crate::sampler::per_core::pmu::CorePmu::fault`] says
    /// why.
    #[inline]
    pub(crate) fn arm(&self, core: &Core) {
        if let Some(plan) = core.pmu.plan() {
            self.start_if_stopped(core, plan);
            // The way from here out of the handler is the same each time.
            core.pmu.driver.resume(&ThisCore, plan, self.lvtpc());
        }
    }

    /// The same in a handler whose entry lets them count, as its last step. One that `has_sampled`
    /// has the time of that noted.
    #[inline]
    pub(crate) fn arm_at_exit(&self, core: &Core, has_sampled: bool) {
        let Some(plan) = core.pmu.plan() else {
            return;
        };
        self.start_if_stopped(core, plan);
        let stage = core.pmu.driver.unmask(&ThisCore, plan, self.lvtpc());
        if let Some(stage) = stage {
            core.path.arm_at_exit(if has_sampled {
                leave::after_sample(stage)
            } else {
                stage as u32
            });
        }
    }

    /// Starts the counters of the running core, `core`, by `plan`, unless they are started. They
    /// stand still.
    #[inline]
    fn start_if_stopped(&self, core: &Core, plan: &Plan) {
        if !core.pmu.is_running() {
            // What handlers know of the events is of those before, up to the first sample.
            core.fast.last.store(0, Relaxed);
            leave::set_leave_of_plan(core, plan, self.delivery);
            // Those in assembly end by themselves.
            let is_rust = core.fast.is_scaled.load(Relaxed) || returns::are_set();
            let is_x2apic = apic::registers() == apic::Registers::X2Apic;
            let handlers = core.pmu.handlers.get();
            match handlers.and_then(|it| it.of(plan, self.delivery, is_rust, is_x2apic)) {
                None => core.path.set_up(),
                Some(FastHandler::Assembly(handler)) => {
                    core.path.set_handler(self.delivery, handler);
                }
                Some(FastHandler::Rust(handler)) => {
                    let handler = (handler as *const ()).cast_mut();
                    core.path.set_rust(self.delivery, handler);
                }
            }
            core.pmu.start(plan);
        }
    }

    /// Stops the counters of the running core, `core`, in a handler that has stopped them
    /// for a while.
    pub(crate) fn disarm(&self, core: &Core) {
        if let Some(plan) = core.pmu.plan() {
            core.pmu.driver.stop(&ThisCore, plan);
            core.path.set_up();
        }
    }

    /// Stops the counters of the running core, `core`, until it is armed again, and
    /// finds which have overflowed; none if overflows do not come as the interrupt does
    /// that has come by `delivery`, at `place`.
    #[inline]
    pub(crate) fn on_interrupt(&self, core: &Core, delivery: Delivery, place: Place) -> Interrupt {
        match core.pmu.plan() {
            Some(plan) if delivery == self.delivery => {
                core.pmu.driver.on_interrupt_at(&ThisCore, plan, place)
            }
            Some(plan) => core.pmu.driver.on_foreign_nmi(&ThisCore, plan),
            None => Interrupt::Off,
        }
    }

    /// The instruction that this overflow is for, if the event has exact addresses and the
    /// processor knows this one's.
    #[inline]
    pub(crate) fn exact_address(&self, core: &Core, index: usize) -> Option<CodeAddress> {
        let address = core.pmu.driver.exact_address(core.pmu.plan()?, index);
        address.map(CodeAddress)
    }

    /// The overflow of the event at `index` that [`Self::on_interrupt`] has found.
    #[inline]
    pub(crate) fn overflow(&self, core: &Core, index: usize) -> Overflow {
        core.pmu.driver.overflow(index)
    }
}
