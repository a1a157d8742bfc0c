//! Programs in user mode, as they are replayed.

use profiler::format::ChainEnd;

use super::machine::*;
use crate::chain::Link;
use crate::verify::difference::{Kind, Verdict};
use crate::verify::replay::Assumed;

/// Where the program's stack is.
const USER: u64 = 0x7fff_f000;

/// The program's first instruction, and its call.
fn run_to_system_call(core: &mut Core<'_>) {
    core.right(USER_CALL, USER, [0; 2], &[]);
    core.right(USER_SYSCALL, USER - 8, [TO_USER, 0], &[to_user(TO_USER)]);
}

/// From there until the entry has pushed the user's registers on a stack that ends at `end`.
fn enter(core: &mut Core<'_>, end: u64) {
    let chain = [border(None, USER_RET), to_user(TO_USER)];
    core.right(CALL_ENTRY, USER - 8, [TO_USER, 0], &chain);
    core.right(CALL_SWITCH, USER - 8, [TO_USER, 0], &chain);
    core.right(CALL_PUSH, end - 32, [0; 2], &chain);
    core.right(CALL_PUSHED, end - 40, [USER_RET & 0xff_ffff, 0], &chain);
}

fn leave(core: &mut Core<'_>, end: u64) {
    let chain = [border(None, USER_RET), to_user(TO_USER)];
    core.right(CALL_LEAVE, end - 40, [USER_RET & 0xff_ffff, 0], &chain);
    core.right(CALL_SYSRET, USER - 8, [TO_USER, 0], &chain);
    core.right(USER_RET, USER - 8, [TO_USER, 0], &chain[1..]);
    core.right(TO_USER, USER, [0; 2], &[]);
}

const ONE_THREAD: Assumed = Assumed {
    starts: 1,
    stacks: 0,
    links: 0,
    lost: 0,
    entries: 0,
    unseen: 0,
    roots: 0,
    threads: 1,
};

#[test]
fn system_calls_are_followed_into_the_kernel_and_back() {
    let assumed = replay(false, |core| {
        run_to_system_call(core);
        enter(core, STACK);
        leave(core, STACK);
    });
    assert_eq!(assumed, ONE_THREAD);
}

#[test]
fn interrupts_in_user_mode_are_followed() {
    let assumed = replay(false, |core| {
        run_to_system_call(core);
        let rip = STACK - 40;
        let chain = [border(Some(VECTOR), USER_SYSCALL), to_user(TO_USER)];
        let raw = USER_SYSCALL & 0xff_ffff;
        core.right(ENTRY, rip, [raw, 0], &chain);
        core.right(ENTRY_PUSH, rip - 8, [0, raw], &chain);
        core.right(ENTRY_JMP, rip - 16, [VECTOR.into(), 0], &chain);
        core.right(HANDLER, rip - 16, [VECTOR.into(), 0], &chain);
        core.right(HANDLER_IRET, rip, [raw, 0], &chain);
        core.right(USER_SYSCALL, USER - 8, [TO_USER, 0], &chain[1..]);
    });
    assert_eq!(assumed, ONE_THREAD);
}

/// The entry of an interrupt in user mode at `pc`, where the program had `callers`.
fn entry(core: &mut Core<'_>, pc: u64, callers: &[Link]) {
    let rip = STACK - 40;
    let chain = [&[border(Some(VECTOR), pc)], callers].concat();
    let raw = pc & 0xff_ffff;
    core.right(ENTRY, rip, [raw, 0], &chain);
    core.right(ENTRY_PUSH, rip - 8, [0, raw], &chain);
    core.right(ENTRY_JMP, rip - 16, [VECTOR.into(), 0], &chain);
    core.right(HANDLER, rip - 16, [VECTOR.into(), 0], &chain);
    core.right(HANDLER_IRET, rip, [raw, 0], &chain);
}

