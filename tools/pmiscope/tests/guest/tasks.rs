//! Tasks that yield, block, sleep, move and end while they are sampled, and the
//! idle loop that throws its stack away.

use std::collections::{BTreeMap, BTreeSet};

use profiler::format::{ChainEnd, ChainEntry, State};

use crate::fixture::{Samples, Seen, function, sample};

/// Cores at every instruction of a storm of yields.
fn storm(cores: u64) -> Samples {
    // The first 50,000 of each core make the first tasks.
    let samples = 100_000 * cores;
    let storm = sample(&format!(
        "--workload yield-storm --period 1 --smp {cores} --samples {samples}"
    ));
    storm.assert_whole(cores, samples);
    storm.assert_exact(1);
    storm
}

/// The samples whose program counter is from one label of the assembly up to
/// another.
fn between<'a>(
    samples: &'a Samples,
    [start, end]: [&str; 2],
) -> impl Iterator<Item = Seen> + use<'a> {
    let code = function(start)..function(end);
    samples.all().filter(move |seen| code.contains(&seen.pc))
}

/// The vectors of the interrupts that a chain crosses, innermost first.
fn crossed(seen: &Seen) -> Vec<u8> {
    let vectors = seen.chain.iter().filter_map(|entry| match entry {
        ChainEntry::Crossing { vector, .. } => Some(*vector),
        ChainEntry::Return(_) | ChainEntry::Border { .. } => None,
    });
    vectors.collect()
}

#[test]
fn idling_resets_its_stack_with_interrupts_off_and_no_frame() {
    let storm = storm(2);
    let leaving: Vec<_> = between(&storm, ["leave_task", "task_root"]).collect();
    let places: BTreeSet<_> = leaving.iter().map(|seen| seen.pc).collect();
    assert_eq!(places.len(), 13, "its instructions: {places:x?}");
    for seen in &leaving {
        assert!(
            !seen.state.has(State::INTERRUPTS_ON),
            "interrupts are on while the stack is reset: {seen:x?}"
        );
    }
    // Once the frame pointer is null there is no caller: of the two instructions that
    // are left, one is on the task's stack, the call on the core's.
    let slot = storm.description.stack_slot;
    let rootless: Vec<_> = leaving
        .iter()
        .filter(|seen| seen.chain.is_empty())
        .collect();
    let stacks: BTreeSet<_> = rootless
        .iter()
        .map(|seen| {
            (
                seen.pc,
                seen.sp.0.is_multiple_of(slot) || seen.sp.0 % slot == slot - 16,
            )
        })
        .collect();
    assert_eq!(
        stacks.iter().map(|(_, at_top)| *at_top).collect::<Vec<_>>(),
        [false, true],
        "{rootless:x?}"
    );
}

#[test]
fn tasks_run_on_stacks_of_their_own_and_on_other_cores() {
    let storm = storm(2);
    let slot = storm.description.stack_slot;
    let stacks =
        |core| -> BTreeSet<u64> { storm.of(core).map(|seen| (seen.sp.0 - 1) / slot).collect() };
    let [first, second] = [stacks(0), stacks(1)];
    // The core's own, the workload's task, its partner, and wanderers.
    assert!(
        first.len() >= 4 && second.len() >= 4,
        "{first:x?} {second:x?}"
    );
    let both = first.intersection(&second).count();
    assert!(
        both >= 1,
        "no task was on both cores: {first:x?} {second:x?}"
    );
}

#[test]
fn a_system_call_shows_who_made_it() {
    const SYSTEM_CALL: u8 = 0x80;
    // More than there is of it behind its entry.
    const CALLER_BYTES: u64 = 64;
    let storm = storm(1);
    let caller = function("syscall::system_call").0;
    let (mut switching, mut called) = (0, 0);
    for seen in between(&storm, ["switch_task", "resume_task"]) {
        switching += 1;
        let is_crossing = |entry: &ChainEntry| matches!(entry, ChainEntry::Crossing { .. });
        let outer = seen.chain.iter().position(is_crossing);
        let Some([ChainEntry::Crossing { vector, pc, .. }, callers @ ..]) =
            outer.map(|at| &seen.chain[at..])
        else {
            continue;
        };
        if *vector != SYSTEM_CALL {
            continue;
        }
        called += 1;
        assert!(
            (caller..caller + CALLER_BYTES).contains(&pc.0),
            "a system call was made at {pc:x?}, and not in `system_call` at {caller:#x}: {seen:x?}"
        );
        assert!(
            !callers.is_empty() && seen.end == ChainEnd::Complete,
            "who called `system_call` is not in the chain: {seen:x?}"
        );
    }
    assert!(
        called > 100,
        "{called} of {switching} samples in the switch are below a system call"
    );
}

#[test]
fn the_walk_goes_through_an_nmi_over_an_interrupt_over_an_exception_over_a_task() {
    const NMI: u8 = 2;
    const EXCEPTION: u8 = 4;
    const INTERRUPT: u8 = 0x44;
    let layers = sample("--workload layers --smp 1 --samples 20000 --aim nmi_landed:0..1500");
    let mut seen: BTreeMap<Vec<u8>, u32> = BTreeMap::new();
    for sample in layers.all() {
        assert_eq!(
            sample.end,
            ChainEnd::Complete,
            "how a chain ends: {sample:x?}"
        );
        let mut layers = crossed(&sample);
        // Any number of NMIs in NMIs is one layer here.
        layers.dedup_by(|outer, inner| *outer == NMI && *inner == NMI);
        *seen.entry(layers).or_default() += 1;
    }
    for layers in [
        &[][..],
        &[EXCEPTION],
        &[INTERRUPT, EXCEPTION],
        &[NMI],
        &[NMI, EXCEPTION],
        &[NMI, INTERRUPT, EXCEPTION],
    ] {
        let count = seen.remove(layers).unwrap_or(0);
        assert!(
            count > 100,
            "{count} samples cross {layers:?} (vectors, innermost first); the others: {seen:?}"
        );
    }
    assert!(seen.is_empty(), "samples cross other layers: {seen:?}");
}
