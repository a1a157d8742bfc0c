//! What a core tries on itself before it samples, and notes: see
//! [`profiler::pmu::cost`].
//!
//! Other cores ask for it by the sampling interrupt, in whose handler it is done: so it
//! does not matter what the core was at, nor whether it had interrupts off if overflows
//! are NMIs. Its counters stand still before and after.

use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, Ordering::Relaxed};

use profiler::format::Delivery;
use profiler::pmu::driver::Overflows;
use profiler::pmu::event::MAX_EVENTS;
use x86_64::instructions::interrupts;

use super::{Pmu, Wanted};
use crate::cpu::{CoreBlock, control};
use crate::time::Deadline;
use crate::trap::vector;

/// How many passages are tried.
pub const PASSAGES: usize = 32;
/// How long interrupts may take that are sure to come, in ticks of the time stamp counter:
/// a tenth of a second or so.
pub const ARRIVAL: u64 = 400_000_000;
/// How long an interrupt that a core sends itself may be on its way, in the same.
const ON_ITS_WAY: u64 = 4_000;

/// What a core can try.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trial {
    /// Interrupts in a row.
    Passages,
    /// An overflow of each event that the core's plan gives a period, within so many ticks
    /// of the time stamp counter.
    Overflows(u64),
}

/// A core's last trial. Written by that core; by the one that asks for a trial while it
/// does none.
#[derive(Default)]
pub struct Trials {
    is_done: AtomicBool,
    /// How long overflows are waited for, in ticks of the time stamp counter.
    patience: AtomicU64,
    /// Interrupts in a row that are still to come.
    to_come: AtomicUsize,
    /// By event: the position at the last interrupt.
    positions: [AtomicU64; MAX_EVENTS],
    passages: [[AtomicU64; PASSAGES]; MAX_EVENTS],
    /// The shortest of all passages, in ticks of the time stamp counter.
    ticks: AtomicU64,
    /// By event: the position at the first overflow; 0 without one.
    overflows: [AtomicU64; MAX_EVENTS],
}

impl Trials {
    pub fn is_done(&self) -> bool {
        self.is_done.load(Ordering::Acquire)
    }

    /// What the event at `index` has counted between interrupts in a row.
    pub fn passages(&self, index: usize) -> [u64; PASSAGES] {
        self.passages[index].each_ref().map(|it| it.load(Relaxed))
    }

    /// The shortest time between two of these, in ticks of the time stamp counter.
    pub fn ticks(&self) -> u64 {
        self.ticks.load(Relaxed)
    }

    /// Where the event at `index` overflowed first, if it did.
    pub fn overflow(&self, index: usize) -> Option<u64> {
        Some(self.overflows[index].load(Relaxed)).filter(|&position| position != 0)
    }

    /// Forgets the trial before, for this one.
    pub fn prepare(&self, trial: Trial) {
        self.is_done.store(false, Relaxed);
        if let Trial::Overflows(patience) = trial {
            self.patience.store(patience, Relaxed);
        }
        self.to_come.store(0, Relaxed);
        self.ticks.store(u64::MAX, Relaxed);
        self.overflows.iter().for_each(|it| it.store(0, Relaxed));
    }

    /// How long the overflows of this trial are waited for.
    pub fn patience(&self) -> u64 {
        self.patience.load(Relaxed)
    }

    /// Whether all interrupts in a row have come.
    pub fn have_come(&self) -> bool {
        self.to_come.load(Relaxed) == 0
    }
}

impl Pmu {
    /// Tries something on the running core, `core`.
    pub fn try_here(&self, core: &CoreBlock, trial: Trial) {
        let pmu = &core.sampling.pmu;
        let trials = &pmu.trials;
        let sampled = || {
            let slots = pmu.plan().into_iter().flat_map(|plan| plan.assignments());
            slots.filter(|(_, slot)| slot.period.is_some())
        };
        self.letting_in(|| {
            self.start(core);
            let _ = match trial {
                // The counters stand still.
                _ if pmu.refusal().is_some() => false,
                Trial::Passages => {
                    // The first comes from here, and not in a row.
                    trials.to_come.store(PASSAGES + 1, Relaxed);
                    self.interrupt(core);
                    Deadline::after(ARRIVAL).wait_for(|| trials.have_come())
                }
                Trial::Overflows(patience) => Deadline::after(patience)
                    .wait_for(|| sampled().all(|(it, _)| trials.overflow(it).is_some())),
            };
            self.stop(core);
        });
        trials.is_done.store(true, Ordering::Release);
    }

    /// An interrupt of a trial on `core`, the running core, which has entered at the time
    /// `entered`: notes how far the events have come. Lets the next in a row come, which
    /// waits until this one's handler returns.
    #[cold]
    #[inline(never)]
    pub fn note_trial(&self, core: &CoreBlock, entered: u64, overflows: Overflows) {
        let pmu = &core.sampling.pmu;
        let trials = &pmu.trials;
        let to_come = trials.to_come.load(Relaxed);
        // None for the first one.
        let number = PASSAGES.checked_sub(to_come).filter(|_| to_come != 0);
        for (index, before) in trials.positions.iter().enumerate() {
            let position = pmu.driver.position(index);
            let before = before.swap(position, Relaxed);
            if let Some(number) = number {
                trials.passages[index][number].store(position.wrapping_sub(before), Relaxed);
            }
        }
        for index in overflows.iter() {
            if trials.overflow(index).is_none() {
                trials.overflows[index].store(pmu.driver.position(index), Relaxed);
            }
        }
        if number.is_some() {
            let armed_at = core.sampling.armed_at.load(Relaxed);
            let ticks = entered.saturating_sub(armed_at);
            trials.ticks.fetch_min(ticks, Relaxed);
        }
        if to_come != 0 {
            trials.to_come.store(to_come - 1, Relaxed);
        }
        if to_come > 1 {
            self.interrupt(core);
            // One that arrives only after this handler would count what it has interrupted.
            let _ = Deadline::after(ON_ITS_WAY).wait_for(|| false);
        }
    }

    /// Does `work` with the sampling interrupt let in, and no other that can be kept out:
    /// the core may be in the handler of one.
    fn letting_in(&self, work: impl FnOnce()) {
        if self.delivery == Delivery::Nmi || interrupts::are_enabled() {
            return work();
        }
        let before = control::task_priority();
        control::set_task_priority((vector::SAMPLING >> 4) - 1);
        interrupts::enable();
        work();
        interrupts::disable();
        control::set_task_priority(before);
    }
}

impl From<Trial> for Wanted {
    fn from(trial: Trial) -> Self {
        match trial {
            Trial::Passages => Self::TryPassages,
            Trial::Overflows(_) => Self::TryOverflows,
        }
    }
}
