//! Programs in user mode: sampled at every instruction of the ways into the kernel and back, and
//! what they do that must harm nothing.

use std::collections::{BTreeMap, BTreeSet};

use profiler::address::CodeAddress;
use profiler::format::{ChainEnd, ChainEntry, Sample, State};

use crate::fixture::{Samples, Seen, function, run, sample};

/// Of an NMI, and of a page fault.
const NMI: u8 = 2;
const PAGE_FAULT: u8 = 14;

/// The bytes of `syscall`, and of `int 0x80`.
const CALL_BYTES: u64 = 2;

/// The vector of `int 0x80`.
const CALL: u8 = 0x80;

fn is_users(seen: &Seen) -> bool {
    seen.state.has(State::RING)
}

/// Where a chain leaves the kernel, and what follows.
fn border(seen: &Seen) -> Option<(Option<u8>, CodeAddress, &[ChainEntry])> {
    let place = seen
        .chain
        .iter()
        .position(|entry| matches!(entry, ChainEntry::Border { .. }))?;
    let ChainEntry::Border { vector, pc, .. } = seen.chain[place] else {
        unreachable!("just found")
    };
    Some((vector, pc, &seen.chain[place + 1..]))
}

/// What was checked of the samples in the kernel.
#[derive(Default, Debug)]
struct Checked {
    /// By instruction: samples whose chain goes on into the program as it was left.
    places: BTreeMap<CodeAddress, u64>,
    /// By what brought the program into the kernel; `None`: `syscall`.
    vectors: BTreeMap<Option<u8>, u64>,
    /// Returns to where the chains said.
    returns: u64,
}

/// Compares the chain of each sample in the kernel with that of the program's last instruction, where
/// every instruction is a sample and one thread runs.
fn check(samples: &Samples) -> Checked {
    let mut checked = Checked::default();
    // The program's last instruction, and where the chains in the kernel say that it goes on.
    let mut left: Option<Seen> = None;
    let mut goes_on: Option<CodeAddress> = None;
    for seen in samples.of(0) {
        assert_eq!(seen.end, ChainEnd::Complete, "{seen:x?}");
        if is_users(&seen) {
            if let Some(pc) = goes_on.take() {
                assert_eq!(seen.pc, pc, "behind the kernel: {seen:x?}");
                checked.returns += 1;
            }
            left = Some(seen);
            continue;
        }
        let (Some((vector, pc, callers)), Some(user)) = (border(&seen), &left) else {
            // Another process, or none.
            (left, goes_on) = (None, None);
            continue;
        };
        let behind = match vector {
            None | Some(CALL) => CALL_BYTES,
            _ => 0,
        };
        assert_eq!(pc.0, user.pc.0 + behind, "{seen:x?}\nbehind {user:x?}");
        assert_eq!(callers, user.chain, "{seen:x?}\nbehind {user:x?}");
        *checked.places.entry(seen.pc).or_default() += 1;
        *checked.vectors.entry(vector).or_default() += 1;
        goes_on = Some(pc);
    }
    checked
}

/// Returns how many instructions from a label up to another were checked.
fn places(checked: &Checked, [start, end]: [&str; 2]) -> usize {
    checked.places.range(function(start)..function(end)).count()
}

#[test]
fn each_instruction_between_a_call_and_its_return_has_the_programs_chain() {
    let samples = sample("--smp 1 --workload process-calls --period 1 --samples 250000");
    let checked = check(&samples);
    println!("{:?}, {} returns", checked.vectors, checked.returns);
    // Up to the switch of stacks; from there to the whole frame; the way back by `sysret`.
    assert_eq!(places(&checked, ["syscall_entry", "syscall_on_stack"]), 3);
    assert!(places(&checked, ["syscall_on_stack", "user_enter"]) >= 8);
    assert_eq!(
        places(&checked, ["user_leave_on_stack", "syscall_entry"]),
        2
    );
    assert!(places(&checked, ["user_trap_common", "user_leave"]) > 18);
    assert!(places(&checked, ["user_leave", "user_leave_on_stack"]) > 34);
    assert!(checked.vectors[&None] > 50_000);
    assert!(checked.vectors[&Some(PAGE_FAULT)] > 1000);
    assert!(checked.returns > 500);
}

