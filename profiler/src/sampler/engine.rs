//! What all cores share: which cores there are, which source is used, and the run.

use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicBool, AtomicU32};

use super::cores::Cores;
use super::error::CoresError;
use super::own_stack::OwnStack;
use super::phase::Phase;
use super::run::Run;
use super::set_once::SetOnce;
use super::source::{Probed, Source};
use crate::format::region::RunState;
use crate::pmu::event::EventList;

/// The part of a [`super::Sampler`] that does not depend on the kernel.
pub(crate) struct Engine {
    pub cores: Cores,
    pub probed: Probed,
    /// What every core is to try whether it can be counted.
    pub events_to_probe: SetOnce<EventList>,
    /// The number of cores that have shown their PMUs.
    pub listed: AtomicU32,
    /// Whether the run is being prepared or changed.
    pub is_changing: AtomicBool,
    /// What that is done on.
    pub own_stack: SetOnce<OwnStack>,
    /// Why a core that came to take part cannot.
    pub refused: SetOnce<CoresError>,
    run: SetOnce<Run>,
}

impl Engine {
    pub(crate) const fn new() -> Self {
        Self {
            cores: Cores::new(),
            probed: Probed::new(),
            events_to_probe: SetOnce::new(),
            listed: AtomicU32::new(0),
            is_changing: AtomicBool::new(false),
            own_stack: SetOnce::new(),
            refused: SetOnce::new(),
            run: SetOnce::new(),
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

    /// Changes the phase, and what the host sees of it. A run that was ended meanwhile
    /// stays so.
    pub(crate) fn set_phase(&self, phase: Phase) {
        if !self.cores.set_phase(phase) {
            return;
        }
        match phase {
            Phase::Sampling | Phase::Counting => self.set_state(RunState::Sampling),
            Phase::Paused => self.set_state(RunState::Paused),
            // Said by `finish`, by `Sampler::fail` or not at all.
            Phase::Off | Phase::Probing | Phase::Measuring | Phase::Ended => {}
        }
    }

    /// Tells the host where the run stands, if there is one.
    pub(crate) fn set_state(&self, state: RunState) {
        if let Some(run) = self.run() {
            run.region.set_state(state);
        }
    }

    /// Ends the run: no interrupt is a sample any more, and no core waits in a handler.
    pub(crate) fn end(&self) {
        self.set_phase(Phase::Ended);
        self.cores.wake_all();
    }

    /// Each core has taken its share: adds up what they have, and tells the host.
    /// `unclaimed_nmis` are those of a core that the sampler never saw.
    pub(crate) fn finish(&self, unclaimed_nmis: impl Fn(u32) -> u64) {
        self.set_phase(Phase::Ended);
        for core in self.cores.all() {
            if let Some(output) = core.output.get() {
                let unclaimed = unclaimed_nmis(core.index);
                // The core itself adds to them without a lock: it does not any more, but for an
                // NMI that has come just before the phase changed.
                if unclaimed == 0 {
                    continue;
                }
                output.counters.taken.fetch_add(unclaimed, Relaxed);
                output.counters.unclaimed.fetch_add(unclaimed, Relaxed);
            }
        }
        self.set_state(RunState::Finished);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::description::tests::example;
    use crate::sampler::clock::Timers;
    use crate::sampler::memory::tests::memory_of_region;
    use crate::sampler::per_core::Output;

    #[test]
    fn unclaimed_nmis_are_added_at_the_end() {
        let engine = Engine::new();
        let (memory, cores) = memory_of_region();
        let region = memory.region(&example()).unwrap();
        assert!(engine.cores.set(cores, Timers::default()));
        for core in cores {
            let counters = region.counters(core.index);
            counters.taken.store(100, Relaxed);
            counters.unclaimed.store(7, Relaxed);
            // SAFETY: one thread.
            let output = unsafe { Output::of_core(region, core.index) };
            core.output.set(output);
        }
        engine.finish(|core| u64::from(core) * 10);
        assert_eq!(engine.cores.phase(), Phase::Ended);
        for (index, counters) in (0..).zip(cores.iter().map(|it| it.output.get().unwrap().counters))
        {
            let added = 10 * index;
            assert_eq!(counters.taken.load(Relaxed), 100 + added);
            assert_eq!(counters.unclaimed.load(Relaxed), 7 + added);
        }
    }
}
