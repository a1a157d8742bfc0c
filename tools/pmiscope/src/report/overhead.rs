//! What an interrupt costs in an event beside its handler, and what a period is known to
//! within because of that.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use profiler::format::region::{Accuracy, OVERHEAD_ROWS, Overhead};
use serde::Serialize;

use super::Tally;
use super::tally::EventTally;
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
    /// Within how many events periods are known, or why that is not known.
    #[serde(skip)]
    pub known: Result<Accuracy, Unknown>,
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
    /// The profile has nothing of the kind.
    NotSaid,
    /// No core was there long enough.
    NotChecked,
    /// Of the checks of a core, something came between so many.
    Disturbed(Lost),
}

/// Checks of a core that came to nothing: something else interrupted together with them, or
/// they counted more than one interrupt was expected to cost at most.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lost {
    pub lost: u64,
    pub begun: u64,
}

/// The share of its checks, in percent, that a core may lose: what interrupts cost is not what
/// the others say if those that were lost are the dear ones, as they are if that is why.
const LOST_PERCENT: f64 = 5.0;

impl Lost {
    /// Returns true if the other checks do not say what interrupts cost.
    fn is_much(self) -> bool {
        percent(self.lost, self.begun) > LOST_PERCENT
    }
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoEnd => f.write_str("the profile's end is missing"),
            Self::NotKept => write!(f, "what interrupts cost is kept of {OVERHEAD_ROWS} events"),
            Self::NotSaid => f.write_str("the profile does not say what interrupts cost"),
            Self::NotChecked => f.write_str("not checked while running: too few samples"),
            Self::Disturbed(Lost { lost, begun }) => {
                let (lost, begun) = (grouped(*lost), counted(*begun, "check"));
                write!(
                    f,
                    "{lost} of {begun} while running disturbed, or far above what is taken off"
                )
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
    /// The most interrupts that it can have taken in one period of the event.
    most: u64,
    /// Its checks that are lost.
    lost: Lost,
}

impl Row {
    /// Returns true if the core has counted the event, as far as is to be seen.
    const fn is_used(&self) -> bool {
        let Overhead {
            rest, busy, spread, ..
        } = self.overhead;
        self.samples > 0 || self.overhead.checks > 0 || rest | busy | spread > 0
    }
}

/// What an interrupt costs in the event with this number; or why that is not known.
pub(super) fn of_event(
    profile: &Profile,
    tally: &Tally,
    event: usize,
) -> Result<EventOverhead, Unknown> {
    let mut rows = rows(profile, tally, event)?;
    // Of a core that had taken its last sample before, or is of a kind that does not count the
    // event. Of an event that interrupts have no part in, all are so.
    if rows.iter().any(Row::is_used) {
        rows.retain(Row::is_used);
    }
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
        known: known(&rows),
        unchecked: rows.iter().filter(is_unchecked).count() as u64,
        out_of_range: rows
            .iter()
            .filter_map(out_of_range)
            .max_by_key(|it| it.excess.unsigned_abs()),
    })
}

/// The event's row of each core that is counted.
fn rows(profile: &Profile, tally: &Tally, event: usize) -> Result<Vec<Row>, Unknown> {
    let ends = &profile.end.as_ref().ok_or(Unknown::NoEnd)?.cores;
    // As in profiles of older versions, and by kernels that measure nothing.
    let has_none = |end: &CoreEnd| end.overheads.is_empty() && end.checks == 0;
    if ends.iter().all(has_none) {
        return Err(Unknown::NotSaid);
    }
    let events = profile.events();
    let mut rows = Vec::new();
    for core in &tally.cores {
        let place = usize::try_from(core.core).ok();
        let Some(end) = place.and_then(|place| ends.get(place)) else {
            continue;
        };
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
            most: most_in_a_period(end, &tally.events[event], core.core),
            lost: lost_of(end),
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

/// The most interrupts that a core can have taken in one period of the event. Where those came
/// that made no sample is not known: all may have been in that one.
fn most_in_a_period(end: &CoreEnd, event: &EventTally, core: u32) -> u64 {
    let without_sample = [end.late, end.early, end.unclaimed].into_iter();
    total(without_sample.chain([event.most_in_a_period(core)]))
}

/// Within how many events periods are known: that is what it is on the core of which least is.
fn known(rows: &[Row]) -> Result<Accuracy, Unknown> {
    let disturbed = rows.iter().map(|row| row.lost).filter(|it| it.is_much());
    let worst = disturbed.max_by(|one, other| {
        let [one, other] = [one, other].map(|it| percent(it.lost, it.begun));
        one.total_cmp(&other)
    });
    if let Some(lost) = worst {
        return Err(Unknown::Disturbed(lost));
    }
    // Each core has its own number of interrupts for a sample.
    let of_samples = rows.iter().filter(|row| row.samples > 0);
    let accuracies = of_samples.filter_map(|row| {
        let Row {
            interrupts,
            samples,
            most,
            ..
        } = *row;
        row.overhead.accuracy(interrupts, samples, most)
    });
    accuracies
        .reduce(|one, other| Accuracy {
            mean: one.mean.max(other.mean),
            each: one.each.max(other.each),
        })
        .ok_or(Unknown::NotChecked)
}

/// What the checks of all cores say together.
fn running(rows: &[Row]) -> Option<Running> {
    let checked = || rows.iter().filter(|row| row.overhead.checks > 0);
    let sum = |of: fn(&Overhead) -> u64| total(checked().map(|row| of(&row.overhead)));
    let all = Overhead {
        checks: sum(|it| it.checks),
        sum: sum(|it| it.sum),
        ..Overhead::default()
    };
    Some(Running {
        checks: all.checks,
        mean: all.mean()?,
        min: checked().map(|it| it.overhead.min).min()?,
        max: checked().map(|it| it.overhead.max).max()?,
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

/// Checks that came to nothing, on all cores.
pub(super) fn lost_checks(cores: &[CoreEnd]) -> u64 {
    total(cores.iter().map(|core| lost_of(core).lost))
}

/// The checks of a core that came to nothing.
fn lost_of(core: &CoreEnd) -> Lost {
    let mut done = BTreeMap::new();
    for OverheadEnd(row) in &core.overheads {
        let most = done.entry(row.since).or_insert(0);
        *most = row.checks.max(*most);
    }
    Lost {
        lost: core.checks.saturating_sub(total(done.into_values())),
        begun: core.checks,
    }
}

impl EventOverhead {
    /// In a sentence.
    pub(super) fn line(&self) -> String {
        let [rest, busy] = [self.at_rest, self.busy].map(grouped);
        let mut line = format!("overhead: {rest} at rest, {busy} with all cores busy");
        if let Some(running) = self.running {
            let [mean, min, max] = [running.mean, running.min, running.max].map(grouped);
            let checks = counted(running.checks, "check");
            let _ = write!(line, ", {mean} while running ({checks}, {min} to {max})");
        }
        let known = match self.known {
            Ok(Accuracy { mean: 0, each: 0 }) => "periods are exact".to_owned(),
            Ok(Accuracy { mean, each }) => {
                let [mean, each] = [mean, each].map(grouped);
                format!("periods are known to within ±{each} each, ±{mean} in the mean")
            }
            Err(why) => return format!("{line}: {}", why.line()),
        };
        let but = match self.unchecked {
            0 => String::new(),
            cores => format!(", but of {}, not checked", counted(cores, "core")),
        };
        format!("{line}: {known}{but}")
    }
}

impl Unknown {
    /// In a sentence.
    pub(super) fn line(self) -> String {
        format!("how exact periods are is not known ({self})")
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
