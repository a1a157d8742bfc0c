//! The source `ipi`: the first core interrupts all others, and itself, by
//! inter-processor NMIs.
//!
//! It needs nothing of the machine but a second core, so it works everywhere, and
//! is the last choice: the first core does nothing else, and a period is no
//! shorter than what it takes to interrupt every core and see that each took its
//! sample. (NMIs that are sent faster than they are taken merge.)

use super::SourceError;
use crate::hw::apic::{self, Destination, Message};
use crate::hw::tsc::{self, Deadline};
use crate::sampler::clock::{Ratio, RunClock};
use crate::sampler::per_core::Core;

/// How long a core may take to take an NMI.
const NMI_TIMEOUT_TICKS: u64 = 1_000_000_000;

/// The first core, as the source of overflows of all.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IpiDriver {
    /// Ticks of the time stamp counter per tick of the run.
    rate: Ratio,
}

impl IpiDriver {
    /// Finds out whether there is a second core.
    ///
    /// # Errors
    ///
    /// There is none.
    pub(crate) fn probe(clock: &RunClock, cores: &[Core]) -> Result<Self, SourceError> {
        if cores.len() > 1 {
            Ok(Self { rate: clock.rate() })
        } else {
            Err(SourceError::OneCore)
        }
    }

    /// The ticks of the time stamp counter in `ticks` ticks of the run.
    #[must_use]
    pub(crate) fn counts(&self, ticks: u64) -> u64 {
        self.rate.of(ticks)
    }

    /// Returns true if the running core was asked for a sample.
    #[inline]
    #[must_use]
    pub(crate) fn has_fired(&self, core: &Core) -> bool {
        core.overflow.take_ipi_request()
    }

    /// What the first core does: every `period` ticks of the time stamp counter a sample
    /// of each of `cores`, the others first, until `is_over`. Its own last sample does
    /// not return here.
    pub(crate) fn drive(&self, cores: &[Core], period: u64, is_over: impl Fn() -> bool) {
        let Some((first, others)) = cores.split_first() else {
            return;
        };
        let mut due = tsc::ticks();
        while !is_over() {
            due = due.wrapping_add(period);
            while tsc::ticks().wrapping_sub(due).cast_signed() < 0 {
                core::hint::spin_loop();
            }
            others.iter().for_each(sample);
            sample(first);
        }
    }

    /// Sends an NMI to `core`.
    pub(crate) fn interrupt(core: &Core) {
        // SAFETY: every core has a gate for NMIs.
        unsafe { apic::registers().send(Message::Nmi, Destination::Core(core.apic_id)) };
    }
}

/// Asks `core` for a sample, from any core: it takes it if this is the run's
/// source, and if no other one has asked for it meanwhile.
pub(crate) fn request_sample(core: &Core) {
    core.overflow.request_ipi();
    IpiDriver::interrupt(core);
}

/// Asks `core` for a sample, and waits until it took it. One that does not in
/// time is asked again in the next period; a core that has its share is not asked.
fn sample(core: &Core) {
    if core.share.is_taken() {
        return;
    }
    let before = core.share.taken();
    request_sample(core);
    let has_taken = || core.share.taken() != before;
    let _ = Deadline::after(NMI_TIMEOUT_TICKS).wait_for(has_taken);
}
