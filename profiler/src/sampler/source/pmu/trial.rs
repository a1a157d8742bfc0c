//! What a core tries on itself before it samples, and notes: see [`crate::pmu::cost`].
//!
//! Other cores ask for it by the sampling interrupt, in whose handler it is done: so it
//! does not matter what the core was at, nor whether it had interrupts off if overflows
//! are NMIs. Its counters stand still before and after.

use core::array;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, Ordering::Relaxed};

use super::Pmu;
use crate::format::Delivery;
use crate::hw::control;
use crate::hw::tsc::Deadline;
use crate::pmu::cost::Cost;
use crate::pmu::driver::Overflows;
use crate::pmu::event::MAX_EVENTS;
use crate::sampler::core_state::Core;
use crate::sampler::overhead::ARRIVAL_TIMEOUT_TICKS;
use crate::sampler::vector;

/// The number of overheads that are measured.
pub(super) const OVERHEADS: usize = 32;
/// How long an interrupt that a core sends itself may be on its way.
const SELF_INTERRUPT_TICKS: u64 = 4_000;

/// What a core can try.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Trial {
    /// Interrupts in a row.
    Overheads,
    /// An overflow of each event that the core's plan gives a period, within so many ticks
    /// of the time stamp counter.
    Overflows(u64),
}

/// A core's last trial. Written by that core; by the one that asks for a trial while it
/// does none.
#[derive(Default)]
pub(super) struct Trials {
    is_done: AtomicBool,
    /// How long overflows are waited for, in ticks of the time stamp counter.
    timeout: AtomicU64,
    /// Interrupts in a row that are still to come.
    to_come: AtomicUsize,
    /// By event: the position at the last interrupt.
    positions: [AtomicU64; MAX_EVENTS],
    overheads: [[AtomicU64; OVERHEADS]; MAX_EVENTS],
    /// The shortest of all overheads, in ticks of the time stamp counter.
    ticks: AtomicU64,
    /// By event: the position at the first overflow; 0 without one.
    overflows: [AtomicU64; MAX_EVENTS],
    /// By event: what came of the last measurement.
    costs: [CostCell; MAX_EVENTS],
}

/// A [`Cost`], which the first core writes.
#[derive(Default)]
struct CostCell([AtomicU64; 3]);

impl Trials {
    pub(super) fn is_done(&self) -> bool {
        self.is_done.load(Ordering::Acquire)
    }

    /// What the event at `index` has counted between interrupts in a row.
    pub(super) fn overheads(&self, index: usize) -> [u64; OVERHEADS] {
        self.overheads[index].each_ref().map(|it| it.load(Relaxed))
    }

    /// The shortest time between two of these, in ticks of the time stamp counter.
    pub(super) fn ticks(&self) -> u64 {
        self.ticks.load(Relaxed)
    }

    /// Where the event at `index` overflowed first, if it did.
    pub(super) fn overflow(&self, index: usize) -> Option<u64> {
        Some(self.overflows[index].load(Relaxed)).filter(|&position| position != 0)
    }

    /// Forgets the trial before, for this one.
    pub(super) fn prepare(&self, trial: Trial) {
        self.is_done.store(false, Relaxed);
        if let Trial::Overflows(timeout) = trial {
            self.timeout.store(timeout, Relaxed);
        }
        self.to_come.store(0, Relaxed);
        self.ticks.store(u64::MAX, Relaxed);
        self.overflows.iter().for_each(|it| it.store(0, Relaxed));
    }

    /// How long the overflows of this trial are waited for.
    pub(super) fn timeout(&self) -> u64 {
        self.timeout.load(Relaxed)
    }

    /// Returns true if all interrupts in a row have come.
    pub(super) fn have_come(&self) -> bool {
        self.to_come.load(Relaxed) == 0
    }

    /// What an interrupt costs in each event, as it was measured last.
    pub(super) fn costs(&self) -> [Cost; MAX_EVENTS] {
        array::from_fn(|index| {
            let [overhead, spread, arm_latency] =
                self.costs[index].0.each_ref().map(|it| it.load(Relaxed));
            Cost {
                overhead,
                spread,
                arm_latency,
            }
        })
    }

    pub(super) fn set_costs(&self, costs: &[Cost; MAX_EVENTS]) {
        for (cell, cost) in self.costs.iter().zip(costs) {
            let values = [cost.overhead, cost.spread, cost.arm_latency];
            for (word, value) in cell.0.iter().zip(values) {
                word.store(value, Relaxed);
            }
        }
    }
}

impl Pmu {
    /// Tries something on the running core, `core`.
    pub(super) fn try_here(&self, core: &Core, trial: Trial) {
        let pmu = &core.pmu;
        let trials = &pmu.trials;
        let sampled = || {
            let all = pmu.plan().into_iter().flat_map(|plan| plan.assignments());
            all.filter(|(_, assignment)| assignment.period.is_some())
        };
        self.with_interrupt_let_in(|| {
            self.start(core);
            let _ = match trial {
                // The counters stand still.
                _ if pmu.fault().is_some() => false,
                Trial::Overheads => {
                    // The first comes from here, and not in a row.
                    trials.to_come.store(OVERHEADS + 1, Relaxed);
                    self.interrupt(core);
                    Deadline::after(ARRIVAL_TIMEOUT_TICKS).wait_for(|| trials.have_come())
                }
                Trial::Overflows(timeout) => Deadline::after(timeout)
                    .wait_for(|| sampled().all(|(it, _)| trials.overflow(it).is_some())),
            };
            self.stop(core);
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
            self.interrupt(core);
            // One that arrives only after this handler would count what it has interrupted.
            Deadline::after(SELF_INTERRUPT_TICKS).wait();
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
