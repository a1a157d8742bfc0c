//! Performance counters, on the lab emulator, which has them. Where that is not built
//! (`make qemu-pmu`) each test says so and is skipped.
//!
//! A period counts a core's own events, so under instruction counting all of this is
//! exact: not one instruction more or less between two samples.

use std::collections::BTreeSet;
use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::Command as Process;
use std::thread;

use assert_cmd::Command;
use pmiscope::internals::Kvm;
use pmiscope::internals::qemu::{Choice, Qemu, has_lab};
use pmiscope::profile::{CoreEnd, OverheadEnd};
use profiler::format::{ChainEnd, Sample, Source, State};
use serde_json::Value;

use crate::fixture::{Run, Samples, Seen, folder, run, stat, tool};

/// The models of a PMU that the emulator has.
const MODELS: [&str; 6] = [
    "intel-v2",
    "intel-v4",
    "intel-v5",
    "amd-legacy",
    "amd-core-ext",
    "amd-v2",
];

/// Whether the test is skipped because the emulator is not there. Where it has to be, by
/// `PMISCOPE_LAB=required`, that is a failure.
#[track_caller]
pub fn is_skipped() -> bool {
    if has_lab() {
        return false;
    }
    let missing = "there is no lab emulator (make qemu-pmu)";
    assert!(env::var_os("PMISCOPE_LAB").is_none(), "{missing}");
    skip(missing);
    true
}

/// Says that the test is skipped, past what the test's harness keeps for itself.
fn skip(why: &str) {
    let test = thread::current().name().unwrap_or_default().to_owned();
    let line = format!("{test}: skipped, {why}\n");
    // A test is not to fail of what it cannot print.
    let _ = io::stderr().write_all(line.as_bytes());
}

fn number(value: &Value) -> u64 {
    value
        .as_u64()
        .unwrap_or_else(|| panic!("{value} is no number"))
}

/// Runs on `pmu` what is to succeed, on the source `pmu` by `auto`.
#[track_caller]
fn counted(arguments: &str) -> Run {
    let run = run(arguments).ended_with(0);
    let report = run.report();
    assert_eq!(report["source"], "pmu", "{arguments}");
    assert_eq!(number(&report["lost"]), 0, "{arguments}");
    run
}

/// Asserts that each event's periods are what was asked for: least, median and greatest.
#[track_caller]
fn assert_events(report: &Value, periods: &[u64]) {
    let events = report["events"].as_array().unwrap();
    assert_eq!(events.len(), periods.len(), "{events:#?}");
    for (event, &expected) in events.iter().zip(periods) {
        let period = &event["period"];
        for what in ["requested", "min", "median", "max"] {
            assert_eq!(period[what], expected, "{what}: {event:#}");
        }
        assert_eq!(event["period_set"], expected, "{event:#}");
    }
}

/// Asserts that on each core everything that was produced is accounted for: its share
/// of the samples, no gap in their numbers. Events that overflow at the same instruction
/// come by one interrupt, so there may be fewer of those, and a few samples more than
/// asked for.
///
/// Where an interrupt masks the entry by which it came, none is nobody's. Elsewhere there
/// may be some: of what overflows on the way into the handler of another counter the
/// events are taken off, but the interrupt comes, and may find nothing.
#[track_caller]
fn assert_accounted_for(samples: &Samples, asked: u64, is_masked: bool) {
    let what = &samples.what;
    let cores = samples.cores.len() as u64;
    let events = u64::from(samples.description.event_count);
    for (core, counters) in (0..).zip(&samples.counters) {
        let share = asked / cores + u64::from(core < asked % cores);
        let produced = counters.stored + counters.lost;
        assert!(
            (share..share + events).contains(&produced),
            "{what}: core {core} is to have {share} samples: {counters:?}"
        );
        assert!(
            counters.unclaimed + counters.late == 0 || !is_masked,
            "{what}: core {core}: {counters:?}"
        );
        let for_nothing = counters.unclaimed + counters.late + counters.early;
        assert!(for_nothing < produced / 2, "{what}: {counters:?}");
        assert!(
            counters.taken <= produced + for_nothing,
            "{what}: {counters:?}"
        );
        let records = &samples.cores[usize::try_from(core).unwrap()];
        assert_eq!(records.len() as u64, counters.stored, "{what}: core {core}");
        let numbers = samples.of(usize::try_from(core).unwrap());
        let numbers: Vec<_> = numbers.map(|seen| seen.sequence).collect();
        let all: Vec<_> = (0..).take(numbers.len()).collect();
        assert_eq!(numbers, all, "{what}: the numbers of core {core}");
    }
}

