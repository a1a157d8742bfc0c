//! What makes a report misleading, though nothing of the profile is missing.

use std::fmt;

use hashbrown::HashMap;
use profiler::address::UserAddress;
use profiler::format::region::Overhead;
use profiler::format::{ChainEnd, Clock, Sample, Source, State};

use super::asked::{Difference, differences};
use super::event::{self, EventRow};
use super::lacking::{Lacking, lacking};
use super::overhead::OutOfRange;
use super::{Stack, Tally};
use crate::profile::{Mode, Profile, ReadError};
use crate::symbols::{Symbols, in_its_file};
use crate::units::{counted, grouped, percent};

/// The share of samples at one instruction that is no longer believed, in percent.
const STUCK_PERCENT: f64 = 90.0;
/// The share of chains that end before their root, at which callers are not to be had, in
/// percent.
const BROKEN_PERCENT: f64 = 90.0;
/// The share of samples with wrong names or without a caller, at which totals are wrong, in
/// percent.
const MISSING_PERCENT: f64 = 5.0;
/// With fewer samples than this a large share says nothing.
const ENOUGH_SAMPLES: u64 = 100;

/// Something that a reader of the report has to know.
#[derive(Clone, PartialEq, Debug)]
pub enum Warning {
    /// Code does not say where it keeps its return addresses.
    CallersMissing {
        /// Samples that may lack a caller because of it.
        samples: u64,
        /// All samples.
        of: u64,
        /// False if no code of the kernel says it.
        has_some: bool,
    },
    /// Chains do not come to the root of their stack.
    ChainsBroken {
        /// How most of those that do not end.
        end: ChainEnd,
        /// The share of all that do not.
        percent: f64,
        /// Whether most of those have more callers than the top of the stack shows.
        has_callers: bool,
    },
    /// Another profiler has not recorded chains, or not as such.
    NotRecorded {
        /// Samples without a chain.
        without: u64,
        /// Those that lack the program's part of theirs.
        cut: u64,
    },
    /// The kernel ran at other addresses than the ELF's.
    Moved {
        /// Samples in the kernel's text that are not in the ELF's.
        samples: u64,
        /// All samples.
        of: u64,
    },
    /// The interrupted code makes no progress.
    Stuck {
        /// Where it is, as the ELF file has it.
        pc: u64,
        /// The program that it is of, if it is not the kernel's.
        program: Option<String>,
        /// The share of the samples of cores that were not halted.
        percent: f64,
    },
    /// Interrupts cost what was not measured before the run: periods are not what they say.
    Overhead {
        /// The event, as it is counted.
        event: String,
        /// Where it is so, and most so.
        out_of_range: OutOfRange,
        /// The median of what the interrupted code is said to have got, and what it got.
        said: u64,
        got: u64,
    },
    /// Other events' interrupts come before the sampled op's each time.
    NoSampledOps {
        /// The event, as it is counted.
        event: String,
        /// The samples of all others.
        others: u64,
    },
    /// Instructions were to be counted, and the kernel has measured time.
    ClockIsTime,
    /// What the user asked for, and the kernel did not take.
    NotTaken(Difference),
    /// What the kernel's files lack.
    Lacking(Lacking),
}

