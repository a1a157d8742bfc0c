//! What an interrupt costs in an event beside its handler, and what a period is known to
//! within because of that.

use std::collections::BTreeMap;
use std::fmt;

use profiler::format::region::{Accuracy, OVERHEAD_ROWS, Overhead};
use profiler::pmu::detect::CoreKind;
use profiler::pmu::event::Event;
use serde::Serialize;

use super::Tally;
use crate::profile::{CoreEnd, OverheadEnd, Profile};
use crate::units::{counted, grouped, percent, total};

/// What an interrupt costs in an event, on all cores that are counted and count it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct EventOverhead {
    /// As measured before the run, while the other cores were halted; a mean.
    pub at_rest: u64,
    /// The same while all cores took interrupts; this is taken off.
    pub busy: u64,
    /// As measured while the run went on; `null` if it was not.
    pub running: Option<Running>,
    /// Cores that have samples of the event, and were not checked.
    #[serde(skip)]
    pub unchecked: u64,
    /// The core where it costs what was not measured before, and most so.
    #[serde(skip)]
    pub out_of_range: Option<OutOfRange>,
}

/// What an interrupt has cost while the run went on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Running {
    /// How often that was measured.
    pub checks: u64,
    pub mean: u64,
    pub min: u64,
    pub max: u64,
    /// Within how many events periods are known.
    #[serde(skip)]
    pub accuracy: Accuracy,
}

/// A core on which interrupts cost what was not measured before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OutOfRange {
    pub core: u32,
    pub overhead: Overhead,
    /// By how much too many events a period is said to have, in the mean.
    pub excess: i64,
}

/// Why it is not known how exact the periods of an event are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unknown {
    /// The profile's end is missing, which has what interrupts cost.
    NoEnd,
    /// The event is none of those of which that is kept, or others that are not came later.
    NotKept,
    /// No core was there long enough.
    NotChecked,
    /// Checks were begun, so many, and something came between.
    Disturbed(u64),
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoEnd => f.write_str("the profile's end is missing"),
            Self::NotKept => write!(f, "what interrupts cost is kept of {OVERHEAD_ROWS} events"),
            Self::NotChecked => f.write_str("not checked while running: too few samples"),
            Self::Disturbed(checks) => {
                let checks = counted(*checks, "check");
                write!(f, "not checked while running: {checks} disturbed")
            }
        }
    }
}

/// A row of a core, and what the core did while its event was counted.
struct Row {
    core: u32,
    overhead: Overhead,
    /// Interrupts that it took meanwhile, but the share of its records that were lost.
    interrupts: u64,
    /// Samples of the event.
    samples: u64,
}

/// What an interrupt costs in the event with this number; or why that is not known.
pub(super) fn of_event(
    profile: &Profile,
    tally: &Tally,
    event: usize,
) -> Result<EventOverhead, Unknown> {
    let rows = rows(profile, tally, event)?;
    let mean = |of: fn(&Overhead) -> u64| {
        let sum: u128 = rows.iter().map(|row| u128::from(of(&row.overhead))).sum();
        let mean = sum.checked_div(rows.len() as u128);
        mean.and_then(|mean| u64::try_from(mean).ok())
            .ok_or(Unknown::NotChecked)
    };
    let is_unchecked = |row: &&Row| row.samples > 0 && row.overhead.checks == 0;
    Ok(EventOverhead {
        at_rest: mean(|it| it.rest)?,
        busy: mean(|it| it.busy)?,
        running: running(&rows),
        unchecked: rows.iter().filter(is_unchecked).count() as u64,
        out_of_range: rows
            .iter()
            .filter_map(out_of_range)
            .max_by_key(|it| it.excess.unsigned_abs()),
    })
}

/// Why it is not known how exact the periods are of an event of which there is no more than
/// what was measured before.
pub(super) fn unchecked(profile: &Profile) -> Unknown {
    let ends = profile.end.as_ref().map_or(&[][..], |end| &end.cores);
    match lost_checks(ends) {
        0 => Unknown::NotChecked,
        checks => Unknown::Disturbed(checks),
    }
}

/// The event's row of each core that is counted and has counted it.
fn rows(profile: &Profile, tally: &Tally, event: usize) -> Result<Vec<Row>, Unknown> {
    let ends = &profile.end.as_ref().ok_or(Unknown::NoEnd)?.cores;
    // As in profiles of older versions.
    if ends.iter().all(|end| end.overheads.is_empty()) {
        return Err(Unknown::NotChecked);
    }
    let events = profile.events();
    let name = events.get(event).map_or("", |it| it.name.as_str());
    let of_kind = Event::parse(name).ok().and_then(|event| event.cores);
    let mut rows = Vec::new();
    for core in &tally.cores {
        let place = usize::try_from(core.core).ok();
        let Some(end) = place.and_then(|place| ends.get(place)) else {
            continue;
        };
        let own_kind = end.core_kind();
        if own_kind.is_some() && of_kind.is_some() && of_kind != own_kind {
            continue;
        }
        // Those at the end that are all zeros are left out.
        let none = (event < OVERHEAD_ROWS).then(OverheadEnd::default);
        let row = end.overheads.get(event).copied().or(none);
        let OverheadEnd(overhead) = row.ok_or(Unknown::NotKept)?;
        rows.push(Row {
            core: core.core,
            overhead,
            interrupts: interrupts_since(end, overhead.since, events.len())
                .ok_or(Unknown::NotKept)?,
            samples: tally.events[event].samples_of(core.core),
        });
    }
    Ok(rows)
}

