//! What takes long: `make stress`. Nothing here is small, and nothing may be left
//! over: no panic, every canary whole (the kernel looks at them before it says that
//! it has finished), every chain complete or cut where a record ends, and on each
//! core as many interrupts as samples stored, samples lost and interrupts unclaimed.
//!
//! `PMISCOPE_STRESS=5` takes five hundredths of the samples, to try it out.

use std::env;
use std::time::Duration;

use assert_cmd::Command;
use pmiscope::internals::Profile;
use serde_json::Value;

use crate::fixture::{Run, run_within};
use crate::pmu::is_skipped;
use crate::processes::check_hostile;
use crate::truth::EveryInstruction;

/// A run may take so long.
const LIMIT: Duration = Duration::from_hours(3);

fn scaled(samples: u64) -> u64 {
    let percent = env::var("PMISCOPE_STRESS").map_or(100, |percent| {
        percent.parse().expect("PMISCOPE_STRESS is no number")
    });
    samples * percent / 100
}

/// Runs, and asserts that every interrupt is accounted for.
#[track_caller]
fn storm(arguments: &str, samples: u64) -> Run {
    let run = run_within(&format!("{arguments} --samples {samples}"), LIMIT).ended_with(0);
    let profile = Profile::read(std::fs::read(&run.profile).unwrap()).unwrap();
    let end = profile.end.as_ref().expect("the profile's end");
    for (core, counters) in end.cores.iter().enumerate() {
        assert_eq!(
            counters.taken,
            counters.stored + counters.lost + counters.unclaimed,
            "core {core}: {counters:?}"
        );
    }
    let produced: u64 = end.cores.iter().map(|core| core.stored + core.lost).sum();
    assert!(produced >= samples, "{produced} of {samples} samples");
    assert_eq!(profile.incomplete(), None);
    let report = run.report();
    println!(
        "{arguments}: {} samples, {} lost, {} unclaimed, chains {}",
        report["samples"], report["lost"], report["unclaimed"], report["chain_ends"]
    );
    run
}

/// Asserts that no chain has ended but for these reasons.
#[track_caller]
fn assert_ends(run: &Run, reasons: &[&str]) {
    let report = run.report();
    let ends = report["chain_ends"].as_object().unwrap();
    let other: Vec<_> = ends
        .iter()
        .filter(|(end, _)| !reasons.contains(&end.as_str()))
        .collect();
    assert!(other.is_empty(), "{other:?}");
}

/// Sixteen cores, each sampled every hundred instructions.
#[track_caller]
fn sixteen_cores(workload: &str, ends: &[&str]) {
    let storm = storm(
        &format!("--smp 16 --period 100 --workload {workload}"),
        scaled(10_000_000),
    );
    assert_ends(&storm, ends);
    assert_eq!(storm.report()["lost"], 0);
    assert_eq!(storm.report()["period"]["max"], 100);
}

#[test]
#[ignore = "make stress"]
fn sixteen_cores_in_a_storm_of_yields_are_sampled_every_hundred_instructions() {
    sixteen_cores("yield-storm", &["complete"]);
}

#[test]
#[ignore = "make stress"]
fn sixteen_cores_with_all_workloads_are_sampled_every_hundred_instructions() {
    sixteen_cores("mix", &["complete", "depth limit"]);
}

#[test]
#[ignore = "make stress"]
fn sixteen_cores_with_a_hostile_program_are_sampled_every_hundred_instructions() {
    let samples = scaled(10_000_000);
    let run = run_within(
        &format!("--smp 16 --workload process-hostile --period 100 --samples {samples}"),
        LIMIT,
    );
    check_hostile(run, 16, samples);
}

#[test]
#[ignore = "make stress"]
fn all_cores_interrupt_all_others_in_real_time() {
    for source in ["ipi", "apic-timer"] {
        let storm = storm(
            &format!(
                "--smp 16 --mode realtime --source {source} --period 1000000 --workload nmi-storm"
            ),
            scaled(500_000),
        );
        assert_ends(&storm, &["complete"]);
    }
}

#[test]
#[ignore = "make stress"]
fn frames_are_overwritten_a_million_times() {
    let storm = storm(
        "--smp 4 --period 7 --workload corruption",
        scaled(4_000_000),
    );
    let ends = &storm.report()["chain_ends"];
    let cut: u64 = ends
        .as_object()
        .unwrap()
        .iter()
        .filter(|(end, _)| *end != "complete")
        .map(|(_, samples)| samples.as_u64().unwrap())
        .sum();
    assert!(cut >= scaled(1_000_000), "{cut} cut chains: {ends}");
}

/// Samples every instruction of a workload, and asserts that each chain is the true one.
#[track_caller]
fn every_chain_is_exact(arguments: &str) {
    let storm = storm(arguments, scaled(5_000_000));
    let verified = Command::new(env!("CARGO_BIN_EXE_pmiscope"))
        .args(["verify", "--format", "json"])
        .arg(&storm.profile)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&verified.stderr);
    let shown: Value = serde_json::from_slice(&verified.stdout).unwrap();
    assert!(verified.status.success(), "{arguments}: {said}\n{shown:#}");
    println!("{arguments}: {shown}");
    std::fs::remove_file(&storm.profile).unwrap();
}

