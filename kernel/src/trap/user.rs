//! Entries from user mode, and the way back.
//!
//! A kernel without processes never loads these gates: its entries are those of
//! [`super::stub`], which cost what they always did. With processes each vector has a second stub
//! here, which looks at the code segment: what comes from the kernel goes on in `trap_common` as
//! ever. What comes from user mode gets the kernel's GS base (`swapgs`) and flags of which the
//! user's are none (AC stays set over an interrupt), and leaves the same way.
//!
//! The frame of user code always lies at the top of its thread's kernel stack, right below the
//! word that [`enter`] has pushed, which says whose it is ([`thread_word`]). So where the next
//! entry begins is known without looking it up: where this frame ends.
//!
//! | instruction                         | GS base | stack pointer |
//! |-------------------------------------|---------|---------------|
//! | `syscall_entry` up to its `swapgs`  | user's  | user's        |
//! | from there to the switch of stacks  | kernel's | user's       |
//! | a user stub, up to its `swapgs`     | user's  | kernel's      |
//! | `user_leave`: `swapgs`, `iretq`     | user's at the second | kernel's |
//! | `user_leave_fast`: from the switch of stacks to `sysretq` | user's from the second | user's |
//!
//! Interrupts are off at all of these. NMI, #DB and #MC come there all the same; they have stacks
//! of their own, look at the base itself ([`crate::cpu::msr::gs::own`]), and where the stack
//! pointer is the user's with the kernel's code segment, [`nmi::set_user_stack_code`] tells the
//! entry of NMIs so.
//!
//! Where programs are isolated ([`super::isolation`]) there are the same ways a second time, in pages
//! that a program's page tables have too: behind the last register that is saved they load the
//! kernel's page tables, and before the first one that comes back the program's. So the page of the
//! frame is in both; the frame is at its start, so that compiled code runs below it.
//!
//! `sysretq` with an address that is none raises #GP on some processors with the user's stack in
//! the kernel, as `iretq` does. No such address gets there: who returns to user mode makes sure
//! ([`Users::leave`]).

use core::ops::Range;

use kernel_core::process::PAGE;
use profiler::address::{CodeAddress, CodeRange};
use profiler::assembly;
use profiler::entry::{TrapFrame, nmi};
use profiler::hw::control;
use profiler::unwind::SYSCALL;
use spin::Once;
use x86_64::VirtAddr;
use x86_64::registers::rflags::{self, RFlags};

use super::dispatch::{self, end_of_trap_call};
use super::{GATES, counts, isolation, vector, walk};
use crate::cpu::accounts::{self, Account};
use crate::cpu::descriptors::Selector;
use crate::cpu::{self, idt};
use crate::memory::space::isolation::USER_ROOT;

/// The vector by which user mode calls the kernel; what `syscall` leads to has it in its frame too.
pub const CALL_VECTOR: u8 = 0x80;

/// The first vector that is no exception's.
const EXCEPTIONS_END: u8 = 32;

/// What processes do with what comes from user mode. Interrupts are off, the GS base and the
/// stack are the kernel's.
#[derive(Clone, Copy)]
pub struct Users {
    /// A system call.
    pub call: fn(&mut TrapFrame),
    /// An exception in user mode.
    pub exception: fn(&mut TrapFrame),
    /// The last step before user code goes on as the frame says: it returns only if that can be,
    /// with the address of an instruction in the lower half, behind which there are others.
    pub leave: fn(&mut TrapFrame),
}

static USERS: Once<Users> = Once::new();

/// Returns true if the frame is of user code.
#[must_use]
#[inline]
pub const fn is_users(frame: &TrapFrame) -> bool {
    frame.cs & 3 != 0
}

/// What [`enter`] was given, by a frame of user code: the word above it.
#[must_use]
pub fn thread_word(frame: &TrapFrame) -> u64 {
    assert!(is_users(frame), "a frame of the kernel's has no thread");
    // SAFETY: frames of user code lie right below that word, on a task's stack.
    unsafe { end_of(frame).as_ptr::<u64>().read() }
}

fn end_of(frame: &TrapFrame) -> VirtAddr {
    VirtAddr::from_ptr(frame) + size_of::<TrapFrame>() as u64
}

/// Says what becomes of traps from user mode.
pub fn set_users(users: Users) {
    USERS.call_once(|| users);
}

