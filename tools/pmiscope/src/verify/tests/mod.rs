//! The replay, of a few instructions that each test puts together.

mod border;
mod machine;

use profiler::format::ChainEnd;

use super::difference::{Kind, Verdict};
use super::replay::Assumed;
use crate::chain::Link;
use machine::*;

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
        (&[], ChainEnd::FrameNull, Incomplete),
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
fn a_chain_ends_at_a_root_where_the_kernel_says_which_there_are() {
    replay(false, |core| {
        core.wrong(INNER, STACK - 40, [TO_OUTER, 0], &[to(TO_OUTER)], Kind::End);
    });
    replay_without_roots(|core| {
        core.run_to_inner();
        let right = [to(TO_OUTER), to(TO_ROOT)];
        core.right(INNER_RET, STACK - 40, [TO_OUTER, 0], &right);
        core.wrong(TO_OUTER, STACK - 32, [0, TO_ROOT], &[], Kind::CallerMissing);
        let verdict = core.see(
            OUTER_NOP,
            STACK - 32,
            [0, TO_ROOT],
            &[to(TO_ROOT)],
            ChainEnd::FrameNull,
        );
        assert_eq!(verdict, Verdict::Different(Kind::Incomplete));
    });
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
        core.right(SWITCH_RET, OTHER_STACK - 24, [ROOT_CALL, 0], &[NEW]);
        core.right(ROOT_CALL, OTHER_STACK - 16, [0; 2], &[]);
        core.right(OUTER, OTHER_STACK - 24, [TO_ROOT, 0], &[to(TO_ROOT)]);
    });
    assert_eq!((assumed.starts, assumed.stacks), (1, 1));
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
            core.right(SWITCH_RET, STACK - 24, [ROOT_CALL, 0], &[NEW]);
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
        core.right(SWITCH_RET, STACK - 16, [ROOT_CALL, 0], &[NEW]);
    });
}

#[test]
fn stacks_of_one_slot_are_told_apart_by_the_switch() {
    let (left_at, other) = (STACK - 0x800, STACK - 0x2000);
    let called = [to(TO_CALLER), to(TO_OUTER), to(TO_ROOT)];
    let leave = |core: &mut Core<'_>, other: u64| {
        core.right(CALLER, left_at + 8, [0; 2], &called[1..]);
        core.right(SWITCH, left_at, [TO_CALLER, 0], &called);
        // A new one, whose first function goes on with another switch.
        core.right(SWITCH_RET, other, [SWITCH, 0], &[to(SWITCH), to(TO_ROOT)]);
        core.right(SWITCH, other + 8, [0; 2], &[to(TO_ROOT)]);
    };
    // Below or above.
    for other in [other, STACK - 0x400] {
        let assumed = replay(false, |core| {
            leave(core, other);
            core.right(SWITCH_RET, left_at, [SWITCH, 0], &called);
        });
        assert_eq!((assumed.starts, assumed.stacks), (1, 1));
        replay(false, |core| {
            leave(core, other);
            let lost = &called[..2];
            core.wrong(SWITCH_RET, left_at, [SWITCH, 0], lost, Kind::CallerMissing);
        });
    }
    // A third one begins.
    let assumed = replay(false, |core| {
        leave(core, other);
        let new = [to(SWITCH), to(TO_ROOT)];
        core.right(SWITCH_RET, other - 0x1000, [SWITCH, 0], &new);
    });
    assert_eq!((assumed.starts, assumed.stacks), (1, 2));
}

#[test]
fn what_is_beyond_an_assumption_that_is_incomplete_is_not_known() {
    let sp = STACK - 0x80;
    let incomplete = |core: &mut Core<'_>, pc, chain: &[Link]| {
        let verdict = core.see(pc, sp, [TO_OUTER, 0], chain, ChainEnd::FrameNull);
        assert_eq!(verdict, Verdict::Different(Kind::Incomplete), "{pc:#x}");
    };
    // The rest comes later: once, and is what is compared with from then on.
    let assumed = replay_without_roots(|core| {
        incomplete(core, INNER, &[]);
        core.right(INNER_RET, sp, [TO_OUTER, 0], &[]);
        core.right(TO_OUTER, sp + 8, [0; 2], &[]);
    });
    assert_eq!(assumed.roots, 1);
    // Or never.
    replay_without_roots(|core| {
        incomplete(core, INNER, &[]);
        incomplete(core, INNER_RET, &[to(TO_OUTER)]);
    });
    // Where the kernel says which roots there are, there is one.
    replay(false, |core| {
        incomplete(core, INNER, &[]);
        core.wrong(INNER_RET, sp, [TO_OUTER, 0], &[], Kind::End);
    });
}

#[test]
fn a_stack_goes_on_on_another_core() {
    let left_at = OTHER_STACK - 72;
    let called = [to(TO_CALLER), to(TO_OUTER), to(TO_ROOT)];
    let leave = |core: &mut Core<'_>| {
        core.right(CALLER, left_at + 8, [0; 2], &called[1..]);
        core.right(SWITCH, left_at, [TO_CALLER, 0], &called);
        core.right(SWITCH_RET, STACK - 24, [ROOT_CALL, 0], &[NEW]);
        // Each core has its own numbers.
        (core.number, core.sequence) = (1, 70);
        core.right(SWITCH, HANDLER_STACK - 40, [TO_OUTER, 0], &called[1..]);
    };
    let assumed = replay(false, |core| {
        leave(core);
        core.right(SWITCH_RET, left_at, [TO_CALLER, 0], &called);
        core.right(TO_CALLER, left_at + 8, [0; 2], &called[1..]);
    });
    assert_eq!((assumed.starts, assumed.stacks), (2, 1));
    // It is known there.
    replay(false, |core| {
        leave(core);
        core.wrong(
            SWITCH_RET,
            left_at,
            [TO_CALLER, 0],
            &called[1..],
            Kind::CallerMissing,
        );
    });
    // Not if something was lost meanwhile, on any core.
    let assumed = replay(false, |core| {
        leave(core);
        (core.number, core.sequence) = (0, 12);
        core.right(ROOT_CALL, STACK - 16, [0; 2], &[]);
        (core.number, core.sequence) = (1, 71);
        core.right(SWITCH_RET, left_at, [TO_CALLER, 0], &called[1..]);
    });
    assert_eq!((assumed.starts, assumed.lost), (4, 2));
}

#[test]
fn a_return_shows_what_was_assumed_wrongly() {
    replay(false, |core| {
        core.right(INNER_RET, STACK - 40, [TO_OUTER, 0], &[to(TO_ROOT)]);
        core.wrong(
            TO_OUTER,
            STACK - 32,
            [0, TO_ROOT],
            &[to(TO_ROOT)],
            Kind::AssumedWrong,
        );
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
