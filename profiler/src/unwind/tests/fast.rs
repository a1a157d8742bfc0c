//! The walk over ordinary stacks against the walk over all: where it finishes, it is the same.

use super::random::stack_word;
use super::*;
use crate::format::sample::compact::{CALLER_KNOWN, HAS_TOP, Width};
use crate::unwind::fast::{
    self, CompactChain, CompiledCode, Frames, MOST_BYTES, OFFSET_BYTES, ROUNDS, is_root,
};
use proptest::prelude::*;

/// Below all code that has a rule of its own, which is moved behind it ([`moved`]).
const COMPILED: CompiledCode = CompiledCode {
    start: TEXT.start,
    len: INTERRUPTED - TEXT.start.0,
};
const ROOT_BEHIND: u64 = TEXT.start.0 + 0xb00;
const TRAP_RETURN_BEHIND: u64 = TEXT.start.0 + 0xb10;

/// Code that entry stubs call, behind what is compiled.
const CALLED: core::ops::Range<u64> = TEXT.start.0 + 0xc00..TEXT.start.0 + 0xd00;

/// A pair of words, so that stacks begin at multiples of 16.
#[derive(Clone, Copy)]
#[repr(align(16))]
struct Pair([u64; 2]);

/// A stack in memory, which is read by its addresses.
struct Memory {
    pairs: Vec<Pair>,
    has_root_rules: bool,
}

impl Memory {
    fn new(words: usize) -> Self {
        Self {
            pairs: vec![Pair([0; 2]); words / 2],
            has_root_rules: true,
        }
    }

    /// With the words of a machine's stack of tasks.
    fn of(words: &[u64]) -> Self {
        let mut memory = Self::new(words.len());
        for (place, &word) in words.iter().enumerate() {
            let word = memory.moved(word);
            memory.set(place, word);
        }
        memory
    }

    fn set(&mut self, place: usize, word: u64) {
        self.pairs[place / 2].0[place % 2] = word;
    }

    /// The address of the word at this place.
    fn address(&self, place: usize) -> u64 {
        self.pairs.as_ptr().expose_provenance() as u64 + 8 * place as u64
    }

    /// What this stack has where a machine's has `word`.
    fn moved(&self, word: u64) -> u64 {
        match word {
            ROOT => ROOT_BEHIND,
            TRAP_RETURN => TRAP_RETURN_BEHIND,
            // Of the machine's stack, or near to it.
            _ if word.wrapping_sub(TASK - 64) < 8 * WORDS as u64 + 128 => {
                word.wrapping_sub(TASK).wrapping_add(self.address(0))
            }
            _ => word,
        }
    }

    fn registers(&self, pc: u64, sp: u64, fp: u64) -> Registers {
        Registers {
            pc: CodeAddress(self.moved(pc)),
            sp: StackAddress(self.moved(sp)),
            fp: StackAddress(self.moved(fp)),
        }
    }

    /// The chain of the walk over all, as a reader has it.
    fn exact(&self, at: Registers) -> (ChainEnd, Vec<ChainEntry>) {
        let mut chain = Chain::new();
        let end = walk(at, self, &mut chain);
        (end, entries(&chain).into_iter().map(read).collect())
    }

    /// The chain of the walk over ordinary frames, if it finishes.
    fn fast(&self, at: Registers) -> Option<Vec<ChainEntry>> {
        COMPILED.offset(at.pc)?;
        let frames = Frames::above(at.sp, self.stack_of(at.sp)?)?;
        let mut out = [0_u8; MOST_BYTES];
        // SAFETY: the bounds are the vector's, and `out` is as long as it has to be.
        let reached = unsafe { fast::walk(at.fp.0, frames, COMPILED, out.as_mut_ptr(), ROUNDS) }?;
        // SAFETY: likewise.
        if unsafe { reached.fp() } != 0 || !is_root(reached.offset, COMPILED, self) {
            return None;
        }
        let len = reached.end.addr() - out.as_ptr().addr();
        let mut chain: Vec<_> = fields(&out[..len]).map(|it| TEXT.start.0 + it).collect();
        // Two zeros are a root that has no address.
        let root = TEXT.start.0.wrapping_add(reached.offset);
        chain.extend(Some(root).filter(|root| *root != 0));
        Some(returns(&chain))
    }

    /// The chain of the walk over all that writes it for a compact sample, and its end; no chain if
    /// the bytes do not say where it ends.
    fn compact(&self, at: Registers) -> (ChainEnd, Option<Vec<ChainEntry>>) {
        let mut out = [0_u8; MOST_BYTES];
        let len = TEXT.end.0 - TEXT.start.0;
        // SAFETY: `out` is as long as it has to be; stacks are this vector's.
        let mut chain = unsafe { CompactChain::new(COMPILED, len, out.as_mut_ptr()) };
        let end = walk_to(&mut chain, at.into(), self);
        let entries = chain.end().map(|end| {
            let len = end.addr() - out.as_ptr().addr();
            assert_eq!(out[len..len + OFFSET_BYTES], [0; OFFSET_BYTES]);
            decoded(&out[..len])
        });
        (end, entries)
    }
}