/// Asserts that the mean period of an event is `period`, to the last count, on each
/// core: what it has run up to its last sample is as many periods as samples, but for
/// what that one sample is displaced by.
#[track_caller]
fn assert_mean(samples: &Samples, period: u64, displaced: u64) {
    for core in 0..samples.cores.len() {
        let (count, ran) = samples
            .of(core)
            .fold((0, 0), |(count, ran), seen| (count + 1, ran + seen.period));
        let off = u64::abs_diff(ran, count * period);
        let what = &samples.what;
        assert!(
            count > 0 && off <= displaced,
            "{what}: core {core} has {count} samples in {ran}"
        );
    }
}

/// Asserts that chains end where the stack does, but where the workload's are longer
/// than a record.
#[track_caller]
fn assert_chains(samples: &Samples) {
    for seen in samples.all() {
        let may_be_cut = samples.task(&seen) == "recursion";
        assert!(
            seen.end == ChainEnd::Complete || may_be_cut && seen.end == ChainEnd::DepthLimit,
            "{}: {seen:x?}",
            samples.what
        );
    }
}

#[test]
fn every_model_samples_two_events_at_their_periods() {
    if is_skipped() {
        return;
    }
    for (cores, model) in [2, 3, 4].into_iter().cycle().zip(MODELS) {
        let run = counted(&format!(
            "--pmu {model} --smp {cores} --samples 3000 \
             --event cycles/period=700/,instructions/period=1100/k"
        ));
        let report = run.report();
        assert_events(&report, &[700, 1100]);
        assert_eq!(report["pmu"], model);
        let reason = report["source_reason"].as_str().unwrap();
        let says = "pmu: the first that works";
        assert!(reason.contains(says), "{model}: {reason}");
        let samples = run.samples();
        assert_accounted_for(&samples, 3000, model.starts_with("intel"));
        assert_chains(&samples);
    }
}

#[test]
fn periods_are_exact_on_any_number_of_cores() {
    if is_skipped() {
        return;
    }
    for (model, cores, period) in [
        ("intel-v5", 1, 100),
        ("amd-legacy", 4, 100),
        ("intel-v2", 4, 128),
        ("amd-v2", 16, 128),
        ("intel-v5", 16, 1000),
        ("amd-core-ext", 1, 1000),
        ("intel-v4", 4, 4096),
    ] {
        let samples = counted(&format!(
            "--pmu {model} --smp {cores} --period {period} --samples 3200"
        ))
        .samples();
        samples.assert_whole(cores, 3200);
        samples.assert_exact(period);
        assert_mean(&samples, period, 0);
        assert_chains(&samples);
    }
}

#[test]
fn maskable_overflows_do_not_see_interrupts_off() {
    if is_skipped() {
        return;
    }
    for model in ["intel-v5", "amd-v2", "amd-legacy"] {
        let of = |workload: &str| {
            let run = counted(&format!(
                "--pmu {model} --delivery irq --workload {workload} --samples 2000"
            ));
            let samples = run.samples();
            samples.assert_whole(4, 2000);
            let masked = |seen: &Seen| !seen.state.has(State::INTERRUPTS_ON);
            assert_eq!(samples.all().filter(masked).count(), 0, "{model}");
            samples
        };
        let open = of("arithmetic");
        open.assert_exact(1000);
        let off = of("interrupts-off");
        // Those that were due in a section come at its end; the next one is due where it
        // was all the same.
        let periods = off.periods();
        let (shortest, longest) = (periods[0], periods[periods.len() - 1]);
        assert!(shortest < 1000 && longest > 1000, "{shortest}, {longest}");
        for core in 0..4 {
            let mut position = 0;
            let due = off.of(core).filter(|seen| {
                position += seen.period;
                position % 1000 == 0
            });
            let due = due.count();
            assert!((100..400).contains(&due), "{model}: {due} where due");
        }
    }
    let off = "--pmu intel-v5 --workload interrupts-off --samples 2000";
    let seen = counted(off).samples();
    let masked = |seen: &Seen| !seen.state.has(State::INTERRUPTS_ON);
    let masked = seen.all().filter(masked).count();
    assert!((800..=1200).contains(&masked), "{masked} of 2000 by NMI");
}

