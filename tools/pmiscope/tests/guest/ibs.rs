//! AMD's Instruction-Based Sampling, on the lab emulator: the address of each sample
//! against the list of all instructions, which another source has made.

use std::collections::HashSet;

use profiler::address::CodeAddress;
use profiler::format::Sample;
use serde_json::Value;

use crate::fixture::{Samples, run, sample, stat};
use crate::pmu::{is_skipped, variant};

const PERIOD: u64 = 997;
const SAMPLES: u64 = 40;
const WORKLOAD: &str = "--smp 1 --workload recursion";
/// By up to so many instructions an op is tagged behind where it is due.
const SPREAD: u64 = 63;

/// A sample of the first event of a run.
struct Found {
    /// The interrupted instruction, and the one that was sampled.
    pc: CodeAddress,
    exact: CodeAddress,
    /// Instructions since the sample before.
    period: u64,
    /// And since the first one.
    position: u64,
}

/// The samples of a run's first event on its first core.
fn found(samples: &Samples) -> Vec<Found> {
    let records = samples.cores[0].iter();
    let decoded = records.map(|record| Sample::decode(record).unwrap());
    let own = decoded.filter(|sample| sample.event == 0).enumerate();
    let mut position = 0;
    own.map(|(number, sample)| {
        position += if number == 0 { 0 } else { sample.period };
        Found {
            pc: sample.pc,
            exact: sample.exact.expect("an exact address"),
            period: sample.period,
            position,
        }
    })
    .collect()
}

/// All instructions from the start of sampling on.
fn instructions(qemu: &str) -> Vec<CodeAddress> {
    let count = (SAMPLES + 20) * PERIOD;
    let arguments = format!("{WORKLOAD} --qemu {qemu} --source step --samples {count}");
    let samples = sample(&arguments);
    let records = samples.cores[0].iter();
    records
        .map(|record| Sample::decode(record).unwrap().pc)
        .collect()
}

/// For each sample the place of the interrupted instruction among all, by what ran.
fn places(found: &[Found], all: &[CodeAddress]) -> Vec<usize> {
    let place = |first: usize, sample: &Found| first + usize::try_from(sample.position).unwrap();
    let is_first = |first: &usize| {
        let is_there = |sample| all.get(place(*first, sample)) == Some(&sample.pc);
        found.iter().all(is_there)
    };
    let firsts: Vec<_> = (40..4000).filter(is_first).collect();
    assert_eq!(firsts.len(), 1, "where all are that ran: {firsts:?}");
    found.iter().map(|it| place(firsts[0], it)).collect()
}

#[test]
fn an_exact_address_is_that_of_the_instruction_that_the_skid_comes_after() {
    if is_skipped() {
        return;
    }
    let all = instructions(&variant("ibs-all", "x-pmu=amd-v2,x-ibs=on"));
    for (skid, event, delivery, abort) in [
        (0, "ibs_op", "nmi", 0),
        (1, "ibs_op/cnt_ctl=1/", "nmi", 0),
        (7, "ibs_op//", "irq", 0),
        (7, "ibs_op", "nmi", 5),
    ] {
        let properties = format!("x-pmu=amd-v2,x-ibs=on,x-pmu-skid={skid},x-ibs-abort={abort}");
        let qemu = variant(&format!("ibs-{skid}-{abort}"), &properties);
        let arguments = format!(
            "{WORKLOAD} --qemu {qemu} --event {event} --period {PERIOD} --samples {SAMPLES} \
             --delivery {delivery}"
        );
        let run = run(&arguments).ended_with(0);
        let report = run.report();
        let event = &report["events"][0];
        assert_eq!(event["exact"], SAMPLES, "{event:#}");
        let found = found(&run.samples());
        for (sample, place) in found.iter().zip(places(&found, &all)) {
            assert_eq!(sample.exact, all[place - 1 - skid], "skid {skid}");
        }
        let longest = found[1..].iter().map(|it| it.period).max().unwrap();
        if abort != 0 {
            assert!(
                longest > PERIOD + 2 * SPREAD,
                "some do not retire: {longest}"
            );
            continue;
        }
        // At random behind where each is due, and that is a period from the one before.
        let shifts = (0..)
            .zip(&found)
            .map(|(number, it)| it.position.abs_diff(number * PERIOD));
        let shifts: HashSet<_> = shifts.collect();
        assert!(shifts.iter().all(|&it| it <= SPREAD), "{shifts:?}");
        assert!(shifts.len() > 10, "{shifts:?}");
    }
}

