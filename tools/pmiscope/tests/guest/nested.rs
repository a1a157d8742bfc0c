//! Overflows in the handler of an overflow: they come if something in the handler
//! returns from an exception, which lets NMIs in. An aim does exactly that, and then
//! lets one come at each instruction of the handler in turn.

use std::collections::BTreeSet;

use profiler::address::CodeAddress;
use profiler::format::{ChainEnd, ChainEntry, Sample, State};

use crate::fixture::{Samples, Seen, function, run, sample};

/// More than the instructions of a handler with arithmetic under it.
const HANDLER: u32 = 1300;

/// The vector of the NMI.
const NMI: u8 = 2;

fn aimed(seen: &Seen) -> bool {
    seen.event == Sample::AIMED
}

/// Whether the sample is of an NMI's handler, and not of the code below.
fn is_nested(seen: &Seen) -> bool {
    seen.chain
        .iter()
        .any(|entry| matches!(entry, ChainEntry::Crossing { vector: NMI, .. }))
}

/// Asserts that every overflow is there and that the chains are whole.
#[track_caller]
fn assert_accounted_for(samples: &Samples) {
    for (core, counters) in samples.counters.iter().enumerate() {
        assert_eq!(
            (counters.taken, counters.lost, counters.unclaimed),
            (counters.stored, 0, 0),
            "core {core}: {counters:?}"
        );
        assert_eq!(samples.cores[core].len() as u64, counters.stored);
        let nested = samples.of(core).filter(is_nested).count() as u64;
        assert_eq!(nested, counters.nested, "core {core}: nested");
        // Each number was given once, though the inner ones come first.
        let numbers: BTreeSet<_> = samples.of(core).map(|seen| seen.sequence).collect();
        assert_eq!(numbers.len(), samples.cores[core].len(), "core {core}");
        let last = numbers.last().map(|&last| last as usize);
        assert_eq!(last, Some(numbers.len() - 1));
    }
    for seen in samples.all() {
        assert_eq!(seen.end, ChainEnd::Complete, "{seen:x?}");
    }
}

#[test]
fn an_nmi_at_every_instruction_of_the_handler_corrupts_nothing() {
    let run = "--smp 1 --workload arithmetic";
    let storm = sample(&format!(
        "{run} --samples 6000 --aim nmi_landed:0..{HANDLER}"
    ));
    assert_accounted_for(&storm);
    // One nested handler in every other handler, until the aim was beyond its end.
    let nested: Vec<_> = storm.all().filter(is_nested).collect();
    assert!(
        nested
            .iter()
            .all(|seen| !seen.state.has(State::INTERRUPTS_ON)),
        "a handler with interrupts on"
    );
    assert!(nested.len() > 2000, "{} nested", nested.len());
    // At each instruction of the handler that a handler without nested ones comes by,
    // in order: the first round of the aim is one pass over it, instruction by
    // instruction.
    let places: BTreeSet<_> = nested.iter().map(|seen| seen.pc).collect();
    assert!(places.len() > 300, "at {} instructions only", places.len());
    let landed = function("nmi_landed");
    assert_eq!(nested[0].pc, landed, "the first one");

    // The interrupted code has noticed nothing: its samples are those that it has
    // when nobody aims.
    let outer: Vec<_> = storm.all().filter(|seen| !is_nested(seen)).collect();
    let calm = sample(&format!("{run} --samples {}", outer.len()));
    for (number, (outer, calm)) in outer.iter().zip(calm.all()).enumerate() {
        let expected = Seen {
            // These tell how long handlers took, and how many there were; and the aim is
            // before the place where a handler has read how long its period was.
            time: outer.time,
            sequence: outer.sequence,
            period: outer.period,
            ..calm
        };
        assert_eq!(*outer, expected, "sample {number} of the arithmetic");
    }
}

#[test]
fn nmis_in_handlers_leave_two_cores_and_all_workloads_whole() {
    // Recursion is left out: its chains are longer than a record.
    for workload in ["yield-storm", "ping-pong", "interrupts-off", "idle"] {
        let storm = sample(&format!(
            "--smp 2 --workload {workload} --samples 6000 --aim nmi_landed:0..{HANDLER}"
        ));
        for counters in &storm.counters {
            assert!(counters.nested > 500, "{workload}: {counters:?}");
            assert_eq!(counters.lost, 0, "{workload}: {counters:?}");
            assert_eq!(
                counters.taken,
                counters.stored + counters.unclaimed,
                "{workload}: {counters:?}"
            );
        }
    }
}

