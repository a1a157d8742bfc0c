//! Why a run cannot be started.

use core::fmt;

use super::source::SourceError;
use crate::contract::settings::BadWord;
use crate::entry::NoBreakpoint;
use crate::format::{self, Text};
use crate::hw::apic::{LAST_XAPIC_ID, Mode, NoApic};
use crate::hw::exit;

/// Why a run cannot be started.
///
/// ```no_run
/// use profiler::hw::exit::exit_qemu;
/// use profiler::sampler::StartError;
///
/// /// What a kernel does that could not be sampled: the host tool knows the status.
/// fn refuse(problem: &StartError<'_>) {
///     println!("{}{problem}", problem.topic());
///     exit_qemu(problem.exit_status());
/// }
/// ```
// As large as its largest text: there is no heap to put it on, and one at a time.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Debug)]
pub enum StartError<'a> {
    /// The sampler was started before.
    StartedBefore,
    /// A word of the command line cannot be taken.
    CommandLine(BadWord<'a>),
    /// The local APIC cannot be reached.
    Apic(NoApic),
    /// There is no room for the rings.
    RegionTooSmall {
        /// The bytes that the rings and the cores' states need.
        needed: usize,
        /// The bytes that the region has.
        there: usize,
    },
    /// The memory for the rings does not begin with a page.
    MemoryMisaligned,
    /// The rules for assembly cannot be searched: code with rules is linked in another
    /// order than they are.
    AssemblyNotSorted,
    /// The command line asks what the machine has to sample by, and the kernel started a run.
    ListNotCalled,
    /// The list of cores, [`super::Config::apic_ids`], is not that of the cores.
    Cores(CoresError),
    /// A core did not come to take part.
    NotJoined {
        /// The core's index.
        core: u32,
    },
    /// A core did not probe its performance counters.
    NotProbed {
        /// The core's index.
        core: u32,
    },
    /// No source works that `source=auto` may take; what came of each.
    NoSource(Text<512>),
    /// The source that was asked for does not work; why, and which do.
    SourceUnavailable(Text<512>),
    /// The source failed its calibration.
    Calibration(format::Source, SourceError),
    /// Counting needs performance counters; what came of them.
    CountingNeedsPmu(Text<512>),
    /// Events cannot be counted; each with its reason.
    Events(Text<512>),
    /// The counters cannot be measured, or their events planned.
    Pmu(SourceError),
    /// An aim cannot be taken.
    Aim(AimError),
    /// The trap flag samples each instruction.
    StepHasNoPeriod,
    /// So short a period makes no progress.
    PeriodTooShort {
        /// The period that was asked for.
        period: u64,
        /// The shortest that makes progress.
        least: u64,
    },
    /// The source cannot count so far.
    PeriodTooLong(u64),
}

/// Why a list of cores cannot be taken: samples of one core would be shown as another's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CoresError {
    /// The list does not begin with the core that starts the sampler.
    FirstElsewhere {
        /// The APIC id that the list begins with.
        listed: u32,
        /// The running core's.
        running: u32,
    },
    /// The list has this APIC id twice.
    Twice(u32),
    /// In xAPIC mode, this is no core's APIC id.
    NoXApicId(u32),
    /// A core joined in another one's place.
    WrongPlace(WrongPlace),
    /// A core's APIC is in another mode than the first one's, or off.
    OtherMode(OtherMode),
}

/// A core has come to [`super::Sampler::join`] with the index of another one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WrongPlace {
    /// The index that it came with.
    pub index: u32,
    /// The APIC id that the list has there.
    pub listed: u32,
    /// The core's own.
    pub running: u32,
}

/// A core has come to [`super::Sampler::join`] whose APIC is in another mode than that of the
/// core that starts the sampler.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OtherMode {
    /// The core's index.
    pub core: u32,
    /// The mode of its APIC; `None` if that is off.
    pub mode: Option<Mode>,
    /// That of the first core's.
    pub first: Mode,
}

impl fmt::Display for OtherMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { core, mode, first } = self;
        write!(f, "the local APIC of core {core} is ")?;
        match mode {
            Some(mode) => write!(f, "in {mode} mode")?,
            None => f.write_str("off")?,
        }
        write!(
            f,
            " and the first core's in {first} mode: switch all to the same before start and join"
        )
    }
}