/// By the clock, which counts the same instructions on a single core: where overflows come late,
/// what is loaded for the next one is what is left, and the record says what has run.
#[test]
fn what_comes_late_takes_nothing_from_the_next() {
    if is_skipped() {
        return;
    }
    for model in ["intel-v5", "amd-v2", "amd-legacy"] {
        let samples = counted(&format!(
            "--pmu {model} --delivery irq --smp 1 --workload interrupts-off --samples 4000 \
             --event instructions"
        ))
        .samples();
        let records = &samples.cores[0];
        let cost = |number: usize| Sample::decode(&records[number]).unwrap().handler_cost;
        let seen: Vec<_> = samples.of(0).collect();
        let late = seen.iter().filter(|seen| seen.period != 1000).count();
        assert!(late > 1000, "{model}: {late}");
        let off = |number: usize| {
            let passed = seen[number].time - seen[number - 1].time;
            let known = seen[number].period + u64::from(cost(number));
            passed.cast_signed() - known.cast_signed()
        };
        // Handlers that look for more than a sample have a longer way out; a fast one has the
        // shortest of all.
        let others: Vec<_> = (1..seen.len())
            .map(off)
            .filter(|off| ![-2, 0].contains(off))
            .collect();
        assert!(
            others.len() < 10 && others.iter().all(|&off| off > 0),
            "{model}: {others:?}"
        );
    }
}

#[test]
fn two_runs_are_the_same_to_the_bit() {
    if is_skipped() {
        return;
    }
    for arguments in [
        "--pmu intel-v5 --smp 4 --period 100",
        "--pmu amd-v2 --smp 4 --event cycles,instructions:k --period 997",
        "--pmu amd-legacy --smp 2 --delivery irq",
        "--pmu amd-core-ext --smp 2 --jitter 10",
    ] {
        let [first, second] = [(), ()].map(|()| counted(&format!("{arguments} --samples 3000")));
        assert_eq!(
            first.report()["sample_hash"],
            second.report()["sample_hash"],
            "{arguments}"
        );
        first.samples().assert_same(&second.samples());
    }
}

/// Both overflow at the same instruction, and there is one sample left.
#[test]
fn events_that_are_due_together_do_not_exceed_the_samples() {
    if is_skipped() {
        return;
    }
    let run = counted("--pmu intel-v5 --smp 1 --samples 2001 --event instructions,cycles");
    let report = run.report();
    assert_eq!(report["samples"], 2001);
    let counts = [0, 1].map(|index| report["events"][index]["samples"].as_u64());
    assert_eq!(counts, [Some(1001), Some(1000)]);
}

#[test]
fn several_events_at_once_are_told_apart() {
    if is_skipped() {
        return;
    }
    let periods = [700, 500, 500, 1300, 300];
    let run = counted(
        "--pmu intel-v5 --smp 2 --samples 6000 --event cycles/period=700/,cycles/period=500/,\
         instructions/period=500/k,ref-cycles/period=1300/,instructions/period=300/",
    );
    let report = run.report();
    assert_events(&report, &periods);
    // Its maximum would be what the other core executed meanwhile.
    let handler = &report["handler_instructions"];
    assert!(
        number(&handler["median"]) > 0 && handler["max"].is_null(),
        "{handler:#}"
    );
    let samples = run.samples();
    assert_accounted_for(&samples, 6000, true);
    for (index, period) in periods.into_iter().enumerate() {
        let own = samples
            .all()
            .filter(|seen| usize::from(seen.event) == index);
        let own = own.count() as u64;
        assert_eq!(report["events"][index]["samples"], own);
        // Both cores run as far as the other to half a period, or one has idled.
        let share = report["samples"].as_u64().unwrap() * 1000 / period;
        assert!(own > share / 20, "event {index}: {own}");

        let output = Command::new(env!("CARGO_BIN_EXE_pmiscope"))
            .args(["report", "--format", "json", "--event", &index.to_string()])
            .arg(&run.profile)
            .output()
            .unwrap();
        let filtered: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(filtered["samples"], own, "only event {index}");
        assert_eq!(filtered["period"]["requested"], period);
        assert_eq!(filtered["period"]["median"], period);
        assert_eq!(filtered["events"].as_array().unwrap().len(), 1);
    }
}

