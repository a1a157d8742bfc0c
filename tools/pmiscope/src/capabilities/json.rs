//! Capabilities for programs. What is not known is null.

use profiler::contract::capabilities::{self, Reason};
use profiler::format::{ClockReference, Delivery, Source};
use profiler::pmu::counters::Counters;
use profiler::pmu::event::Named;
use serde::Serialize;

use super::{Capabilities, OfCores, bits, name};

/// The keys of the JSON.
#[derive(Clone, Debug, Serialize)]
pub struct Document {
    /// What is missing, if anything is.
    pub incomplete: Option<String>,
    /// The first core's processor.
    pub processor: Option<Processor>,
    #[serde(flatten)]
    pub machine: Machine,
    pub clock: Option<Clock>,
    pub hpet: Option<Outcome<Hpet>>,
    /// The PMUs, each with its cores.
    pub pmus: Vec<Pmu>,
    /// The events that have a name.
    pub events: Vec<Event>,
    /// The attempts to use the sources.
    pub sources: Vec<Attempt>,
    /// What `--source auto` takes.
    pub auto: Auto,
}

/// The clock.
#[derive(Clone, Debug, Serialize)]
pub struct Clock {
    /// What a tick is: `instructions`, `time` (nanoseconds) or `ticks` of the time stamp counter.
    pub found: &'static str,
    /// What says how fast the time stamp counter runs; left out where a tick is no nanosecond.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<&'static str>,
    /// To within how many parts of a million, if it was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub within_ppm: Option<u32>,
    /// Why nothing says how fast it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl From<super::Clock> for Clock {
    fn from(clock: super::Clock) -> Self {
        let reference = clock.reference;
        Self {
            found: clock.tick.name(),
            reference: (reference != ClockReference::None).then_some(reference.name()),
            within_ppm: (clock.within > 0).then_some(clock.within),
            why: (!clock.why.is_empty()).then_some(clock.why),
        }
    }
}

/// What all cores have in common.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// Cores online.
    pub cores: Option<u32>,
    /// `xapic` or `x2apic`.
    pub apic: Option<&'static str>,
    /// Whether the time stamp counter runs at a constant rate.
    pub invariant_tsc: Option<bool>,
}

/// What is there, or why it is not: one of the two is null.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome<T> {
    pub found: Option<T>,
    /// Why it is not.
    pub why: Option<String>,
}

