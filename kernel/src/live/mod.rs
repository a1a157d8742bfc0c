//! What the monitor can be asked of the run: `prof`, `trace`, `stat`.
//!
//! They work whatever state the machine is in: they read rings and counters, and what changes the run is asked
//! for in the mailbox of the run, as the host asks: the first core does it when it runs again.

mod counts;
mod hottest;
mod newest;
mod status;

use core::fmt;

use kernel_core::monitor::{Arguments, Command, Problem};
use profiler::contract::mailbox::Request;
use profiler::contract::settings::Settings;
use profiler::pmu::event::EventList;

use crate::{monitor, workload};
use counts::Plan;
use hottest::By;

pub use counts::{in_place_of, log_at_end};
pub use hottest::lock_samples;

/// The commands.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "prof",
        arguments: "start|stop|status|period N|event LIST|top [N] [by task|by core|by lock]",
        summary: "the run and its profile, here: hottest functions and their callers",
        run: prof,
    },
    Command {
        name: "trace",
        arguments: "[N]",
        summary: "the newest samples of all cores in the order of time, with their chains",
        run: trace,
    },
    Command {
        name: "stat",
        arguments: "[WORKLOAD [UNITS [EVENTS]]]",
        summary: "before a run: let it count events over units of a workload; in it: what was counted",
        run: stat,
    },
];

/// Functions that are shown.
const DEFAULT_ROWS: u64 = 10;

/// Samples that are shown.
const DEFAULT_SAMPLES: u64 = 4;

fn prof(mut arguments: Arguments<'_>, to: &mut dyn fmt::Write) -> Result<(), Problem> {
    let word = arguments.word().unwrap_or("status");
    match word {
        "status" => {
            arguments.end()?;
            status::show(to)
        }
        "top" => {
            let (rows, by) = rows_and_groups(arguments)?;
            hottest::show(rows, by, to)
        }
        "start" | "stop" => {
            arguments.end()?;
            let request = if word == "start" {
                Request::Start
            } else {
                Request::Stop
            };
            status::ask(&request, to)
        }
        "period" => {
            let period = arguments.required_number("N")?;
            arguments.end()?;
            if !Settings::PERIODS.contains(&period) {
                let (least, most) = (Settings::PERIODS.start(), Settings::PERIODS.end());
                return Err(Problem::new(format_args!(
                    "a period is a number from {least} to {most}, not {period}"
                )));
            }
            status::ask(&Request::Period(period), to)
        }
        "event" => {
            let list = arguments.required("LIST")?;
            arguments.end()?;
            let list = EventList::parse(list);
            let list = list.map_err(|problem| Problem::new(format_args!("{problem}")))?;
            status::ask(&Request::Events(list), to)
        }
        other => Err(Problem::new(format_args!(
            "`prof {other}`: it is start, stop, status, period, event or top"
        ))),
    }
}

/// `[N] [by task|by core|by lock]`
fn rows_and_groups(mut arguments: Arguments<'_>) -> Result<(usize, By), Problem> {
    let mut words = arguments.clone();
    let rows = if words.word().is_some_and(|word| word != "by") {
        arguments.required_number("N")?
    } else {
        DEFAULT_ROWS
    };
    let by = match (arguments.word(), arguments.word()) {
        (None, _) => By::Nothing,
        (Some("by"), Some("task")) => By::Task,
        (Some("by"), Some("core")) => By::Core,
        (Some("by"), Some("lock")) => By::Lock,
        (Some(word), _) => {
            return Err(Problem::new(format_args!(
                "`{word}`: behind the number of functions comes `by task`, `by core` or `by lock`"
            )));
        }
    };
    arguments.end()?;
    Ok((usize::try_from(rows).unwrap_or(usize::MAX), by))
}

fn stat(mut arguments: Arguments<'_>, to: &mut dyn fmt::Write) -> Result<(), Problem> {
    let Some(name) = arguments.word() else {
        return counts::show(to);
    };
    let units = arguments.number("UNITS")?;
    let events = arguments.word();
    arguments.end()?;
    let workload = workload::find(name)
        .ok_or_else(|| Problem::new(format_args!("`{name}`: there is no such workload")))?;
    let units = units.unwrap_or(Settings::DEFAULT_UNITS);
    if !Settings::UNITS.contains(&units) {
        let (least, most) = (Settings::UNITS.start(), Settings::UNITS.end());
        return Err(Problem::new(format_args!(
            "UNITS is a number from {least} to {most}, not {units}"
        )));
    }
    let events = events.map(EventList::parse).transpose();
    let events = events.map_err(|problem| Problem::new(format_args!("{problem}")))?;
    counts::plan(Plan {
        workload,
        units,
        events,
    })?;
    monitor::leave_to_go_on()
}

fn trace(mut arguments: Arguments<'_>, to: &mut dyn fmt::Write) -> Result<(), Problem> {
    let samples = arguments.number("N")?.unwrap_or(DEFAULT_SAMPLES);
    arguments.end()?;
    newest::show(samples, to)
}
