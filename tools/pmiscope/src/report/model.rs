//! The report, as values: what JSON shows and the text is made of.

use hashbrown::HashMap;
use profiler::contract::task_number::{LOCK, TaskNumbers};
use profiler::format::region::Maker;
use profiler::format::{ChainEnd, Clock, ClockReference, Description, Source};
use serde::{Serialize, Serializer};

use super::accounts::{self, AccountRow};
use super::aimed::Aimed;
use super::event::{self, EventRow};
use super::overhead::lost_checks;
use super::processes::{self, ProcessRow};
use super::stack::Chain;
use super::warnings::{Warning, note, warnings};
use super::{Only, Selection, Stack, Step, Tally};
use crate::addresses::{Addresses, Execution};
use crate::profile::{CoreEnd, Mode, Outcome, Profile, ReadError};
use crate::qemu::{Emulator, PmuModel};
use crate::symbols::{BuildId, Frame, FunctionId, Origins, Symbols};
use crate::units;

/// Options of a report.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// The order of the functions.
    pub sort: SortBy,
    /// The most functions to show; all if `None`.
    pub top: Option<usize>,
}

/// The order of a report's functions.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum)]
pub enum SortBy {
    /// By the samples in which the function itself was executing.
    #[default]
    #[value(name = "self")]
    Own,
    /// By the samples in which the function was anywhere on the stack.
    Total,
}

/// A report. The keys from `build_id` to `functions` are promised to scripts; groups of
/// them have no key of their own.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    #[serde(flatten)]
    pub identity: Identity,
    #[serde(flatten)]
    pub totals: Totals,
    pub cores: Vec<Core>,
    /// Samples by how their chains ended.
    #[serde(serialize_with = "as_map")]
    pub chain_ends: Vec<(&'static str, u64)>,
    /// The functions, in the order that was asked for.
    pub functions: Vec<FunctionRow>,
    /// Those of the samples that the fast handler has written; `null` if that is not known: of an
    /// event that is counted alone it is not.
    pub fast_samples: Option<u64>,
    #[serde(flatten)]
    pub sampling: Sampling,
    #[serde(flatten)]
    pub machine: Machine,
    #[serde(flatten)]
    pub shares: Shares,
    #[serde(flatten)]
    pub end: End,
}

/// Which run it was.
#[derive(Clone, Debug, Serialize)]
pub struct Identity {
    /// The kernel's GNU build-id; this and the next ones are `null` where an imported profile does
    /// not say it.
    pub build_id: Option<String>,
    /// Where overflows came from.
    pub source: Option<&'static str>,
    /// How the machine's time ran.
    pub mode: Option<Mode>,
}

/// What was sampled, all cores together.
#[derive(Clone, Debug, Serialize)]
pub struct Totals {
    /// The period, in ticks (see `clock`). Where `events` has one, that one's; where it
    /// has several, nothing but what was asked for.
    pub period: Period,
    pub samples: u64,
    /// Those of the samples that were aimed; left out where the run had no aim.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aimed: Option<Aimed>,
    /// Samples that did not fit into a ring.
    pub lost: u64,
    /// Interrupts that found no overflow; `null` if the profile's end is missing.
    pub unclaimed: Option<u64>,
    /// Left out where there are no counters.
    #[serde(skip_serializing_if = "CounterTotals::is_none")]
    pub counters: CounterTotals,
    /// The hash of every sample of every core, in order; `null` where equal chains were counted in
    /// place.
    pub sample_hash: Option<String>,
    /// What was kept there; left out where all of each sample was.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub kept_chains: Option<KeptChains>,
    /// The cost of a sample's handler; `null` if a tick is not an instruction.
    pub handler_instructions: Option<Cost>,
}

/// What was kept where equal chains were counted in place.
#[derive(Clone, Debug, Serialize)]
pub struct KeptChains {
    /// Those of the samples that were counted in place.
    pub counted_in_place: u64,
    /// Those that did not fit, and were written to the rings.
    pub counted_in_rings: u64,
    /// The hash of all chains and counts of every core, wherever they were counted.
    pub chain_hash: String,
}

