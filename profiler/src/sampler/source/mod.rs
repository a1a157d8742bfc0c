//! Where overflows come from: a choice of sources, each of which is a value.
//!
//! A source is *probed* before it is used, on the first core: the hardware has
//! to say that it can, and then an overflow has to arrive; of counters, on every core.
//! Then it is calibrated. The first that passes both is taken, in the order of [`ALL`] but for
//! [`Source::Step`], which is taken by name only, and what came of those before it goes
//! into the report.

pub(crate) mod apic_timer;
pub(crate) mod error;
pub(crate) mod hpet;
pub(crate) mod ipi;
pub(crate) mod leave;
pub(crate) mod pmu;
pub(crate) mod step;

use core::sync::atomic::{AtomicU8, Ordering};

use super::clock::RunClock;
use super::cores::Cores;
use super::per_core::Core;
use super::set_once::SetOnce;
use super::trial;
use crate::contract::settings::SourceChoice;
use crate::format::{self, Delivery, Text};
use apic_timer::ApicTimer;
pub use error::SourceError;
use hpet::HpetTimers;
use ipi::IpiDriver;
use pmu::Pmu;

/// When the interrupt that a probe waits for is due, in ticks.
const PROBE_PERIOD: u64 = 100_000;

/// All sources, in the order in which they are probed.
const ALL: [format::Source; 5] = [
    format::Source::Pmu,
    format::Source::ApicTimer,
    format::Source::Hpet,
    format::Source::Ipi,
    format::Source::Step,
];

/// Above the number of every source.
const KINDS_END: u8 = 6;

/// The sources that were probed, by their numbers and how they interrupt: handlers
/// look at one without a lock, so it stays where it is while another is probed.
pub(crate) struct Probed {
    sources: [SetOnce<Source>; 2 * KINDS_END as usize],
    /// The place of the one that is being probed or used.
    current: AtomicU8,
}

impl Probed {
    pub(crate) const fn new() -> Self {
        Self {
            sources: [const { SetOnce::new() }; 2 * KINDS_END as usize],
            current: AtomicU8::new(0),
        }
    }

    /// The source that is being probed or used, whose interrupts are what is sampled.
    #[inline]
    pub(crate) fn current(&self) -> Option<&Source> {
        self.sources[usize::from(self.current.load(Ordering::Relaxed))].get()
    }

    /// How the current one interrupts.
    pub(crate) fn delivery(&self) -> Delivery {
        if self.current.load(Ordering::Relaxed) < KINDS_END {
            Delivery::Nmi
        } else {
            Delivery::Irq
        }
    }

    /// Makes `source`, which interrupts `cores` by `delivery`, the current one.
    pub(crate) fn make_current(&'static self, source: Source, delivery: Delivery, cores: &[Core]) {
        let number = source.kind() as u8;
        let place = match delivery {
            Delivery::Nmi => number,
            Delivery::Irq => number + KINDS_END,
        };
        // One of that kind and delivery that was probed before is the same.
        let place_of_it = &self.sources[usize::from(place)];
        place_of_it.set(source);
        if let Some(source) = place_of_it.get() {
            cores
                .iter()
                .for_each(|core| leave::set_leave(core, source, delivery));
        }
        self.current.store(place, Ordering::Release);
    }
}

/// Returns true if `source=auto` may take it.
pub(crate) fn is_automatic(kind: format::Source) -> bool {
    kind != format::Source::Step
}

/// What a source is to do.
#[derive(Clone, Copy)]
pub(crate) struct Demand<'a> {
    /// How it is to interrupt.
    pub delivery: Delivery,
    /// The machine's clock.
    pub clock: &'a RunClock,
    /// Events were named: only counters count those.
    pub has_events: bool,
    /// Single overflows are aimed at instructions.
    pub has_aim: bool,
    /// The period, if it was named.
    pub period: Option<u64>,
    /// The vector of the tick that the kernel has by the timer of its APIC, if it has one.
    pub kernels_tick: Option<u8>,
}

