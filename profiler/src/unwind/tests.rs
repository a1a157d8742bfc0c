//! The walk over stacks that are right, wrong in each way there is, and random.

use super::*;
use crate::format::sample::MAX_CHAIN;
use std::cell::Cell;

mod corruption;
mod defaults;
mod fast;
mod random;
mod rules;
mod user;

const TEXT: CodeRange = CodeRange {
    start: CodeAddress(0xffff_ffff_8000_0000),
    end: CodeAddress(0xffff_ffff_8000_1000),
};
/// The first function of every stack returns here.
const ROOT: u64 = TEXT.start.0 + 0x10;
/// The call of the dispatcher returns here.
const TRAP_RETURN: u64 = TEXT.start.0 + 0x20;
/// Code that no entry stub calls.
const ELSEWHERE: u64 = TEXT.start.0 + 0x3f8;
const LAYOUT: TrapFrameLayout = TrapFrameLayout {
    fp: 0,
    sp: 1,
    pc: 2,
    vector: Some(3),
    words: 4,
};

/// Code of each of the other rules, for as many words as the code's place in its row
/// of [`RULE_CODES`].
const INTERRUPTED: u64 = TEXT.start.0 + 0x800;
const INTERRUPTED_BY_NMI: u64 = TEXT.start.0 + 0x900;
const SAVED: u64 = TEXT.start.0 + 0xa00;
const RULE_CODES: u64 = 16;
/// The vector that code at [`INTERRUPTED_BY_NMI`] was entered by.
const NMI_VECTOR: u8 = 2;

/// A machine with two stacks, apart from each other. It counts what the walk asks.
struct Machine {
    stacks: [(u64, Vec<u64>); 2],
    loads: Cell<usize>,
    rules: Cell<usize>,
    searches: Cell<usize>,
}

const TASK: u64 = 0xffff_a000_0000_0000;
const NMI: u64 = 0xffff_b000_0000_0000;
const WORDS: usize = 32;

impl Machine {
    fn new() -> Self {
        Self::with(vec![0; WORDS], vec![0; WORDS])
    }

    fn with(task: Vec<u64>, nmi: Vec<u64>) -> Self {
        Self {
            stacks: [(TASK, task), (NMI, nmi)],
            loads: Cell::new(0),
            rules: Cell::new(0),
            searches: Cell::new(0),
        }
    }

    fn set(&mut self, address: u64, words: &[u64]) {
        let (low, memory) = self
            .stacks
            .iter_mut()
            .find(|(low, memory)| (*low..*low + 8 * memory.len() as u64).contains(&address))
            .expect("the test writes to a stack");
        let at = usize::try_from((address - *low) / 8).unwrap();
        memory[at..at + words.len()].copy_from_slice(words);
    }

    fn walk(&self, pc: u64, sp: u64, fp: u64) -> (ChainEnd, Vec<ChainEntry>) {
        let mut chain = Chain::new();
        let registers = Registers {
            pc: CodeAddress(pc),
            sp: StackAddress(sp),
            fp: StackAddress(fp),
        };
        let end = walk(registers, self, &mut chain);
        (end, entries(&chain))
    }
}

fn entries(chain: &Chain) -> Vec<ChainEntry> {
    crate::format::Sample {
        sequence: 0,
        handler_cost: 0,
        event: 0,
        task: 0,
        state: crate::format::State(0),
        time: 0,
        period: 0,
        sp: StackAddress(0),
        stack_top: [0; 2],
        pc: CodeAddress(0),
        exact: None,
        end: ChainEnd::Complete,
        chain_words: chain.words(),
    }
    .chain()
    .collect()
}

// SAFETY: `load` reads no memory by an address.
unsafe impl Target for Machine {
    fn text(&self) -> CodeRange {
        TEXT
    }

