//! The source `ipi`: the first core interrupts all others, and itself, by
//! inter-processor NMIs.
//!
//! It needs nothing of the machine but a second core, so it works everywhere, and
//! is the last choice: the first core does nothing else, and a period is no
//! shorter than what it takes to interrupt every core and see that each took its
//! sample. (NMIs that are sent faster than they are taken merge.)

use core::sync::atomic::Ordering::Relaxed;

use super::Unavailable;
use crate::cpu::apic::{self, Destination, Message};
use crate::cpu::{self, CoreBlock};
use crate::time::{self, Deadline};

/// How long a core may take to take an NMI, in ticks of the time stamp counter.
const PATIENCE: u64 = 1_000_000_000;

/// The first core, as the source of overflows of all.
#[derive(Clone, Copy, Debug)]
pub struct Driver(());

impl Driver {
    /// Looks whether there is a second core.
    ///
    /// # Errors
    ///
    /// There is none.
    pub fn probe() -> Result<Self, Unavailable> {
        let several = cpu::cores().len() > 1;
        several.then_some(Self(())).ok_or(Unavailable::OneCore)
    }

    /// Whether the running core was asked for a sample.
    #[inline]
    #[must_use]
    pub fn has_fired(&self, core: &CoreBlock) -> bool {
        core.sampling.asked.swap(false, Relaxed)
    }

    /// What the first core does from now on: every `period` ticks of the time
    /// stamp counter a sample of each core, the others first.
    ///
    /// It ends by its own last sample, which does not return here.
    pub fn drive(&self, period: u64) -> ! {
        self.rounds(period, || false);
        unreachable!("rounds without an end have ended")
    }

    /// What the first core does when it has taken its own last sample: the same,
    /// until `all_done`. Others may have asked it for samples, so that it is ahead.
    pub fn drive_others(&self, period: u64, all_done: impl Fn() -> bool) {
        self.rounds(period, all_done);
    }

    fn rounds(&self, period: u64, is_over: impl Fn() -> bool) {
        let (first, others) = cpu::cores().split_first().expect("there is a first core");
        let mut due = time::ticks();
        while !is_over() {
            due = due.wrapping_add(period);
            while time::ticks().wrapping_sub(due).cast_signed() < 0 {
                core::hint::spin_loop();
            }
            for core in others {
                Self::sample(core);
            }
            Self::sample(first);
        }
    }

    /// Sends an NMI to `core`.
    pub(super) fn interrupt(core: &CoreBlock) {
        // SAFETY: every core has a gate for NMIs.
        unsafe { apic::registers().send(Message::Nmi, Destination::Core(core.apic_id)) };
    }

    /// Asks `core` for a sample, from any core: it takes it if this is the run's
    /// source, and if no other one has asked for it meanwhile.
    pub fn ask(core: &CoreBlock) {
        core.sampling.asked.store(true, Relaxed);
        Self::interrupt(core);
    }

    /// Asks `core` for a sample, and waits until it took it. One that does not in
    /// time is asked again in the next period; a core that has left is not asked.
    fn sample(core: &CoreBlock) {
        let state = &core.sampling;
        let before = state.sequence.load(Relaxed);
        if before >= state.quota.load(Relaxed) {
            return;
        }
        Self::ask(core);
        let _ = Deadline::after(PATIENCE).wait_for(|| state.sequence.load(Relaxed) != before);
    }
}