impl Demand<'_> {
    const fn has_tick(&self) -> bool {
        self.kernels_tick.is_some()
    }

    /// Makes sure that counters do as well as the sources behind them, which can do less.
    fn check(&self, cores: &Cores, kind: format::Source) -> Result<(), SourceError> {
        if kind != format::Source::Pmu || self.has_events {
            return Ok(());
        }
        if self.has_aim {
            return Err(SourceError::NoAims);
        }
        let least = pmu::min_count(cores.first());
        if self.period.is_some_and(|period| period < least) {
            return Err(SourceError::MinPeriod(least));
        }
        Ok(())
    }
}

/// A source that passed its probe.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Source {
    /// Performance counters of the core.
    Pmu(Pmu),
    /// The core's own APIC timer.
    ApicTimer(ApicTimer),
    /// A timer of the HPET for each core.
    Hpet(HpetTimers),
    /// Another core.
    Ipi(IpiDriver),
    /// The trap flag.
    Step,
}

impl Source {
    /// The source that `choice` means on this machine, probed on the running
    /// core, and what its calibration gave; `None` if none works. `story` tells what came of
    /// each, and why this one was taken, or which there are instead of the one that was asked
    /// for.
    ///
    /// # Errors
    ///
    /// The only one that may be taken works, and its calibration fails.
    pub(crate) fn choose<C>(
        cores: &Cores,
        probed: &'static Probed,
        choice: SourceChoice,
        demand: &Demand<'_>,
        story: &mut Text<512>,
        calibrate: impl Fn(&Self) -> Result<C, SourceError>,
    ) -> Result<Option<(Self, C)>, (format::Source, SourceError)> {
        let probe = |kind| {
            if choice == SourceChoice::Auto {
                demand.check(cores, kind)?;
            }
            Self::probe(cores, probed, kind, demand)
        };
        // Only counters count events.
        let goes_on = choice == SourceChoice::Auto && !demand.has_events;
        let calibrate = |source: &Self| calibrate(source).inspect_err(|_| source.give_up(cores));
        let kinds = candidates(choice, demand.has_tick());
        let found = first_that_works(kinds, goes_on, probe, calibrate, story)?;
        match (&found, choice) {
            (Some((source, _)), _) => tell_of_choice(story, choice, source),
            (None, SourceChoice::Only(asked)) => {
                tell_of_others((cores, probed), asked, demand, story);
            }
            (None, SourceChoice::Auto) => {}
        }
        Ok(found)
    }

    /// It is not taken, and another one may be tried in its place: what may come of this one late
    /// would be taken for that one's.
    fn give_up(&self, cores: &Cores) {
        self.stop(cores.first());
        cores.settle();
    }

    /// Makes sure that the source of this kind works on the running core, and gives it up.
    ///
    /// # Errors
    ///
    /// As [`Self::probe`].
    pub(crate) fn look(
        cores: &Cores,
        probed: &'static Probed,
        kind: format::Source,
        demand: &Demand<'_>,
    ) -> Result<(), SourceError> {
        Self::probe(cores, probed, kind, demand).map(|source| source.give_up(cores))
    }

    /// Makes sure that the source of this kind works on the running core: an interrupt
    /// arrives. It may be armed still.
    ///
    /// # Errors
    ///
    /// It does not, and is given up; or the machine does not have it.
    fn probe(
        cores: &Cores,
        probed: &'static Probed,
        kind: format::Source,
        demand: &Demand<'_>,
    ) -> Result<Self, SourceError> {
        let source = Self::detect(cores, kind, demand)?;
        // What the hardware says of itself is one thing; an interrupt is another.
        probed.make_current(source, demand.delivery, cores.all());
        let works = source.try_out(cores).inspect_err(|_| source.give_up(cores));
        works.map(|()| source)
    }