/// Lets the running core run code in user mode, behind [`set_users`]: other gates, and all that
/// the processor asks for.
pub fn enable() {
    let is_isolated = isolation::is_on();
    let [start, end, entry] = if is_isolated {
        [
            &raw const isolated_user_leave_on_stack,
            &raw const isolated_syscall_on_stack,
            &raw const isolated_syscall_entry,
        ]
    } else {
        [
            &raw const user_leave_on_stack,
            &raw const syscall_on_stack,
            &raw const syscall_entry,
        ]
    };
    let at = |label: *const u8| CodeAddress(label.addr() as u64);
    nmi::set_user_stack_code(CodeRange {
        start: at(start),
        end: at(end),
    });
    if is_isolated {
        cpu::control::forget_global_pages();
    }
    cpu::user::enable(VirtAddr::from_ptr(entry));
    let gate = if is_isolated { isolation::gate } else { gate };
    TABLE.load(gate, &[CALL_VECTOR, vector::BREAKPOINT]);
}

static TABLE: idt::SharedTable = idt::SharedTable::new();

/// The page that the gates are in, which the processor reads in user mode.
#[must_use]
pub fn gates() -> Range<VirtAddr> {
    let gates = TABLE.start();
    gates..gates + idt::TABLE_BYTES
}

fn gate(vector: u8) -> VirtAddr {
    let own = GATES[usize::from(vector)].get().copied();
    own.unwrap_or_else(|| {
        walk::user_stubs_start() + u64::from(vector) * kernel_core::stub::STUB_BYTES
    })
}

/// A frame of user code that begins at `pc` with this stack pointer and argument.
#[must_use]
pub fn first_frame(pc: u64, sp: u64, argument: u64) -> TrapFrame {
    TrapFrame {
        rip: pc,
        rsp: sp,
        rdi: argument,
        cs: Selector::USER_CODE.into(),
        ss: Selector::USER_DATA.into(),
        // Where the kernel is stepped, the program is.
        rflags: cpu::user::INITIAL_FLAGS | rflags::read_raw() & control::TRAP_FLAG,
        vector: CALL_VECTOR.into(),
        ..zeros()
    }
}

const fn zeros() -> TrapFrame {
    TrapFrame {
        rbp: 0,
        rax: 0,
        rbx: 0,
        rcx: 0,
        rdx: 0,
        rsi: 0,
        rdi: 0,
        r8: 0,
        r9: 0,
        r10: 0,
        r11: 0,
        r12: 0,
        r13: 0,
        r14: 0,
        r15: 0,
        vector: 0,
        error_code: 0,
        rip: 0,
        cs: 0,
        rflags: 0,
        rsp: 0,
        ss: 0,
    }
}

/// Runs user code from `frame` on, which is one of user code, until somebody calls [`leave`] with a
/// later frame of it. The running task's stack is the thread's for the kernel. `word` is what
/// [`thread_word`] finds. Interrupts are off, before and after.
pub fn enter(frame: &TrapFrame, word: u64) {
    assert!(is_users(frame), "user code has its segments");
    let enter = if isolation::is_on() {
        isolated_user_begin
    } else {
        user_enter
    };
    // SAFETY: it keeps all registers that a call keeps, and returns by `leave`.
    unsafe { enter(frame, word) };
}

/// Ends user code whose frame this is: [`enter`] returns. What is on the stack below the frame is
/// thrown away, so nothing there may be waiting to be dropped.
pub fn leave(frame: &TrapFrame) -> ! {
    assert!(is_users(frame), "a frame of the kernel's has no thread");
    // SAFETY: above the word are the registers that `user_enter` has pushed.
    unsafe { user_exit(end_of(frame).as_u64() + 8) }
}

/// The vector, that of calls for `syscall` too.
fn vector_of(frame: &TrapFrame) -> u8 {
    u8::try_from(frame.vector).unwrap_or(CALL_VECTOR)
}

/// What the stubs call.
#[unsafe(link_section = ".pmiscope.calls")]
extern "C" fn on_user_trap(frame: &mut TrapFrame) {
    let vector = vector_of(frame);
    // As in `dispatch`. One that the program has set for itself ends with the first step.
    if frame.rflags & control::TRAP_FLAG != 0 {
        control::set_trap_flag();
    }
    counts::count(vector);
    // A call is the task's own time.
    let task = accounts::current().in_kernel();
    let is_call = vector == CALL_VECTOR;
    accounts::change(if is_call {
        task
    } else {
        Account::of_vector(vector)
    });
    match USERS.get() {
        Some(users) if is_call => (users.call)(frame),
        Some(users) if vector < EXCEPTIONS_END => (users.exception)(frame),
        _ => dispatch::handle(vector, frame),
    }
    accounts::change(task);
    end_of_trap_call();
}

