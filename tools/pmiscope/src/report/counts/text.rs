//! Counts for people: 100 columns, aligned.

use super::{Counts, EventCount, ProcessCount, ProcessCounts, Ratio, Status, Total};
use crate::output::{one_line, padded, width};
use crate::report::only;
use crate::report::text::{Out, WIDTH, keep_end, machine, model, outcome};
use crate::units::{duration, grouped, percent};

/// The columns of a count.
const COUNT: usize = 20;
/// The columns of an event's name, at least and at most.
const NAME: (usize, usize) = (20, 32);

/// The counts as text; each core's too if `per_core`.
#[must_use]
pub fn text(counts: &Counts, per_core: bool) -> String {
    let mut out = Out::default();
    facts(&mut out, counts);
    out.line("");
    let names = counts
        .events
        .iter()
        .map(|event| width(&one_line(&event.name)));
    let columns = names.max().unwrap_or(0).clamp(NAME.0, NAME.1);
    if per_core {
        out.line(&format!("core {:>COUNT$}  event", "count"));
    } else {
        out.line(&format!("{:>COUNT$}  event", "count"));
    }
    for event in &counts.events {
        let mut row = |core: &str, total: &Total, behind: Vec<String>| {
            let number = number(total);
            let name = padded(&one_line(&event.name), columns);
            let text = format!("{core}{number:>COUNT$}  {name}");
            let indent = core.len() + COUNT + 4;
            out.wrapped(text, behind, indent);
        };
        if per_core {
            for core in &event.cores {
                let marks = known(&core.count).into_iter();
                let mark = marks.chain(scaled(&core.count)).collect();
                row(&format!("{:>4} ", core.core), &core.count, mark);
            }
        }
        let ratios = counts.ratios.iter();
        let ratios = ratios.filter(|ratio| ratio.index == event.index).map(shown);
        let marks = known(&event.all).into_iter();
        let marks = marks.chain(scaled(&event.all)).chain(some_cores(event));
        let core = if per_core { " all " } else { "" };
        row(core, &event.all, ratios.chain(marks).collect());
    }
    processes(&mut out, counts);
    out.0
}

/// The columns of a process's name, and of each of its counts, as many beside each other.
const PROCESS: usize = 28;
const CELL: usize = 18;
const CELLS: usize = (WIDTH - PROCESS) / CELL;

/// A table of programs by events, with as many tables below it as have no room beside it.
fn processes(out: &mut Out, counts: &Counts) {
    let programs = by_program(&counts.processes);
    for first in (0..counts.events.len()).step_by(CELLS) {
        if programs.is_empty() {
            return;
        }
        let events = programs[0].events.iter().skip(first).take(CELLS);
        let cell = |text: &str| format!("{:>CELL$}", keep_end(text, CELL - 2));
        let names: String = events.map(|event| cell(&one_line(&event.name))).collect();
        out.line("");
        out.line(&format!("{:PROCESS$}{names}", "by process"));
        for program in &programs {
            let name = match &program.name {
                Some(name) => one_line(name).into_owned(),
                None => "(no process)".to_owned(),
            };
            let several = match program.processes {
                0 | 1 => String::new(),
                many => format!(" ({many})"),
            };
            let name = keep_end(&name, PROCESS - 6);
            let cells = program.events.iter().skip(first).take(CELLS);
            let cells: String = cells.map(|event| cell(&marked(&event.all))).collect();
            let name = padded(&format!("{name}{several}"), PROCESS);
            out.line(&format!("{name}{cells}"));
        }
    }
}

/// A count, with a mark if it is an estimate.
fn marked(total: &Total) -> String {
    match total.status {
        Status::Scaled => format!("~{}", number(total)),
        _ => number(total),
    }
}

/// The processes of a program.
struct Program<'a> {
    name: &'a Option<String>,
    processes: usize,
    events: Vec<ProcessCount>,
}

/// A row for each program, in the order of their first processes.
fn by_program(processes: &[ProcessCounts]) -> Vec<Program<'_>> {
    let mut programs: Vec<Program<'_>> = Vec::new();
    for process in processes {
        let known = programs.iter_mut().find(|it| *it.name == process.name);
        if let Some(program) = known {
            program.processes += 1;
            for (sum, more) in program.events.iter_mut().zip(&process.events) {
                sum.all = Total::sum([sum.all, more.all].into_iter());
            }
        } else {
            programs.push(Program {
                name: &process.name,
                processes: 1,
                events: process.events.clone(),
            });
        }
    }
    programs
}