impl Warning {
    /// Returns true if the profile is not what was asked for because of it.
    #[must_use]
    pub fn is_failure(&self) -> bool {
        match self {
            Self::NotTaken(_) => true,
            Self::ChainsBroken {
                end, has_callers, ..
            } => !(*has_callers && is_at_root(*end)),
            Self::CallersMissing { samples, of, .. } | Self::Moved { samples, of } => {
                percent(*samples, *of) >= MISSING_PERCENT
            }
            Self::ClockIsTime | Self::NoSampledOps { .. } => true,
            Self::Lacking(lacking) => lacking.is_failure(),
            _ => false,
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CallersMissing {
                samples,
                of,
                has_some,
            } => {
                let share = percent(*samples, *of);
                let samples = counted(*samples, "sample");
                let what = if *has_some {
                    "code of theirs has"
                } else {
                    "the kernel's ELF has"
                };
                write!(
                    f,
                    "{samples} ({share:.2}%) may lack a caller, also in chains that are called complete: {what} no call-frame information (.debug_frame or .eh_frame), and the instructions do not say where the return address is; keep .eh_frame in the linker script, or compile with -g -fno-asynchronous-unwind-tables (assembly: .cfi directives), or give the unstripped ELF by --elf"
                )
            }
            Self::ChainsBroken {
                end,
                percent,
                has_callers,
            } => write!(
                f,
                "{percent:.2}% of the chains end before the root of their stack, most of them with `{end}`: {}",
                remedy(*end, *has_callers)
            ),
            Self::NotRecorded { without, cut } => f.write_str(&not_recorded(*without, *cut)),
            Self::Moved { samples, of } => {
                let share = percent(*samples, *of);
                write!(
                    f,
                    "{share:.2}% of the samples are in the kernel's text but not in the ELF's: the kernel ran at another address than it is linked for (KASLR?), and by how much cannot be told, so they have no names or wrong ones; describe the text from the start to the end of the section .text, or switch that off"
                )
            }
            Self::Stuck {
                pc,
                program,
                percent,
            } => f.write_str(&no_progress(*pc, program.as_deref(), *percent)),
            Self::Overhead {
                event,
                out_of_range,
                said,
                got,
            } => f.write_str(&overhead_out_of_range(event, out_of_range, *said, *got)),
            Self::NoSampledOps { event, others } => write!(
                f,
                "{event} has no sample, and other events have {}: each of their interrupts begins its count anew; give them longer periods, or sample by {event} alone",
                grouped(*others)
            ),
            Self::ClockIsTime => f.write_str(
                "instructions were counted, and the kernel found that its time stamp counter counts time: periods are not what they say; see that nothing interrupts its `start` meanwhile, NMIs included",
            ),
            Self::NotTaken(difference) => difference.fmt(f),
            Self::Lacking(lacking) => lacking.fmt(f),
        }
    }
}

/// What to know where nearly all samples are at one instruction: of a program, if it is not the kernel's.
fn no_progress(pc: u64, program: Option<&str>, percent: f64) -> String {
    let of = program.map_or_else(String::new, |name| format!(" of {name}"));
    format!(
        "{percent:.2}% of the samples are at one instruction of their core, {pc:#x}{of}: unless the code waits there, the period is shorter than what an interrupt costs, and nothing makes progress; take a longer one"
    )
}

/// What to know where `said` events were achieved and the code got `got`.
fn overhead_out_of_range(event: &str, out_of_range: &OutOfRange, said: u64, got: u64) -> String {
    let Overhead { rest, busy, .. } = out_of_range.overhead;
    let mean = out_of_range.overhead.mean().unwrap_or(busy);
    let [mean, rest, busy, said, got] = [mean, rest, busy, said, got].map(grouped);
    let core = out_of_range.core;
    format!(
        "periods of {event} are not what they say: an interrupt of core {core} cost {mean} while it ran, and {rest} to {busy} before, by which periods are corrected; where {said} were achieved, the interrupted code got about {got}; a longer period has a smaller part of that"
    )
}

/// What another profiler has not recorded.
fn not_recorded(without: u64, cut: u64) -> String {
    let chains = (without > 0).then(|| {
        format!(
            "{} without a chain of calls: totals are of innermost functions alone; record them by perf record -g",
            counted(without, "sample")
        )
    });
    let programs = (cut > 0).then(|| {
        format!(
            "{} without the program's callers: chains of the kernel alone were recorded, or copies of stacks, which are not unwound; record them by perf record --call-graph fp or lbr",
            counted(cut, "sample")
        )
    });
    let all: Vec<_> = chains.into_iter().chain(programs).collect();
    all.join("; ")
}

/// Returns true if a chain that ends so may have all its callers: the root of its stack was
/// not known as such.
const fn is_at_root(end: ChainEnd) -> bool {
    matches!(
        end,
        ChainEnd::Complete
            | ChainEnd::DepthLimit
            | ChainEnd::FrameNull
            | ChainEnd::ReturnOutsideText
    )
}

