//! What a sample costs Linux, and what it costs pmiscope's kernel: the same code,
//! sampled by the same event of the same emulated PMU.
//!
//! On the lab emulator the time-stamp counter counts every instruction of the guest,
//! handlers included. Of perf's runs it is read around the loop, once with sampling
//! and once without; of pmiscope's it is in the samples, and what the loop ran between
//! them is known. So both figures are exact, and the same on every machine but for the
//! little that Linux does by the clock and by chance.

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use pmiscope::internals::Profile;
use pmiscope::internals::units::grouped;
use serde_json::Value;

const MODELS: [&str; 2] = ["intel-v5", "amd-v2"];
/// What perf samples in user mode, and pmiscope in its kernel: its name, what its stacks are like, and
/// how many times as much perf is to cost.
const LOOPS: [(&str, &str, f64); 2] = [("arithmetic", "shallow", 10.0), ("recursion", "deep", 8.0)];
/// Periods, and how many units of a workload perf samples at each: a unit of most is some 60,000
/// instructions.
const PERIODS: [(u64, u64); 4] = [(100, 16), (1_000, 48), (10_000, 160), (100_000, 480)];
/// Periods, and how many units of a workload perf samples at each.
type Periods = &'static [(u64, u64)];

/// What both sample in user mode, and in the kernel while it serves that: a program, by which event,
/// and at which of these.
const PROGRAMS: [(&str, &str, Periods); 4] = [
    ("process-arithmetic", "instructions:u", OF_PROGRAMS),
    ("process-recursion", "instructions:u", OF_PROGRAMS),
    ("process-recursion", "instructions:k", OF_KERNEL),
    ("process-calls", "instructions:k", OF_KERNEL),
];
const OF_PROGRAMS: Periods = &[(100, 16), (1_000, 48)];
/// The event counts some hundred instructions of perf's own handler: at a period of 100 nothing else
/// would run.
const OF_KERNEL: Periods = &[(1_000, 48), (10_000, 160)];

/// What is sampled: a workload, by this event, each so many of them; and for perf, how long.
#[derive(Clone, PartialEq, Eq)]
struct Sampled {
    workload: String,
    event: String,
    period: u64,
}

/// A run of perf.
struct PerfRun {
    of: Sampled,
    settings: String,
    samples: u64,
    /// Those of the program's start and end.
    outside: u64,
    due: u64,
    lost: u64,
    throttled: u64,
    /// Instructions, of the guest in all.
    without: u64,
    with: u64,
}

/// A run of pmiscope.
struct OwnRun {
    samples: u64,
    due: u64,
    /// By the clock, beside what is sampled: right where nothing else runs.
    cost: u64,
    /// As handlers see it: from the first thing that they do to the last.
    seen_by_handlers: u64,
}

fn main() {
    if !support::is_bench() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder for the profiles");
    println!("perf: chains by frame pointers (-g), a ring that holds all;");
    println!("      stock: as Linux comes; else: without its throttling");
    println!("pmiscope: always with chains");
    println!("cost: the guest's instructions for a sample, beside those of what is sampled");
    let runs = MODELS.map(|model| thread::spawn(move || perf(model)));
    let mut least = LOOPS.map(|_| f64::INFINITY);
    for (model, runs) in MODELS.into_iter().zip(runs) {
        let runs = runs.join().expect("rows");
        let own = |of: &Sampled, event| own((model, event), of, due(&runs, of), folder.path());
        let mut unseen = u64::MAX;
        for ((workload, ..), least) in LOOPS.into_iter().zip(&mut least) {
            head(&format!(
                "{model}, {workload}: instructions:u of a loop, which pmiscope runs in its kernel"
            ));
            for (period, _) in PERIODS {
                let of = sampled(workload, "instructions:u", period);
                let own = own(&of, "instructions");
                unseen = unseen.min(own.cost - own.seen_by_handlers);
                let (row, times) = row(&runs, &of, &own, own.cost);
                println!("{row}");
                *least = least.min(times);
            }
        }
        println!(
            "\nhandlers do not see {unseen} of a cost; below these are added to what they see"
        );
        for (workload, event, periods) in PROGRAMS {
            head(&format!("{model}, {workload}: {event} of the same program"));
            for &(period, _) in periods {
                let of = sampled(workload, event, period);
                let own = own(&of, event);
                let cost = own.seen_by_handlers + unseen;
                println!("{}", row(&runs, &of, &own, cost).0);
            }
        }
    }
    // As the table of `make bench` has its rows.
    println!();
    for ((_, stacks, to_reach), least) in LOOPS.into_iter().zip(least) {
        let name = format!("perf's cost over ours, {stacks} stacks, at the least");
        let is_reached = support::verdict(least >= to_reach);
        support::row([
            &name,
            &format!("{least:.1}"),
            &to_reach.to_string(),
            is_reached,
        ]);
    }
}

fn sampled(workload: &str, event: &str, period: u64) -> Sampled {
    Sampled {
        workload: workload.to_owned(),
        event: event.to_owned(),
        period,
    }
}

/// The head of a table.
fn head(title: &str) {
    println!("\n{title}");
    println!(
        "{:>8} {:>21} {:>10} {:>21} {:>11} {:>7} {:>21} {:>7}",
        "", "perf, stock", "", "not throttled", "cost", "cost", "pmiscope", ""
    );
    println!(
        "{:>8} {:>21} {:>10} {:>21} {:>11} {:>7} {:>21} {:>7} {:>8}",
        "period",
        "samples",
        "throttled",
        "samples",
        "no chains",
        "-g",
        "samples",
        "cost",
        "-g to it"
    );
}