impl Out {
    /// A line, and remarks behind it as far as there is room; the rest below.
    fn wrapped(&mut self, mut line: String, behind: Vec<String>, indent: usize) {
        for part in behind {
            if width(&line) + 2 + width(&part) > WIDTH {
                self.line(&line);
                line = " ".repeat(indent) + &part;
            } else {
                line = format!("{line}  {part}");
            }
        }
        self.line(&line);
    }
}

fn facts(out: &mut Out, counts: &Counts) {
    out.fact("kernel", &format!("build-id {}", counts.run.build_id));
    // A kernel need not say who has booted it.
    if !counts.machine.bootloader.is_empty() {
        out.fact("booted by", &counts.machine.bootloader);
    }
    let cores = counts.machine.cores_online;
    let qemu = counts.machine.qemu.clone() + &model(counts.machine.pmu);
    out.fact("machine", &machine(&qemu, counts.run.mode, cores));
    let units = match counts.run.units {
        None => String::new(),
        Some(1) => ", 1 unit a core".into(),
        Some(units) => format!(", {} units a core", grouped(units)),
    };
    let workload = match &*counts.run.workload {
        "" => "the kernel's own",
        name => name,
    };
    out.fact("workload", &format!("{workload}{units}"));
    // Nothing but counters counts, asked for by name or not.
    let reason = counts
        .machine
        .source_reason
        .replace(": asked for by name", "");
    out.fact("counters", &reason);
    let only = &counts.machine;
    let only = only.only_core.as_slice().iter().chain(&only.only_cores);
    let only: Vec<_> = only.copied().collect();
    if !only.is_empty() {
        out.fact("counts", &format!("{} only", only::cores(&only)));
    }
    if let Some(clock) = &counts.run.clock_known.said {
        out.fact("clock", clock);
    }
    if let Some(ticks) = counts.run.elapsed_ticks {
        let elapsed = match counts.run.clock {
            "instructions" => format!("{} instructions of all cores", grouped(ticks)),
            "ticks" => format!("{} ticks of the time stamp counter", grouped(ticks)),
            _ => duration(ticks),
        };
        out.fact("elapsed", &elapsed);
    }
    out.fact("overhead", overhead(&counts.events));
    out.fact("run", &outcome(counts.outcome, &counts.message));
    if let Some(incomplete) = &counts.incomplete {
        out.fact("incomplete", incomplete);
    }
    for warning in &counts.warnings {
        out.fact("warning", warning);
    }
}

fn number(total: &Total) -> String {
    match (total.count, total.status) {
        (Some(count), _) => grouped(count),
        (None, Status::NotSupported) => "<not supported>".into(),
        (None, _) => "<not counted>".into(),
    }
}

fn shown(ratio: &Ratio) -> String {
    if ratio.is_share {
        format!("{:.2}% {}", 100.0 * ratio.value, ratio.name)
    } else {
        format!("{:.2} {}", ratio.value, ratio.name)
    }
}

/// What is known of the interrupts of the count itself.
fn overhead(events: &[EventCount]) -> &'static str {
    let mut counted = events.iter().filter(|event| event.all.count.is_some());
    let mut known = counted.clone().map(|event| event.all.known_to_within);
    if counted.next().is_none() || known.clone().any(|it| it.is_none()) {
        "interrupts of the count itself are taken off; by how much that is wrong is not known"
    } else if known.all(|it| it == Some(0)) {
        "interrupts of the count itself are taken off, which cost the same each time"
    } else {
        "interrupts of the count itself are taken off, to within what they varied by before (±)"
    }
}

/// The remark by how much a count may be wrong.
fn known(total: &Total) -> Option<String> {
    let within = total.known_to_within.filter(|&within| within > 0)?;
    Some(format!("±{}", grouped(within)))
}

/// The remark that a count is an estimate.
fn scaled(total: &Total) -> Option<String> {
    let ran = percent(total.running_ticks, total.enabled_ticks);
    let is_scaled = total.status == Status::Scaled;
    is_scaled.then(|| format!("(scaled, ran {ran:.1}% of the time)"))
}

/// The remark that some cores' counts are not in the sum.
fn some_cores(event: &EventCount) -> Option<String> {
    let (counted, all) = (event.cores_counted, event.cores.len());
    let is_part = counted != 0 && counted != all;
    is_part.then(|| format!("(on {counted} of {all} cores)"))
}
