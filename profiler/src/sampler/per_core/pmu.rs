//! What a core knows of its PMU.

use core::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering, Ordering::Relaxed};

use super::trials::{Trial, Trials};

use crate::format::Delivery;
use crate::format::region::CoreCounters;
use crate::hw::{cpuid, smi};
use crate::pmu::detect;
use crate::pmu::driver::{Overflows, PmuDriver};
use crate::pmu::event::EventList;
use crate::pmu::fast_form::FastForm;
use crate::pmu::plan::{Plan, PmuState};
use crate::pmu::registers::MsrFault;
use crate::pmu::this_core::ThisCore;
use crate::sampler::latest::Latest;
use crate::sampler::pmu_error::PmuError;
use crate::sampler::set_once::SetOnce;

/// What a handler is to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Command {
    None,
    Start,
    Stop,
    TryOverheads,
    TryOverflows,
    TryBusyOverheads,
}

impl Command {
    pub(crate) const fn from_number(number: u8) -> Self {
        match number {
            1 => Self::Start,
            2 => Self::Stop,
            3 => Self::TryOverheads,
            4 => Self::TryOverflows,
            5 => Self::TryBusyOverheads,
            _ => Self::None,
        }
    }
}

impl From<Trial> for Command {
    fn from(trial: Trial) -> Self {
        match trial {
            Trial::Overheads => Self::TryOverheads,
            Trial::BusyOverheads => Self::TryBusyOverheads,
            Trial::Overflows(_) => Self::TryOverflows,
        }
    }
}

/// A fast handler.
#[derive(Clone, Copy, Debug)]
pub(crate) enum FastHandler {
    /// In assembly.
    Assembly(unsafe extern "C" fn()),
    /// See [`FastPath::set_rust`](crate::entry::fast::FastPath::set_rust).
    Rust(unsafe extern "C" fn()),
}

/// The fast handlers of counters, by whether they come as NMIs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CounterHandlers {
    /// In assembly, where ticks are the counter's: by whether there are several events, the APIC is
    /// an x2APIC, and counters have a global status; then as above.
    pub assembly: [[[[unsafe extern "C" fn(); 2]; 2]; 2]; 2],
    /// For a single event.
    pub one: [unsafe extern "C" fn(); 2],
    /// For any.
    pub any: [unsafe extern "C" fn(); 2],
}

impl CounterHandlers {
    /// That of a plan, if it has one.
    pub(crate) fn of(
        &self,
        plan: &Plan,
        delivery: Delivery,
        is_rust: bool,
        is_x2apic: bool,
    ) -> Option<FastHandler> {
        let form = plan.form?;
        let is_nmi = usize::from(delivery == Delivery::Nmi);
        let is_one = form == FastForm::One;
        if is_rust || form == FastForm::Any {
            let all = if is_one { &self.one } else { &self.any };
            return Some(FastHandler::Rust(all[is_nmi]));
        }
        let several = &self.assembly[usize::from(!is_one)];
        let by_status = &several[usize::from(is_x2apic)];
        let all = &by_status[usize::from(plan.global.is_some())];
        Some(FastHandler::Assembly(all[is_nmi]))
    }
}

/// What a core knows of its PMU. Written by that core; its plan and its command, by the
/// first one.
#[repr(C)]
pub(crate) struct CorePmu {
    pub(crate) driver: PmuDriver,
    /// What it counts.
    plans: Latest<Plan>,
    /// What the core has found.
    probed: SetOnce<Result<PmuState, PmuError>>,
    /// What the core's next handler is to do.
    command: AtomicU8,
    /// The number of the register that the last start was refused; 0: none.
    fault: AtomicU32,
    /// What it tries before it samples.
    pub(crate) trials: Trials,
    /// System management interrupts before it sampled, and one more; 0: it does not count them.
    smis_before: AtomicU64,
    /// The number of samples at which an overhead is checked next.
    pub(crate) next_check: AtomicU64,
    /// What is tried first when it interrupts.
    pub(crate) handlers: SetOnce<CounterHandlers>,
    /// Events that have overflowed, whose samples a fast handler has left to the other one.
    unrecorded: AtomicU16,
}

impl CorePmu {
    /// Where the driver is, for assembly.
    pub(crate) const DRIVER: usize = core::mem::offset_of!(Self, driver);
    /// Where the events are that are left by a fast handler.
    pub(crate) const UNRECORDED: usize = core::mem::offset_of!(Self, unrecorded);

    /// Probes the PMU, on its own core, and tries whether `events` can be counted.
    pub(crate) fn probe(&self, events: &EventList) {
        if !self.is_probed() {
            self.probed.set(self.find(events));
        }
    }

    fn find(&self, events: &EventList) -> Result<PmuState, PmuError> {
        let state = probe_here()?;
        let plan = Plan::make(&state, events, None)?;
        // All values that are written later are taken, or it is known here.
        self.driver.start(&ThisCore, &plan)?;
        self.driver.stop(&ThisCore, &plan);
        self.set_plan(plan);
        Ok(state)
    }

