//! The fast handlers of [`super::fast`] in assembly: of the timer of an xAPIC, and of counters, with
//! either APIC, where a tick of the run is one of the time stamp counter. There each instruction is
//! the price of a sample.
//!
//! They do the same, read what they need where it lies, and so use six registers.
//! What is seldom it calls: to look at code or a stack that was not looked at last, to see whether a
//! chain has reached a root that was not reached last, to walk a chain that is more than frames of
//! compiled code, to give up its write in the ring, and to wait for the core's turn.
//!
//! Each is there twice: to write samples, and to count chains (`keep=chains`), of which a new one is
//! left to the other handler.
//!
//! In the frame, places of registers that are not saved are free:
//!
//! | offset | what |
//! |---|---|
//! | 40, 72, 80 | `rsi`, `r10` and `r11`, during a call |
//! | 88 | the time stamp counter at the entry |
//! | 96 | where the record begins |
//! | 104 | rounds of the walk that are left; then how it ended; before, what else a macro needs |
//! | 112 | the core's state, during a call; before, the stage |
//! | 128 | the number of the overflow |

use core::mem::offset_of;
use core::sync::atomic::Ordering::Relaxed;

use super::fast::{Ordinary, Whose, abandon, is_root_at, wait_or_publish, walk_from, walk_key};
use crate::assembly;
use crate::entry::{TrapFrame, end_of_call, fast, vector};
use crate::format::further;
use crate::format::region::MailboxWords;
use crate::format::ring::{IN_PLACE, offset as ring};
use crate::format::sample::MAX_CHAIN;
use crate::format::sample::compact::{DEPTH_LIMIT, Width, at, head};
use crate::format::table::{FACTOR, KEY_AT, PROBES, TASK_AT};
use crate::format::{Delivery, State};
use crate::hw::apic::{self, LocalInterrupt, PerformanceEntry, Register, Vector};
use crate::hw::control::INTERRUPT_FLAG;
use crate::pmu::driver::{Stage, at as driver};
use crate::pmu::this_core::ThisCore;
use crate::sampler::halt::HLT;
use crate::sampler::per_core::fast::{Call, FastState, Place, Scratch, offset};
use crate::sampler::per_core::overflow::ARMED;
use crate::sampler::per_core::pmu::CorePmu;
use crate::sampler::per_core::{Core, Share, Timing};
use crate::sampler::target::{Settled, Target};
use crate::sampler::vector::OVERFLOW;

unsafe extern "C" {
    fn pmiscope_fast_xapic_nmi();
    fn pmiscope_fast_xapic_irq();
    fn pmiscope_fast_xapic_nmi_in_turns();
    fn pmiscope_fast_xapic_irq_in_turns();
    fn pmiscope_fast_one_xapic_alone_irq();
    fn pmiscope_fast_one_xapic_alone_nmi();
    fn pmiscope_fast_one_xapic_status_irq();
    fn pmiscope_fast_one_xapic_status_nmi();
    fn pmiscope_fast_one_x2apic_alone_irq();
    fn pmiscope_fast_one_x2apic_alone_nmi();
    fn pmiscope_fast_one_x2apic_status_irq();
    fn pmiscope_fast_one_x2apic_status_nmi();
    fn pmiscope_fast_several_xapic_alone_irq();
    fn pmiscope_fast_several_xapic_alone_nmi();
    fn pmiscope_fast_several_xapic_status_irq();
    fn pmiscope_fast_several_xapic_status_nmi();
    fn pmiscope_fast_several_x2apic_alone_irq();
    fn pmiscope_fast_several_x2apic_alone_nmi();
    fn pmiscope_fast_several_x2apic_status_irq();
    fn pmiscope_fast_several_x2apic_status_nmi();
    fn pmiscope_chains_xapic_nmi();
    fn pmiscope_chains_xapic_irq();
    fn pmiscope_chains_xapic_nmi_in_turns();
    fn pmiscope_chains_xapic_irq_in_turns();
    fn pmiscope_chains_one_xapic_alone_irq();
    fn pmiscope_chains_one_xapic_alone_nmi();
    fn pmiscope_chains_one_xapic_status_irq();
    fn pmiscope_chains_one_xapic_status_nmi();
    fn pmiscope_chains_one_x2apic_alone_irq();
    fn pmiscope_chains_one_x2apic_alone_nmi();
    fn pmiscope_chains_one_x2apic_status_irq();
    fn pmiscope_chains_one_x2apic_status_nmi();
    fn pmiscope_chains_several_xapic_alone_irq();
    fn pmiscope_chains_several_xapic_alone_nmi();
    fn pmiscope_chains_several_xapic_status_irq();
    fn pmiscope_chains_several_xapic_status_nmi();
    fn pmiscope_chains_several_x2apic_alone_irq();
    fn pmiscope_chains_several_x2apic_alone_nmi();
    fn pmiscope_chains_several_x2apic_status_irq();
    fn pmiscope_chains_several_x2apic_status_nmi();
}

/// Sets what handlers in assembly need. What [`super::fast::prepare`] sets is set.
pub(super) fn prepare<T: Target>(core: &Core, target: &T, delivery: Delivery) {
    let fast = &core.fast;
    // Nothing was looked at.
    fast.top.store(0, Relaxed);
    fast.span.store(0, Relaxed);
    let task = match target.settled(core.index) {
        Some(Settled { task: Some(task) }) => core::ptr::from_ref(task),
        _ => core::ptr::from_ref(&fast.task_asked),
    };
    fast.task.store(task.cast_mut(), Relaxed);
    let is_nmi = delivery == Delivery::Nmi;
    let state = State::INTERRUPTS_ON | if is_nmi { State::NMI } else { 0 };
    fast.heads[0].store(head(0, Width::Bits24, state, 0), Relaxed);
    fast.set_call(Call::Look, look::<T> as *const ());
    fast.set_call(Call::IsRoot, is_root_at::<T> as *const ());
    fast.set_call(Call::Walk, walk_from::<T> as *const ());
    fast.set_call(Call::WalkKey, walk_key::<T> as *const ());
    fast.set_call(Call::Abandon, abandon as *const ());
    fast.set_call(Call::Finish, wait_or_publish as *const ());
    fast.set_call(Call::AckLate, ack_late as *const ());
    fast.set_call(Call::StopAgain, stop_again as *const ());
    fast.set_call(Call::LeaveSeveral, leave_several as *const ());
}

/// The handlers of counters, in the order of [`CounterHandlers`](crate::sampler::per_core::pmu::CounterHandlers):
/// those that write samples, and those that count chains.
pub(super) const COUNTERS: [Handlers; 2] = [SAMPLES, CHAINS];

type Handlers = [[[[unsafe extern "C" fn(); 2]; 2]; 2]; 2];