/// What to do where nearly all chains end so.
const fn remedy(end: ChainEnd, has_callers: bool) -> &'static str {
    match end {
        ChainEnd::UnknownStack => {
            "let Target::stack_of (in C stack_of) know the stacks that the kernel runs on"
        }
        ChainEnd::FrameNull | ChainEnd::ReturnOutsideText if has_callers => {
            "let the first function of each stack have a frame pointer of 0 and a return address of 0, or a RULE ROOT; and see that the text of the description is all of the kernel's"
        }
        _ => {
            "compile all of the kernel with frame pointers, core and alloc too (-Cforce-frame-pointers=yes with -Zbuild-std; C: -fno-omit-frame-pointer), and see that Target::stack_of (in C stack_of) is right"
        }
    }
}

/// What the user asked for, and the kernel did not take.
#[must_use]
pub fn not_taken(profile: &Profile) -> Vec<Warning> {
    let all = differences(&profile.description, &profile.host.asked);
    let by_user = all.into_iter().filter(|it| it.is_by_user);
    by_user.map(Warning::NotTaken).collect()
}

/// What the kernel has chosen by itself, and the user may not expect: in a line, if there is
/// anything.
#[must_use]
pub fn note(profile: &Profile) -> Option<String> {
    let Profile {
        description, host, ..
    } = profile;
    let all = differences(description, &host.asked);
    let defaults = all.into_iter().filter(|it| !it.is_by_user);
    let listed: Vec<_> = defaults
        .map(|it| format!("--{} {}, not {}", it.key, it.taken, it.asked))
        .collect();
    let defaults = (!listed.is_empty())
        .then(|| format!("the kernel has defaults of its own: {}", listed.join("; ")));
    let [sampled, all] = [description.cores, host.asked.cores];
    let cores = (sampled < all).then(|| format!("it has sampled {sampled} of {all} cores"));
    let notes: Vec<_> = defaults.into_iter().chain(cores).collect();
    (!notes.is_empty()).then(|| notes.join("; "))
}

/// The warnings about a profile, of which `tally` counts the samples.
///
/// # Errors
///
/// Samples cannot be read that were there when the profile was opened.
pub fn warnings(
    profile: &Profile,
    tally: &Tally,
    symbols: &Symbols,
) -> Result<Vec<Warning>, ReadError> {
    // Shares of all samples of cores and events: of others, that were chosen, they say nothing.
    let is_whole = tally.selection.is_plain();
    let stuck = match is_whole {
        true => stuck(profile, tally, symbols)?,
        false => None,
    };
    let warnings = callers_missing(tally, symbols)
        .into_iter()
        .chain(match &profile.host.imported {
            Some(_) => chains_not_recorded(tally),
            None => chains_broken(tally).filter(|_| is_whole),
        })
        .chain(moved(profile, tally, symbols))
        .chain(stuck)
        .chain(lacking(tally, symbols).into_iter().map(Warning::Lacking))
        .chain(clock_is_time(profile))
        .chain(overheads(profile, tally))
        .chain(
            no_sampled_ops(profile, tally)
                .into_iter()
                .filter(|_| is_whole),
        )
        .chain(not_taken(profile));
    Ok(warnings.collect())
}

fn callers_missing(tally: &Tally, symbols: &Symbols) -> Option<Warning> {
    let samples = tally.totals.undecided;
    (samples > 0).then(|| Warning::CallersMissing {
        samples,
        of: tally.samples(),
        has_some: !symbols.callers().is_empty(),
    })
}

fn clock_is_time(profile: &Profile) -> Option<Warning> {
    let run = &profile.description;
    let is_counted = profile.host.mode == Mode::Deterministic;
    // Counters count events, whatever the clock does.
    let is_wrong = is_counted && run.clock != Clock::Instructions && run.source != Source::Pmu;
    is_wrong.then_some(Warning::ClockIsTime)
}

fn overheads(profile: &Profile, tally: &Tally) -> Vec<Warning> {
    let warning = |row: EventRow| {
        let out_of_range = row.overhead?.out_of_range?;
        let said = row.period.median?;
        Some(Warning::Overhead {
            event: row.name,
            got: out_of_range.got(said)?,
            out_of_range,
            said,
        })
    };
    let rows = event::rows(profile, tally);
    rows.into_iter().filter_map(warning).collect()
}

fn no_sampled_ops(profile: &Profile, tally: &Tally) -> Vec<Warning> {
    let others = tally.samples();
    let rows = event::rows(profile, tally);
    let starved = rows
        .into_iter()
        .filter(|row| row.exact.is_some() && row.samples == 0 && others >= ENOUGH_SAMPLES);
    let warning = |row: EventRow| Warning::NoSampledOps {
        event: row.name,
        others,
    };
    starved.map(warning).collect()
}

