//! The walk over memory that is random, and over every stack that is right.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// Words that look like what a stack holds, more often than chance would.
pub(super) fn stack_word() -> impl Strategy<Value = u64> {
    prop_oneof![
        3 => (0..WORDS as u64 + 4).prop_map(|word| TASK - 16 + 8 * word),
        3 => (0..WORDS as u64 + 4).prop_map(|word| NMI - 16 + 8 * word),
        4 => (0..0x40_u64).prop_map(|at| code(0x10 * at)),
        1 => Just(TRAP_RETURN),
        1 => Just(ROOT),
        2 => rule_code(),
        1 => Just(0),
        1 => any::<u64>(),
    ]
}

/// Code of each rule that is not compiled code's.
fn rule_code() -> impl Strategy<Value = u64> {
    prop_oneof![
        (0..RULE_CODES).prop_map(|words| INTERRUPTED + words),
        (0..RULE_CODES).prop_map(|words| INTERRUPTED_BY_NMI + words),
        (0..RULE_CODES).prop_map(|words| SAVED + words),
        Just(TRAP_RETURN),
        Just(ROOT),
    ]
}

/// The most loads of a walk that ended so and appended so many words, of them four a
/// crossing.
///
/// A return address costs two loads and is one word. A crossing is four words and
/// costs nine loads: three that look for a trap call, four of the trap frame, two of
/// the stack's top. Where the walk ends there are those of the step that appended
/// nothing.
fn most_loads(words: usize, crossings: usize, end: ChainEnd) -> usize {
    let trap_call = 3;
    let last = match end {
        ChainEnd::UnknownStack => 0,
        ChainEnd::Complete
        | ChainEnd::FrameNull
        | ChainEnd::FrameMisaligned
        | ChainEnd::FrameBelow
        | ChainEnd::FrameAbove => trap_call,
        ChainEnd::ReturnOutsideText => trap_call + 2,
        ChainEnd::InterruptedOutsideText | ChainEnd::UserUnknown => trap_call + 4,
        ChainEnd::DepthLimit => trap_call + 4 + 2,
        ChainEnd::UserUnmapped => unreachable!("it has no program"),
    };
    2 * words + crossings + last
}

fn is_crossing(entry: &ChainEntry) -> bool {
    matches!(entry, ChainEntry::Crossing { .. })
}

/// Asserts that the walk asked no more than what it appended explains: so each turn
/// of its loops appends a word, or is the last.
#[track_caller]
fn assert_bounded(machine: &Machine, end: ChainEnd, chain: &[ChainEntry]) {
    let crossings = chain.iter().filter(|entry| is_crossing(entry)).count();
    let calls = chain.len() - crossings;
    let words = calls + 4 * crossings;
    assert!(words <= MAX_CHAIN, "{words} words");
    let (loads, most) = (machine.loads.get(), most_loads(words, crossings, end));
    assert!(
        loads <= most,
        "{loads} loads, not {most}; {end:?} {chain:?}"
    );
    // Each crossing looks for the stack twice, for its top and to go on there; the
    // walk begins by looking for one. The crossing that had no room asked as well.
    let searches = machine.searches.get();
    let no_room = usize::from(end == ChainEnd::DepthLimit);
    assert!(
        searches <= 1 + 2 * crossings + no_room,
        "{searches} searches; {end:?} {chain:?}"
    );
    // For each call one rule; on each stack those of the code that it starts with, of
    // a trap call, of the code that the last turn ends at, and whether the caller of
    // what was interrupted is known.
    let rules = machine.rules.get();
    let most = calls + 4 * (crossings + 1);
    assert!(
        rules <= most,
        "{rules} rules, not {most}; {end:?} {chain:?}"
    );
}

/// The bound is tight: a trap call whose trap frame leads back to itself.
#[test]
fn the_costliest_walk_takes_as_many_loads_as_the_bound_says() {
    let mut machine = Machine::new();
    machine.set(
        NMI + 0xd8,
        &[TRAP_RETURN, NMI + 0xe0, NMI + 0xd8, code(0x500), 0x40],
    );
    let (end, chain) = machine.walk(code(0x500), NMI + 0xd8, NMI + 0xe0);
    assert_eq!((end, chain.len()), (ChainEnd::DepthLimit, MAX_CHAIN / 4));
    assert_bounded(&machine, end, &chain);
    let most = most_loads(MAX_CHAIN, MAX_CHAIN / 4, end);
    assert_eq!((machine.loads.get(), most), (153, 153));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    /// `Machine::load` panics at any load outside the two stacks.
    #[test]
    fn over_random_memory_the_walk_stays_in_bounds_and_ends(
        task in prop::collection::vec(stack_word(), WORDS),
        nmi in prop::collection::vec(stack_word(), WORDS),
        pc in prop_oneof![stack_word(), rule_code()],
        sp in stack_word(),
        fp in stack_word(),
    ) {
        let machine = Machine::with(task, nmi);
        let (end, chain) = machine.walk(pc, sp, fp);
        assert_bounded(&machine, end, &chain);
        if end == ChainEnd::Complete && !chain.is_empty() {
            let last = match chain[chain.len() - 1] {
                ChainEntry::Return(address) => address,
                ChainEntry::Crossing { pc, .. } | ChainEntry::Border { pc, .. } => pc,
            };
            prop_assert_eq!(last.0, ROOT);
        }
        for entry in &chain {
            let (ChainEntry::Return(address)
            | ChainEntry::Crossing { pc: address, .. }
            | ChainEntry::Border { pc: address, .. }) = *entry;
            prop_assert!(TEXT.contains(address));
        }
    }

    /// However frames are laid out, a stack that is right is walked whole.
    #[test]
    fn every_well_formed_stack_is_walked_whole(
        places in prop::collection::btree_set(0..WORDS as u64 / 2, 1..16),
        seed in 0..0x40_u64,
    ) {
        let mut machine = Machine::new();
        let frames: BTreeSet<_> = places.iter().map(|place| TASK + 16 * place).collect();
        let mut next = 0;
        let mut callers = vec![];
        for (index, &frame) in frames.iter().rev().enumerate() {
            let caller = if index == 0 { ROOT } else { code(0x100 + 8 * (seed + index as u64)) };
            machine.set(frame, &[next, caller]);
            callers.insert(0, caller);
            next = frame;
        }
        prop_assert_eq!(
            machine.walk(code(0x80), TASK, next),
            (ChainEnd::Complete, returns(&callers))
        );
    }
}
