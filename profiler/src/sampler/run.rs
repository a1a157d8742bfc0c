//! A run, once everything about it is known.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::clock::RunClock;
use super::control::Control;
use super::counting::Counting;
use super::overhead::Overhead;
use super::per_core::Core;
use super::per_core::aim::Aimed;
use super::round_robin::RoundRobin;
use super::source::Source;
use super::vector;
use crate::contract::mailbox::Mailbox;
use crate::format::region::{MailboxWords, Region};
use crate::format::{Clock, Delivery};
use crate::hw::apic::{self, Destination, Message};

/// A run, once everything about it is known.
pub(crate) struct Run {
    pub region: Region<'static>,
    pub source: Source,
    pub delivery: Delivery,
    pub timing: RunTiming,
    pub arming: ArmCounts,
    /// Overflows beside those of the period.
    pub aimed: Option<Aimed>,
    /// Cores run one at a time.
    pub round_robin: Option<RoundRobin>,
    /// Events are counted, and not sampled.
    pub counting: Option<Counting>,
    pub control: Control,
    /// Cores that have not taken their last sample, or counted their last unit.
    pub active: AtomicU32,
}

/// How time is measured in a run.
pub(crate) struct RunTiming {
    pub clock: RunClock,
    pub overhead: Overhead,
    /// The time stamp counter when sampling began.
    pub start_tsc: AtomicU64,
}

/// What the source of a core is armed with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ArmCounts {
    /// For a period.
    pub count: u32,
    /// For the wait for the core's turn: after that it takes it.
    pub watchdog_count: u32,
}

impl Run {
    /// Where the host asks for things.
    pub(crate) fn mailbox(&self) -> Mailbox<'static> {
        Mailbox::new(self.region.mailbox())
    }

    /// Where they are, if `core` is the one that looks for them: the first.
    pub(crate) fn words_of_requests(&self, core: &Core) -> Option<&'static MailboxWords> {
        (core.index == 0).then(|| self.region.mailbox())
    }

    /// Lets the running core, if it is the first, look for a request as soon as it has
    /// interrupts on. For its NMI handler.
    #[inline]
    pub(crate) fn look_for_request(&self, core: &Core) {
        if core.index == 0 && self.mailbox().has_request() {
            // SAFETY: the sampler's vectors have handlers.
            unsafe {
                apic::registers().send(Message::Fixed(vector::CONTROL), Destination::This);
            };
        }
    }

    /// Returns true if all that a core executes between two of its samples is a period.
    pub(crate) fn is_even(&self) -> bool {
        let is_timer = matches!(self.source, Source::ApicTimer(_) | Source::Hpet(_));
        let is_counted = self.timing.clock.clock == Clock::Instructions;
        let comes_at_once = self.delivery == Delivery::Nmi && self.aimed.is_none();
        is_timer && is_counted && comes_at_once && self.counting.is_none()
    }

    /// A core takes part no more. Returns true if it was the last one.
    pub(crate) fn leave(&self) -> bool {
        self.active.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// Returns true if no core takes part any more.
    pub(crate) fn is_over(&self) -> bool {
        self.active.load(Ordering::Acquire) == 0
    }
}
