//! What a core has tried on itself before it samples: see
//! [`crate::sampler::source::pmu`].

use core::array;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, Ordering::Relaxed};

use crate::hw::tsc::Deadline;
use crate::pmu::cost::Cost;
use crate::pmu::event::MAX_EVENTS;

/// The number of overheads that are measured.
pub(crate) const OVERHEADS: usize = 32;

/// What a core can try.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Trial {
    /// Interrupts in a row, while the other cores halt.
    Overheads,
    /// The same on all cores at the same time.
    BusyOverheads,
    /// An overflow of each event that the core's plan gives a period, within this number of
    /// ticks of the time stamp counter.
    Overflows(u64),
}

/// A core's last trial. Written by that core; by the one that asks for a trial while it
/// does none.
#[derive(Default)]
pub(crate) struct Trials {
    pub is_done: AtomicBool,
    /// In a trial of all cores: this one is about to begin.
    is_ready: AtomicBool,
    /// Likewise: all are, and it begins.
    may_begin: AtomicBool,
    /// How long overflows are waited for, in ticks of the time stamp counter.
    timeout: AtomicU64,
    /// Interrupts in a row that are still to come.
    pub to_come: AtomicUsize,
    /// By event: the position at the last interrupt.
    pub positions: [AtomicU64; MAX_EVENTS],
    pub overheads: [[AtomicU64; OVERHEADS]; MAX_EVENTS],
    /// The shortest of all overheads, in ticks of the time stamp counter.
    pub ticks: AtomicU64,
    /// By event: the position at the first overflow; 0 without one.
    pub overflows: [AtomicU64; MAX_EVENTS],
    /// By event: what came of the last measurement.
    costs: [CostCell; MAX_EVENTS],
}

/// A [`Cost`], which the first core writes.
#[derive(Default)]
struct CostCell([AtomicU64; 5]);

impl Trials {
    pub(crate) fn is_done(&self) -> bool {
        self.is_done.load(Ordering::Acquire)
    }

    /// What the event at `index` has counted between interrupts in a row.
    pub(crate) fn overheads(&self, index: usize) -> [u64; OVERHEADS] {
        self.overheads[index].each_ref().map(|it| it.load(Relaxed))
    }

    /// The shortest time between two of these, in ticks of the time stamp counter.
    pub(crate) fn ticks(&self) -> u64 {
        self.ticks.load(Relaxed)
    }

    /// Where the event at `index` overflowed first, if it did.
    pub(crate) fn overflow(&self, index: usize) -> Option<u64> {
        Some(self.overflows[index].load(Relaxed)).filter(|&position| position != 0)
    }

    /// Forgets the trial before, for this one.
    pub(crate) fn prepare(&self, trial: Trial) {
        self.is_done.store(false, Relaxed);
        self.is_ready.store(false, Relaxed);
        self.may_begin.store(false, Relaxed);
        if let Trial::Overflows(timeout) = trial {
            self.timeout.store(timeout, Relaxed);
        }
        self.to_come.store(0, Relaxed);
        self.ticks.store(u64::MAX, Relaxed);
        self.overflows.iter().for_each(|it| it.store(0, Relaxed));
    }

    /// A trial of all cores: waits, a bounded time, until [`Self::let_begin`].
    pub(crate) fn await_begin(&self, timeout: u64) {
        self.is_ready.store(true, Ordering::Release);
        let _ = Deadline::after(timeout).wait_for(|| self.may_begin.load(Ordering::Acquire));
    }

    /// Returns true if the core is in [`Self::await_begin`].
    pub(crate) fn is_ready(&self) -> bool {
        self.is_ready.load(Ordering::Acquire)
    }

    /// Lets the core begin.
    pub(crate) fn let_begin(&self) {
        self.may_begin.store(true, Ordering::Release);
    }

    /// How long the overflows of this trial are waited for.
    pub(crate) fn timeout(&self) -> u64 {
        self.timeout.load(Relaxed)
    }

    /// Returns true if all interrupts in a row have come.
    pub(crate) fn have_come(&self) -> bool {
        self.to_come.load(Relaxed) == 0
    }

    /// What an interrupt costs in each event, as it was measured last.
    pub(crate) fn costs(&self) -> [Cost; MAX_EVENTS] {
        array::from_fn(|index| {
            let [overhead, at_rest, least, most, arm_latency] =
                self.costs[index].0.each_ref().map(|it| it.load(Relaxed));
            Cost {
                overhead,
                at_rest,
                least,
                most,
                arm_latency: arm_latency.cast_signed(),
            }
        })
    }

    pub(crate) fn set_costs(&self, costs: &[Cost; MAX_EVENTS]) {
        for (cell, cost) in self.costs.iter().zip(costs) {
            let Cost {
                overhead,
                at_rest,
                least,
                most,
                arm_latency,
            } = *cost;
            let latency = arm_latency.cast_unsigned();
            let values = [overhead, at_rest, least, most, latency];
            for (word, value) in cell.0.iter().zip(values) {
                word.store(value, Relaxed);
            }
        }
    }
}