#[test]
fn jitter_displaces_and_keeps_the_mean() {
    if is_skipped() {
        return;
    }
    let jittered = |model: &str, seed: u32| {
        let run = counted(&format!(
            "--pmu {model} --smp 2 --samples 4000 --period 500 --jitter 20 --seed {seed}"
        ));
        let hash = run.report()["sample_hash"].as_str().unwrap().to_owned();
        let samples = run.samples();
        samples.assert_whole(2, 4000);
        (hash, samples)
    };
    for model in ["intel-v5", "amd-legacy"] {
        let (hash, samples) = jittered(model, 7);
        assert_mean(&samples, 500, 100);
        // Each of two neighbours may be off by a fifth, either way.
        let periods = samples.periods();
        let (least, most) = (periods[0], periods[periods.len() - 1]);
        assert!(
            (300..=340).contains(&least) && (660..=700).contains(&most),
            "{model}: from {least} to {most}"
        );
        let different: BTreeSet<_> = periods.iter().collect();
        assert!(different.len() > 200, "{} periods", different.len());
        assert_eq!(jittered(model, 7).0, hash, "the same seed");
        assert_ne!(jittered(model, 8).0, hash, "another seed");
    }
}

/// What any machine with counters has to do, whatever clock it runs by: two events at
/// once are sampled and each sample is accounted for, periods are kept in the mean, and
/// `stat` counts what is executed.
#[track_caller]
fn assert_counters_work(machine: &str) {
    let [cycles, instructions] = [500_000, 400_000];
    let run = counted(&format!(
        "{machine} --source pmu --smp 2 --samples 300 --workload arithmetic \
         --event cycles/period={cycles}/,instructions/period={instructions}/"
    ));
    let report = run.report();
    let samples = run.samples();
    for (index, period) in [cycles, instructions].into_iter().enumerate() {
        let event = &report["events"][index];
        assert_eq!(event["period"]["requested"], period, "{machine}: {event:#}");
        let median = number(&event["period"]["median"]);
        assert!(
            median.abs_diff(period) <= period / 100,
            "{machine}: a median of {median} is not {period}: {event:#}"
        );
        let own = samples
            .all()
            .filter(|seen| usize::from(seen.event) == index);
        let (count, ran) = own.fold((0, 0), |(count, ran), seen| (count + 1, ran + seen.period));
        assert!(
            ran.abs_diff(count * period) <= ran / 100,
            "{machine}: {count} samples in {ran} are not one in {period}: {event:#}"
        );
    }
    assert_accounted_for(&samples, 300, false);
    assert_chains(&samples);
    let work = |seen: &Seen| samples.task(seen) == "arithmetic";
    let (at_work, all) = (samples.all().filter(work).count(), samples.all().count());
    assert!(
        at_work * 10 > all * 9,
        "{machine}: {at_work} of {all} samples are of the workload"
    );

    let counts = |units: u64| {
        let counted = stat(&format!(
            "{machine} --smp 1 --workload arithmetic --units {units} --event instructions"
        ));
        let report = counted.ended_with(0).report();
        number(&report["events"][0]["count"])
    };
    let [some, more] = [50, 150].map(counts);
    // Units differ a little, by their numbers.
    let ratio = some * 300 / more;
    assert!(
        (90..=110).contains(&ratio),
        "{machine}: 50 units are {some} instructions, 150 are {more}"
    );
}

