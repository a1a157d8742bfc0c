//! A core's PMU at work: started, interrupted, stopped.
//!
//! # What a period counts
//!
//! A period is N events *of the interrupted code*. The counters are stopped while the
//! handler works, and what they count on the way into it and out of it, the *overhead*, is
//! subtracted. So each event has a position: how often it happened in the interrupted code
//! since the start.
//!
//! Overflows are due at fixed positions: the period, twice the period, and so on. A counter
//! is loaded with the distance to the next of them. However late an interrupt comes, and
//! however far the counter is past zero by then, the mean distance is the period, to the
//! event.
//!
//! Every handler reloads all counters, whatever it came for, so that none counts the
//! handler's way. A counter that wraps before its overflow is due makes no sample. If the
//! interrupted code has not moved at all, the reload values back off. So every sample is the
//! interrupted code's, and that code progresses, whatever an interrupt costs and however
//! short the period.
//!
//! # What is trusted
//!
//! A counter wrapped if it counted at least its reload value. Overflow status bits are only
//! acknowledged, as the next interrupt depends on that: one may show late, be left over, or
//! be of a counter that is not ours.
//!
//! # Why progress is not judged by instructions
//!
//! An instruction is one whatever it costs, so a count of them would show without a doubt that
//! code moves; it would not show that it does not: a repeated string instruction works for
//! thousands of cycles, goes on where it was interrupted, and retires once. And it would take
//! two more accesses to registers in each interrupt, on AMD also a counter that others may
//! want. What the checks ([`check`]) find to be no progress keeps code going, for nothing.
//!
//! # Nested handlers
//!
//! All state is in atomics that the core alone writes, and an NMI whose handler calls any of
//! the functions may interrupt any of them. While one of them works, [`PmuDriver::on_interrupt`]
//! returns [`Interrupt::Busy`] and touches nothing; the interrupted one sees what the NMI
//! came for, as it looks at the counters itself.

pub mod at;
mod check;
mod fast;
mod interrupt;
mod list;
mod outcome;
mod plain;
mod progress;
mod stage;
mod start;
mod state;

use core::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, AtomicU64, Ordering::Relaxed};

use super::event::MAX_EVENTS;
use super::ibs::IbsState;
pub use fast::FastStop;
use fast::{Fast, Terms};
pub use outcome::{Cause, Interrupt, Overflow, Overflows};
use stage::AtomicStage;
pub use stage::Stage;
pub use state::Place;
use state::{Check, Progress, Saved};

/// The number of times that an acknowledged status, or a count that a handler moved, is
/// read again.
const MAX_RETRIES: u32 = 8;

/// So many interrupts in a row that find nothing may come by chance. If there are more, each
/// brings the next: the status shows an overflow of a counter that is not ours.
const MAX_BARREN: u32 = 8;

/// An event: where it stands, and how it is sampled.
#[derive(Default, Debug)]
struct EventState {
    progress: Progress,
    terms: Terms,
}

/// A core's PMU. Used on that core alone; a use may interrupt another, but then ends
/// before that one continues.
#[derive(Default, Debug)]
pub struct PmuDriver {
    running: AtomicBool,
    stage: AtomicStage,
    /// Interrupts that may still arrive although their overflow was handled.
    stale_interrupts: AtomicU32,
    /// Handlers that found a wrapped counter since the interrupted code last moved.
    stalls: AtomicU32,
    /// Interrupts in a row that have found nothing, and no progress of the interrupted code.
    barren: AtomicU32,
    /// Events whose counters [`PmuDriver::on_foreign_nmi`] found wrapped: their interrupt
    /// is still to come.
    deferred: AtomicU16,
    /// The counters' entry of the local vector table, as it was written last.
    entry: AtomicU32,
    /// The last handler has found that an overflow was missed.
    has_missed: AtomicBool,
    /// In the global control register, the bits of counters that are not ours.
    others: AtomicU64,
    /// The state of the random numbers.
    random: AtomicU64,
    events: [EventState; MAX_EVENTS],
    fast: Fast,
    check: Check,
    saved: Saved,
    ibs: IbsState,
}

impl PmuDriver {
    /// Returns true between start and stop.
    #[must_use]
    #[inline]
    pub fn is_running(&self) -> bool {
        self.running.load(Relaxed)
    }

    /// Keeps nested handlers from the registers. Returns true if they were kept already.
    /// State that was read before is stale: a handler may have come in between.
    #[inline]
    fn set_busy(&self) -> bool {
        let was_busy = self.stage.load() == Stage::Busy;
        self.stage.store(Stage::Busy);
        was_busy
    }
}
