//! Events: what a performance counter counts, and how a list of them is written.
//!
//! The kernel's command line and the host tool share this one grammar, which is
//! that of `perf` as far as it goes, so that what works there can be pasted:
//!
//! ```text
//! LIST      = EVENT [ "," EVENT ]…
//! EVENT     = NAME [ ":" MODIFIERS ]
//!           | NAME "/" TERMS "/" [ [ ":" ] MODIFIERS ]
//! NAME      = a name of the table below | "r" HEX | CORES with terms | "ibs_op"
//! CORES     = "cpu" | "cpu_core" | "cpu_atom"
//! TERMS     = [ TERM [ "," TERM ]… ]
//! TERM      = "event=" N | "umask=" N | "edge" [ "=" N ] | "inv" [ "=" N ]
//!           | "cmask=" N | "period=" N | "counters=" N | a name of the table
//!           | of ibs_op: "cnt_ctl" [ "=" N ] and "period=" N alone
//! MODIFIERS = "u", "k" or both: user code, the kernel; without any, both
//! N         = decimal, or "0x" and hexadecimal
//! HEX       = bits 0-7 event, 8-15 unit mask, 18 edge, 23 invert, 24-31 counter
//!             mask, 32-35 event bits 8-11 (AMD), 40-47 unit mask bits 8-15 (Intel)
//! ```
//!
//! `cycles:k,cpu/event=0xc4,umask=0x20/u,instructions/period=500/` are three
//! events: a comma between slashes separates terms.
//!
//! `cpu_core` and `cpu_atom` are the performance and the efficiency cores of a hybrid
//! processor: an event of theirs is counted on those, and on no other.
//!
//! `ibs_op` is AMD's Instruction-Based Sampling: each sample has the address of an op that
//! was executed, without skid. It counts cycles, and with `cnt_ctl=1` ops, of all privilege
//! levels: it has no modifiers.
//!
//! `counters` is not perf's: the bit mask of the general counters that can count
//! the event, where the maker's table of events restricts it.

mod parse;
#[cfg(test)]
pub(crate) mod tests;

use core::fmt;
use core::ops::RangeInclusive;

pub use parse::{BadEvent, EventProblem};

use super::detect::CoreKind;
pub use crate::format::description::MAX_EVENTS;

/// The name of AMD's Instruction-Based Sampling of ops, which is perf's.
pub(crate) const IBS_OP: &str = "ibs_op";

/// An event that has a name on every maker's processors. What counts it, and
/// whether anything does, differs.
///
/// ```
/// use profiler::pmu::event::Named;
///
/// assert_eq!(Named::from_name("cpu-cycles"), Some(Named::Cycles));
/// assert_eq!(Named::Cycles.names(), ["cycles", "cpu-cycles"]);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Named {
    /// Cycles of the core while it is not halted.
    Cycles,
    /// Retired instructions.
    Instructions,
    /// Cycles at a fixed rate while the core is not halted.
    ReferenceCycles,
    /// Cycles of the bus while the core is not halted.
    BusCycles,
    /// Accesses to a level of the cache that the maker has chosen: Intel the last one
    /// (SDM vol. 3, "LLC Reference"), AMD the second (PMCx060; before family 17h
    /// PMCx07D).
    CacheReferences,
    /// Those that it did not have (also "LLC Misses"; PMCx064, PMCx07E).
    CacheMisses,
    /// Retired branches.
    Branches,
    /// Those that were predicted wrong.
    BranchMisses,
    /// Places for micro-operations, several a cycle.
    Slots,
    /// Cycles in which no operation was fetched or decoded.
    StalledFrontend,
    /// Cycles in which no operation could be executed.
    StalledBackend,
}

impl Named {
    /// All of them, in the order of lists.
    pub const ALL: [Self; 11] = [
        Self::Cycles,
        Self::Instructions,
        Self::ReferenceCycles,
        Self::BusCycles,
        Self::CacheReferences,
        Self::CacheMisses,
        Self::Branches,
        Self::BranchMisses,
        Self::Slots,
        Self::StalledFrontend,
        Self::StalledBackend,
    ];

