//! What the first core waits for: that every other one has come, and has probed its counters.
//!
//! They halt from then on: under instruction counting everything that another core executes
//! would be measured.

use core::sync::atomic::Ordering;

use crate::pmu::event::EventList;
use crate::sampler::Sampler;
use crate::sampler::error::StartError;
use crate::sampler::per_core::{Core, Errand};
use crate::sampler::target::Target;

impl<T: Target> Sampler<T> {
    /// Waits until every other core has come, and halts.
    pub(in crate::sampler) fn gather<'a>(&'static self) -> Result<(), StartError<'a>> {
        let refused = || self.engine.refused.get().copied();
        let has_joined =
            |core: &Core| core.wait.has_joined.load(Ordering::Acquire) || refused().is_some();
        self.engine
            .cores
            .await_others(has_joined)
            .map_err(|core| StartError::NotJoined { core })?;
        if let Some(problem) = refused() {
            return Err(StartError::Cores(problem));
        }
        self.engine.cores.settle();
        Ok(())
    }

    /// Lets every core probe its counters.
    pub(in crate::sampler) fn probe_pmus<'a>(
        &'static self,
        events: EventList,
    ) -> Result<(), StartError<'a>> {
        self.engine.events_to_probe.set(events);
        let cores = &self.engine.cores;
        cores.run_on_others(Errand::ProbePmu);
        cores.first().pmu.probe(&events);
        cores
            .await_others(|core| core.pmu.is_probed())
            .map_err(|core| StartError::NotProbed { core })?;
        self.engine.cores.settle();
        Ok(())
    }
}
