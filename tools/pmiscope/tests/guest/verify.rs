//! Chains against the true ones: at a period of one every instruction is a sample,
//! so `pmiscope verify` knows which calls are open at each.

use assert_cmd::Command;
use serde_json::Value;

use crate::fixture::{Run, run};

/// Samples of each run, all cores together: enough to get through the start of the
/// core's work, which is in each run, and well into the workload.
const SAMPLES: u64 = 60_000;

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
fn every_instruction(arguments: &str, samples: u64) -> Run {
    // The ring holds them all: nothing is lost, however busy the host is.
    let arguments = format!("{arguments} --samples {samples} --ring 64M");
    let run = run(&arguments).ended_with(0);
    let cores = run.samples().cores.len() as u64;
    run.samples().assert_whole(cores, samples);
    run
}

/// Records and verifies a workload, of which every chain is the true one. The
/// report.
#[track_caller]
fn exact(arguments: &str) -> Value {
    exact_of(arguments, SAMPLES)
}

/// The same with so many samples.
#[track_caller]
fn exact_of(arguments: &str, samples: u64) -> Value {
    let run = every_instruction(arguments, samples);
    let cores = run.samples().cores.len() as u64;
    let report = verified(&run, 0);
    assert_eq!(number(&report["instructions"]), samples);
    let right = number(&report["exact"]) + number(&report["cut_at_depth_limit"]);
    assert_eq!(right, samples, "{report:#}");
    // Nothing but what was called before the first sample was taken for true.
    let assumed = &report["assumed"];
    assert_eq!(number(&assumed["starts"]), cores, "{assumed}");
    assert_eq!(number(&assumed["instructions_lost"]), 0);
    report
}

/// The same of a workload that is interrupted.
#[track_caller]
fn exact_through_interrupts(arguments: &str, samples: u64) -> Value {
    let report = exact_of(arguments, samples);
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
    exact_through_interrupts("--workload ping-pong --smp 2 --period 1", SAMPLES);
}

#[test]
fn interrupts_that_end_a_halt() {
    exact_through_interrupts("--workload idle --smp 1 --period 1", SAMPLES);
}

#[test]
fn tasks_that_switch_and_move_to_other_cores() {
    let report = exact_through_interrupts("--workload yield-storm --smp 2 --period 1", 150_000);
    // The idle loop and every task begin.
    assert!(number(&report["assumed"]["stacks"]) > 2, "{report:#}");
    assert!(number(&report["assumed"]["roots"]) > 2, "{report:#}");
}

#[test]
fn all_of_it_on_four_cores() {
    exact("--workload mix --smp 4 --period 1");
}

/// Programs in user mode: chains from each instruction of theirs, and of the kernel that serves them,
/// through its entries, exits and switches.
#[track_caller]
fn exact_programs(arguments: &str, samples: u64) -> Value {
    let report = exact_of(arguments, samples);
    let user = &report["executed"]["user_mode"];
    assert!(number(&user["instructions"]) > 100, "{user}");
    assert!(number(&user["interrupt_returns"]) > 0, "{user}");
    assert!(number(&report["assumed"]["threads"]) > 0, "{report:#}");
    report
}

#[test]
fn programs_through_sysret_and_page_faults() {
    let report = exact_programs("--workload process-calls --smp 1 --period 1", 250_000);
    let user = &report["executed"]["user_mode"];
    for what in ["system_calls", "system_returns"] {
        assert!(number(&user[what]) > 100, "{what}: {user}");
    }
    assert!(number(&user["interrupts"]) > 0, "no page fault: {user}");
}

#[test]
fn programs_whose_threads_yield_in_both_ways() {
    let report = exact_programs("--workload process-yield --smp 1 --period 1", 120_000);
    let user = &report["executed"]["user_mode"];
    for what in ["system_calls", "interrupts"] {
        assert!(number(&user[what]) > 20, "{what}: {user}");
    }
}

#[test]
fn programs_that_begin_and_end_on_two_cores() {
    let report = exact_programs("--workload process-spawn --smp 2 --period 1", 400_000);
    assert!(number(&report["assumed"]["threads"]) > 3, "{report:#}");
}

/// The kernel interrupts the program for its function, which has what was interrupted as its caller.
#[test]
fn programs_that_are_called_for_messages() {
    for source in ["--period 1", "--source step"] {
        let report = exact_programs(
            &format!("--workload process-upcall --smp 1 {source}"),
            250_000,
        );
        let user = &report["executed"]["user_mode"];
        assert!(number(&user["upcalls"]) > 16, "{source}: {user}");
        let open = number(&user["upcalls"]) - number(&user["upcall_returns"]);
        assert!(open <= 2, "{source}: {user}");
        // One of the parent, whatever it is interrupted for, and one of each child.
        let threads = number(&report["assumed"]["threads"]);
        assert!(threads <= 4, "{source}: {threads} threads");
    }
}

#[test]
fn programs_that_become_other_ones() {
    let report = exact_programs("--workload process-exec --smp 1 --period 1", 250_000);
    // A parent, a child, and what that has become.
    assert!(number(&report["assumed"]["threads"]) > 4, "{report:#}");
}

#[test]
fn programs_with_deep_chains_by_the_trap_flag() {
    exact_programs(
        "--workload process-recursion --smp 1 --source step",
        150_000,
    );
}

/// Programs whose page tables have nothing of the kernel: through the changes of page tables.
#[test]
fn programs_that_are_isolated() {
    for (workload, cores, samples) in [
        ("process-calls", 1, 250_000),
        ("process-yield", 1, 120_000),
        ("process-calls", 4, 1_000_000),
    ] {
        let arguments = format!("--workload {workload} --smp {cores} --period 1 --append kpti=on");
        let report = exact_programs(&arguments, samples);
        let user = &report["executed"]["user_mode"];
        for what in ["system_calls", "system_returns", "interrupts"] {
            assert!(number(&user[what]) > 1, "{what}: {user}");
        }
    }
    exact_programs(
        "--workload process-recursion --smp 1 --source step --append kpti=on",
        150_000,
    );
}

/// Where frames are overwritten chains end early, and say so: none is wrong.
#[test]
fn frames_that_are_overwritten() {
    let run = every_instruction("--workload corruption --smp 1 --period 1", SAMPLES);
    let report = verified(&run, 1);
    let differences = report["differences"].as_array().unwrap();
    let kinds: Vec<_> = differences.iter().map(|row| &row["kind"]).collect();
    assert_eq!(kinds, ["true as far as it goes, and said to be incomplete"]);
}

#[test]
fn the_mix_by_the_trap_flag() {
    let report = exact("--workload mix --smp 1 --source step");
    assert_eq!(report["source"], "step");
}

/// The report and the flame graph show the chains that were verified.
#[test]
fn reports_have_the_callers_that_no_frame_pointer_shows() {
    let run = every_instruction("--workload recursion --smp 1 --period 1", SAMPLES);
    let report = run.report();
    assert!(number(&report["callers_from_stack_top"]) > SAMPLES / 100);
    assert_eq!(report["callers_doubtful"], 0);
}
