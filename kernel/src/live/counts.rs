//! `stat`: a run that counts in place of the one that the command line names, and what it has counted.
//!
//! A unit of a workload may wait for other cores, halt, or want a lock that a held core has. So nothing
//! is counted at the prompt itself: `stat WORKLOAD` before a run makes that run count, and the kernel
//! shows its counts when they are there.

use alloc::boxed::Box;
use alloc::string::ToString as _;
use core::fmt;

use kernel_core::monitor::Problem;
use profiler::contract::settings::{RunKind, Settings};
use profiler::format::Count;
use profiler::format::sample::MAX_WORDS;
use profiler::pmu::event::EventList;
use spin::Mutex;

use super::status;
use crate::config::Order;
use crate::monitor;
use crate::profiling::sampler;
use crate::workload::Workload;

/// What is counted, and for how long.
#[derive(Clone, Copy)]
pub(super) struct Plan {
    pub workload: &'static Workload,
    /// Rounds of it, on each core.
    pub units: u64,
    /// What suits the machine if there are none.
    pub events: Option<EventList>,
}

/// Where the next run stands that could be another than the command line's.
#[expect(
    clippy::large_enum_variant,
    reason = "there is one, and nothing is allocated at the prompt"
)]
enum Stage {
    /// It has not begun; what it is to count, if anything.
    Before(Option<Plan>),
    /// It goes on as the command line wants it.
    AsAsked,
    /// It counts.
    Counts,
}

static STAGE: Mutex<Stage> = Mutex::new(Stage::Before(None));

/// Lets the run count this.
///
/// # Errors
///
/// It has begun, or it is not the core with the prompt that asks.
pub(super) fn plan(plan: Plan) -> Result<(), Problem> {
    match STAGE.try_lock().as_deref_mut() {
        Some(stage @ Stage::Before(_)) => {
            monitor::check_is_here()?;
            *stage = Stage::Before(Some(plan));
            Ok(())
        }
        _ => Err(Problem::new(format_args!(
            "the run has begun: ask before it (monitor=start), or by pmiscope stat --workload {}",
            plan.workload.name
        ))),
    }
}

/// The run begins: what it is to do in place of that, if somebody wanted it to count at the prompt.
pub fn in_place_of(order: Order) -> Order {
    let mut stage = STAGE.lock();
    let Stage::Before(Some(plan)) = *stage else {
        *stage = Stage::AsAsked;
        return order;
    };
    *stage = Stage::Counts;
    let settings = Settings {
        kind: RunKind::Counts,
        workload: plan.workload.name,
        units: plan.units,
        events: plan.events,
        ring_bytes: order.settings.ring_bytes,
        send: order.settings.send,
        ..Settings::default()
    };
    let words = Box::leak(settings.to_string().into_boxed_str());
    Order { settings, words }
}

/// Logs what was counted, if somebody wanted that at the prompt: at the end of the run.
pub fn log_at_end() {
    if let Some(Stage::Counts) = STAGE.try_lock().as_deref() {
        ::log::info!("{}", Shown);
    }
}

/// Shows what was counted.
pub(super) fn show(to: &mut dyn fmt::Write) -> Result<(), Problem> {
    let look = sampler().look().ok_or_else(status::nothing_sampled)?;
    if look.period != 0 {
        return Err(Problem::new(format_args!(
            "this run samples; `stat WORKLOAD` before a run makes it count"
        )));
    }
    writeln!(to, "{Shown}")?;
    Ok(())
}

/// What each core has counted of each event, and the sums.
struct Shown;

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Some(look), Some(events)) = (sampler().look(), sampler().events()) else {
            return f.write_str("nothing is counted");
        };
        f.write_str("core                count  event")?;
        for (place, event) in (0..).zip(&events) {
            let event = event.counted();
            let mut sum = Some(0_u64);
            for core in 0..look.cores {
                let count = count_of(core, place);
                let scaled = count.and_then(|count| count.reading.scaled());
                write!(f, "\n{core:4} {:>20}  {event}", Cell(count))?;
                sum = sum.and_then(|sum| sum.checked_add(scaled?));
            }
            if let Some(sum) = sum {
                write!(f, "\n all {sum:20}  {event}")?;
            }
        }
        Ok(())
    }
}

/// How often an event happened on a core; `None` if the core is not done.
struct Cell(Option<Count>);

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.pad("not done"),
            Some(Count {
                is_supported: false,
                ..
            }) => f.pad("not supported"),
            Some(count) => match count.reading.scaled() {
                None => f.pad("not counted"),
                Some(scaled) => scaled.fmt(f),
            },
        }
    }
}

/// What a core has counted of the event at `place`.
fn count_of(core: u32, place: u8) -> Option<Count> {
    let mut recent = sampler().recent(core)?;
    let mut record = [0; MAX_WORDS];
    loop {
        let words = recent.read(&mut record).ok()??;
        let count = Count::decode(&record[..words]);
        if let Some(count) = count.ok().filter(|count| count.event == place) {
            return Some(count);
        }
    }
}