#[test]
fn chains_of_deep_programs_go_on_behind_the_kernel() {
    let samples = sample("--smp 1 --workload process-recursion --period 1 --samples 150000");
    let checked = check(&samples);
    assert!(checked.vectors[&None] > 10_000, "{:?}", checked.vectors);
    let in_kernel = samples.all().filter(|seen| !is_users(seen));
    let deepest = in_kernel.filter_map(|seen| Some(border(&seen)?.2.len()));
    assert!(deepest.max() > Some(20));
}

#[test]
fn threads_that_yield_in_both_ways_have_their_own_chains() {
    let samples = sample("--smp 1 --workload process-yield --period 1 --samples 200000");
    let mut callers = BTreeSet::new();
    for seen in samples.all() {
        assert_eq!(seen.end, ChainEnd::Complete, "{seen:x?}");
        if let Some((vector, pc, behind)) = border(&seen) {
            callers.insert((vector, pc, behind.len()));
        }
    }
    // From stacks of eight depths, by each way.
    for vector in [None, Some(CALL)] {
        let depths: BTreeSet<_> = callers
            .iter()
            .filter(|(way, _, _)| *way == vector)
            .map(|(_, _, depth)| depth)
            .collect();
        assert!(depths.len() >= 8, "{vector:?}: {depths:?}");
    }
}

#[test]
fn nmis_in_the_handler_of_one_in_user_mode_or_at_the_border_harm_nothing() {
    let run = "--smp 1 --workload process-calls --samples 6000";
    for aim in [
        "nmi_landed:0..1300",
        "syscall_entry:0..40",
        "user_leave:0..200",
    ] {
        let samples = sample(&format!("{run} --aim {aim}"));
        let aimed = samples.all().filter(|seen| seen.event == Sample::AIMED);
        assert!(aimed.count() > 1000, "{aim}");
        for seen in samples.all() {
            assert_eq!(seen.end, ChainEnd::Complete, "{aim}: {seen:x?}");
        }
        let is_nested = |seen: &Seen| {
            let mut entries = seen.chain.iter();
            entries.any(|entry| {
                matches!(
                    entry,
                    ChainEntry::Crossing { vector: NMI, .. }
                        | ChainEntry::Border {
                            vector: Some(NMI),
                            ..
                        }
                )
            })
        };
        let nested = samples.all().filter(is_nested).count() as u64;
        assert_eq!(nested, samples.counters[0].nested, "{aim}");
    }
}

/// What the first NMI in a chain has interrupted, and what follows.
fn behind_nmi(seen: &Seen) -> Option<(CodeAddress, &[ChainEntry])> {
    seen.chain.iter().enumerate().find_map(|(place, entry)| {
        let pc = match *entry {
            ChainEntry::Crossing {
                vector: NMI, pc, ..
            } => pc,
            ChainEntry::Border {
                vector: Some(NMI),
                pc,
                ..
            } => pc,
            _ => return None,
        };
        Some((pc, &seen.chain[place + 1..]))
    })
}