    fn try_out(&self, cores: &Cores) -> Result<(), SourceError> {
        let (source, core) = (self, cores.first());
        if let Self::Pmu(pmu) = source {
            return pmu.try_out(cores);
        }
        source.enable(core);
        if let Self::Hpet(timers) = source {
            timers.find_margin(cores.all());
        }
        let count = u32::try_from(source.counts(PROBE_PERIOD)).unwrap_or(u32::MAX);
        let arrives = trial::await_overflow(core, || match source {
            Self::Ipi(_) => IpiDriver::interrupt(core),
            Self::Step => step::trap_twice(),
            _ => {
                core.note_armed();
                source.arm(core, count);
            }
        });
        arrives.then_some(()).ok_or(SourceError::NoArrival)
    }

    fn detect(
        cores: &Cores,
        kind: format::Source,
        demand: &Demand<'_>,
    ) -> Result<Self, SourceError> {
        let Demand {
            delivery, clock, ..
        } = *demand;
        if demand.has_events && kind != format::Source::Pmu {
            return Err(SourceError::NoEvents);
        }
        let all = cores.all();
        Ok(match kind {
            format::Source::Pmu => Self::Pmu(Pmu::probe(delivery, all)?),
            format::Source::ApicTimer => {
                Self::ApicTimer(ApicTimer::probe(delivery, clock, cores.first())?)
            }
            format::Source::Hpet => {
                Self::Hpet(HpetTimers::probe(cores.timers().hpet, delivery, all)?)
            }
            format::Source::Ipi if delivery == Delivery::Irq => return Err(SourceError::NmiOnly),
            format::Source::Step if delivery == Delivery::Irq => return Err(SourceError::NoIrq),
            format::Source::Ipi => Self::Ipi(IpiDriver::probe(clock, all)?),
            format::Source::Step => Self::Step,
        })
    }

    /// What the source is.
    #[must_use]
    pub(crate) const fn kind(&self) -> format::Source {
        match self {
            Self::Pmu(_) => format::Source::Pmu,
            Self::ApicTimer(_) => format::Source::ApicTimer,
            Self::Hpet(_) => format::Source::Hpet,
            Self::Ipi(_) => format::Source::Ipi,
            Self::Step => format::Source::Step,
        }
    }

    /// Returns true if each core arms a source of its own for one overflow at a time,
    /// which counts what the clock counts: so cores can take turns.
    #[must_use]
    pub(crate) const fn is_one_shot(&self) -> bool {
        matches!(self, Self::ApicTimer(_) | Self::Hpet(_) | Self::Step)
    }

    /// Prepares the source for the running core, `core`.
    pub(crate) fn enable(&self, core: &Core) {
        match self {
            Self::ApicTimer(timer) => {
                // What the first core's did in its probe, the others' do.
                let _ = timer.enable(core);
            }
            Self::Hpet(timers) => timers.enable(core),
            Self::Pmu(_) | Self::Ipi(_) | Self::Step => {}
        }
    }

    /// Lets the running core, `core`, have its next overflow after `count` counts; the
    /// counters of a PMU know by themselves when.
    #[inline]
    pub(crate) fn arm(&self, core: &Core, count: u32) {
        match self {
            Self::Pmu(pmu) => pmu.arm(core),
            Self::ApicTimer(timer) => timer.arm(count),
            Self::Hpet(timers) => timers.arm(core, count),
            Self::Ipi(_) | Self::Step => {}
        }
    }

    /// Takes that back. An overflow may be on its way all the same.
    pub(crate) fn disarm(&self, core: &Core) {
        match self {
            Self::Pmu(pmu) => pmu.disarm(core),
            Self::ApicTimer(timer) => timer.arm(0),
            Self::Hpet(timers) => timers.disarm(core),
            Self::Ipi(_) | Self::Step => {}
        }
    }

    /// The running core, `core`, has no use for it any more: no interrupt of it comes, at
    /// whatever time, but one that is on its way. What was the kernel's is the kernel's again.
    pub(crate) fn stop(&self, core: &Core) {
        match self {
            Self::Hpet(timers) => timers.stop(core),
            Self::ApicTimer(timer) => {
                timer.arm(0);
                apic_timer::give_back(core);
            }
            _ => self.disarm(core),
        }
    }

