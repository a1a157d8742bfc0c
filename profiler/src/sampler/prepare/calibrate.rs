//! What the interrupts of a source cost.

use core::sync::atomic::Ordering::Relaxed;

use super::asked;
use crate::contract::settings::{RunKind, Settings};
use crate::sampler::Sampler;
use crate::sampler::clock::RunClock;
use crate::sampler::overhead::Overhead;
use crate::sampler::source::pmu::{self, Measured};
use crate::sampler::source::{Source, SourceError};
use crate::sampler::target::Target;

/// What a source's calibration gives.
pub(super) struct Calibration {
    pub overhead: Overhead,
    pub measured: Option<Measured>,
}

impl<T: Target> Sampler<T> {
    /// Measures what the source's interrupts cost, and for counters what they do in events.
    pub(super) fn calibrate(
        &'static self,
        source: &Source,
        clock: &RunClock,
        settings: &Settings<'_>,
    ) -> Result<Calibration, SourceError> {
        let cores = &self.engine.cores;
        self.engine
            .probed
            .make_current(*source, settings.delivery, self.engine.cores.all());
        // Counters have their fast handlers from the first trial on.
        for core in cores.all() {
            let is_scaled = !clock.is_the_counter();
            core.fast.is_scaled.store(is_scaled, Relaxed);
        }
        let mut overhead = Overhead::measure(source, settings.delivery, clock, cores.first())?;
        let mut measured = None;
        if let Source::Pmu(pmu) = source
            && settings.kind != RunKind::Counts
        {
            let events = settings.events.unwrap_or(pmu::DEFAULT_EVENTS);
            let ticks = asked::period(settings, source, clock);
            let found = pmu.measure(cores, |_| true, &events, ticks, asked::jitter(settings))?;
            overhead.ticks = found.ticks;
            overhead.min_period = found.events[0].floor;
            measured = Some(found);
        }
        Ok(Calibration { overhead, measured })
    }
}
