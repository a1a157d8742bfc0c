//! Kernels of others that have no sampler, end in their own way or do not take what they are
//! asked for (`tools/adopters/template`): what the command says, and what it keeps.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use assert_cmd::Command;
use profiler::format::VERSION;
use serde_json::Value;

use crate::fixture::{Run, built, folder, start, start_command};

/// The kernels, below the directory of builds.
const BUILDS: &str = "../../adopters/x86_64-unknown-none/release";

fn kernel(name: &str) -> PathBuf {
    built(&format!("{BUILDS}/{name}"))
}

fn files(kernel: PathBuf) -> [std::ffi::OsString; 4] {
    [
        "--kernel".into(),
        kernel.into_os_string(),
        "--loader".into(),
        built("loader").into_os_string(),
    ]
}

fn run(name: &str, arguments: &str) -> Run {
    start(&format!("--smp 1 {arguments}"), &files(kernel(name)))
}

/// A run of the kernel that writes its region by hand, told what to do.
fn by_hand(case: &str) -> Run {
    run("by-hand", &format!("--workload {case}"))
}

/// Asserts that a run said each line of these once, after `pmiscope: `, as they begin.
#[track_caller]
fn said_once(run: &Run, lines: &[&str]) {
    let said = run.said();
    for line in lines {
        let line = format!("pmiscope: {line}");
        let count = said.lines().filter(|said| said.starts_with(&line)).count();
        assert_eq!(count, 1, "`{line}`: {said}");
    }
}

#[test]
fn a_kernel_without_the_sampler_is_told_to_link_it() {
    const WARNING: &str = "warning: the kernel's ELF does not contain the sampler, there may be no samples: link the library and call its start";
    const REASON: &str = "its ELF does not contain the sampler: link the library";
    for (arguments, status, says) in [
        (
            // It is not waited for as long as one that may still begin.
            "",
            6,
            "the kernel has not sampled and was ended: no sample and no line of the log for 10 s (--timeout)",
        ),
        (
            "--workload silent --timeout 3",
            6,
            "the kernel has not sampled and was ended",
        ),
        (
            "--workload silent --time-limit 1",
            6,
            "ended at the time limit: 1 s (--time-limit)",
        ),
        (
            "--workload reset",
            4,
            "the guest reset or switched off the machine",
        ),
        (
            "--workload off",
            4,
            "the guest reset or switched off the machine",
        ),
        (
            "--workload done",
            1,
            "the guest ended without having sampled",
        ),
    ] {
        let run = run("template", arguments).ended_with(status);
        let has_logged = run.said().contains("\n  template: hello\n");
        assert_eq!(
            has_logged,
            !arguments.contains("--workload"),
            "{}",
            run.said()
        );
        said_once(&run, &[WARNING, says]);
        assert!(run.said().contains(REASON), "{arguments}: {}", run.said());
        assert!(!run.profile.exists(), "{arguments}: a profile of nothing");
    }
}

#[test]
fn a_kernel_that_does_not_start_its_sampler_is_told_to() {
    let run = run("by-hand", "--workload idle --timeout 10").ended_with(6);
    said_once(
        &run,
        &[
            "the kernel has not sampled and was ended: no sample and no line of the log for 10 s (--timeout); it contains the sampler and has not started it: see that it comes to `start`",
        ],
    );
    assert!(!run.profile.exists(), "a profile of nothing");
}