    /// The names under which it is known, the one that is shown first.
    #[must_use]
    pub const fn names(self) -> &'static [&'static str] {
        match self {
            Self::Cycles => &["cycles", "cpu-cycles"],
            Self::Instructions => &["instructions"],
            Self::ReferenceCycles => &["ref-cycles"],
            Self::BusCycles => &["bus-cycles"],
            Self::CacheReferences => &["cache-references"],
            Self::CacheMisses => &["cache-misses"],
            Self::Branches => &["branches", "branch-instructions"],
            Self::BranchMisses => &["branch-misses"],
            Self::Slots => &["slots", "topdown.slots"],
            Self::StalledFrontend => &["stalled-cycles-frontend", "idle-cycles-frontend"],
            Self::StalledBackend => &["stalled-cycles-backend", "idle-cycles-backend"],
        }
    }

    /// The name under which it is shown.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.names()[0]
    }

    /// What it counts, in a line.
    #[must_use]
    pub const fn description(self) -> &'static str {
        match self {
            Self::Cycles => "cycles of the core while it is not halted, at the rate it runs at",
            Self::Instructions => "instructions retired",
            Self::ReferenceCycles => "cycles at a fixed rate while the core is not halted",
            Self::BusCycles => "cycles of the bus while the core is not halted",
            Self::CacheReferences => "accesses to the last level of the cache (AMD: to the second)",
            Self::CacheMisses => {
                "accesses that the last level of the cache (AMD: the second) did not have"
            }
            Self::Branches => "branch instructions retired",
            Self::BranchMisses => "branch instructions retired that were predicted wrong",
            Self::Slots => "places for micro-operations: the core's width, each cycle",
            Self::StalledFrontend => "cycles in which no operation was fetched or decoded",
            Self::StalledBackend => "cycles in which no operation could be executed",
        }
    }

    /// The event with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        all.find(|event| event.names().contains(&name))
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What an event counts.
///
/// ```
/// use profiler::pmu::event::{Event, What};
///
/// let event = Event::new(What::Raw { event: 0xc4, unit_mask: 0x20 });
/// assert_eq!(event.to_string(), "cpu/event=0xc4,umask=0x20/");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum What {
    /// What has a name.
    Named(Named),
    /// What the maker's table of events gives these numbers.
    Raw {
        /// The event's number: 8 bits on Intel, 12 on AMD.
        event: u16,
        /// Which of the event's conditions: 8 bits; 16 where an Intel processor
        /// has a second unit mask.
        unit_mask: u16,
    },
    /// AMD's Instruction-Based Sampling of ops.
    IbsOp(IbsCount),
}

/// What AMD's Instruction-Based Sampling counts up to the op that it samples.
///
/// ```
/// use profiler::pmu::event::{Event, IbsCount, What};
///
/// let event = Event::new(What::IbsOp(IbsCount::Ops));
/// assert_eq!(event.to_string(), "ibs_op/cnt_ctl=1/");
/// assert_eq!(Event::parse("ibs_op//"), Ok(Event::new(What::IbsOp(IbsCount::Cycles))));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum IbsCount {
    /// Cycles of the core while it is not halted.
    Cycles,
    /// Ops that were dispatched.
    Ops,
}

/// An event to count.
///
/// ```
/// use profiler::pmu::event::{Event, Named, What};
///
/// let event = Event { user: false, period: Some(500), ..Event::new(What::Named(Named::Cycles)) };
/// assert_eq!(event.to_string(), "cycles/period=500/k");
/// assert_eq!(event.counted().to_string(), "cycles:k");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Event {
    /// What is counted.
    pub what: What,
    /// Count when the condition begins, not the cycles that it lasts.
    pub edge: bool,
    /// Count the cycles with fewer than `counter_mask`. Without one it means
    /// nothing.
    pub invert: bool,
    /// Count the cycles with at least this many; 0: count what happens.
    pub counter_mask: u8,
    /// Count at privilege levels 1 to 3. This or `kernel` is set, or both.
    pub user: bool,
    /// Count at privilege level 0.
    pub kernel: bool,
    /// Events between two samples, of [`Self::PERIODS`]; `None`: the run's period.
    pub period: Option<u64>,
    /// The bit mask of the general counters that can count it, not 0; `None`:
    /// each.
    pub counters: Option<u32>,
    /// The cores of a hybrid processor that count it, [`CoreKind::Core`] or
    /// [`CoreKind::Atom`]; `None`: all.
    pub cores: Option<CoreKind>,
}

impl Event {
    /// The periods that there can be. Whether a short one makes progress on the
    /// machine at hand is measured there.
    pub const PERIODS: RangeInclusive<u64> = 1..=1_000_000_000;

    /// The most that an event's number can be.
    pub const MAX_NUMBER: u16 = 0xfff;

