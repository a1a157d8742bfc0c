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
const WORKLOADS: [&str; 2] = ["arithmetic", "recursion"];
/// Of each, what its stacks are like, and how many times as much perf is to cost.
const TO_REACH: [(&str, f64); 2] = [("shallow", 10.0), ("deep", 8.0)];
/// Periods, and how many units of a workload perf samples at each: a unit of either is
/// some 60,000 instructions.
const PERIODS: [(u64, u64); 4] = [(100, 16), (1_000, 48), (10_000, 160), (100_000, 480)];

/// A run of perf.
struct PerfRun {
    workload: String,
    settings: String,
    period: u64,
    samples: u64,
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
    cost: u64,
}

fn main() {
    if !support::is_bench() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder for the profiles");
    println!(
        "perf: instructions:u of a loop, chains by frame pointers (-g), a ring that holds all;"
    );
    println!("      stock: as Linux comes; else: without its throttling");
    println!("pmiscope: the same loop in its kernel, always with chains");
    println!("cost: the guest's instructions for a sample, beside those of the loop");
    let runs = MODELS.map(|model| thread::spawn(move || perf(model)));
    let mut least = WORKLOADS.map(|_| f64::INFINITY);
    for (model, runs) in MODELS.into_iter().zip(runs) {
        let runs = runs.join().expect("rows");
        for (workload, least) in WORKLOADS.into_iter().zip(&mut least) {
            println!("\n{model}, {workload}");
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
            for (period, _) in PERIODS {
                let of = |settings: &str| {
                    let mut of = runs.iter().filter(|run| {
                        (run.workload.as_str(), run.period) == (workload, period)
                            && run.settings == settings
                    });
                    of.next().expect("each was asked for")
                };
                let own = own(model, workload, period, of("chains").due, folder.path());
                let (row, times) = row(of, &own);
                println!("{row}");
                *least = least.min(times);
            }
        }
    }
    // As the table of `make bench` has its rows.
    println!();
    for ((stacks, to_reach), least) in TO_REACH.into_iter().zip(least) {
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

/// A row, and how much more perf costs.
fn row<'a>(of: impl Fn(&str) -> &'a PerfRun, own: &OwnRun) -> (String, f64) {
    let [stock, no_chains, chains] = ["stock", "no-chains", "chains"].map(of);
    let part = |samples, due| format!("{} of {}", grouped(samples), grouped(due));
    #[allow(clippy::cast_precision_loss)] // shown with two digits
    let times = chains.cost() as f64 / own.cost as f64;
    let lost: u64 = [stock, no_chains, chains].map(|run| run.lost).iter().sum();
    let row = format!(
        "{:>8} {:>21} {:>10} {:>21} {:>11} {:>7} {:>21} {:>7} {times:>7.2}x{}",
        grouped(chains.period),
        part(stock.samples, stock.due),
        stock.throttled,
        part(chains.samples, chains.due),
        grouped(no_chains.cost()),
        grouped(chains.cost()),
        part(own.samples, own.due),
        grouped(own.cost),
        if lost > 0 { " (perf lost some)" } else { "" },
    );
    (row, times)
}

impl PerfRun {
    fn read(line: &str) -> Option<Self> {
        let mut words = line.strip_prefix("row ")?.split_whitespace();
        let workload = words.next()?.to_owned();
        let settings = words.next()?.to_owned();
        let mut number = || words.next()?.parse().ok();
        Some(Self {
            workload,
            settings,
            period: number()?,
            samples: number()?,
            due: number()?,
            lost: number()?,
            throttled: number()?,
            without: number()?,
            with: number()?,
        })
    }

    fn cost(&self) -> u64 {
        self.with.saturating_sub(self.without) / self.samples.max(1)
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
        .args(PERIODS.map(|(period, units)| format!("{period}:{units}")))
        .env("LAB_TIMEOUT", "1800")
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
fn own(model: &str, workload: &str, period: u64, samples: u64, folder: &Path) -> OwnRun {
    let path = folder.join("profile.pmi");
    let [period, samples] = [period, samples].map(|number| number.to_string());
    #[rustfmt::skip]
    let arguments = [
        "--pmu", model, "--smp", "1", "--workload", workload, "--event", "instructions",
        "--period", &period, "--samples", &samples,
    ];
    let report = support::run("lab", &arguments, &path);
    let number = |pointer: &str| report.pointer(pointer).and_then(Value::as_u64);
    let number = |pointer| number(pointer).unwrap_or_else(|| panic!("no {pointer} in the report"));
    let samples = number("/samples");
    let due = samples + number("/lost") + number("/counters/missed");

    let file = std::fs::read(&path).expect("the profile that was just written");
    let profile = Profile::read(file).expect("a profile");
    let (mut first, mut last, mut ran, mut behind) = (None, 0, 0, 0);
    let read = profile.for_each_sample(0, |sample| {
        last = sample.time;
        if first.is_none() {
            first = Some(sample.time);
        } else {
            ran += sample.period;
            behind += 1;
        }
    });
    read.expect("whole samples");
    let passed = last - first.expect("samples");
    OwnRun {
        samples,
        due,
        cost: (passed - ran) / behind,
    }
}