#[test]
#[ignore = "make stress"]
fn every_chain_of_every_workload_is_exact() {
    for (workload, cores) in [
        ("arithmetic", 1),
        ("hash", 1),
        ("recursion", 1),
        ("copy", 1),
        ("interrupts-off", 1),
        ("heap", 2),
        ("contention", 2),
        ("ping-pong", 2),
        ("idle", 2),
        ("layers", 1),
        ("yield-storm", 4),
        ("mix", 4),
    ] {
        every_chain_is_exact(&format!("--period 1 --smp {cores} --workload {workload}"));
    }
    for (workload, cores) in [("yield-storm", 2), ("ping-pong", 2), ("processes", 1)] {
        every_chain_is_exact(&format!(
            "--source step --smp {cores} --workload {workload}"
        ));
    }
}

/// All but the hostile one, and all of them in turn.
const PROGRAMS: [&str; 12] = [
    "processes",
    "process-arithmetic",
    "process-c",
    "process-calls",
    "process-exec",
    "process-memory",
    "process-ping-pong",
    "process-recursion",
    "process-spawn",
    "process-unmap",
    "process-upcall",
    "process-yield",
];

#[track_caller]
fn every_chain_of_programs_is_exact(more: &str) {
    for program in PROGRAMS {
        for cores in [1, 4] {
            every_chain_is_exact(&format!(
                "--period 1 --smp {cores} --workload {program}{more}"
            ));
        }
    }
}

#[test]
#[ignore = "make stress"]
fn every_chain_of_every_program_is_exact() {
    every_chain_of_programs_is_exact("");
}

#[test]
#[ignore = "make stress"]
fn every_chain_of_every_isolated_program_is_exact() {
    every_chain_of_programs_is_exact(" --append kpti=on");
}

/// Time and positions go beyond 32 bits, and periods stay exact: of each event, the sum of all is
/// what the clock has counted but for the handlers.
#[test]
#[ignore = "make stress"]
fn counts_beyond_32_bits_are_exact() {
    if is_skipped() {
        return;
    }
    const PERIOD: u64 = 60_000_000;
    const SAMPLES: u64 = 90;
    for model in ["intel-v5", "amd-legacy"] {
        for events in ["instructions", "instructions,cycles"] {
            // Periods of several have 24 bits.
            let count = events.split(',').count() as u64;
            let (period, samples) = match count {
                1 => (PERIOD, SAMPLES),
                _ => (4_000_000, 2 * 1200),
            };
            let run = run_within(
                &format!(
                    "--pmu {model} --source pmu --smp 1 --workload arithmetic --event {events} \
                     --period {period} --samples {samples}"
                ),
                LIMIT,
            )
            .ended_with(0);
            let seen = run.samples();
            let mut sums = [0; 2];
            let mut last = 0;
            for sample in seen.of(0) {
                assert_eq!(sample.period, period, "{model} {events}: {sample:x?}");
                sums[usize::from(sample.event)] += sample.period;
                assert!(sample.time >= last, "{model} {events}: {sample:x?}");
                last = sample.time;
            }
            let all = sums[0];
            assert!(all > 1 << 32 && last > 1 << 32, "{all} in {last}");
            // What handlers have taken is less than a thousandth of that.
            assert!(last - all < all / 1000, "{model} {events}: {all} in {last}");
            std::fs::remove_file(&run.profile).unwrap();
        }
    }
}

/// A million interrupts of counters on four cores, a period of 100 in the mean, against
/// the true chains. Each run finds other instructions, by its seed.
#[test]
#[ignore = "make stress"]
fn a_million_chains_by_counters_are_exact() {
    if is_skipped() {
        return;
    }
    const RUNS: u64 = 13;
    let mut total = 0;
    // Every third run samples a second event.
    for (workload, model) in [
        ("recursion", "intel-v5"),
        ("hash", "amd-v2"),
        ("copy", "intel-v2"),
        ("arithmetic", "amd-legacy"),
        ("recursion", "intel-v4"),
        ("hash", "amd-core-ext"),
    ] {
        let machine = format!("--pmu {model} --workload {workload} --smp 4");
        let all = storm(
            &format!("{machine} --source apic-timer --period 1"),
            scaled(2_000_000),
        );
        let truth = EveryInstruction::of(&all);
        std::fs::remove_file(&all.profile).unwrap();
        let samples = truth.room_for(100);
        for seed in 0..RUNS {
            let event = if seed % 3 == 2 {
                "instructions,cycles"
            } else {
                "instructions"
            };
            let arguments = format!(
                "{machine} --source pmu --event {event} --period 100 --jitter 20 --seed {seed}"
            );
            let run = run_within(&format!("{arguments} --samples {samples}"), LIMIT).ended_with(0);
            let counted = run.samples();
            if event == "instructions" {
                counted.assert_whole(4, samples);
            } else {
                // Two samples may be of one interrupt.
                assert_eq!(counted.all().count() as u64, samples, "{arguments}");
                let none = counted
                    .counters
                    .iter()
                    .all(|it| it.lost + it.unclaimed == 0);
                assert!(none, "{arguments}: {:?}", counted.counters);
            }
            truth.assert_chains(&counted);
            std::fs::remove_file(&run.profile).unwrap();
        }
        total += RUNS * samples;
        println!("{machine}: {RUNS} runs of {samples} samples by counters, chains as verified");
    }
    println!("{total} samples by counters in all");
}