fn chains_broken(tally: &Tally) -> Option<Warning> {
    let is_broken = |end| !matches!(end, ChainEnd::Complete | ChainEnd::DepthLimit);
    let broken = tally
        .chain_ends()
        .into_iter()
        .filter(|&(end, _)| is_broken(end));
    let (end, _) = broken.clone().max_by_key(|&(_, samples)| samples)?;
    let all = tally.samples();
    let broken: u64 = broken.map(|(_, samples)| samples).sum();
    let percent = percent(broken, all);
    (all >= ENOUGH_SAMPLES && percent >= BROKEN_PERCENT).then(|| {
        let has_callers = |stack: &Stack<'_>| is_broken(stack.end) && stack.callers() > 1;
        Warning::ChainsBroken {
            end,
            percent,
            has_callers: 2 * tally.samples_where(has_callers) > broken,
        }
    })
}

/// The ends of an imported profile's chains are those that its import has given them.
fn chains_not_recorded(tally: &Tally) -> Option<Warning> {
    let ends = tally.chain_ends();
    let samples = |end| {
        let ends = ends.iter().filter(|it| it.0 == end);
        ends.map(|it| it.1).sum::<u64>()
    };
    let [without, cut] = [ChainEnd::UnknownStack, ChainEnd::UserUnknown].map(samples);
    (without + cut > 0).then_some(Warning::NotRecorded { without, cut })
}

/// A kernel whose text range contains the ELF's text has not moved, whatever else is in
/// that range.
fn moved(profile: &Profile, tally: &Tally, symbols: &Symbols) -> Option<Warning> {
    let run = profile.description.text;
    let slide = symbols.slide();
    if !slide.has_text() || slide.is_within(run) {
        return None;
    }
    let is_elsewhere = |pc| run.contains(pc) && !slide.has_code_at(pc);
    let elsewhere = tally.places().filter(|&(pc, _)| is_elsewhere(pc));
    let samples: u64 = elsewhere.map(|(_, samples)| samples).sum();
    let of = tally.samples();
    (samples > 0).then_some(Warning::Moved { samples, of })
}

/// Where interrupts are taken at the head of a translation block only, samples gather at
/// one instruction of a loop, and that means nothing.
fn stuck(
    profile: &Profile,
    tally: &Tally,
    symbols: &Symbols,
) -> Result<Option<Warning>, ReadError> {
    // Aimed samples are at what was aimed at.
    let are_aimed = tally.selection.events.single() == Some(Sample::AIMED);
    if profile.host.mode == Mode::Realtime || are_aimed {
        return Ok(None);
    }
    // Most profiles are not: no core can have more at one instruction than all together.
    let mut places: Vec<u64> = tally.places().map(|(_, samples)| samples).collect();
    places.sort_unstable_by_key(|&samples| std::cmp::Reverse(samples));
    let most: u64 = places.iter().take(tally.cores.len()).sum();
    let running = tally.samples() - tally.totals.idle;
    if running < ENOUGH_SAMPLES || percent(most, running) < STUCK_PERCENT {
        return Ok(None);
    }
    let mut at = HashMap::new();
    for (core, stack) in tally.stacks_by(profile, |of| of.core)? {
        if !stack.state.has(State::IDLE) {
            *at.entry((core, stack.pc)).or_insert(0) += stack.samples;
        }
    }
    let all = at.values().sum();
    // Each core may stand somewhere else.
    let mut most_of_cores = HashMap::new();
    for ((core, pc), samples) in at {
        let most = most_of_cores.entry(core).or_insert((0, pc));
        *most = (*most).max((samples, pc));
    }
    let most = most_of_cores.values().map(|&(samples, _)| samples).sum();
    let percent = percent(most, all);
    let place = most_of_cores.values().max();
    let place = place.filter(|_| all >= ENOUGH_SAMPLES && percent >= STUCK_PERCENT);
    Ok(place.map(|&(_, pc)| Warning::Stuck {
        pc: in_its_file(symbols.place(pc)),
        program: UserAddress::of_program(pc).map(|user| symbols.program_name(user.program)),
        percent,
    }))
}
