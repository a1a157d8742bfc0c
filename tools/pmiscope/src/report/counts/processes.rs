//! How often events happened in each process, where a run has counted that.

use std::collections::BTreeMap;

use profiler::contract::settings::Settings;
use profiler::format::Count;
use profiler::format::count::Reading;
use serde::Serialize;

use super::{EventCount, Total};
use crate::profile::Profile;
use crate::symbols::Symbols;

/// The counts of a process; of those of a program together that its kernel has not announced; or of what
/// ran outside of all processes.
#[derive(Clone, Debug, Serialize)]
pub struct ProcessCounts {
    /// Its program's file's name; `null` outside of processes: tasks of the kernel's, and the idle loop.
    pub name: Option<String>,
    /// The number by which its kernel knows it; left out of several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// The events, in the order in which they were asked for.
    pub events: Vec<ProcessCount>,
}

/// How often an event happened in a process.
#[derive(Clone, Debug, Serialize)]
pub struct ProcessCount {
    /// What is counted, as `--event` takes it.
    pub name: String,
    #[serde(flatten)]
    pub all: Total,
}

/// The parts of a core's counts, by process and event.
type Parts = BTreeMap<(u16, u8), Reading>;

/// The counts of processes of these events on these cores, the one with the highest first.
pub(super) fn all(
    profile: &Profile,
    (cores, events): (&[u32], &[EventCount]),
    symbols: &Symbols,
) -> Vec<ProcessCounts> {
    let parts: Vec<_> = cores.iter().map(|&core| parts(profile, core)).collect();
    let mut numbers: Vec<u16> = parts
        .iter()
        .flat_map(|parts| parts.keys().map(|&(number, _)| number))
        .collect();
    numbers.sort_unstable();
    numbers.dedup();
    let count = |number: u16, event: usize| {
        // There are no more than a byte can number.
        let event = event.to_le_bytes()[0];
        let totals = parts.iter().filter_map(|parts| {
            let &reading = parts.get(&(number, event))?;
            let is_supported = true;
            Some(Total::new(Some(&Count {
                event,
                is_supported,
                process: Some(number),
                reading,
            })))
        });
        let totals: Vec<_> = totals.collect();
        Total::sum(totals.into_iter())
    };
    let row = |number: u16| ProcessCounts {
        name: (number != 0).then(|| symbols.program_name(number)),
        pid: symbols.pid_of(number),
        events: events
            .iter()
            .map(|event| ProcessCount {
                name: event.name.clone(),
                all: count(number, event.index),
            })
            .collect(),
    };
    let mut rows: Vec<_> = numbers.into_iter().map(row).collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.events.first().and_then(|it| it.all.count)));
    rows
}

/// The parts of a core's counts that are of processes.
fn parts(profile: &Profile, core: u32) -> Parts {
    let mut parts = Parts::new();
    let records = profile.other_records(core);
    for count in records.filter_map(|record| Count::decode(record).ok()) {
        let Some(number) = count.process else {
            continue;
        };
        let sum = parts.entry((number, count.event)).or_default();
        sum.count = sum.count.saturating_add(count.reading.count);
        sum.enabled = sum.enabled.saturating_add(count.reading.enabled);
        sum.running = sum.running.saturating_add(count.reading.running);
    }
    parts
}

/// Says what of a core's counts is in none of its processes', if they were to be counted and do not add up.
pub(super) fn lacking(profile: &Profile, cores: &[u32]) -> Option<String> {
    let run = &profile.description;
    let settings = Settings::parse(run.command_line.as_str()).ok();
    if !settings.is_some_and(|settings| settings.by_process) {
        return None;
    }
    cores.iter().find_map(|&core| {
        let parts = parts(profile, core);
        let records = profile.other_records(core);
        let totals = records.filter_map(|record| Count::decode(record).ok());
        let mut totals = totals.filter(|count| count.process.is_none());
        totals.find_map(|total| {
            let of_event = parts.iter().filter(|((_, event), _)| *event == total.event);
            let sum: u64 = of_event.map(|(_, part)| part.count).sum();
            let name = run.events().get(usize::from(total.event))?.name;
            (sum != total.reading.count).then(|| {
                format!(
                    "counts of processes are incomplete: of {} {} on core {core} they have {sum}: its ring \
                     was full; count fewer units, or fewer cores at a time",
                    total.reading.count,
                    name.as_str()
                )
            })
        })
    })
}
