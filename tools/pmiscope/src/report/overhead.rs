//! What an interrupt costs in an event beside its handler, and what a period is known to
//! within because of that.

use profiler::format::region::Overhead;
use serde::Serialize;

use super::Tally;
use crate::profile::{CoreEnd, OverheadEnd, Profile};
use crate::units::{grouped, percent};

/// What an interrupt costs in an event, on all cores that are counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct EventOverhead {
    /// As measured before the run, while the other cores were halted; a mean.
    pub at_rest: u64,
    /// The same while all cores took interrupts; this is taken off.
    pub busy: u64,
    /// As measured while the run went on; `null` if it was not.
    pub running: Option<Running>,
    /// Within how many events a period is known.
    pub known_to_within: u64,
    /// The core where it costs what was not measured before, and most so.
    #[serde(skip)]
    pub elsewhere: Option<Elsewhere>,
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
pub struct Elsewhere {
    pub core: u32,
    pub overhead: Overhead,
    /// By how much too many events a period is said to have, in the mean.
    pub excess: i64,
}

/// A row of a core, and what the core did while its event was counted.
struct Row {
    core: u32,
    overhead: Overhead,
    /// Interrupts that it took meanwhile, and the share of its records that were not lost.
    interrupts: u64,
}

/// What an interrupt costs in the event with this number, of which there are `samples`
/// samples; `None` where no counter counts it, or that is not known.
pub(super) fn of_event(
    profile: &Profile,
    tally: &Tally,
    event: usize,
    samples: u64,
) -> Option<EventOverhead> {
    let rows = rows(profile, tally, event);
    let mean = |of: fn(&Overhead) -> u64| {
        let sum: u64 = rows.iter().map(|row| of(&row.overhead)).sum();
        sum.checked_div(rows.len() as u64)
    };
    let interrupts: u64 = rows.iter().map(|row| row.interrupts).sum();
    let known_to_within = |row: &Row| row.overhead.known_to_within(interrupts, samples);
    let each = interrupts.max(samples.max(1)).cast_signed() as f64 / samples.max(1) as f64;
    let elsewhere = rows
        .iter()
        .filter(|row| row.overhead.is_elsewhere())
        .filter_map(|row| {
            let excess = row.overhead.excess()? as f64 * each;
            Some(Elsewhere {
                core: row.core,
                overhead: row.overhead,
                #[allow(clippy::cast_possible_truncation)] // of events
                excess: excess.round() as i64,
            })
        });
    Some(EventOverhead {
        at_rest: mean(|it| it.rest)?,
        busy: mean(|it| it.busy)?,
        running: running(&rows),
        known_to_within: rows.iter().map(known_to_within).max()?,
        elsewhere: elsewhere.max_by_key(|it| it.excess.unsigned_abs()),
    })
}

/// The event's row of each core that is counted and has counted it.
fn rows(profile: &Profile, tally: &Tally, event: usize) -> Vec<Row> {
    let ends = profile.end.as_ref().map_or(&[][..], |end| &end.cores);
    let of_core = |core: u32| {
        let end = ends.get(usize::try_from(core).ok()?)?;
        let OverheadEnd(overhead) = *end.overheads.get(event)?;
        Some(Row {
            core,
            overhead,
            interrupts: interrupts_since(end, overhead.since),
        })
    };
    tally
        .cores
        .iter()
        .filter_map(|it| of_core(it.core))
        .collect()
}

/// The interrupts that a core has taken from `since` on, until other events were counted;
/// those alone whose records were not lost, as samples are counted so.
fn interrupts_since(end: &CoreEnd, since: u64) -> u64 {
    let later = end.overheads.iter().map(|OverheadEnd(row)| row.since);
    let until = later.filter(|&it| it > since).min().unwrap_or(end.taken);
    let all = u128::from(until.saturating_sub(since)) * u128::from(end.stored);
    let records = u128::from(end.stored.saturating_add(end.lost)).max(1);
    u64::try_from(all.div_ceil(records)).unwrap_or(u64::MAX)
}

fn running(rows: &[Row]) -> Option<Running> {
    let checked = || {
        rows.iter()
            .map(|row| &row.overhead)
            .filter(|it| it.checks > 0)
    };
    let all = Overhead {
        checks: checked().map(|it| it.checks).sum(),
        sum: checked().map(|it| it.sum).sum(),
        ..Overhead::default()
    };
    Some(Running {
        checks: all.checks,
        mean: all.mean()?,
        min: checked().map(|it| it.min).min()?,
        max: checked().map(|it| it.max).max()?,
    })
}

/// Checks that came to nothing, on all cores: something else interrupted together with them.
pub(super) fn lost_checks(cores: &[CoreEnd]) -> u64 {
    let of_core = |core: &CoreEnd| {
        let mut done = std::collections::BTreeMap::new();
        for OverheadEnd(row) in &core.overheads {
            let most = done.entry(row.since).or_insert(0);
            *most = row.checks.max(*most);
        }
        core.checks.saturating_sub(done.values().sum())
    };
    cores.iter().map(of_core).sum()
}

impl EventOverhead {
    /// In a sentence.
    pub(super) fn line(&self) -> String {
        let [rest, busy, within] = [self.at_rest, self.busy, self.known_to_within].map(grouped);
        let running = match self.running {
            None => "not checked while running".to_owned(),
            Some(running) => {
                let [mean, checks] = [running.mean, running.checks].map(grouped);
                format!("{mean} while running (mean of {checks} checks)")
            }
        };
        let known = match (self.known_to_within, self.running) {
            (0, Some(_)) => "periods are exact".to_owned(),
            _ => format!("periods are known to within ±{within}"),
        };
        format!("overhead: {rest} at rest, {busy} with all cores busy, {running}: {known}")
    }
}

/// The share of a period, in percent, from which on it matters that it is not what it is said
/// to be.
const MATTERS_PERCENT: f64 = 1.0;

impl Elsewhere {
    /// What the interrupted code got where a period is said to be `median`, if it matters.
    pub(super) fn got(&self, median: u64) -> Option<u64> {
        let is_much = percent(self.excess.unsigned_abs(), median) >= MATTERS_PERCENT;
        is_much.then(|| median.saturating_add_signed(-self.excess))
    }
}
