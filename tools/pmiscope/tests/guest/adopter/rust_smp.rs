//! The kernel in Rust for all cores, by Limine (`tools/adopters/rust-smp`).

use pmiscope::profile::Outcome;

use super::CORES;
use super::kernel::Kernel;
use super::round::{Round, TOLERANCE, assert_exact, shown};
use super::verified;
use crate::ctl::Going;
use crate::fixture::{Guest, built};
use crate::pmu::is_skipped;

fn kernel() -> Kernel {
    Kernel::rust("rust-smp")
}

/// Asserts that a run shows what was executed, on all machines, at one period or the other, with as
/// many samples as there are instructions in a round on each core.
#[track_caller]
fn assert_shares(source: &str, arguments: &str) {
    for (cores, periods) in [(1, &[1000, 100][..]), (4, &[100]), (16, &[1000])] {
        for &period in periods {
            let samples = cores * 8581;
            let arguments = format!(
                "{arguments} --source {source} --smp {cores} --period {period} --samples {samples}"
            );
            let run = kernel().profile(&arguments);
            let (report, round) = (run.report(), Round::of_log(&run.said()));
            assert_eq!(round.measured, round.instructions, "{arguments}");
            assert_eq!(samples, cores * round.instructions, "each instruction once");
            assert_exact(&report, &arguments, samples, period);
            assert_eq!(report["source"], source, "{arguments}");
            assert_eq!(report["cores"].as_array().unwrap().len() as u64, cores);
            let differences = round.differences(&report, TOLERANCE);
            assert!(differences.is_empty(), "{arguments}: {differences:#?}");
        }
    }
}

#[test]
fn a_round_is_what_it_is_made_of() {
    for cores in CORES {
        let cores = u32::try_from(cores).unwrap();
        let guest = Guest::boot_kernel(kernel().path, cores, 256, "samples=100");
        let round = Round::of_log(&guest.log);
        let own = round.functions.values().map(|(own, _)| own);
        assert_eq!(own.sum::<u64>(), round.instructions);
        assert_eq!(round.measured, round.instructions, "by the counter");
        // The case that was wrong by a factor has shares like these.
        assert_eq!(round.functions["checksum"].0, 5 + 4 * 72);
        assert_eq!(round.functions["fibonacci"].0, 144 * 7 + 143 * 17);
        assert_eq!(round.instructions, 8581);
    }
}

#[test]
fn shares_by_the_timer_are_what_was_executed() {
    assert_shares("apic-timer", "");
}

/// Its first core starts the sampler with interrupts off; and which core an interrupt has
/// come to is searched, which takes longer for some than for others.
#[test]
fn periods_are_exact_by_irq() {
    for cores in CORES {
        let samples = cores * 1000;
        let arguments = format!("--delivery irq --smp {cores} --period 1000 --samples {samples}");
        let report = kernel()
            .profile(&format!("--source apic-timer {arguments}"))
            .report();
        assert_eq!(report["samples"], samples, "{arguments}");
        assert_eq!(report["lost"], 0, "{arguments}");
        for what in ["min", "median"] {
            assert_eq!(report["period"][what], 1000, "{arguments}: {what} period");
        }
    }
}

/// It says nothing of breakpoints itself: the entries that it has are the library's.
#[test]
fn aims_at_the_landing_are_refused() {
    let run = kernel()
        .attempt("--source apic-timer --smp 1 --aim nmi_entry:0..5")
        .ended_with(5);
    run.saying(&["no NMI can come where one has just landed"]);
}

/// Its glue only starts runs.
#[test]
fn a_survey_that_nobody_makes_is_refused() {
    let guest = Guest::boot_kernel(kernel().path, 2, 256, "take=survey");
    guest.ended_with(Outcome::SamplingUnavailable, &["this kernel only samples"]);
}

#[test]
fn shares_by_counters_are_what_was_executed() {
    if is_skipped() {
        return;
    }
    assert_shares("pmu", "--pmu intel-v5 --event instructions");
}

#[test]
fn chains_are_true_at_each_instruction() {
    // A round and more on each core, but for the 16.
    for (cores, samples) in [(1, 20_000), (4, 60_000), (16, 48_000)] {
        verified::assert_true(&kernel(), cores, samples, "4M");
    }
}

/// Its last core has had enough after some rounds, and says so; the others would go on.
#[test]
fn a_panic_on_one_core_ends_the_run_and_what_was_sampled_until_then_is_shown() {
    const ROUNDS: u64 = 100;
    for cores in CORES {
        let arguments =
            format!("--source apic-timer --workload panic --smp {cores} --samples 1000000");
        let run = kernel().attempt(&arguments).ended_with(4);
        let last = cores - 1;
        let panic = format!("core {last} has done {ROUNDS} rounds, and that is enough");
        let run = run.saying(&["the kernel panicked", &panic]);
        let (report, round) = (run.report(), Round::of_log(&run.said()));
        let what = format!("{arguments}: {report:#}");
        assert_eq!(report["period"]["max"], 1000, "{what}");
        assert_eq!(report["lost"], 0, "{what}");
        // The last core's rounds, and what it has told. The others had the same turns.
        let least = ROUNDS * round.instructions / 1000;
        for core in report["cores"].as_array().unwrap() {
            let samples = core["samples"].as_u64().unwrap();
            assert!((least..least + 20).contains(&samples), "{what}");
        }
        let total = |name: &str| shown(&report).get(name).map_or(0, |&(_, total)| total);
        let samples = report["samples"].as_u64().unwrap();
        assert!(total("work") + 5 * cores >= samples, "{what}");
        // Until it happened it was rounds; it is within the last core's work, no other's.
        let off = samples - total("rounds");
        assert!(off < 10 + 5 * cores, "{off} beside rounds: {what}");
    }
}

#[test]
fn the_period_is_changed_while_it_runs() {
    if is_skipped() {
        return;
    }
    let (kernel, loader) = (kernel().path, built("loader"));
    let (kernel, loader) = (kernel.display(), loader.display());
    let run = Going::endless(
        "ctl-adopter",
        &format!(
            "--kernel {kernel} --loader {loader} --memory 256M --ring 4M --smp 4 \
             --pmu intel-v5 --event instructions --period 1000"
        ),
    );
    run.does("period 700");
    run.go_on(1000);
    let report = run.end();
    let events = report["events"].as_array().unwrap().iter();
    let periods = events.map(|event| {
        assert!(event["samples"].as_u64() > Some(0), "{event:#}");
        let [min, max] = ["min", "max"].map(|what| event["period"][what].as_u64().unwrap());
        assert_eq!(min, max, "{event:#}");
        min
    });
    // What is lost depends on how fast this machine is.
    assert_eq!(periods.collect::<Vec<_>>(), [1000, 700]);
}
