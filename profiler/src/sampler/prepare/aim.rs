//! The aim of a run, whose latency is in counts of the source that was chosen.

use super::calibrate::Calibration;
use super::choose::Chosen;
use crate::contract::settings::Settings;
use crate::format::{Clock, Text};
use crate::sampler::Sampler;
use crate::sampler::aim::calibrate;
use crate::sampler::clock::RunClock;
use crate::sampler::error::{AimError, StartError};
use crate::sampler::overhead::Overhead;
use crate::sampler::per_core::aim::Aimed;
use crate::sampler::source::Source;
use crate::sampler::source::pmu::Measured;
use crate::sampler::target::Target;

/// A source, and what is known of it.
pub(super) struct Calibrated {
    pub source: Source,
    /// Why this one.
    pub reason: Text<512>,
    pub clock: RunClock,
    pub overhead: Overhead,
    /// Of counters, what their events do.
    pub measured: Option<Measured>,
    pub aimed: Option<Aimed>,
}

impl<T: Target> Sampler<T> {
    /// Calibrates the aim, if the command line has one: it is in counts of the source.
    pub(super) fn aim<'a>(
        &'static self,
        chosen: Chosen,
        clock: RunClock,
        settings: &Settings<'_>,
    ) -> Result<Calibrated, StartError<'a>> {
        let Chosen {
            source,
            reason,
            calibration: Calibration { overhead, measured },
        } = chosen;
        let first = self.engine.cores.first();
        let mut aimed = None;
        if let Some(aim) = settings.aim {
            self.target
                .check_breakpoint(aim.address)
                .map_err(|problem| StartError::Aim(AimError::Breakpoint(problem)))?;
            let is_exact =
                clock.clock == Clock::Instructions && matches!(source, Source::ApicTimer(_));
            aimed = is_exact.then(|| calibrate(aim, &source, first)).flatten();
            if aimed.is_none() {
                return Err(StartError::Aim(AimError::Source));
            }
        }
        Ok(Calibrated {
            source,
            reason,
            clock,
            overhead,
            measured,
            aimed,
        })
    }
}