#[test]
fn an_nmi_at_every_instruction_of_the_handlers_exit_corrupts_nothing() {
    let aim = "pmiscope_left_xapic_nmi:0..11";
    let storm = sample(&format!(
        "--smp 1 --workload arithmetic --samples 3000 --aim {aim}"
    ));
    assert_accounted_for(&storm);
    let exit: BTreeSet<_> = storm.all().filter(aimed).map(|seen| seen.pc).collect();
    // Seven registers, the removal of the frame, the return, and what was interrupted.
    assert!(exit.len() >= 10, "{exit:x?}");
}

/// Where a kernel's stack is not yet, or no longer, what it should be: each with the
/// instructions behind it at which an overflow is to come, and the least number of
/// places at which that is.
const DELICATE: &[(&str, u32, usize)] = &[
    ("switch_task", 16, 16),
    ("resume_task", 10, 10),
    ("leave_task", 13, 13),
    ("halt_until_interrupt", 3, 3),
    ("trap_common", 40, 40),
    ("trap_leave", 17, 17),
    ("on_system_call", 60, 30),
    ("scheduler::first", 60, 30),
    ("pmiscope_left_xapic_nmi", 10, 10),
    // The handler's own copy into the ring is in there.
    ("nmi_landed", HANDLER, 300),
];

#[test]
fn an_overflow_at_each_instruction_of_delicate_code_leaves_every_chain_whole() {
    for &(function, instructions, places) in DELICATE {
        let what = format!("--aim {function}:0..{instructions}");
        let run = run(&format!(
            "--smp 2 --workload yield-storm --samples 20000 {what}"
        ))
        .ended_with(0);
        let samples = run.samples();
        for counters in &samples.counters {
            assert_eq!(
                counters.taken,
                counters.stored + counters.unclaimed,
                "{what}: {counters:?}"
            );
        }
        let aimed: BTreeSet<_> = samples.all().filter(aimed).map(|seen| seen.pc).collect();
        assert!(
            aimed.len() >= places,
            "{what}: at {} instructions only",
            aimed.len()
        );
        // As the report has them: with the callers that are on top of the stack.
        let ends = run.report()["chain_ends"].clone();
        let ends: Vec<_> = ends.as_object().unwrap().keys().cloned().collect();
        assert_eq!(ends, ["complete"], "{what}");
    }
}

#[test]
fn an_aim_comes_as_many_instructions_behind_a_function_as_it_says() {
    let entry = function("switch_task");
    for behind in [0_u64, 1, 7, 15] {
        let aim = format!("switch_task:{behind}");
        let samples = sample(&format!(
            "--smp 1 --workload yield-storm --samples 2000 --aim {aim}"
        ));
        samples.assert_whole(1, 2000);
        let at: BTreeSet<_> = samples.all().filter(aimed).map(|seen| seen.pc).collect();
        assert_eq!(at.len(), 1, "{aim}: {at:x?}");
        let at = at.first().unwrap().0;
        // None of its instructions is longer than four bytes.
        let bytes = behind..=4 * behind;
        assert!(bytes.contains(&(at - entry.0)), "{aim}: at {at:#x}");
    }
}

/// The instructions of `halt_until_interrupt` before its `hlt`, and where that is.
const TO_HALT: u64 = 3;
const HALT: u64 = 5;

/// An NMI between `sti` and `hlt` ends the shadow in which no other interrupt is recognized. One
/// that came during its handler is then taken before `hlt`, and must not be slept on: the
/// NMI returns behind it. So where each halt has such an NMI, no core is ever halted.
#[test]
fn a_core_that_is_interrupted_before_it_halts_looks_again() {
    let halt = CodeAddress(function("halt_until_interrupt").0 + HALT);
    for (workload, cores) in [("idle", 1), ("yield-storm", 1), ("yield-storm", 2)] {
        let what = format!("--workload {workload} --smp {cores}");
        let samples = sample(&format!(
            "{what} --period 100000 --samples 600 --aim halt_until_interrupt:{TO_HALT}"
        ));
        for counters in &samples.counters {
            assert_eq!(counters.taken, counters.stored, "{what}: {counters:?}");
        }
        // As it was interrupted, and not as it resumes; and nowhere else aimed.
        let (aimed, others): (Vec<_>, Vec<_>) = samples.all().partition(aimed);
        assert!(aimed.len() > 200, "{what}: {} aimed", aimed.len());
        for seen in &aimed {
            assert_eq!(seen.pc, halt, "{what}: {seen:x?}");
            assert!(!seen.state.has(State::IDLE), "{what}: {seen:x?}");
        }
        let mut others = others.iter();
        let asleep = others.find(|seen| seen.state.has(State::IDLE));
        assert_eq!(asleep, None, "{what}: the core sleeps");
    }
}
