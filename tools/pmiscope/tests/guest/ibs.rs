//! AMD's Instruction-Based Sampling, on the lab emulator: the address of each sample
//! against the list of all instructions, which another source has made.

use profiler::address::CodeAddress;
use profiler::format::Sample;
use serde_json::Value;

use crate::fixture::{Samples, run, sample, stat};
use crate::pmu::{is_skipped, variant};

const PERIOD: usize = 997;
const SAMPLES: usize = 40;
const WORKLOAD: &str = "--smp 1 --workload recursion";

/// The addresses of a run's samples on its first core: that of the interrupted instruction,
/// and the exact one.
fn addresses(samples: &Samples) -> Vec<(CodeAddress, Option<CodeAddress>)> {
    let records = samples.cores[0].iter();
    let decoded = records.map(|record| Sample::decode(record).unwrap());
    decoded.map(|sample| (sample.pc, sample.exact)).collect()
}

/// All instructions from the start of sampling on.
fn instructions(qemu: &str) -> Vec<CodeAddress> {
    let count = (SAMPLES + 4) * PERIOD;
    let arguments = format!("{WORKLOAD} --qemu {qemu} --source step --samples {count}");
    let all = addresses(&sample(&arguments));
    all.into_iter().map(|(pc, _)| pc).collect()
}

/// Where a list of places that are [`PERIOD`] apart begins among all instructions.
fn first_of(places: &[CodeAddress], all: &[CodeAddress]) -> usize {
    let is_first = |&first: &usize| {
        let expected = all[first..].iter().step_by(PERIOD);
        places.iter().eq(expected.take(places.len()))
    };
    let found: Vec<_> = (8..4 * PERIOD).filter(is_first).collect();
    assert_eq!(found.len(), 1, "where {places:x?} are: {found:?}");
    found[0]
}

#[test]
fn an_exact_address_is_that_of_the_instruction_that_the_skid_comes_after() {
    if is_skipped() {
        return;
    }
    let all = instructions(&variant("ibs-all", "x-pmu=amd-v2,x-ibs=on"));
    for (skid, event, delivery) in [
        (0, "ibs_op", "nmi"),
        (1, "ibs_op/cnt_ctl=1/", "nmi"),
        (7, "ibs_op//", "irq"),
    ] {
        let properties = format!("x-pmu=amd-v2,x-ibs=on,x-pmu-skid={skid}");
        let qemu = variant(&format!("ibs-{skid}"), &properties);
        let arguments = format!(
            "{WORKLOAD} --qemu {qemu} --event {event} --period {PERIOD} --samples {SAMPLES} \
             --delivery {delivery}"
        );
        let run = run(&arguments).ended_with(0);
        let report = run.report();
        let event = &report["events"][0];
        assert_eq!(event["exact"], SAMPLES, "{event:#}");
        for what in ["min", "median", "max"] {
            assert_eq!(event["period"][what], PERIOD, "{what}: {event:#}");
        }
        let found = addresses(&run.samples());
        let places: Vec<_> = found.iter().map(|&(pc, _)| pc).collect();
        let first = first_of(&places, &all);
        let expected: Vec<_> = all[first - 1 - skid..]
            .iter()
            .step_by(PERIOD)
            .take(SAMPLES)
            .map(|&address| Some(address))
            .collect();
        let exact: Vec<_> = found.iter().map(|&(_, exact)| exact).collect();
        assert_eq!(exact, expected, "skid {skid}");
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
