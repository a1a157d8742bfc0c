//! The fast handler: which samples it takes, and what nests in it.

use std::collections::BTreeSet;

use pmiscope::profile::CoreEnd;
use profiler::format::{ChainEnd, ChainEntry, Sample};

use crate::fixture::{Samples, Seen, sample};
use crate::pmu::{is_skipped, variant};

/// The vector of the NMI.
const NMI: u8 = 2;

/// Those of the samples that the fast handlers have taken.
fn fast(samples: &Samples) -> u64 {
    let of_core = |core: &CoreEnd| core.fast.expect("a count");
    samples.counters.iter().map(of_core).sum()
}

#[test]
fn the_usual_sample_is_taken_fast_whatever_the_source() {
    // What is run, and how many of a hundred samples are taken fast at least.
    for (run, least) in [
        ("--smp 1 --workload arithmetic", 99),
        ("--smp 4 --workload arithmetic", 99),
        ("--smp 2 --workload hash --delivery irq", 99),
        ("--smp 2 --workload arithmetic --source hpet", 90),
        (
            "--smp 2 --workload arithmetic --source hpet --delivery irq",
            90,
        ),
        ("--smp 2 --workload mix", 80),
    ] {
        let samples = sample(&format!("{run} --samples 4000"));
        let all = samples.all().count() as u64;
        let fast = fast(&samples);
        assert!(100 * fast >= least * all, "{run}: {fast} of {all}");
    }
}

#[test]
fn whatever_counters_do_a_sample_costs_little_more_than_that_of_one_event() {
    if is_skipped() {
        return;
    }
    let x2apic = variant("fast-x2apic", "x2apic=on,x-pmu=intel-v5");
    let x2apic = |more: &str| format!("--qemu {x2apic} --source pmu {more}");
    let lab = |model: &str, more: &str| format!("--qemu lab --pmu {model} --source pmu {more}");
    // By model or APIC: what one event costs, and what others may cost more.
    let (two, three) = ("instructions,cycles", "instructions,cycles,ref-cycles");
    let cost = |run: &str| {
        let run = format!("--smp 1 --workload arithmetic --samples 3000 {run}");
        let run = crate::fixture::run(&run).ended_with(0);
        let samples = run.samples();
        let (fast, all) = (fast(&samples), samples.all().count() as u64);
        // All but checks and what is behind them; and where two events are displaced, those that
        // interrupt so soon after each other that one wraps on the way.
        let least = if samples.what.contains("jitter") {
            75
        } else {
            95
        };
        assert!(
            100 * fast >= least * all,
            "{}: {fast} of {all}",
            samples.what
        );
        let median = &run.report()["handler_instructions"]["median"];
        median.as_u64().expect("a number")
    };
    let one = cost(&lab("intel-v5", ""));
    for (run, more) in [
        (lab("intel-v5", "--delivery irq"), 0),
        (lab("intel-v5", "--jitter 10"), 100),
        (lab("intel-v5", &format!("--event {two}")), 70),
        (lab("intel-v5", &format!("--event {three}")), 70 + 40),
        (
            lab("intel-v5", &format!("--event {two} --delivery irq")),
            70,
        ),
        (
            lab("intel-v5", &format!("--event {two} --jitter 10")),
            70 + 100,
        ),
        (lab("intel-v2", &format!("--event {two}")), 70),
        (lab("amd-v2", &format!("--event {two}")), 70),
        (lab("amd-core-ext", ""), 0),
        // Each has a register that stops and starts it.
        (lab("amd-legacy", &format!("--event {two}")), 70 + 20),
        (x2apic(""), 2),
        (x2apic("--delivery irq"), 4),
        (x2apic(&format!("--event {two}")), 70 + 2),
        (x2apic("--jitter 10"), 100),
    ] {
        let found = cost(&run);
        assert!(found <= one + more, "{run}: {found}, one event {one}");
    }
}

/// One NMI at each instruction of the handler in assembly, from where it has claimed its
/// overflow on, and at each of its exit.
#[test]
fn an_nmi_at_every_instruction_of_the_fast_handler_corrupts_nothing() {
    let run = "--smp 1 --workload arithmetic";
    for (aim, least) in [
        ("pmiscope_fast_claimed_nmi:0..150", 80),
        ("pmiscope_fast_left_nmi:0..11", 9),
    ] {
        let storm = sample(&format!("{run} --samples 4000 --aim {aim}"));
        // A handler in which it is aimed gives up.
        assert_eq!(fast(&storm) > 0, aim.contains("left"), "{aim}");
        let [counters] = &storm.counters[..] else {
            panic!("a core");
        };
        assert_eq!(
            (counters.taken, counters.lost, counters.unclaimed),
            (counters.stored, 0, 0),
            "{aim}: {counters:?}"
        );
        // Each number was given once, though the inner ones come first.
        let numbers: BTreeSet<_> = storm.all().map(|seen| seen.sequence).collect();
        assert_eq!(numbers.len(), storm.all().count(), "{aim}");
        let aimed: Vec<_> = storm.all().filter(|it| it.event == Sample::AIMED).collect();
        let places: BTreeSet<_> = aimed.iter().map(|seen| seen.pc).collect();
        assert!(places.len() >= least, "{aim}: {places:x?}");
        for seen in storm.all() {
            assert_eq!(seen.end, ChainEnd::Complete, "{aim}: {seen:x?}");
        }
        if aim.contains("left") {
            // What is aimed behind the handler's end takes the place of a period.
            continue;
        }
        // The interrupted code has noticed nothing.
        let outer: Vec<_> = storm.all().filter(|seen| !is_nested(seen)).collect();
        let calm = sample(&format!("{run} --samples {}", outer.len()));
        for (number, (outer, calm)) in outer.iter().zip(calm.all()).enumerate() {
            let expected = Seen {
                time: outer.time,
                sequence: outer.sequence,
                period: outer.period,
                ..calm
            };
            assert_eq!(*outer, expected, "{aim}: sample {number} of the arithmetic");
        }
    }
}

/// Whether the sample is of an NMI's handler, and not of the code below.
fn is_nested(seen: &Seen) -> bool {
    let mut chain = seen.chain.iter();
    chain.any(|entry| matches!(entry, ChainEntry::Crossing { vector: NMI, .. }))
}
