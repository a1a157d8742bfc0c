//! Kernels that go wrong while they are sampled: what was sampled until then is
//! kept and shown, the command says what happened, and fails.

use super::{json, number, run, stderr};

/// Runs a self-test that goes wrong on the last of four cores; what the command
/// said.
fn goes_wrong(test: &str, code: i32, more: &[&str]) -> String {
    let samples = 200_000;
    let mut arguments = vec!["--self-test", test, "--samples", "200000"];
    arguments.extend(more);
    let (assert, output) = run(test, &arguments);
    let assert = assert.code(code);
    let said = stderr(&assert);
    assert!(output.exists(), "no profile was kept: {said}");
    let report = json(&assert);
    let kept = number(&report["samples"]);
    assert!(
        (1000..samples).contains(&kept),
        "{kept} samples were kept: {said}"
    );
    // Cores take turns: none is more than a sample ahead of another.
    let cores = report["cores"].as_array().unwrap().iter();
    let of_core: Vec<_> = cores.map(|core| number(&core["samples"])).collect();
    let (least, most) = (of_core.iter().min().unwrap(), of_core.iter().max().unwrap());
    assert!(of_core.len() == 4 && most - least <= 1, "{of_core:?}");
    assert_eq!(report["lost"], 0);
    assert_eq!(report["period"]["median"], 1000);
    said
}

#[test]
fn a_panic() {
    let said = goes_wrong("panic-midway", 4, &[]);
    assert!(said.contains("this panic was asked for"), "{said}");
}

#[test]
fn a_stack_that_overflows_into_its_guard_page() {
    let said = goes_wrong("stack-overflow-midway", 4, &[]);
    assert!(said.contains("double fault"), "{said}");
    assert!(
        said.contains("guard page of core 3's kernel stack"),
        "{said}"
    );
}

#[test]
fn a_core_that_nothing_interrupts_any_more() {
    let said = goes_wrong("hang-midway", 6, &["--timeout", "10"]);
    assert!(said.contains("the guest hung and was ended"), "{said}");
}
