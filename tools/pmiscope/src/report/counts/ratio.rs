//! What two events say together.

use profiler::pmu::event::{Event, Named, What};
use serde::Serialize;

use super::EventCount;

/// One event's count by another's.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Ratio {
    /// The number of the event whose count is divided.
    pub index: usize,
    /// The number of the one that it is divided by.
    pub by: usize,
    /// The name of the quotient.
    pub name: &'static str,
    /// The quotient.
    pub value: f64,
    /// True if it is a share, which the text shows in percent.
    pub is_share: bool,
}

/// All ratios: dividend, divisor, name, and true for a share.
const RATIOS: [(Named, Named, &str, bool); 5] = [
    (
        Named::Instructions,
        Named::Cycles,
        "instructions per cycle",
        false,
    ),
    (
        Named::BranchMisses,
        Named::Branches,
        "of all branches",
        true,
    ),
    (
        Named::CacheMisses,
        Named::CacheReferences,
        "of all cache references",
        true,
    ),
    (Named::StalledFrontend, Named::Cycles, "of all cycles", true),
    (Named::StalledBackend, Named::Cycles, "of all cycles", true),
];

/// The ratios of these events. Two belong together if they are counted at the same
/// privilege levels, and just as they happen; and on the same cores.
pub(super) fn all(events: &[EventCount]) -> Vec<Ratio> {
    let mut ratios = Vec::new();
    for event in events {
        let Some((what, plain)) = named(event) else {
            continue;
        };
        for (divided, by, name, is_share) in RATIOS {
            if divided != what {
                continue;
            }
            let other = Event {
                what: What::Named(by),
                ..plain
            };
            let other = events.iter().find(|each| parsed(each) == Some(other));
            let value = other.and_then(|other| quotient(event, other));
            if let (Some(other), Some(value)) = (other, value) {
                ratios.push(Ratio {
                    index: event.index,
                    by: other.index,
                    name,
                    value,
                    is_share,
                });
            }
        }
    }
    ratios
}

#[allow(clippy::cast_precision_loss)] // shown with two digits
fn quotient(event: &EventCount, by: &EventCount) -> Option<f64> {
    let are_together = event
        .cores
        .iter()
        .zip(&by.cores)
        .all(|(one, other)| one.count.count.is_some() == other.count.count.is_some());
    let (count, by) = (event.all.count?, by.all.count?);
    (are_together && by != 0).then(|| count as f64 / by as f64)
}

fn parsed(event: &EventCount) -> Option<Event> {
    Event::parse(&event.name).ok()
}

/// The event, if it has a name and is counted without conditions.
fn named(event: &EventCount) -> Option<(Named, Event)> {
    let event = parsed(event)?;
    let What::Named(named) = event.what else {
        return None;
    };
    let is_plain = !event.edge && !event.invert && event.counter_mask == 0;
    is_plain.then_some((named, event))
}
