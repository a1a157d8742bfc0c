//! A ring that is not read fast enough: what fits stays whole, what does not is
//! counted.

use pmiscope::profile::Outcome;

use crate::fixture::{Guest, Seen, run};

const SAMPLES: u64 = 3000;
/// The smallest that the kernel takes.
const RING: u64 = 64 << 10;
/// Bytes of a unit of the ring.
const UNIT: u64 = 4;

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
        // What is stored is what the roomy ring has at this number: the code that is sampled does
        // not notice whether its samples are lost. What is not did not fit when it came, as a
        // record of its full length.
        let mut stored = full.of(core).zip(&full.ends[core]).peekable();
        let mut used = 0;
        for (sequence, seen) in (0..).zip(roomy.of(core)) {
            let what = |seen: &Seen| (seen.sequence, seen.pc, seen.chain.clone());
            if let Some((is, end)) = stored.next_if(|(is, _)| is.sequence == sequence) {
                assert_eq!(what(&is), what(&seen), "core {core}");
                used = *end;
            } else {
                let units = 2 * roomy.cores[core][sequence as usize].len() as u64;
                assert!(
                    used + units > RING / UNIT,
                    "core {core}: sample {sequence} of {units} units is lost with {used} used"
                );
            }
        }
        assert_eq!(stored.next(), None, "core {core}: not one of the samples");
        assert!(used <= RING / UNIT, "core {core}: {used} units");
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
