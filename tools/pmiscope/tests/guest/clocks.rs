//! What time is measured by, where it is time; HPETs as the manual has them, on the lab
//! emulator.

use profiler::format::{Clock, ClockReference, Source};

use crate::fixture::{Samples, run, sample, tool};
use crate::pmu::is_skipped;

/// What a command printed, in one line.
fn flat(said: &str) -> String {
    said.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Samples by every source that a machine without an HPET has, by ACPI's timer.
#[test]
fn without_an_hpet_every_other_source_samples() {
    for (name, source) in [("auto", Source::ApicTimer), ("ipi", Source::Ipi)] {
        let arguments =
            format!("--mode realtime --source {name} --smp 2 --samples 100 -- -machine hpet=off");
        let samples = sample(&arguments);
        // A core that was too slow for `ipi` is asked twice, and one NMI is none's.
        assert_all(&samples);
        assert_eq!(samples.description.source, source);
        assert_eq!(samples.description.clock, Clock::Time);
        let reference = samples.description.clock_reference;
        assert_eq!(reference, ClockReference::PmTimer, "{arguments}");
        assert!(samples.description.clock_within > 0);
    }
}

#[test]
fn doctor_and_list_say_what_the_clock_was_measured_by() {
    for (command, machine, by) in [
        ("doctor", "on", "the HPET"),
        ("doctor", "off", "the ACPI PM timer"),
        ("list", "off", "the ACPI PM timer"),
    ] {
        let arguments = format!("--smp 1 --mode realtime -- -machine hpet={machine}");
        let (status, said) = tool(command, &arguments);
        assert_eq!(status, Some(0), "{said}");
        let measured = format!("in nanoseconds, measured by {by}, to within");
        assert!(flat(&said).contains(&measured), "{said}");
    }
}

/// What the core has executed before it halts is a part of the time that is left to its timer.
/// QEMU's main loop, when it skips the rest, may look before the core's thread has said so.
#[test]
fn no_halt_is_longer_than_its_timer() {
    if is_skipped() {
        return;
    }
    let halts = "--workload idle --smp 1 --period 1000 --samples 200000";
    let samples = sample(&format!("--qemu lab --source apic-timer {halts}"));
    samples.assert_exact(1000);
}

/// Samples on the lab emulator, with an HPET that is like this.
#[track_caller]
fn by_hpet(arguments: &str, hpet: &str) -> Samples {
    let arguments = format!("--qemu lab --source hpet --smp 2 {arguments} -- {hpet}");
    let samples = sample(&arguments);
    assert_eq!(samples.description.source, Source::Hpet);
    samples
}

/// All 100 are there. A comparator that was moved on may have matched before: that interrupt
/// is none's.
#[track_caller]
fn assert_all(samples: &Samples) {
    for (counters, seen) in samples.counters.iter().zip(&samples.cores) {
        assert_eq!((counters.stored, counters.lost), (50, 0), "{counters:?}");
        assert_eq!(counters.taken, 50 + counters.unclaimed, "{counters:?}");
        assert_eq!(seen.len(), 50);
    }
}

/// A comparator that is missed would never match again: the run would not end.
#[test]
fn comparators_that_match_on_equality_are_not_missed() {
    if is_skipped() {
        return;
    }
    for delay in [1, 10, 100] {
        let hpet = format!("-global hpet.x-delay={delay}");
        let samples = by_hpet("--mode realtime --samples 100", &hpet);
        assert_all(&samples);
        assert_eq!(samples.description.clock_reference, ClockReference::Hpet);
    }
}

/// The counter goes round a moment after it was started.
#[test]
fn an_hpet_may_have_32_bits() {
    if is_skipped() {
        return;
    }
    let hpet = "-global hpet.x-32-bit=on -global hpet.x-start=0xfff00000";
    let samples = by_hpet("--mode realtime --samples 100", hpet);
    assert_all(&samples);
    let samples = by_hpet("--pmu off --period 10000 --samples 1000", hpet);
    samples.assert_whole(2, 1000);
    let periods = samples.periods();
    let median = periods[periods.len() / 2];
    assert!(median.abs_diff(10_000) <= 20, "{median}");
}

#[test]
fn periods_that_a_strict_hpet_cannot_keep_are_refused() {
    if is_skipped() {
        return;
    }
    let strict = "-global hpet.x-delay=10";
    let asked = |period| {
        format!(
            "--qemu lab --pmu off --source hpet --smp 2 --samples 1000 --period {period} -- {strict}"
        )
    };
    let refused = run(&asked(1000)).ended_with(5);
    assert!(!refused.profile.exists(), "a profile of nothing");
    let said = refused.said();
    let reason = "a period of 1000 makes no progress here: the smallest that does is ";
    let least = said.split_once(reason).map(|(_, rest)| rest);
    let least = least.and_then(|rest| rest.split(' ').next()?.parse().ok());
    let least: u64 = least.unwrap_or_else(|| panic!("{said}"));
    run(&asked(least - 1)).ended_with(5);
    let samples = sample(&asked(least));
    assert_eq!(samples.description.period_floor, least);
    samples.assert_whole(2, 1000);
    let periods = samples.periods();
    let median = periods[periods.len() / 2];
    assert!(median.abs_diff(least) <= 20, "{median}, not {least}");
}

/// Why there is none is said wherever one could be expected.
#[test]
fn an_hpet_that_is_not_where_acpi_says_is_none() {
    if is_skipped() {
        return;
    }
    let reason = "the HPET is not where it should be: it reads as all ones";
    let absent = "-- -global hpet.x-absent=on";
    let arguments = format!("--qemu lab --mode realtime --smp 2 --samples 100 {absent}");
    let samples = sample(&arguments);
    assert_eq!(samples.description.source, Source::ApicTimer);
    assert_eq!(samples.description.clock_reference, ClockReference::PmTimer);
    run(&format!("--qemu lab --source hpet --smp 2 {absent}"))
        .ended_with(5)
        .saying(&[&format!("hpet: {reason}")]);
    let skipped = format!("--qemu lab --pmu off --smp 1 {absent}");
    let (status, said) = tool("list", &skipped);
    assert_eq!(status, Some(0), "{said}");
    let said = flat(&said);
    let not_here = format!("hpet as NMI not here: {reason}");
    assert!(said.contains(&not_here), "{said}");
    let (_, said) = tool("doctor", &skipped);
    let said = flat(&said);
    assert!(said.contains(&format!("hpet none: {reason}")), "{said}");
}

/// By how many ticks of the time stamp counter the second core is behind: 10 to 50 seconds, by
/// the host's rate.
const SKEW: u64 = 50_000_000_000;
const LEAST_SKEW: u64 = SKEW / 5;

#[test]
fn clocks_of_cores_that_differ_are_compared() {
    if is_skipped() {
        return;
    }
    let skewed = format!("-- -global max-x86_64-cpu.x-tsc-skew={SKEW}");
    let arguments = format!("--qemu lab --mode realtime --smp 2 --samples 100 {skewed}");
    let samples = sample(&arguments);
    samples.assert_whole(2, 100);
    let found = samples.description.tsc_difference;
    assert!((LEAST_SKEW..=SKEW).contains(&found), "{found}");
    let within = samples.description.tsc_within;
    assert!(u64::from(within) < LEAST_SKEW, "{within}");
    // What was not corrected would be before the run: all at its beginning.
    let last = [0, 1].map(|core| samples.of(core).map(|seen| seen.time).max().unwrap());
    assert!(last.iter().all(|&last| last < LEAST_SKEW), "{last:?}");
    assert!(last[1] > last[0] / 2, "{last:?}");
}
