//! Chains that are counted in place: they are those of the samples of the same run, and what does not
//! fit is lost nowhere.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use pmiscope::internals::Profile;
use pmiscope::profile::Outcome;
use profiler::address::{CodeAddress, StackAddress};
use profiler::format::Sample;
use profiler::format::sample::{MAX_WORDS, is_crossing};

use crate::fixture::{Guest, Run, run};
use crate::pmu::{is_skipped, variant};

/// How often a core had each chain, of a task, an event and a state: by its record without numbers.
type Counts = BTreeMap<(u32, Vec<u64>), u64>;

/// A sample's record without what is not kept: its numbers, and words on top of a stack that are no
/// addresses of the text.
fn without_numbers(profile: &Profile, sample: &Sample<'_>) -> Vec<u64> {
    let text = profile.description.text;
    let kept = |word: u64| {
        if text.contains(CodeAddress(word)) {
            word
        } else {
            0
        }
    };
    let mut chain = sample.chain_words.to_vec();
    let mut at = 0;
    while at < chain.len() {
        at += if is_crossing(chain[at]) {
            for word in &mut chain[at + 2..at + 4] {
                *word = kept(*word);
            }
            4
        } else {
            1
        };
    }
    let plain = Sample {
        sequence: 0,
        handler_cost: 0,
        time: 0,
        period: 0,
        sp: StackAddress(0),
        stack_top: sample.stack_top.map(kept),
        chain_words: &chain,
        ..*sample
    };
    let mut record = [0; MAX_WORDS];
    let len = plain.encode(&mut record);
    record[..len].to_vec()
}

/// All samples of a run, wherever they were counted.
fn counts(run: &Run) -> Counts {
    let profile = Profile::read(fs::read(&run.profile).unwrap()).unwrap();
    assert_eq!(profile.incomplete(), None);
    let mut counts = Counts::new();
    for core in 0..profile.cores() {
        profile
            .for_each_sample(core, |sample| {
                let chain = without_numbers(&profile, sample);
                *counts.entry((core, chain)).or_default() += 1;
            })
            .unwrap();
    }
    let mut words = Vec::new();
    for chain in profile.chains() {
        let stack = profile.stacks().get(chain.stack as usize).unwrap();
        let sample = Sample {
            task: chain.task,
            event: chain.event,
            ..stack.sample(&mut words)
        };
        let record = without_numbers(&profile, &sample);
        *counts.entry((chain.core, record)).or_default() += chain.samples;
    }
    counts
}

fn number(run: &Run, key: &str) -> u64 {
    let report = run.report();
    report[key]
        .as_u64()
        .unwrap_or_else(|| panic!("no {key} in {report}"))
}

/// Two runs with these arguments, of which one counts chains in place: chains and counts are the
/// same, and at least so many of a hundred samples were counted in place; and by the fast handler.
#[track_caller]
fn assert_same(arguments: &str, [in_place, fast]: [u64; 2]) -> Run {
    let samples = run(arguments).ended_with(0);
    let chains = run(&format!("{arguments} --keep chains")).ended_with(0);
    let [expected, found] = [&samples, &chains].map(counts);
    let all: u64 = expected.values().sum();
    assert_eq!(found.values().sum::<u64>(), all, "{arguments}");
    assert!(expected == found, "{arguments}: other chains or counts");
    let counted = number(&chains, "counted_in_place");
    assert_eq!(counted + number(&chains, "counted_in_rings"), all);
    assert!(
        100 * counted >= in_place * all,
        "{arguments}: {counted} of {all}"
    );
    let taken_fast = number(&chains, "fast_samples");
    assert!(
        100 * taken_fast >= fast * all,
        "{arguments}: {taken_fast} of {all} fast"
    );
    chains
}

#[test]
fn chains_of_a_timer_are_those_of_the_samples() {
    for (arguments, least) in [
        ("--smp 1 --workload layers --samples 8000", [99, 70]),
        // Of every depth: a key that the fast handler makes otherwise would be found slowly.
        ("--smp 1 --workload heap --samples 8000", [99, 70]),
        ("--smp 1 --workload recursion --samples 8000", [70, 2]),
        // Not the mix, which waits by the clock: the handler's own instructions move that on. And
        // not tasks that move to other cores: those go on meanwhile.
        ("--smp 4 --workload heap --samples 8000", [99, 10]),
        (
            "--smp 4 --workload heap --samples 8000 --period 100",
            [99, 40],
        ),
        (
            "--smp 2 --workload hash --samples 6000 --delivery irq",
            [99, 50],
        ),
        (
            "--smp 1 --workload heap --samples 2000 --source step",
            [99, 0],
        ),
    ] {
        assert_same(arguments, least);
    }
}