fn fields(bytes: &[u8]) -> impl Iterator<Item = u64> {
    let number = |it: &[u8]| u64::from(u32::from_le_bytes([it[0], it[1], it[2], 0]));
    bytes.chunks_exact(OFFSET_BYTES).map(number)
}

/// The entries of the chain of a compact sample.
fn decoded(bytes: &[u8]) -> Vec<ChainEntry> {
    let mut fields = fields(bytes);
    let mut entries = vec![];
    let word = |field: Option<u64>| match field.unwrap() {
        0xff_ffff => 0,
        offset => TEXT.start.0 + offset,
    };
    while let Some(field) = fields.next() {
        let crossing = field.checked_sub(Width::Bits24.first_crossing().into());
        entries.push(match crossing {
            Some(crossing) => {
                let pc = CodeAddress(word(fields.next()));
                let has_top = crossing & u64::from(HAS_TOP) != 0;
                ChainEntry::Crossing {
                    vector: crossing.to_le_bytes()[0],
                    caller_known: crossing & u64::from(CALLER_KNOWN) != 0,
                    pc,
                    stack_top: [(); 2].map(|()| if has_top { word(fields.next()) } else { 0 }),
                }
            }
            None => ChainEntry::Return(CodeAddress(TEXT.start.0 + field)),
        });
    }
    entries
}

/// An entry as a reader has it: of a word on top of a stack nothing is told that is not in the text.
fn read(entry: ChainEntry) -> ChainEntry {
    let in_text = |word: u64| word * u64::from(TEXT.contains(CodeAddress(word)));
    match entry {
        ChainEntry::Crossing {
            vector,
            pc,
            caller_known,
            stack_top,
        } => ChainEntry::Crossing {
            vector,
            pc,
            caller_known,
            stack_top: stack_top.map(in_text),
        },
        ChainEntry::Return(_) | ChainEntry::Border { .. } => entry,
    }
}

// SAFETY: the words of the vector can be read as long as the value lives.
unsafe impl Target for Memory {
    fn text(&self) -> CodeRange {
        TEXT
    }

    fn stack_of(&self, sp: StackAddress) -> Option<StackBounds> {
        let stack = StackBounds {
            low: self.address(0),
            high: self.address(2 * self.pairs.len()),
        };
        stack.holds_pointer(sp).then_some(stack)
    }

    fn rule(&self, address: CodeAddress) -> Rule {
        match address.0 {
            ROOT_BEHIND => Rule::Root,
            TRAP_RETURN_BEHIND => Rule::TrapFrame,
            ROOT | TRAP_RETURN => Rule::FramePointer,
            _ => Machine::new().rule(address),
        }
    }

    fn has_root_rules(&self) -> bool {
        self.has_root_rules
    }

    fn is_called_by_stub(&self, address: CodeAddress) -> bool {
        CALLED.contains(&address.0)
    }

    fn trap_frame_layout(&self) -> TrapFrameLayout {
        LAYOUT
    }
}

/// Asserts that the fast walk is right if it finishes, and that the walk that writes for a compact
/// sample is right. Returns whether the fast one finishes.
#[track_caller]
fn finishes(memory: &Memory, at: Registers) -> bool {
    let (fast, exact) = (memory.fast(at), memory.exact(at));
    if let Some(chain) = &fast {
        assert_eq!((ChainEnd::Complete, chain), (exact.0, &exact.1));
    }
    let (end, chain) = memory.compact(at);
    assert_eq!(end, exact.0);
    match chain {
        Some(chain) => assert_eq!(chain, exact.1),
        None => {
            let last = match exact.1.last() {
                Some(ChainEntry::Return(address)) => address.0,
                // Words on top of the stack are left out if none is in the text.
                Some(ChainEntry::Crossing { stack_top, pc, .. }) if *stack_top == [0; 2] => pc.0,
                Some(ChainEntry::Crossing { stack_top, .. }) => stack_top[1],
                Some(ChainEntry::Border { .. }) => unreachable!("it has no program"),
                None => 0,
            };
            assert_eq!(last, TEXT.start.0);
        }
    }
    fast.is_some()
}