/// What comes last before user code goes on. Returns true if `sysretq` can do it: all that it
/// loads is where it loads it from.
#[unsafe(link_section = ".pmiscope.calls")]
extern "C" fn on_user_return(frame: &mut TrapFrame) -> bool {
    /// What `sysretq` does not restore, or does at another time than `iretq`.
    const NOT_BY_SYSRET: u64 = RFlags::RESUME_FLAG.union(RFlags::TRAP_FLAG).bits();
    if let Some(users) = USERS.get() {
        (users.leave)(frame);
    }
    cpu::current().descriptors.set_user_entry_sp(end_of(frame));
    let is_fast = frame.vector == u64::from(SYSCALL)
        && frame.rcx == frame.rip
        && frame.r11 == frame.rflags
        && frame.rflags & NOT_BY_SYSRET == 0;
    accounts::change(accounts::current().in_user_mode());
    end_of_trap_call();
    is_fast
}

unsafe extern "C" {
    fn user_enter(frame: *const TrapFrame, word: u64);
    fn isolated_user_begin(frame: *const TrapFrame, word: u64);
    fn user_exit(saved: u64) -> !;
    static syscall_entry: u8;
    static syscall_on_stack: u8;
    static user_leave_on_stack: u8;
    static isolated_syscall_entry: u8;
    static isolated_syscall_on_stack: u8;
    static isolated_user_leave_on_stack: u8;
}

