//! What the page is given of a profile: names and what is said of the run as JSON, all that there is
//! much of as columns of numbers.

use anyhow::Result;
use profiler::format::Clock;
use serde::Serialize;

use super::Shown;
use super::code::Code;
use super::rows::Doing;
use super::timeline::{Lanes, Timeline};
use crate::export::Export;
use crate::export::tree::{Kind, Tree};
use crate::output::one_line;
use crate::report::model::{Report, task_name};
use crate::report::text;
use crate::units::{counted, grouped};

/// The texts of a profile.
#[derive(Serialize)]
pub(super) struct Head {
    name: String,
    run: Run,
    #[serde(flatten)]
    names: Names,
    events: Vec<Event>,
    tasks: Vec<Task>,
    cores: Vec<u32>,
    #[serde(flatten)]
    steps: Steps,
    code: Code,
}

/// What stacks are made of.
#[derive(Serialize)]
struct Names {
    /// Name, file and line of its declaration, and whether it was inlined wherever it was seen.
    functions: Vec<(String, Option<u32>, Option<u32>, bool)>,
    files: Vec<String>,
    places: Vec<Place>,
}

/// The steps of the timeline.
#[derive(Serialize)]
struct Steps {
    time: Option<Time>,
    steps: usize,
    /// How many steps of `laneSamples` one step is; `null` if it has none.
    shorter: Option<u64>,
}