/// A stack of `count` frames with `gap` pairs between them, whose outermost function returns
/// to `root`, and the registers of code in the innermost.
fn stack_of(count: usize, gap: usize, root: u64) -> (Memory, Registers) {
    let mut memory = Memory::new(2 * (count + 1) * (gap + 1));
    let top = 2 * memory.pairs.len();
    let (mut next, mut caller) = (0, root);
    for frame in 1..=count {
        let place = top - 2 * (gap + 1) * frame;
        memory.set(place, next);
        memory.set(place + 1, caller);
        next = memory.address(place);
        caller = code(0x100 + 8 * frame as u64);
    }
    let at = Registers {
        pc: CodeAddress(code(0x80)),
        sp: StackAddress(memory.address(0)),
        fp: StackAddress(next),
    };
    (memory, at)
}

#[test]
fn every_ordinary_stack_is_finished() {
    for gap in 0..3 {
        for count in 1..=MAX_CHAIN {
            let (memory, at) = stack_of(count, gap, ROOT_BEHIND);
            assert!(finishes(&memory, at), "{count} frames, {gap} between");
        }
        // One more than a record has room for.
        let (memory, at) = stack_of(MAX_CHAIN + 1, gap, ROOT_BEHIND);
        assert!(!finishes(&memory, at));
    }
}

#[test]
fn two_zeros_are_the_root_where_there_are_no_rules_for_roots() {
    let (mut memory, at) = stack_of(3, 1, 0);
    assert!(!finishes(&memory, at));
    memory.has_root_rules = false;
    assert!(finishes(&memory, at));
    assert_eq!(memory.fast(at).unwrap().len(), 2);
}

#[test]
fn what_is_not_ordinary_is_left_to_the_walk_over_all() {
    let whole = || stack_of(4, 1, ROOT_BEHIND);
    let (memory, at) = whole();
    assert!(finishes(&memory, at));
    // The registers.
    for wrong in [
        Registers {
            pc: CodeAddress(INTERRUPTED),
            ..at
        },
        Registers {
            pc: CodeAddress(TEXT.start.0 - 1),
            ..at
        },
        Registers {
            sp: StackAddress(at.sp.0 + 4),
            ..at
        },
        Registers {
            sp: StackAddress(at.sp.0 - 8),
            ..at
        },
        // Not two words of its own.
        Registers {
            sp: StackAddress(memory.address(2 * memory.pairs.len() - 1)),
            ..at
        },
        Registers {
            sp: StackAddress(memory.address(2 * memory.pairs.len())),
            ..at
        },
        Registers {
            fp: StackAddress(at.fp.0 + 8),
            ..at
        },
        Registers {
            fp: StackAddress(at.fp.0 + 1),
            ..at
        },
        Registers {
            fp: StackAddress(0),
            ..at
        },
        Registers {
            sp: StackAddress(at.fp.0 + 8),
            ..at
        },
    ] {
        assert!(!finishes(&memory, wrong), "{wrong:x?}");
    }
    // The words: of the third frame, whose pair is the first of its two.
    let place = 2 * memory.pairs.len() - 2 * 2 * 3;
    let own = |memory: &Memory, by: i64| memory.address(place).wrapping_add_signed(by);
    /// A word in place of one, made from its own address.
    type Wrong = fn(u64) -> u64;
    let cases: [(usize, Wrong); 9] = [
        (0, |own| own),
        (0, |own| own - 32),
        (0, |own| own + 8),
        (0, |own| own + 36),
        (0, |_| 0),
        (0, |_| u64::MAX),
        (1, |_| 0),
        (1, |_| TEXT.end.0),
        (1, |_| TRAP_RETURN_BEHIND),
    ];
    for (index, (word, value)) in cases.into_iter().enumerate() {
        let (mut memory, at) = whole();
        let own = own(&memory, 0);
        memory.set(place + word, value(own));
        let at = Registers {
            fp: StackAddress(memory.address(place)),
            ..at
        };
        assert!(!finishes(&memory, at), "case {index}");
    }
    // A root whose frame pointer says that there is more.
    let (mut memory, at) = whole();
    let outermost = 2 * memory.pairs.len() - 4;
    let above = memory.address(outermost + 2);
    memory.set(outermost, above);
    assert!(!finishes(&memory, at));
}

/// Lets code that entry stubs call stand on top of `stack`, of as many words, and return to the stub
/// that was entered at `pc` in what ran on the rest of the stack. Returns the registers.
fn interrupt(memory: &mut Memory, words: usize, pc: u64, fp: u64) -> Registers {
    let frame = 4;
    let own = memory.address(frame);
    let interrupted = [fp, memory.address(words), pc, 0x40];
    for (place, word) in interrupted.into_iter().enumerate() {
        memory.set(frame + place, word);
    }
    memory.set(2, own);
    memory.set(3, TRAP_RETURN_BEHIND);
    memory.set(0, memory.address(2));
    memory.set(1, CALLED.start + 8);
    Registers {
        pc: CodeAddress(code(0x90)),
        sp: StackAddress(memory.address(0)),
        fp: StackAddress(memory.address(0)),
    }
}