#[test]
fn counters_work_as_on_any_machine() {
    if is_skipped() {
        return;
    }
    for model in ["intel-v5", "amd-v2"] {
        assert_counters_work(&format!("--pmu {model}"));
    }
}

/// The same on real counters, where KVM offers them.
#[test]
fn counters_of_the_hosts_processor_work() {
    let qemu = Qemu::find(&Choice::Stock).unwrap();
    let kvm = Kvm::find(Some(&qemu));
    if !kvm.is_usable() {
        skip(&kvm.finding().says);
        return;
    }
    let (_, listed) = tool("list", "--qemu stock --mode kvm --smp 2 --json");
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let mut sources = listed["sources"].as_array().unwrap().iter();
    let counters = sources.find(|tried| tried["name"] == "pmu").unwrap();
    if counters["works"] == false {
        skip(&format!("KVM offers no counters: {}", counters["why"]));
        return;
    }
    assert_counters_work("--mode kvm");
}

/// The lab emulator with other properties of its processor.
pub fn variant(name: &str, properties: &str) -> String {
    lab_with(name, &format!("-cpu 'max,{properties}'"))
}

/// The lab emulator with two cores that differ in their properties.
fn hybrid(name: &str, first: &str, second: &str) -> String {
    let second = format!("max-x86_64-cpu,socket-id=1,core-id=0,thread-id=0,{second}");
    lab_with(
        name,
        &format!(
            "-smp 1,maxcpus=2,sockets=2,cores=1,threads=1 -cpu 'max,{first}' -device {second}"
        ),
    )
}

/// A program that is the lab emulator with these arguments behind all others.
pub fn lab_with(name: &str, more: &str) -> String {
    qemu_with(&Choice::Lab, name, more)
}

/// The same of any emulator.
pub fn qemu_with(qemu: &Choice, name: &str, more: &str) -> String {
    let qemu = Qemu::find(qemu).unwrap().program;
    let script = format!("#!/bin/sh\nexec '{}' \"$@\" {more}\n", qemu.display());
    let source = folder().join(format!("{name}.source"));
    fs::write(&source, script).unwrap();
    // Another process makes the program: one that is open for writing does not start.
    let path: PathBuf = folder().join(name);
    let arguments: [&OsStr; 4] = [
        "-m".as_ref(),
        "755".as_ref(),
        source.as_ref(),
        path.as_ref(),
    ];
    assert!(
        Process::new("install")
            .args(arguments)
            .status()
            .unwrap()
            .success()
    );
    path.to_str().unwrap().to_owned()
}

#[test]
fn late_interrupts_and_other_apics_are_as_exact() {
    if is_skipped() {
        return;
    }
    for (period, (name, properties)) in [100, 1000, 128].into_iter().cycle().zip([
        ("skid-intel", "-x2apic,x-pmu=intel-v4,x-pmu-skid=7"),
        ("skid-amd", "-x2apic,x-pmu=amd-v2,x-pmu-skid=7"),
        ("skid-legacy", "-x2apic,x-pmu=amd-legacy,x-pmu-skid=7"),
        ("open-intel", "-x2apic,x-pmu=intel-v5,x-pmu-lvtpc-mask=off"),
        ("masked-amd", "-x2apic,x-pmu=amd-v2,x-pmu-lvtpc-mask=on"),
        ("x2apic-intel", "x-pmu=intel-v5"),
        ("x2apic-amd", "x-pmu=amd-core-ext"),
    ]) {
        let qemu = variant(name, properties);
        let arguments = format!("--qemu {qemu} --smp 4 --samples 2000 --period {period}");
        let samples = counted(&arguments).samples();
        samples.assert_whole(4, 2000);
        // The code that runs is not stretched by what is late: that is known.
        samples.assert_exact(period);
        assert_mean(&samples, period, 0);
        assert_chains(&samples);
        for core in 0..4 {
            let places: BTreeSet<_> = samples.of(core).map(|seen| seen.pc).collect();
            assert!(places.len() > 30, "{name}: core {core}: {places:x?}");
        }
    }
}