    /// For tests: as if it was probed.
    #[cfg(test)]
    pub(crate) fn set_probed(&self, state: PmuState) {
        assert!(self.probed.set(Ok(state)));
    }

    pub(crate) fn is_probed(&self) -> bool {
        self.probed.get().is_some()
    }

    /// The PMU, as its core has found it.
    pub(crate) fn state(&self) -> Option<&PmuState> {
        self.probed.get()?.as_ref().ok()
    }

    /// Why it cannot be used, if it was probed and cannot.
    pub(crate) fn problem(&self) -> Option<PmuError> {
        self.probed.get()?.as_ref().err().copied()
    }

    /// Why the last start did not start anything.
    pub(crate) fn fault(&self) -> Option<MsrFault> {
        MsrFault::from_number(self.fault.load(Relaxed))
    }

    pub(crate) fn clear_fault(&self) {
        self.fault.store(0, Relaxed);
    }

    /// Starts the counters by `plan`, on their own core.
    pub(crate) fn start(&self, plan: &Plan) {
        let outcome = self.driver.start(&ThisCore, plan);
        let register = outcome.map_or_else(MsrFault::number, |()| 0);
        self.fault.store(register, Relaxed);
    }

    /// A fast handler leaves the samples of these to the other one.
    #[inline]
    pub(crate) fn set_unrecorded(&self, overflows: Overflows) {
        self.unrecorded.store(overflows.bits(), Relaxed);
    }

    /// What it has left.
    pub(crate) fn unrecorded(&self) -> Overflows {
        Overflows::of_bits(self.unrecorded.load(Relaxed))
    }

    /// The core, the running one, begins to sample: notes how many system management
    /// interrupts there were.
    pub(crate) fn begin_to_count_smis(&self) {
        let before = smi::count().map_or(0, |count| u64::from(count) + 1);
        self.smis_before.store(before, Relaxed);
    }

    /// Notes how many there were since then, and one more, if that is known.
    pub(crate) fn count_smis(&self, counters: &CoreCounters) {
        let before = self.smis_before.load(Relaxed).checked_sub(1);
        let now = before.and_then(|_| smi::count_again());
        if let (Some(before), Some(now)) = (before, now) {
            #[allow(clippy::cast_possible_truncation)] // it was one of 32 bits
            let since = now.wrapping_sub(before as u32);
            counters.smis.store(u64::from(since) + 1, Relaxed);
        }
    }

    /// Returns true if the counters were started, and not stopped.
    pub(crate) fn is_running(&self) -> bool {
        self.driver.is_running()
    }

    /// What is counted.
    #[inline]
    pub(crate) fn plan(&self) -> Option<&Plan> {
        self.plans.current()
    }

    /// Counts by `plan` from the next start on. The counters stand still.
    pub(crate) fn set_plan(&self, plan: Plan) {
        // SAFETY:
        // 1. The core itself, when it probes, before any other has anything to set; from
        //    then on the first core.
        // 2. Between any two plans the core has answered a command, or has not begun to
        //    sample: its handlers before that have ended.
        unsafe { self.plans.set(plan) };
    }

    /// Keeps the current plan, while others are tried.
    pub(crate) fn keep_plan(&self) {
        self.plans.keep();
    }

    /// Brings the plan back that was kept.
    pub(crate) fn restore_plan(&self) {
        self.plans.restore();
    }

    /// Returns true if the core's handler has a command to run.
    #[inline]
    pub(crate) fn has_command(&self) -> bool {
        self.command.load(Relaxed) != Command::None as u8
    }

    pub(crate) fn set_command(&self, command: Command) {
        self.command.store(command as u8, Ordering::Release);
    }

    /// Takes the command out of the mailbox, so that it is not run any more.
    pub(crate) fn take_command(&self) -> Command {
        let none = Command::None as u8;
        Command::from_number(self.command.swap(none, Ordering::AcqRel))
    }
}

/// Probes the running core's PMU.
///
/// # Errors
///
/// It has none, or not what it announces.
pub(crate) fn probe_here() -> Result<PmuState, PmuError> {
    let capabilities = detect::detect(cpuid::leaf)?;
    Ok(PmuState::probe(&ThisCore, &capabilities)?)
}

#[cfg(test)]
mod tests {
    use super::Command;
    use crate::sampler::per_core::tests::cores;

    #[test]
    fn numbers_are_commands() {
        for command in [
            Command::None,
            Command::Start,
            Command::Stop,
            Command::TryOverheads,
            Command::TryOverflows,
            Command::TryBusyOverheads,
        ] {
            assert_eq!(Command::from_number(command as u8), command);
        }
    }

    #[test]
    fn a_command_is_run_once() {
        let pmu = &cores(&[0])[0].pmu;
        pmu.set_command(Command::Stop);
        assert!(pmu.has_command());
        assert_eq!(pmu.take_command(), Command::Stop);
        assert!(!pmu.has_command());
        assert_eq!(pmu.take_command(), Command::None);
    }
}