impl fmt::Display for CoresError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FirstElsewhere { listed, running } => write!(
                f,
                "the list of cores begins with APIC id {listed}, and start was called on APIC id {running}: list that one first"
            ),
            Self::Twice(id) => write!(f, "the list of cores has APIC id {id} twice"),
            Self::NoXApicId(id) => write!(
                f,
                "the list of cores has APIC id {id}, and an xAPIC's is {LAST_XAPIC_ID} at most: switch all cores to x2APIC mode, or leave that one out"
            ),
            Self::WrongPlace(WrongPlace {
                index,
                listed,
                running,
            }) => write!(
                f,
                "APIC id {running} joined as core {index}, which is APIC id {listed} in the list of cores: let each join with its place in the list"
            ),
            Self::OtherMode(problem) => write!(f, "{problem}"),
        }
    }
}

impl core::error::Error for CoresError {}

/// There is no memory for the rings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoMemory {
    /// The bytes that are needed, in a row.
    pub bytes: u64,
}

impl fmt::Display for NoMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = self.bytes >> 20;
        write!(
            f,
            "no {mib} MiB of memory in a row for the rings: give the machine more, or the rings less (ring=)"
        )
    }
}

impl core::error::Error for NoMemory {}

/// Why an aim cannot be taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AimError {
    /// No breakpoint can be there.
    Breakpoint(NoBreakpoint),
    /// It takes counted instructions and the APIC timer as NMI.
    Source,
}

impl fmt::Display for AimError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Breakpoint(NoBreakpoint::DebugEntry) => "aim=: the entry of debug exceptions is what aims are made of",
            Self::Breakpoint(NoBreakpoint::Landing) => {
                "aim=: no NMI can come where one has just landed; nmi_landed is the first instruction"
            }
            Self::Source => "aim= needs counted instructions and source=apic-timer as NMI",
        })
    }
}

impl core::error::Error for AimError {}

impl StartError<'_> {
    /// What could not be started, with a colon, for the beginning of a line of a log; empty
    /// where the text says so itself.
    #[must_use]
    pub const fn topic(&self) -> &'static str {
        match self {
            Self::CommandLine(_) => "",
            Self::CountingNeedsPmu(_) | Self::Events(_) => "counting: ",
            _ => "sampling: ",
        }
    }

    /// The status by which the host tool knows such an end: see [`exit`].
    #[must_use]
    pub const fn exit_status(&self) -> u8 {
        match self {
            Self::CommandLine(_) => exit::BAD_COMMAND_LINE,
            _ => exit::UNAVAILABLE,
        }
    }
}

impl fmt::Display for StartError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StartedBefore => f.write_str("the sampler was started before"),
            Self::CommandLine(problem) => write!(f, "command line: {problem}"),
            Self::Apic(problem) => write!(f, "{problem}"),
            Self::RegionTooSmall { needed, there } => write!(
                f,
                "the rings need {needed} bytes of memory in a row and there are {there}: give them more, or make them smaller (ring=)"
            ),
            Self::MemoryMisaligned => {
                f.write_str("the memory for the rings has to begin with a page: align it to 4096")
            }
            Self::AssemblyNotSorted => f.write_str(
                "the rules for assembly are not in the order of its code: include pmiscope.ld in the linker script",
            ),
            Self::ListNotCalled => f.write_str(
                "take=survey: this kernel only samples; to show what there is, it calls list instead of start",
            ),
            Self::Cores(problem) => write!(f, "{problem}"),
            Self::NotJoined { core } => {
                write!(f, "core {core} did not come to take part")
            }
            Self::NotProbed { core } => write!(f, "core {core} did not look at its PMU"),
            Self::NoSource(story) => write!(f, "no source works: {}", story.as_str()),
            Self::SourceUnavailable(story) => write!(f, "{}", story.as_str()),
            Self::Calibration(source, problem) => write!(f, "{source}: {problem}"),
            Self::CountingNeedsPmu(story) => write!(
                f,
                "it needs performance counters: {}",
                story.as_str()
            ),
            Self::Events(problems) => write!(f, "{}", problems.as_str()),
            Self::Pmu(problem) => write!(f, "{problem}"),
            Self::Aim(problem) => write!(f, "{problem}"),
            Self::StepHasNoPeriod => {
                f.write_str("step: every instruction is a sample: leave out period=")
            }
            Self::PeriodTooShort { period, least } => write!(
                f,
                "a period of {period} makes no progress here: the smallest that does is {least}"
            ),
            Self::PeriodTooLong(period) => write!(
                f,
                "a period of {period} is more than the source can count"
            ),
        }
    }
}

