//! A ring that is not read fast enough: what fits stays whole, what does not is
//! counted.

use pmiscope::profile::Outcome;

use crate::fixture::{Guest, run};

const SAMPLES: u64 = 3000;
/// The smallest that the kernel takes.
const RING: u64 = 64 << 10;

/// Samples with nobody reading the rings.
fn unread(ring: u64) -> crate::fixture::Samples {
    // Chains of all lengths.
    let line = format!("workload=recursion period=1000 samples={SAMPLES} ring={ring}");
    let guest = Guest::boot(2, 128, &line).ended_with(Outcome::Finished, &[]);
    guest.samples(&line)
}

#[test]
fn a_ring_that_nobody_reads_keeps_what_came_first() {
    let roomy = unread(8 << 20);
    roomy.assert_whole(2, SAMPLES);
    let full = unread(RING);
    assert_eq!(full.description.ring_words, RING / 8);
    for (core, counters) in full.counters.iter().enumerate() {
        assert_eq!(counters.taken, SAMPLES / 2, "core {core}: {counters:?}");
        assert_eq!(
            counters.stored + counters.lost,
            counters.taken,
            "core {core}: {counters:?}"
        );
        assert!(counters.lost > 0, "core {core} has lost nothing");
        // What a ring of that size can take of the samples that came: each that
        // still fits when it comes. The code that is sampled does not notice whether
        // its samples are lost.
        let mut free = RING / 8;
        let mut fits = |record: &Vec<u64>| {
            let words = record.len() as u64;
            let fits = words <= free;
            free -= if fits { words } else { 0 };
            fits
        };
        let expected = roomy.cores[core].iter().map(&mut fits);
        let expected: Vec<_> = roomy
            .of(core)
            .zip(expected)
            .filter_map(|(seen, fits)| fits.then_some((seen.sequence, seen.pc, seen.chain)))
            .collect();
        let stored = full
            .of(core)
            .map(|seen| (seen.sequence, seen.pc, seen.chain));
        let stored: Vec<_> = stored.collect();
        let differ = stored.iter().zip(&expected).position(|(a, b)| a != b);
        assert_eq!(
            differ, None,
            "core {core}: the first that should not be there"
        );
        assert_eq!(stored.len(), expected.len(), "core {core}");
        assert_eq!(stored.len() as u64, counters.stored, "core {core}");
    }
}

#[test]
fn what_the_command_does_not_drain_in_time_is_counted() {
    let run = run("--ring 64K --samples 40000 --smp 1").ended_with(0);
    let samples = run.samples();
    let counters = &samples.counters[0];
    // How much that is depends on the host; that nothing is missing does not.
    assert_eq!(counters.stored + counters.lost, 40_000, "{counters:?}");
    assert_eq!(samples.cores[0].len() as u64, counters.stored);
    let report = run.report();
    assert_eq!(report["samples"], counters.stored);
    assert_eq!(report["lost"], counters.lost);
}
