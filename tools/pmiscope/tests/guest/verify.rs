//! Chains against the true ones: at a period of one every instruction is a sample,
//! so `pmiscope verify` knows which calls are open at each.

use assert_cmd::Command;
use serde_json::Value;

use crate::fixture::{Run, run};

/// Samples of each run.
const SAMPLES: u64 = 60_000;

/// Assembly whose callers the kernel does not tell yet, while it takes down or puts
/// up a trap frame.
const NOT_YET: [&str; 2] = ["trap_stubs", "trap_common"];

/// What `pmiscope verify` says of a run, with this status.
#[track_caller]
fn verified(run: &Run, status: i32) -> Value {
    let assert = Command::new(env!("CARGO_BIN_EXE_pmiscope"))
        .args(["verify", "--format", "json"])
        .arg(&run.profile)
        .assert();
    let output = assert.get_output();
    let said = String::from_utf8_lossy(&output.stderr);
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("no report ({error}): {said}"));
    let code = output.status.code();
    assert_eq!(code, Some(status), "{said}\n{:#}", report["differences"]);
    report
}

fn number(value: &Value) -> u64 {
    value
        .as_u64()
        .unwrap_or_else(|| panic!("{value} is no number"))
}

/// Records every instruction of a workload.
#[track_caller]
fn every_instruction(arguments: &str) -> Run {
    // The ring holds them all: nothing is lost, however busy the host is.
    let arguments = format!("{arguments} --samples {SAMPLES} --ring 64M");
    let run = run(&arguments).ended_with(0);
    let cores = run.samples().cores.len() as u64;
    run.samples().assert_whole(cores, SAMPLES);
    run
}

/// Records and verifies a workload, of which every chain is the true one. The
/// report.
#[track_caller]
fn exact(arguments: &str) -> Value {
    let run = every_instruction(arguments);
    let cores = run.samples().cores.len() as u64;
    let report = verified(&run, 0);
    assert_eq!(number(&report["instructions"]), SAMPLES);
    let right = number(&report["exact"]) + number(&report["cut_at_depth_limit"]);
    assert_eq!(right, SAMPLES, "{report:#}");
    // Nothing but what was called before the first sample was taken for true.
    let assumed = &report["assumed"];
    assert_eq!(number(&assumed["starts"]), cores, "{assumed}");
    assert_eq!(number(&assumed["instructions_lost"]), 0);
    report
}

/// The same of a workload that is interrupted: chains differ in [`NOT_YET`] alone.
#[track_caller]
fn exact_but_for_entries(arguments: &str) -> Value {
    let report = verified(&every_instruction(arguments), 1);
    for difference in report["differences"].as_array().unwrap() {
        for function in difference["functions"].as_array().unwrap() {
            let name = function[0].as_str().unwrap();
            assert!(NOT_YET.contains(&name), "{difference:#}");
        }
    }
    let executed = &report["executed"];
    assert!(number(&executed["interrupts"]) > 0, "{executed}");
    report
}

#[test]
fn arithmetic() {
    let executed = &exact("--workload arithmetic --smp 1 --period 1")["executed"];
    assert!(number(&executed["calls"]) > 3, "{executed}");
    assert!(number(&executed["returns"]) > 1, "{executed}");
}

#[test]
fn hash() {
    exact("--workload hash --smp 1 --period 1");
}

#[test]
fn recursion() {
    let report = exact("--workload recursion --smp 1 --period 1");
    let executed = &report["executed"];
    for what in ["calls", "returns"] {
        assert!(number(&executed[what]) > 1000, "{executed}");
    }
    assert!(number(&report["cut_at_depth_limit"]) > 0);
}

#[test]
fn string_instructions_step_by_step() {
    let executed = &exact("--workload copy --smp 1 --period 1")["executed"];
    assert!(number(&executed["repeated"]) > 1000, "{executed}");
}

#[test]
fn sections_with_interrupts_off() {
    exact("--workload interrupts-off --smp 1 --period 1");
}

#[test]
fn the_heap() {
    let executed = &exact("--workload heap --smp 1 --period 1")["executed"];
    assert!(number(&executed["calls"]) > 500, "{executed}");
}

#[test]
fn contention_of_two_cores() {
    exact("--workload contention --smp 2 --period 1");
}

#[test]
fn interrupts_from_another_core() {
    exact_but_for_entries("--workload ping-pong --smp 2 --period 1");
}

#[test]
fn interrupts_that_end_a_halt() {
    exact_but_for_entries("--workload idle --smp 1 --period 1");
}

#[test]
fn the_mix_by_the_trap_flag() {
    let report = exact("--workload mix --smp 1 --source step");
    assert_eq!(report["source"], "step");
}

/// The report and the flame graph show the chains that were verified.
#[test]
fn reports_have_the_callers_that_no_frame_pointer_shows() {
    let run = every_instruction("--workload recursion --smp 1 --period 1");
    let report = run.report();
    assert!(number(&report["callers_from_stack_top"]) > SAMPLES / 100);
    assert_eq!(report["callers_doubtful"], 0);
}
