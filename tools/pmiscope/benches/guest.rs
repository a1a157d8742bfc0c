//! What a sample costs the guest.
//!
//! Under counted instructions these figures are a property of the kernel's code
//! alone: they are the same on every machine and in every run, so a change of one
//! instruction in the handler shows. Only the last column is the host's.

mod support;

use std::time::Instant;

use pmiscope::internals::units::{grouped, percent};
use serde_json::Value;

const CORES: &str = "4";
const SAMPLES: &str = "20000";

/// Workloads and periods: what most will run; then short and deep stacks, and
/// code that waits; then samples in a program of the user, and of the kernel whose chains go on into one.
const RUNS: [(&str, &str); 8] = [
    ("mix", "1000"),
    ("mix", "100"),
    ("arithmetic", "100"),
    ("recursion", "100"),
    ("contention", "100"),
    ("ping-pong", "100"),
    ("process-arithmetic", "100"),
    ("process-calls", "100"),
];

fn main() {
    if !support::is_bench() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder for the profiles");
    println!("guest: {CORES} cores, {SAMPLES} samples, counted instructions");
    println!("figures repeat exactly, but for the last column (booting included)\n");
    println!("                             handler, instructions  workload's share       samples");
    println!("workload             period       median       max  of instructions     a second");
    for (workload, period) in RUNS {
        let started = Instant::now();
        let report = support::run(
            "stock",
            &[
                "--smp",
                CORES,
                "--samples",
                SAMPLES,
                "--workload",
                workload,
                "--period",
                period,
            ],
            &folder.path().join("profile.pmi"),
        );
        let seconds = started.elapsed().as_secs_f64();
        println!("{}", row(workload, &report, seconds));
    }
}

fn row(workload: &str, report: &Value, seconds: f64) -> String {
    let number = |pointer: &str| {
        let value = report.pointer(pointer).and_then(Value::as_u64);
        value.unwrap_or_else(|| panic!("no number {pointer} in the report"))
    };
    let [period, median, max] = [
        "/period/median",
        "/handler_instructions/median",
        "/handler_instructions/max",
    ]
    .map(number);
    let samples = number("/samples");
    #[allow(clippy::cast_precision_loss)] // shown without decimals
    let a_second = samples as f64 / seconds;
    format!(
        "{workload:<18} {:>8} {:>12} {:>9} {:>15.1}% {a_second:>12.0}",
        grouped(period),
        grouped(median),
        grouped(max),
        percent(period, period + median),
    )
}
