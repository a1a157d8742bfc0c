//! What a machine can sample by, as lines of text: a kernel writes them to its log, and the
//! host tool reads them there.
//!
//! [`Line`] serves both: it parses what it displays, to the same value.
//!
//! ```text
//! LINE = "survey: " KIND [ " " FIELD ]… [ " none" ] [ ": " TEXT ]
//! ```
//!
//! Each kind has its fields, in this order; those in brackets may be missing. `none`
//! replaces the fields from there on where something is missing or does not work, and the
//! text then says why.
//!
//! | kind | fields | text |
//! |---|---|---|
//! | `processor` | `vendor=NAME family=N model=N [hypervisor=NAME]` | its name |
//! | `machine` | `cores=N apic=xapic\|x2apic tsc=invariant\|variable` | |
//! | `clock` | `tick=instructions\|time` | why none |
//! | `hpet` | `timers=N messages=N period=N` | why none |
//! | `pmu` | `core=N interface=NAME counters=SET busy=SET dead=SET bits=N+N raw=HEX [kind=N]` | why none |
//! | `event` | `core=N name=NAME counters=SET` | why none |
//! | `source` | `name=NAME delivery=nmi\|irq works` | why none |
//! | `auto` | `delivery=nmi\|irq source=NAME` | |
//! | `end` | | |
//!
//! `N` is decimal and `HEX` hexadecimal after `0x`. A `SET` of counters is the general
//! and the fixed ones, each as the bits of their numbers: `0xf+0x7`. In a name of CPUID's
//! a byte that is no visible ASCII character, or is `%`, is written `%HH`; zeros
//! at its end are left out.

mod value;

#[cfg(all(test, not(loom)))]
mod tests;

use core::fmt;

use crate::format::{Clock, Delivery, Source, Text};
use crate::pmu::counters::Counters;
use crate::pmu::detect::{CoreKind, Identity, Interface};
use crate::pmu::event::{Event, Named, What};
use crate::pmu::plan::PmuState;
use value::Fields;

/// Why something is not there or does not work.
pub type Reason = Text<240>;

/// The prefix of each line.
pub const PREFIX: &str = "survey: ";

/// A line of the list.
// As large as its largest text: there is no heap to put it on, and few lines at a time.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Line {
    /// The first core's processor.
    Processor {
        /// Which it is.
        identity: Identity,
        /// What CPUID calls it.
        name: Text<48>,
    },
    /// Properties of all cores.
    Machine(Machine),
    /// What a tick is, or why nothing says how long one takes.
    Clock(Result<Clock, Reason>),
    /// The HPET.
    Hpet(Result<Hpet, Reason>),
    /// A core's performance counters.
    Pmu {
        /// The core.
        core: u32,
        /// What it has.
        pmu: Result<Pmu, Reason>,
    },
    /// An event that has a name.
    Event {
        /// The core.
        core: u32,
        /// The event.
        event: Named,
        /// The free counters of that core that can count it.
        counters: Result<Counters, Reason>,
    },
    /// The outcome of letting a source interrupt the first core.
    Source {
        /// The source.
        source: Source,
        /// How it was to interrupt.
        delivery: Delivery,
        /// Ok if the interrupt arrived.
        works: Result<(), Reason>,
    },
    /// The source that `source=auto` chooses.
    Auto {
        /// How it is to interrupt.
        delivery: Delivery,
        /// The source, if any works.
        source: Option<Source>,
    },
    /// The list is complete.
    End,
}

/// Properties of all cores.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Machine {
    /// Cores online.
    pub cores: u32,
    /// True if their APICs are reached by MSRs (x2APIC), false if by memory.
    pub is_x2apic: bool,
    /// True if the time stamp counter runs at a constant rate.
    pub has_invariant_tsc: bool,
}

/// The HPET.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hpet {
    /// Its timers.
    pub timers: u32,
    /// The number of them, from the first on, that can interrupt by messages to cores.
    pub messages: u32,
    /// Femtoseconds from one count to the next.
    pub period: u64,
}

