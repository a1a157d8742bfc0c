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
//! | `clock` | `tick=instructions\|time\|ticks [reference=NAME within=N]` | why nothing says how long a tick takes |
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

use crate::format::{Clock, ClockReference, Delivery, Source, Text};
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
///
/// ```
/// use profiler::contract::capabilities::Line;
/// use profiler::format::{Clock, Delivery, Source};
///
/// let line = Line::Source {
///     source: Source::ApicTimer,
///     delivery: Delivery::Nmi,
///     works: Ok(()),
/// };
/// assert_eq!(line.to_string(), "survey: source name=apic-timer delivery=nmi works");
/// assert_eq!(Line::parse(&line.to_string()), Some(line));
/// ```
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
    /// The clock.
    Clock {
        /// What a tick is.
        tick: Clock,
        /// What says how long one takes.
        reference: ClockReference,
        /// To within how many parts of a million, if it was measured; else 0.
        within: u32,
        /// Why nothing does.
        why: Text<160>,
    },
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
    /// Whether a core can sample ops by their exact addresses (`ibs_op`).
    Ibs {
        /// The core.
        core: u32,
        /// Ok if it can.
        works: Result<(), Reason>,
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
///
/// ```
/// use profiler::contract::capabilities::{Line, Machine};
///
/// let machine = Machine { cores: 4, is_x2apic: true, has_invariant_tsc: true };
/// let line = Line::Machine(machine).to_string();
/// assert_eq!(line, "survey: machine cores=4 apic=x2apic tsc=invariant");
/// ```
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
///
/// ```
/// use profiler::contract::capabilities::{Hpet, Line};
///
/// let line = "survey: hpet timers=3 messages=3 period=10000000";
/// let hpet = Hpet { timers: 3, messages: 3, period: 10_000_000 };
/// assert_eq!(Line::parse(line), Some(Line::Hpet(Ok(hpet))));
/// ```
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
///
/// ```
/// use profiler::contract::capabilities::Pmu;
/// use profiler::pmu::counters::Counters;
/// use profiler::pmu::detect::Interface;
///
/// let pmu = Pmu {
///     interface: Interface::Intel(2),
///     counters: Counters { general: 0b1111, fixed: 0b111 },
///     busy: Counters { general: 0b0001, fixed: 0 },
///     dead: Counters::NONE,
///     general_bits: 48,
///     fixed_bits: 48,
///     raw: 0xffff,
///     kind: None,
/// };
/// assert_eq!(pmu.free().to_string(), "counters 1-3 and fixed counters 0-2");
/// ```
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
    pub(crate) fn new(found: &PmuState) -> Self {
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
    pub(crate) fn event(core: u32, event: Named, found: &PmuState) -> Self {
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
                identity: fields.identity()?,
                name: fields.text()?,
            },
            "machine" => Self::Machine(fields.machine()?),
            "clock" => fields.clock()?,
            "hpet" => Self::Hpet(fields.or_none(Fields::hpet)?),
            "pmu" => Self::Pmu {
                core: fields.get("core")?,
                pmu: fields.or_none(Fields::pmu)?,
            },
            "event" => Self::Event {
                core: fields.get("core")?,
                event: fields.get("name")?,
                counters: fields.or_none(|fields| fields.get("counters"))?,
            },
            "ibs" => Self::Ibs {
                core: fields.get("core")?,
                works: fields.or_none(|fields| fields.flag("works").then_some(()))?,
            },
            "source" => Self::Source {
                source: fields.get("name")?,
                delivery: fields.get("delivery")?,
                works: fields.or_none(|fields| fields.flag("works").then_some(()))?,
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
    /// What `read` reads, or why there is none.
    fn or_none<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Option<Result<T, Reason>> {
        match self.none() {
            Some(reason) => Some(Err(reason)),
            None => read(self).map(Ok),
        }
    }

    fn identity(&mut self) -> Option<Identity> {
        Some(Identity {
            vendor: self.get("vendor")?,
            family: self.get("family")?,
            model: self.get("model")?,
            hypervisor: self.get_optional("hypervisor").ok()?,
        })
    }

    fn clock(&mut self) -> Option<Line> {
        let tick = self.get("tick")?;
        let reference = self.get_optional("reference").ok()?;
        let within = match reference {
            Some(ClockReference::None) => return None,
            Some(_) => self.get("within")?,
            None => 0,
        };
        Some(Line::Clock {
            tick,
            reference: reference.unwrap_or(ClockReference::None),
            within,
            why: self.text()?,
        })
    }

    fn machine(&mut self) -> Option<Machine> {
        Some(Machine {
            cores: self.get("cores")?,
            is_x2apic: self.one_of("apic", ["xapic", "x2apic"])?,
            has_invariant_tsc: self.one_of("tsc", ["variable", "invariant"])?,
        })
    }

    fn hpet(&mut self) -> Option<Hpet> {
        Some(Hpet {
            timers: self.get("timers")?,
            messages: self.get("messages")?,
            period: self.get("period")?,
        })
    }

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
                write_identity(f, identity)?;
                value::text(f, name.as_str())
            }
            Self::Machine(machine) => machine.fmt(f),
            Self::Clock {
                tick,
                reference,
                within,
                why,
            } => {
                write!(f, "clock tick={tick}")?;
                if *reference != ClockReference::None {
                    write!(f, " reference={reference} within={within}")?;
                }
                value::text(f, why.as_str())
            }
            Self::Hpet(hpet) => write_or_none(f, format_args!("hpet"), hpet.as_ref()),
            Self::Pmu { core, pmu } => {
                write_or_none(f, format_args!("pmu core={core}"), pmu.as_ref())
            }
            Self::Event {
                core,
                event,
                counters,
            } => {
                let head = format_args!("event core={core} name={event}");
                match counters {
                    Ok(counters) => write!(f, "{head} counters={}", value::show(counters)),
                    Err(reason) => value::none(f, head, reason),
                }
            }
            Self::Ibs { core, works } => {
                let head = format_args!("ibs core={core}");
                write_or_none(f, head, works.as_ref().map(|()| "works"))
            }
            Self::Source {
                source,
                delivery,
                works,
            } => {
                let head = format_args!("source name={source} delivery={delivery}");
                write_or_none(f, head, works.as_ref().map(|()| "works"))
            }
            Self::Auto { delivery, source } => match source {
                Some(source) => write!(f, "auto delivery={delivery} source={source}"),
                None => write!(f, "auto delivery={delivery} none"),
            },
            Self::End => f.write_str("end"),
        }
    }
}

