//! What `pmiscope verify` says of a run at each instruction.

use assert_cmd::Command;
use serde_json::Value;

use super::kernel::{Boot, Kernel};

/// Runs a kernel at a period of 1, and gives what `verify` finds.
#[track_caller]
pub fn verify(kernel: &Kernel, cores: u64, samples: u64, ring: &str) -> Value {
    let settings = format!("--source apic-timer --period 1 --samples {samples} --ring {ring}");
    let run = match kernel.boot {
        // They are on it.
        Boot::Image(_) => kernel.profile(&format!("--smp {cores}")),
        Boot::Loader | Boot::Direct => kernel.profile(&format!("--smp {cores} {settings}")),
    };
    let assert = Command::new(env!("CARGO_BIN_EXE_pmiscope"))
        .args(["verify", "--format", "json"])
        .arg(&run.profile)
        .assert();
    let output = assert.get_output();
    let said = String::from_utf8_lossy(&output.stderr);
    let verified: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{}: {error}: {said}", kernel.name()));
    let what = format!("{}, {cores} cores", kernel.name());
    let is_exact = verified["different"] == 0;
    assert_eq!(output.status.success(), is_exact, "{what}: {said}");
    assert_eq!(verified["instructions"], samples, "{what}");
    assert_eq!(verified["assumed"]["instructions_lost"], 0, "{what}");
    verified
}

/// Asserts that every chain is the true one, on so many cores.
#[track_caller]
pub fn assert_true(kernel: &Kernel, cores: u64, samples: u64, ring: &str) {
    let verified = verify(kernel, cores, samples, ring);
    let what = format!("{}, {cores} cores: {verified:#}", kernel.name());
    assert_eq!(verified["different"], 0, "{what}");
    assert_eq!(verified["exact"], samples, "{what}");
}
