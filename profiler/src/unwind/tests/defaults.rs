//! A kernel that says where its text and its stack are, and hardly more: loads are real
//! ones, of this test's own memory.

use super::*;

/// Code of a compiled handler.
const HANDLER: u64 = TEXT.start.0 + 0xc00;
/// The first instruction of the same one.
const HANDLER_ENTRY: u64 = TEXT.start.0 + 0xc80;

/// One stack of 32 words.
struct Foreign {
    stack: Box<[u64; WORDS]>,
}

// SAFETY: `stack_of` returns bounds of memory that `self` owns.
unsafe impl Target for Foreign {
    fn text(&self) -> CodeRange {
        TEXT
    }

    fn stack_of(&self, sp: StackAddress) -> Option<StackBounds> {
        let low = self.at(0);
        let high = self.at(WORDS);
        let stack = StackBounds { low, high };
        stack.holds_pointer(sp).then_some(stack)
    }

    fn rule(&self, address: CodeAddress) -> Rule {
        match address.0 {
            HANDLER => Rule::TrapFrame,
            HANDLER_ENTRY => Rule::Interrupted {
                words: 0,
                vector: None,
            },
            _ => Rule::FramePointer,
        }
    }
}

impl Foreign {
    /// From bottom to top: the pair that the entry point saved, entered by a boot loader
    /// with `entry` in place of a frame pointer and a return address, and the pair of the
    /// function that it called.
    fn entered_with(entry: [u64; 2]) -> Self {
        let stack = Box::new([0; WORDS]);
        let mut foreign = Self { stack };
        foreign.stack[30..].copy_from_slice(&entry);
        let pair = [foreign.at(30), code(0x100)];
        foreign.stack[26..28].copy_from_slice(&pair);
        foreign
    }

    /// The address of a word.
    fn at(&self, word: usize) -> u64 {
        (self.stack.as_ptr() as u64) + 8 * word as u64
    }

    fn walk(&self, pc: u64, sp: usize, fp: usize) -> (ChainEnd, Vec<ChainEntry>) {
        let mut chain = Chain::new();
        let registers = Registers {
            pc: CodeAddress(pc),
            sp: StackAddress(self.at(sp)),
            fp: StackAddress(self.at(fp)),
        };
        let end = walk(registers, self, &mut chain);
        (end, entries(&chain))
    }
}

#[test]
fn a_kernel_that_its_boot_loader_entered_with_zeros_has_complete_chains() {
    for (entry, end) in [
        ([0, 0], ChainEnd::Complete),
        ([8, 0], ChainEnd::ReturnOutsideText),
        ([0, 8], ChainEnd::ReturnOutsideText),
    ] {
        let walked = Foreign::entered_with(entry).walk(code(0x200), 20, 26);
        assert_eq!(walked, (end, returns(&[code(0x100)])), "{entry:?}");
    }
    // A caller without a frame pointer of its own, and without a rule.
    let walked = Foreign::entered_with([0, code(0x50)]).walk(code(0x200), 20, 26);
    let callers = returns(&[code(0x100), code(0x50)]);
    assert_eq!(walked, (ChainEnd::FrameNull, callers));
}

#[test]
fn where_stacks_have_roots_two_zeros_are_an_overwritten_frame() {
    let mut machine = three_frames();
    machine.set(TASK + 0xf0, &[0, 0]);
    assert_eq!(
        machine.walk(code(0x300), TASK + 0x70, TASK + 0x80),
        (
            ChainEnd::ReturnOutsideText,
            returns(&[code(0x200), code(0x100)])
        )
    );
}

/// The processor pushed five words for the code at 0x200, whose frame pointer leads to the
/// pair at word 26 and whose stack pointer to word 24.
fn interrupted() -> (Foreign, Vec<ChainEntry>) {
    let mut foreign = Foreign::entered_with([0, 0]);
    foreign.stack[24..26].copy_from_slice(&[77, 88]);
    let pushed = [code(0x200), 0x28, 0x202, foreign.at(24), 0x30];
    foreign.stack[12..17].copy_from_slice(&pushed);
    foreign.stack[11] = foreign.at(26);
    let crossing = ChainEntry::Crossing {
        vector: UNKNOWN_VECTOR,
        pc: CodeAddress(code(0x200)),
        caller_known: false,
        stack_top: [77, 88],
    };
    let mut chain = vec![crossing];
    chain.extend(returns(&[code(0x100)]));
    (foreign, chain)
}

#[test]
fn a_compiled_handler_is_crossed_without_a_vector() {
    let (foreign, chain) = interrupted();
    let crossed = foreign.walk(HANDLER, 8, 11);
    assert_eq!(crossed, (ChainEnd::Complete, chain.clone()));
    // Before it has pushed the frame pointer.
    let crossed = foreign.walk(HANDLER_ENTRY, 12, 26);
    assert_eq!(crossed, (ChainEnd::Complete, chain));
}

#[test]
fn a_function_that_a_compiled_handler_called_has_it_as_its_caller() {
    let (mut foreign, chain) = interrupted();
    let pair = [foreign.at(11), HANDLER];
    foreign.stack[6..8].copy_from_slice(&pair);
    let mut whole = returns(&[HANDLER]);
    whole.extend(chain);
    assert_eq!(foreign.walk(code(0x400), 4, 6), (ChainEnd::Complete, whole));
}
