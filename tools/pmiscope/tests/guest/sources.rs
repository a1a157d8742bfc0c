//! Where overflows come from, and how they interrupt.

use profiler::format::{ChainEnd, Clock, Source, State};

use crate::fixture::{Samples, listed, run, sample, stat};

/// How many samples saw interrupts off.
fn masked(samples: &Samples) -> usize {
    let masked = |seen: &crate::fixture::Seen| !seen.state.has(State::INTERRUPTS_ON);
    samples.all().filter(masked).count()
}

fn median(samples: &Samples) -> u64 {
    let periods = samples.periods();
    periods[periods.len() / 2]
}

#[test]
fn maskable_overflows_are_as_exact_where_nothing_masks_them() {
    let samples = sample("--delivery irq --workload arithmetic --samples 4000 --period 1000");
    samples.assert_whole(4, 4000);
    samples.assert_exact(1000);
    for seen in samples.all() {
        assert!(
            seen.state.has(State::INTERRUPTS_ON) && !seen.state.has(State::NMI),
            "an interrupt came as {seen:x?}"
        );
        assert_eq!(seen.end, ChainEnd::Complete, "{seen:x?}");
    }
}

#[test]
fn maskable_overflows_do_not_see_interrupts_off() {
    let samples = sample("--delivery irq --workload interrupts-off --samples 4000");
    samples.assert_whole(4, 4000);
    assert_eq!(masked(&samples), 0, "samples with interrupts off, by IRQ");
    let periods = samples.periods();
    assert_eq!(median(&samples), 1000);
    assert!(
        periods[0] == 1000 && periods[periods.len() - 1] > 1000,
        "no period was stretched by a section with interrupts off"
    );
}

#[test]
fn nmis_see_interrupts_off() {
    let samples = sample("--delivery nmi --workload interrupts-off --samples 4000");
    samples.assert_whole(4, 4000);
    samples.assert_exact(1000);
    assert!(samples.all().all(|seen| seen.state.has(State::NMI)));
    // Half of the workload.
    let masked = masked(&samples);
    assert!((1600..=2400).contains(&masked), "{masked} of 4000");
}

#[test]
fn the_hpet_repeats_to_the_bit() {
    let [first, second] = [(), ()].map(|()| sample("--source hpet --samples 4000"));
    assert_eq!(first.description.source, Source::Hpet);
    first.assert_whole(4, 4000);
    first.assert_same(&second);
    // It counts in units of ten instructions. Where between two counts it is armed moves a period
    // by up to 9, and the mean that is taken off for that is rounded to a count.
    let periods = first.periods();
    let off = |period: &&u64| period.abs_diff(1000) >= 16;
    assert_eq!(listed(periods.iter().filter(off)), "", "periods");
}

#[test]
fn another_core_can_ask_for_samples() {
    let samples = sample("--source ipi --samples 400");
    assert_eq!(samples.description.source, Source::Ipi);
    samples.assert_whole(4, 400);
    assert!(
        samples.periods()[0] >= 1000,
        "a period below the requested one"
    );
}

#[test]
fn a_source_that_is_not_there_is_refused() {
    for (arguments, reason) in [
        (
            "--source pmu",
            "pmu: no counter keeps what is written to it (counters 0-3); there are apic-timer, hpet, ipi, step (pmiscope doctor says what to change)",
        ),
        (
            "--source ipi --smp 1",
            "ipi: a single core has nobody to interrupt it",
        ),
        ("--source ipi --delivery irq", "ipi: it delivers NMIs only"),
        (
            "--source hpet --smp 25",
            "hpet: it can serve 24 cores and there are 25",
        ),
    ] {
        let run = run(arguments).ended_with(5);
        let run = run.saying(&[&format!("the kernel could not sample: {reason}")]);
        assert_eq!(run.said().lines().count(), 1, "{}", run.said());
        assert!(!run.profile.exists(), "a profile of nothing: {arguments}");
    }
}

#[test]
fn auto_says_of_each_source_why_none_works() {
    let run = run("--event cycles").ended_with(5);
    assert_eq!(
        run.said(),
        "pmiscope: the kernel could not sample: no source works: \
         pmu: no counter keeps what is written to it (counters 0-3); \
         apic-timer: it counts no events; hpet: it counts no events; ipi: it counts no events \
         (pmiscope doctor says what to change)\n"
    );
}

#[test]
fn counting_without_counters_is_refused() {
    for arguments in [
        "",
        "--event instructions:k --workload hash --smp 1 --units 3",
    ] {
        let stat = stat(arguments).ended_with(5).saying(&[
            "the kernel could not count: it needs performance counters: pmu: ",
            "; there are apic-timer, hpet",
        ]);
        assert!(!stat.profile.exists(), "a profile of nothing: {arguments}");
    }
}

/// By the clock nothing is exact, but everything is accounted for.
#[track_caller]
fn assert_by_the_clock(cores: usize) {
    let samples = sample(&format!("--mode realtime --smp {cores} --samples 800"));
    assert_eq!(samples.description.clock, Clock::Time);
    assert_eq!(samples.cores.len(), cores);
    for (core, counters) in samples.counters.iter().enumerate() {
        assert!(!samples.cores[core].is_empty(), "core {core} has no sample");
        assert_eq!(
            counters.taken,
            counters.stored + counters.lost + counters.unclaimed,
            "core {core}: {counters:?}"
        );
        let produced = counters.stored + counters.lost;
        assert_eq!(produced, 800 / cores as u64, "core {core}'s share");
        assert_eq!(samples.cores[core].len() as u64, counters.stored);
    }
    // A loaded host delays, it does not hurry.
    assert!(median(&samples) >= 900_000, "{} ns", median(&samples));
}

#[test]
fn four_cores_in_parallel_sample_by_the_clock() {
    assert_by_the_clock(4);
}

#[test]
fn sixteen_cores_in_parallel_sample_by_the_clock() {
    assert_by_the_clock(16);
}

/// Each core is interrupted by NMIs that are no overflows. What they take is not the
/// interrupted code's: the overflow that is due comes early by that, and says so.
#[test]
fn what_other_nmis_take_is_in_no_period() {
    let samples = sample("--smp 2 --workload nmi-storm --samples 2000");
    for (core, counters) in samples.counters.iter().enumerate() {
        assert_eq!(counters.stored, 1000, "core {core}: {counters:?}");
        assert!(counters.unclaimed > 50, "core {core}: {counters:?}");
        let running = samples.of(core).filter(|seen| !seen.state.has(State::IDLE));
        let short = running.filter(|seen| seen.period < 1000).count();
        assert!(short > 50, "core {core}: only {short} came early");
    }
}

/// An NMI that nobody has asked for, while the timer runs, is no sample: the fast handler leaves it
/// to be counted.
#[test]
fn an_nmi_before_the_timer_has_run_out_is_no_sample() {
    let samples = sample("--smp 2 --self-test foreign-nmis --samples 2000");
    for (core, counters) in samples.counters.iter().enumerate() {
        assert_eq!(counters.stored, 1000, "core {core}: {counters:?}");
        assert!(counters.unclaimed > 500, "core {core}: {counters:?}");
        assert_eq!(counters.taken, 1000 + counters.unclaimed, "core {core}");
        // At most one comes in a period, and takes less than a third of it.
        let mut periods = samples.of(core).map(|seen| seen.period);
        assert!(periods.all(|period| period > 666), "core {core}");
    }
}
