//! NMIs over debug exceptions over NMIs. An aim at an instruction that a handler executes
//! many times is a debug exception each time; the first one's `iret` lets NMIs in, and the
//! next NMI may come in any of the others, at each of their instructions.
//!
//! Whatever is nested there, the interrupted code must not notice: its samples are those
//! that it has when nobody aims, to the bit.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;

use object::{Object as _, ObjectSymbol as _};
use pmiscope::profile::Outcome;
use profiler::address::CodeAddress;
use profiler::format::{ChainEnd, ChainEntry, Sample, State};

use crate::fixture::{Guest, Samples, Seen, function, kernel, sample};

/// The vectors of the debug exception and of the NMI.
const DEBUG: u8 = 1;
const NMI: u8 = 2;

/// Workloads that do the same however long a handler takes.
const TIMELESS: [&str; 10] = [
    "arithmetic",
    "hash",
    "recursion",
    "contention",
    "copy",
    "interrupts-off",
    "ping-pong",
    "heap",
    "layers",
    "corruption",
];

/// Workloads that halt, or whose tasks wait for the core's own timer: the longer handlers
/// take, the less they are idle, so their samples cannot be compared.
const TIMED: [&str; 4] = ["idle", "yield-storm", "nmi-storm", "mix"];

/// More than one pass over the handler, where every other sample is of it.
const SAMPLES: usize = 1000;
const HANDLER: u32 = 450;

/// The instructions of the entry of debug exceptions where a breakpoint is on, but for the
/// first one: the emulator counts no instruction from the exception to it, and lets nothing
/// in.
const DEBUG_ENTRY: usize = 45;

/// Places at which a workload's handlers are aimed at.
const PLACES: usize = 2;

/// The most of them, where few of its samples lead by the first ones.
const MOST_PLACES: usize = 8;

fn crosses(seen: &Seen, wanted: u8) -> bool {
    let mut chain = seen.chain.iter();
    chain.any(|entry| matches!(entry, ChainEntry::Crossing { vector, .. } if *vector == wanted))
}

/// Returns true if the sample is of an NMI's handler, or of what interrupts one.
fn is_nested(seen: &Seen) -> bool {
    crosses(seen, NMI)
}

/// One core samples `workload`, and itself where the aim says.
fn guest(workload: &str, samples: usize, aim: Option<CodeAddress>) -> Samples {
    let aim = aim.map(|CodeAddress(place)| format!("aim={place:#x}:0..{HANDLER}"));
    let aim = aim.unwrap_or_default();
    let line = format!("period=1000 workload={workload} samples={samples} ring=4194304 {aim}");
    let guest = Guest::boot(1, 128, &line).ended_with(Outcome::Finished, &[]);
    guest.samples(&line)
}

/// The instructions that the handler executes three times or more for one sample of
/// shallow code, and that nothing else executes.
fn repeated() -> Vec<CodeAddress> {
    let storm = sample("--smp 1 --workload arithmetic --samples 2600 --aim nmi_landed:0..1500");
    let mut places = storm.all().filter(is_nested).map(|seen| seen.pc);
    let first = places.next().expect("a nested sample");
    // One pass, instruction by instruction.
    let mut times = BTreeMap::new();
    for place in places.take_while(|&place| place != first) {
        *times.entry(place).or_insert(0) += 1;
    }
    let shared = function("memset");
    let shared = shared..CodeAddress(shared.0 + 0x100);
    let often = times.into_iter().filter(|&(_, times)| times >= 3);
    let places = often.map(|(place, _)| place);
    places.filter(|place| !shared.contains(place)).collect()
}

/// The samples that are in the handler of a debug exception.
fn over_debug(storm: &Samples) -> usize {
    storm.all().filter(|seen| crosses(seen, DEBUG)).count()
}

/// Asserts that every interrupt is accounted for. Gives the samples that are not nested.
#[track_caller]
fn outer(storm: &Samples) -> Vec<Seen> {
    let what = &storm.what;
    let counters = &storm.counters[0];
    let nested = storm.all().filter(is_nested).count();
    assert_eq!(
        (counters.taken, counters.lost, counters.nested),
        (counters.stored + counters.unclaimed, 0, nested as u64),
        "{what}: {counters:?}"
    );
    for seen in storm.all().filter(is_nested) {
        // What is aimed beyond a handler's end is given up, and leaves no overflow.
        assert_eq!(seen.event, Sample::AIMED, "{what}: {seen:x?}");
        // The chain of what is interrupted at last may be longer than a record, or forged.
        let crossing = seen
            .chain
            .iter()
            .rposition(|entry| matches!(entry, ChainEntry::Crossing { vector: NMI, .. }));
        assert!(crossing.is_some_and(|at| at < 40), "{what}: {seen:x?}");
    }
    storm.all().filter(|seen| !is_nested(seen)).collect()
}

#[track_caller]
fn assert_unnoticed(workload: &str, place: CodeAddress) -> usize {
    let storm = guest(workload, SAMPLES, Some(place));
    let outer = outer(&storm);
    let calm = guest(workload, outer.len(), None);
    assert_eq!(calm.counters[0].stored, outer.len() as u64);
    for (number, (outer, calm)) in outer.iter().zip(calm.all()).enumerate() {
        let expected = Seen {
            // These tell how long handlers took, and how many there were.
            time: outer.time,
            sequence: outer.sequence,
            ..calm
        };
        assert_eq!(*outer, expected, "{}: outer sample {number}", storm.what);
    }
    over_debug(&storm)
}

