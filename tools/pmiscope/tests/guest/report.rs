//! What the command shows of a run.

use assert_cmd::Command;
use serde_json::Value;

use crate::fixture::run;

fn number(value: &Value) -> u64 {
    value
        .as_u64()
        .unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn the_same_run_gives_the_same_report() {
    let reports = [(), ()].map(|()| run("--samples 4000").ended_with(0).report());
    let [first, second] = &reports;
    assert_eq!(first["mode"], "deterministic");
    assert_eq!(first["source"], "apic-timer");
    assert_eq!(first["samples"], 4000);
    assert_eq!(
        first["period"],
        serde_json::json!({"requested": 1000, "min": 1000, "median": 1000, "max": 1000})
    );
    // Without the wait for the turn, in which three others execute a period each.
    let handler = number(&first["handler_instructions"]["median"]);
    assert!((1..3000).contains(&handler), "{handler}");
    for key in ["lost", "unclaimed"] {
        assert_eq!(first[key], 0, "{key}");
    }
    assert_eq!(first["incomplete"], Value::Null);
    let ends = first["chain_ends"].as_object().unwrap();
    assert_eq!(ends.values().map(number).sum::<u64>(), 4000, "{ends:?}");
    let functions = first["functions"].as_array().unwrap();
    let own = functions.iter().map(|function| number(&function["self"]));
    assert_eq!(
        own.sum::<u64>(),
        4000,
        "every sample is some function's own"
    );
    assert_eq!(first, second);
}

#[test]
fn auto_says_why_it_chose() {
    let report = run("--source auto --samples 400").ended_with(0).report();
    let reason = report["source_reason"].as_str().unwrap();
    assert_eq!(
        reason,
        "pmu: no counter keeps what is written to it (counters 0-3); apic-timer: the first that works"
    );
}

#[test]
fn the_profile_and_the_picture_show_the_workload() {
    let run = run("--samples 20000 --workload arithmetic").ended_with(0);
    let functions = run.report()["functions"].clone();
    let functions = functions.as_array().unwrap();
    // The shares that the workload's file promises, in percent.
    for (name, share) in [
        ("collatz_steps", 29),
        ("greatest_divisor", 25),
        ("shift", 25),
        ("multiply", 20),
    ] {
        let name = format!("kernel::workload::arithmetic::{name}");
        let function = functions.iter().find(|function| function["name"] == *name);
        let function = function.unwrap_or_else(|| panic!("no {name} in {functions:#?}"));
        assert_eq!(function["file"], "kernel/src/workload/arithmetic.rs");
        assert!(number(&function["line"]) > 0);
        let total = number(&function["total"]) * 100 / 20_000;
        assert!(
            total.abs_diff(share) <= 2,
            "{name} has {total} %, not {share}"
        );
    }
    let folded = Command::new(env!("CARGO_BIN_EXE_pmiscope"))
        .args(["export", "--format", "folded", "-o", "-"])
        .arg(&run.profile)
        .assert()
        .success();
    let folded = String::from_utf8_lossy(&folded.get_output().stdout).into_owned();
    assert!(
        folded.contains(";kernel::workload::arithmetic::"),
        "{folded}"
    );
    let picture = std::fs::read_to_string(run.profile.with_extension("svg")).unwrap();
    assert!(picture.contains("kernel::workload::arithmetic::"));
}
