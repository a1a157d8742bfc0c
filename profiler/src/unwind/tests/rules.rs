//! Code in assembly: where each rule says that the caller is.

use super::*;

/// What the callers of [`three_frames`] are.
fn callers() -> Vec<ChainEntry> {
    returns(&[code(0x200), code(0x100), ROOT])
}

fn crossing(vector: u8, pc: u64, stack_top: [u64; 2]) -> ChainEntry {
    ChainEntry::Crossing {
        vector,
        pc: CodeAddress(pc),
        caller_known: false,
        stack_top,
    }
}

/// What the processor pushes for an interrupt of the task's leaf, its own words on
/// top of its stack.
fn interrupted_leaf() -> ([u64; 5], Machine) {
    let mut machine = three_frames();
    machine.set(TASK + 0x70, &[11, 22]);
    ([code(0x300), 0x8, 0x246, TASK + 0x70, 0x10], machine)
}

#[test]
fn before_a_trap_frame_is_made_the_pushed_words_are_the_interrupted_codes() {
    let whole = |vector| {
        let mut chain = vec![crossing(vector, code(0x300), [11, 22])];
        chain.extend(callers());
        (ChainEnd::Complete, chain)
    };
    for words in 0..RULE_CODES {
        let (pushed, mut machine) = interrupted_leaf();
        let at = NMI + 0x90;
        machine.set(at, &pushed);
        let sp = at - 8 * words;
        // The rule has the vector: the stack is not asked.
        let walked = machine.walk(INTERRUPTED_BY_NMI + words, sp, TASK + 0x80);
        assert_eq!(walked, whole(NMI_VECTOR), "{words} words");
        // It does not: it stands where a trap frame has it, a word above the program
        // counter in this layout.
        machine.set(at + 8, &[0x44]);
        let walked = machine.walk(INTERRUPTED + words, sp, TASK + 0x80);
        assert_eq!(walked, whole(0x44), "{words} words");
    }
}

/// The same machine with the vector below the program counter, as the kernel's stubs
/// push it.
struct VectorBelow(Machine);

// SAFETY: `load` reads no memory by an address.
unsafe impl Target for VectorBelow {
    fn text(&self) -> CodeRange {
        self.0.text()
    }
    fn rule(&self, address: CodeAddress) -> Rule {
        self.0.rule(address)
    }
    fn has_root_rules(&self) -> bool {
        self.0.has_root_rules()
    }
    fn is_called_by_stub(&self, address: CodeAddress) -> bool {
        self.0.is_called_by_stub(address)
    }
    fn trap_frame_layout(&self) -> TrapFrameLayout {
        TrapFrameLayout {
            fp: 0,
            vector: Some(1),
            pc: 3,
            sp: 6,
            words: 8,
        }
    }
    fn stack_of(&self, sp: StackAddress) -> Option<StackBounds> {
        self.0.stack_of(sp)
    }
    fn load(&self, slot: Slot) -> u64 {
        self.0.load(slot)
    }
}

#[test]
fn the_vector_is_found_below_the_stack_pointer_too_but_on_the_stack() {
    let walk = |at: u64| {
        let (pushed, mut machine) = interrupted_leaf();
        machine.set(at, &pushed);
        if at >= NMI + 16 {
            machine.set(at - 16, &[0x42]);
        }
        let registers = Registers {
            pc: CodeAddress(INTERRUPTED),
            sp: StackAddress(at),
            fp: StackAddress(TASK + 0x80),
        };
        let mut chain = Chain::new();
        let end = walk(registers, &VectorBelow(machine), &mut chain);
        (end, entries(&chain))
    };
    // At the `iret`: the stub has just popped the vector off.
    for at in [NMI + 0xd8, NMI + 0x10] {
        let (end, chain) = walk(at);
        assert_eq!(end, ChainEnd::Complete, "{at:#x}");
        assert_eq!(chain[0], crossing(0x42, code(0x300), [11, 22]), "{at:#x}");
        assert_eq!(chain[1..], callers(), "{at:#x}");
    }
    // Where it had to lie below the stack, nothing is loaded.
    assert_eq!(walk(NMI + 8), (ChainEnd::FrameBelow, vec![]));
}

#[test]
fn pushed_words_that_are_not_on_the_stack_end_the_walk() {
    let (_, machine) = interrupted_leaf();
    for pc in [INTERRUPTED, INTERRUPTED_BY_NMI] {
        let walk = |words, sp| machine.walk(pc + words, sp, TASK + 0x80);
        // Five words, the last of them one past the top.
        for (words, sp) in [(0, NMI + 0xe0), (1, NMI + 0xd8), (15, NMI + 0x100)] {
            let found = walk(words, sp);
            assert_eq!(found, (ChainEnd::FrameAbove, vec![]), "{words} at {sp:#x}");
        }
        let misaligned = walk(2, NMI + 0x91);
        assert_eq!(misaligned, (ChainEnd::FrameMisaligned, vec![]));
    }
    assert_eq!(machine.loads.get(), 0);
}

#[test]
fn the_last_place_for_pushed_words_is_right_below_the_top() {
    let (pushed, mut machine) = interrupted_leaf();
    machine.set(NMI + 0xd8, &pushed);
    let (end, chain) = machine.walk(INTERRUPTED_BY_NMI + 3, NMI + 0xc0, TASK + 0x80);
    assert_eq!((end, chain.len()), (ChainEnd::Complete, 4));
}

