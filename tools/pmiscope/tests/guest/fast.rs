//! The fast handler: which samples it takes, and what nests in it.

use std::collections::BTreeSet;

use pmiscope::profile::{CoreEnd, Outcome};
use profiler::address::CodeAddress;
use profiler::format::{ChainEnd, ChainEntry, Sample, kind};

use crate::fixture::{Guest, Run, Samples, Seen, function, run, sample};
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
        ("--smp 2 --workload mix", 98),
        // Chains that cross interrupts, and begin in their entries.
        ("--smp 1 --workload layers", 99),
        ("--smp 2 --workload layers --delivery irq", 90),
        ("--smp 2 --workload ping-pong", 98),
        // Switches between stacks that lie far apart, and chains that begin in them.
        ("--smp 2 --workload yield-storm", 98),
        // Some chains are too deep.
        ("--smp 1 --workload recursion", 99),
        // Code of programs, and chains that go on into it.
        ("--smp 1 --workload process-arithmetic", 99),
        ("--smp 1 --workload process-calls", 95),
        ("--smp 2 --workload processes", 98),
        // A program that is to wait for its core's turn, where the wait lets interrupts in, is not
        // taken fast; alone a core has each turn.
        ("--smp 2 --workload processes --delivery irq", 40),
        ("--smp 2 --workload processes --source hpet", 90),
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
    for (workload, label, end, least) in [
        ("arithmetic", CLAIMED, WRITTEN, 80),
        // Two crossings: the walk over all.
        ("layers", CLAIMED, 1200, 500),
        ("arithmetic", "pmiscope_fast_left_nmi", 11, 9),
    ] {
        let run = format!("--smp 1 --workload {workload}");
        let aim = format!("{label}:0..{end}");
        let storm = sample(&format!("{run} --samples 4000 --aim {aim}"));
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
        if label != CLAIMED {
            // What is aimed behind the handler's end takes the place of a period.
            assert!(fast(&storm) > 0, "{aim}");
            continue;
        }
        if workload == "arithmetic" {
            assert_nested_in_each(&storm, &places);
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
            assert_eq!(*outer, expected, "{aim}: sample {number} of {workload}");
        }
    }
}

/// Where the handler has claimed its overflow, and a number of instructions behind which its record
/// is written.
const CLAIMED: &str = "pmiscope_fast_claimed_nmi";
const WRITTEN: u32 = 140;

/// Asserts that the places are all over the handler, and that it had got as far as it does if nothing
/// nests in it.
#[track_caller]
fn assert_nested_in_each(storm: &Samples, places: &BTreeSet<CodeAddress>) {
    let (claimed, left) = (function(CLAIMED), function("pmiscope_fast_left_nmi"));
    let within = places.range(claimed..left).count();
    assert!(within >= 80, "{within} of {}: {places:x?}", storm.what);
    assert!(fast(storm) > 0, "{}", storm.what);
}

/// What nests in a write in place lies behind a filler, and is lost where there is no room for both.
#[test]
fn a_write_that_nests_in_a_fast_one_lies_behind_a_filler() {
    const SAMPLES: u64 = 1000;
    let aim = function(CLAIMED).0;
    let boot = |ring: u64, aim: &str| {
        let line = format!("period=1000 workload=arithmetic samples={SAMPLES} ring={ring} {aim}");
        let guest = Guest::boot(1, 128, &line).ended_with(Outcome::Finished, &[]);
        let samples = guest.samples(&line);
        (guest, samples)
    };
    let storm = format!("aim={aim:#x}:0..{WRITTEN}");
    let roomy = 4 << 20;
    let (guest, samples) = boot(roomy, &storm);
    let heads = guest.record_heads(0, roomy);
    let of = |wanted: u8| heads.iter().filter(move |head| head.kind == wanted);
    let fillers = of(kind::FILLER).count();
    let written = of(kind::SAMPLE).count() + of(kind::COMPACT).count();
    assert_eq!(heads.len(), fillers + written, "{heads:?}");
    // One for each of the samples that has come in the middle of a write.
    assert!(fillers > 100, "{fillers}");
    assert_eq!(written as u64, samples.counters[0].stored);
    assert_eq!(samples.all().count(), written);
    // Behind each is what has nested in the write.
    let behind = heads.windows(2).filter(|pair| pair[0].kind == kind::FILLER);
    for pair in behind {
        assert_eq!(pair[1].kind, kind::SAMPLE, "{pair:?}");
    }
    let (guest, _) = boot(roomy, "");
    let heads = guest.record_heads(0, roomy);
    assert!(heads.iter().all(|head| head.kind != kind::FILLER));

    // Where it is full.
    let (_, samples) = boot(64 << 10, &storm);
    let counters = &samples.counters[0];
    assert!(counters.lost > 100, "{counters:?}");
    assert!(counters.taken >= SAMPLES, "{counters:?}");
    assert_eq!(
        counters.stored + counters.lost,
        counters.taken,
        "{counters:?}"
    );
    assert_eq!(
        samples.all().count() as u64,
        counters.stored,
        "{counters:?}"
    );
    let numbers: BTreeSet<_> = samples.all().map(|seen| seen.sequence).collect();
    assert_eq!(numbers.len() as u64, counters.stored);
}

