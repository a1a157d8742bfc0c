//! The events of a run: a report's rows, and the lookup by name.

use anyhow::{Result, bail};
use profiler::format::Sample;
use profiler::pmu::event::{Event, What};
use serde::Serialize;

use super::Tally;
use super::model::{Period, null_if_zero};
use super::overhead::{self, EventOverhead, Unknown};
use super::tally::Distribution;
use crate::profile::Profile;
use crate::units::counted;

/// An event of a run.
#[derive(Clone, Debug, Serialize)]
pub struct EventRow {
    /// Its number, from 0.
    pub index: usize,
    /// What is counted, as `--event` takes it.
    pub name: String,
    pub samples: u64,
    /// Of an event whose samples have exact addresses: how many do; left out for others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exact: Option<u64>,
    /// Its period, in events.
    pub period: Period,
    /// The period that was set: longer than the requested one if that is below the
    /// floor; `null` where none was.
    #[serde(serialize_with = "null_if_zero")]
    pub period_set: u64,
    /// The shortest period that progresses, in events.
    pub period_floor: u64,
    /// What an interrupt costs in it; left out if that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overhead: Option<EventOverhead>,
    /// Why it is not known how exact its periods are, if it is not.
    #[serde(skip)]
    pub unknown: Option<Unknown>,
}

impl Period {
    /// The requested period and the achieved ones.
    pub(super) fn new(requested: u64, achieved: &Distribution) -> Self {
        let achieved = achieved.summary();
        Self {
            requested,
            min: achieved.map(|[min, ..]| min),
            median: achieved.map(|[_, median, _]| median),
            max: achieved.map(|[.., max]| max),
            known_to_within: None,
            mean_known_to_within: None,
        }
    }
}

/// What stands for overflows beside those of the period.
pub const AIMED: &str = "aimed";

/// What these events count.
pub(crate) fn names(profile: &Profile, numbers: &[u8]) -> Vec<String> {
    let name = |&number: &u8| match number {
        Sample::AIMED => Some(AIMED),
        _ => profile
            .events()
            .get(usize::from(number))
            .map(|it| it.name.as_str()),
    };
    let names = numbers.iter().filter_map(name);
    names.map(str::to_owned).collect()
}

/// The numbers of the events that are counted and have samples, where a profile has events.
pub(crate) fn seen(tally: &Tally) -> Vec<u8> {
    let events = (0..).zip(&tally.events);
    let seen = events.filter(|(_, event)| event.samples > 0);
    let mut seen: Vec<_> = seen.map(|(number, _)| number).collect();
    let of_events: u64 = tally.events.iter().map(|event| event.samples).sum();
    if !tally.events.is_empty() && tally.samples() > of_events {
        seen.push(Sample::AIMED);
    }
    seen
}

/// Returns true if the two names are of what counts the same.
pub(crate) fn are_same(name: &str, other: &str) -> bool {
    let counted = |text| Some(Event::parse(text).ok()?.counted());
    name == other || counted(name).is_some_and(|event| Some(event) == counted(other))
}

/// The events of a profile that are asked for.
pub(super) fn rows(profile: &Profile, tally: &Tally) -> Vec<EventRow> {
    let events = &tally.selection.events;
    let rows = profile.events().iter().zip(&tally.events).enumerate();
    rows.filter(|&(index, _)| u8::try_from(index).is_ok_and(|index| events.has(index)))
        .map(|(index, (event, counted))| {
            let overhead = overhead::of_event(profile, tally, index);
            let known = overhead.and_then(|it| it.known);
            EventRow {
                index,
                name: event.name.as_str().to_owned(),
                samples: counted.samples,
                exact: (counted.exact > 0 || is_exact(event.name.as_str()))
                    .then_some(counted.exact),
                period: Period {
                    known_to_within: known.ok().map(|it| it.each),
                    mean_known_to_within: known.ok().map(|it| it.mean),
                    ..Period::new(event.requested_period, &counted.periods)
                },
                period_set: event.period,
                period_floor: event.floor,
                overhead: overhead.ok(),
                unknown: known.err(),
            }
        })
        .collect()
}

/// Returns true if the samples of the event with this name have exact addresses.
fn is_exact(name: &str) -> bool {
    Event::parse(name).is_ok_and(|event| matches!(event.what, What::IbsOp(_)))
}

/// The number of the event that `text` names: by its number, or by any name of what it
/// counts.
///
/// # Errors
///
/// There is none, or more than one; the message lists them.
pub fn find(profile: &Profile, text: &str) -> Result<u8> {
    if text == AIMED {
        return Ok(Sample::AIMED);
    }
    let events = profile.events();
    if events.is_empty() {
        bail!(
            "--event {text}: the profile has no events: its samples are by the source {}",
            profile.description.source
        );
    }
    let found: Vec<_> = match text.parse() {
        Ok(index) => (index..=index)
            .filter(|&index| usize::from(index) < events.len())
            .collect(),
        Err(_) => (0..)
            .zip(events)
            .filter(|(_, event)| are_same(event.name.as_str(), text))
            .map(|(index, _)| index)
            .collect(),
    };
    match found[..] {
        [index] => Ok(index),
        [] => {
            let all = (0..).zip(events);
            let all: Vec<_> = all
                .map(|(index, event): (usize, _)| format!("{index} {}", event.name.as_str()))
                .collect();
            bail!(
                "--event {text}: the profile has no such event; it has {}",
                all.join(", ")
            )
        }
        _ => {
            let all: Vec<_> = found.iter().map(u8::to_string).collect();
            bail!(
                "--event {text}: the profile has {} of that name: say {}",
                counted(found.len() as u64, "event"),
                all.join(" or ")
            )
        }
    }
}