impl KeptChains {
    fn new(profile: &Profile, tally: &Tally) -> Result<Option<Self>, ReadError> {
        if !profile.keeps_chains() {
            return Ok(None);
        }
        let counted_in_place = tally.counted_in_place;
        Ok(Some(Self {
            counted_in_place,
            counted_in_rings: tally.samples() - counted_in_place,
            chain_hash: profile.chain_hash()?,
        }))
    }
}

/// How it was sampled.
#[derive(Clone, Debug, Serialize)]
pub struct Sampling {
    /// The events that are counted; left out where ticks are sampled and not events.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<EventRow>,
    /// The only event that is counted, if not all are; else left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub only_event: Option<String>,
    /// What a tick is: `instructions`, `time` for nanoseconds, or `ticks` of the time stamp
    /// counter where nothing says how long one takes.
    pub clock: &'static str,
    #[serde(flatten)]
    pub clock_known: ClockKnown,
    /// The cost of a sample's handler in ticks; `null` without samples.
    pub handler_ticks: Option<Cost>,
    /// The calibrated cost of an overflow beside the handler, in ticks.
    pub overhead_ticks: u64,
    /// The shortest period that progresses, in ticks.
    pub period_floor: u64,
    #[serde(flatten)]
    pub interrupts: Interrupts,
    /// Whether the cores took turns.
    pub turns: bool,
    /// What the records took in the rings, in bytes; left out if that is not known.
    #[serde(skip_serializing_if = "is_zero")]
    pub ring_bytes: u64,
}

/// How samples came.
#[derive(Clone, Debug, Serialize)]
pub struct Interrupts {
    /// This and `addresses` are `null` of an imported profile.
    pub delivery: Option<&'static str>,
    /// Why this source.
    pub source_reason: String,
    /// What the address of a sample means.
    pub addresses: Option<Addresses>,
}

/// How well the clock is known.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ClockKnown {
    /// What says how fast the time stamp counter runs; left out where a tick is no nanosecond.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_reference: Option<&'static str>,
    /// To within how many parts of a million, if that was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_within_ppm: Option<u32>,
    /// By how many ticks the time stamp counters of cores differ, which is taken off times; left
    /// out where no difference could be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tsc_difference_ticks: Option<u64>,
    /// To within how many ticks that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tsc_within_ticks: Option<u32>,
    /// The same for people.
    #[serde(skip)]
    pub said: Option<String>,
}

impl ClockKnown {
    pub(super) fn new(run: &Description) -> Self {
        let reference = run.clock_reference;
        let differs = run.tsc_difference > 0;
        let is_compared = differs || run.tsc_within > 0;
        Self {
            clock_reference: (reference != ClockReference::None).then_some(reference.name()),
            clock_within_ppm: (run.clock_within > 0).then_some(run.clock_within),
            tsc_difference_ticks: differs.then_some(run.tsc_difference),
            tsc_within_ticks: is_compared.then_some(run.tsc_within),
            said: clock(run),
        }
    }
}

/// How well the clock is known, for people.
fn clock(run: &Description) -> Option<String> {
    let unit = |ticks: u64| match run.clock {
        Clock::Time => units::duration(ticks),
        Clock::Instructions | Clock::Ticks => units::counted(ticks, "tick"),
    };
    let mut said: Vec<String> = units::reference(run.clock_reference, run.clock_within)
        .into_iter()
        .collect();
    if run.clock == Clock::Ticks {
        said.push("ticks of the time stamp counter: nothing says how long one takes".into());
    }
    if run.tsc_difference > 0 {
        said.push(format!(
            "time stamp counters of cores differ by up to {}: corrected to within {}",
            unit(run.tsc_difference),
            unit(run.tsc_within.into())
        ));
    } else if run.tsc_within > 0 {
        let within = unit(run.tsc_within.into());
        said.push(format!(
            "time stamp counters of cores agree to within {within}"
        ));
    }
    (!said.is_empty()).then(|| said.join("; "))
}

