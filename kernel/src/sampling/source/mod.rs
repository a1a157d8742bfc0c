//! Where overflows come from: a choice of sources, each of which is a value.
//!
//! A source is *probed* before it is used, on the first core: the hardware has
//! to say that it can, and then an overflow has to arrive; of counters, on every core.
//! The first that passes is taken, in the order of [`Source`]'s variants but for
//! [`Source::Step`], which is taken by name only, and what came of those before it goes
//! into the report.

pub mod apic_timer;
pub mod hpet;
pub mod ipi;
pub mod pmu;
pub mod step;

use core::fmt;
use core::sync::atomic::{AtomicU8, Ordering};

use profiler::contract::settings::SourceChoice;
use profiler::format::{self, Delivery, Text};
use spin::Once;

use super::clock::RunClock;
use super::{calibration, overflow};
use crate::cpu::CoreBlock;
use apic_timer::ApicTimer;
use hpet::HpetTimers;
use ipi::Driver;
use pmu::Pmu;

/// When the interrupt that a probe waits for is due, in ticks.
const ARRIVAL: u64 = 100_000;

/// The sources that were probed, by their numbers and how they interrupt: handlers
/// look at one without a lock, so it stays where it is while another is probed.
static PROBED: [Once<Source>; 2 * KINDS_END as usize] =
    [const { Once::new() }; 2 * KINDS_END as usize];
/// Above the number of every source.
const KINDS_END: u8 = 6;
/// The place of the one that is being probed or used.
static CURRENT: AtomicU8 = AtomicU8::new(0);

/// The source that is being probed or used, whose interrupts are what is sampled.
#[inline]
pub(super) fn current() -> Option<&'static Source> {
    PROBED[usize::from(CURRENT.load(Ordering::Relaxed))].get()
}

/// Makes `source`, which interrupts by `delivery`, the current one.
pub(super) fn make_current(source: Source, delivery: Delivery) {
    let number = source.kind() as u8;
    let place = match delivery {
        Delivery::Nmi => number,
        Delivery::Irq => number + KINDS_END,
    };
    PROBED[usize::from(place)].call_once(|| source);
    CURRENT.store(place, Ordering::Release);
}

/// All sources, in the order in which they are probed.
pub(super) const KINDS: [format::Source; 5] = [
    format::Source::Pmu,
    format::Source::ApicTimer,
    format::Source::Hpet,
    format::Source::Ipi,
    format::Source::Step,
];

/// Whether `source=auto` may take it.
#[must_use]
pub fn is_automatic(kind: format::Source) -> bool {
    kind != format::Source::Step
}

/// What a source is wanted for.
#[derive(Clone, Copy)]
pub struct Wanted<'a> {
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
}

impl Wanted<'_> {
    /// Makes sure that counters give what is wanted as well as the sources behind them
    /// do, which exist for less.
    fn fits(&self, kind: format::Source) -> Result<(), Unavailable> {
        if kind != format::Source::Pmu || self.has_events {
            return Ok(());
        }
        if self.has_aim {
            return Err(Unavailable::NoAims);
        }
        let least = pmu::least_period();
        match self.period {
            Some(period) if period < least => Err(Unavailable::LeastPeriod(least)),
            _ => Ok(()),
        }
    }
}

/// A source that passed its probe.
#[derive(Clone, Copy, Debug)]
pub enum Source {
    /// Performance counters of the core.
    Pmu(Pmu),
    /// The core's own APIC timer.
    ApicTimer(ApicTimer),
    /// A timer of the HPET for each core.
    Hpet(HpetTimers),
    /// Another core.
    Ipi(Driver),
    /// The trap flag.
    Step,
}

