//! What real machines do and emulators do not, by the knobs of the lab emulator.
//!
//! An NMI on the landing of another one, as firmware lets it in whose handler of an SMI has an
//! `iret` (SDM vol. 3, "NMI Handling While in SMM"): at each instruction of the landing the run
//! must end with a message, since the first NMI's way back is overwritten. From the next
//! instruction on nothing must be lost.
//!
//! A timer that stands still while its core is halted: nothing may wait for it.

use std::thread;

use iced_x86::{Decoder, DecoderOptions};
use object::{Object, ObjectSection};
use profiler::address::CodeAddress;
use profiler::format::{ChainEnd, ChainEntry, State};

use crate::fixture::{Run, Samples, function, kernel, run, stat};
use crate::pmu::is_skipped;

/// The status of a guest that failed.
const FAILED: i32 = 4;

/// The NMIs of its calibration: two of what the handler costs, 16 of how late overflows come.
const PASSES_BEFORE: usize = 2 + 16;

/// A run of which the 30th NMI or so was begun when NMIs were let in.
const PASS: u32 = 30;

/// Runs `arguments` on the lab emulator with these properties of its devices.
fn run_with(arguments: &str, properties: &[String]) -> Run {
    let globals = properties.iter().map(|it| format!(" -global {it}"));
    let globals: String = globals.collect();
    run(&format!("--qemu lab {arguments} --{globals}"))
}

/// The same, with an NMI that is let in at `place` when it is passed for the `pass`th time.
fn run_with_window(arguments: &str, place: CodeAddress, pass: u32) -> Run {
    let cpu = "max-x86_64-cpu.x-nmi-window";
    let window = [
        format!("{cpu}={:#x}", place.0),
        format!("{cpu}-pass={pass}"),
    ];
    run_with(&format!("--source apic-timer {arguments}"), &window)
}

/// The addresses of the instructions from `from` on, up to `end`.
fn instructions(from: CodeAddress, end: CodeAddress) -> Vec<CodeAddress> {
    let file = object::File::parse(kernel()).unwrap();
    let text = file.section_by_name(".text").unwrap();
    let bytes = text.data_range(from.0, end.0 - from.0).unwrap().unwrap();
    let decoder = Decoder::with_ip(64, bytes, from.0, DecoderOptions::NONE);
    decoder
        .into_iter()
        .map(|instruction| CodeAddress(instruction.ip()))
        .collect()
}

/// Asserts that a window at each of `places` ends the run, two guests at a time.
#[track_caller]
fn assert_ends(arguments: &str, places: &[CodeAddress], pass: u32) {
    thread::scope(|scope| {
        for places in places.chunks(places.len().div_ceil(2)) {
            scope.spawn(move || {
                for &place in places {
                    let run = run_with_window(arguments, place, pass);
                    run.ended_with(FAILED).saying(&[
                        "invalid opcode (vector 6)",
                        "an NMI came while NMIs were blocked",
                        "stack pointer: core 0's NMI stack",
                    ]);
                }
            });
        }
    });
}

const ARITHMETIC: &str = "--smp 1 --workload arithmetic --samples 100";

#[test]
fn an_nmi_at_each_instruction_of_anothers_landing_ends_the_run() {
    if is_skipped() {
        return;
    }
    let landing = instructions(function("nmi_entry"), function("nmi_landed"));
    // As few as can be: an NMI there is a run that ends.
    assert_eq!(landing.len(), 30, "{landing:x?}");
    assert_ends(ARITHMETIC, &landing, PASS);
}

#[test]
fn an_nmi_right_behind_the_landing_is_handled_and_nothing_is_lost() {
    if is_skipped() {
        return;
    }
    let calm = run_with_window(ARITHMETIC, CodeAddress(8), 1).ended_with(0);
    let calm = calm.samples();
    let nested = run_with_window(ARITHMETIC, function("nmi_landed"), PASS).ended_with(0);
    let nested = nested.samples();
    let counters = &nested.counters[0];
    assert_eq!(
        (
            counters.taken,
            counters.stored,
            counters.unclaimed,
            counters.nested
        ),
        // The first one's handler had not begun: none came while another one ran.
        (101, 100, 1, 0),
        "{counters:?}"
    );
    // The second NMI found the first one's overflow, and took it.
    let number = PASS as usize - PASSES_BEFORE;
    let [second, first] = [nested.at(0, number), calm.at(0, number)];
    assert_eq!(second.pc, function("nmi_landed"));
    let crossing = second.chain[0];
    let crosses = matches!(crossing, ChainEntry::Crossing { vector: 2, pc, .. } if pc == first.pc);
    assert!(crosses && second.chain[1..] == first.chain, "{second:x?}");
    let before = |samples: &Samples| samples.all().take(number).collect::<Vec<_>>();
    assert_eq!(before(&nested), before(&calm));
    // What it interrupted goes on.
    assert!(
        nested
            .all()
            .skip(number + 1)
            .all(|seen| seen.end == ChainEnd::Complete)
    );
}

/// Where that is not known, cores halt for ever: counters and the timer stand still.
#[test]
fn no_core_halts_where_the_timer_stops_meanwhile() {
    if is_skipped() {
        return;
    }
    // Strict devices have no NMI of the timer's.
    for source in ["apic-timer --delivery irq", "pmu"] {
        let arguments = format!(
            "--smp 2 --workload yield-storm --source {source} --period 5000 --samples 400 \
             --timeout 90"
        );
        let run = run_with(&arguments, &["apic.x-no-arat=on".into()]).ended_with(0);
        let samples = run.samples();
        samples.assert_whole(2, 400);
        let halted = samples.all().find(|seen| seen.state.has(State::IDLE));
        assert_eq!(halted, None, "{source}");
    }
}

/// Counting has no source of samples whose begin would say so.
#[test]
fn no_core_halts_where_the_timer_stops_while_events_are_counted() {
    if is_skipped() {
        return;
    }
    let counted = stat(
        "--qemu lab --smp 2 --workload idle --units 100 --event instructions --timeout 90 \
         -- -global apic.x-no-arat=on",
    )
    .ended_with(0);
    let event = &counted.report()["events"][0];
    assert_eq!(event["cores_counted"], 2, "{event:#}");
}