/// What it ran on, and what ran.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// What has recorded the profile, if it was imported; nothing else is known then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub imported: Option<String>,
    /// QEMU's version; `null` of an imported profile.
    pub qemu: Option<String>,
    /// Which QEMU it was; `null` likewise.
    pub emulator: Option<Emulator>,
    /// The performance counters that QEMU was asked for; `null` if none.
    pub pmu: Option<PmuModel>,
    /// Cores online, whether their samples are counted here or not.
    pub cores_online: u32,
    /// Who loaded the kernel.
    pub bootloader: String,
    /// The kernel's command line.
    pub command_line: String,
    pub workload: String,
    #[serde(flatten)]
    pub image: Image,
}

/// The kernel's ELF file, and what it ran as.
#[derive(Clone, Debug, Serialize)]
pub struct Image {
    /// How far the text was moved from where the ELF file has it, in hexadecimal; `null` if
    /// that cannot be told. All addresses in a report are the ELF file's.
    pub text_moved_by: Option<String>,
    /// Whether the ELF file has call-frame information; `null` without an ELF file.
    pub call_frames: Option<bool>,
    /// From which files the kernel's symbols are.
    pub symbols_from: Origins,
}

/// Samples that have something in common.
#[derive(Clone, Debug, Serialize)]
pub struct Shares {
    /// Samples by the task that ran, most first.
    pub tasks: Vec<TaskRow>,
    /// Those in which a lock was held, by its name, where the kernel says it (`locks=on`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub locks: Vec<TaskRow>,
    /// Samples of each of the user's processes, most first; left out without any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub processes: Vec<ProcessRow>,
    /// Samples whose chain has a caller that was on top of the stack only, in a
    /// function's first or last instructions.
    pub callers_from_stack_top: u64,
    /// Samples whose chain may lack a caller there still.
    pub callers_doubtful: u64,
    /// Those of them in which code has no call-frame information.
    pub callers_undecided: u64,
    /// Samples whose exact address is in another function than the one that was
    /// interrupted: `self` counts the first, the callers are the second's.
    pub exact_elsewhere: u64,
    /// Samples of code that ran with interrupts off.
    pub interrupts_off: u64,
    /// Samples of cores that were halted.
    pub idle: u64,
    /// The number of functions, shown or not.
    pub functions_in_all: usize,
    #[serde(flatten)]
    pub chosen: Chosen,
}

/// A number of which 0 says that it is not known.
#[allow(clippy::trivially_copy_pass_by_ref)] // serde calls it so
pub(super) fn null_if_zero<S: Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    Some(*number).filter(|&it| it > 0).serialize(serializer)
}

/// Which samples are counted.
#[derive(Clone, Debug, Serialize)]
pub struct Chosen {
    /// The only core that is counted, if not all are.
    pub only_core: Option<u32>,
    /// Those that are, if they are several of more; else left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub only_cores: Vec<u32>,
    /// The events that are, if they are several; else left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub only_events: Vec<String>,
    /// What else is asked of the samples that are counted; left out if nothing is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub only: Vec<String>,
}

/// How the run ended, and what is wrong with the profile.
#[derive(Clone, Debug, Serialize)]
pub struct End {
    /// What ended the run; `null` if the profile's end is missing.
    pub outcome: Option<Outcome>,
    /// What the guest said about that.
    pub message: String,
    /// What of the profile is not whole; `null` if all is.
    pub incomplete: Option<String>,
    /// What makes the report misleading; left out without any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// What the kernel has chosen by itself; left out if nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// A period, in ticks or events.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Period {
    /// As it was asked for; `null` where that is not known, or there is none.
    #[serde(serialize_with = "null_if_zero")]
    pub requested: u64,
    /// The shortest that was achieved; like the next ones of all samples but
    /// each core's first (each event's first on it), `null` without any.
    pub min: Option<u64>,
    pub median: Option<u64>,
    pub max: Option<u64>,
    /// By how many events each of these may be wrong, as far as checks have seen; left out where
    /// that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub known_to_within: Option<u64>,
    /// By how many the mean of all may be; likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean_known_to_within: Option<u64>,
}