#[test]
fn each_end_has_its_line_and_keeps_its_samples() {
    const WHOLE: u64 = 300;
    const HALF: u64 = 150;
    for (case, status, outcome, samples, says) in [
        ("done", 0, "finished", WHOLE, ""),
        ("no-exit", 0, "finished", WHOLE, ""),
        ("finish-reset", 0, "finished", WHOLE, ""),
        (
            "odd-value",
            0,
            "finished",
            WHOLE,
            "finished: it wrote 0x2a to port 0xf4",
        ),
        (
            "failed",
            4,
            "failed",
            HALF,
            "the kernel says that it failed: by-hand: a fault",
        ),
        (
            "panic",
            4,
            "panic",
            HALF,
            "the kernel panicked: by-hand: a panic",
        ),
        (
            "loaders-value",
            4,
            "unknown-value",
            HALF,
            "the kernel ended with a value that means nothing: it wrote 0x20 to port 0xf4, where 0x10 says that all is done",
        ),
        (
            "reset",
            4,
            "reset",
            HALF,
            "the guest reset or switched off the machine",
        ),
        (
            "off",
            4,
            "reset",
            HALF,
            "the guest reset or switched off the machine",
        ),
        (
            "wide",
            3,
            "ended-early",
            HALF,
            "the kernel ended before it had taken all its samples: it has 150 of 300 samples",
        ),
        (
            "early",
            3,
            "ended-early",
            HALF,
            "the kernel ended before it had taken all its samples: it has 150 of 300 samples",
        ),
        (
            "hang --timeout 10",
            6,
            "hung",
            HALF,
            "the guest hung and was ended: no sample and no line",
        ),
    ] {
        let run = by_hand(case).ended_with(status);
        let report = run.report();
        assert_eq!(report["outcome"], outcome, "{case}");
        assert_eq!(report["samples"], samples, "{case}");
        assert_eq!(report["incomplete"], Value::Null, "{case}");
        said_once(
            &run,
            if says.is_empty() {
                &[]
            } else {
                std::slice::from_ref(&says)
            },
        );
        assert!(run.profile.with_extension("svg").exists(), "{case}");
    }
}

#[test]
fn a_region_that_is_of_no_use_is_said_at_once() {
    let old = format!(
        "the kernel's region cannot be read: the kernel writes version {} of the region and this tool reads version {VERSION}",
        VERSION - 1
    );
    for (case, status, says) in [
        ("old", 1, &*old),
        (
            "senseless",
            1,
            "the kernel's region cannot be read: the run's description has no valid source",
        ),
        (
            "too-long",
            1,
            "the kernel's region cannot be read: the rings need ",
        ),
        (
            "refused",
            5,
            "the kernel could not sample: no timer that interrupts",
        ),
        (
            "no-id",
            1,
            "the kernel does not say which one it is: its region has no build-id: INCLUDE pmiscope.ld",
        ),
    ] {
        let started = Instant::now();
        let run = by_hand(case).ended_with(status);
        said_once(&run, &[says]);
        assert!(!run.profile.exists(), "{case}: a profile of nothing");
        assert!(started.elapsed() < Duration::from_secs(30), "{case}");
    }
}

/// It would be one instruction for ever, were the period too short for its handler.
#[test]
fn a_kernel_that_makes_no_progress_is_warned_of() {
    let run = by_hand("stuck").ended_with(0);
    said_once(
        &run,
        &["warning: 100.00% of the samples are at one instruction of their core, 0x"],
    );
    let report = run.report();
    assert_eq!(
        report["warnings"].as_array().unwrap().len(),
        1,
        "{report:#}"
    );
}

/// What the user asks for is in the kernel's command line, which this one does not read.
#[test]
fn each_option_that_a_kernel_does_not_take_is_said() {
    let options = "--period 100000 --source hpet --delivery nmi --samples 9 --aim kmain:0..5";
    let run = run("by-hand", &format!("--workload done {options}")).ended_with(3);
    let report = run.report();
    let warnings = report["warnings"].as_array().expect("warnings");
    for (number, (option, taken)) in [
        ("source hpet", "apic-timer"),
        ("delivery nmi", "irq"),
        ("period 100000", "500"),
        ("samples 9", "300"),
        ("aim 0xffffffff8", "none"),
    ]
    .into_iter()
    .enumerate()
    {
        let warning = warnings[number].as_str().unwrap();
        let says = format!("the kernel did not take --{option}");
        let took = format!(", it took {taken}: see that it hands its command line to the sampler");
        assert!(
            warning.starts_with(&says) && warning.contains(&took),
            "{warning}"
        );
        said_once(&run, &[&format!("warning: {warning}")]);
    }
    assert_eq!(warnings.len(), 5, "{warnings:#?}");
    assert_eq!(report["samples"], 300, "it is shown all the same");
    // Whoever looks at the profile later is told as well.
    let again = Command::new(env!("CARGO_BIN_EXE_pmiscope"))
        .args(["report", "--format", "json"])
        .arg(&run.profile)
        .assert()
        .code(3);
    let again: Value = serde_json::from_slice(&again.get_output().stdout).unwrap();
    assert_eq!(again, report);
}