/// The interrupts that a core has taken from `since` on, until other events were counted, of
/// a run that had so many `events` in all; those alone whose records were not lost, as samples
/// are counted so. `None` if it is not kept when others were counted.
fn interrupts_since(end: &CoreEnd, since: u64, events: usize) -> Option<u64> {
    let later = end.overheads.iter().map(|OverheadEnd(row)| row.since);
    let are_all_kept = events <= OVERHEAD_ROWS;
    let until = later
        .filter(|&it| it > since)
        .min()
        .or(are_all_kept.then_some(end.taken))?;
    let all = u128::from(until.saturating_sub(since)) * u128::from(end.stored);
    let records = u128::from(end.stored.saturating_add(end.lost)).max(1);
    Some(u64::try_from(all.div_ceil(records)).unwrap_or(u64::MAX))
}

/// What the checks of all cores say together. What is known to within is that of the core of
/// which least is.
fn running(rows: &[Row]) -> Option<Running> {
    let checked = || rows.iter().filter(|row| row.overhead.checks > 0);
    let sum = |of: fn(&Overhead) -> u64| total(checked().map(|row| of(&row.overhead)));
    let all = Overhead {
        checks: sum(|it| it.checks),
        sum: sum(|it| it.sum),
        ..Overhead::default()
    };
    // Each core has its own number of interrupts for a sample.
    let accuracy = || {
        let of_samples = checked().filter(|row| row.samples > 0);
        of_samples.filter_map(|row| row.overhead.accuracy(row.interrupts, row.samples))
    };
    Some(Running {
        checks: all.checks,
        mean: all.mean()?,
        min: checked().map(|it| it.overhead.min).min()?,
        max: checked().map(|it| it.overhead.max).max()?,
        accuracy: Accuracy {
            mean: accuracy().map(|it| it.mean).max()?,
            each: accuracy().map(|it| it.each).max()?,
        },
    })
}

fn out_of_range(row: &Row) -> Option<OutOfRange> {
    let excess = row.overhead.excess()? as f64;
    let samples = (row.samples > 0).then_some(row.samples)?;
    let each = row.interrupts.max(samples) as f64 / samples as f64;
    row.overhead.is_out_of_range().then_some(OutOfRange {
        core: row.core,
        overhead: row.overhead,
        #[allow(clippy::cast_possible_truncation)] // of events
        excess: (excess * each).round() as i64,
    })
}

/// Checks that came to nothing, on all cores: something else interrupted together with them.
pub(super) fn lost_checks(cores: &[CoreEnd]) -> u64 {
    let of_core = |core: &CoreEnd| {
        let mut done = BTreeMap::new();
        for OverheadEnd(row) in &core.overheads {
            let most = done.entry(row.since).or_insert(0);
            *most = row.checks.max(*most);
        }
        core.checks.saturating_sub(total(done.into_values()))
    };
    total(cores.iter().map(of_core))
}

impl EventOverhead {
    /// In a sentence. `unknown` is why it is not known how exact periods are, if it is not.
    pub(super) fn line(&self, unknown: Option<Unknown>) -> String {
        let [rest, busy] = [self.at_rest, self.busy].map(grouped);
        let before = format!("overhead: {rest} at rest, {busy} with all cores busy");
        let Some(running) = self.running else {
            let why = unknown.unwrap_or(Unknown::NotChecked);
            return format!("{before}: how exact periods are is not known ({why})");
        };
        let [mean, min, max] = [running.mean, running.min, running.max].map(grouped);
        let checks = counted(running.checks, "check");
        let known = match running.accuracy {
            Accuracy { mean: 0, each: 0 } => "periods are exact".to_owned(),
            Accuracy { mean, each } => {
                let [mean, each] = [mean, each].map(grouped);
                format!("periods are known to within ±{each} each, ±{mean} in the mean")
            }
        };
        let but = match self.unchecked {
            0 => String::new(),
            cores => format!(", but of {}, not checked", counted(cores, "core")),
        };
        format!("{before}, {mean} while running ({checks}, {min} to {max}): {known}{but}")
    }
}

/// The share of a period, in percent, from which on it matters that it is not what it is said
/// to be.
const MATTERS_PERCENT: f64 = 1.0;

impl OutOfRange {
    /// What the interrupted code got where a period is said to be `median`, if it matters.
    pub(super) fn got(&self, median: u64) -> Option<u64> {
        let is_much = percent(self.excess.unsigned_abs(), median) >= MATTERS_PERCENT;
        is_much.then(|| median.saturating_add_signed(self.excess.saturating_neg()))
    }
}

impl CoreEnd {
    /// What kind of core it is, of a hybrid processor.
    pub(super) fn core_kind(&self) -> Option<CoreKind> {
        let number = u8::try_from(self.kind).ok().filter(|&it| it != 0)?;
        Some(CoreKind::from_number(number))
    }
}
