//! The replay, of a few instructions that each test puts together.

use profiler::address::{CodeAddress, CodeRange, StackAddress};
use profiler::format::sample::Chain;
use profiler::format::{ChainEnd, ChainEntry, Sample, State};

use super::code::Code;
use super::difference::{Kind, Verdict};
use super::replay::{Assumed, Replay};
use crate::chain::Link;
use crate::symbols::callframe::{Caller, Callers};

/// Where the code is, each function by its instructions.
const ROOT_CALL: u64 = 0x1000; // call outer
const TO_ROOT: u64 = 0x1005;
const OUTER: u64 = 0x1100; // push rbp
const OUTER_MOV: u64 = 0x1101; // mov rbp, rsp
const OUTER_CALL: u64 = 0x1104; // call inner
const TO_OUTER: u64 = 0x1109; // sti
const OUTER_NOP: u64 = 0x110a; // nop
const OUTER_POP: u64 = 0x110b; // pop rbp
const OUTER_RET: u64 = 0x110c;
const INNER: u64 = 0x1200; // nop
const INNER_RET: u64 = 0x1201;
const ENTRY: u64 = 0x1300; // push 0
const ENTRY_PUSH: u64 = 0x1302; // push 0x41
const ENTRY_JMP: u64 = 0x1304; // jmp handler
const HANDLER: u64 = 0x1400; // add rsp, 16
const HANDLER_IRET: u64 = 0x1404;
const SWITCH: u64 = 0x1500; // mov rsp, rsi
const SWITCH_RET: u64 = 0x1503;
const CALLER: u64 = 0x1520; // call rax
const TO_CALLER: u64 = 0x1522;
const UNWIND: u64 = 0x1530; // mov rsp, rsi
const UNWIND_SUB: u64 = 0x1533; // sub rsp, 16
const UNWIND_NOP: u64 = 0x1537;

/// The vector that the entry pushes.
const VECTOR: u8 = 0x41;

/// Bytes of a stack.
const SLOT: u64 = 0x1_0000;
/// The ends of three stacks.
const STACK: u64 = 0x20_0000;
const HANDLER_STACK: u64 = 0x21_0000;
const OTHER_STACK: u64 = 0x22_0000;

fn code() -> Code {
    let mut bytes = vec![0xcc; 0x600];
    let mut put = |at: u64, instructions: &[u8]| {
        let at = usize::try_from(at - 0x1000).unwrap();
        bytes[at..at + instructions.len()].copy_from_slice(instructions);
    };
    put(ROOT_CALL, &[0xe8, 0xfb, 0, 0, 0, 0x0f, 0x0b]);
    put(OUTER, &[0x55, 0x48, 0x89, 0xe5]);
    put(OUTER_CALL, &[0xe8, 0xf7, 0, 0, 0, 0xfb, 0x90, 0x5d, 0xc3]);
    put(INNER, &[0x90, 0xc3]);
    put(ENTRY, &[0x6a, 0, 0x6a, VECTOR, 0xe9, 0xf7, 0, 0, 0]);
    put(HANDLER, &[0x48, 0x83, 0xc4, 0x10, 0x48, 0xcf]);
    put(SWITCH, &[0x48, 0x89, 0xf4, 0xc3]);
    put(CALLER, &[0xff, 0xd0]);
    put(UNWIND, &[0x48, 0x89, 0xf4, 0x48, 0x83, 0xec, 0x10, 0x90]);
    Code::of_bytes(0x1000, bytes)
}

/// Chains come complete here: nothing needs to be repaired.
fn callers() -> Callers {
    Callers::of_functions(&[
        &[(ROOT_CALL, Caller::None), (0x1010, Caller::Unknown)],
        &[(OUTER, Caller::InFrame), (0x1110, Caller::Unknown)],
        &[(INNER, Caller::InFrame), (0x1210, Caller::Unknown)],
        &[
            (ENTRY, Caller::Pushed(0)),
            (ENTRY_PUSH, Caller::Pushed(1)),
            (ENTRY_JMP, Caller::Pushed(2)),
            (0x1310, Caller::Unknown),
        ],
        &[
            (HANDLER, Caller::Pushed(2)),
            (HANDLER_IRET, Caller::Pushed(0)),
            (0x1410, Caller::Unknown),
        ],
    ])
}

