//! Runs of the guest, for the benches.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Whether this is `cargo bench`. `cargo test --all-targets` calls the benches,
/// too, to see that they are built.
pub fn is_bench() -> bool {
    std::env::args().any(|argument| argument == "--bench")
}

/// Runs the guest on that QEMU, with the kernel that `make build` made; gives the report.
pub fn run(qemu: &str, arguments: &[&str], output: &Path) -> Value {
    let run = Command::new(env!("CARGO_BIN_EXE_pmiscope"))
        .args(["run", "--qemu", qemu, "--format", "json", "--output"])
        .arg(output)
        .args(arguments)
        .output()
        .expect("the command was built for this bench");
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{arguments:?}: {said}");
    serde_json::from_slice(&run.stdout).expect("a report")
}

/// The line below the heads of a table's columns.
#[allow(dead_code)] // not all benches have tables
pub const RULES: [&str; 4] = ["---", "---", "---", "---"];

/// Prints a row of the table of figures.
#[allow(dead_code)]
pub fn row([name, measured, to_reach, verdict]: [&str; 4]) {
    println!("| {name:<52} | {measured:<36} | {to_reach:<26} | {verdict:<6} |");
}

/// Whether a figure was reached.
#[allow(dead_code)]
pub fn verdict(is_reached: bool) -> &'static str {
    if is_reached { "yes" } else { "missed" }
}