/// A handler in Rust, and counters: in one, in several of which some overflow together, and with
/// one core's code as independent of the others' as these workloads are.
#[test]
fn chains_of_counters_are_those_of_the_samples() {
    if is_skipped() {
        return;
    }
    let x2apic = variant("chains-x2apic", "x2apic=on,x-pmu=intel-v5");
    let lab = "--qemu lab --pmu intel-v5 --source pmu";
    for (arguments, least) in [
        (
            format!("{lab} --smp 1 --workload layers --samples 8000"),
            [99, 50],
        ),
        (
            format!("{lab} --smp 4 --workload arithmetic --samples 8000"),
            [99, 50],
        ),
        (
            format!("{lab} --smp 1 --workload layers --samples 8000 --event cycles,instructions"),
            // They overflow together, each time.
            [99, 0],
        ),
        (
            format!(
                "{lab} --smp 1 --workload hash --samples 6000 --event cycles,instructions --jitter 10 --seed 5"
            ),
            [99, 5],
        ),
        (
            "--qemu lab --pmu amd-legacy --source pmu --smp 1 --workload hash --samples 4000"
                .to_owned(),
            [99, 50],
        ),
        (
            format!("--qemu {x2apic} --source apic-timer --smp 2 --workload layers --samples 6000"),
            [99, 50],
        ),
    ] {
        assert_same(&arguments, least);
    }
}

#[test]
fn a_run_that_keeps_chains_repeats_and_says_what_is_not_there() {
    let arguments = "--workload mix --samples 4000 --keep chains";
    let [first, second] = [(), ()].map(|()| run(arguments).ended_with(0));
    let [one, two] = [&first, &second].map(Run::report);
    assert_eq!(one["chain_hash"], two["chain_hash"]);
    assert_eq!(one["samples"], 4000);
    assert!(one["sample_hash"].is_null() && one["period"]["median"].is_null());
    assert!(one["handler_instructions"].is_null());
    let report = |command: &[&str]| {
        let tool = Command::new(env!("CARGO_BIN_EXE_pmiscope"))
            .args(command)
            .arg(&first.profile)
            .output()
            .unwrap();
        let said = [tool.stdout, tool.stderr].concat();
        (tool.status.code(), String::from_utf8(said).unwrap())
    };
    let (status, text) = report(&["report"]);
    assert_eq!(status, Some(0), "{text}");
    assert!(text.contains("order, times and periods are not"), "{text}");
    let (status, text) = report(&["verify"]);
    assert_eq!(status, Some(1), "{text}");
    // Its period comes first.
    assert!(text.contains("pmiscope: "), "{text}");
    let by_core = [0, 1, 2, 3].map(|core| {
        let core = core.to_string();
        let (status, json) = report(&["report", "--format", "json", "--core", &core]);
        assert_eq!(status, Some(0), "{json}");
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        json["samples"].as_u64().unwrap()
    });
    assert_eq!(by_core, [1000; 4]);
}

/// The samples of each core of a guest that nobody has read: taken, in its table, in its ring, lost.
fn places(guest: &Guest) -> Vec<[u64; 4]> {
    let samples = guest.samples("a guest");
    let tables = guest.counted_in_tables();
    let cores = samples.cores.iter().zip(&samples.counters).zip(tables);
    cores
        .map(|((records, end), table)| {
            assert_eq!(end.stored, table + records.len() as u64);
            [end.taken, table, records.len() as u64, end.lost]
        })
        .collect()
}

#[test]
fn a_table_and_a_ring_that_are_too_small_lose_nothing_uncounted() {
    for (words, has) in [
        (
            "workload=mix samples=12000 table=16384 ring=65536",
            [true, true],
        ),
        (
            "workload=mix samples=12000 table=16384 ring=8388608",
            [true, false],
        ),
        (
            "workload=arithmetic samples=12000 table=1048576 ring=65536",
            [false, false],
        ),
    ] {
        let words = format!("source=apic-timer period=1000 keep=chains {words}");
        let guest = Guest::boot(2, 128, &words).ended_with(Outcome::Finished, &[]);
        for [taken, in_table, in_ring, lost] in places(&guest) {
            assert_eq!(taken, 6000, "{words}");
            assert_eq!(in_table + in_ring + lost, taken, "{words}");
            assert!(in_table > 0, "{words}");
            assert_eq!([in_ring > 0, lost > 0], has, "{words}: {in_ring}, {lost}");
        }
    }
}

/// Of chains that differ in their outermost callers alone, many share a bucket of a small table: none
/// is counted as another one.
#[test]
fn chains_of_one_bucket_are_counted_apart() {
    let arguments = "--smp 1 --self-test chains-alike --samples 8000 --ring 16M";
    let expected = counts(&run(arguments).ended_with(0));
    assert!(expected.len() > 1000, "only {} chains", expected.len());
    for table in ["16K", "32K", "64K", "128K", "256K"] {
        let found = run(&format!("{arguments} --keep chains --table {table}")).ended_with(0);
        assert!(counts(&found) == expected, "{table}: other chains");
    }
}

/// The same, drained: what is in rings and tables together is what the samples are.
#[test]
fn what_does_not_fit_a_table_is_in_the_ring() {
    let arguments = "--smp 4 --workload heap --samples 8000";
    let expected = counts(&run(arguments).ended_with(0));
    let small = run(&format!("{arguments} --keep chains --table 16K --ring 8M")).ended_with(0);
    assert!(counts(&small) == expected, "other chains or counts");
    assert!(number(&small, "counted_in_rings") > 1000);
    assert!(number(&small, "counted_in_place") > 1000);
    assert_eq!(number(&small, "lost"), 0);
}