fn to(address: u64) -> Link {
    Link::Return(CodeAddress(address))
}

fn interrupted(pc: u64) -> Link {
    Link::Interrupted {
        vector: VECTOR,
        pc: CodeAddress(pc),
    }
}

/// A core that is replayed.
struct Core<'a> {
    replay: Replay<'a>,
    sequence: u32,
}

impl Core<'_> {
    /// Replays a sample: what came of it.
    fn see(&mut self, pc: u64, sp: u64, top: [u64; 2], chain: &[Link], end: ChainEnd) -> Verdict {
        let mut words = Chain::new();
        for &link in chain {
            let entry = match link {
                Link::Return(address) => ChainEntry::Return(address),
                Link::Interrupted { vector, pc } => ChainEntry::Crossing {
                    vector,
                    pc,
                    caller_known: true,
                    stack_top: [0; 2],
                },
            };
            words.push(entry).unwrap();
        }
        let sample = Sample {
            sequence: self.sequence,
            handler_cost: 0,
            event: 0,
            task: 0,
            state: State::default(),
            time: 0,
            period: 1,
            sp: StackAddress(sp),
            stack_top: top,
            pc: CodeAddress(pc),
            end,
            chain_words: words.words(),
        };
        self.sequence += 1;
        self.replay.step(&sample)
    }

    /// The same of a chain that is said to be complete and has to be right.
    #[track_caller]
    fn right(&mut self, pc: u64, sp: u64, top: [u64; 2], chain: &[Link]) {
        let verdict = self.see(pc, sp, top, chain, ChainEnd::Complete);
        assert_eq!(verdict, Verdict::Exact, "{pc:#x}");
    }

    /// The same of one that has to be found wrong.
    #[track_caller]
    fn wrong(&mut self, pc: u64, sp: u64, top: [u64; 2], chain: &[Link], kind: Kind) {
        let verdict = self.see(pc, sp, top, chain, ChainEnd::Complete);
        assert_eq!(verdict, Verdict::Different(kind), "{pc:#x}");
    }

    /// From the root's call into `inner`.
    fn run_to_inner(&mut self) {
        self.right(ROOT_CALL, STACK - 16, [0; 2], &[]);
        self.right(OUTER, STACK - 24, [TO_ROOT, 0], &[to(TO_ROOT)]);
        self.right(OUTER_MOV, STACK - 32, [0, TO_ROOT], &[to(TO_ROOT)]);
        self.right(OUTER_CALL, STACK - 32, [0, TO_ROOT], &[to(TO_ROOT)]);
        let inner = [to(TO_OUTER), to(TO_ROOT)];
        self.right(INNER, STACK - 40, [TO_OUTER, 0], &inner);
    }
}