#[test]
fn cores_that_differ_are_each_measured() {
    if is_skipped() {
        return;
    }
    // Another version whose interrupts are later; no global control, which makes the way
    // out of the handler another one.
    for (name, first, second) in [
        (
            "hybrid-intel",
            "-x2apic,x-pmu=intel-v5",
            "x2apic=off,x-pmu=intel-v4,x-pmu-skid=20",
        ),
        (
            "hybrid-amd",
            "-x2apic,x-pmu=amd-v2,x-pmu-skid=3",
            "x2apic=off,x-pmu=amd-legacy",
        ),
    ] {
        let qemu = hybrid(name, first, second);
        for delivery in ["nmi", "irq"] {
            let samples = counted(&format!(
                "--qemu {qemu} --delivery {delivery} --smp 2 --samples 2000 --period 200 \
                 --event cycles,instructions --workload arithmetic"
            ))
            .samples();
            if delivery == "nmi" {
                samples.assert_exact(200);
                assert_mean(&samples, 200, 0);
            } else {
                // Interrupts are off at the start.
                let periods = samples.periods();
                let exact = periods.iter().filter(|&&period| period == 200).count();
                assert!(
                    exact * 100 > periods.len() * 99,
                    "{name}: {exact} are exact"
                );
            }
            // Each interrupt comes where its overflow is due.
            for counters in &samples.counters {
                assert_eq!(counters.early, 0, "{name}: {delivery}: {counters:?}");
            }
        }
    }
}

/// The words for QEMU that make a hybrid processor with two performance cores.
const HYBRID: &str = "-- -global max-x86_64-cpu.x-hybrid=2";

/// The performance cores have the eight counters of the model, the others four.
#[test]
fn events_of_a_kind_of_core_are_sampled_and_counted_there_alone() {
    if is_skipped() {
        return;
    }
    let events = "cpu_core/instructions,period=700/,cpu_atom/instructions,period=900/";
    let run = counted(&format!(
        "--pmu intel-v5 --smp 4 --samples 2000 --workload arithmetic --event {events} {HYBRID}"
    ));
    let report = run.report();
    assert_events(&report, &[700, 900]);
    // A check is one of the event that the core counts.
    assert_eq!(report.get("warnings"), None, "{report:#}");
    let samples = run.samples();
    for core in 0..4 {
        let kinds: BTreeSet<_> = samples.of(core).map(|seen| seen.event).collect();
        assert_eq!(kinds, BTreeSet::from([u8::from(core >= 2)]), "core {core}");
        assert_eq!(samples.counters[core].stored, 500, "core {core}");
    }
    let counted = stat(&format!(
        "--pmu intel-v5 --smp 4 --workload arithmetic --units 3 --event instructions,{} {HYBRID}",
        "cpu_core/instructions/,cpu_atom/instructions/"
    ));
    let report = counted.ended_with(0).report();
    let counts = [0, 1, 2].map(|event| number(&report["events"][event]["count"]));
    let [all, core, atom] = counts;
    assert!(core > 0 && atom > 0, "{counts:?}");
    assert_eq!(all, core + atom, "{report:#}");
}

#[test]
fn what_one_kind_of_core_cannot_count_is_refused() {
    if is_skipped() {
        return;
    }
    for (options, reason) in [
        (
            format!("--smp 4 --event slots {HYBRID}"),
            "pmu: core 2: event 1, slots: this processor does not have the event",
        ),
        (
            format!("--smp 4 --event cpu_core/slots/ {HYBRID}"),
            "pmu: core 2: event 1, cpu_core/slots/: this core is of another kind",
        ),
        (
            "--smp 2 --event cpu_core/instructions/".into(),
            "all cores of this processor are of one kind",
        ),
    ] {
        let run = run(&format!("--pmu intel-v5 {options}")).ended_with(5);
        run.saying(&[reason]);
    }
    // No other core counts what these cannot.
    stat(&format!(
        "--pmu intel-v5 --smp 2 --event cpu_atom/cycles/ {HYBRID}"
    ))
    .ended_with(5)
    .saying(&["`cpu_atom/cycles/`: this core is of another kind"]);
}