impl core::error::Error for StartError<'_> {}

/// The texts that the host tool takes apart or shows, and its tests pin.
#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::settings::Problem;

    /// A line of the log.
    fn line(problem: &StartError<'_>) -> String {
        format!("{}{problem}", problem.topic())
    }

    #[test]
    fn a_line_says_what_could_not_be_started_and_why() {
        let story = Text::new("pmu: it counts no events");
        for (problem, expected) in [
            (
                StartError::CommandLine(BadWord {
                    word: "x=1",
                    problem: Problem::Twice,
                }),
                "command line: `x=1`: set before; say it once",
            ),
            (
                StartError::NoSource(story),
                "sampling: no source works: pmu: it counts no events",
            ),
            (
                StartError::SourceUnavailable(story),
                "sampling: pmu: it counts no events",
            ),
            (
                StartError::CountingNeedsPmu(story),
                "counting: it needs performance counters: pmu: it counts no events",
            ),
            (
                StartError::Events(story),
                "counting: pmu: it counts no events",
            ),
            (
                StartError::Pmu(SourceError::NoOverflow { core: 2 }),
                "sampling: core 2: no interrupt arrived",
            ),
            (
                StartError::Calibration(format::Source::Hpet, SourceError::NoArrival),
                "sampling: hpet: no interrupt arrived",
            ),
            (
                StartError::PeriodTooShort {
                    period: 3,
                    least: 20,
                },
                "sampling: a period of 3 makes no progress here: the smallest that does is 20",
            ),
            (
                StartError::StepHasNoPeriod,
                "sampling: step: every instruction is a sample: leave out period=",
            ),
        ] {
            assert_eq!(line(&problem), expected);
        }
    }

    #[test]
    fn a_bad_word_has_a_status_of_its_own() {
        let word = BadWord {
            word: "x=1",
            problem: Problem::Twice,
        };
        assert_eq!(
            StartError::CommandLine(word).exit_status(),
            exit::BAD_COMMAND_LINE
        );
        assert_eq!(StartError::StartedBefore.exit_status(), exit::UNAVAILABLE);
    }

    #[test]
    fn a_core_says_what_mode_its_apic_is_in() {
        let problem = |mode| {
            CoresError::OtherMode(OtherMode {
                core: 2,
                mode,
                first: Mode::X2Apic,
            })
            .to_string()
        };
        let rest =
            "and the first core's in x2APIC mode: switch all to the same before start and join";
        assert_eq!(
            problem(Some(Mode::XApic)),
            format!("the local APIC of core 2 is in xAPIC mode {rest}")
        );
        assert_eq!(
            problem(None),
            format!("the local APIC of core 2 is off {rest}")
        );
    }

    #[test]
    fn too_little_memory_is_said_in_mebibytes() {
        let said = NoMemory { bytes: 64 << 20 }.to_string();
        assert!(said.starts_with("no 64 MiB of memory in a row for the rings: "));
    }

    #[test]
    fn a_source_says_why_it_cannot_be_used() {
        for (problem, expected) in [
            (SourceError::NoEvents, "it counts no events"),
            (
                SourceError::OneCore,
                "a single core has nobody to interrupt it",
            ),
            (SourceError::NmiOnly, "it delivers NMIs only"),
            (
                SourceError::TooManyCores {
                    served: 24,
                    cores: 25,
                },
                "it can serve 24 cores and there are 25",
            ),
            (
                SourceError::NoAnswer { core: 1 },
                "core 1 does not answer: it may have interrupts off",
            ),
            (
                SourceError::NoIrq,
                "its traps cannot be masked: leave out delivery=irq",
            ),
        ] {
            assert_eq!(problem.to_string(), expected);
        }
    }
}