/// What there is behind the beginning of a line, or why there is none.
fn write_or_none(
    f: &mut fmt::Formatter<'_>,
    head: fmt::Arguments<'_>,
    found: Result<impl fmt::Display, &Reason>,
) -> fmt::Result {
    match found {
        Ok(found) => write!(f, "{head} {found}"),
        Err(reason) => value::none(f, head, reason),
    }
}

fn write_identity(f: &mut fmt::Formatter<'_>, identity: &Identity) -> fmt::Result {
    let Identity {
        vendor,
        family,
        model,
        hypervisor,
    } = identity;
    write!(f, "processor vendor={}", value::show(vendor))?;
    write!(f, " family={family} model={model}")?;
    match hypervisor {
        Some(hypervisor) => write!(f, " hypervisor={}", value::show(hypervisor)),
        None => Ok(()),
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let apic = if self.is_x2apic { "x2apic" } else { "xapic" };
        let tsc = if self.has_invariant_tsc {
            "invariant"
        } else {
            "variable"
        };
        write!(f, "machine cores={} apic={apic} tsc={tsc}", self.cores)
    }
}

impl fmt::Display for Hpet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            timers,
            messages,
            period,
        } = self;
        write!(f, "timers={timers} messages={messages} period={period}")
    }
}

impl fmt::Display for Pmu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "interface={}", value::show(&self.interface))?;
        for (key, set) in [
            ("counters", self.counters),
            ("busy", self.busy),
            ("dead", self.dead),
        ] {
            write!(f, " {key}={}", value::show(&set))?;
        }
        let (general, fixed) = (self.general_bits, self.fixed_bits);
        write!(f, " bits={general}+{fixed} raw={:#x}", self.raw)?;
        match self.kind {
            Some(kind) => write!(f, " kind={}", kind.number()),
            None => Ok(()),
        }
    }
}