    fn rule(&self, address: CodeAddress) -> Rule {
        self.rules.set(self.rules.get() + 1);
        let row = |start: u64| {
            let place = address.0.wrapping_sub(start);
            (place < RULE_CODES).then_some(place)
        };
        if let Some(words) = row(INTERRUPTED) {
            let vector = None;
            return Rule::Interrupted { words, vector };
        }
        if let Some(words) = row(INTERRUPTED_BY_NMI) {
            let vector = Some(NMI_VECTOR.into());
            return Rule::Interrupted { words, vector };
        }
        if let Some(words) = row(SAVED) {
            return Rule::Saved { words };
        }
        match address.0 {
            ROOT => Rule::Root,
            TRAP_RETURN => Rule::TrapFrame,
            _ => Rule::FramePointer,
        }
    }

    fn has_root_rules(&self) -> bool {
        true
    }

    fn is_called_by_stub(&self, address: CodeAddress) -> bool {
        address.0 != ELSEWHERE
    }

    fn trap_frame_layout(&self) -> TrapFrameLayout {
        LAYOUT
    }

    fn stack_of(&self, sp: StackAddress) -> Option<StackBounds> {
        self.searches.set(self.searches.get() + 1);
        self.stacks
            .iter()
            .map(|(low, memory)| StackBounds {
                low: *low,
                high: low + 8 * memory.len() as u64,
            })
            .find(|stack| stack.holds_pointer(sp))
    }

    fn load(&self, slot: Slot) -> u64 {
        self.loads.set(self.loads.get() + 1);
        let address = slot.address();
        let (low, memory) = self
            .stacks
            .iter()
            .find(|(low, memory)| (*low..*low + 8 * memory.len() as u64).contains(&address))
            .unwrap_or_else(|| panic!("load outside every stack: {address:#x}"));
        assert!(address.is_multiple_of(8), "unaligned load: {address:#x}");
        memory[usize::try_from((address - low) / 8).unwrap()]
    }
}

fn code(offset: u64) -> u64 {
    TEXT.start.0 + offset
}

fn returns(addresses: &[u64]) -> Vec<ChainEntry> {
    addresses
        .iter()
        .map(|&address| ChainEntry::Return(CodeAddress(address)))
        .collect()
}

/// Three frames on the task's stack: main called middle called leaf.
fn three_frames() -> Machine {
    let mut machine = Machine::new();
    machine.set(TASK + 0xf0, &[0, ROOT]);
    machine.set(TASK + 0xc0, &[TASK + 0xf0, code(0x100)]);
    machine.set(TASK + 0x80, &[TASK + 0xc0, code(0x200)]);
    machine
}

#[test]
fn a_whole_stack_is_walked_to_its_root() {
    let machine = three_frames();
    let expected = (
        ChainEnd::Complete,
        returns(&[code(0x200), code(0x100), ROOT]),
    );
    assert_eq!(
        machine.walk(code(0x300), TASK + 0x70, TASK + 0x80),
        expected
    );
    // The frame may lie right at the stack pointer.
    assert_eq!(
        machine.walk(code(0x300), TASK + 0x80, TASK + 0x80),
        expected
    );
}

#[test]
fn each_bad_frame_pointer_ends_the_walk_with_its_reason() {
    for (saved, end) in [
        (0, ChainEnd::FrameNull),
        (TASK + 0xc1, ChainEnd::FrameMisaligned),
        (TASK + 0x40, ChainEnd::FrameBelow), // below the stack pointer
        (TASK + 0x80, ChainEnd::FrameBelow), // its own address
        (TASK + 0x88, ChainEnd::FrameBelow), // inside the frame before
        (TASK - 8, ChainEnd::FrameBelow),    // the guard page
        (TASK + 0xf8, ChainEnd::FrameAbove), // the pair's second word past the top
        (TASK + 0x100, ChainEnd::FrameAbove), // the top
        (NMI + 0x80, ChainEnd::FrameAbove),  // another stack
        (0x7fff_f000, ChainEnd::FrameBelow), // the user half
        (0xfee0_0000, ChainEnd::FrameBelow), // device memory
        (0x8000_0000_0000_0000, ChainEnd::FrameBelow), // not canonical
        (u64::MAX - 7, ChainEnd::FrameAbove), // would wrap
        (u64::MAX, ChainEnd::FrameMisaligned),
    ] {
        let mut machine = three_frames();
        machine.set(TASK + 0x80, &[saved]);
        let (found, chain) = machine.walk(code(0x300), TASK + 0x60, TASK + 0x80);
        assert_eq!(found, end, "saved frame pointer {saved:#x}");
        assert_eq!(chain, returns(&[code(0x200)]), "{saved:#x}");
        assert!(machine.loads.get() <= 2, "{saved:#x} was followed");
    }
}