#[test]
fn beside_another_event_an_exact_address_is_the_workloads() {
    if is_skipped() {
        return;
    }
    let all = instructions(&variant("ibs-all", "x-pmu=amd-v2,x-ibs=on"));
    for (count, other) in [("", 331), ("cnt_ctl=1,", 499)] {
        let qemu = variant("ibs-beside", "x-pmu=amd-v2,x-ibs=on,x-pmu-skid=7");
        let arguments = format!(
            "{WORKLOAD} --qemu {qemu} --samples 160 \
             --event ibs_op/{count}period={PERIOD}/,instructions/period={other}/"
        );
        let found = found(&sample(&arguments));
        assert!(found.len() > 20, "{}", found.len());
        for (sample, place) in found.iter().zip(places(&found, &all)) {
            // It is no more than the skid behind if the other's interrupt came first.
            let before = &all[place - 8..place];
            assert!(before.contains(&sample.exact), "{:x?}", sample.exact);
        }
    }
}

/// The samples of the functions that were executing, by the report.
fn own(report: &Value) -> u64 {
    let functions = report["functions"].as_array().unwrap().iter();
    functions.map(|row| row["self"].as_u64().unwrap()).sum()
}

#[test]
fn samples_without_an_exact_address_and_of_other_events_are_told_apart() {
    if is_skipped() {
        return;
    }
    let qemu = variant("ibs-invalid", "x-pmu=amd-core-ext,x-ibs=on,x-ibs-invalid=5");
    let arguments = format!(
        "--smp 2 --workload recursion --qemu {qemu} --samples 2000 --period 1000 \
         --event ibs_op,instructions/period=1500/"
    );
    let report = run(&arguments).ended_with(0).report();
    let [ibs, instructions] = [0, 1].map(|index| &report["events"][index]);
    let (samples, exact) = (&ibs["samples"], &ibs["exact"]);
    let (samples, exact) = (samples.as_u64().unwrap(), exact.as_u64().unwrap());
    assert!(samples > 1000 && exact < samples, "{ibs:#}");
    // One in five of the processor's samples; an early one may be among them.
    assert!(exact.abs_diff(samples * 4 / 5) < 20, "{ibs:#}");
    assert_eq!(instructions["exact"], Value::Null, "{instructions:#}");
    assert_eq!(own(&report), 2000, "each sample is one function's own");
}

#[test]
fn it_is_refused_where_it_is_not_with_the_reason() {
    if is_skipped() {
        return;
    }
    let none = variant("ibs-none", "x-pmu=amd-v2");
    let no_entry = variant("ibs-no-entry", "x-pmu=amd-v2,x-ibs=on,x-ibs-lvt=9");
    let here = variant("ibs-here", "x-pmu=amd-v2,x-ibs=on");
    for (qemu, event, parts) in [
        (&none, "ibs_op", "this processor does not sample ops"),
        (&no_entry, "ibs_op", "the firmware has given IBS no entry"),
        (&here, "ibs_op,ibs_op//", "one event at a time"),
    ] {
        let arguments = format!("--qemu {qemu} --samples 100 --event {event}");
        run(&arguments).ended_with(5).saying(&[parts]);
    }
    let arguments = format!("--qemu {here} --units 1 --event ibs_op");
    stat(&arguments).ended_with(5).saying(&["counts nothing"]);
}