/// An NMI in the handler of one that came at each instruction of the ways over the border finds, behind
/// that handler, the chain that the handler itself has found.
#[test]
fn nested_nmis_at_each_instruction_of_the_border_have_the_chain_of_what_was_interrupted() {
    let samples = sample(
        "--smp 1 --workload process-calls --period 61 --samples 60000 --aim nmi_landed:0..1500",
    );
    let all: BTreeMap<u32, Seen> = samples.of(0).map(|seen| (seen.sequence, seen)).collect();
    // By instruction that an NMI came at, in whose handler another one did.
    let mut places: BTreeMap<CodeAddress, u64> = BTreeMap::new();
    let mut alone = 0;
    let border = function("user_trap_common")..function("user_exit");
    for (&sequence, nested) in &all {
        assert_eq!(nested.end, ChainEnd::Complete, "{nested:x?}");
        let Some((pc, behind)) = behind_nmi(nested).filter(|(pc, _)| border.contains(pc)) else {
            continue;
        };
        // The one that was interrupted has its number before or after it has come there.
        let others = [sequence.wrapping_sub(1), sequence + 1];
        let others = others.iter().filter_map(|it| all.get(it));
        let outer: Vec<_> = others.filter(|seen| seen.pc == pc).collect();
        if outer.is_empty() {
            // It has no number next to this one.
            alone += 1;
            continue;
        }
        let is_same = outer.iter().any(|seen| seen.chain == behind);
        assert!(is_same, "{nested:x?}\nin {outer:x?}");
        *places.entry(pc).or_default() += 1;
    }
    let count = |start: &str, end: &str| places.range(function(start)..function(end)).count();
    let found = [
        ("syscall_entry", "syscall_on_stack", 3),
        ("syscall_on_stack", "user_enter", 8),
        ("user_leave", "user_leave_on_stack", 28),
        ("user_leave_on_stack", "syscall_entry", 2),
    ]
    .map(|(start, end, least)| (start, count(start, end), least));
    let compared: u64 = places.values().sum();
    println!("{found:?}, {compared} compared, {alone} of which the other is not known");
    assert!(compared > 300, "{compared}");
    for (start, count, least) in found {
        assert!(count >= least, "behind {start}: {count} of {least}");
    }
}

#[test]
fn all_programs_run_on_all_cores_by_both_deliveries() {
    for delivery in ["nmi", "irq"] {
        let samples = sample(&format!(
            "--smp 4 --workload processes --period 97 --samples 40000 --delivery {delivery}"
        ));
        samples.assert_whole(4, 40_000);
        for seen in samples.all() {
            assert_eq!(seen.end, ChainEnd::Complete, "{seen:x?}");
        }
        let users = samples.all().filter(is_users).count();
        assert!(users > 5000, "{delivery}: {users} in user mode");
        let tasks: BTreeSet<_> = samples
            .all()
            .map(|it| samples.task(&it).to_owned())
            .collect();
        for program in ["arithmetic", "calls", "yield", "recursion", "spawn"] {
            let name = format!("process-{program}");
            assert!(tasks.contains(&name), "{delivery}: {name} in {tasks:?}");
        }
    }
}

#[test]
fn faults_end_their_process_alone_and_all_memory_is_free_again() {
    let run = run("--smp 1 --self-test process-faults --samples 60000 --verbose").ended_with(0);
    run.saying(&[
        "(process-faults) has ended: page fault (vector 14)",
        "nothing is mapped at 0x0\n",
        "0x400000 cannot be written: it is in 0x400000-",
        "(process-faults) has ended: general protection fault (vector 13)",
        "(process-faults) has ended: breakpoint (vector 3)",
        "(process-faults) has ended: invalid opcode (vector 6)",
        "(process-faults) has ended: divide error (vector 0)",
        "all memory of processes is free again",
    ]);
}

#[test]
fn flags_and_stack_pointers_of_programs_harm_nothing() {
    for period in [1, 29, 1000] {
        let samples = sample(&format!(
            "--smp 1 --self-test process-registers --samples 60000 --period {period}"
        ));
        let counters = &samples.counters[0];
        let found = (counters.lost, counters.unclaimed, counters.nested);
        assert_eq!(found, (0, 0, 0), "lost, unclaimed, nested: period {period}");
        for seen in samples.all() {
            // A frame lies above the stack pointer, which is not where the stack is.
            let ends = [ChainEnd::Complete, ChainEnd::FrameBelow];
            assert!(ends.contains(&seen.end), "{seen:x?}");
        }
    }
}

#[test]
fn a_program_that_is_not_there_is_named() {
    // Without the programs beside the kernel, as the tool finds them.
    let folder = crate::fixture::folder();
    let kernel = folder.join("kernel");
    std::fs::copy(crate::fixture::built("kernel"), &kernel).unwrap();
    let files = ["--kernel".into(), kernel.into_os_string()];
    let loader = crate::fixture::built("loader");
    let loader = ["--loader".into(), loader.into_os_string()];
    let files: Vec<_> = files.into_iter().chain(loader).collect();
    let run = crate::fixture::start("--workload process-yield --samples 1000", &files);
    run.ended_with(5).saying(&[
        "workload=process-yield",
        "the boot loader has brought no module `process-yield`",
    ]);
}
