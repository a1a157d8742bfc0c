//! The report of a run that counts events and takes no samples: the values of the JSON
//! and of the [`text`].

mod processes;
mod ratio;
pub mod text;

use profiler::contract::settings::Settings;
use profiler::format::count::Reading;
use profiler::format::region::{OVERHEAD_ROWS, Overhead};
use profiler::format::{Count, Description};
use serde::Serialize;

pub use processes::{ProcessCount, ProcessCounts};
pub use ratio::Ratio;

use super::Only;
use super::model::ClockKnown;
use super::warnings::not_taken;
use crate::profile::{CoreEnd, Mode, Outcome, OverheadEnd, Profile};
use crate::qemu::PmuModel;
use crate::symbols::{BuildId, Symbols};
use crate::units;

/// Options of the counts.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Selection {
    pub cores: Only<u32>,
    /// By their numbers.
    pub events: Only<u8>,
    /// As text, each core's counts too.
    pub per_core: bool,
}

/// The counts of a run; groups of keys have no key of their own.
#[derive(Clone, Debug, Serialize)]
pub struct Counts {
    #[serde(flatten)]
    pub run: Run,
    /// The events, in the order in which they were asked for.
    pub events: Vec<EventCount>,
    /// What two events say together.
    pub ratios: Vec<Ratio>,
    /// Those of each process; left out where that was not counted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub processes: Vec<ProcessCounts>,
    /// Why the counts of processes are not whole, if they are not.
    #[serde(skip)]
    pub processes_lacking: Option<String>,
    #[serde(flatten)]
    pub machine: Machine,
    /// What ended the run; `null` if the profile's end is missing.
    pub outcome: Option<Outcome>,
    /// What the guest said about that.
    pub message: String,
    /// What of the profile is not whole; `null` if all is.
    pub incomplete: Option<String>,
    /// What the kernel did not take of what it was asked for; left out if it took all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// What was counted.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// The kernel's GNU build-id.
    pub build_id: String,
    /// How the machine's time ran.
    pub mode: Mode,
    pub workload: String,
    /// Its rounds that each core was counted for; `null` if that is not known.
    pub units: Option<u64>,
    /// The time of the core that ran longest, in ticks; `null` without counts.
    pub elapsed_ticks: Option<u64>,
    /// What a tick is: `instructions` (of all cores), `time` for nanoseconds, or `ticks` of the
    /// time stamp counter where nothing says how long one takes.
    pub clock: &'static str,
    #[serde(flatten)]
    pub clock_known: ClockKnown,
}

/// What it was counted on.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// Cores online, whether their counts are here or not.
    pub cores_online: u32,
    /// The only core whose counts these are, if not all are.
    pub only_core: Option<u32>,
    /// Those whose counts these are, if they are several of more; else left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub only_cores: Vec<u32>,
    /// QEMU's version.
    pub qemu: String,
    /// The performance counters that QEMU was asked for; `null` if none.
    pub pmu: Option<PmuModel>,
    /// Who loaded the kernel.
    pub bootloader: String,
    /// The kernel's command line.
    pub command_line: String,
    /// The counters, and why they were used.
    pub source_reason: String,
}

/// How often an event happened.
#[derive(Clone, Debug, Serialize)]
pub struct EventCount {
    /// Its number, from 0.
    pub index: usize,
    /// What is counted, as `--event` takes it.
    pub name: String,
    /// The sum over the cores that counted it.
    #[serde(flatten)]
    pub all: Total,
    /// Cores that counted it; where it is not all of them, the count lacks the others'.
    pub cores_counted: usize,
    pub cores: Vec<CoreCount>,
}

