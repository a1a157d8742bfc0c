//! The whole path: the kernel boots in QEMU, samples itself, and the command
//! shows where its time went.
//!
//! They need the kernel and its loader where `make build` puts them, beside this
//! test's own build, and fail without.

mod midway;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use assert_cmd::Command;
use assert_cmd::assert::Assert;
use serde_json::Value;

fn folder() -> &'static Path {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    FOLDER.get_or_init(|| tempfile::tempdir().unwrap()).path()
}

/// Runs `pmiscope run`; the profile's path.
fn run(name: &str, arguments: &[&str]) -> (Assert, PathBuf) {
    let output = folder().join(name).with_extension("pmi");
    let assert = Command::new(env!("CARGO_BIN_EXE_pmiscope"))
        .args(["run", "--format", "json", "-o"])
        .arg(&output)
        .args(arguments)
        .timeout(Duration::from_secs(300))
        .assert();
    (assert, output)
}

fn stderr(assert: &Assert) -> String {
    String::from_utf8_lossy(&assert.get_output().stderr).into_owned()
}

fn json(assert: &Assert) -> Value {
    let report = serde_json::from_slice(&assert.get_output().stdout);
    report.unwrap_or_else(|error| panic!("no report ({error}): {}", stderr(assert)))
}

/// The report of a run that is to succeed.
fn report(name: &str, arguments: &[&str]) -> Value {
    json(&run(name, arguments).0.success())
}

fn number(value: &Value) -> u64 {
    value
        .as_u64()
        .unwrap_or_else(|| panic!("{value} is no number"))
}

/// That every core has its share of the samples, and every sample its chain.
fn assert_whole(report: &Value, cores: u64) {
    let samples = number(&report["samples"]);
    let of_core = report["cores"].as_array().unwrap();
    assert_eq!(of_core.len() as u64, cores);
    for core in of_core {
        assert_eq!(number(&core["samples"]), samples / cores, "{core}");
    }
    assert_eq!(report["lost"], 0);
    assert_eq!(report["incomplete"], Value::Null);
    let ends = report["chain_ends"].as_object().unwrap();
    assert_eq!(ends.values().map(number).sum::<u64>(), samples);
    let functions = report["functions"].as_array().unwrap();
    let own = functions.iter().map(|function| number(&function["self"]));
    assert_eq!(
        own.sum::<u64>(),
        samples,
        "every sample is some function's own"
    );
}

#[test]
fn two_runs_of_counted_instructions_are_the_same() {
    let arguments = ["--samples", "20000"];
    let first = report("same1", &arguments);
    assert_whole(&first, 4);
    assert_eq!(first["samples"], 20_000);
    assert_eq!(first["mode"], "deterministic");
    assert_eq!(first["source"], "apic-timer");
    assert_eq!(first["period"]["requested"], 1000);
    assert_eq!(first["period"]["median"], 1000);
    assert!(number(&first["handler_instructions"]["median"]) > 0);
    let second = report("same2", &arguments);
    assert_eq!(first, second);
}

#[test]
fn what_is_sampled_depends_on_the_period() {
    let thousand = report("thousand", &["--samples", "4000", "--period", "1000"]);
    let hundred = report("hundred", &["--samples", "4000", "--period", "100"]);
    assert_whole(&hundred, 4);
    assert_eq!(hundred["period"]["median"], 100);
    assert_ne!(hundred["sample_hash"], thousand["sample_hash"]);
}

#[test]
fn one_core_alone_samples() {
    assert_whole(&report("one", &["--smp", "1", "--samples", "4000"]), 1);
}

#[test]
fn cores_in_parallel_sample_by_the_clock() {
    let report = report("realtime", &["--mode", "realtime", "--samples", "800"]);
    assert_whole(&report, 4);
    assert_eq!(report["mode"], "realtime");
    assert_eq!(report["clock"], "time");
    assert_eq!(report["handler_instructions"], Value::Null);
    // A loaded host delays, it does not hurry.
    assert!(
        number(&report["period"]["median"]) >= 900_000,
        "{}",
        report["period"]
    );
}

#[test]
fn the_profile_and_the_picture_show_the_workload() {
    let (assert, output) = run("shown", &["--samples", "4000", "--workload", "arithmetic"]);
    let functions = json(&assert.success())["functions"].clone();
    let step = |function: &&Value| {
        let name = function["name"].as_str().unwrap();
        name.starts_with("kernel::workload::arithmetic::")
    };
    let step = functions.as_array().unwrap().iter().find(step);
    let step = step.expect("the workload's function");
    assert_eq!(step["file"], "kernel/src/workload/arithmetic.rs");
    assert!(number(&step["line"]) > 0);
    let folded = Command::new(env!("CARGO_BIN_EXE_pmiscope"))
        .args(["export", "--format", "folded", "-o", "-"])
        .arg(&output)
        .assert()
        .success();
    let folded = String::from_utf8_lossy(&folded.get_output().stdout).into_owned();
    assert!(
        folded.contains(";kernel::workload::arithmetic::"),
        "{folded}"
    );
    let picture = std::fs::read_to_string(output.with_extension("svg")).unwrap();
    assert!(picture.contains("kernel::workload::arithmetic::"));
}

#[test]
fn a_full_ring_counts_what_it_loses() {
    let (assert, _) = run(
        "lossy",
        &["--ring", "64K", "--samples", "40000", "--smp", "1"],
    );
    let report = json(&assert.success());
    // What is drained in time depends on the host; that nothing is missing does not.
    let stored = number(&report["samples"]);
    assert_eq!(stored + number(&report["lost"]), 40_000);
    assert_eq!(report["incomplete"], Value::Null);
}

#[test]
fn what_the_kernel_refuses_is_said() {
    let (assert, _) = run("workload", &["--workload", "leisure"]);
    let said = stderr(&assert.code(5));
    assert!(
        said.contains("the kernel refused its command line") && said.contains("`workload=leisure`"),
        "{said}"
    );
    let (assert, _) = run("pmu", &["--source", "pmu"]);
    let said = stderr(&assert.code(5));
    assert!(
        said.contains("the kernel could not sample") && said.contains("pmu"),
        "{said}"
    );
}

#[test]
fn a_kernel_that_panics_says_where() {
    let (assert, output) = run("panic", &["--self-test", "panic"]);
    let said = stderr(&assert.code(4));
    assert!(
        said.contains("the kernel panicked: panicked at kernel/src/selftest.rs:"),
        "{said}"
    );
    assert!(said.contains("this panic was asked for"), "{said}");
    assert!(!output.exists());
}

#[test]
fn a_kernel_that_hangs_is_ended() {
    let (assert, _) = run("hang", &["--self-test", "hang", "--timeout", "15"]);
    let said = stderr(&assert.code(6));
    assert!(said.contains("the guest hung and was ended"), "{said}");
    assert!(
        said.contains("self-test: hang"),
        "the log's end is shown: {said}"
    );
}