#[test]
fn events_that_a_kernel_does_not_take_are_said() {
    let events = "--event cycles:k,slots --jitter 5 --seed 7";
    let run = run("by-hand", &format!("--workload done {events}")).ended_with(3);
    said_once(
        &run,
        &[
            "warning: the kernel did not take --event cycles:k,slots, it took none: ",
            "warning: the kernel did not take --jitter 5, it took 0: ",
            "warning: the kernel did not take --seed 7, it took 0: ",
        ],
    );
}

/// Nobody has asked for what the tool says if nothing is said.
#[test]
fn defaults_that_a_kernel_does_not_take_are_a_note() {
    let run = by_hand("done").ended_with(0);
    let report = run.report();
    assert_eq!(report["warnings"], Value::Null);
    let note = "the kernel has defaults of its own: --delivery irq, not nmi; --period 500, not 1000; --samples 300, not 100000";
    assert_eq!(report["note"], note);
    let arguments = "--workload honours --smp 2 --delivery nmi --samples 300";
    let run = start(arguments, &files(kernel("by-hand"))).ended_with(0);
    assert_eq!(run.report()["note"], "it has sampled 1 of 2 cores");
}

#[test]
fn a_kernel_that_takes_all_options_has_no_warning() {
    let run = run(
        "by-hand",
        "--workload honours --period 100000 --source hpet --delivery irq --samples 90 --aim kmain:0..5",
    );
    let run = run.ended_with(0);
    let report = run.report();
    assert_eq!(report["warnings"], Value::Null);
    assert_eq!(report["note"], Value::Null);
    assert_eq!(report["samples"], 90);
}

/// The library hands on what the kernel says: one without workloads has none to choose, and
/// what is not a counter has no jitter.
#[test]
fn a_kernel_with_the_library_takes_no_more_than_it_can() {
    let run = run(
        "rust-smp",
        "--memory 256M --samples 300 --workload heap --jitter 5",
    )
    .ended_with(3);
    said_once(
        &run,
        &[
            "warning: the kernel did not take --workload heap, it took none: it has no choice of them",
            "warning: the kernel did not take --jitter 5, it took 0",
        ],
    );
    let taken = "--memory 256M --source apic-timer --delivery irq --period 2000 --samples 300";
    let run = self::run("rust-smp", taken).ended_with(0);
    assert_eq!(run.report()["warnings"], Value::Null);
}

#[test]
fn samples_in_place_of_counts_are_shown_and_said() {
    let run =
        start_command("stat", "--smp 1 --workload done", &files(kernel("by-hand"))).ended_with(3);
    said_once(
        &run,
        &["warning: the kernel was asked for counts and took samples: see that"],
    );
    assert_eq!(run.report()["samples"], 300);
}

/// A kernel's file of 301 MiB: more than fits a part of a profile, and more than the memory
/// that other kernels have.
#[test]
fn a_kernel_larger_than_other_kernels_memory_is_profiled() {
    let large = folder().join("large");
    std::fs::copy(kernel("by-hand"), &large).unwrap();
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(&large)
        .unwrap();
    file.set_len(301 << 20).unwrap();
    let run = start("--smp 1 --workload done", &files(large.clone())).ended_with(0);
    let report = run.report();
    assert_eq!(report["samples"], 300);
    let names = report["functions"].as_array().unwrap();
    assert_eq!(names[0]["name"], "kmain", "{report:#}");
    let small = start("--smp 1 --workload done --memory 128M", &files(large)).ended_with(1);
    small.saying(&["--memory 128 MiB: the kernel's file alone has 301 MiB: say 303M or more"]);
}