/// The cost of a sample.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Cost {
    pub median: u64,
    /// The most. `null` where it would be what other cores executed during a handler:
    /// where one clock counts the instructions of several cores that do not take turns.
    /// The median is one core's there, unless cores wake each other so often that most
    /// handlers are interrupted by another: then it is too high.
    pub max: Option<u64>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Core {
    /// Its number, from 0.
    pub id: u32,
    /// The id of its local APIC; `null` if the profile's end is missing.
    pub apic_id: Option<u64>,
    /// What kind of core it is, as perf names them; left out where there is one kind only, or
    /// that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    pub samples: u64,
    /// Samples that did not fit into its ring.
    pub lost: u64,
    /// Interrupts that found no overflow; `null` if the profile's end is missing.
    pub unclaimed: Option<u64>,
    /// Overflows during the handler of another; `null` likewise.
    pub nested: Option<u64>,
    /// What it has spent its time on; left out if the kernel does not account for that.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub accounts: Vec<AccountRow>,
}

/// The interrupts of performance counters that made no sample, all cores together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(untagged)]
pub enum CounterTotals {
    /// Overflows are not performance counters'.
    None,
    /// The profile's end is missing: `null`.
    Unknown,
    Known(Counters),
}

impl CounterTotals {
    fn is_none(&self) -> bool {
        *self == Self::None
    }
}

/// The interrupts of performance counters that made no sample.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Counters {
    /// Interrupts whose overflow an earlier handler had seen already.
    pub late: u64,
    /// Interrupts before the event was where its overflow was due.
    pub early: u64,
    /// Overflows that were due before the one before them was handled.
    pub missed: u64,
    /// Checks of what an interrupt costs that something else came together with; left out if
    /// there are none.
    #[serde(skip_serializing_if = "is_zero")]
    pub checks_lost: u64,
    /// System management interrupts while the cores sampled; `null` if the processor does not
    /// count them.
    pub smis: Option<u64>,
}