#[test]
fn pushed_words_that_are_wrong_end_the_walk_with_their_reason() {
    let walk = |pc, sp| {
        let (_, mut machine) = interrupted_leaf();
        machine.set(NMI + 0x90, &[pc, 0x8, 0x246, sp, 0x10]);
        machine.walk(INTERRUPTED_BY_NMI + 2, NMI + 0x80, TASK + 0x80)
    };
    for pc in [0, TEXT.start.0 - 1, TEXT.end.0, TASK + 0x80, u64::MAX] {
        let found = walk(pc, TASK + 0x70);
        let end = ChainEnd::InterruptedOutsideText;
        assert_eq!(found, (end, vec![]), "{pc:#x}");
    }
    // A stack pointer on no stack: the crossing is true, and the last thing known.
    for sp in [0, TASK - 8, TASK + 0x108, 0xfee0_0000, u64::MAX] {
        let chain = vec![crossing(NMI_VECTOR, code(0x300), [0; 2])];
        let found = walk(code(0x300), sp);
        assert_eq!(found, (ChainEnd::UnknownStack, chain), "{sp:#x}");
    }
    // One on a stack that the frame pointer is not of.
    let chain = vec![crossing(NMI_VECTOR, code(0x300), [0x246, NMI + 0xa0])];
    let found = walk(code(0x300), NMI + 0xa0);
    assert_eq!(found, (ChainEnd::FrameBelow, chain));
}

#[test]
fn code_in_the_interrupted_place_is_walked_by_its_own_rule() {
    // An NMI in a stub that has pushed three words.
    let (leaf, mut machine) = interrupted_leaf();
    machine.set(
        TASK + 0x20,
        &[0, 0, 0, leaf[0], 0x78, leaf[2], leaf[3], 0x10],
    );
    machine.set(NMI + 0x90, &[INTERRUPTED + 3, 8, 0x46, TASK + 0x20, 0x10]);
    let mut expected = vec![
        ChainEntry::Crossing {
            vector: NMI_VECTOR,
            pc: CodeAddress(INTERRUPTED + 3),
            caller_known: true,
            stack_top: [0; 2],
        },
        crossing(0x78, code(0x300), [11, 22]),
    ];
    expected.extend(callers());
    assert_eq!(
        machine.walk(INTERRUPTED_BY_NMI, NMI + 0x90, TASK + 0x80),
        (ChainEnd::Complete, expected)
    );
}

#[test]
fn behind_a_switch_the_saved_pair_is_found_from_the_stack_pointer() {
    // Whatever the frame pointer is: it belongs to the stack before.
    for fp in [0, NMI + 0x80, TASK + 0xf0, u64::MAX] {
        for words in 0..RULE_CODES {
            let machine = three_frames();
            let walked = machine.walk(SAVED + words, TASK + 0x80 - 8 * words, fp);
            let whole = (ChainEnd::Complete, callers());
            assert_eq!(walked, whole, "{words} words, fp {fp:#x}");
        }
    }
}

#[test]
fn a_saved_pair_of_a_root_is_complete() {
    let machine = three_frames();
    assert_eq!(
        machine.walk(SAVED + 2, TASK + 0xe0, NMI + 0x80),
        (ChainEnd::Complete, returns(&[ROOT]))
    );
    // The frame pointer of no root is not zero.
    let mut machine = three_frames();
    machine.set(TASK + 0xf8, &[code(0x400)]);
    assert_eq!(
        machine.walk(SAVED + 2, TASK + 0xe0, NMI + 0x80),
        (ChainEnd::FrameNull, returns(&[code(0x400)]))
    );
}

#[test]
fn a_saved_pair_that_is_not_on_the_stack_ends_the_walk() {
    let machine = three_frames();
    let walk = |words, sp| machine.walk(SAVED + words, sp, TASK + 0x80);
    for (words, sp) in [(0, TASK + 0xf8), (1, TASK + 0xf0), (0, TASK + 0x100)] {
        let found = walk(words, sp);
        assert_eq!(found, (ChainEnd::FrameAbove, vec![]), "{words} at {sp:#x}");
    }
    assert_eq!(walk(1, TASK + 0xe1), (ChainEnd::FrameMisaligned, vec![]));
    assert_eq!(walk(1, NMI + 0x108), (ChainEnd::UnknownStack, vec![]));
    assert_eq!(machine.loads.get(), 0);
}

#[test]
fn the_root_is_complete_where_the_frame_pointer_says_so_as_well() {
    let machine = three_frames();
    let complete = (ChainEnd::Complete, vec![]);
    for sp in [TASK, TASK + 0xf0, TASK + 0x100] {
        assert_eq!(machine.walk(ROOT, sp, 0), complete, "{sp:#x}");
    }
    assert_eq!(machine.loads.get(), 0);
    // Before the root has zeroed it, it is a frame pointer like any other.
    assert_eq!(
        machine.walk(ROOT, TASK + 0x70, TASK + 0x80),
        (ChainEnd::Complete, callers())
    );
    let past_the_top = machine.walk(ROOT, TASK + 0x70, TASK + 0x100);
    assert_eq!(past_the_top, (ChainEnd::FrameAbove, vec![]));
}

#[test]
fn the_caller_is_known_wherever_there_is_a_rule() {
    let machine = Machine::new();
    let is_known = |pc| is_caller_known(CodeAddress(pc), &machine);
    for pc in [ROOT, TRAP_RETURN, INTERRUPTED, INTERRUPTED_BY_NMI, SAVED] {
        assert!(is_known(pc), "{pc:#x}");
    }
    for pc in [code(0x300), SAVED + RULE_CODES, TEXT.end.0, 0, u64::MAX] {
        assert!(!is_known(pc), "{pc:#x}");
    }
}