/// Replays what `run` sees; gives what had to be assumed.
fn replay(is_stepped: bool, run: impl FnOnce(&mut Core<'_>)) -> Assumed {
    let (callers, mut code) = (callers(), code());
    let text = CodeRange {
        start: CodeAddress(0x1000),
        end: CodeAddress(0x2000),
    };
    let mut core = Core {
        replay: Replay::new(&callers, &mut code, text, SLOT, is_stepped),
        sequence: 7,
    };
    run(&mut core);
    core.replay.assumed
}

#[test]
fn calls_and_returns_are_followed() {
    let assumed = replay(false, |core| {
        core.run_to_inner();
        core.right(
            INNER_RET,
            STACK - 40,
            [TO_OUTER, 0],
            &[to(TO_OUTER), to(TO_ROOT)],
        );
        core.right(TO_OUTER, STACK - 32, [0, TO_ROOT], &[to(TO_ROOT)]);
        core.right(OUTER_NOP, STACK - 32, [0, TO_ROOT], &[to(TO_ROOT)]);
        core.right(OUTER_POP, STACK - 32, [0, TO_ROOT], &[to(TO_ROOT)]);
        core.right(OUTER_RET, STACK - 24, [TO_ROOT, 0], &[to(TO_ROOT)]);
        core.right(TO_ROOT, STACK - 16, [0; 2], &[]);
    });
    let nothing_but_the_start = Assumed {
        starts: 1,
        ..Assumed::default()
    };
    assert_eq!(assumed, nothing_but_the_start);
}

#[test]
fn each_kind_of_difference_is_found() {
    use Kind::*;
    let right = [to(TO_OUTER), to(TO_ROOT)];
    for (chain, end, kind) in [
        (&[to(TO_ROOT)][..], ChainEnd::Complete, CallerMissing),
        (&[to(TO_OUTER)], ChainEnd::Complete, CallerMissing),
        (&[], ChainEnd::FrameNull, CallerMissing),
        (&[to(0x1234), to(TO_ROOT)], ChainEnd::Complete, OtherLink),
        (
            &[interrupted(INNER), to(TO_ROOT)],
            ChainEnd::Complete,
            OtherLink,
        ),
        (
            &[to(TO_OUTER), to(TO_ROOT), to(TO_ROOT)],
            ChainEnd::Complete,
            Additional,
        ),
        (&right, ChainEnd::FrameNull, End),
        // There was room for more.
        (&[to(TO_OUTER)], ChainEnd::DepthLimit, End),
    ] {
        replay(false, |core| {
            core.run_to_inner();
            let verdict = core.see(INNER_RET, STACK - 40, [TO_OUTER, 0], chain, end);
            assert_eq!(verdict, Verdict::Different(kind), "{chain:x?} {end:?}");
            // The truth has not changed by that.
            core.right(TO_OUTER, STACK - 32, [0, TO_ROOT], &[to(TO_ROOT)]);
        });
    }
}

#[test]
fn what_no_instruction_leads_to_is_found() {
    let inner = [to(TO_OUTER), to(TO_ROOT)];
    for (pc, sp, top) in [
        (OUTER_POP, STACK - 40, [TO_OUTER, 0]),
        // One too many.
        (TO_OUTER, STACK - 32, [0, TO_ROOT]),
    ] {
        let assumed = replay(false, |core| {
            core.run_to_inner();
            core.wrong(pc, sp, top, &inner, Kind::NotASuccessor);
        });
        assert_eq!(assumed.starts, 2);
    }
    // A return to somewhere else than the word on top of the stack says.
    replay(false, |core| {
        core.run_to_inner();
        core.right(INNER_RET, STACK - 40, [TO_OUTER, 0], &inner);
        core.wrong(
            OUTER_NOP,
            STACK - 32,
            [0, TO_ROOT],
            &inner,
            Kind::NotASuccessor,
        );
    });
    // A call that has pushed something else.
    replay(false, |core| {
        core.right(ROOT_CALL, STACK - 16, [0; 2], &[]);
        core.wrong(
            OUTER,
            STACK - 24,
            [OUTER, 0],
            &[to(TO_ROOT)],
            Kind::NotASuccessor,
        );
    });
}

#[test]
fn interrupts_are_crossed_on_any_stack() {
    let pushed_by_inner = STACK - 40;
    // On the same stack, which is aligned first, and on another one.
    for rip in [(pushed_by_inner & !15) - 40, HANDLER_STACK - 40] {
        replay(false, |core| {
            core.run_to_inner();
            let chain = [interrupted(INNER_RET), to(TO_OUTER), to(TO_ROOT)];
            core.right(ENTRY, rip, [INNER_RET, 0], &chain);
            core.wrong(
                ENTRY_PUSH,
                rip - 8,
                [0, INNER_RET],
                &chain[1..],
                Kind::InterruptMissing,
            );
            let mut other = chain;
            other[0] = interrupted(INNER);
            core.wrong(
                ENTRY_JMP,
                rip - 16,
                [VECTOR.into(), 0],
                &other,
                Kind::OtherInterrupt,
            );
            core.right(HANDLER, rip - 16, [VECTOR.into(), 0], &chain);
            core.right(HANDLER_IRET, rip, [INNER_RET, 0], &chain);
            core.right(INNER_RET, pushed_by_inner, [TO_OUTER, 0], &chain[1..]);
            core.right(TO_OUTER, STACK - 32, [0, TO_ROOT], &chain[2..]);
        });
    }
}

#[test]
fn an_interrupt_that_comes_before_the_instruction_is_seen_one_late() {
    replay(false, |core| {
        core.run_to_inner();
        let rip = HANDLER_STACK - 40;
        let chain = [interrupted(INNER), to(TO_OUTER), to(TO_ROOT)];
        core.right(ENTRY_PUSH, rip - 8, [0, INNER], &chain);
        core.right(ENTRY_JMP, rip - 16, [VECTOR.into(), 0], &chain);
    });
    // Not if it interrupted the next one: then that one's successor is not known.
    replay(false, |core| {
        core.run_to_inner();
        let chain = [interrupted(INNER_RET), to(TO_OUTER), to(TO_ROOT)];
        let rip = HANDLER_STACK - 40;
        core.wrong(
            ENTRY_PUSH,
            rip - 8,
            [0, INNER_RET],
            &chain,
            Kind::NotASuccessor,
        );
    });
}

#[test]
fn a_call_and_a_return_can_be_interrupted_at_once() {
    replay(false, |core| {
        core.right(ROOT_CALL, STACK - 16, [0; 2], &[]);
        let rip = HANDLER_STACK - 40;
        core.right(ENTRY, rip, [OUTER, 0], &[interrupted(OUTER), to(TO_ROOT)]);
    });
    replay(false, |core| {
        core.run_to_inner();
        core.right(
            INNER_RET,
            STACK - 40,
            [TO_OUTER, 0],
            &[to(TO_OUTER), to(TO_ROOT)],
        );
        let rip = HANDLER_STACK - 40;
        core.right(
            ENTRY,
            rip,
            [TO_OUTER, 0],
            &[interrupted(TO_OUTER), to(TO_ROOT)],
        );
    });
}

#[test]
fn what_was_called_before_the_first_instruction_is_assumed() {
    let assumed = replay(false, |core| {
        let chain = [to(TO_OUTER), to(TO_ROOT)];
        core.right(INNER_RET, STACK - 40, [TO_OUTER, 0], &chain);
        core.right(TO_OUTER, STACK - 32, [0, TO_ROOT], &chain[1..]);
        // From now on that is what counts.
        core.wrong(
            OUTER_NOP,
            STACK - 32,
            [0, TO_ROOT],
            &[],
            Kind::CallerMissing,
        );
        core.right(OUTER_POP, STACK - 32, [0, TO_ROOT], &chain[1..]);
        // Lost ones.
        core.sequence += 5;
        core.right(OUTER, STACK - 24, [TO_ROOT, 0], &chain[1..]);
    });
    assert_eq!((assumed.starts, assumed.links, assumed.lost), (2, 3, 5));
}

#[test]
fn a_chain_that_a_record_cannot_hold_is_right_as_far_as_it_goes() {
    let full: Vec<_> = std::iter::repeat_n(to(TO_OUTER), 64).collect();
    replay(false, |core| {
        // What lies beyond is not known, and does not become known by a return.
        let cut = |core: &mut Core<'_>, pc, sp, top, chain: &[Link]| {
            assert_eq!(
                core.see(pc, sp, top, chain, ChainEnd::DepthLimit),
                Verdict::Cut
            );
        };
        cut(core, INNER_RET, STACK - 4000, [TO_OUTER, 0], &full);
        cut(core, TO_OUTER, STACK - 3992, [0; 2], &full);
        cut(core, OUTER_NOP, STACK - 3992, [0; 2], &full);
        let mut other = full.clone();
        other[30] = to(TO_ROOT);
        let verdict = core.see(
            OUTER_POP,
            STACK - 3992,
            [0; 2],
            &other,
            ChainEnd::DepthLimit,
        );
        assert_eq!(verdict, Verdict::Different(Kind::OtherLink));
    });
}