assembly!(
    r#"
    # The way back, as far as only isolated programs have it: with a frame on the stack.
    .macro TO_USERS_ROOT isolated
    .if \isolated
    movq %cr3, %rax
    orq ${user_root}, %rax
    movq %rax, %cr3
    .endif
    .endm

    .macro WAYS_OF_USERS own, isolated
    .balign 16
    .global \own\()user_stubs
    .type \own\()user_stubs, @function
\own\()user_stubs:
    .set vector, 0
    .rept 256
    .balign 16
    # As in `trap_stubs`, and as long.
    .if (vector == 8) || ((vector >= 10) && (vector <= 14)) || (vector == 17) || (vector == 21) || (vector == 29) || (vector == 30)
    TRAP_CFI 48
    .else
    TRAP_CFI 40
    pushq $0
    .cfi_adjust_cfa_offset 8
    .endif
    pushq $vector
    .cfi_adjust_cfa_offset 8
    jmp \own\()user_trap_common
    .cfi_endproc
    .set vector, vector + 1
    .endr
    .size \own\()user_stubs, . - \own\()user_stubs

    .balign 16
    .global \own\()user_trap_common
    .type \own\()user_trap_common, @function
\own\()user_trap_common:
    TRAP_CFI 56
    .set depth, 2
    RULE INTERRUPTED, depth
    # The interrupted code's segment.
    testb $3, 24(%rsp)
    jz trap_common
    swapgs
\own\()user_push_all:
    TRAP_PUSH_ALL
    .if \isolated
    movq %cr3, %rax
    andq $-1-{user_root}, %rax
    movq %rax, %cr3
    .endif
    # None of the user's flags stays: AC is the one that an interrupt leaves.
    pushq $2
    .cfi_adjust_cfa_offset 8
    RULE INTERRUPTED, 18
    popfq
    .cfi_adjust_cfa_offset -8
    RULE INTERRUPTED, 17
    movq %rsp, %rdi
    movq %rsp, %rbp
    RULE TRAP_FRAME
    call {trap}
    .global \own\()user_leave
\own\()user_leave:
    movq %rsp, %rdi
    call {leave}
    testb %al, %al
    jnz \own\()user_leave_fast
    .cfi_remember_state
    TO_USERS_ROOT \isolated
    .set depth, 17
    TRAP_POP_ALL
    RULE INTERRUPTED, 0
    swapgs
    iretq

    RULE TRAP_FRAME
    .cfi_restore_state
    # LLVM's assembler adjusts from what it was before the line above.
    .cfi_def_cfa_offset {frame_bytes}
\own\()user_leave_fast:
    TO_USERS_ROOT \isolated
    .set depth, 17
    TRAP_POP_ALL
    RULE INTERRUPTED, 0, BY_SYSCALL
    # As `syscall` has them: rcx is the instruction's address, r11 the flags.
    movq 24(%rsp), %rsp
    .cfi_def_cfa %rsp, 0
    .cfi_register %rip, %rcx
    .cfi_same_value %rsp
    .global \own\()user_leave_on_stack
\own\()user_leave_on_stack:
    RULE SYSCALL
    swapgs
    sysretq
    .cfi_endproc
    .size \own\()user_trap_common, . - \own\()user_trap_common

    # On the user's stack, whose pointer may be anything; the address is in rcx, flags in r11. Right
    # behind the way out, so that one range of addresses is all code that has the user's stack.
    .global \own\()syscall_entry
    .type \own\()syscall_entry, @function
\own\()syscall_entry:
    .cfi_startproc simple
    .cfi_signal_frame
    .cfi_def_cfa %rsp, 0
    .cfi_register %rip, %rcx
    RULE SYSCALL
    swapgs
    movq %rsp, %gs:{user_sp}
    movq %gs:{entry_sp}, %rsp
    .global \own\()syscall_on_stack
\own\()syscall_on_stack:
    RULE SYSCALL_SAVED
    pushq ${user_data}
    pushq %gs:{user_sp}
    RULE SYSCALL_PUSHED, 0
    pushq %r11
    RULE SYSCALL_PUSHED, 1
    pushq ${user_code}
    RULE SYSCALL_PUSHED, 2
    pushq %rcx
    .cfi_endproc
    TRAP_CFI 40
    RULE INTERRUPTED, 0, BY_SYSCALL
    pushq $0
    .cfi_adjust_cfa_offset 8
    RULE INTERRUPTED, 1, BY_SYSCALL
    pushq $BY_SYSCALL
    .cfi_adjust_cfa_offset 8
    RULE INTERRUPTED, 2
    jmp \own\()user_push_all
    .cfi_endproc
    .size \own\()syscall_entry, . - \own\()syscall_entry

    # Of a frame in rdi, over the word in rsi.
    .balign 16
    .global \own\()user_enter
    .type \own\()user_enter, @function
\own\()user_enter:
    .cfi_startproc
    RULE FRAME
    pushq %rbp
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %rbp, 0
    movq %rsp, %rbp
    .cfi_def_cfa_register %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    pushq %rsi
    subq ${frame_bytes}, %rsp
    movq %rdi, %rsi
    movq %rsp, %rdi
    movl ${frame_bytes} / 8, %ecx
    rep movsq
    movq %rsp, %rbp
    .cfi_endproc
    # From here on it is as if user code had been interrupted.
    TRAP_CFI {frame_bytes}
    RULE TRAP_FRAME
    jmp \own\()user_leave
    .cfi_endproc
    .size \own\()user_enter, . - \own\()user_enter
    .endm

    WAYS_OF_USERS , 0

    .pushsection .pmiscope.assembly.border, "ax", @progbits
    .set RULES_OF_BORDER, 1
    WAYS_OF_USERS isolated_, 1
    .set RULES_OF_BORDER, 0
    .popsection

    # `user_enter` with the frame at the start of the stack's top page, which the program's page tables
    # have too: what is pushed below it is on another one.
    .balign 16
    .global isolated_user_begin
    .type isolated_user_begin, @function
isolated_user_begin:
    .cfi_startproc
    RULE FRAME
    pushq %rbp
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %rbp, 0
    movq %rsp, %rbp
    .cfi_def_cfa_register %rbp
    andq $-{page}, %rsp
    # Above it the word, six registers, and the address that the call pushes.
    addq ${frame_bytes} + 64, %rsp
    call isolated_user_enter
    leave
    .cfi_def_cfa %rsp, 8
    .cfi_restore %rbp
    ret
    .cfi_endproc
    .size isolated_user_begin, . - isolated_user_begin

    # Back out of `user_enter`: rdi is where that has pushed the last register.
    .balign 16
    .global user_exit
    .type user_exit, @function
user_exit:
    .cfi_startproc
    RULE FRAME
    movq %rdi, %rsp
    .cfi_def_cfa %rsp, 56
    .cfi_offset %rbp, -16
    .cfi_offset %rbx, -24
    .cfi_offset %r12, -32
    .cfi_offset %r13, -40
    .cfi_offset %r14, -48
    .cfi_offset %r15, -56
    RULE SAVED, 5
    popq %r15
    .cfi_adjust_cfa_offset -8
    .cfi_restore %r15
    RULE SAVED, 4
    popq %r14
    .cfi_adjust_cfa_offset -8
    .cfi_restore %r14
    RULE SAVED, 3
    popq %r13
    .cfi_adjust_cfa_offset -8
    .cfi_restore %r13
    RULE SAVED, 2
    popq %r12
    .cfi_adjust_cfa_offset -8
    .cfi_restore %r12
    RULE SAVED, 1
    popq %rbx
    .cfi_adjust_cfa_offset -8
    .cfi_restore %rbx
    RULE SAVED, 0
    popq %rbp
    .cfi_adjust_cfa_offset -8
    .cfi_restore %rbp
    RULE FRAME
    ret
    .cfi_endproc
    .size user_exit, . - user_exit
    "#,
    trap = sym on_user_trap,
    leave = sym on_user_return,
    user_sp = const cpu::user::USER_SP,
    entry_sp = const cpu::user::ENTRY_SP,
    user_data = const Selector::USER_DATA,
    user_code = const Selector::USER_CODE,
    frame_bytes = const size_of::<TrapFrame>(),
    page = const PAGE,
    user_root = const USER_ROOT,
    options(att_syntax),
);