/// The performance counters of a core.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pmu {
    /// How they are reached.
    pub interface: Interface,
    /// Counters that CPUID announces.
    pub counters: Counters,
    /// Counters in use by firmware or a hypervisor.
    pub busy: Counters,
    /// Counters that do not keep what is written to them.
    pub dead: Counters,
    /// Bits of a general counter.
    pub general_bits: u8,
    /// Bits of a fixed counter; 0 if there is none.
    pub fixed_bits: u8,
    /// The bits of an event select by which an event can be named by its number.
    pub raw: u64,
    /// On a hybrid processor, what the core is.
    pub kind: Option<CoreKind>,
}

impl Pmu {
    /// The counters of a probed PMU.
    #[must_use]
    pub fn new(found: &PmuState) -> Self {
        let PmuState {
            capabilities,
            busy,
            dead,
            ..
        } = *found;
        Self {
            interface: capabilities.interface,
            counters: capabilities.counters,
            busy,
            dead,
            general_bits: capabilities.general_width,
            fixed_bits: capabilities.fixed_width,
            raw: capabilities.select_bits(),
            kind: capabilities.core_kind,
        }
    }

    /// The counters that work and are not in use.
    #[must_use]
    pub const fn free(&self) -> Counters {
        self.counters.without(self.busy).without(self.dead)
    }
}

impl Line {
    /// The line of `event` on a core with this PMU: its free counters that can count it.
    #[must_use]
    pub fn event(core: u32, event: Named, found: &PmuState) -> Self {
        let counters = match found.capabilities.encode(&Event::new(What::Named(event))) {
            Err(problem) => Err(Reason::formatted(format_args!("{problem}"))),
            Ok(encoding) => {
                let works = encoding.counters.without(found.dead);
                match works.without(found.busy) {
                    free if !free.is_empty() => Ok(free),
                    _ if !works.is_empty() => Err(Reason::new(
                        "the counters that could are in use by firmware or a hypervisor",
                    )),
                    _ => Err(Reason::new(
                        "the counters that could do not keep what is written to them",
                    )),
                }
            }
        };
        Self::Event {
            core,
            event,
            counters,
        }
    }

    /// Reads a line, from [`PREFIX`] to its end.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let mut fields = Fields::new(line.strip_prefix(PREFIX)?);
        let parsed = match fields.word()? {
            "processor" => Self::Processor {
                identity: Identity {
                    vendor: fields.get("vendor")?,
                    family: fields.get("family")?,
                    model: fields.get("model")?,
                    hypervisor: fields.get_optional("hypervisor").ok()?,
                },
                name: fields.text()?,
            },
            "machine" => Self::Machine(Machine {
                cores: fields.get("cores")?,
                is_x2apic: fields.one_of("apic", ["xapic", "x2apic"])?,
                has_invariant_tsc: fields.one_of("tsc", ["variable", "invariant"])?,
            }),
            "clock" => Self::Clock(match fields.none() {
                Some(why) => Err(why),
                None => Ok(fields.get("tick")?),
            }),
            "hpet" => Self::Hpet(match fields.none() {
                Some(why) => Err(why),
                None => Ok(Hpet {
                    timers: fields.get("timers")?,
                    messages: fields.get("messages")?,
                    period: fields.get("period")?,
                }),
            }),
            "pmu" => Self::Pmu {
                core: fields.get("core")?,
                pmu: match fields.none() {
                    Some(why) => Err(why),
                    None => Ok(fields.pmu()?),
                },
            },
            "event" => Self::Event {
                core: fields.get("core")?,
                event: fields.get("name")?,
                counters: match fields.none() {
                    Some(why) => Err(why),
                    None => Ok(fields.get("counters")?),
                },
            },
            "source" => Self::Source {
                source: fields.get("name")?,
                delivery: fields.get("delivery")?,
                works: match fields.none() {
                    Some(why) => Err(why),
                    None => fields.flag("works").then_some(Ok(()))?,
                },
            },
            "auto" => Self::Auto {
                delivery: fields.get("delivery")?,
                source: if fields.flag("none") {
                    None
                } else {
                    Some(fields.get("source")?)
                },
            },
            "end" => Self::End,
            _ => return None,
        };
        fields.have_ended().then_some(parsed)
    }
}