const SAMPLES: Handlers = [
    [
        [
            [
                pmiscope_fast_one_xapic_alone_irq,
                pmiscope_fast_one_xapic_alone_nmi,
            ],
            [
                pmiscope_fast_one_xapic_status_irq,
                pmiscope_fast_one_xapic_status_nmi,
            ],
        ],
        [
            [
                pmiscope_fast_one_x2apic_alone_irq,
                pmiscope_fast_one_x2apic_alone_nmi,
            ],
            [
                pmiscope_fast_one_x2apic_status_irq,
                pmiscope_fast_one_x2apic_status_nmi,
            ],
        ],
    ],
    [
        [
            [
                pmiscope_fast_several_xapic_alone_irq,
                pmiscope_fast_several_xapic_alone_nmi,
            ],
            [
                pmiscope_fast_several_xapic_status_irq,
                pmiscope_fast_several_xapic_status_nmi,
            ],
        ],
        [
            [
                pmiscope_fast_several_x2apic_alone_irq,
                pmiscope_fast_several_x2apic_alone_nmi,
            ],
            [
                pmiscope_fast_several_x2apic_status_irq,
                pmiscope_fast_several_x2apic_status_nmi,
            ],
        ],
    ],
];

const CHAINS: Handlers = [
    [
        [
            [
                pmiscope_chains_one_xapic_alone_irq,
                pmiscope_chains_one_xapic_alone_nmi,
            ],
            [
                pmiscope_chains_one_xapic_status_irq,
                pmiscope_chains_one_xapic_status_nmi,
            ],
        ],
        [
            [
                pmiscope_chains_one_x2apic_alone_irq,
                pmiscope_chains_one_x2apic_alone_nmi,
            ],
            [
                pmiscope_chains_one_x2apic_status_irq,
                pmiscope_chains_one_x2apic_status_nmi,
            ],
        ],
    ],
    [
        [
            [
                pmiscope_chains_several_xapic_alone_irq,
                pmiscope_chains_several_xapic_alone_nmi,
            ],
            [
                pmiscope_chains_several_xapic_status_irq,
                pmiscope_chains_several_xapic_status_nmi,
            ],
        ],
        [
            [
                pmiscope_chains_several_x2apic_alone_irq,
                pmiscope_chains_several_x2apic_alone_nmi,
            ],
            [
                pmiscope_chains_several_x2apic_status_irq,
                pmiscope_chains_several_x2apic_status_nmi,
            ],
        ],
    ],
];

/// An overflow of the running core's counters has shown late.
#[unsafe(link_section = ".pmiscope.calls")]
unsafe extern "C" fn ack_late(core: &'static Core) {
    core.pmu.driver.ack_late(&ThisCore);
    end_of_call();
}

/// A nested handler has stopped the counters for good before they were started.
#[unsafe(link_section = ".pmiscope.calls")]
unsafe extern "C" fn stop_again(core: &'static Core) {
    if let Some(plan) = core.pmu.plan() {
        core.pmu.driver.stop_again(&ThisCore, plan);
    }
    end_of_call();
}

/// Of several events, those before `next` are where they are now, and those in the list have no
/// samples yet: all are left to the other handler.
#[unsafe(link_section = ".pmiscope.calls")]
unsafe extern "C" fn leave_several(core: &'static Core, _: &TrapFrame, next: u64) {
    let pmu = &core.pmu;
    if let Some(plan) = pmu.plan() {
        let first_event = core.fast.first_event.load(Relaxed);
        let taken = pmu.driver.finish_list(&ThisCore, plan, next, first_event);
        pmu.set_unrecorded(taken);
    }
    end_of_call();
}

/// Lets the entries of `core` try the timer's first.
pub(super) fn choose(core: &Core, delivery: Delivery, counts_chains: bool) {
    let is_nmi = delivery == Delivery::Nmi;
    let has_turns = core.fast.has_turns.load(Relaxed);
    let handler = match (counts_chains, is_nmi, has_turns) {
        (false, true, false) => pmiscope_fast_xapic_nmi,
        (false, true, true) => pmiscope_fast_xapic_nmi_in_turns,
        (false, false, false) => pmiscope_fast_xapic_irq,
        (false, false, true) => pmiscope_fast_xapic_irq_in_turns,
        (true, true, false) => pmiscope_chains_xapic_nmi,
        (true, true, true) => pmiscope_chains_xapic_nmi_in_turns,
        (true, false, false) => pmiscope_chains_xapic_irq,
        (true, false, true) => pmiscope_chains_xapic_irq_in_turns,
    };
    core.path.set_handler(delivery, handler);
}

/// Looks at what was interrupted, and notes it for the samples to come. Returns the distance of the
/// program counter from the text's start, or -1 if it is not ordinary; 0 of a program.
#[unsafe(link_section = ".pmiscope.calls")]
unsafe extern "C" fn look<T: Target>(core: &'static Core, frame: &TrapFrame) -> i64 {
    let fast = &core.fast;
    // SAFETY: set with the handler.
    let target: &T = unsafe { fast.at(Place::Target) };
    let found = match Ordinary::look(core, target, frame) {
        Some(ordinary) => {
            let is_settled = target.settled(core.index).is_some();
            let mut pc_offset = 0;
            if let Whose::Kernel(code) = ordinary.whose() {
                let (top, span) = code.stack();
                fast.top.store(top, Relaxed);
                fast.span
                    .store(if is_settled { span + 1 } else { 0 }, Relaxed);
                fast.is_ruled.store(code.is_ruled, Relaxed);
                pc_offset = code.pc_offset;
            }
            if !is_settled {
                let task = u8::try_from(target.task(core.index));
                fast.task_asked.store(task.unwrap_or(0), Relaxed);
                if task.is_err() {
                    end_of_call();
                    return -1;
                }
            }
            let first = fast.heads[0].load(Relaxed);
            let found = ordinary.state() & !State::INTERRUPTS_ON;
            fast.heads[1].store(first | u32::from(found) << 16, Relaxed);
            pc_offset.cast_signed()
        }
        None => -1,
    };
    end_of_call();
    found
}

const FAST: usize = offset_of!(Core, fast);
const DRIVER: usize = offset_of!(Core, pmu) + CorePmu::DRIVER;
// Halves are side by side.
const _: () = assert!(driver::HIGH == 4);