/// What is said of the run.
#[derive(Serialize)]
struct Run {
    title: String,
    /// The samples that the report counts.
    samples: u64,
    lost: u64,
    idle: u64,
    interrupts_off: u64,
    /// What makes the profile misleading.
    warnings: Vec<String>,
    /// Names of things and what they were.
    facts: Vec<(&'static str, String)>,
    /// The report's first lines, as the terminal has them.
    report: String,
}

/// A step of a stack.
#[derive(Serialize)]
struct Place {
    /// In hexadecimal; empty where it is no code.
    at: String,
    /// `code`, `interrupt`, `exception`, `border`, or `cut`.
    kind: &'static str,
    /// Function, file and line, innermost first.
    frames: Vec<(u32, Option<u32>, Option<u32>)>,
}

/// What samples are of.
#[derive(Serialize)]
struct Event {
    name: String,
    period: u64,
}

#[derive(Serialize)]
struct Task {
    number: u16,
    name: String,
}

/// The steps of the timeline, in ticks of this clock.
#[derive(Serialize)]
struct Time {
    clock: &'static str,
    start: u64,
    step: u64,
}

/// All of a profile.
pub(super) struct Data {
    pub head: Head,
    /// By name.
    pub columns: Vec<(&'static str, Vec<u64>)>,
}

impl Data {
    /// # Errors
    ///
    /// Samples cannot be read.
    pub(super) fn new(shown: &Shown<'_>) -> Result<Self> {
        let export = shown.export;
        let timeline = Timeline::new(export)?;
        let mut columns = Vec::new();
        add_nodes(&export.tree, &mut columns);
        add_rows(&timeline, &mut columns);
        add_steps(&timeline, &mut columns);
        Ok(Self {
            head: head(shown, &timeline),
            columns,
        })
    }
}

fn head(shown: &Shown<'_>, timeline: &Timeline) -> Head {
    let export = shown.export;
    let run = &export.profile.description;
    // Where instructions are counted, each takes a nanosecond of the machine's time.
    let clock = match run.clock {
        Clock::Instructions | Clock::Time => "ns",
        Clock::Ticks => "ticks",
    };
    let time = timeline.start.map(|start| Time {
        clock,
        start,
        step: 1 << timeline.shift,
    });
    let mut tasks: Vec<_> = timeline.rows.task.clone();
    tasks.sort_unstable();
    tasks.dedup();
    let tasks = tasks
        .into_iter()
        .filter_map(|task| u16::try_from(task).ok());
    Head {
        name: one_line(&shown.name).into_owned(),
        run: run_of(export, shown.report),
        names: Names {
            functions: functions(&export.tree),
            files: export.tree.files.iter().map(|file| safe(file)).collect(),
            places: places(&export.tree),
        },
        events: events(export),
        tasks: tasks
            .map(|number| Task {
                number,
                name: safe(&task_name(run, number)),
            })
            .collect(),
        cores: (0..run.cores).collect(),
        steps: Steps {
            time,
            steps: timeline.steps(),
            shorter: timeline.lanes.as_ref().map(|lanes| 1 << lanes.shorter),
        },
        code: Code::new(&export.tree, shown.listings, shown.sources),
    }
}

/// A text as people see it: characters that hide or turn round others are shown by their codes.
fn safe(text: &str) -> String {
    one_line(text).into_owned()
}

fn functions(tree: &Tree) -> Vec<(String, Option<u32>, Option<u32>, bool)> {
    let mut has_code = vec![false; tree.functions.len()];
    for place in &tree.places {
        if let Some(outermost) = place.frames.last() {
            has_code[outermost.function as usize] = true;
        }
    }
    let functions = tree.functions.iter().zip(has_code);
    functions
        .map(|(function, has_code)| {
            (
                safe(&function.name),
                function.file,
                function.line,
                !has_code,
            )
        })
        .collect()
}

fn places(tree: &Tree) -> Vec<Place> {
    let place = |place: &crate::export::tree::Place| Place {
        at: match place.kind {
            Kind::Code(address) => format!("{address:x}"),
            Kind::Interrupt(_) | Kind::Border(_) | Kind::Cut(_) => String::new(),
        },
        kind: match place.kind {
            Kind::Code(_) => "code",
            Kind::Interrupt(0..32) => "exception",
            Kind::Interrupt(_) => "interrupt",
            Kind::Border(_) => "border",
            Kind::Cut(_) => "cut",
        },
        frames: place
            .frames
            .iter()
            .map(|frame| {
                let (file, line) = frame.line.unzip();
                (frame.function, file, line)
            })
            .collect(),
    };
    tree.places.iter().map(place).collect()
}

fn events(export: &Export<'_>) -> Vec<Event> {
    let events = export.events.all.iter();
    events
        .map(|event| Event {
            name: safe(&event.name),
            period: event.period,
        })
        .collect()
}

fn run_of(export: &Export<'_>, report: &Report) -> Run {
    let run = &export.profile.description;
    let (machine, totals) = (&report.machine, &report.totals);
    let mut facts = vec![
        ("Workload", safe(&machine.workload)),
        ("Samples", grouped(totals.samples)),
        ("Lost", grouped(totals.lost)),
        ("Cores", counted(machine.cores_online.into(), "core")),
    ];
    facts.extend(
        report
            .machine
            .imported
            .iter()
            .map(|it| ("Imported", safe(it))),
    );
    facts.extend(report.identity.source.map(|it| ("Source", it.to_owned())));
    if totals.period.requested > 0 {
        facts.push(("Period", grouped(totals.period.requested)));
    }
    facts.extend(text::handler(report).map(|it| ("Handler", it)));
    facts.extend(text::progress(report).map(|it| ("Progress", it)));
    let outcome = text::outcome(report.end.outcome, &report.end.message);
    facts.push(("Run", safe(&outcome)));
    facts.extend(report.identity.mode.map(|it| ("Mode", it.to_string())));
    facts.extend(machine.qemu.iter().map(|it| ("QEMU", safe(it))));
    facts.extend([
        ("Command line", safe(&machine.command_line)),
        ("Boot loader", safe(&machine.bootloader)),
    ]);
    facts.extend(
        report
            .identity
            .build_id
            .iter()
            .map(|it| ("Build-id", it.clone())),
    );
    if let Some(hash) = &totals.sample_hash {
        facts.push(("Sample hash", hash.clone()));
    }
    if let Some(note) = &report.end.note {
        facts.push(("Note", safe(note)));
    }
    facts.retain(|(_, what)| !what.is_empty());
    let mut warnings: Vec<_> = report.end.warnings.iter().map(|it| safe(it)).collect();
    let incomplete = report.end.incomplete.as_deref();
    warnings.extend(incomplete.map(|it| format!("the profile is incomplete: {}", safe(it))));
    Run {
        title: safe(run.workload.as_str()),
        samples: totals.samples,
        lost: totals.lost,
        idle: report.shares.idle,
        interrupts_off: report.shares.interrupts_off,
        warnings,
        facts,
        report: text::text(report, crate::report::SortBy::Own),
    }
}

/// The tree of places, and the one of functions that it makes: by their parents, which have smaller
/// numbers.
fn add_nodes(tree: &Tree, columns: &mut Vec<(&'static str, Vec<u64>)>) {
    let mut children = hashbrown::HashMap::new();
    let [mut parents, mut functions] = [Vec::new(), Vec::new()];
    let mut innermost: Vec<u32> = Vec::with_capacity(tree.len());
    let [mut up, mut places] = [Vec::new(), Vec::new()];
    // How far up the parent is; 0 for none.
    let distance =
        |own: usize, parent: Option<u32>| parent.map_or(0, |it| own as u64 - u64::from(it));
    for node in 0..tree.len() {
        let number = u32::try_from(node).expect("fewer than 2³²");
        let parent = tree.parent(number);
        let place = tree.place_of(number);
        up.push(distance(node, parent));
        places.push(u64::from(place));
        let mut at = parent.map(|parent| innermost[parent as usize]);
        for frame in tree.places[place as usize].frames.iter().rev() {
            let next = parents.len();
            let child = *children.entry((at, frame.function)).or_insert_with(|| {
                parents.push(distance(next, at));
                functions.push(u64::from(frame.function));
                u32::try_from(next).expect("fewer than 2³²")
            });
            at = Some(child);
        }
        innermost.push(at.unwrap_or_default());
    }
    let innermost = innermost.into_iter().map(u64::from).collect();
    columns.extend([
        ("callParent", parents),
        ("callFunction", functions),
        ("nodeParent", up),
        ("nodePlace", places),
        ("nodeCall", innermost),
    ]);
}

fn add_rows(timeline: &Timeline, columns: &mut Vec<(&'static str, Vec<u64>)>) {
    let rows = &timeline.rows;
    for (name, column) in [
        ("rowNode", &rows.leaf),
        ("rowExact", &rows.exact),
        ("rowFlags", &rows.flags),
        ("rowTask", &rows.task),
        ("rowEvent", &rows.event),
    ] {
        columns.push((name, column.iter().copied().map(u64::from).collect()));
    }
}

/// Of each core's steps: how many rows have samples in each; which, each by how far it is behind the
/// one before in its step; how many samples.
fn add_steps(timeline: &Timeline, columns: &mut Vec<(&'static str, Vec<u64>)>) {
    let steps = timeline.steps();
    let [mut lengths, mut rows, mut samples, mut lost] = [const { Vec::new() }; 4];
    for core in &timeline.cores {
        let mut of_core = vec![(0, 0); steps];
        for (number, step) in core.steps(timeline.first()) {
            let Some(of_step) = usize::try_from(number)
                .ok()
                .and_then(|it| of_core.get_mut(it))
            else {
                continue;
            };
            *of_step = (step.counts.len() as u64, step.lost);
            let mut before = 0;
            for &(row, count) in &step.counts {
                rows.push(u64::from(row) - before);
                before = u64::from(row);
                samples.push(count);
            }
        }
        lengths.extend(of_core.iter().map(|it| it.0));
        lost.extend(of_core.iter().map(|it| it.1));
    }
    if let Some(lanes) = &timeline.lanes {
        columns.push(("laneSamples", lane_samples(timeline, lanes)));
    }
    columns.extend([
        ("stepLength", lengths),
        ("stepRow", rows),
        ("stepSamples", samples),
        ("stepLost", lost),
    ]);
}

/// What each core did in shorter steps, as many for all cores.
fn lane_samples(timeline: &Timeline, lanes: &Lanes) -> Vec<u64> {
    let first = timeline.first() << lanes.shorter;
    let steps = timeline.steps() << lanes.shorter;
    let mut all = Vec::with_capacity(lanes.cores.len() * steps * Doing::ALL);
    for (own_first, of_core) in &lanes.cores {
        let mut of_steps = vec![[0; Doing::ALL]; steps];
        let from = usize::try_from(own_first - first.min(*own_first)).unwrap_or(steps);
        for (step, samples) in of_steps.iter_mut().skip(from).zip(of_core) {
            *step = *samples;
        }
        all.extend(of_steps.into_iter().flatten());
    }
    all
}