#[test]
fn a_return_address_outside_text_ends_the_walk() {
    for wild in [0, 1, TEXT.start.0 - 1, TEXT.end.0, TASK + 0x80, u64::MAX] {
        let mut machine = three_frames();
        machine.set(TASK + 0xc8, &[wild]);
        assert_eq!(
            machine.walk(code(0x300), TASK + 0x70, TASK + 0x80),
            (ChainEnd::ReturnOutsideText, returns(&[code(0x200)])),
            "{wild:#x}"
        );
    }
}

#[test]
fn a_stack_pointer_on_no_stack_reads_nothing() {
    let machine = three_frames();
    for sp in [0, TASK - 8, TASK + 0x101, NMI - 1, u64::MAX] {
        let (end, chain) = machine.walk(code(0x300), sp, TASK + 0x80);
        assert_eq!((end, chain), (ChainEnd::UnknownStack, vec![]), "{sp:#x}");
        assert_eq!(stack_top(StackAddress(sp), &machine), [0; 2]);
    }
    assert_eq!(machine.loads.get(), 0);
}

/// An interrupt handler on the other stack, over the task's three frames.
fn interrupted_task(pc: u64, sp: u64, fp: u64) -> Machine {
    let mut machine = three_frames();
    machine.set(NMI + 0xe0, &[fp, sp, pc, 0x40]);
    machine.set(NMI + 0x80, &[NMI + 0xe0, TRAP_RETURN]);
    machine
}

#[test]
fn the_walk_crosses_a_trap_frame_to_the_interrupted_stack() {
    let machine = interrupted_task(code(0x300), TASK + 0x70, TASK + 0x80);
    let crossing = ChainEntry::Crossing {
        vector: 0x40,
        pc: CodeAddress(code(0x300)),
        caller_known: false,
        stack_top: [0; 2],
    };
    let outer = returns(&[code(0x200), code(0x100), ROOT]);
    let mut expected = returns(&[TRAP_RETURN]);
    expected.push(crossing);
    expected.extend(outer.clone());
    assert_eq!(
        machine.walk(code(0x500), NMI + 0x60, NMI + 0x80),
        (ChainEnd::Complete, expected)
    );
    // In the stub itself, the frame pointer is the trap frame.
    let mut expected = vec![crossing];
    expected.extend(outer);
    assert_eq!(
        machine.walk(TRAP_RETURN, NMI + 0xe0, NMI + 0xe0),
        (ChainEnd::Complete, expected)
    );
}

#[test]
fn the_dispatchers_first_and_last_instructions_lead_to_the_trap_frame() {
    let machine = interrupted_task(code(0x300), TASK + 0x70, TASK + 0x80);
    let (end, mut chain) = machine.walk(code(0x500), NMI + 0x60, NMI + 0x80);
    // The call's return address is on top of the stack: the host finds it there.
    assert_eq!(chain.remove(0), returns(&[TRAP_RETURN])[0]);
    let whole = (end, chain);
    // The call's return address right below the trap frame, as a call leaves it.
    let mut machine = interrupted_task(code(0x300), TASK + 0x70, TASK + 0x80);
    machine.set(NMI + 0xd0, &[NMI + 0xe0, TRAP_RETURN]);
    // Before the frame pointer is saved, and after.
    assert_eq!(machine.walk(code(0x500), NMI + 0xd8, NMI + 0xe0), whole);
    assert_eq!(machine.walk(code(0x500), NMI + 0xd0, NMI + 0xe0), whole);
    // In a function that no stub calls, the same words are left over.
    let (end, _) = machine.walk(ELSEWHERE, NMI + 0xd0, NMI + 0xe0);
    assert_eq!(end, ChainEnd::ReturnOutsideText);
    // Any other word there is no such call.
    machine.set(NMI + 0xd8, &[code(0x700)]);
    let (end, _) = machine.walk(code(0x500), NMI + 0xd8, NMI + 0xe0);
    assert_eq!(end, ChainEnd::ReturnOutsideText);
}