#[derive(Clone, Debug, Serialize)]
pub struct TaskRow {
    pub name: String,
    /// The samples in which it ran.
    pub samples: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FunctionRow {
    /// Its name, demangled.
    pub name: String,
    /// The file that declares it.
    pub file: Option<String>,
    /// The line there.
    pub line: Option<u32>,
    /// Samples in which it was executing itself.
    #[serde(rename = "self")]
    pub own: u64,
    /// Samples in which it was on the stack, once each.
    pub total: u64,
    /// Whether it was inlined wherever it was seen.
    pub inlined: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // as serde calls it
const fn is_zero(count: &u64) -> bool {
    *count == 0
}

fn as_map<S: Serializer>(pairs: &[(&'static str, u64)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(pairs.iter().copied())
}

impl Report {
    /// Makes the report of a profile and its tally. `symbols` are those of the profile's
    /// kernel; the addresses are resolved here.
    ///
    /// # Errors
    ///
    /// Samples cannot be read that were there when the profile was opened.
    pub fn new(
        profile: &Profile,
        tally: &Tally,
        symbols: &mut Symbols,
        options: Options,
    ) -> Result<Self, ReadError> {
        symbols.resolve(tally.addresses());
        let warnings = warnings(profile, tally, symbols)?;
        Self::with_warnings(profile, tally, (symbols, &warnings), options)
    }

    /// The same where addresses are resolved and the warnings are known.
    ///
    /// # Errors
    ///
    /// As [`Self::new`].
    pub(crate) fn with_warnings(
        profile: &Profile,
        tally: &Tally,
        (symbols, warnings): (&Symbols, &[Warning]),
        options: Options,
    ) -> Result<Self, ReadError> {
        let mut functions = functions(tally, symbols);
        sort(&mut functions, options.sort);
        let functions_in_all = functions.len();
        functions.truncate(options.top.unwrap_or(usize::MAX));

        let run = &profile.description;
        let events = event::rows(profile, tally);
        let handler = handler_cost(run, tally);
        let cores = cores(profile, tally);
        let unclaimed: Option<Vec<_>> = cores.iter().map(|core| core.unclaimed).collect();
        Ok(Self {
            identity: Identity::new(profile),
            totals: Totals {
                period: match &events[..] {
                    [event] => event.period,
                    _ => Period::new(run.period, &tally.periods),
                },
                samples: tally.samples(),
                aimed: Aimed::new(profile, tally, symbols),
                lost: units::total(cores.iter().map(|core| core.lost)),
                unclaimed: unclaimed.map(units::total),
                counters: counter_totals(profile),
                sample_hash: match profile.keeps_chains() {
                    false => Some(profile.sample_hash()?),
                    true => None,
                },
                kept_chains: KeptChains::new(profile, tally)?,
                handler_instructions: handler.filter(|_| run.clock == Clock::Instructions),
            },
            cores,
            chain_ends: chain_ends(tally),
            functions,
            fast_samples: fast_samples(profile, &tally.selection),
            sampling: Sampling::new(profile, events, &tally.selection, handler),
            machine: Machine::new(profile, symbols),
            shares: Shares::new(profile, tally, symbols, functions_in_all),
            end: End::new(profile, tally, warnings),
        })
    }
}

impl Sampling {
    fn new(
        profile: &Profile,
        events: Vec<EventRow>,
        selection: &Selection,
        handler_ticks: Option<Cost>,
    ) -> Self {
        let run = &profile.description;
        let only_event = selection.events.single();
        let only_event = only_event.and_then(|it| event::names(profile, &[it]).pop());
        let is_imported = profile.host.imported.is_some();
        let addresses = if !events.is_empty() && events.iter().all(|it| it.exact.is_some()) {
            Addresses::SampledOps
        } else {
            Addresses::of(run.source, execution(profile))
        };
        Self {
            only_event,
            events,
            clock: run.clock.name(),
            clock_known: ClockKnown::new(run),
            handler_ticks,
            overhead_ticks: run.overhead,
            period_floor: run.period_floor,
            interrupts: Interrupts {
                delivery: (!is_imported).then(|| run.delivery.name()),
                source_reason: run.reason.as_str().to_owned(),
                addresses: (!is_imported).then_some(addresses),
            },
            turns: run.turns,
            ring_bytes: ring_bytes(profile),
        }
    }
}

/// The selected samples that the fast handler has written, if each core says it.
fn fast_samples(profile: &Profile, selection: &Selection) -> Option<u64> {
    if selection.events != Only::All || !selection.is_plain() {
        return None;
    }
    let cores = (0..).zip(&profile.end.as_ref()?.cores);
    let selected = cores.filter(|&(core, _)| selection.has_core(core));
    let counts: Option<Vec<_>> = selected.map(|(_, core)| core.fast).collect();
    counts.map(units::total)
}

/// What the records of all cores took in the rings.
fn ring_bytes(profile: &Profile) -> u64 {
    let cores = profile.end.iter().flat_map(|end| &end.cores);
    units::total(cores.map(|core| core.ring_bytes))
}

/// What has executed the kernel.
fn execution(profile: &Profile) -> Execution {
    let run = &profile.description;
    match profile.host.mode {
        // A timer counts something else where the kernel's clock does.
        Mode::Deterministic if run.clock == Clock::Instructions || run.source == Source::Pmu => {
            Execution::Counted
        }
        Mode::Deterministic | Mode::Realtime => Execution::Translated,
        Mode::Kvm => {
            let cores = profile.end.iter().flat_map(|end| &end.cores);
            let makers = cores.filter_map(|core| u8::try_from(core.maker).ok());
            Execution::Processor(makers.filter_map(|it| Maker::try_from(it).ok()).next())
        }
    }
}

impl Image {
    fn new(symbols: &Symbols) -> Self {
        let slide = symbols.slide();
        let has_frames = !symbols.callers().is_empty();
        Self {
            text_moved_by: slide.distance().map(|distance| format!("{distance:#x}")),
            call_frames: slide.has_text().then_some(has_frames),
            symbols_from: symbols.origins().clone(),
        }
    }
}

impl Identity {
    pub(crate) fn new(profile: &Profile) -> Self {
        let run = &profile.description;
        let is_imported = profile.host.imported.is_some();
        let has_id = !is_imported || run.build_id != [0; 20];
        Self {
            build_id: has_id.then(|| BuildId(run.build_id).to_string()),
            source: (!is_imported).then(|| run.source.name()),
            mode: (!is_imported).then_some(profile.host.mode),
        }
    }
}

impl Machine {
    fn new(profile: &Profile, symbols: &Symbols) -> Self {
        let (run, host) = (&profile.description, &profile.host);
        Self {
            imported: host.imported.clone(),
            qemu: host.imported.is_none().then(|| host.qemu.clone()),
            emulator: host.imported.is_none().then_some(host.emulator),
            pmu: host.pmu,
            cores_online: run.cores,
            bootloader: run.bootloader.as_str().to_owned(),
            command_line: run.command_line.as_str().to_owned(),
            workload: run.workload.as_str().to_owned(),
            image: Image::new(symbols),
        }
    }
}

impl Shares {
    fn new(profile: &Profile, tally: &Tally, symbols: &Symbols, functions_in_all: usize) -> Self {
        let run = &profile.description;
        Self {
            exact_elsewhere: tally.exact_elsewhere(symbols),
            tasks: tasks(tally, run),
            locks: locks(tally, run),
            processes: processes::rows(tally, symbols),
            callers_from_stack_top: tally.totals.repaired,
            callers_doubtful: tally.totals.doubtful,
            callers_undecided: tally.totals.undecided,
            interrupts_off: tally.totals.interrupts_off,
            idle: tally.totals.idle,
            functions_in_all,
            chosen: Chosen::new(profile, &tally.selection),
        }
    }
}

impl Chosen {
    fn new(profile: &Profile, selection: &Selection) -> Self {
        let several = selection.events.several().unwrap_or_default();
        Self {
            only_core: selection.cores.single(),
            only_cores: selection.cores.several().unwrap_or_default().into(),
            only_events: event::names(profile, several),
            only: selection.said.clone(),
        }
    }
}

impl End {
    fn new(profile: &Profile, tally: &Tally, warnings: &[Warning]) -> Self {
        let end = profile.end.as_ref();
        let mut incomplete: Vec<_> = profile.incomplete().into_iter().collect();
        if tally.unreadable > 0 {
            let count = crate::units::counted(tally.unreadable, "record");
            incomplete.push(format!("{count} cannot be read"));
        }
        Self {
            outcome: end.map(|end| end.outcome),
            message: end.map(|end| end.message.clone()).unwrap_or_default(),
            incomplete: (!incomplete.is_empty()).then(|| incomplete.join("; ")),
            warnings: warnings.iter().map(ToString::to_string).collect(),
            note: note(profile),
        }
    }
}

/// The cost of a sample's handler, in ticks.
fn handler_cost(run: &Description, tally: &Tally) -> Option<Cost> {
    let [_, median, max] = tally.handler.summary()?;
    Some(Cost {
        median,
        max: (!counts_other_cores(run)).then_some(max),
    })
}

/// Returns true if the clock counts what other cores execute while one is in a handler.
fn counts_other_cores(run: &Description) -> bool {
    run.clock == Clock::Instructions && run.cores > 1 && !run.turns
}

fn counter_totals(profile: &Profile) -> CounterTotals {
    if profile.description.source != Source::Pmu || profile.host.imported.is_some() {
        return CounterTotals::None;
    }
    let Some(end) = &profile.end else {
        return CounterTotals::Unknown;
    };
    let sum = |of: fn(&CoreEnd) -> u64| units::total(end.cores.iter().map(of));
    let smis: Option<Vec<_>> = end.cores.iter().map(|core| core.smis).collect();
    CounterTotals::Known(Counters {
        late: sum(|core| core.late),
        early: sum(|core| core.early),
        missed: sum(|core| core.missed),
        checks_lost: lost_checks(&end.cores),
        smis: smis.map(units::total),
    })
}

fn cores(profile: &Profile, tally: &Tally) -> Vec<Core> {
    let row = |core: &super::tally::CoreTally| {
        let end = profile.end.as_ref();
        let end = end.and_then(|end| end.cores.get(usize::try_from(core.core).ok()?));
        // Another profiler does not tell.
        let told = end.filter(|_| profile.host.imported.is_none());
        Core {
            id: core.core,
            apic_id: told.map(|end| end.apic_id),
            kind: end
                .and_then(CoreEnd::core_kind)
                .map(|kind| kind.to_string()),
            samples: core.samples,
            lost: end.map_or(core.gaps, |end| end.lost),
            unclaimed: told.map(|end| end.unclaimed),
            nested: told.map(|end| end.nested),
            accounts: end.map_or_else(Vec::new, |end| {
                accounts::of_core(&end.accounts, &profile.description)
            }),
        }
    };
    tally.cores.iter().map(row).collect()
}

/// How chains ended: the complete ones in any case, others where there are any.
fn chain_ends(tally: &Tally) -> Vec<(&'static str, u64)> {
    let ends = tally.chain_ends().into_iter();
    ends.filter(|&(end, samples)| end == ChainEnd::Complete || samples > 0)
        .map(|(end, samples)| (end.name(), samples))
        .collect()
}

/// How a run's samples say which locks are held, if they do.
pub(crate) fn task_numbers(run: &Description) -> Option<TaskNumbers> {
    TaskNumbers::of_names(run.tasks.iter().map(|name| name.as_str()))
}

/// The number of the name of a sample's task.
#[must_use]
pub fn task_of(run: &Description, number: u16) -> u16 {
    task_numbers(run).map_or(number, |numbers| numbers.task(number))
}

/// The number of the lock that was held, by a sample's number of a task.
#[must_use]
pub fn lock_of(run: &Description, number: u16) -> Option<u16> {
    task_numbers(run)?.lock(number)
}

/// The name of a lock.
#[must_use]
pub fn lock_name(run: &Description, lock: u16) -> String {
    let first = task_numbers(run).map_or(0, |numbers| numbers.tasks);
    let name = task_name(run, first.saturating_add(lock));
    name.strip_prefix(LOCK).unwrap_or(&name).to_owned()
}

/// The name of a task.
#[must_use]
pub fn task_name(run: &Description, task: u16) -> String {
    match run.tasks.get(usize::from(task)).map(|name| name.as_str()) {
        Some(name) if !name.is_empty() => name.to_owned(),
        _ => format!("task {task}"),
    }
}

fn tasks(tally: &Tally, run: &Description) -> Vec<TaskRow> {
    rows(tally, |number| Some(task_name(run, task_of(run, number))))
}

/// The locks that were held, the last one that a core has taken.
fn locks(tally: &Tally, run: &Description) -> Vec<TaskRow> {
    rows(tally, |number| Some(lock_name(run, lock_of(run, number)?)))
}

/// The samples by what `name` makes of the number of their task, most first.
fn rows(tally: &Tally, name: impl Fn(u16) -> Option<String>) -> Vec<TaskRow> {
    let mut rows: Vec<TaskRow> = Vec::new();
    for (number, samples) in tally.tasks() {
        let Some(name) = name(number) else {
            continue;
        };
        match rows.iter_mut().find(|row| row.name == name) {
            Some(row) => row.samples += samples,
            None => rows.push(TaskRow { name, samples }),
        }
    }
    rows.sort_by_key(|row| std::cmp::Reverse(row.samples));
    rows
}

/// What is counted of a function.
#[derive(Default)]
struct Count {
    is_seen: bool,
    own: u64,
    total: u64,
    has_code: bool,
}

/// Counts of functions, by their numbers.
#[derive(Default)]
struct Counts(Vec<Count>);

impl Counts {
    fn of(&mut self, function: FunctionId) -> &mut Count {
        let index = function.index();
        if index >= self.0.len() {
            self.0.resize_with(index + 1, Count::default);
        }
        &mut self.0[index]
    }

    /// The functions of these frames, which are seen.
    fn see(&mut self, frames: impl Iterator<Item = Frame>) -> impl Iterator<Item = FunctionId> {
        frames.map(|frame| {
            let count = self.of(frame.function);
            count.is_seen = true;
            count.has_code |= !frame.inlined;
            frame.function
        })
    }
}

/// The functions that were interrupted, each once.
#[derive(Default)]
struct Innermost {
    /// The one that was executing.
    own: Option<FunctionId>,
    all: Vec<FunctionId>,
}

impl Innermost {
    fn of(stack: &Stack<'_>, symbols: &Symbols, counts: &mut Counts) -> Self {
        let mut all = Vec::new();
        let own = stack.own(symbols);
        // One that is elsewhere was executing, and is not among the callers.
        let frames = stack.innermost(symbols).filter_map(|step| match step {
            Step::Frame(frame) => Some(frame),
            Step::Interrupt(_) | Step::Border(_) => None,
        });
        for function in counts.see(own.into_iter().chain(frames)) {
            if !all.contains(&function) {
                all.push(function);
            }
        }
        Self {
            own: own.map(|frame| frame.function),
            all,
        }
    }
}

/// The functions of a chain, each once.
struct Callers {
    /// A bit for some functions each: most that are not there are told by it.
    some: [u64; 8],
    all: Vec<FunctionId>,
}

impl Callers {
    fn of(chain: Chain<'_>, frames: &[&[Frame]], counts: &mut Counts) -> Self {
        let mut callers = Self {
            some: [0; 8],
            all: Vec::new(),
        };
        for function in counts.see(chain.functions(frames)) {
            if !callers.has(function) {
                let (word, bit) = Self::place(function);
                callers.some[word] |= bit;
                callers.all.push(function);
            }
        }
        callers
    }

    const fn place(function: FunctionId) -> (usize, u64) {
        let index = function.index();
        (index / 64 % 8, 1 << (index % 64))
    }

    fn has(&self, function: FunctionId) -> bool {
        let (word, bit) = Self::place(function);
        self.some[word] & bit != 0 && self.all.contains(&function)
    }
}

fn functions(tally: &Tally, symbols: &Symbols) -> Vec<FunctionRow> {
    let mut counts = Counts::default();
    // Each chain's and each place's once: many stacks have them.
    let chains = tally.chains();
    let frames = tally.frames_of_links(symbols);
    let chains = chains.map(|chain| Callers::of(chain, &frames, &mut counts));
    let chains: Vec<_> = chains.collect();
    let mut of_chains = vec![0; chains.len()];
    let places = tally.places().count();
    let mut of_places: Vec<Option<Innermost>> =
        std::iter::repeat_with(|| None).take(places).collect();
    let mut of_others: HashMap<_, Innermost> = HashMap::new();
    for (index, numbers) in tally.stack_numbers().enumerate() {
        let innermost = if numbers.is_plain {
            let of = || Innermost::of(&tally.stack_at(index), symbols, &mut counts);
            of_places[numbers.place].get_or_insert_with(of)
        } else {
            let stack = tally.stack_at(index);
            let of_other = of_others.entry((stack.place, stack.exact, stack.added));
            of_other.or_insert_with(|| Innermost::of(&stack, symbols, &mut counts))
        };
        let samples = numbers.samples;
        if let Some(own) = innermost.own {
            counts.of(own).own += samples;
        }
        let callers = &chains[numbers.chain];
        of_chains[numbers.chain] += samples;
        for &function in innermost.all.iter().filter(|&&it| !callers.has(it)) {
            counts.of(function).total += samples;
        }
    }
    for (Callers { all, .. }, samples) in chains.into_iter().zip(of_chains) {
        for function in all {
            counts.of(function).total += samples;
        }
    }
    let row = |(id, count): (FunctionId, Count)| {
        let function = symbols.function(id);
        FunctionRow {
            name: function.name.clone(),
            file: function.file.clone(),
            line: function.line,
            own: count.own,
            total: count.total,
            inlined: !count.has_code,
        }
    };
    let counts = (0..).map(FunctionId::of_index).zip(counts.0);
    counts.filter(|(_, count)| count.is_seen).map(row).collect()
}

/// Most samples first; equal ones by their names, so that the order repeats.
fn sort(functions: &mut [FunctionRow], by: SortBy) {
    functions.sort_by(|a, b| {
        let samples = |row: &FunctionRow| match by {
            SortBy::Own => (row.own, row.total),
            SortBy::Total => (row.total, row.own),
        };
        samples(b)
            .cmp(&samples(a))
            .then_with(|| (&a.name, &a.file, a.line).cmp(&(&b.name, &b.file, b.line)))
    });
}