#[test]
fn an_interrupt_is_crossed_on_the_way_to_the_root() {
    for (count, end) in [
        (1, ChainEnd::Complete),
        (20, ChainEnd::Complete),
        // Two callers before the crossing, which has four words.
        (MAX_CHAIN - 6, ChainEnd::Complete),
        (MAX_CHAIN - 5, ChainEnd::DepthLimit),
        (MAX_CHAIN, ChainEnd::DepthLimit),
    ] {
        // The lowest frame's gap has room for what the interrupt pushes.
        let (mut memory, below) = stack_of(count, 6, ROOT_BEHIND);
        let at = interrupt(&mut memory, 8, code(0x80), below.fp.0);
        assert!(!finishes(&memory, at), "{count} frames");
        let (found, chain) = memory.compact(at);
        let chain = chain.unwrap();
        assert_eq!(found, end, "{count} frames");
        assert_eq!(chain.len(), (3 + count).min(MAX_CHAIN - 3));
        let crossing = ChainEntry::Crossing {
            vector: 0x40,
            pc: CodeAddress(code(0x80)),
            caller_known: false,
            stack_top: [0; 2],
        };
        assert_eq!(chain[2], crossing);
    }
}

#[test]
fn code_that_keeps_its_caller_in_another_way_begins_a_chain() {
    let chain_of = |pc: u64, sp: usize, fp: u64, memory: &Memory| {
        let at = Registers {
            pc: CodeAddress(pc),
            sp: StackAddress(memory.address(sp)),
            fp: StackAddress(fp),
        };
        assert!(!finishes(memory, at));
        let (end, chain) = memory.compact(at);
        assert_eq!(end, ChainEnd::Complete);
        chain.unwrap()
    };
    let (mut memory, below) = stack_of(3, 6, ROOT_BEHIND);
    interrupt(&mut memory, 8, code(0x80), below.fp.0);
    let own = memory.address(4);
    // The stub's code; what it calls, before that has a frame.
    let stub = chain_of(TRAP_RETURN_BEHIND, 3, own, &memory);
    let called = chain_of(CALLED.start, 3, own, &memory);
    assert_eq!((stub.len(), stub), (4, called));
    // A switch to another stack: the saved frame pointer lies two words above.
    let (mut memory, below) = stack_of(3, 2, ROOT_BEHIND);
    memory.set(2, below.fp.0);
    memory.set(3, code(0x200));
    assert_eq!(chain_of(SAVED + 2, 0, 0x1234, &memory).len(), 4);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    /// An interrupt's handler on a stack, some words of which are damaged.
    #[test]
    fn over_an_interrupted_stack_the_walks_agree(
        count in 1..MAX_CHAIN + 2,
        gap in 6..8_usize,
        pc in prop_oneof![Just(code(0x80)), stack_word()],
        has_root_rules in any::<bool>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), stack_word()), 0..3),
        is_near in any::<bool>(),
    ) {
        let root = if has_root_rules { ROOT_BEHIND } else { 0 };
        let (mut memory, below) = stack_of(count, gap, root);
        memory.has_root_rules = has_root_rules;
        let pc = memory.moved(pc);
        let at = interrupt(&mut memory, 8, pc, below.fp.0);
        for (place, word) in &damage {
            let words = if is_near { 16 } else { 2 * memory.pairs.len() };
            let word = memory.moved(*word);
            memory.set(place.index(words), word);
        }
        prop_assert!(!finishes(&memory, at) || !damage.is_empty());
    }

    #[test]
    fn over_random_memory_the_fast_walk_is_right_or_gives_up(
        words in prop::collection::vec(stack_word(), WORDS),
        pc in stack_word(),
        sp in stack_word(),
        fp in stack_word(),
        has_root_rules in any::<bool>(),
    ) {
        let mut memory = Memory::of(&words);
        memory.has_root_rules = has_root_rules;
        finishes(&memory, memory.registers(pc, sp, fp));
    }

    /// A stack that is right but for some words of it.
    #[test]
    fn over_a_damaged_stack_the_fast_walk_is_right_or_gives_up(
        count in 1..12_usize,
        gap in 0..2_usize,
        has_root_rules in any::<bool>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), stack_word()), 0..3),
    ) {
        let root = if has_root_rules { ROOT_BEHIND } else { 0 };
        let (mut memory, at) = stack_of(count, gap, root);
        memory.has_root_rules = has_root_rules;
        for (place, word) in &damage {
            let place = place.index(2 * memory.pairs.len());
            let word = memory.moved(*word);
            memory.set(place, word);
        }
        prop_assert!(finishes(&memory, at) || !damage.is_empty());
    }
}