#[test]
fn stacks_that_are_switched_stand_still() {
    let assumed = replay(false, |core| {
        core.right(
            SWITCH,
            STACK - 40,
            [TO_OUTER, 0],
            &[to(TO_OUTER), to(TO_ROOT)],
        );
        // A new one, that returns to a root that nobody has called.
        core.right(SWITCH_RET, OTHER_STACK - 24, [ROOT_CALL, 0], &[to(TO_ROOT)]);
        core.right(ROOT_CALL, OTHER_STACK - 16, [0; 2], &[]);
        core.right(OUTER, OTHER_STACK - 24, [TO_ROOT, 0], &[to(TO_ROOT)]);
    });
    assert_eq!(assumed.roots, 1);
    replay(false, |core| {
        core.run_to_inner();
        // Away by an interrupt, and from its handler to where nothing is known.
        let rip = OTHER_STACK - 40;
        let chain = [interrupted(INNER), to(TO_OUTER), to(TO_ROOT)];
        core.right(ENTRY, rip, [INNER, 0], &chain);
        core.wrong(SWITCH, rip, [0; 2], &chain, Kind::NotASuccessor);
        core.right(SWITCH_RET, HANDLER_STACK - 24, [TO_ROOT, 0], &[to(TO_ROOT)]);
    });
}

