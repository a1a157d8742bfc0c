//! The capabilities of a machine, from the lines by which its guest reports them
//! ([`profiler::contract::capabilities`]).
//!
//! [`list`] shows them as `pmiscope list` does, and [`json`] for programs;
//! [`crate::doctor`] says what could be better.

pub mod json;
pub mod list;

use std::fmt;

use profiler::contract::capabilities::{Hpet, Line, Machine, PREFIX, Pmu, Reason};
use profiler::format::{self, ClockReference, Delivery, Source, Text};
use profiler::pmu::counters::Counters;
use profiler::pmu::detect::{CoreKind, Identity};
use profiler::pmu::event::Named;

use crate::addresses::{Addresses, Execution};
use crate::units;

/// Capabilities, as far as the guest has reported them.
#[derive(Clone, Debug, Default)]
pub struct Capabilities {
    lines: Vec<Line>,
    /// The first line that could not be read, if any.
    unread: Option<String>,
}

/// An outcome, and the cores that have it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OfCores<T> {
    /// The cores, in order.
    pub cores: Vec<u32>,
    pub outcome: T,
}

/// What `--source auto` takes for a delivery.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Auto {
    /// The guest has not said it.
    Unknown,
    /// No source works.
    Nothing,
    Takes(Source),
}

impl Auto {
    /// The source, if one is known to work.
    #[must_use]
    pub fn source(self) -> Option<Source> {
        match self {
            Self::Takes(source) => Some(source),
            Self::Unknown | Self::Nothing => None,
        }
    }
}

/// An attempt to use a source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attempt {
    pub source: Source,
    /// How it was to interrupt.
    pub delivery: Delivery,
    /// Whether the interrupt arrived.
    pub works: Result<(), Reason>,
}

/// What QEMU calls itself in CPUID where it translates.
const TCG: [u8; 12] = *b"TCGTCGTCGTCG";

/// The clock.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MachineClock {
    /// What a tick is.
    pub tick: format::Clock,
    /// What says how long one takes,
    pub reference: ClockReference,
    /// to within how many parts of a million, if it was measured.
    pub within: u32,
    /// Why nothing does.
    pub why: String,
}

impl fmt::Display for MachineClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.tick {
            format::Clock::Instructions => f.write_str("instructions are counted"),
            format::Clock::Time => {
                f.write_str("the time stamp counter, in nanoseconds")?;
                let by = units::reference(self.reference, self.within);
                by.map_or(Ok(()), |by| write!(f, ", {by}"))
            }
            format::Clock::Ticks => write!(f, "the time stamp counter, in its ticks: {}", self.why),
        }
    }
}

impl Capabilities {
    /// Reads a line of the guest's log, if it reports a capability.
    pub fn read(&mut self, log_line: &str) {
        let Some((_, message)) = log_line.split_once("] ") else {
            return;
        };
        if !message.starts_with(PREFIX) {
            return;
        }
        match Line::parse(message) {
            Some(line) => self.lines.push(line),
            None => {
                self.unread.get_or_insert_with(|| message.to_owned());
            }
        }
    }

    /// What is missing, if anything is.
    #[must_use]
    pub fn incomplete(&self) -> Option<String> {
        if let Some(line) = &self.unread {
            return Some(format!(
                "`{line}` is no line of a survey: the kernel is of another version than the tool"
            ));
        }
        let is_whole = self.lines.last() == Some(&Line::End);
        (!is_whole).then(|| "the survey has no end".into())
    }

    fn find<T>(&self, wanted: impl Fn(&Line) -> Option<T>) -> Option<T> {
        self.lines.iter().find_map(wanted)
    }

    /// The first core's processor, and its name.
    #[must_use]
    pub fn processor(&self) -> Option<(Identity, Text<48>)> {
        self.find(|line| match line {
            Line::Processor { identity, name } => Some((*identity, *name)),
            _ => None,
        })
    }

    /// What all cores have in common.
    #[must_use]
    pub fn machine(&self) -> Option<Machine> {
        self.find(|line| match line {
            Line::Machine(machine) => Some(*machine),
            _ => None,
        })
    }

    /// What a tick is, and what says so.
    #[must_use]
    pub fn clock(&self) -> Option<MachineClock> {
        self.find(|line| match line {
            Line::Clock {
                tick,
                reference,
                within,
                why,
            } => Some(MachineClock {
                tick: *tick,
                reference: *reference,
                within: *within,
                why: why.as_str().to_owned(),
            }),
            _ => None,
        })
    }

    /// The HPET, or why none.
    #[must_use]
    pub fn hpet(&self) -> Option<Result<Hpet, Reason>> {
        self.find(|line| match line {
            Line::Hpet(hpet) => Some(*hpet),
            _ => None,
        })
    }

    /// The PMUs that there are, each with its cores, or why none.
    #[must_use]
    pub fn pmus(&self) -> Vec<OfCores<Result<Pmu, Reason>>> {
        grouped(self.lines.iter().filter_map(|line| match line {
            Line::Pmu { core, pmu } => Some((*core, *pmu)),
            _ => None,
        }))
    }

    /// What counts an event: the same for all cores, mostly. Nothing where no core has a
    /// PMU.
    #[must_use]
    pub fn event(&self, wanted: Named) -> Vec<OfCores<Result<Counters, Reason>>> {
        grouped(self.lines.iter().filter_map(|line| match line {
            Line::Event {
                core,
                event,
                counters,
            } if *event == wanted => Some((*core, *counters)),
            _ => None,
        }))
    }

    /// Which cores sample ops by their exact addresses, or why not. Nothing where no core
    /// has a PMU.
    #[must_use]
    pub fn ibs(&self) -> Vec<OfCores<Result<(), Reason>>> {
        grouped(self.lines.iter().filter_map(|line| match line {
            Line::Ibs { core, works } => Some((*core, *works)),
            _ => None,
        }))
    }