impl<T> Outcome<T> {
    fn new<U>(outcome: Result<U, Reason>, found: impl FnOnce(U) -> T) -> Self {
        match outcome {
            Ok(value) => Self {
                found: Some(found(value)),
                why: None,
            },
            Err(why) => Self {
                found: None,
                why: Some(why.as_str().into()),
            },
        }
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct Processor {
    /// Its name, as CPUID has it.
    pub name: String,
    /// Its maker, as CPUID has it.
    pub vendor: String,
    pub family: u32,
    pub model: u32,
    /// What the hypervisor or emulator calls itself.
    pub hypervisor: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Hpet {
    pub timers: u32,
    /// Timers that can interrupt by messages.
    pub messages: u32,
    /// Femtoseconds of a count.
    pub period_fs: u64,
}

/// Counters, by number.
#[derive(Clone, Debug, Serialize)]
pub struct Set {
    pub general: Vec<u32>,
    pub fixed: Vec<u32>,
}

impl From<Counters> for Set {
    fn from(set: Counters) -> Self {
        Self {
            general: bits(set.general),
            fixed: bits(set.fixed),
        }
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct Pmu {
    /// The cores that have it.
    pub cores: Vec<u32>,
    #[serde(flatten)]
    pub pmu: Outcome<PmuFound>,
}

/// What a PMU is.
#[derive(Clone, Debug, Serialize)]
pub struct PmuFound {
    /// How it is reached.
    pub interface: String,
    pub counters: Set,
    /// Counters that are unused and work.
    pub free: Set,
    /// Counters that firmware or a hypervisor uses.
    pub busy: Set,
    /// Counters that do not keep what is written to them.
    pub dead: Set,
    /// Bits of a general counter.
    pub general_bits: u8,
    /// Bits of a fixed counter.
    pub fixed_bits: u8,
    /// The bits of an event select that an event by its number can have.
    pub raw_bits: u64,
    /// On a hybrid processor, the core's kind in CPUID leaf 0x1a.
    pub core_kind: Option<u8>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Event {
    pub name: &'static str,
    /// Its other names.
    pub aliases: &'static [&'static str],
    pub description: &'static str,
    /// True if any core can count it.
    pub is_here: bool,
    /// What counts it, each with its cores; nothing where no core has a PMU.
    pub counters: Vec<EventCounters>,
}

/// What counts an event.
#[derive(Clone, Debug, Serialize)]
pub struct EventCounters {
    /// On these cores.
    pub cores: Vec<u32>,
    #[serde(flatten)]
    pub counters: Outcome<Set>,
}

/// An attempt to use a source.
#[derive(Clone, Debug, Serialize)]
pub struct Attempt {
    pub name: &'static str,
    /// How it was to interrupt.
    pub delivery: &'static str,
    pub works: bool,
    /// Why it does not.
    pub why: Option<String>,
}

/// What `--source auto` takes.
#[derive(Clone, Debug, Serialize)]
pub struct Auto {
    /// With `--delivery nmi`.
    pub nmi: Option<&'static str>,
    /// With `--delivery irq`.
    pub irq: Option<&'static str>,
}

impl From<&Capabilities> for Document {
    fn from(capabilities: &Capabilities) -> Self {
        let machine = capabilities.machine();
        let auto = |delivery| capabilities.auto(delivery).source().map(Source::name);
        Self {
            incomplete: capabilities.incomplete(),
            processor: capabilities
                .processor()
                .map(|(identity, called)| Processor {
                    name: called.as_str().into(),
                    vendor: name(identity.vendor),
                    family: identity.family,
                    model: identity.model,
                    hypervisor: identity.hypervisor.map(name),
                }),
            machine: Machine {
                cores: machine.map(|machine| machine.cores),
                apic: machine.map(|machine| if machine.is_x2apic { "x2apic" } else { "xapic" }),
                invariant_tsc: machine.map(|machine| machine.has_invariant_tsc),
            },
            clock: capabilities.clock().map(Into::into),
            hpet: capabilities.hpet().map(|hpet| {
                Outcome::new(hpet, |hpet| Hpet {
                    timers: hpet.timers,
                    messages: hpet.messages,
                    period_fs: hpet.period,
                })
            }),
            pmus: capabilities.pmus().into_iter().map(Into::into).collect(),
            events: Named::ALL
                .into_iter()
                .map(|event| self::event(capabilities, event))
                .collect(),
            sources: capabilities.attempts().map(Into::into).collect(),
            auto: Auto {
                nmi: auto(Delivery::Nmi),
                irq: auto(Delivery::Irq),
            },
        }
    }
}

fn event(capabilities: &Capabilities, event: Named) -> Event {
    let groups = capabilities.event(event);
    Event {
        name: event.name(),
        aliases: &event.names()[1..],
        description: event.description(),
        is_here: groups.iter().any(|group| group.outcome.is_ok()),
        counters: groups
            .into_iter()
            .map(|OfCores { cores, outcome }| EventCounters {
                cores,
                counters: Outcome::new(outcome, Set::from),
            })
            .collect(),
    }
}

impl From<OfCores<Result<capabilities::Pmu, Reason>>> for Pmu {
    fn from(OfCores { cores, outcome }: OfCores<Result<capabilities::Pmu, Reason>>) -> Self {
        let found = |pmu: capabilities::Pmu| PmuFound {
            interface: pmu.interface.to_string(),
            counters: pmu.counters.into(),
            free: pmu.free().into(),
            busy: pmu.busy.into(),
            dead: pmu.dead.into(),
            general_bits: pmu.general_bits,
            fixed_bits: pmu.fixed_bits,
            raw_bits: pmu.raw,
            core_kind: pmu.kind.map(profiler::pmu::detect::CoreKind::number),
        };
        Self {
            cores,
            pmu: Outcome::new(outcome, found),
        }
    }
}

impl From<super::Attempt> for Attempt {
    fn from(attempt: super::Attempt) -> Self {
        Self {
            name: attempt.source.name(),
            delivery: attempt.delivery.name(),
            works: attempt.works.is_ok(),
            why: attempt.works.err().map(|why| why.as_str().into()),
        }
    }
}