/// Why a source cannot be used here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unavailable {
    /// Nobody has looked whether there are performance counters.
    NoPmu,
    /// A core's counters cannot count what was asked for.
    Pmu {
        /// The core.
        core: u32,
        /// Why.
        problem: pmu::Problem,
    },
    /// Counters are what events are counted by.
    NoEvents,
    /// It does not come at an instruction that was aimed at.
    NoAims,
    /// No shorter period than this one comes out.
    LeastPeriod(u64),
    /// The timer's entry does not keep the NMI delivery mode.
    TimerIgnoresNmi,
    /// Nothing arrived within the time.
    NoArrival,
    /// No overflow of a core's counters interrupted it.
    NoOverflow {
        /// The core.
        core: u32,
    },
    /// A core does not take the sampling interrupt.
    NoAnswer {
        /// The core.
        core: u32,
    },
    /// Sampling interrupts that a core sends itself do not arrive.
    NoneFromItself {
        /// The core.
        core: u32,
    },
    /// There is no HPET, or firmware hides it.
    NoHpet,
    /// The HPET cannot send messages.
    HpetWithoutMessages,
    /// So many cores can be served, and there are so many.
    TooManyCores {
        /// The cores that the source can serve.
        served: u32,
        /// The cores that there are.
        cores: u32,
    },
    /// A single core has nobody to interrupt it.
    OneCore,
    /// The source delivers NMIs only.
    NmiOnly,
    /// The source's interrupts are not maskable.
    NoIrq,
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPmu => f.write_str("not looked for"),
            // What is so on the first core is so on the others, mostly.
            Self::Pmu { core: 0, problem } => problem.fmt(f),
            Self::Pmu { core, problem } => write!(f, "core {core}: {problem}"),
            Self::NoEvents => f.write_str("it counts no events"),
            Self::NoAims => f.write_str("it takes no aim"),
            Self::LeastPeriod(least) => write!(f, "no period is shorter than {least}"),
            Self::TimerIgnoresNmi => f.write_str("the timer does not keep the NMI delivery mode"),
            Self::NoArrival | Self::NoOverflow { core: 0 } => f.write_str("no interrupt arrived"),
            Self::NoOverflow { core } => write!(f, "core {core}: no interrupt arrived"),
            Self::NoneFromItself { core } => {
                write!(
                    f,
                    "core {core}: interrupts that it sends itself do not arrive"
                )
            }
            Self::NoAnswer { core } => {
                write!(f, "core {core} does not answer: it may have interrupts off")
            }
            Self::NoHpet => f.write_str("no HPET here"),
            Self::HpetWithoutMessages => f.write_str("the HPET sends no messages to cores"),
            Self::TooManyCores { served, cores } => {
                write!(f, "it can serve {served} cores and there are {cores}")
            }
            Self::OneCore => f.write_str("a single core has nobody to interrupt it"),
            Self::NmiOnly => f.write_str("it delivers NMIs only"),
            Self::NoIrq => f.write_str("its traps cannot be masked: leave out delivery=irq"),
        }
    }
}

impl Source {
    /// The source that `choice` means on this machine, probed on the running
    /// core; none if none works. `story` tells what came of each, and why this one
    /// was taken, or which there are instead of the one that was asked for.
    pub fn choose(
        choice: SourceChoice,
        wanted: &Wanted<'_>,
        story: &mut Text<512>,
    ) -> Option<Self> {
        for kind in KINDS {
            match choice {
                SourceChoice::Auto if !is_automatic(kind) => continue,
                SourceChoice::Only(asked) if asked != kind => continue,
                _ => {}
            }
            let fits = match choice {
                SourceChoice::Auto => wanted.fits(kind),
                SourceChoice::Only(_) => Ok(()),
            };
            match fits.and_then(|()| Self::probe(kind, wanted)) {
                Ok(source) => {
                    let why = match choice {
                        SourceChoice::Auto => "the first that works",
                        SourceChoice::Only(_) => "asked for by name",
                    };
                    match source {
                        Self::Pmu(pmu) => {
                            story.append_item("; ", format_args!("{kind}: {why} ({pmu})"))
                        }
                        _ => story.append_item("; ", format_args!("{kind}: {why}")),
                    }
                    return Some(source);
                }
                Err(problem) => story.append_item("; ", format_args!("{kind}: {problem}")),
            }
        }
        if let SourceChoice::Only(asked) = choice {
            let others = KINDS.into_iter().filter(|&kind| kind != asked);
            let mut working = Text::<64>::EMPTY;
            for kind in others.filter(|&kind| Self::probe(kind, wanted).is_ok()) {
                working.append_item(", ", format_args!("{kind}"));
            }
            if working != Text::EMPTY {
                story.append_item("; ", format_args!("there are {}", working.as_str()));
            }
        }
        None
    }

