//! What all cores share: which cores there are, which source is used, and the run.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering, Ordering::Relaxed};

use super::aim::Aimed;
use super::clock::RunClock;
use super::control::Control;
use super::core_state::{Core, Errand};
use super::counting::Counting;
use super::overhead::Overhead;
use super::phase::{CurrentPhase, Phase};
use super::round_robin::{self, RoundRobin};
use super::set_once::SetOnce;
use super::source::{Probed, Source};
use crate::contract::mailbox::Mailbox;
use crate::format::Delivery;
use crate::format::region::{Region, RunState};
use crate::hw::apic;
use crate::hw::hpet::Hpet;
use crate::hw::tsc::Deadline;
use crate::pmu::event::EventList;

/// How long a core may take to come, or to do what it was asked to, before the run. An
/// emulator runs 255 cores in turns.
pub(crate) const JOIN_TIMEOUT_TICKS: u64 = 10_000_000_000;

/// More than another core executes between joining and halting, however the
/// emulator lets them take turns.
pub(crate) const SETTLE_TICKS: u64 = 200_000;

/// The part of a [`super::Sampler`] that does not depend on the kernel.
pub(crate) struct Engine {
    phase: CurrentPhase,
    /// By index.
    cores: SetOnce<&'static [Core]>,
    hpet: SetOnce<Option<Hpet>>,
    pub(crate) probed: Probed,
    /// What every core is to try whether it can be counted.
    pub(crate) events_to_probe: SetOnce<EventList>,
    /// The number of cores that have shown their PMUs.
    pub(crate) listed: AtomicU32,
    run: SetOnce<Run>,
}

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

    /// A core takes part no more. Returns true if it was the last one.
    pub(crate) fn leave(&self) -> bool {
        self.active.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// Returns true if no core takes part any more.
    pub(crate) fn is_over(&self) -> bool {
        self.active.load(Ordering::Acquire) == 0
    }
}

impl Engine {
    pub(crate) const fn new() -> Self {
        Self {
            phase: CurrentPhase::new(),
            cores: SetOnce::new(),
            hpet: SetOnce::new(),
            probed: Probed::new(),
            events_to_probe: SetOnce::new(),
            listed: AtomicU32::new(0),
            run: SetOnce::new(),
        }
    }

    /// Sets which cores there are. Returns false if that was set before.
    pub(crate) fn set_cores(&self, cores: &'static [Core], hpet: Option<Hpet>) -> bool {
        self.hpet.set(hpet);
        self.cores.set(cores)
    }

    /// All cores, the first core first; none before the sampler is started.
    #[inline]
    pub(crate) fn cores(&self) -> &'static [Core] {
        self.cores.get().copied().unwrap_or_default()
    }

    /// The core with this index.
    #[inline]
    pub(crate) fn core(&self, index: u32) -> Option<&'static Core> {
        self.cores().get(index as usize)
    }

    /// The core that starts the sampler.
    ///
    /// # Panics
    ///
    /// If it was not started.
    pub(crate) fn first_core(&self) -> &'static Core {
        self.cores().first().expect("the sampler is started")
    }

    pub(crate) fn hpet(&self) -> Option<Hpet> {
        self.hpet.get().copied().flatten()
    }

    #[inline]
    pub(crate) fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// Changes the phase, and what the host sees of it. A run that was ended meanwhile
    /// stays so.
    pub(crate) fn set_phase(&self, phase: Phase) {
        if !self.phase.set(phase) {
            return;
        }
        let state = match phase {
            Phase::Sampling | Phase::Counting => RunState::Sampling,
            Phase::Paused => RunState::Paused,
            // Said by `finish`, `fail` or not at all.
            Phase::Off | Phase::Probing | Phase::Measuring | Phase::Ended => return,
        };
        self.set_state(state);
    }

    /// Tells the host where the run stands, if there is one.
    pub(crate) fn set_state(&self, state: RunState) {
        if let Some(run) = self.run() {
            run.region.set_state(state);
        }
    }

    /// The source that is probed or used.
    #[inline]
    pub(crate) fn source(&self) -> Option<&Source> {
        self.probed.current()
    }

    #[inline]
    pub(crate) fn run(&self) -> Option<&Run> {
        self.run.get()
    }

    pub(crate) fn set_run(&self, run: Run) {
        self.run.set(run);
    }

    /// Ends the run: no interrupt is a sample any more, and no core waits in a handler.
    pub(crate) fn end(&self) {
        self.phase.set(Phase::Ended);
        self.wake_all();
    }

    /// Each core has taken its share: adds up what they have, and tells the host.
    /// `unclaimed_nmis` are those of a core that the sampler never saw.
    pub(crate) fn finish(&self, unclaimed_nmis: impl Fn(u32) -> u64) {
        self.phase.set(Phase::Ended);
        for core in self.cores() {
            if let Some(output) = core.output.get() {
                let unclaimed = unclaimed_nmis(core.index);
                output.counters.taken.fetch_add(unclaimed, Relaxed);
                output.counters.unclaimed.fetch_add(unclaimed, Relaxed);
            }
        }
        self.set_state(RunState::Finished);
    }

    /// Lets every core that waits look whether it still has to.
    pub(crate) fn wake_all(&self) {
        if apic::find_registers().is_some() {
            self.cores().iter().for_each(round_robin::wake);
        }
    }

    /// Lets each core but the first do something, where it waits for the run.
    pub(crate) fn run_on_others(&self, errand: Errand) {
        for core in self.cores().iter().skip(1) {
            core.wait.set_errand(errand);
            round_robin::wake(core);
        }
    }

    /// Waits until each core but the first `is_ready`, one after the other.
    ///
    /// # Errors
    ///
    /// The index of the first that is not, in time.
    pub(crate) fn await_others(&self, is_ready: impl Fn(&Core) -> bool) -> Result<(), u32> {
        for core in self.cores().iter().skip(1) {
            if !Deadline::after(JOIN_TIMEOUT_TICKS).wait_for(|| is_ready(core)) {
                return Err(core.index);
            }
        }
        Ok(())
    }

    /// Waits until the other cores, which have just been woken, are halted again.
    pub(crate) fn settle(&self) {
        Deadline::after(SETTLE_TICKS).wait();
    }
}