assembly!(
    r#"
    # A call, with the registers that are live in it saved by who calls; rdi comes back.
    .macro FAST_CALL call
    movq %rdi, 112(%rsp)
    movq %rsi, 40(%rsp)
    movq %r10, 72(%rsp)
    movq %r11, 80(%rsp)
    movq %rsp, %rsi
    cld
    callq *{calls}+8*\call(%rdi)
    movq 40(%rsp), %rsi
    movq 72(%rsp), %r10
    movq 80(%rsp), %r11
    movq 112(%rsp), %rdi
    .endm

    # The place of a frame, whose fp is in r9: see unwind::fast.
    .macro FAST_PROVE room, next, other
    movq {top}(%rdi), \next
    subq %r9, \next
    rorq $4, \next
    cmpq \room, \next
    jae \other
    .endm

    .macro FAST_FRAME room, next, other, stop, place
    FAST_PROVE \room, \next, \other
    movq 8(%r9), %rcx
    movq (%r9), %r9
    subq {text_start}(%rdi), %rcx
    cmpq {compiled_len}(%rdi), %rcx
    jae \stop
    movl %ecx, \place(%r8)
    .endm

    # The words on top of the stack, which r9 points to.
    .macro FAST_TOPS
    movq (%r9), %rdx
    subq {text_start}(%rdi), %rdx
    cmpq {text_len}(%rdi), %rdx
    cmovaeq pmiscope_fast_no_text(%rip), %rdx
    movl %edx, {at_pc}+3(%r8)
    movq 8(%r9), %rdx
    subq {text_start}(%rdi), %rdx
    cmpq {text_len}(%rdi), %rdx
    cmovaeq pmiscope_fast_no_text(%rip), %rdx
    movl %edx, {at_pc}+6(%r8)
    .endm

    # The chain of the record at r8; rax is how far the stack pointer is below `top`. Then r8 is so far
    # behind that the last word is at `at_chain`.
    .macro FAST_CHAIN id, looked
    .ifc \looked, looked
    cmpb $0, {is_ruled}(%rdi)
    jne .Lwalk_\id
    .endif
    movl ${rounds}, 104(%rsp)
    shrq $4, %rax
    incq %rax
    movq (%rsp), %r9
2:
    FAST_FRAME %rax, %rdx, .Lwalk_\id, 6f, {at_chain}
    FAST_FRAME %rdx, %rax, .Lwalk_\id, 5f, {at_chain}+3
    FAST_FRAME %rax, %rdx, .Lwalk_\id, 4f, {at_chain}+6
    FAST_FRAME %rdx, %rax, .Lwalk_\id, 3f, {at_chain}+9
    addq $12, %r8
    decl 104(%rsp)
    jne 2b
    # It holds no more. Is there one more, and can the end of these be told?
    testl %ecx, %ecx
    je .Lwalk_\id
    FAST_PROVE %rax, %rdx, .Lwalk_\id
    movq 8(%r9), %rcx
    subq {text_start}(%rdi), %rcx
    cmpq {compiled_len}(%rdi), %rcx
    jb .Lcut_\id
    jmp .Lwalk_\id
3:
    addq $3, %r8
4:
    addq $3, %r8
5:
    addq $3, %r8
6:
    movl %ecx, {at_chain}(%r8)
    xorq {root_offset}(%rdi), %rcx
    orq %r9, %rcx
    jne .Lroot_\id
    .endm

    # A root that was not reached last. Then r8 is behind the chain.
    .macro FAST_ROOT id, unusual
.Lroot_\id:
    testq %r9, %r9
    jne .Lwalk_\id
    movq %r8, 104(%rsp)
    xorq {root_offset}(%rdi), %rcx
    movq %rcx, %rdx
    FAST_CALL {is_root}
    movq 104(%rsp), %r8
    testq %rax, %rax
    je .Lwalk_\id
    # One with an address, or two zeros without.
    leaq {at_chain}+3(%r8), %r8
    cmpq $1, %rax
    je 2f
    subq $3, %r8
    # The text's start, as the last entry, would be taken for none.
    movl -3(%r8), %eax
    shll $8, %eax
    je \unusual
2:
    .endm

    # The samples beyond the first, a unit each behind the record. Mostly there are no more than two.
    # r9d is what the record's first unit has of them: of four bytes one more sample.
    .macro FAST_FURTHER
    movl {further}(%rdi), %r9d
    andq $-4, %r8
    movq {list}+4(%rdi), %rax
    movq %rax, (%r8)
    addq %r9, %r8
    cmpl $8, %r9d
    jbe 3f
    leaq {list}+4(%rdi,%r9), %rdx
    movq %r9, %rcx
    negq %rcx
2:
    movl (%rdx,%rcx), %eax
    movl %eax, (%r8,%rcx)
    addq $4, %rcx
    jne 2b
3:
    shll ${further_shift}-2, %r9d
    .endm

    # r8 is three bytes behind the record's end. Makes its first unit, in r9d; then r8 is the
    # position behind it, rax that where it begins, and rcx the writer.
    .macro FAST_HEAD head, period
    .ifc \period, several
    FAST_FURTHER
    .endif
    movq {writer}(%rdi), %rcx
    movq 96(%rsp), %rax
    movq {origin}(%rcx), %rdx
    subq %rdx, %r8
    shrq $2, %r8
    .ifc \period, several
    addl %r8d, %r9d
    .else
    movl %r8d, %r9d
    .endif
    subl %eax, %r9d
    addl \head(%rdi), %r9d
    .endm

    # The record; rax is how far the stack pointer is below `top`, rcx the writer, r9 the program
    # counter's offset. Each field's store is of four bytes, so those of three come in their order.
    .macro FAST_RECORD id, head, period, looked
    movq ${in_place}, {writing}(%rcx)
    movq {reserved}(%rcx), %r8
    movq %r8, 96(%rsp)
    cmpq {in_place_end}(%rcx), %r8
    jae 92f
    shlq $2, %r8
    addq {origin}(%rcx), %r8
    movl %r9d, {at_pc}(%r8)
    # What the handler before has cost, and its task.
    .ifc \period, ticks
    movq {armed_tsc}(%rdi), %r9
    subq {entry_tsc}(%rdi), %r9
    subq {waited}(%rdi), %r9
    addq {overhead}(%rdi), %r9
    .else
    movl {own_ticks}(%rdi), %r9d
    addq {overhead}(%rdi), %r9
    .endif
    cmpq $0xffff, %r9
    ja 92f
    shll $8, %r9d
    movq {task}(%rdi), %rdx
    movb (%rdx), %r9b
    movl %r9d, {at_task}(%r8)
    .ifc \period, several
    # Less than 2^24, and the event above it.
    movl {list}(%rdi), %edx
    .else
    .ifc \period, ticks
    movq 88(%rsp), %rdx
    subq {armed_tsc}(%rdi), %rdx
    subq {overhead}(%rdi), %rdx
    .else
    movq {position}(%rdi), %rdx
    subq {event_last}(%rdi), %rdx
    .endif
    cmpq $0xffffff, %rdx
    ja 92f
    .endif
    movl %edx, {at_period}(%r8)
    movq 88(%rsp), %rdx
    subq {tsc_origin}(%rdi), %rdx
    subq {time}(%rcx), %rdx
    movl %edx, {at_time}(%r8)
    shrq $32, %rdx
    jne 92f
    .ifc \looked, program
    jmp .Lwalk_\id
    .else
    # A stack pointer that is not aligned has its low bits at the top then.
    movq 160(%rsp), %r9
    movq %r9, %rdx
    subq {lowest_sp}(%rcx), %rdx
    rorq $3, %rdx
    movl %edx, {at_sp}(%r8)
    shrq $32, %rdx
    jne 92f
    FAST_TOPS
    FAST_CHAIN \id, \looked
    movl $0, {at_chain}+3(%r8)
    addq ${at_chain}+6, %r8
.Lchain_\id:
    FAST_HEAD \head, \period
    testl ${interrupt_flag}, 152(%rsp)
    je .Loff_\id
    .endif
.Lhead_\id:
    movl %r9d, (%rdx,%rax,4)
    .ifc \period, several
    movb {list}+3(%rdi), %r9b
    movb %r9b, 3(%rdx,%rax,4)
    .endif
    # It is finished if nothing was written meanwhile. (As InPlace::finish does.)
    cmpxchgq %r8, {reserved}(%rcx)
    jne 92f
    .ifc \period, several
    movl {further}(%rdi), %eax
    shrl $2, %eax
    movq {interrupts}(%rdi), %rdx
    subq %rax, (%rdx)
    incl %eax
    addq %rax, {taken}(%rdi)
    addl %eax, {next}(%rcx)
    movq {control}(%rcx), %rdx
    movq %r8, (%rdx)
    addq %rax, {fast_of_control}(%rdx)
    .else
    incl {next}(%rcx)
    movq {control}(%rcx), %rdx
    movq %r8, (%rdx)
    incq {fast_of_control}(%rdx)
    .endif
    movq $0, {writing}(%rcx)
    cmpq %r8, {reserved}(%rcx)
    jne .Lnested_\id
.Lpublished_\id:
    .endm

    # What is seldom of that.
    .macro FAST_RECORD_SELDOM id, head, period, looked
    .ifnc \looked, program
    FAST_ROOT \id, 92f
    movl $0, (%r8)
    addq $3, %r8
    jmp .Lchain_\id
    # Cut at the depth limit.
.Lcut_\id:
    movl $0, {at_chain}(%r8)
    addq ${at_chain}+3, %r8
    movl ${depth_limit}, 104(%rsp)
    jmp .Lended_\id
    .endif
    # More than frames of compiled code: all of it once more.
.Lwalk_\id:
    movq 96(%rsp), %rdx
    FAST_CALL {walk}
    testq %rax, %rax
    je 92f
    leaq 3(%rax), %r8
    movl %edx, 104(%rsp)
.Lended_\id:
    FAST_HEAD \head, \period
    addl 104(%rsp), %r9d
    testl ${interrupt_flag}, 152(%rsp)
    jne .Lhead_\id
    # Interrupts were off.
.Loff_\id:
    subl ${interrupts_on}, %r9d
    jmp .Lhead_\id
    # What has nested is to be published.
.Lnested_\id:
    movl $1, %edx
    FAST_CALL {finish}
    jmp .Lpublished_\id
    .endm

    # Counts the chain, which is in the table. The key is made as the record is, in `scratch`, where
    # its other fields would be; see format::table. rax and r9 are as above.
    .macro FAST_COUNT id, head, period, looked
    .ifc \period, several
    # Each of several has a count of its own.
    cmpl $0, {further}(%rdi)
    jne 91f
    .endif
    leaq {scratch}(%rdi), %r8
    movl %r9d, {at_pc}(%r8)
    movq {task}(%rdi), %rdx
    movb (%rdx), %dl
    movb %dl, {at_key_task}(%r8)
    .ifc \looked, program
    jmp .Lwalk_\id
    .else
    movq 160(%rsp), %r9
    testb $7, %r9b
    jne 91f
    FAST_TOPS
    FAST_CHAIN \id, \looked
    addq ${at_chain}+3, %r8
.Lchain_\id:
    FAST_KEY_HEAD \head
    testl ${interrupt_flag}, 152(%rsp)
    je .Loff_\id
    .endif
.Lhead_\id:
    movl %r9d, {key}(%rdi)
    .ifc \period, several
    movb {list}+3(%rdi), %r9b
    movb %r9b, {key}+3(%rdi)
    .endif
    # Its bytes: a multiple of 16.
    andl $-16, %r8d
    movl %r8d, %ecx
    shrl $3, %ecx
    # Its hash.
    leaq {key}(%rdi,%r8), %r9
    negq %r8
    movabsq ${factor}, %rdx
    xorl %eax, %eax
2:
    addq (%r9,%r8), %rax
    imulq %rdx, %rax
    addq 8(%r9,%r8), %rax
    imulq %rdx, %rax
    addq $16, %r8
    jne 2b
    bswapq %rax
    # The entry at the first bucket: its lower half.
    andl {table_mask}(%rdi), %eax
    movq {table}(%rdi), %r9
    movl (%r9,%rax,8), %edx
    testq %rdx, %rdx
    je 91f
    movl %ecx, %r8d
    movq %rsi, 40(%rsp)
    movq %rdi, 112(%rsp)
    leaq 8(%r9,%rdx,8), %rsi
    addq ${key}, %rdi
    cld
    repe cmpsq
    jne .Lother_\id
.Lknown_\id:
    movq 40(%rsp), %rsi
    movq 112(%rsp), %rdi
    incq (%r9,%rdx,8)
    .ifc \period, several
    incq {taken}(%rdi)
    .endif
    movq {writer}(%rdi), %rcx
    movq {control}(%rcx), %rdx
    incq {fast_of_control}(%rdx)
    .endm

    # Zeros behind the key, which ends at r8. Makes its first unit, in r9d; then r8 is its bytes and 15,
    # as whole units have them.
    .macro FAST_KEY_HEAD head
    movq $0, (%r8)
    movq $0, 8(%r8)
    subq %rdi, %r8
    leal -{scratch}+3(%r8), %r9d
    shrl $2, %r9d
    leal 15-{key_at}(,%r9,4), %r8d
    addl \head(%rdi), %r9d
    .endm

    # What is seldom of that.
    .macro FAST_COUNT_SELDOM id, head, looked
    .ifnc \looked, program
    FAST_ROOT \id, 91f
    jmp .Lchain_\id
    # Cut at the depth limit.
.Lcut_\id:
    addq ${at_chain}, %r8
    movl ${depth_limit}, 104(%rsp)
    jmp .Lended_\id
    .endif
    # More than frames of compiled code: all of it once more.
.Lwalk_\id:
    FAST_CALL {walk_key}
    testq %rax, %rax
    je 91f
    movq %rax, %r8
    movl %edx, 104(%rsp)
.Lended_\id:
    FAST_KEY_HEAD \head
    addl 104(%rsp), %r9d
    testl ${interrupt_flag}, 152(%rsp)
    jne .Lhead_\id
    # Interrupts were off.
.Loff_\id:
    subl ${interrupts_on}, %r9d
    jmp .Lhead_\id
    # Another chain has that bucket: the next ones.
.Lother_\id:
    movl ${probes}-1, 104(%rsp)
2:
    movq 112(%rsp), %rdi
    incl %eax
    andl {table_mask}(%rdi), %eax
    movl (%r9,%rax,8), %edx
    testq %rdx, %rdx
    je 3f
    leaq 8(%r9,%rdx,8), %rsi
    addq ${key}, %rdi
    movl %r8d, %ecx
    repe cmpsq
    je .Lknown_\id
    decl 104(%rsp)
    jne 2b
3:
    movq 40(%rsp), %rsi
    movq 112(%rsp), %rdi
    jmp 91f
    .endm

    .macro FAST_XAPIC keep, name, way, turns, vector, back
    .balign 16
    .global pmiscope_\keep\()_xapic_\name
    .type pmiscope_\keep\()_xapic_\name, @function
pmiscope_\keep\()_xapic_\name:
    TRAP_CFI 176
    FAST_CFI
    RULE TRAP_FRAME
    # As it should be?
    cmpq ${armed}, {state}(%rdi)
    jne 90f
    movq {registers}(%rip), %rcx
    cmpl $0, {current}(%rcx)
    jne 90f
    # Its overflow is claimed.
    movw $0x100, {state}(%rdi)
    .global pmiscope_\keep\()_claimed_\name
pmiscope_\keep\()_claimed_\name:
    movl $1, %r8d
    xaddq %r8, {taken}(%rdi)
    movq %rdx, 88(%rsp)
    movl %r8d, 128(%rsp)
    cmpq {last}(%rdi), %r8
    jae 91f
    .ifc \keep, fast
    movq {writer}(%rdi), %rcx
    cmpl {next}(%rcx), %r8d
    jne 91f
    .endif
    testb $3, 144(%rsp)
    .ifc \way\()_\turns, irq_turns
    # See `leaves_turn_to_exact`.
    jne 91f
    .else
    jne 81f
    .endif
    movq 136(%rsp), %r8
    movq %r8, %r9
    subq {text_start}(%rdi), %r9
    cmpq {compiled_len}(%rdi), %r9
    jae 80f
    cmpb ${hlt}, (%r8)
    je 91f
    movq {top}(%rdi), %rax
    subq 160(%rsp), %rax
    cmpq {span}(%rdi), %rax
    jae 80f
    .ifc \keep, fast
    FAST_RECORD \name\()_usual, {head_usual}, ticks
    .else
    FAST_COUNT chains_\name\()_usual, {head_usual}, ticks
    .endif
93:
    movq 88(%rsp), %rax
    movq %rax, {entry_tsc}(%rdi)
    .ifc \way, irq
    movq {registers}(%rip), %rcx
    movl $0, {end_of_interrupt}(%rcx)
    .endif
    .ifc \turns, turns
    # The core's turn is over. How long it waits is no cost.
    rdtsc
    shlq $32, %rdx
    orq %rax, %rdx
    movq %rdx, 104(%rsp)
    xorl %edx, %edx
    FAST_CALL {finish}
    rdtsc
    shlq $32, %rdx
    orq %rax, %rdx
    subq 104(%rsp), %rdx
    movq %rdx, {waited}(%rdi)
    .endif
    # The last step: as in sampler::source::leave.
    movq {registers}(%rip), %rcx
    movl {count}(%rdi), %r8d
    rdtsc
    movl %eax, {armed_tsc}(%rdi)
    movl %edx, {armed_tsc}+4(%rdi)
    movw $1, {state}(%rdi)
    movl %r8d, {initial}(%rcx)
    .cfi_remember_state
    .global pmiscope_\keep\()_left_\name
pmiscope_\keep\()_left_\name:
    TRAP_RESTORE
    RULE INTERRUPTED, 0, \vector
    iretq
    .cfi_restore_state
    RULE TRAP_FRAME

    # Something else than the last time.
80:
    FAST_CALL {look}
    movq %rax, %r9
    testq %rax, %rax
    js 91f
    movq {top}(%rdi), %rax
    subq 160(%rsp), %rax
    .ifc \keep, fast
    movq {writer}(%rdi), %rcx
    FAST_RECORD \name\()_looked, {head_looked}, ticks, looked
    jmp 93b
    # A program of the user's.
81:
    FAST_CALL {look}
    testq %rax, %rax
    js 91f
    movq {writer}(%rdi), %rcx
    FAST_RECORD \name\()_program, {head_looked}, ticks, program
    jmp 93b
    FAST_RECORD_SELDOM \name\()_usual, {head_usual}, ticks
    FAST_RECORD_SELDOM \name\()_looked, {head_looked}, ticks
    FAST_RECORD_SELDOM \name\()_program, {head_looked}, ticks, program
    # The write has begun.
92:
    movq 96(%rsp), %rdx
    FAST_CALL {abandon}
    .else
    FAST_COUNT chains_\name\()_looked, {head_looked}, ticks, looked
    jmp 93b
    # A program of the user's.
81:
    FAST_CALL {look}
    testq %rax, %rax
    js 91f
    FAST_COUNT chains_\name\()_program, {head_looked}, ticks, program
    jmp 93b
    FAST_COUNT_SELDOM chains_\name\()_usual, {head_usual}
    FAST_COUNT_SELDOM chains_\name\()_looked, {head_looked}
    FAST_COUNT_SELDOM chains_\name\()_program, {head_looked}, program
    .endif
    # The overflow is claimed.
91:
    movl 128(%rsp), %eax
    btsq $63, %rax
    movq 88(%rsp), %rdx
    jmpq *\back(%rdi)
90:
    xorl %eax, %eax
    jmpq *\back(%rdi)
    .cfi_endproc
    .size pmiscope_\keep\()_xapic_\name, . - pmiscope_\keep\()_xapic_\name
    .endm

    .irp keep, fast, chains
    FAST_XAPIC \keep, nmi, nmi, none, {nmi}, {back_to_nmi}
    FAST_XAPIC \keep, irq, irq, none, {irq}, {back_to_irq}
    FAST_XAPIC \keep, nmi_in_turns, nmi, turns, {nmi}, {back_to_nmi}
    FAST_XAPIC \keep, irq_in_turns, irq, turns, {irq}, {back_to_irq}
    .endr
    # Counters: see super::fast_counters. What is looked for here is what PmuDriver::stop_one and
    # advance_one look for, and in the same order. The last overflow is where it was until the
    # sample is written: what has run since is its period.
    .macro FAST_ADVANCE_one id
    movl {read}(%rdi), %ecx
    rdpmc
    testl %edx, %edx
    jne 89f
    subl {raw}(%rdi), %eax
    jae 89f
    cmpq {least}(%rdi), %rax
    jbe 89f
    subq {event_overhead}(%rdi), %rax
    addq {position}(%rdi), %rax
    movq %rax, %r9
    subq {due}(%rdi), %r9
    cmpq {earliest}(%rdi), %r9
    jl 89f
    movq {event_period}(%rdi), %rdx
    subq %rdx, %r9
    cmpq {latest}(%rdi), %r9
    jg 89f
    # It is the overflow, and the next one is not due.
    addq %rdx, {due}(%rdi)
    movq %rax, {position}(%rdi)
    subq {latency}(%rdi), %r9
    movq %r9, {raw}(%rdi)
    movl %r9d, %eax
    movl {written_high}(%rdi), %edx
    movl {write}(%rdi), %ecx
    wrmsr
    .endm

    .macro FAST_ADVANCE_SELDOM_one id
    .endm

    # The same of several events, as PmuDriver::advance_any finds them. rsi is where the driver would
    # be if the event was its first one, r8 where in the list that is which has overflowed last, from
    # the second place on. If one of them is unusual, those before it are done: see leave_several.
    .macro FAST_ADVANCE_several id
    movq %rsi, 40(%rsp)
    movq {begin}(%rdi), %rsi
    movq $-4, %r8
.Levent_\id:
    movl {read}-{driver}(%rsi), %ecx
    rdpmc
    testl %edx, %edx
    jne .Lnot_wrapped_\id
    subl {raw}-{driver}(%rsi), %eax
    jae .Lunusual_\id
    cmpq {least}-{driver}(%rsi), %rax
    jbe .Lunusual_\id
    subq {event_overhead}-{driver}(%rsi), %rax
    addq {position}-{driver}(%rsi), %rax
    movq {event_period}-{driver}(%rsi), %rdx
    movq %rax, %r9
    subq {due}-{driver}(%rsi), %r9
    cmpq {earliest}-{driver}(%rsi), %r9
    jl .Ldisplaced_\id
    subq %rdx, %r9
    cmpq {latest}-{driver}(%rsi), %r9
    jg .Lunusual_\id
    addq %rdx, {due}-{driver}(%rsi)
    # It is the overflow, and the next one is not due: where the event is from that, r9 has.
.Lovershot_\id:
    movq %rax, {position}-{driver}(%rsi)
    subq {event_last}-{driver}(%rsi), %rax
    addq %rax, {event_last}-{driver}(%rsi)
    orl {number}-{driver}(%rsi), %eax
    movl %eax, {list}+4(%rdi,%r8)
    addq $4, %r8
.Lload_\id:
    subq {latency}-{driver}(%rsi), %r9
    movq %r9, {raw}-{driver}(%rsi)
    movl %r9d, %eax
    movl {written_high}-{driver}(%rsi), %edx
    movl {write}-{driver}(%rsi), %ecx
    wrmsr
.Lnext_\id:
    addq ${stride}, %rsi
    cmpq {end}(%rdi), %rsi
    jne .Levent_\id
    movq 40(%rsp), %rsi
    # The length of the list behind its first place.
    testq %r8, %r8
    js 89f
    movl %r8d, {further}(%rdi)
    .endm

    # What is seldom of that.
    .macro FAST_ADVANCE_SELDOM_several id
    # The counter has not wrapped. It is loaded anew if handlers count in it.
.Lnot_wrapped_\id:
    cmpl {counter_high}-{driver}(%rsi), %edx
    jne .Lunusual_\id
    subl {raw}-{driver}(%rsi), %eax
    jb .Lunusual_\id
    cmpq $0, {event_overhead}-{driver}(%rsi)
    je 6f
    subq {event_overhead}-{driver}(%rsi), %rax
    jae 2f
    xorl %eax, %eax
2:
    addq {position}-{driver}(%rsi), %rax
    movq %rax, {position}-{driver}(%rsi)
    movq %rax, %r9
    cmpq $0, {jitter}-{driver}(%rsi)
    jne 5f
    subq {due}-{driver}(%rsi), %r9
4:
    cmpq {latest}-{driver}(%rsi), %r9
    jle .Lload_\id
    movq {latest}-{driver}(%rsi), %r9
    jmp .Lload_\id
5:
    subq {target}-{driver}(%rsi), %r9
    jmp 4b
6:
    addq %rax, {position}-{driver}(%rsi)
    addq %rax, {raw}-{driver}(%rsi)
    jmp .Lnext_\id

    # It has not come, or overflows are displaced: as PmuDriver::jittered has it.
.Ldisplaced_\id:
    cmpq $0, {jitter}-{driver}(%rsi)
    je .Lunusual_\id
    movq {target}-{driver}(%rsi), %r9
    subq %rax, %r9
    cmpq {tolerance}-{driver}(%rsi), %r9
    jg .Lunusual_\id
    addq {due}-{driver}(%rsi), %rdx
    cmpq %rdx, %rax
    jae .Lunusual_\id
    movq %rdx, {due}-{driver}(%rsi)
    movq %rax, {position}-{driver}(%rsi)
    movq {random}(%rdi), %rcx
    movq %rcx, %r9
    shlq $13, %r9
    xorq %r9, %rcx
    movq %rcx, %r9
    shrq $7, %r9
    xorq %r9, %rcx
    movq %rcx, %r9
    shlq $17, %r9
    xorq %r9, %rcx
    movq %rcx, {random}(%rdi)
    movq %rcx, %rax
    xorl %edx, %edx
    divq {spread}-{driver}(%rsi)
    addq {due}-{driver}(%rsi), %rdx
    subq {jitter}-{driver}(%rsi), %rdx
    movq %rdx, {target}-{driver}(%rsi)
    movq {position}-{driver}(%rsi), %rax
    movq %rax, %r9
    subq %rdx, %r9
    cmpq {latest}-{driver}(%rsi), %r9
    jle .Lovershot_\id
    movq {latest}-{driver}(%rsi), %r9
    jmp .Lovershot_\id

    # Something is unusual. What comes first may be left to the other handler with the rest.
.Lunusual_\id:
    movq %rsi, %rdx
    movq 40(%rsp), %rsi
    testq %r8, %r8
    js 89f
    movl %r8d, {further}(%rdi)
    jmp 94f
    .endm

    # Writes a register of the APIC.
    .macro FAST_APIC_xapic register, msr, value
    movq {registers}(%rip), %rcx
    movl $\value, \register(%rcx)
    .endm
    .macro FAST_APIC_x2apic register, msr, value
    movl $\msr, %ecx
    movl $\value, %eax
    xorl %edx, %edx
    wrmsr
    .endm

    # Stops the counters, or lets them count.
    .macro FAST_GATE values
    movl {gate}(%rdi), %ecx
    movl \values(%rdi), %eax
    movl \values+4(%rdi), %edx
    wrmsr
    .endm
    .macro FAST_GATES values
    movq {begin}(%rdi), %r8
2:
    movl {event_gate}-{driver}(%r8), %ecx
    movl \values-{driver}(%r8), %eax
    movl \values-{driver}+4(%r8), %edx
    wrmsr
    addq ${stride}, %r8
    cmpq {end}(%rdi), %r8
    jne 2b
    .endm

    .macro FAST_COUNTER keep, form, apic, status, way, vector, entry, back
    .balign 16
    .global pmiscope_\keep\()_\form\()_\apic\()_\status\()_\way
    .type pmiscope_\keep\()_\form\()_\apic\()_\status\()_\way, @function
pmiscope_\keep\()_\form\()_\apic\()_\status\()_\way:
    TRAP_CFI 176
    FAST_CFI
    RULE TRAP_FRAME
    movq %rdx, 88(%rsp)
    .ifc \form\()_\status, several_alone
    movb {stage}(%rdi), %al
    movb %al, 112(%rsp)
    cmpb ${counting}, %al
    jb 90f
    movb ${busy}, {stage}(%rdi)
    FAST_GATES {event_stopped}
    cmpb ${counting}, 112(%rsp)
    .else
    cmpb ${counting}, {stage}(%rdi)
    jb 90f
    movb ${busy}, {stage}(%rdi)
    FAST_GATE {stopped}
    .endif
    # By the comparison: it counts, and is not settled.
    je 89f
    cmpq ${armed}, {state}(%rdi)
    jne 89f
    movq {taken}(%rdi), %r8
    cmpq {last}(%rdi), %r8
    jae 89f
    # A request without an answer?
    movq {requests}(%rdi), %rax
    movl {requested}(%rax), %ecx
    cmpl {answered}(%rax), %ecx
    jne 89f
    FAST_ADVANCE_\form \keep\()_\form\()_\apic\()_\status\()_\way
    movq {writer}(%rdi), %rcx
    .ifc \form, several
    # Those that have overflowed are taken when they are recorded.
    movq {taken}(%rdi), %r8
    .else
    incq {taken}(%rdi)
    .endif
    .ifc \keep, fast
    cmpl {next}(%rcx), %r8d
    jne 91f
    .endif
    testb $3, 144(%rsp)
    jne 81f
    movq 136(%rsp), %r8
    movq %r8, %r9
    subq {text_start}(%rdi), %r9
    cmpq {compiled_len}(%rdi), %r9
    jae 80f
    cmpb ${hlt}, (%r8)
    je 91f
    movq {top}(%rdi), %rax
    subq 160(%rsp), %rax
    cmpq {span}(%rdi), %rax
    jae 80f
    .ifc \keep, fast
    FAST_RECORD \form\()_\apic\()_\status\()_\way\()_usual, {head_usual}, \form
    .else
    FAST_COUNT chains_\form\()_\apic\()_\status\()_\way\()_usual, {head_usual}, \form
    .endif
93:
    .ifc \form, one
    movq {position}(%rdi), %rax
    movq %rax, {event_last}(%rdi)
    .endif
    .ifc \way, irq
    FAST_APIC_\apic {end_of_interrupt}, {end_of_interrupt_msr}, 0
    .endif
    .ifc \status, status
    movl {reset}(%rdi), %ecx
    .ifc \form, one
    movl {overflow}(%rdi), %eax
    movl {overflow}+4(%rdi), %edx
    .else
    movl {counters}(%rdi), %eax
    movl {counters}+4(%rdi), %edx
    .endif
    wrmsr
    .endif
    FAST_APIC_\apic {performance}, {performance_msr}, \entry
    .ifc \status, status
    movl {status}(%rdi), %ecx
    rdmsr
    andl {ours}(%rdi), %eax
    andl {ours}+4(%rdi), %edx
    orl %edx, %eax
    jne 70f
    .endif
71:
    rdtsc
    subl 88(%rsp), %eax
    movl %eax, {own_ticks}(%rdi)
    # The last step: as in sampler::source::leave.
    movb ${settled}, {stage}(%rdi)
    .ifc \form\()_\status, several_alone
    FAST_GATES {event_started}
    .else
    FAST_GATE {started}
    .endif
    cmpb $0, {running}(%rdi)
    jne 72f
    FAST_CALL {stop_again}
72:
    .cfi_remember_state
    TRAP_RESTORE
    RULE INTERRUPTED, 0, \vector
    iretq
    .cfi_restore_state
    RULE TRAP_FRAME

    # An overflow has shown late.
70:
    FAST_CALL {ack_late}
    jmp 71b
    # Something else than the last time.
80:
    FAST_CALL {look}
    movq %rax, %r9
    testq %rax, %rax
    js 91f
    movq {top}(%rdi), %rax
    subq 160(%rsp), %rax
    .ifc \keep, fast
    movq {writer}(%rdi), %rcx
    FAST_RECORD \form\()_\apic\()_\status\()_\way\()_looked, {head_looked}, \form, looked
    jmp 93b
    # A program of the user's.
81:
    FAST_CALL {look}
    testq %rax, %rax
    js 91f
    movq {writer}(%rdi), %rcx
    FAST_RECORD \form\()_\apic\()_\status\()_\way\()_program, {head_looked}, \form, program
    jmp 93b
    FAST_RECORD_SELDOM \form\()_\apic\()_\status\()_\way\()_usual, {head_usual}, \form
    FAST_RECORD_SELDOM \form\()_\apic\()_\status\()_\way\()_looked, {head_looked}, \form
    FAST_RECORD_SELDOM \form\()_\apic\()_\status\()_\way\()_program, {head_looked}, \form, program
    # The write has begun.
92:
    movq 96(%rsp), %rdx
    FAST_CALL {abandon}
    jmp 91f
    .else
    FAST_COUNT chains_\form\()_\apic\()_\status\()_\way\()_looked, {head_looked}, \form, looked
    jmp 93b
    # A program of the user's.
81:
    FAST_CALL {look}
    testq %rax, %rax
    js 91f
    FAST_COUNT chains_\form\()_\apic\()_\status\()_\way\()_program, {head_looked}, \form, program
    jmp 93b
    FAST_COUNT_SELDOM chains_\form\()_\apic\()_\status\()_\way\()_usual, {head_usual}
    FAST_COUNT_SELDOM chains_\form\()_\apic\()_\status\()_\way\()_looked, {head_looked}
    FAST_COUNT_SELDOM chains_\form\()_\apic\()_\status\()_\way\()_program, {head_looked}, program
    .endif
    FAST_ADVANCE_SELDOM_\form \keep\()_\form\()_\apic\()_\status\()_\way
    # The overflows are taken, and have no samples yet.
91:
    .ifc \form, one
    movq {position}(%rdi), %rax
    movq %rax, %rcx
    subq {event_last}(%rdi), %rcx
    movq %rcx, {ran}(%rdi)
    movq %rax, {event_last}(%rdi)
    movw $1, {unrecorded}(%rdi)
    .else
    movq {end}(%rdi), %rdx
94:
    incq {taken}(%rdi)
    FAST_CALL {leave_several}
    .endif
    movl {taken}(%rdi), %eax
    decl %eax
    btsq $63, %rax
    movq 88(%rsp), %rdx
    jmpq *\back(%rdi)
    # The counters are stopped.
89:
    movb ${counting}, {stage}(%rdi)
    movq 88(%rsp), %rdx
90:
    xorl %eax, %eax
    jmpq *\back(%rdi)
    .cfi_endproc
    .size pmiscope_\keep\()_\form\()_\apic\()_\status\()_\way, . - pmiscope_\keep\()_\form\()_\apic\()_\status\()_\way
    .endm

    .irp keep, fast, chains
    .irp form, one, several
    .irp apic, xapic, x2apic
    .irp status, alone, status
    FAST_COUNTER \keep, \form, \apic, \status, nmi, {nmi}, {entry_nmi}, {back_to_nmi}
    FAST_COUNTER \keep, \form, \apic, \status, irq, {irq}, {entry_irq}, {back_to_irq}
    .endr
    .endr
    .endr
    .endr
    .balign 8
pmiscope_fast_no_text:
    .quad {no_text}
    "#,
    calls = const FAST + offset::CALLS,
    look = const Call::Look as usize,
    is_root = const Call::IsRoot as usize,
    walk = const Call::Walk as usize,
    walk_key = const Call::WalkKey as usize,
    abandon = const Call::Abandon as usize,
    scratch = const FAST + offset_of!(FastState, scratch) + Scratch::RECORD,
    key = const FAST + offset_of!(FastState, scratch) + Scratch::RECORD + KEY_AT,
    at_key_task = const TASK_AT,
    key_at = const KEY_AT,
    factor = const FACTOR.cast_signed(),
    probes = const PROBES,
    table = const FAST + offset_of!(FastState, table),
    table_mask = const FAST + offset_of!(FastState, table_mask),
    finish = const Call::Finish as usize,
    text_start = const FAST + offset::TEXT_START,
    compiled_len = const FAST + offset::COMPILED_LEN,
    text_len = const FAST + offset_of!(FastState, text_len),
    root_offset = const FAST + offset_of!(FastState, root_offset),
    top = const FAST + offset_of!(FastState, top),
    span = const FAST + offset_of!(FastState, span),
    interrupts = const FAST + offset_of!(FastState, interrupts),
    driver = const DRIVER,
    begin = const DRIVER + driver::BEGIN,
    end = const DRIVER + driver::END,
    stride = const driver::STRIDE,
    further = const DRIVER + driver::FURTHER,
    further_shift = const further::SHIFT,
    list = const DRIVER + driver::LIST,
    random = const DRIVER + driver::RANDOM,
    counters = const DRIVER + driver::COUNTERS,
    target = const DRIVER + driver::TARGET,
    jitter = const DRIVER + driver::JITTER,
    spread = const DRIVER + driver::SPREAD,
    number = const DRIVER + driver::NUMBER,
    counter_high = const DRIVER + driver::COUNTER_HIGH,
    event_gate = const DRIVER + driver::EVENT_GATE_REGISTER,
    event_stopped = const DRIVER + driver::EVENT_STOPPED,
    event_started = const DRIVER + driver::EVENT_STARTED,
    end_of_interrupt_msr = const apic::msr_of(Register::EndOfInterrupt),
    performance_msr = const apic::msr_of_local(LocalInterrupt::Performance),
    task = const FAST + offset_of!(FastState, task),
    is_ruled = const FAST + offset_of!(FastState, is_ruled),
    head_usual = const FAST + offset_of!(FastState, heads),
    head_looked = const FAST + offset_of!(FastState, heads) + 4,
    writer = const FAST + offset_of!(FastState, writer),
    tsc_origin = const FAST + offset_of!(FastState, origin),
    count = const FAST + offset_of!(FastState, count),
    overhead = const FAST + offset_of!(FastState, overhead),
    last = const FAST + offset_of!(FastState, last),
    state = const offset_of!(Core, overflow),
    taken = const offset_of!(Core, share) + Share::TAKEN,
    armed_tsc = const offset_of!(Core, timing) + offset_of!(Timing, armed_tsc),
    entry_tsc = const offset_of!(Core, timing) + offset_of!(Timing, entry_tsc),
    own_ticks = const offset_of!(Core, timing) + offset_of!(Timing, own_ticks),
    waited = const offset_of!(Core, timing) + offset_of!(Timing, turn_wait_ticks),
    control = const ring::CONTROL,
    reserved = const ring::RESERVED,
    writing = const ring::WRITING,
    in_place_end = const ring::IN_PLACE_END,
    origin = const ring::ORIGIN,
    time = const ring::TIME,
    lowest_sp = const ring::LOWEST_SP,
    next = const ring::NEXT,
    fast_of_control = const ring::FAST_OF_CONTROL,
    in_place = const IN_PLACE,
    at_time = const at::TIME,
    at_task = const at::TASK,
    at_period = const at::PERIOD,
    at_sp = const at::SP,
    at_pc = const at::PC,
    at_chain = const Width::Bits24.chain(),
    no_text = const Width::Bits24.no_text(),
    rounds = const MAX_CHAIN / 4,
    depth_limit = const (DEPTH_LIMIT as u32) << 16,
    armed = const ARMED,
    hlt = const HLT,
    interrupt_flag = const INTERRUPT_FLAG,
    interrupts_on = const (State::INTERRUPTS_ON as u32) << 16,
    registers = sym apic::REGISTERS,
    current = const Register::TimerCurrentCount as u16,
    initial = const Register::TimerInitialCount as u16,
    end_of_interrupt = const Register::EndOfInterrupt as u16,
    back_to_nmi = const fast::BACK_TO_NMI,
    back_to_irq = const fast::BACK_TO_IRQ,
    ack_late = const Call::AckLate as usize,
    stop_again = const Call::StopAgain as usize,
    leave_several = const Call::LeaveSeveral as usize,
    stage = const DRIVER + driver::STAGE,
    running = const DRIVER + driver::RUNNING,
    gate = const DRIVER + driver::GATE_REGISTER,
    stopped = const DRIVER + driver::STOPPED,
    started = const DRIVER + driver::STARTED,
    status = const DRIVER + driver::STATUS,
    reset = const DRIVER + driver::RESET,
    ours = const DRIVER + driver::OURS,
    overflow = const DRIVER + driver::OVERFLOW,
    read = const DRIVER + driver::READ,
    write = const DRIVER + driver::WRITE,
    written_high = const DRIVER + driver::WRITTEN_HIGH,
    raw = const DRIVER + driver::RAW,
    position = const DRIVER + driver::POSITION,
    due = const DRIVER + driver::DUE,
    event_last = const DRIVER + driver::LAST,
    ran = const DRIVER + driver::RAN,
    event_period = const DRIVER + driver::PERIOD,
    event_overhead = const DRIVER + driver::OVERHEAD,
    latency = const DRIVER + driver::LATENCY,
    tolerance = const DRIVER + driver::TOLERANCE,
    least = const DRIVER + driver::LEAST,
    earliest = const DRIVER + driver::EARLIEST,
    latest = const DRIVER + driver::LATEST,
    unrecorded = const offset_of!(Core, pmu) + CorePmu::UNRECORDED,
    requests = const FAST + offset::REQUESTS,
    requested = const offset_of!(MailboxWords, requested),
    answered = const offset_of!(MailboxWords, answered),
    busy = const Stage::Busy as u8,
    counting = const Stage::Running as u8,
    settled = const Stage::Settled as u8,
    performance = const LocalInterrupt::Performance as u16,
    entry_nmi = const PerformanceEntry::NMI.bits(),
    entry_irq = const PerformanceEntry::new(apic::Delivery::Fixed(Vector::new(OVERFLOW))).bits(),
    nmi = const vector::NMI,
    irq = const OVERFLOW,
    options(att_syntax),
);
