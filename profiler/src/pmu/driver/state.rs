//! What a core's driver keeps: values, of which the files beside this one say what is done with them.

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

use crate::pmu::event::MAX_EVENTS;
use crate::pmu::plan::Assignment;

/// Where an event stands.
#[derive(Default, Debug)]
pub(super) struct Progress {
    /// What its counter is to be loaded with: it overflows after that many events.
    pub(super) reload: AtomicU64,
    /// The counter's value when it was last read.
    pub(super) raw: AtomicU64,
    /// Events of the interrupted code since the start.
    pub(super) position: AtomicU64,
    /// The position of the next overflow, without jitter.
    pub(super) due: AtomicU64,
    /// The position of the next overflow, with jitter: see [`Self::target`].
    pub(super) target: AtomicU64,
    /// The position at the last overflow.
    pub(super) last: AtomicU64,
    /// Events of the interrupted code between the last two overflows.
    pub(super) ran: AtomicU64,
    /// Overflows merged into the last one.
    pub(super) missed: AtomicU64,
    /// What checks have counted since the start, all together.
    pub(super) checked: AtomicU64,
    /// A count between two handlers that is not above this is no progress.
    pub(super) noise: AtomicU64,
}

impl Progress {
    /// The position of the next overflow. Without jitter it is where it is due, and handlers
    /// need not note it twice.
    #[inline]
    pub(super) fn target(&self, assignment: &Assignment) -> u64 {
        if assignment.jitter == 0 {
            self.due.load(Relaxed)
        } else {
            self.target.load(Relaxed)
        }
    }
}

/// Where an interrupt came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// The instruction that was about to execute.
    pub pc: u64,
    /// The stack pointer.
    pub sp: u64,
}

impl Place {
    /// Where none is looked for.
    pub(super) const UNKNOWN: Self = Self { pc: 0, sp: 0 };
}

/// The check that is under way, if one is.
#[derive(Default, Debug)]
pub(super) struct Check {
    pub(super) is_armed: AtomicBool,
    /// The place that it is to interrupt.
    pub(super) pc: AtomicU64,
    pub(super) sp: AtomicU64,
    /// Checks since the start.
    pub(super) done: AtomicU64,
    /// By event: what the last one has counted.
    pub(super) counted: [AtomicU64; MAX_EVENTS],
}

impl Check {
    #[inline]
    pub(super) fn is_armed(&self) -> bool {
        self.is_armed.load(Relaxed)
    }

    pub(super) fn reset(&self) {
        self.is_armed.store(false, Relaxed);
        self.done.store(0, Relaxed);
    }
}

/// What the registers held before the start.
#[derive(Default, Debug)]
pub(super) struct Saved {
    pub(super) control: AtomicU64,
    pub(super) fixed_control: AtomicU64,
    /// True if counters froze when they interrupted.
    pub(super) freezes: AtomicBool,
    /// True if they freeze in system management mode since the start.
    pub(super) freezes_in_smm: AtomicBool,
    pub(super) lvtpc: AtomicU32,
    /// By event: its counter, and its event select.
    pub(super) counters: [AtomicU64; MAX_EVENTS],
    pub(super) selects: [AtomicU64; MAX_EVENTS],
}