#[test]
fn what_a_trap_left_below_a_frame_is_no_call() {
    // In a leaf with two words of its own, which it has not written to yet: there
    // is still what the dispatcher's call and first instruction pushed in a trap
    // before.
    let mut machine = three_frames();
    machine.set(TASK + 0x70, &[TASK + 0x80, TRAP_RETURN]);
    let callers = returns(&[code(0x200), code(0x100), ROOT]);
    // Where a trap frame has its program counter and its vector.
    for stale in [[0x400, 0x40], [code(0x400), 1 + u64::from(SYSCALL)]] {
        machine.set(TASK + 0x90, &stale);
        let walked = machine.walk(code(0x300), TASK + 0x70, TASK + 0x80);
        assert_eq!(walked, (ChainEnd::Complete, callers.clone()), "{stale:#x?}");
    }
}

#[test]
fn a_bad_trap_frame_ends_the_walk_with_its_reason() {
    let at_stub = returns(&[TRAP_RETURN]);
    let walk = |machine: &Machine| machine.walk(code(0x500), NMI + 0x60, NMI + 0x80);

    let machine = interrupted_task(TEXT.end.0, TASK + 0x70, TASK + 0x80);
    assert_eq!(
        walk(&machine),
        (ChainEnd::InterruptedOutsideText, at_stub.clone())
    );

    let mut machine = interrupted_task(code(0x300), TASK + 0x70, TASK + 0x80);
    machine.set(NMI + 0x80, &[NMI + 0xe8]); // its last word lies past the top
    assert_eq!(walk(&machine), (ChainEnd::FrameAbove, at_stub.clone()));

    let machine = interrupted_task(code(0x300), 0x1000, TASK + 0x80);
    let (end, chain) = walk(&machine);
    assert_eq!((end, chain.len()), (ChainEnd::UnknownStack, 2));
}

#[test]
fn a_trap_frame_that_leads_back_to_itself_ends_at_the_depth_limit() {
    let machine = interrupted_task(code(0x300), NMI + 0x60, NMI + 0x80);
    let (end, chain) = machine.walk(code(0x500), NMI + 0x60, NMI + 0x80);
    assert_eq!(end, ChainEnd::DepthLimit);
    assert!(chain.len() <= MAX_CHAIN);
}

#[test]
fn the_stack_top_has_as_many_words_as_the_stack() {
    let mut machine = Machine::new();
    machine.set(TASK + 0xf0, &[11, 22]);
    let top = |sp| stack_top(StackAddress(sp), &machine);
    assert_eq!(top(TASK + 0xf0), [11, 22]);
    assert_eq!(top(TASK + 0xf8), [22, 0]);
    assert_eq!(top(TASK + 0x100), [0, 0]);
    assert_eq!(top(TASK + 0xf1), [0, 0]); // misaligned
}

#[test]
fn a_slot_lies_on_the_stack_whatever_the_floor() {
    let stack = StackBounds {
        low: TASK,
        high: TASK + 0x100,
    };
    let slot =
        |address, words, floor| stack.slot(StackAddress(address), words, StackAddress(floor));
    // A floor below the stack lets nothing through that is not on it.
    assert_eq!(slot(TASK - 8, 2, 0), Err(ChainEnd::FrameBelow));
    assert_eq!(slot(TASK, 2, 0), Ok(Slot(TASK)));
    assert_eq!(slot(TASK + 0xf0, 2, 0), Ok(Slot(TASK + 0xf0)));
    assert_eq!(slot(TASK + 0xf8, 2, 0), Err(ChainEnd::FrameAbove));
    // Nor does one above it.
    assert_eq!(
        slot(TASK + 0x100, 1, TASK + 0x200),
        Err(ChainEnd::FrameBelow)
    );
}
