//! How often samples are taken, and of what.

use super::aim::Calibrated;
use super::asked;
use crate::contract::settings::Settings;
use crate::format::EventDescription;
use crate::pmu::event::{EventList, MAX_EVENTS};
use crate::sampler::Sampler;
use crate::sampler::control::Control;
use crate::sampler::counting::Counting;
use crate::sampler::error::StartError;
use crate::sampler::run::ArmCounts;
use crate::sampler::source::Source;
use crate::sampler::source::pmu::{self, Jitter};
use crate::sampler::target::Target;

/// How many periods of every core a core waits for its turn where it may not
/// come; and no shorter than this count, which is longer than any handler.
const TURN_TIMEOUT_PERIODS: u32 = 4;
const MIN_WATCHDOG_COUNT: u32 = 100_000;

/// How often samples are taken, and of what.
pub(super) struct Period {
    /// In ticks, or events; 0 where events are counted.
    pub ticks: u64,
    pub arming: ArmCounts,
    pub events: EventList,
    pub event_table: [EventDescription; MAX_EVENTS],
    pub event_count: u8,
}

impl Period {
    /// What of it can be changed while the run goes on.
    pub(super) fn control(&self, jitter: Jitter) -> Control {
        Control::new(self.events, self.event_count, self.ticks, jitter)
    }
}

impl<T: Target> Sampler<T> {
    pub(super) fn plan_period<'a>(
        &'static self,
        calibrated: &Calibrated,
        counting: Option<&Counting>,
        settings: &Settings<'_>,
    ) -> Result<Period, StartError<'a>> {
        let events = settings.events.unwrap_or(pmu::DEFAULT_EVENTS);
        let ticks = if counting.is_some() {
            0
        } else {
            asked::period(settings, &calibrated.source, &calibrated.clock)
        };
        let (event_table, event_count) = match (&calibrated.measured, counting) {
            (_, Some(counting)) => counting.describe(),
            (Some(measured), None) => (measured.events, measured.event_count),
            _ => ([EventDescription::EMPTY; MAX_EVENTS], 0),
        };
        if matches!(calibrated.source, Source::Step) && settings.period.is_some_and(|it| it != 1) {
            return Err(StartError::StepHasNoPeriod);
        }
        let arming = self.arm_counts(calibrated, ticks)?;
        Ok(Period {
            ticks,
            arming,
            events,
            event_table,
            event_count,
        })
    }

    fn arm_counts<'a>(
        &self,
        calibrated: &Calibrated,
        period: u64,
    ) -> Result<ArmCounts, StartError<'a>> {
        let Calibrated {
            source, overhead, ..
        } = calibrated;
        let least = overhead.min_period;
        if period < least && !matches!(source, Source::Pmu(_)) {
            return Err(StartError::PeriodTooShort { period, least });
        }
        let count = source.counts(period) + overhead.arm_latency;
        let count = u32::try_from(count).map_err(|_| StartError::PeriodTooLong(period))?;
        let cores = self.engine.cores.count();
        Ok(ArmCounts {
            count,
            watchdog_count: count
                .saturating_mul(TURN_TIMEOUT_PERIODS * cores)
                .max(MIN_WATCHDOG_COUNT),
        })
    }
}