/// A return to user mode lets an interrupt in, before any instruction of the program's.
#[test]
fn interrupts_that_come_with_the_return_to_user_mode_are_followed() {
    let callers = [to_user(TO_USER)];
    let assumed = replay(false, |core| {
        run_to_system_call(core);
        enter(core, STACK);
        let chain = [border(None, USER_RET), callers[0]];
        core.right(CALL_LEAVE, STACK - 40, [USER_RET & 0xff_ffff, 0], &chain);
        core.right(CALL_SYSRET, USER - 8, [TO_USER, 0], &chain);
        // Behind SYSRET, and behind IRETQ.
        entry(core, USER_RET, &callers);
        entry(core, USER_RET, &callers);
        core.right(USER_RET, USER - 8, [TO_USER, 0], &callers);
        core.right(TO_USER, USER, [0; 2], &[]);
    });
    assert_eq!(assumed, ONE_THREAD);
    // Somewhere else, or by a call that nobody has made.
    for (chain, pushed) in [
        (border(Some(VECTOR), USER_CALL), USER_CALL),
        (border(None, USER_RET), USER_RET),
    ] {
        replay(false, |core| {
            run_to_system_call(core);
            entry(core, USER_SYSCALL, &callers);
            let verdict = core.see(
                ENTRY,
                STACK - 40,
                [pushed & 0xff_ffff, 0],
                &[chain, callers[0]],
                ChainEnd::Complete,
            );
            assert_eq!(
                verdict,
                Verdict::Different(Kind::NotASuccessor),
                "{chain:x?}"
            );
        });
    }
}

#[test]
fn each_difference_at_the_border_is_found() {
    let right = [border(None, USER_RET), to_user(TO_USER)];
    for (chain, end, kind) in [
        (&[][..], ChainEnd::UserUnknown, Kind::Incomplete),
        (&[], ChainEnd::Complete, Kind::InterruptMissing),
        (&right[..1], ChainEnd::Complete, Kind::CallerMissing),
        (&right[..1], ChainEnd::UserUnmapped, Kind::Incomplete),
        (&right, ChainEnd::FrameNull, Kind::End),
        // Where the program was interrupted instead, or somewhere else.
        (
            &[border(Some(VECTOR), USER_RET), right[1]],
            ChainEnd::Complete,
            Kind::OtherInterrupt,
        ),
        (
            &[border(None, USER_SYSCALL), right[1]],
            ChainEnd::Complete,
            Kind::OtherInterrupt,
        ),
        // Of another program, and of the kernel.
        (
            &[right[0], to_user(TO_USER + (1 << 48))],
            ChainEnd::Complete,
            Kind::OtherLink,
        ),
        (&[to(TO_ROOT)], ChainEnd::Complete, Kind::InterruptMissing),
    ] {
        for pushed in [false, true] {
            replay(false, |core| {
                run_to_system_call(core);
                let (pc, sp) = if pushed {
                    enter(core, STACK);
                    (CALL_LEAVE, STACK - 40)
                } else {
                    (CALL_ENTRY, USER - 8)
                };
                let verdict = core.see(pc, sp, [0; 2], chain, end);
                assert_eq!(verdict, Verdict::Different(kind), "{chain:x?} {end:?}");
            });
        }
    }
}

#[test]
fn what_does_not_lead_over_the_border_is_no_successor() {
    use Kind::NotASuccessor;
    let behind = [to_user(TO_USER)];
    let chain = [border(None, USER_RET), behind[0]];
    // A call that is entered behind its first instruction, or with another stack pointer.
    for (pc, sp) in [(CALL_SWITCH, USER - 8), (CALL_ENTRY, USER - 16)] {
        replay(false, |core| {
            run_to_system_call(core);
            core.wrong(pc, sp, [TO_USER, 0], &chain, NotASuccessor);
        });
    }
    // A return to somewhere else.
    replay(false, |core| {
        run_to_system_call(core);
        enter(core, STACK);
        core.right(CALL_LEAVE, STACK - 40, [0; 2], &chain);
        core.right(CALL_SYSRET, USER - 8, [TO_USER, 0], &chain);
        core.wrong(USER_SYSCALL, USER - 8, [TO_USER, 0], &behind, NotASuccessor);
    });
    // An instruction of the program's that is no call.
    replay(false, |core| {
        core.right(USER_CALL, USER, [0; 2], &[]);
        let chain = [border(None, TO_USER)];
        core.wrong(CALL_ENTRY, USER, [0; 2], &chain, NotASuccessor);
    });
}