/// How often an event happened on a core.
#[derive(Clone, Debug, Serialize)]
pub struct CoreCount {
    /// Its number, from 0.
    pub core: u32,
    #[serde(flatten)]
    pub count: Total,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Total {
    /// What kind of count it is.
    pub status: Status,
    /// How often the event happened, scaled if its counter was another's part of the time;
    /// `null` if it is not known.
    pub count: Option<u64>,
    /// How often it happened while it had a counter.
    pub count_raw: u64,
    /// Ticks for which the workload ran.
    pub enabled_ticks: u64,
    /// Ticks of these in which the event had a counter.
    pub running_ticks: u64,
    /// By how much the count may be wrong, as what interrupts of the count itself cost varied
    /// when that was measured; `null` if it is not known.
    pub known_to_within: Option<u64>,
}

/// What a count is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Whole: the event had a counter all the time. (How far it may be off nevertheless is
    /// [`Total::known_to_within`].)
    Exact,
    /// An estimate: the event had a counter part of the time.
    Scaled,
    /// There is none: it never had a counter, or the run ended before.
    NotCounted,
    /// There is none: the machine lacks the event.
    NotSupported,
}

impl Counts {
    /// Returns true if a run counts events and takes no samples.
    #[must_use]
    pub const fn are_in(run: &Description) -> bool {
        run.samples == 0
    }

    /// The counts in a profile.
    #[must_use]
    pub fn new(profile: &Profile, selection: &Selection) -> Self {
        let run = &profile.description;
        let is_selected = |&core: &u32| selection.cores.has(core);
        let cores: Vec<_> = (0..profile.cores()).filter(is_selected).collect();
        let found: Vec<_> = cores.iter().map(|&core| of_core(profile, core)).collect();
        let ends: Vec<_> = cores.iter().map(|&core| end_of(profile, core)).collect();
        let rows = run.events().iter().enumerate();
        let events: Vec<_> = rows
            .filter(|&(index, _)| {
                u8::try_from(index).is_ok_and(|index| selection.events.has(index))
            })
            .map(|(index, event)| {
                let mut row = EventCount::new(index, event.name.as_str(), &cores, &found);
                row.set_known(&ends);
                row
            })
            .collect();
        let readings = found.iter().flatten().map(|count| count.reading.enabled);
        let command_line = run.command_line.as_str();
        let settings = Settings::parse(command_line).ok();
        let end = profile.end.as_ref();
        let lacking = processes::lacking(profile, &cores);
        let warnings = not_taken(profile).iter().map(ToString::to_string).collect();
        Self {
            run: Run {
                build_id: BuildId(run.build_id).to_string(),
                mode: profile.host.mode,
                workload: run.workload.as_str().to_owned(),
                units: settings.map(|settings| settings.units),
                elapsed_ticks: readings.max(),
                clock: run.clock.name(),
                clock_known: ClockKnown::new(run),
            },
            ratios: ratio::all(&events),
            processes: Vec::new(),
            processes_lacking: lacking.clone(),
            events,
            machine: Machine {
                cores_online: run.cores,
                only_core: selection.cores.single(),
                only_cores: selection.cores.several().unwrap_or_default().into(),
                qemu: profile.host.qemu.clone(),
                pmu: profile.host.pmu,
                bootloader: run.bootloader.as_str().to_owned(),
                command_line: command_line.to_owned(),
                source_reason: run.reason.as_str().to_owned(),
            },
            outcome: end.map(|end| end.outcome),
            message: end.map(|end| end.message.clone()).unwrap_or_default(),
            incomplete: profile.incomplete(),
            warnings: [warnings, Vec::from_iter(lacking)].concat(),
        }
    }
}

impl Counts {
    /// Adds those of the profile's processes, where they were counted, by the names that its programs
    /// have.
    pub fn add_processes(&mut self, profile: &Profile, symbols: &Symbols) {
        let only = self.machine.only_core;
        let is_selected = |&core: &u32| only.is_none_or(|only| only == core);
        let cores: Vec<_> = (0..profile.cores()).filter(is_selected).collect();
        self.processes = processes::all(profile, (&cores, &self.events), symbols);
    }
}

impl EventCount {
    /// Of `cores`, each of which has counted what `found` has in its place.
    fn new(index: usize, name: &str, cores: &[u32], found: &[Vec<Count>]) -> Self {
        let of_event = |counts: &Vec<Count>| {
            let mut counts = counts.iter();
            Total::new(counts.find(|count| usize::from(count.event) == index))
        };
        let cores = cores.iter().zip(found);
        let cores: Vec<_> = cores
            .map(|(&core, counts)| CoreCount {
                core,
                count: of_event(counts),
            })
            .collect();
        let counted = cores.iter().filter(|core| core.count.count.is_some());
        Self {
            index,
            name: name.to_owned(),
            all: Total::sum(cores.iter().map(|core| core.count)),
            cores_counted: counted.count(),
            cores,
        }
    }
}

