//! From one stack to another.
//!
//! A task that does not run has on top of its stack what the code that called the
//! switch must find unchanged: six registers, and the return address. The walk over
//! stacks is told at each instruction where these are (`RULE`, see
//! [`profiler::unwind::assembly`]): between the one that changes the stack pointer and the
//! one that restores the frame pointer, that register is of the other stack.

use core::sync::atomic::{AtomicU64, Ordering};

use x86_64::VirtAddr;

use crate::cpu::CoreBlock;
use crate::memory::stacks::Stack;
use profiler::assembly;

/// What is to run at the top of a core's own stack, interrupts off.
pub(super) type OnCoreStack = extern "C" fn(&'static CoreBlock) -> !;

/// What a task runs first, at the root of its stack.
pub(super) type First = extern "C" fn() -> !;

unsafe extern "C" {
    /// Saves the running task, its stack pointer to `save`, and resumes the one
    /// whose stack pointer is `sp`.
    fn switch_task(save: *mut u64, sp: u64);
    /// Throws the running stack away and resumes the task whose stack pointer is
    /// `sp`.
    #[cfg(feature = "idle-stack-reset")]
    fn resume_task(sp: u64) -> !;
    /// Saves the running task, its stack pointer to `save`, and calls `main` at the
    /// stack pointer `top`.
    fn leave_task(save: *mut u64, core: u64, top: u64, main: OnCoreStack);
    /// In the root of every task's stack.
    static task_start: u8;
    static switch_restore: u8;
}

/// Words that [`switch_task`] leaves on a stack: r15, r14, r13, r12, rbx, rbp and
/// the return address.
const SAVED_WORDS: u64 = 7;

assembly!(
    r#"
    # The caller's registers, on a frame.
    .macro SAVE_TASK
    push rbp
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset rbp, 0
    mov rbp, rsp
    .cfi_def_cfa_register rbp
    push rbx
    .cfi_offset rbx, -24
    push r12
    .cfi_offset r12, -32
    push r13
    .cfi_offset r13, -40
    push r14
    .cfi_offset r14, -48
    push r15
    .cfi_offset r15, -56
    mov [rdi], rsp
    .endm

    .macro RESTORE register, left
    pop \register
    .cfi_adjust_cfa_offset -8
    .cfi_restore \register
    RULE SAVED, \left
    .endm

    .balign 16
    .global switch_task
    .type switch_task, @function
switch_task:
    .cfi_startproc
    RULE FRAME
    SAVE_TASK
    mov rsp, rsi
    # From here on another stack, which was left in the same way.
    .global switch_restore
switch_restore:
    .cfi_def_cfa rsp, 56
    RULE SAVED, 5
    RESTORE r15, 4
    RESTORE r14, 3
    RESTORE r13, 2
    RESTORE r12, 1
    RESTORE rbx, 0
    pop rbp
    .cfi_adjust_cfa_offset -8
    .cfi_restore rbp
    RULE FRAME
    ret
    .cfi_endproc
    .size switch_task, . - switch_task

    .balign 16
    .global resume_task
    .type resume_task, @function
resume_task:
    .cfi_startproc
    RULE FRAME
    mov rsp, rdi
    .cfi_def_cfa rsp, 56
    .cfi_offset rbp, -16
    .cfi_offset rbx, -24
    .cfi_offset r12, -32
    .cfi_offset r13, -40
    .cfi_offset r14, -48
    .cfi_offset r15, -56
    RULE SAVED, 5
    jmp switch_restore
    .cfi_endproc
    .size resume_task, . - resume_task

    # The task is saved. Then, interrupts off: first the frame pointer becomes null,
    # which says that there is no frame, then the stack pointer is reset. The other
    # way round there would be an instruction at which the frame pointer leads from
    # the new stack into the one that was thrown away.
    .balign 16
    .global leave_task
    .type leave_task, @function
leave_task:
    .cfi_startproc
    RULE FRAME
    SAVE_TASK
    mov rdi, rsi
    cli
    xor ebp, ebp
    .cfi_undefined rip
    RULE ROOT
    mov rsp, rdx
    call rcx
    ud2
    .cfi_endproc
    .size leave_task, . - leave_task

    .balign 16
    .global task_root
    .global task_start
    .type task_root, @function
task_root:
    .cfi_startproc
    .cfi_undefined rip
    RULE ROOT
    # Nobody calls this; the first switch to a task returns here, behind a byte that
    # is looked up as the call would be. `prepare` has left in rbx what to call.
    nop
task_start:
    call rbx
    ud2
    .cfi_endproc
    .size task_root, . - task_root
    "#,
);

/// Where a task that does not run goes on, with its stack pointer.
pub(super) fn resumed_at() -> u64 {
    (&raw const switch_restore).addr() as u64
}

/// Lays out a new task's stack so that resuming it starts at its root, with a zero
/// frame pointer, and calls `first`. Returns its stack pointer.
pub(super) fn prepare(stack: &Stack, first: First) -> VirtAddr {
    let sp = stack.entry() - SAVED_WORDS * 8;
    let words: *mut u64 = sp.as_mut_ptr();
    let root = (&raw const task_start).addr() as u64;
    let first = VirtAddr::from_ptr(first as *const ()).as_u64();
    for (at, word) in [0, 0, 0, 0, first, 0, root].into_iter().enumerate() {
        let word_on_stack = words.wrapping_add(at);
        // SAFETY: within the stack, which is mapped, aligned, and no task's yet.
        unsafe { word_on_stack.write(word) };
    }
    sp
}

/// Saves the running task in `from` and resumes the one that was saved in `to`.
/// Returns when somebody resumes it. Interrupts are off.
pub(super) fn to_task(from: &AtomicU64, to: &AtomicU64) {
    let sp = to.load(Ordering::Acquire);
    // SAFETY:
    // 1. `sp` is the stack pointer of a task that was saved by this assembly, or was
    //    prepared like one, and that no other core resumes: it was taken out of a
    //    queue, into which it came only when its stack was at rest; or it is that of
    //    this core's own idle loop, which only this core saves and resumes.
    // 2. What is written to `from` is this core's alone until `finish_switch`.
    unsafe { switch_task(from.as_ptr(), sp) };
}

/// Leaves the core's own stack for good and resumes a task. Interrupts are off.
#[cfg(feature = "idle-stack-reset")]
pub(super) fn resume(to: &AtomicU64) -> ! {
    let sp = to.load(Ordering::Acquire);
    // SAFETY: 1 of `to_task`. Nothing on the core's own stack is needed any more.
    unsafe { resume_task(sp) }
}

/// Saves the running task in `from`, and runs `main` at the top of the core's own
/// stack. Returns when somebody resumes the task. Interrupts are off.
pub(super) fn to_core_stack(core: &'static CoreBlock, from: &AtomicU64, main: OnCoreStack) {
    let top = core.entry_stack.as_u64();
    // SAFETY: a task is running, as `switch_away` has seen, so the core is on that task's
    // stack; and what is on the core's own was given up when the first task was
    // resumed, by `resume`. 2 of `to_task`.
    unsafe { leave_task(from.as_ptr(), core.this.as_u64(), top, main) };
}