#[test]
fn a_stack_is_taken_up_where_it_was_left_or_begins_anew() {
    let left_at = OTHER_STACK - 72;
    let called = [to(TO_CALLER), to(TO_OUTER), to(TO_ROOT)];
    for (sp, chain) in [(left_at, &called[..]), (OTHER_STACK - 32, &[to(TO_ROOT)])] {
        replay(false, |core| {
            core.right(CALLER, left_at + 8, [0; 2], &called[1..]);
            core.right(SWITCH, left_at, [TO_CALLER, 0], &called);
            core.right(SWITCH_RET, STACK - 24, [ROOT_CALL, 0], &[to(TO_ROOT)]);
            core.run_to_inner();
            let top = [SWITCH, 0];
            core.right(INNER_RET, STACK - 40, top, &[to(TO_OUTER), to(TO_ROOT)]);
            core.right(SWITCH, STACK - 32, [0, TO_ROOT], &[to(TO_ROOT)]);
            core.right(SWITCH_RET, sp, [TO_CALLER, 0], chain);
        });
    }
    // At its top nothing is left of it.
    replay(false, |core| {
        let chain = [to(TO_OUTER), to(TO_ROOT)];
        core.right(SWITCH, STACK - 40, [TO_OUTER, 0], &chain);
        core.right(SWITCH_RET, STACK - 16, [ROOT_CALL, 0], &chain[1..]);
    });
}

#[test]
fn what_the_stack_pointer_has_passed_does_not_come_back() {
    replay(false, |core| {
        core.right(CALLER, STACK - 48, [0; 2], &[to(TO_ROOT)]);
        let called = [to(TO_CALLER), to(TO_ROOT)];
        core.right(UNWIND, STACK - 56, [TO_CALLER, 0], &called);
        core.right(UNWIND_SUB, STACK - 48, [0; 2], &called[1..]);
        core.right(UNWIND_NOP, STACK - 64, [0, TO_CALLER], &called[1..]);
    });
}

#[test]
fn a_step_does_not_see_the_way_into_a_handler() {
    let assumed = replay(true, |core| {
        core.run_to_inner();
        let rip = ((STACK - 40) & !15) - 40;
        let chain = [
            to(TO_OUTER),
            interrupted(INNER_RET),
            to(TO_OUTER),
            to(TO_ROOT),
        ];
        core.right(INNER, rip - 24, [TO_OUTER, 0], &chain);
        core.right(INNER_RET, rip - 24, [TO_OUTER, 0], &chain);
        core.right(TO_OUTER, rip - 16, [0; 2], &chain[1..]);
        // What is further out is known all the same.
        core.wrong(
            OUTER_NOP,
            rip - 16,
            [0; 2],
            &chain[1..3],
            Kind::CallerMissing,
        );
    });
    assert_eq!((assumed.starts, assumed.entries), (1, 1));
}

#[test]
fn a_step_does_not_see_what_is_behind_an_instruction_that_holds_traps_off() {
    let run = |core: &mut Core<'_>| {
        core.right(TO_OUTER, STACK - 32, [0, TO_ROOT], &[to(TO_ROOT)]);
        core.see(
            OUTER_POP,
            STACK - 32,
            [0, TO_ROOT],
            &[to(TO_ROOT)],
            ChainEnd::Complete,
        )
    };
    let assumed = replay(true, |core| assert_eq!(run(core), Verdict::Exact));
    assert_eq!(assumed.unseen, 1);
    replay(false, |core| {
        assert_eq!(run(core), Verdict::Different(Kind::NotASuccessor));
    });
}
