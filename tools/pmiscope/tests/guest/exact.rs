//! Under instruction counting a run is exact and repeats to the bit.

use std::collections::{BTreeMap, BTreeSet};

use profiler::format::{ChainEnd, Clock};

use crate::fixture::{Samples, listed, run, sample};

/// Two runs with these arguments: both whole and exact, and the same.
#[track_caller]
fn twice(arguments: &str, [cores, samples, period]: [u64; 3]) -> Samples {
    let arguments = format!("{arguments} --smp {cores} --samples {samples} --period {period}");
    let [first, second] = [(), ()].map(|()| run(&arguments).ended_with(0));
    assert_eq!(
        first.report()["sample_hash"],
        second.report()["sample_hash"],
        "sample_hash of two times {arguments}"
    );
    let [first, second] = [first, second].map(|run| run.samples());
    first.assert_whole(cores, samples);
    first.assert_exact(period);
    first.assert_same(&second);
    assert_eq!(first.description.clock, Clock::Instructions);
    first
}

/// How many different program counters each core was seen at.
#[track_caller]
fn assert_progress(samples: &Samples, least: usize) {
    for core in 0..samples.cores.len() {
        let pcs: BTreeSet<_> = samples.of(core).map(|seen| seen.pc.0).collect();
        assert!(
            pcs.len() >= least,
            "{}: core {core} was seen at {} addresses only:\n{}",
            samples.what,
            pcs.len(),
            listed(pcs.iter())
        );
    }
}

#[test]
fn the_mix_on_four_cores_is_exact_and_repeats() {
    let samples = twice("--workload mix", [4, 4000, 1000]);
    assert_progress(&samples, 100);
    let mut ends = BTreeMap::new();
    for seen in samples.all() {
        let task = samples.task(&seen).to_owned();
        *ends.entry((task, seen.end.name())).or_insert(0) += 1;
    }
    // All of every chain, except where the workload calls deeper than a record can
    // hold.
    for (task, end) in ends.keys() {
        assert!(!task.is_empty(), "samples of no task: {ends:?}");
        let is_cut = *end != ChainEnd::Complete.name();
        let may_be_cut = task == "recursion" && *end == ChainEnd::DepthLimit.name();
        assert!(!is_cut || may_be_cut, "{task}: {end}; of all: {ends:?}");
    }
    for workload in ["arithmetic", "hash", "recursion", "contention", "copy"] {
        let complete = (workload.to_owned(), ChainEnd::Complete.name());
        assert!(ends.contains_key(&complete), "no {workload} in {ends:?}");
    }
}

#[test]
fn one_core_at_a_period_of_one_goes_on() {
    let samples = twice("--workload mix", [1, 4000, 1]);
    assert_progress(&samples, 20);
}

#[test]
fn two_cores_at_a_period_of_a_hundred_go_on() {
    let samples = twice("--workload mix", [2, 4001, 100]);
    assert_progress(&samples, 50);
}

#[test]
fn sixteen_cores_are_exact_and_repeat() {
    let samples = twice("--workload mix", [16, 4000, 1000]);
    assert_progress(&samples, 50);
}

#[test]
fn other_periods_give_other_samples() {
    let hashes = ["100", "1000"].map(|period| {
        let run = run(&format!("--samples 400 --period {period}")).ended_with(0);
        run.report()["sample_hash"].clone()
    });
    assert_ne!(hashes[0], hashes[1]);
}

#[test]
fn a_workload_by_itself_is_the_only_task() {
    let samples = sample("--samples 400 --workload hash");
    samples.assert_whole(4, 400);
    let tasks: BTreeSet<_> = samples.all().map(|seen| seen.task).collect();
    let names: Vec<_> = tasks
        .iter()
        .map(|&task| {
            samples.description.tasks[usize::from(task)]
                .as_str()
                .to_owned()
        })
        .collect();
    assert_eq!(names, ["hash"]);
}
