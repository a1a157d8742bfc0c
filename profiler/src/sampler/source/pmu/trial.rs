//! What a core tries on itself before it samples, and notes: see [`crate::pmu::cost`].
//!
//! Other cores ask for it by the sampling interrupt, in whose handler it is done: so it
//! does not matter what the core was at, nor whether it had interrupts off if overflows
//! are NMIs. Its counters stand still before and after.

use core::sync::atomic::{Ordering, Ordering::Relaxed};

use super::{ANSWER_TIMEOUT_TICKS, Pmu};
use crate::format::Delivery;
use crate::hw::control;
use crate::hw::tsc::Deadline;
use crate::pmu::driver::Overflows;
use crate::sampler::per_core::Core;
use crate::sampler::per_core::trials::{OVERHEADS, Trial};
use crate::sampler::trial::ARRIVAL_TIMEOUT_TICKS;
use crate::sampler::vector;

impl Pmu {
    /// Tries something on the running core, `core`.
    pub(super) fn try_here(&self, core: &Core, trial: Trial) {
        self.try_here_after(core, trial, || {
            if trial == Trial::BusyOverheads {
                core.pmu.trials.await_begin(ANSWER_TIMEOUT_TICKS);
            }
        });
    }

    /// Tries something on the running core, `core`, whose counters run by then, when
    /// `await_begin` has returned.
    pub(super) fn try_here_after(&self, core: &Core, trial: Trial, await_begin: impl FnOnce()) {
        let pmu = &core.pmu;
        let trials = &pmu.trials;
        let sampled = || {
            let all = pmu.plan().into_iter().flat_map(|plan| plan.assignments());
            all.filter(|(_, assignment)| assignment.period.is_some())
        };
        self.with_interrupt_let_in(|| {
            let started = self.start(core);
            await_begin();
            let _ = match trial {
                // The counters stand still.
                _ if started.is_err() || pmu.fault().is_some() => false,
                Trial::Overheads | Trial::BusyOverheads => {
                    // The first comes from here, and not in a row.
                    trials.to_come.store(OVERHEADS + 1, Relaxed);
                    self.interrupt(core);
                    Deadline::after(ARRIVAL_TIMEOUT_TICKS).wait_for(|| trials.have_come())
                }
                Trial::Overflows(timeout) => Deadline::after(timeout)
                    .wait_for(|| sampled().all(|(it, _)| trials.overflow(it).is_some())),
            };
            // If that does not come, nothing has: the trial has no figures.
            let _ = self.stop(core);
        });
        trials.is_done.store(true, Ordering::Release);
    }

    /// An interrupt of a trial on `core`, the running core, which has entered at the time
    /// `entry_tsc`: notes how far the events have come. Lets the next in a row come, which
    /// waits until this one's handler returns.
    #[cold]
    #[inline(never)]
    pub(crate) fn record_trial(&self, core: &Core, entry_tsc: u64, overflows: Overflows) {
        let pmu = &core.pmu;
        let trials = &pmu.trials;
        let to_come = trials.to_come.load(Relaxed);
        // None for the first one.
        let number = OVERHEADS.checked_sub(to_come).filter(|_| to_come != 0);
        for (index, before) in trials.positions.iter().enumerate() {
            let position = pmu.driver.position(index);
            let before = before.swap(position, Relaxed);
            if let Some(number) = number {
                trials.overheads[index][number].store(position.wrapping_sub(before), Relaxed);
            }
        }
        for index in overflows.iter() {
            if trials.overflow(index).is_none() {
                trials.overflows[index].store(pmu.driver.position(index), Relaxed);
            }
        }
        if number.is_some() {
            let ticks = entry_tsc.saturating_sub(core.timing.armed_tsc.load(Relaxed));
            trials.ticks.fetch_min(ticks, Relaxed);
        }
        if to_come != 0 {
            trials.to_come.store(to_come - 1, Relaxed);
        }
        if to_come > 1 {
            self.interrupt_on_return(core);
        }
    }

    /// Does `work` with the sampling interrupt let in, and no other that can be kept out:
    /// the core may be in the handler of one.
    fn with_interrupt_let_in(&self, work: impl FnOnce()) {
        if self.delivery == Delivery::Nmi || control::interrupts_are_enabled() {
            return work();
        }
        let before = control::task_priority();
        control::set_task_priority(vector::CLASS_BELOW);
        control::enable_interrupts();
        work();
        control::disable_interrupts();
        control::set_task_priority(before);
    }
}
