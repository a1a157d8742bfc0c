//! Kernels that go wrong on the last core while they are sampled: what was
//! sampled until then is kept and shown, the command says what happened, and
//! fails.

use assert_cmd::Command;
use serde_json::Value;

use crate::fixture::run;

/// Runs such a self-test, which ends with this status and outcome, and says this.
#[track_caller]
fn goes_wrong(arguments: &str, status: i32, outcome: &str, says: &[&str]) {
    let run = run(&format!("--samples 200000 --self-test {arguments}"));
    let run = run.ended_with(status).saying(says);
    let samples = run.samples();
    samples.assert_exact(1000);
    for (core, counters) in samples.counters.iter().enumerate() {
        assert!(counters.stored > 1000, "core {core}: {counters:?}");
        assert_eq!(counters.taken, counters.stored, "core {core}");
        assert_eq!(
            samples.cores[core].len() as u64,
            counters.stored,
            "core {core}: samples that were kept"
        );
    }
    // Cores take turns: none is more than a sample ahead of another.
    let stored = || samples.counters.iter().map(|core| core.stored);
    let ahead = stored().max().unwrap() - stored().min().unwrap();
    assert!(ahead <= 1, "{:?}", samples.counters);

    let shown = run.report();
    assert_eq!(shown["outcome"], outcome);
    assert_eq!(shown["incomplete"], Value::Null);
    let again = Command::new(env!("CARGO_BIN_EXE_pmiscope"))
        .args(["report", "--format", "json"])
        .arg(&run.profile)
        .assert()
        .success();
    let again: Value = serde_json::from_slice(&again.get_output().stdout).unwrap();
    assert_eq!(again, shown);
}

#[test]
fn a_panic() {
    goes_wrong(
        "panic-midway",
        4,
        "panic",
        &["[ERROR core3] panicked at ", ": this panic was asked for\n"],
    );
}

#[test]
fn a_stack_that_overflows_into_its_guard_page() {
    goes_wrong(
        "stack-overflow-midway",
        4,
        "exception",
        &[
            "the kernel met an exception: double fault",
            "[ERROR core3] double fault",
            "guard page of the stack of task 3 (arithmetic)",
        ],
    );
}

#[test]
fn a_cores_own_stack_that_overflows() {
    goes_wrong(
        "overflow-kernel-midway",
        4,
        "exception",
        &[
            "the kernel met an exception: double fault",
            ": guard page of core 3's kernel stack",
        ],
    );
}

#[test]
fn the_stack_of_nmi_handlers_that_overflows_below_them() {
    goes_wrong(
        "overflow-nmi-handler-midway",
        4,
        "exception",
        &[
            "the kernel met an exception: double fault",
            ": guard page of core 3's NMI handler stack",
        ],
    );
}

#[test]
fn a_core_that_nothing_interrupts_any_more() {
    goes_wrong(
        "hang-midway --timeout 5",
        6,
        "hung",
        &["the guest hung and was ended"],
    );
}

/// It has the turn, and keeps it: where overflows can be masked, the others take it.
#[test]
fn a_core_that_hangs_with_interrupts_off_does_not_hold_the_others() {
    let run = run("--delivery irq --samples 8000 --self-test hang-midway --timeout 10");
    let run = run.ended_with(6);
    let samples = run.samples();
    let stored: Vec<_> = samples.counters.iter().map(|core| core.stored).collect();
    let &[ref others @ .., hung] = stored.as_slice() else {
        panic!("no cores")
    };
    assert_eq!(others, [2000; 3]);
    assert!((500..2000).contains(&hung), "{hung}");
}