/// The number of samples that perf had to take.
fn due(runs: &[PerfRun], of: &Sampled) -> u64 {
    with_settings(runs, of, "chains").due
}

/// The run of perf with these settings.
fn with_settings<'a>(runs: &'a [PerfRun], of: &Sampled, settings: &str) -> &'a PerfRun {
    let mut of = runs
        .iter()
        .filter(|run| run.of == *of && run.settings == settings);
    of.next().expect("each was asked for")
}

/// A row, and how much more perf costs.
fn row(runs: &[PerfRun], of: &Sampled, own: &OwnRun, cost: u64) -> (String, f64) {
    let settings = ["stock", "no-chains", "chains"];
    let [stock, no_chains, chains] = settings.map(|it| with_settings(runs, of, it));
    let part = |samples, due| format!("{} of {}", grouped(samples), grouped(due));
    #[allow(clippy::cast_precision_loss)] // shown with two digits
    let times = chains.cost() as f64 / cost as f64;
    let lost: u64 = [stock, no_chains, chains].map(|run| run.lost).iter().sum();
    let row = format!(
        "{:>8} {:>21} {:>10} {:>21} {:>11} {:>7} {:>21} {:>7} {times:>7.2}x{}",
        grouped(of.period),
        part(stock.samples, stock.due),
        stock.throttled,
        part(chains.samples, chains.due),
        grouped(no_chains.cost()),
        grouped(chains.cost()),
        part(own.samples, own.due),
        grouped(cost),
        if lost > 0 { " (perf lost some)" } else { "" },
    );
    (row, times)
}

impl PerfRun {
    fn read(line: &str) -> Option<Self> {
        let mut words = line.strip_prefix("row ")?.split_whitespace();
        let workload = words.next()?.to_owned();
        let event = words.next()?.to_owned();
        let settings = words.next()?.to_owned();
        let mut number = || words.next()?.parse().ok();
        Some(Self {
            of: Sampled {
                workload,
                event,
                period: number()?,
            },
            settings,
            samples: number()?,
            outside: number()?,
            due: number()?,
            lost: number()?,
            throttled: number()?,
            without: number()?,
            with: number()?,
        })
    }

    fn cost(&self) -> u64 {
        let of_loop = self.samples.saturating_sub(self.outside);
        self.with.saturating_sub(self.without) / of_loop.max(1)
    }
}

/// The runs of perf on this model, in one boot of Linux.
fn perf(model: &str) -> Vec<PerfRun> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let scripts = root.join("tools/qemu-pmu/linux");
    let run = Command::new(scripts.join("boot.sh"))
        .arg(freestanding())
        .arg(scripts.join("bench.sh"))
        .args([model, "1"])
        .args(LOOPS.into_iter().flat_map(|(workload, ..)| {
            PERIODS.map(|(period, units)| format!("{workload}=instructions:u:{period}:{units}"))
        }))
        .args(PROGRAMS.into_iter().flat_map(|(workload, event, periods)| {
            let run = move |(period, units)| format!("{workload}={event}:{period}:{units}");
            periods.iter().copied().map(run)
        }))
        .env("LAB_TIMEOUT", "3600")
        .output()
        .expect("a shell");
    let said = String::from_utf8_lossy(&run.stdout);
    let error = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{said}{error}");
    let rows = said.lines().filter(|line| line.starts_with("row "));
    let rows = rows.map(|line| PerfRun::read(line).unwrap_or_else(|| panic!("not a row: {line}")));
    rows.collect()
}

/// Where `make build` puts what runs in guests: beside what it builds for the host.
fn freestanding() -> PathBuf {
    let tool = Path::new(env!("CARGO_BIN_EXE_pmiscope"));
    let target = tool
        .parent()
        .and_then(Path::parent)
        .expect("target/release");
    target.join("x86_64-unknown-none/release")
}

/// A run of pmiscope that takes as many samples. Its ring holds them all, too.
fn own((model, event): (&str, &str), of: &Sampled, samples: u64, folder: &Path) -> OwnRun {
    let path = folder.join("profile.pmi");
    let [period, samples] = [of.period, samples].map(|number| number.to_string());
    #[rustfmt::skip]
    let arguments = [
        "--pmu", model, "--smp", "1", "--workload", &of.workload, "--event", event,
        "--period", &period, "--samples", &samples,
    ];
    let report = support::run("lab", &arguments, &path);
    let number = |pointer: &str| report.pointer(pointer).and_then(Value::as_u64);
    let number = |pointer| number(pointer).unwrap_or_else(|| panic!("no {pointer} in the report"));
    let samples = number("/samples");
    let due = samples + number("/lost") + number("/counters/missed");

    let file = std::fs::read(&path).expect("the profile that was just written");
    let profile = Profile::read(file).expect("a profile");
    let (mut first, mut last, mut ran, mut behind, mut seen) = (None, 0, 0, 0, 0);
    let read = profile.for_each_sample(0, |sample| {
        last = sample.time;
        if first.is_none() {
            first = Some(sample.time);
        } else {
            ran += sample.period;
            behind += 1;
            seen += u64::from(sample.handler_cost);
        }
    });
    read.expect("whole samples");
    let passed = last - first.expect("samples");
    OwnRun {
        samples,
        due,
        cost: passed.saturating_sub(ran) / behind,
        seen_by_handlers: seen / behind,
    }
}