#[test]
fn a_thread_follows_its_stack_in_the_kernel_to_another_core() {
    let assumed = replay(false, |core| {
        // Two of the same program, with the same addresses.
        run_to_system_call(core);
        enter(core, STACK);
        let first = core.sequence;
        (core.number, core.sequence) = (1, 70);
        core.right(USER_CALL, USER, [0; 2], &[]);
        let rip = OTHER_STACK - 40;
        let raw = USER_CALL & 0xff_ffff;
        let chain = [border(Some(VECTOR), USER_CALL)];
        core.right(ENTRY, rip, [raw, 0], &chain);
        core.right(ENTRY_PUSH, rip - 8, [0, raw], &chain);
        // The other core goes on with the first one, which is another one's stack.
        (core.number, core.sequence) = (0, first);
        leave(core, STACK);
    });
    assert_eq!((assumed.starts, assumed.threads), (2, 2));
}

/// From a call of a program that has `callers` there until the kernel has thrown its stack away and is to
/// go on in user mode with another chain.
fn send_elsewhere(core: &mut Core<'_>, callers: &[Link], sp: u64, anew: &[Link]) {
    let chain = [&[border(None, USER_RET)], callers].concat();
    core.right(ANEW_ENTRY, sp, [0; 2], &chain);
    core.right(ANEW_SWITCH, sp, [0; 2], &chain);
    core.right(ANEW_PUSH, STACK - 32, [0; 2], &chain);
    core.right(ANEW_PUSHED, STACK - 40, [0; 2], &chain);
    core.right(ANEW_EMPTY, STACK, [0; 2], &[]);
    core.right(ANEW_IRET, STACK - 40, [0; 2], anew);
}

/// The stack pointer in an upcall, which begins at the call.
const UPCALL: u64 = USER - 0x200;

fn upcall(core: &mut Core<'_>) {
    run_to_system_call(core);
    let called = [to_user(USER_RET), to_user(TO_USER)];
    let anew = [border(None, USER_SYSCALL), called[0], called[1]];
    send_elsewhere(core, &called[1..], USER - 8, &anew);
    core.right(USER_SYSCALL, UPCALL, [0; 2], &called);
}

#[test]
fn an_upcall_has_the_callers_of_what_it_interrupts_and_goes_back_there() {
    let called = [to_user(USER_RET), to_user(TO_USER)];
    let back = [border(None, USER_RET), to_user(TO_USER)];
    let assumed = replay(false, |core| {
        upcall(core);
        send_elsewhere(core, &called, UPCALL, &back);
        core.right(USER_RET, USER - 8, [TO_USER, 0], &back[1..]);
        core.right(TO_USER, USER, [0; 2], &[]);
    });
    assert_eq!(assumed, ONE_THREAD);
    // A chain there that lacks what called is seen.
    replay(false, |core| {
        upcall(core);
        send_elsewhere(core, &called, UPCALL, &back);
        core.wrong(USER_RET, USER - 8, [TO_USER, 0], &[], Kind::CallerMissing);
    });
}

#[test]
fn what_goes_on_somewhere_else_is_another_thread() {
    let assumed = replay(false, |core| {
        upcall(core);
        let called = [to_user(USER_RET), to_user(TO_USER)];
        send_elsewhere(core, &called, UPCALL, &[border(None, USER_CALL)]);
        core.right(USER_CALL, USER, [0; 2], &[]);
    });
    assert_eq!((assumed.starts, assumed.threads), (1, 2));
}

#[test]
fn a_step_does_not_see_the_way_into_the_kernel() {
    let assumed = replay(true, |core| {
        run_to_system_call(core);
        let chain = [to(TO_OUTER), border(None, USER_RET), to_user(TO_USER)];
        core.right(INNER, STACK - 200, [TO_OUTER, 0], &chain);
        core.right(INNER_RET, STACK - 200, [TO_OUTER, 0], &chain);
        core.right(TO_OUTER, STACK - 192, [0; 2], &chain[1..]);
        core.wrong(
            OUTER_NOP,
            STACK - 192,
            [0; 2],
            &chain[1..2],
            Kind::CallerMissing,
        );
    });
    assert_eq!((assumed.starts, assumed.entries), (1, 1));
}