    /// Makes sure that the source of this kind works on the running core: an interrupt
    /// arrives. It may be armed still.
    ///
    /// # Errors
    ///
    /// It does not, or the machine does not have it.
    pub(super) fn probe(kind: format::Source, wanted: &Wanted<'_>) -> Result<Self, Unavailable> {
        let Wanted {
            delivery,
            clock,
            has_events,
            ..
        } = *wanted;
        if has_events && kind != format::Source::Pmu {
            return Err(Unavailable::NoEvents);
        }
        let source = match kind {
            format::Source::Pmu => Self::Pmu(Pmu::probe(delivery)?),
            format::Source::ApicTimer => Self::ApicTimer(ApicTimer::probe(delivery, clock)?),
            format::Source::Hpet => Self::Hpet(HpetTimers::probe(delivery)?),
            format::Source::Ipi if delivery == Delivery::Irq => return Err(Unavailable::NmiOnly),
            format::Source::Step if delivery == Delivery::Irq => return Err(Unavailable::NoIrq),
            format::Source::Step => Self::Step,
            format::Source::Ipi => Self::Ipi(Driver::probe()?),
        };
        // What the hardware says of itself is one thing; an interrupt is another.
        make_current(source, delivery);
        if let Self::Pmu(pmu) = source {
            pmu.try_out()?;
            return Ok(source);
        }
        let count = u32::try_from(source.counts(ARRIVAL)).unwrap_or(u32::MAX);
        calibration::arrival(|core| match source {
            Self::Ipi(_) => Driver::interrupt(core),
            Self::Step => step::twice(),
            _ => overflow::arm(core, count),
        })?;
        Ok(source)
    }

    /// What the source is.
    #[must_use]
    pub const fn kind(&self) -> format::Source {
        match self {
            Self::Pmu(_) => format::Source::Pmu,
            Self::ApicTimer(_) => format::Source::ApicTimer,
            Self::Hpet(_) => format::Source::Hpet,
            Self::Ipi(_) => format::Source::Ipi,
            Self::Step => format::Source::Step,
        }
    }

    /// Whether each core arms a source of its own for one overflow at a time, which
    /// counts what the clock counts: so cores can take turns.
    #[must_use]
    pub const fn is_one_shot(&self) -> bool {
        matches!(self, Self::ApicTimer(_) | Self::Hpet(_) | Self::Step)
    }

    /// Prepares the source for the running core, `core`.
    pub fn enable(&self, core: &CoreBlock) {
        match self {
            Self::ApicTimer(timer) => timer.enable(),
            Self::Hpet(timers) => timers.enable(core),
            Self::Pmu(_) | Self::Ipi(_) | Self::Step => {}
        }
    }

    /// Lets the running core, `core`, have its next overflow after `count` counts; the
    /// counters of a PMU know by themselves when.
    #[inline]
    pub fn arm(&self, core: &CoreBlock, count: u32) {
        match self {
            Self::Pmu(pmu) => pmu.arm(core),
            Self::ApicTimer(timer) => timer.arm(count),
            Self::Hpet(timers) => timers.arm(core, count),
            Self::Ipi(_) | Self::Step => {}
        }
    }

    /// Takes that back. An overflow may be on its way all the same.
    pub fn disarm(&self, core: &CoreBlock) {
        match self {
            Self::Pmu(pmu) => pmu.disarm(core),
            Self::ApicTimer(timer) => timer.arm(0),
            Self::Hpet(timers) => timers.disarm(core),
            Self::Ipi(_) | Self::Step => {}
        }
    }

    /// Whether the running core, `core`, has an overflow to account for.
    #[inline]
    #[must_use]
    pub fn has_fired(&self, core: &CoreBlock) -> bool {
        match self {
            Self::ApicTimer(timer) => timer.has_fired(),
            Self::Hpet(timers) => timers.has_fired(core),
            Self::Ipi(driver) => driver.has_fired(core),
            Self::Step => true,
            // It says itself what has; see `Pmu::enter`.
            Self::Pmu(_) => false,
        }
    }

    /// Counts of the source in so many ticks of the run.
    #[must_use]
    pub fn counts(&self, ticks: u64) -> u64 {
        match self {
            Self::ApicTimer(timer) => timer.counts(ticks),
            Self::Hpet(timers) => timers.counts(ticks),
            Self::Pmu(_) | Self::Ipi(_) | Self::Step => ticks,
        }
    }
}