    /// What the address of a sample of `source` means; `None` if it is not known what executes
    /// the code.
    #[must_use]
    pub fn addresses(&self, source: Source) -> Option<Addresses> {
        let (Identity { hypervisor, .. }, _) = self.processor()?;
        let execution = if self.clock()?.tick == format::Clock::Instructions {
            Execution::Counted
        } else if hypervisor == Some(TCG) {
            Execution::Translated
        } else {
            let first = self.pmus().into_iter().find_map(|pmu| pmu.outcome.ok());
            Execution::Processor(first.map(|pmu| pmu.interface.maker()))
        };
        Some(Addresses::of(source, execution))
    }

    /// The attempts, in the order in which they were made.
    pub fn attempts(&self) -> impl Iterator<Item = Attempt> {
        self.lines.iter().filter_map(|line| match line {
            Line::Source {
                source,
                delivery,
                works,
            } => Some(Attempt {
                source: *source,
                delivery: *delivery,
                works: *works,
            }),
            _ => None,
        })
    }

    /// What `--source auto` takes for this delivery.
    #[must_use]
    pub fn auto(&self, wanted: Delivery) -> Auto {
        let found = self.find(|line| match line {
            Line::Auto { delivery, source } if *delivery == wanted => {
                Some(source.map_or(Auto::Nothing, Auto::Takes))
            }
            _ => None,
        });
        found.unwrap_or(Auto::Unknown)
    }
}

/// The outcomes of cores, those that are equal together.
fn grouped<T: PartialEq>(outcomes: impl Iterator<Item = (u32, T)>) -> Vec<OfCores<T>> {
    let mut groups: Vec<OfCores<T>> = Vec::new();
    for (core, outcome) in outcomes {
        match groups.iter_mut().find(|group| group.outcome == outcome) {
            Some(group) => group.cores.push(core),
            None => groups.push(OfCores {
                cores: vec![core],
                outcome,
            }),
        }
    }
    groups
}

/// Numbers in order, in words: `0-3, 6`.
#[must_use]
pub fn numbers(numbers: &[u32]) -> String {
    let runs = numbers.chunk_by(|before, after| before + 1 == *after);
    let runs = runs.map(|run| match run {
        [first, .., last] => format!("{first}-{last}"),
        [only] => only.to_string(),
        [] => String::new(),
    });
    runs.collect::<Vec<_>>().join(", ")
}

/// The numbers of the bits that are set.
fn bits(set: u32) -> Vec<u32> {
    (0..32).filter(|bit| set >> bit & 1 != 0).collect()
}

/// Counters in words: `0-3, fixed 1`.
#[must_use]
pub fn counters(set: Counters) -> String {
    let general = numbers(&bits(set.general));
    let fixed = numbers(&bits(set.fixed));
    match (general.as_str(), fixed.as_str()) {
        ("", "") => "none".into(),
        (_, "") => general,
        ("", _) => format!("fixed {fixed}"),
        _ => format!("{general}, fixed {fixed}"),
    }
}

/// A name from CPUID, without control characters.
#[must_use]
pub fn name(name: [u8; 12]) -> String {
    let text = String::from_utf8_lossy(&name);
    let text: String = text.chars().filter(|c| !c.is_control()).collect();
    text.trim().to_owned()
}

/// A PMU in words.
#[must_use]
pub fn pmu(pmu: &Pmu) -> String {
    let mut said = format!(
        "{}, counters {} of {} bits",
        pmu.interface,
        counters(Counters {
            fixed: 0,
            ..pmu.counters
        }),
        pmu.general_bits
    );
    if pmu.counters.fixed != 0 {
        let fixed = counters(Counters {
            general: 0,
            ..pmu.counters
        });
        said += &format!(", {fixed} of {} bits", pmu.fixed_bits);
    }
    if let Some(kind) = pmu.kind {
        let kind = match kind {
            CoreKind::Atom => "an efficient core".into(),
            CoreKind::Core => "a performance core".into(),
            CoreKind::Other(number) => format!("a core of kind {number:#x}"),
        };
        said += &format!(", on {kind}");
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_said_in_runs() {
        assert_eq!(numbers(&[]), "");
        assert_eq!(numbers(&[0, 1, 2, 3]), "0-3");
        assert_eq!(numbers(&[0, 2, 3, 7]), "0, 2-3, 7");
        let set = |general, fixed| counters(Counters { general, fixed });
        assert_eq!(set(0xff, 0b10), "0-7, fixed 1");
        assert_eq!(set(0, 0b101), "fixed 0, 2");
        assert_eq!(set(0, 0), "none");
    }

    #[test]
    fn a_survey_is_read_out_of_a_log() {
        let mut capabilities = Capabilities::default();
        for line in [
            "survey: end",
            "[INFO core0] memory: 5 MiB free",
            "[INFO core0] survey: event core=0 name=slots none: no",
            "[INFO core1] survey: event core=1 name=slots counters=0xf+0x8",
            "[INFO core2] survey: event core=2 name=slots none: no",
        ] {
            capabilities.read(line);
        }
        let groups = capabilities.event(Named::Slots);
        assert_eq!(groups[0].cores, [0, 2]);
        assert_eq!(groups[1].cores, [1]);
        assert!(capabilities.event(Named::Cycles).is_empty());
        assert_eq!(capabilities.incomplete().unwrap(), "the survey has no end");
        capabilities.read("[INFO core0] survey: end");
        assert_eq!(capabilities.incomplete(), None);
        capabilities.read("[INFO core0] survey: weather fine");
        let said = capabilities.incomplete().unwrap();
        assert!(said.contains("`survey: weather fine` is no line"), "{said}");
    }
}