    /// Returns true if the running core, `core`, has an overflow that no handler has
    /// claimed.
    #[inline]
    #[must_use]
    pub(crate) fn has_fired(&self, core: &Core) -> bool {
        match self {
            Self::ApicTimer(timer) => timer.has_fired(),
            Self::Hpet(timers) => timers.has_fired(core),
            Self::Ipi(driver) => driver.has_fired(core),
            Self::Step => true,
            // It says itself what has; see `Pmu::on_interrupt`.
            Self::Pmu(_) => false,
        }
    }

    /// The least count that the source of `core` is armed with for long.
    #[must_use]
    pub(crate) fn least_count(&self, core: &Core) -> u64 {
        match self {
            Self::Hpet(timers) => timers.least_count(core),
            _ => 1,
        }
    }

    /// The least period, in ticks of the run, that it can be armed with for long on `core`,
    /// where it fires by `arm_latency` counts too late.
    #[must_use]
    pub(crate) fn least_period(&self, core: &Core, arm_latency: u64) -> u64 {
        match self {
            Self::Hpet(timers) => timers.least_period(core, arm_latency),
            _ => 1,
        }
    }

    /// Makes sure that no interrupt is on its way to the running core, `core`, before one is
    /// raised by software: that one would not keep it away from its landing.
    pub(crate) fn quiet(&self, core: &Core) {
        if let Self::Hpet(timers) = self {
            timers.quiet(core);
        }
    }

    /// The counts of the source in `ticks` ticks of the run.
    #[must_use]
    pub(crate) fn counts(&self, ticks: u64) -> u64 {
        match self {
            Self::ApicTimer(timer) => timer.counts(ticks),
            Self::Hpet(timers) => timers.counts(ticks),
            Self::Ipi(driver) => driver.counts(ticks),
            Self::Pmu(_) | Self::Step => ticks,
        }
    }
}

/// All sources, in the order in which they are probed where the kernel has a tick by the timer of
/// its APIC: it is the last but those that take a core, or are taken by name.
const WITH_TICK: [format::Source; 5] = [
    format::Source::Pmu,
    format::Source::Hpet,
    format::Source::ApicTimer,
    format::Source::Ipi,
    format::Source::Step,
];

/// All sources, in the order in which they are probed; `has_tick`: the kernel has one by the timer
/// of its APIC.
pub(crate) const fn order(has_tick: bool) -> [format::Source; 5] {
    if has_tick { WITH_TICK } else { ALL }
}

/// The sources that `choice` may mean, in the order in which they are tried.
fn candidates(choice: SourceChoice, has_tick: bool) -> impl Iterator<Item = format::Source> {
    order(has_tick)
        .into_iter()
        .filter(move |&kind| match choice {
            SourceChoice::Auto => is_automatic(kind),
            SourceChoice::Only(asked) => asked == kind,
        })
}

/// The first of `kinds` that passes its probe and then its calibration. `story` tells why those
/// before it do not.
///
/// # Errors
///
/// A calibration fails, and the choice does not go on (`goes_on`).
fn first_that_works<S, C>(
    kinds: impl Iterator<Item = format::Source>,
    goes_on: bool,
    probe: impl Fn(format::Source) -> Result<S, SourceError>,
    calibrate: impl Fn(&S) -> Result<C, SourceError>,
    story: &mut Text<512>,
) -> Result<Option<(S, C)>, (format::Source, SourceError)> {
    for kind in kinds {
        let problem = match probe(kind) {
            Err(problem) => problem,
            Ok(source) => match calibrate(&source) {
                Ok(calibrated) => return Ok(Some((source, calibrated))),
                Err(problem) if goes_on => problem,
                Err(problem) => return Err((kind, problem)),
            },
        };
        story.append_item("; ", format_args!("{kind}: {problem}"));
    }
    Ok(None)
}