#[track_caller]
fn assert_exact(workload: &str, place: CodeAddress) -> usize {
    let storm = guest(workload, SAMPLES, Some(place));
    for (number, seen) in outer(&storm).iter().enumerate() {
        let what = || format!("{}: outer sample {number}: {seen:x?}", storm.what);
        // The way out of a halt may count.
        let is_exact = seen.period == 1000 || seen.state.has(State::IDLE);
        assert!(is_exact || number == 0, "{}", what());
        let is_whole = matches!(seen.end, ChainEnd::Complete | ChainEnd::DepthLimit);
        assert!(is_whole && seen.event == 0, "{}", what());
    }
    over_debug(&storm)
}

/// Checks each workload with other places, two guests at a time, and that there were enough of the
/// samples that this is about: not each workload's samples lead by each place.
fn for_all(workloads: &[&str], check: fn(&str, CodeAddress) -> usize) {
    let places = repeated();
    assert!(places.len() > 30, "{places:x?}");
    let place = |number: usize| places[number * 7 % places.len()];
    thread::scope(|scope| {
        for (number, workload) in workloads.iter().enumerate() {
            scope.spawn(move || {
                let mut over_debug = 0;
                for turn in 0..MOST_PLACES {
                    over_debug += check(workload, place(number * PLACES + turn));
                    if turn + 1 >= PLACES && over_debug > SAMPLES / 40 {
                        break;
                    }
                }
                assert!(over_debug > SAMPLES / 40, "{workload}: only {over_debug}");
            });
        }
    });
}

#[test]
fn what_is_nested_in_debug_exceptions_in_a_handler_is_not_noticed_below() {
    for_all(&TIMELESS, assert_unnoticed);
}

#[test]
fn what_is_nested_there_costs_nothing_where_tasks_wait_for_the_time() {
    for_all(&TIMED, assert_exact);
}

/// In the first and last instructions of a debug exception breakpoints are on, and its
/// stack is in use: a second exception would overwrite the first.
#[test]
fn an_nmi_at_every_instruction_of_the_entry_of_debug_exceptions_corrupts_nothing() {
    // The last place by which samples lead whose handlers nothing nests in.
    let places = repeated().into_iter().rev();
    let storms = places.map(|place| guest("arithmetic", SAMPLES, Some(place)));
    let mut storms = storms.filter(|storm| over_debug(storm) > SAMPLES / 40);
    let storm = storms.next().expect("a place with debug exceptions");
    outer(&storm);
    let entry = function("debug_entry")..function("switched_entries_end");
    let seen: BTreeSet<_> = storm.all().map(|seen| seen.pc).collect();
    let at = seen.range(entry).count();
    assert_eq!(at, DEBUG_ENTRY, "{seen:x?}");

    // Each came one instruction later than the one before, wherever that was: an NMI's
    // entry takes as long on every way. (The way from the arming is another one in a debug
    // exception than in an NMI, for which the overhead is measured: the first are some more or
    // less.)
    let mut aimed: Vec<_> = storm
        .all()
        .filter(|seen| seen.event == Sample::AIMED)
        .collect();
    aimed.sort_by_key(|seen| seen.sequence);
    let pass = HANDLER as usize;
    let periods: Vec<_> = aimed.iter().take(pass).map(|seen| seen.period).collect();
    let zeros = periods.iter().take_while(|&&period| period == 0).count();
    let first = periods[zeros];
    let is_near = zeros < 20 && first < 100 && (zeros == 0 || first == 1);
    assert!(is_near, "{zeros} periods of 0, then {first}");
    let zeros = std::iter::repeat_n(0, zeros);
    let expected: Vec<_> = zeros.chain(first..).take(pass).collect();
    assert_eq!(periods, expected);
}

/// It would else come between the accounts of the arming and the arming.
#[test]
fn what_is_aimed_beyond_a_handlers_end_is_given_up() {
    // Most samples of these chains are written by this, shortly before that end. The compiler may make
    // another one for what the library itself writes.
    let file = object::File::parse(kernel()).unwrap();
    let names = file.symbols().filter_map(|symbol| symbol.name().ok());
    let writes = names.filter(|name| name.contains("19write_interruptibleu"));
    let write = writes.max_by_key(|name| name.ends_with("6kernel")).unwrap();
    let storm = sample(&format!(
        "--smp 1 --workload corruption --samples 6000 --aim {write}:0..900"
    ));
    let nested: Vec<_> = storm.all().filter(is_nested).collect();
    assert!(nested.len() > 100, "{}", nested.len());
    let stray = nested.iter().find(|seen| seen.event != Sample::AIMED);
    assert_eq!(stray, None, "one that was not aimed");
}

/// Where all traps come by, some of them in code that is sampled.
#[test]
fn nmis_over_debug_exceptions_in_the_dispatcher_leave_every_chain_whole() {
    let dispatch = function("trap::dispatch::dispatch");
    for workload in ["ping-pong", "layers", "yield-storm"] {
        let storm = guest(workload, SAMPLES, Some(dispatch));
        let counters = &storm.counters[0];
        assert_eq!(counters.taken, counters.stored + counters.unclaimed);
        let aimed = storm.all().filter(|seen| seen.event == Sample::AIMED);
        assert!(aimed.count() > SAMPLES / 10, "{workload}");
        for seen in storm.all() {
            assert_eq!(seen.end, ChainEnd::Complete, "{workload}: {seen:x?}");
        }
    }
}