impl Fields<'_> {
    fn pmu(&mut self) -> Option<Pmu> {
        let interface = self.get("interface")?;
        let counters = self.get("counters")?;
        let busy = self.get("busy")?;
        let dead = self.get("dead")?;
        let (general_bits, fixed_bits) = self.get("bits")?;
        Some(Pmu {
            interface,
            counters,
            busy,
            dead,
            general_bits,
            fixed_bits,
            raw: value::Hex::get(self, "raw")?,
            kind: self.get_optional("kind").ok()?.map(CoreKind::from_number),
        })
    }
}

impl fmt::Display for Line {
    /// The text that [`Line::parse`] reads this line from, if its texts have no control
    /// characters.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        match self {
            Self::Processor { identity, name } => {
                let Identity {
                    vendor,
                    family,
                    model,
                    hypervisor,
                } = identity;
                write!(f, "processor vendor={}", value::show(vendor))?;
                write!(f, " family={family} model={model}")?;
                if let Some(hypervisor) = hypervisor {
                    write!(f, " hypervisor={}", value::show(hypervisor))?;
                }
                value::text(f, name.as_str())
            }
            Self::Machine(machine) => {
                let apic = if machine.is_x2apic { "x2apic" } else { "xapic" };
                let tsc = if machine.has_invariant_tsc {
                    "invariant"
                } else {
                    "variable"
                };
                write!(f, "machine cores={} apic={apic} tsc={tsc}", machine.cores)
            }
            Self::Clock(Ok(clock)) => write!(f, "clock tick={clock}"),
            Self::Clock(Err(why)) => value::none(f, format_args!("clock"), why),
            Self::Hpet(Ok(hpet)) => {
                let Hpet {
                    timers,
                    messages,
                    period,
                } = hpet;
                write!(
                    f,
                    "hpet timers={timers} messages={messages} period={period}"
                )
            }
            Self::Hpet(Err(why)) => value::none(f, format_args!("hpet"), why),
            Self::Pmu { core, pmu: Ok(pmu) } => {
                write!(
                    f,
                    "pmu core={core} interface={}",
                    value::show(&pmu.interface)
                )?;
                for (key, set) in [
                    ("counters", pmu.counters),
                    ("busy", pmu.busy),
                    ("dead", pmu.dead),
                ] {
                    write!(f, " {key}={}", value::show(&set))?;
                }
                let (general, fixed) = (pmu.general_bits, pmu.fixed_bits);
                write!(f, " bits={general}+{fixed} raw={:#x}", pmu.raw)?;
                match pmu.kind {
                    Some(kind) => write!(f, " kind={}", kind.number()),
                    None => Ok(()),
                }
            }
            Self::Pmu {
                core,
                pmu: Err(why),
            } => value::none(f, format_args!("pmu core={core}"), why),
            Self::Event {
                core,
                event,
                counters,
            } => {
                let head = format_args!("event core={core} name={event}");
                match counters {
                    Ok(counters) => write!(f, "{head} counters={}", value::show(counters)),
                    Err(why) => value::none(f, head, why),
                }
            }
            Self::Source {
                source,
                delivery,
                works,
            } => {
                let head = format_args!("source name={source} delivery={delivery}");
                match works {
                    Ok(()) => write!(f, "{head} works"),
                    Err(why) => value::none(f, head, why),
                }
            }
            Self::Auto { delivery, source } => match source {
                Some(source) => write!(f, "auto delivery={delivery} source={source}"),
                None => write!(f, "auto delivery={delivery} none"),
            },
            Self::End => f.write_str("end"),
        }
    }
}