/// A core that halts for so long that 2³² ticks are some hundred samples.
#[test]
fn times_and_periods_beyond_their_fields_are_whole() {
    for (period, samples) in [(16_000_000, 800), (20_000_000, 50), (1_000_000_000, 20)] {
        let what = format!("--smp 1 --workload idle --period {period} --samples {samples}");
        let seen = sample(&what);
        let all: Vec<_> = seen.all().collect();
        for pair in all.windows(2) {
            let between = pair[1].time - pair[0].time;
            assert!(
                (period..period + 100_000).contains(&between),
                "{what}: {between} between {pair:x?}"
            );
            assert!(
                (period..period + 1000).contains(&pair[1].period),
                "{what}: {pair:x?}"
            );
        }
        // Those of 2^24 ticks and more are not fast.
        let is_fast = period < 1 << 24;
        assert_eq!(100 * fast(&seen) > 95 * samples, is_fast, "{what}");
    }
}

/// What the handler of an exception shows of the registers, where the fast handler's own code is an
/// invalid opcode.
#[track_caller]
fn assert_registers_shown(run: &Run, label: &str, stack: &str) {
    let place = function(label).0;
    let said = run.said();
    // Behind what the tool says of it.
    let log = said.rsplit_once("invalid opcode (vector 6) at ");
    let (_, log) = log.unwrap_or_else(|| panic!("{label}: {said}"));
    let value = |register: &str| {
        let shown = log.split(&format!("  {register} ")).nth(1);
        let shown = shown.and_then(|rest| rest.get(..16));
        let shown = shown.unwrap_or_else(|| panic!("{label}: no {register}: {said}"));
        u64::from_str_radix(shown, 16).unwrap()
    };
    assert_eq!(value("rip"), place, "{label}: {said}");
    for (register, expected) in [
        ("rbx", 0x1b_1b1b_1b1b),
        ("rsi", 0x51_5151_5151),
        ("r8 ", 0x08_0808_0808),
        ("r9 ", 0x09_0909_0909),
        ("r10", 0x10_1010_1010),
        ("r11", 0x11_1111_1111),
        ("r12", 0x12_1212_1212),
        ("r13", 0x13_1313_1313),
        ("r14", 0x14_1414_1414),
        ("r15", 0x15_1515_1515),
    ] {
        assert_eq!(value(register), expected, "{label}, {register}: {said}");
    }
    // In the handler the frame is where the stack ends.
    assert_eq!(value("rbp"), value("rsp"), "{label}: {said}");
    assert!(said.contains(stack), "{label}: {said}");
}

#[test]
fn an_exception_in_a_fast_handler_shows_all_registers_there() {
    const NMIS: &str = "stack pointer: core 0's NMI handler stack";
    let of_task = "stack pointer: the stack of task";
    let counters = if is_skipped() {
        vec![]
    } else {
        vec![("--pmu intel-v5", "pmiscope_fast_one_xapic_status_nmi", NMIS)]
    };
    let of_timer = [
        ("", CLAIMED, NMIS),
        ("--delivery irq", "pmiscope_fast_claimed_irq", of_task),
    ];
    for (arguments, label, stack) in counters.into_iter().chain(of_timer) {
        let run = run(&format!(
            "--smp 1 --self-test fault-in-handler-midway {arguments}"
        ));
        let run = run.ended_with(4);
        assert_registers_shown(&run, label, stack);
        // What came before is shown.
        let samples = run.samples();
        let counters = &samples.counters[0];
        assert!(counters.stored > 1000, "{label}: {counters:?}");
        assert!(fast(&samples) > 1000, "{label}: {counters:?}");
    }
}

/// While NMIs are blocked one that is to stop the core comes, and an overflow's: the processor keeps
/// one of them.
#[test]
fn a_stop_is_not_lost_where_it_comes_with_an_overflow() {
    let mut machines = vec!["--mode realtime --source apic-timer --period 100000"];
    if !is_skipped() {
        // Not more than one period is over when they come.
        machines.extend([
            "--period 200000 --pmu intel-v5",
            "--period 200000 --pmu amd-legacy",
        ]);
    }
    for machine in machines {
        let run = run(&format!("--smp 2 --self-test merged-stop-midway {machine}"));
        let run = run.ended_with(4).saying(&["this panic was asked for"]);
        let said = run.said();
        assert!(!said.contains("has been lost"), "{machine}: {said}");
    }
}

/// Whether the sample is of an NMI's handler, and not of the code below.
fn is_nested(seen: &Seen) -> bool {
    let mut chain = seen.chain.iter();
    chain.any(|entry| matches!(entry, ChainEntry::Crossing { vector: NMI, .. }))
}
