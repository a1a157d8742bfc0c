//! Programs in user mode: sampled at every instruction of the ways into the kernel and back, and
//! what they do that must harm nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use assert_cmd::Command;
use pmiscope::internals::qemu::Choice;
use serde_json::Value;

use profiler::address::{CodeAddress, UserAddress};
use profiler::format::process::PROCESS_ROWS;
use profiler::format::{ChainEnd, ChainEntry, Sample, State};

use crate::fixture::{Run, Samples, Seen, function, run, sample, stat};
use crate::pmu::{is_skipped, qemu_with};

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

/// The ways over the border: the names of what is there begin so, with these words for the kernel.
const WAYS: [(&str, &str); 2] = [("", ""), ("isolated_", "--append kpti=on")];

/// Returns how many instructions from a label up to another were checked.
fn places(checked: &Checked, own: &str, [start, end]: [&str; 2]) -> usize {
    let at = |label| function(&format!("{own}{label}"));
    checked.places.range(at(start)..at(end)).count()
}

#[test]
fn each_instruction_between_a_call_and_its_return_has_the_programs_chain() {
    for (own, more) in WAYS {
        let samples = sample(&format!(
            "--smp 1 --workload process-calls --period 1 --samples 250000 {more}"
        ));
        let checked = check(&samples);
        println!("{:?}, {} returns", checked.vectors, checked.returns);
        let places = |labels| places(&checked, own, labels);
        // Where they are isolated, by page tables as well, on each way.
        let roots = if own.is_empty() { 0 } else { 3 };
        // Up to the switch of stacks; from there to the whole frame; the way back by `sysret`.
        assert_eq!(places(["syscall_entry", "syscall_on_stack"]), 3);
        assert!(places(["syscall_on_stack", "user_enter"]) >= 8);
        assert_eq!(places(["user_leave_on_stack", "syscall_entry"]), 2);
        assert!(places(["user_trap_common", "user_leave"]) > 18 + roots);
        assert!(places(["user_leave", "user_leave_on_stack"]) > 34 + 2 * roots);
        assert!(checked.vectors[&None] > 50_000);
        assert!(checked.vectors[&Some(PAGE_FAULT)] > 1000);
        assert!(checked.returns > 300);
    }
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
    let isolated = "--append kpti=on";
    for (aim, more) in [
        ("nmi_landed:0..1300", ""),
        ("syscall_entry:0..40", ""),
        ("user_leave:0..200", ""),
        ("nmi_landed:0..1300", isolated),
        ("isolated_syscall_entry:0..40", isolated),
        ("isolated_user_leave:0..200", isolated),
        // The last instructions of an NMI's handler, with the program's page tables.
        ("isolated_return_nmi:0..12", isolated),
        (
            "isolated_return_overflow:0..12",
            "--append kpti=on --delivery irq",
        ),
    ] {
        let samples = sample(&format!(
            "--smp 1 --workload process-calls --samples 6000 --aim {aim} {more}"
        ));
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

/// How many numbers are looked at before and behind a sample's for that of the handler that it was in: of
/// several NMIs in one handler each has a number between that one's and the last one's, and most have the
/// next one.
const NEAR: u32 = 16;

/// Samples of each run there.
const SAMPLES: u32 = 30_000;

/// An NMI in the handler of one that came at each instruction of the ways over the border finds, behind
/// that handler, the chain that the handler itself has found.
#[test]
fn nested_nmis_at_each_instruction_of_the_border_have_the_chain_of_what_was_interrupted() {
    nested_nmis_have_the_chain("", function("user_trap_common")..function("user_exit"), "");
}

/// The same where page tables are switched on the way, and after the switch in an NMI's own way back.
#[test]
fn nested_nmis_have_the_chain_of_what_was_interrupted_by_both_page_tables() {
    let border = function("isolated_user_stubs")..function("isolated_user_enter");
    nested_nmis_have_the_chain("isolated_", border, "--append kpti=on");
}

#[track_caller]
fn nested_nmis_have_the_chain(own: &str, border: Range<CodeAddress>, more: &str) {
    // By instruction that an NMI came at, in whose handler another one did.
    let mut places: BTreeMap<CodeAddress, u64> = BTreeMap::new();
    let mut alone = 0;
    let mut distances: BTreeMap<u32, u64> = BTreeMap::new();
    // The program is a loop, so samples at each period keep step with a part of its instructions.
    for period in [61, 67, 71, 73, 79] {
        let samples = sample(&format!(
            "--smp 1 --workload process-calls --period {period} --samples {SAMPLES} --aim nmi_landed:0..1500 {more}"
        ));
        let all: BTreeMap<u32, Seen> = samples.of(0).map(|seen| (seen.sequence, seen)).collect();
        for (&sequence, nested) in &all {
            assert_eq!(nested.end, ChainEnd::Complete, "{nested:x?}");
            let Some((pc, behind)) = behind_nmi(nested).filter(|(pc, _)| border.contains(pc))
            else {
                continue;
            };
            // The one that was interrupted has its number before or after it has come there.
            let near = (1..=NEAR).find_map(|distance| {
                let others = [sequence.wrapping_sub(distance), sequence + distance];
                let others = others.iter().filter_map(|it| all.get(it));
                let outer: Vec<_> = others.filter(|seen| seen.pc == pc).collect();
                (!outer.is_empty()).then_some((distance, outer))
            });
            let Some((distance, outer)) = near else {
                // The last one's handler was to have one sample more than there were to be.
                alone += u32::from(sequence + NEAR < SAMPLES);
                continue;
            };
            let is_same = outer.iter().any(|seen| seen.chain == behind);
            assert!(is_same, "{nested:x?}\nin {outer:x?}");
            *distances.entry(distance).or_default() += 1;
            *places.entry(pc).or_default() += 1;
        }
    }
    let at = |label: &str| function(&format!("{own}{label}"));
    let count = |start: &str, end: &str| places.range(at(start)..at(end)).count();
    let found = [
        ("syscall_entry", "syscall_on_stack", 3),
        ("syscall_on_stack", "user_enter", 8),
        ("user_leave", "user_leave_on_stack", 28),
        ("user_leave_on_stack", "syscall_entry", 2),
    ]
    .map(|(start, end, least)| (start, count(start, end), least));
    let compared: u64 = places.values().sum();
    println!("{found:?}, {compared} compared, by distance {distances:?}");
    assert_eq!(alone, 0, "whose handler is not known");
    assert!(compared > 300, "{compared}");
    for (start, count, least) in found {
        assert!(count >= least, "behind {start}: {count} of {least}");
    }
}

#[test]
fn all_programs_run_on_all_cores_by_both_deliveries() {
    // Processes that are isolated take longer to make.
    for (delivery, count, more) in [
        ("nmi", 120_000, ""),
        ("irq", 120_000, ""),
        ("nmi", 300_000, "--append kpti=on"),
        ("irq", 300_000, "--append kpti=on"),
    ] {
        let samples = sample(&format!(
            "--smp 4 --workload processes --period 97 --samples {count} --delivery {delivery} {more}"
        ));
        samples.assert_whole(4, count);
        for seen in samples.all() {
            assert_eq!(seen.end, ChainEnd::Complete, "{seen:x?}");
        }
        let users = samples.all().filter(is_users).count();
        assert!(users > 5000, "{delivery}: {users} in user mode");
        let tasks: BTreeSet<_> = samples
            .all()
            .map(|it| samples.task(&it).to_owned())
            .collect();
        for program in [
            "arithmetic",
            "calls",
            "yield",
            "recursion",
            "spawn",
            "memory",
            "unmap",
            "ping-pong",
            "upcall",
            "exec",
            "c",
        ] {
            let name = format!("process-{program}");
            assert!(
                tasks.contains(&name),
                "{delivery} {more}: {name} in {tasks:?}"
            );
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
        ": it would go on at 0x8000000000001000, no address of its own",
        ": no room for an upcall: ",
        "all memory of processes is free again",
    ]);
}

/// The program itself looks whether all is as it is to be.
#[test]
fn all_threads_that_wait_for_a_child_go_on_and_children_have_an_end() {
    for cores in [1, 2] {
        run(&format!(
            "--smp {cores} --self-test process-children --samples 20000 --verbose"
        ))
        .ended_with(0);
    }
    run("--smp 1 --self-test process-children --samples 40000 --verbose")
        .ended_with(0)
        .saying(&["all memory of processes is free again"]);
}

/// The kernel looks at the page tables of each thread itself, and ends the run if user mode has anything
/// more: here they are counted, and faults in user mode are what they are without.
#[test]
fn isolated_programs_have_nothing_of_the_kernel_but_its_entries() {
    for cores in [1, 2] {
        let run = run(&format!(
            "--smp {cores} --self-test process-faults --samples 60000 --append kpti=on --verbose"
        ))
        .ended_with(0);
        let code = function("isolated_nmi").0 >> 12..=function("isolated_wake").0 >> 12;
        // Gates; of each core its block, its segments, and 96 KiB of stacks.
        let pages = code.count() + 1 + cores * (2 + 24);
        run.saying(&[
            &format!("in user mode {pages} pages of the kernel are mapped, and one a thread"),
            "(process-faults) has ended: page fault (vector 14)",
            "nothing is mapped at 0x0\n",
            "0x400000 cannot be written: it is in 0x400000-",
            "(process-faults) has ended: divide error (vector 0)",
        ]);
    }
    run("--smp 1 --self-test process-faults --samples 60000 --append kpti=on --verbose")
        .ended_with(0)
        .saying(&["all memory of processes is free again"]);
}

#[test]
fn flags_and_stack_pointers_of_programs_harm_nothing() {
    let isolated = "--append kpti=on";
    for (period, more) in [(1, ""), (29, ""), (1000, ""), (1, isolated), (29, isolated)] {
        let samples = sample(&format!(
            "--smp 1 --self-test process-registers --samples 60000 --period {period} {more}"
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

#[test]
fn samples_say_of_which_process_they_are() {
    let run = run("--smp 1 --workload process-spawn --period 1 --samples 150000").ended_with(0);
    let samples = run.samples();
    let announced = &samples.counters[0].processes;
    // Each was announced when it was made.
    let pids: Vec<_> = announced.iter().map(|process| process.pid).collect();
    let all: Vec<_> = (1..).take(pids.len()).collect();
    assert_eq!(pids, all);
    assert!(pids.len() > 2, "{announced:?}");
    // The first one is the parent, and those behind it its children, of another program.
    let [parent, child] = [announced[0].program, announced[1].program];
    assert_ne!(parent, child);
    let mut user: BTreeMap<u16, u64> = BTreeMap::new();
    for seen in samples.all().filter(is_users) {
        let address = UserAddress::of(seen.pc).expect("an address of a program's");
        *user.entry(address.program).or_default() += 1;
    }
    // The last one may not have begun.
    let (last, begun) = announced.split_last().unwrap();
    let mut numbers: BTreeSet<_> = begun.iter().map(|process| process.number).collect();
    if user.contains_key(&last.number) {
        numbers.insert(last.number);
    }
    assert_eq!(user.keys().copied().collect::<BTreeSet<_>>(), numbers);
    let report = run.report();
    let rows = report["processes"].as_array().unwrap();
    for process in begun {
        let row = rows.iter().find(|row| row["pid"] == process.pid).unwrap();
        let name = if process.program == parent {
            "process-spawn"
        } else {
            "process-exit"
        };
        assert_eq!(row["name"], name, "{process:?}");
        assert_eq!(row["user"], user[&process.number], "{process:?}");
    }
}

#[test]
fn processes_without_a_number_of_their_own_are_of_their_program() {
    let run = run("--smp 1 --workload process-spawn --period 499 --samples 12000").ended_with(0);
    let samples = run.samples();
    assert_eq!(samples.counters[0].processes.len(), PROCESS_ROWS);
    let report = run.report();
    let rows = report["processes"].as_array().unwrap();
    let others = rows.iter().filter(|row| row["pid"].is_null());
    let names: BTreeSet<_> = others.map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["process-exit", "process-spawn"].into());
    let sum: u64 = rows
        .iter()
        .map(|row| row["samples"].as_u64().unwrap())
        .sum();
    let users = |seen: &Seen| is_users(seen) || border(seen).is_some();
    assert_eq!(sum, samples.all().filter(users).count() as u64);
}

/// What `stat` has counted in user code, by program.
fn counted_in_user_code(report: &Value) -> BTreeMap<String, u64> {
    let mut programs: BTreeMap<String, u64> = BTreeMap::new();
    let mut sums = [0; 2];
    for process in report["processes"].as_array().unwrap() {
        let counts = process["events"].as_array().unwrap().iter().map(|event| {
            assert_ne!(event["status"], "scaled", "{process}");
            event["count"].as_u64().unwrap()
        });
        let counts: Vec<_> = counts.collect();
        sums = [sums[0] + counts[0], sums[1] + counts[1]];
        match process["name"].as_str() {
            Some(name) => {
                assert!(counts[1] > 0, "nothing in the kernel: {process}");
                *programs.entry(name.to_owned()).or_default() += counts[0];
            }
            None => assert_eq!(counts[0], 0, "user code of no process: {process}"),
        }
    }
    // Nothing is counted twice, or for nobody.
    for (event, sum) in report["events"].as_array().unwrap().iter().zip(sums) {
        assert_eq!(event["count"], sum, "{}", event["name"]);
    }
    programs
}

/// Whoever runs beside it, and on however many cores, a program executes what it executes.
#[test]
fn counts_of_processes_are_those_of_each_alone() {
    if is_skipped() {
        return;
    }
    let count = |arguments: &str| {
        let counted = stat(&format!(
            "--pmu intel-v5 {arguments} --units 1 --event instructions"
        ));
        counted.ended_with(0).report()
    };
    let of_processes = |arguments: &str| count(&format!("{arguments} --per-process"));
    let all = counted_in_user_code(&of_processes("--smp 1 --workload processes"));
    // Those that neither wait by spinning nor are interrupted for messages.
    for name in ["arithmetic", "calls", "recursion", "yield", "exec", "spawn"] {
        let name = format!("process-{name}");
        let alone = counted_in_user_code(&of_processes(&format!("--smp 1 --workload {name}")));
        assert_eq!(all[&name], alone[&name], "{name}");
        let together = of_processes(&format!("--smp 4 --workload {name}"));
        let together = counted_in_user_code(&together);
        assert_eq!(together[&name], 4 * alone[&name], "{name} on four cores");
    }
    let plain = count("--smp 1 --workload process-calls");
    assert!(plain.get("processes").is_none(), "{plain:#}");
}

/// By reading and writing, on the core that has unmapped it and on one that had it in use.
#[test]
fn what_is_unmapped_is_gone_for_user_code_on_all_cores() {
    for period in [29, 499] {
        let run = run(&format!(
            "--smp 2 --self-test process-stale --samples 150000 --period {period} --verbose"
        ));
        let said = run.ended_with(0).said();
        let faults = said.matches("(process-stale) has ended: page fault (vector 14)");
        assert!(faults.count() >= 4, "{said}");
        assert!(!said.contains("has used what is unmapped"), "{said}");
    }
}

#[test]
fn vector_registers_are_each_threads_own() {
    // A processor that has no XSAVE: by FXSAVE.
    let old = qemu_with(&Choice::Stock, "no-xsave", "-cpu qemu64,-x2apic");
    let old = format!("--qemu {old}");
    for (cores, period, more) in [(1, 1, ""), (4, 499, ""), (1, 499, &*old)] {
        let run = run(&format!(
            "--smp {cores} --self-test process-vectors --samples 60000 --period {period} {more}"
        ));
        run.ended_with(0).samples().assert_whole(cores, 60_000);
    }
}

#[test]
fn a_chain_goes_on_from_an_upcall_to_what_it_has_interrupted() {
    let run = run("--smp 1 --workload process-upcall --period 1 --samples 250000").ended_with(0);
    let samples = run.samples();
    let mut depths = BTreeSet::new();
    for seen in samples.all() {
        assert_eq!(seen.end, ChainEnd::Complete, "{seen:x?}");
        if is_users(&seen) {
            depths.insert(seen.chain.len());
        }
    }
    // The handler, on stacks of five depths.
    assert!(depths.len() > 5, "{depths:?}");
    let folded = Command::new(env!("CARGO_BIN_EXE_pmiscope"))
        .args(["export", "--format", "folded", "-o", "-"])
        .arg(&run.profile)
        .assert()
        .success();
    let folded = String::from_utf8_lossy(&folded.get_output().stdout).into_owned();
    let mut in_handler = folded
        .lines()
        .filter(|line| line.contains(";process_upcall::called [process-upcall]"));
    let is_behind = |line: &str| {
        let before = line.split_once(";upcall_entry").map(|(before, _)| before);
        before.is_some_and(|it| it.contains(";process_upcall::main [process-upcall]"))
    };
    assert!(in_handler.clone().count() > 1, "{folded}");
    assert!(in_handler.all(is_behind), "{folded}");
}

#[test]
fn a_process_that_becomes_another_program_keeps_its_number() {
    let samples = sample("--smp 1 --workload process-exec --period 1 --samples 250000");
    let mut programs: BTreeMap<u32, BTreeSet<u16>> = BTreeMap::new();
    let mut announced: BTreeMap<u32, u64> = BTreeMap::new();
    for process in &samples.counters[0].processes {
        programs
            .entry(process.pid)
            .or_default()
            .insert(process.program);
        *announced.entry(process.pid).or_default() += 1;
    }
    // The child was three times the parent's program, and once another one.
    assert_eq!(announced[&1], 1, "{announced:?}");
    assert_eq!(announced[&2], 4, "{announced:?}");
    assert_eq!(programs[&2].len(), 2, "{programs:?}");
    for seen in samples.all() {
        assert_eq!(seen.end, ChainEnd::Complete, "{seen:x?}");
    }
}

/// What a program may do that does what it must not: the kernel lives, every loss has a name, and all but
/// stacks that are none are walked to their ends.
#[test]
fn a_hostile_program_harms_nobody_else() {
    let run = run("--smp 4 --workload process-hostile --period 100 --samples 400000");
    check_hostile(run, 4, 400_000);
}

#[test]
fn a_hostile_program_that_is_isolated_harms_nobody_else() {
    let run =
        run("--smp 4 --workload process-hostile --period 100 --samples 200000 --append kpti=on");
    check_hostile(run, 4, 200_000);
}

/// The checks of such a run, which says of each chain how it has ended.
#[track_caller]
pub fn check_hostile(run: Run, cores: usize, count: u64) {
    // Or with the warning that many chains may lack a caller, as those of random code do.
    let run = run.ended_with_one_of(&[0, 3]);
    let samples = run.samples();
    // No word that is not of what its program may execute is in a chain.
    Command::new(env!("CARGO_BIN_EXE_pmiscope"))
        .args(["verify", "--programs"])
        .arg(&run.profile)
        .assert()
        .success();
    let mut ends: BTreeMap<&str, u64> = BTreeMap::new();
    let mut seen_samples = 0;
    let mut users = 0;
    for seen in samples.all() {
        *ends.entry(seen.end.name()).or_default() += 1;
        seen_samples += 1;
        users += u64::from(is_users(&seen));
    }
    println!("{users} in user mode; {ends:?}");
    let lost: u64 = samples.counters.iter().map(|core| core.lost).sum();
    assert_eq!(samples.counters.len(), cores);
    assert_eq!(seen_samples + lost, count, "{ends:?}");
    assert!(users > count / 20, "{users} in user mode");
    // Wherever the stack and frame pointers were aimed at, a chain ends by a reason of its own.
    for end in [
        ChainEnd::FrameMisaligned,
        ChainEnd::FrameBelow,
        ChainEnd::UserUnmapped,
    ] {
        assert!(ends.contains_key(end.name()), "{end}: {ends:?}");
    }
    let unclaimed: u64 = samples.counters.iter().map(|core| core.unclaimed).sum();
    assert_eq!(unclaimed, 0);
}

#[test]
fn a_failure_of_the_kernel_names_the_process_that_it_serves() {
    let run = run("--smp 1 --self-test process-fails-kernel --verbose");
    run.ended_with(4).saying(&[
        "this panic was asked for",
        "  serves process 1 (process-spawn), in the call Spawn from 0x40",
    ]);
}