    /// This, at every privilege level, as it happens.
    #[must_use]
    pub const fn new(what: What) -> Self {
        Self {
            what,
            edge: false,
            invert: false,
            counter_mask: 0,
            user: true,
            kernel: true,
            period: None,
            counters: None,
            cores: None,
        }
    }

    /// The event without its period and its choice of counters: equal results count the
    /// same. At most 64 bytes as text.
    #[must_use]
    pub const fn counted(self) -> Self {
        Self {
            period: None,
            counters: None,
            ..self
        }
    }
}

impl fmt::Display for Event {
    /// The text that [`EventList::parse`] reads this event from.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut has_terms = false;
        let mut term = |f: &mut fmt::Formatter<'_>, term: fmt::Arguments<'_>| {
            f.write_str(if has_terms { "," } else { "/" })?;
            has_terms = true;
            f.write_fmt(term)
        };
        let cores = cores_name(self.cores);
        match self.what {
            What::Named(named) if self.cores.is_none() => named.fmt(f)?,
            What::Named(named) => {
                f.write_str(cores)?;
                term(f, format_args!("{named}"))?;
            }
            What::Raw { event, unit_mask } => {
                f.write_str(cores)?;
                term(f, format_args!("event={event:#x}"))?;
                if unit_mask != 0 {
                    term(f, format_args!("umask={unit_mask:#x}"))?;
                }
            }
            What::IbsOp(count) => {
                f.write_str(IBS_OP)?;
                if count == IbsCount::Ops {
                    term(f, format_args!("cnt_ctl=1"))?;
                }
            }
        }
        if self.edge {
            term(f, format_args!("edge"))?;
        }
        if self.invert {
            term(f, format_args!("inv"))?;
        }
        if self.counter_mask != 0 {
            term(f, format_args!("cmask={}", self.counter_mask))?;
        }
        if let Some(period) = self.period {
            term(f, format_args!("period={period}"))?;
        }
        if let Some(counters) = self.counters {
            term(f, format_args!("counters={counters:#x}"))?;
        }
        let modifiers = match (self.user, self.kernel) {
            (true, false) => "u",
            (false, true) => "k",
            _ => "",
        };
        let before = match (has_terms, modifiers) {
            (true, _) => "/",
            (false, "") => "",
            (false, _) => ":",
        };
        f.write_str(before)?;
        f.write_str(modifiers)
    }
}

/// What stands before an event's terms.
const fn cores_name(cores: Option<CoreKind>) -> &'static str {
    match cores {
        Some(CoreKind::Core) => "cpu_core",
        Some(CoreKind::Atom) => "cpu_atom",
        _ => "cpu",
    }
}

/// The events of a run, one or more, in the order in which samples tell them by
/// number. The same event may be there twice, with two periods for example.
///
/// ```
/// use profiler::pmu::event::{EventList, EventProblem};
///
/// let events = EventList::parse("cycles:k,instructions/period=500/").unwrap();
/// assert_eq!(events.as_slice().len(), 2);
/// assert_eq!(events.as_slice()[1].period, Some(500));
///
/// let wrong = EventList::parse("cycles,cyles").unwrap_err();
/// assert_eq!((wrong.word, wrong.problem), ("cyles", EventProblem::NoSuchEvent));
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct EventList {
    /// Those behind `len` are [`Self::NONE`].
    events: [Event; MAX_EVENTS],
    len: u8,
}

impl EventList {
    /// What stands where there is no event.
    const NONE: Event = Event::new(What::Named(Named::Cycles));

    /// A list of this event.
    #[must_use]
    pub const fn of(event: Event) -> Self {
        let mut events = [Self::NONE; MAX_EVENTS];
        events[0] = event;
        Self { events, len: 1 }
    }

    /// One more at the end; `None` if there are [`MAX_EVENTS`].
    #[must_use]
    pub fn and(mut self, event: Event) -> Option<Self> {
        *self.events.get_mut(usize::from(self.len))? = event;
        self.len += 1;
        Some(self)
    }

    /// The events.
    #[must_use]
    pub fn as_slice(&self) -> &[Event] {
        &self.events[..usize::from(self.len)]
    }

    /// The events, in order.
    pub fn iter(&self) -> core::slice::Iter<'_, Event> {
        self.as_slice().iter()
    }
}

impl<'a> IntoIterator for &'a EventList {
    type Item = &'a Event;
    type IntoIter = core::slice::Iter<'a, Event>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for EventList {
    /// The text that [`EventList::parse`] reads this list from.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, event) in self.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            event.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Debug for EventList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self).finish()
    }
}