/// How a core has ended; `None` if the profile's end is missing.
fn end_of(profile: &Profile, core: u32) -> Option<&CoreEnd> {
    profile.end.as_ref()?.cores.get(usize::try_from(core).ok()?)
}

/// The counts of a core. Records of other kinds are skipped.
fn of_core(profile: &Profile, core: u32) -> Vec<Count> {
    let records = profile.other_records(core);
    records
        .filter_map(|record| Count::decode(record).ok())
        .filter(|count| count.process.is_none())
        .collect()
}

impl EventCount {
    /// Says by how much the counts may be wrong, of cores that have ended so.
    fn set_known(&mut self, ends: &[Option<&CoreEnd>]) {
        for (core, end) in self.cores.iter_mut().zip(ends) {
            let is_counted = core.count.count.is_some();
            core.count.known_to_within = end
                .filter(|_| is_counted)
                .and_then(|end| known_to_within(end, self.index));
        }
        let counted = self.cores.iter().filter(|core| core.count.count.is_some());
        let known: Option<Vec<_>> = counted.map(|core| core.count.known_to_within).collect();
        let is_any = self.all.count.is_some();
        self.all.known_to_within = known.filter(|_| is_any).map(units::total);
    }
}

/// By how much the core's count of the event with this number may be wrong: for each
/// interrupt by what its cost varied, and once more for the instruction that ended it. (Of an
/// event that took turns, so much as its share of them makes when it is scaled.)
fn known_to_within(end: &CoreEnd, event: usize) -> Option<u64> {
    let OverheadEnd(row) = end.overheads.get(event).copied().unwrap_or_default();
    // A short count has no interrupt in it, and a user's event costs nothing.
    let is_noted = end.taken > 0 || row != Overhead::default();
    (is_noted && event < OVERHEAD_ROWS)
        .then(|| row.spread.saturating_mul(end.taken.saturating_add(1)))
}

impl Total {
    /// Nothing is known.
    const NOTHING: Self = Self {
        status: Status::NotCounted,
        count: None,
        count_raw: 0,
        enabled_ticks: 0,
        running_ticks: 0,
        known_to_within: None,
    };

    fn new(count: Option<&Count>) -> Self {
        let Some(&Count {
            is_supported,
            reading,
            ..
        }) = count
        else {
            return Self::NOTHING;
        };
        let Reading {
            count,
            enabled,
            running,
        } = reading;
        let scaled = reading.scaled().filter(|_| is_supported);
        Self {
            status: match (is_supported, scaled) {
                (false, _) => Status::NotSupported,
                (true, None) => Status::NotCounted,
                (true, Some(_)) if reading.is_scaled() => Status::Scaled,
                (true, Some(_)) => Status::Exact,
            },
            count: scaled,
            count_raw: count,
            enabled_ticks: enabled,
            running_ticks: running,
            known_to_within: None,
        }
    }

    /// The sum of the counts that are known.
    fn sum(counts: impl Iterator<Item = Self> + Clone) -> Self {
        let mut sum = Self::NOTHING;
        let counted = counts.clone().filter(|count| count.count.is_some());
        for core in counted {
            sum.count = Some(
                sum.count
                    .unwrap_or(0)
                    .saturating_add(core.count.unwrap_or(0)),
            );
            sum.count_raw = sum.count_raw.saturating_add(core.count_raw);
            sum.enabled_ticks = sum.enabled_ticks.saturating_add(core.enabled_ticks);
            sum.running_ticks = sum.running_ticks.saturating_add(core.running_ticks);
            if sum.status != Status::Scaled {
                sum.status = core.status;
            }
        }
        let mut all = counts.peekable();
        let is_any = all.peek().is_some();
        if is_any && all.all(|core| core.status == Status::NotSupported) {
            sum.status = Status::NotSupported;
        }
        sum
    }
}

/// The counts as JSON.
///
/// # Errors
///
/// None that counts can cause.
pub fn json(counts: &Counts) -> serde_json::Result<String> {
    crate::output::json(counts)
}