#[test]
fn what_counters_cannot_do_falls_to_the_timer() {
    if is_skipped() {
        return;
    }
    for (arguments, reason) in [
        ("--period 1", "pmu: no period is shorter than 2; apic-timer"),
        ("--aim switch_task:3", "pmu: it takes no aim; apic-timer"),
        ("--pmu off", "apic-timer: the first that works"),
    ] {
        let run = run(&format!("--qemu lab --smp 1 --samples 2000 {arguments}")).ended_with(0);
        let said = run.report()["source_reason"].as_str().unwrap().to_owned();
        assert!(said.contains(reason), "{arguments}: {said}");
        assert_eq!(run.samples().description.source, Source::ApicTimer);
    }
    // By name it is as short as it can be, and that is said.
    let run = counted("--qemu lab --smp 1 --samples 2000 --source pmu --period 1");
    let event = run.report()["events"][0].clone();
    assert_eq!(event["period"]["requested"], 1);
    assert_eq!(event["period_set"], event["period_floor"]);
    assert_eq!(event["period"]["median"], event["period_floor"]);
}

#[test]
fn what_cannot_be_counted_is_refused_by_name() {
    if is_skipped() {
        return;
    }
    for (arguments, reason) in [
        (
            "--pmu intel-v5 --event cycles,branches",
            "pmu: event 2, branches: this processor does not have the event",
        ),
        (
            "--pmu amd-legacy --event slots",
            "pmu: event 1, slots: this processor does not have the event",
        ),
        (
            "--pmu intel-v2 --event cycles:k,cycles:u,cycles,instructions,instructions:k",
            "pmu: instructions:k: event 5 finds no counter: only counters 0-1 and fixed counter 0 can count it, and events before it need those",
        ),
        (
            "--pmu off --source pmu",
            "pmu: no counter keeps what is written to it",
        ),
    ] {
        let run = run(arguments).ended_with(5);
        let run = run.saying(&["the kernel could not sample", reason]);
        assert!(!run.profile.exists(), "a profile of nothing: {arguments}");
    }
}

/// They stop the counters for a while, which then go on from where they were.
#[test]
fn somebody_elses_nmis_cost_no_overflow() {
    if is_skipped() {
        return;
    }
    for model in ["intel-v5", "amd-legacy"] {
        let samples = counted(&format!(
            "--pmu {model} --delivery irq --smp 2 --workload nmi-storm --samples 2000"
        ))
        .samples();
        for counters in &samples.counters {
            assert_eq!(counters.stored, 1000, "{model}: {counters:?}");
            assert!(counters.unclaimed > 50, "{model}: {counters:?}");
        }
    }
}

/// Those with higher vectors are taken before a check's own, and return to where that one is
/// expected.
#[test]
fn interrupts_with_higher_vectors_are_in_no_check() {
    if is_skipped() {
        return;
    }
    let samples = run(
        "--pmu intel-v5 --delivery irq --smp 3 --self-test interrupts-above --samples 6000 \
         --event instructions --period 2000",
    )
    .ended_with(0)
    .samples();
    for counters in &samples.counters {
        let OverheadEnd(row) = &counters.overheads[0];
        if row.checks != 0 {
            assert_eq!([row.min, row.max], [row.busy; 2], "{counters:?}");
        }
    }
    let lost = |counters: &CoreEnd| counters.checks - counters.overheads[0].0.checks;
    let lost: u64 = samples.counters.iter().map(lost).sum();
    assert!(lost > 0, "{:?}", samples.counters);
}

/// The clock counts instructions, so a core that never halts executes one each tick: nothing
/// of the handlers that interrupt it meanwhile is in either.
#[test]
fn as_many_instructions_are_counted_as_went_by() {
    if is_skipped() {
        return;
    }
    for model in ["intel-v5", "amd-v2"] {
        let counted = stat(&format!(
            "--pmu {model} --smp 1 --workload arithmetic --units 20 --event instructions"
        ));
        let event = counted.ended_with(0).report()["events"][0].clone();
        assert!(number(&event["count"]) > 500_000, "{model}: {event:#}");
        assert_eq!(event["count"], event["enabled_ticks"], "{model}: {event:#}");
        assert_eq!(event["known_to_within"], 0, "{model}: {event:#}");
    }
}