fn tell_of_choice(story: &mut Text<512>, choice: SourceChoice, source: &Source) {
    let kind = source.kind();
    let reason = match choice {
        SourceChoice::Auto => "the first that works",
        SourceChoice::Only(_) => "asked for by name",
    };
    let details: Text<256> = match source {
        Source::Pmu(pmu) => Text::of(pmu),
        Source::ApicTimer(timer) => Text::of(timer),
        Source::Hpet(_) | Source::Ipi(_) | Source::Step => Text::EMPTY,
    };
    if details == Text::EMPTY {
        story.append_item("; ", format_args!("{kind}: {reason}"));
    } else {
        let details = details.as_str();
        story.append_item("; ", format_args!("{kind}: {reason} ({details})"));
    }
}

/// The sources that work, where the one that was asked for does not.
fn tell_of_others(
    (cores, probed): (&Cores, &'static Probed),
    asked: format::Source,
    demand: &Demand<'_>,
    story: &mut Text<512>,
) {
    let mut working = Text::<64>::EMPTY;
    for kind in ALL.into_iter().filter(|&kind| kind != asked) {
        if Source::look(cores, probed, kind, demand).is_ok() {
            working.append_item(", ", format_args!("{kind}"));
        }
    }
    if working != Text::EMPTY {
        story.append_item("; ", format_args!("there are {}", working.as_str()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Source::{ApicTimer, Hpet, Ipi, Pmu, Step};

    /// What comes of a machine whose counters are missing, and whose APIC timer passes its
    /// probe and not its calibration.
    fn choose(choice: SourceChoice, goes_on: bool) -> (Result<Option<format::Source>, ()>, String) {
        let probe = |kind| match kind {
            Pmu => Err(SourceError::NoEvents),
            kind => Ok(kind),
        };
        let calibrate = |&kind: &format::Source| match kind {
            ApicTimer => Err(SourceError::NoArrival),
            _ => Ok(()),
        };
        let mut story = Text::EMPTY;
        let kinds = candidates(choice, false);
        let found = first_that_works(kinds, goes_on, probe, calibrate, &mut story);
        let found = found.map(|it| it.map(|(kind, ())| kind));
        let found = found.map_err(|(kind, problem)| {
            assert_eq!((kind, problem), (ApicTimer, SourceError::NoArrival));
        });
        (found, story.as_str().to_owned())
    }

    #[test]
    fn the_next_source_is_tried_after_a_calibration_that_fails() {
        let (found, story) = choose(SourceChoice::Auto, true);
        assert_eq!(found, Ok(Some(Hpet)));
        let [no_events, late] = [SourceError::NoEvents, SourceError::NoArrival];
        assert_eq!(story, format!("pmu: {no_events}; apic-timer: {late}"));
        let (found, story) = choose(SourceChoice::Only(ApicTimer), true);
        assert_eq!(found, Ok(None));
        assert_eq!(story, format!("apic-timer: {late}"));
    }

    #[test]
    fn a_calibration_that_fails_for_good_ends_the_choice() {
        let (found, _) = choose(SourceChoice::Auto, false);
        assert_eq!(found, Err(()));
        assert_eq!(choose(SourceChoice::Only(Ipi), false).0, Ok(Some(Ipi)));
    }

    #[test]
    fn steps_are_taken_by_name_only() {
        let all = |choice, has_tick| candidates(choice, has_tick).collect::<Vec<_>>();
        assert_eq!(all(SourceChoice::Auto, false), [Pmu, ApicTimer, Hpet, Ipi]);
        assert_eq!(all(SourceChoice::Only(Step), false), [Step]);
        // The HPET keeps no kernel from its tick; what takes a core is the last still.
        assert_eq!(all(SourceChoice::Auto, true), [Pmu, Hpet, ApicTimer, Ipi]);
        assert_eq!(all(SourceChoice::Only(ApicTimer), true), [ApicTimer]);
    }
}
