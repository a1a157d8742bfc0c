//! What the command line asks for, and the defaults where it says nothing.

use crate::contract::settings::Settings;
use crate::format::Clock;
use crate::sampler::clock::RunClock;
use crate::sampler::source::Source;
use crate::sampler::source::pmu::Jitter;

/// The period where the command line says none, in ticks of each clock.
const DEFAULT_INSTRUCTIONS: u64 = 1000;
const DEFAULT_NANOSECONDS: u64 = 1_000_000;
/// The same, of a counter where the clock is time, in its events.
const DEFAULT_EVENTS_APART: u64 = 100_000;

/// The period, in ticks or events.
pub(super) fn period(settings: &Settings<'_>, source: &Source, clock: &RunClock) -> u64 {
    let default = || default_period(source, clock.clock);
    settings.period.unwrap_or_else(default)
}

fn default_period(source: &Source, clock: Clock) -> u64 {
    match (source, clock) {
        (Source::Step, _) => 1,
        (Source::Pmu(_), Clock::Time | Clock::Ticks) => DEFAULT_EVENTS_APART,
        (_, Clock::Instructions) => DEFAULT_INSTRUCTIONS,
        (_, Clock::Time | Clock::Ticks) => DEFAULT_NANOSECONDS,
    }
}

/// By how much periods vary.
pub(super) const fn jitter(settings: &Settings<'_>) -> Jitter {
    Jitter {
        percent: settings.jitter,
        seed: settings.seed,
    }
}
