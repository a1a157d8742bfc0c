//! The choice of a source.

use super::calibrate::Calibration;
use crate::contract::settings::{RunKind, Settings, SourceChoice};
use crate::format::{self, Text};
use crate::sampler::Sampler;
use crate::sampler::clock::RunClock;
use crate::sampler::error::StartError;
use crate::sampler::source::{Demand, Source, SourceError, apic_timer};
use crate::sampler::target::Target;

/// A source that was taken.
pub(super) struct Chosen {
    pub source: Source,
    /// Why this one.
    pub reason: Text<512>,
    pub calibration: Calibration,
}

impl<T: Target> Sampler<T> {
    /// Chooses the source. Of those that may be taken the first that passes its probe and its
    /// calibration is.
    pub(super) fn choose<'a>(
        &'static self,
        settings: &Settings<'_>,
        clock: &RunClock,
    ) -> Result<Chosen, StartError<'a>> {
        let is_counting = settings.kind == RunKind::Counts;
        let demand = Demand {
            delivery: settings.delivery,
            clock,
            has_events: settings.events.is_some() && !is_counting,
            has_aim: settings.aim.is_some(),
            period: settings.period,
            kernels_tick: apic_timer::kernels_tick(),
        };
        // Only counters count.
        let choice = if is_counting {
            SourceChoice::Only(format::Source::Pmu)
        } else {
            settings.source
        };
        let calibrate = |source: &Source| self.calibrate(source, clock, settings);
        let mut story = Text::EMPTY;
        clock.tell(&mut story);
        let chosen = Source::choose(
            &self.engine.cores,
            &self.engine.probed,
            choice,
            &demand,
            &mut story,
            calibrate,
        );
        let chosen = chosen.map_err(calibration_error)?;
        let takes_timer = |source: &Source| is_counting || matches!(source, Source::ApicTimer(_));
        if let (Some((source, _)), Some(tick)) = (&chosen, demand.kernels_tick)
            && takes_timer(source)
        {
            let warning = "warning: the kernel's own APIC timer stands still in the run";
            story.append_item("; ", format_args!("{warning} (vector {tick:#x})"));
        }
        match chosen {
            Some((source, calibration)) => Ok(Chosen {
                source,
                reason: story,
                calibration,
            }),
            None if is_counting => Err(StartError::CountingNeedsPmu(story)),
            None if choice == SourceChoice::Auto => Err(StartError::NoSource(story)),
            None => Err(StartError::SourceUnavailable(story)),
        }
    }
}

fn calibration_error<'a>((source, problem): (format::Source, SourceError)) -> StartError<'a> {
    match source {
        format::Source::Pmu => StartError::Pmu(problem),
        source => StartError::Calibration(source, problem),
    }
}
