//! The fast handler: which samples it takes, and what nests in it.

use std::collections::BTreeSet;

use pmiscope::profile::CoreEnd;
use profiler::format::{ChainEnd, ChainEntry, Sample};

use crate::fixture::{Samples, Seen, sample};

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
        ("--smp 2 --workload mix", 98),
        // Chains that cross interrupts, and begin in their entries.
        ("--smp 1 --workload layers", 99),
        ("--smp 2 --workload layers --delivery irq", 90),
        ("--smp 2 --workload ping-pong", 98),
        // Switches between stacks that lie far apart, and chains that begin in them.
        ("--smp 2 --workload yield-storm", 98),
        // Some chains are too deep.
        ("--smp 1 --workload recursion", 99),
    ] {
        let samples = sample(&format!("{run} --samples 4000"));
        let all = samples.all().count() as u64;
        let fast = fast(&samples);
        assert!(100 * fast >= least * all, "{run}: {fast} of {all}");
    }
}

/// One NMI at each instruction of the handler in assembly, from where it has claimed its
/// overflow on, and at each of its exit.
#[test]
fn an_nmi_at_every_instruction_of_the_fast_handler_corrupts_nothing() {
    for (workload, aim, least) in [
        ("arithmetic", "pmiscope_fast_claimed_nmi:0..150", 80),
        // Two crossings: the walk over all.
        ("layers", "pmiscope_fast_claimed_nmi:0..1200", 500),
        ("arithmetic", "pmiscope_fast_left_nmi:0..11", 9),
    ] {
        let run = format!("--smp 1 --workload {workload}");
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
