//! Tasks that take turns when they say so, each on a stack of the size that it asked for.

use core::arch::naked_asm;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicUsize, Ordering};

use crate::arena;

/// The number of tasks.
pub const TASKS: usize = 4;

/// Words that [`switch`] pops off the stack of a task, and what its first function returns
/// to: nothing.
const FRAME_WORDS: usize = 6 + 1 + 1;

/// Where each task's stack pointer was when another one was switched to.
struct Pointers([UnsafeCell<u64>; TASKS]);

// SAFETY: one core, and no interrupt handler looks.
unsafe impl Sync for Pointers {}

static POINTERS: Pointers = Pointers([const { UnsafeCell::new(0) }; TASKS]);
static CURRENT: AtomicUsize = AtomicUsize::new(0);

/// The number of the task that runs. Interrupt handlers may ask, too.
pub fn current() -> usize {
    CURRENT.load(Ordering::Relaxed)
}

/// Makes a task with this number, which does `run`, on a stack of so many bytes.
pub fn create(number: usize, run: extern "C" fn() -> !, stack_bytes: usize) {
    let bottom = arena::allocate(stack_bytes).wrapping_sub(FRAME_WORDS);
    // With no frame, and no return address below its first function.
    let mut words = [0; FRAME_WORDS];
    words[FRAME_WORDS - 2] = (run as *const ()).addr() as u64;
    // SAFETY: within what was allocated, and aligned.
    unsafe { bottom.cast::<[u64; FRAME_WORDS]>().write(words) };
    // SAFETY: that task does not run.
    unsafe { *POINTERS.0[number].get() = bottom.addr() as u64 };
}

/// Lets the next task run.
pub fn yield_now() {
    let from = current();
    switch_to(POINTERS.0[from].get(), (from + 1) % TASKS);
}

/// Lets the first task run. What was before is over.
pub fn run() -> ! {
    let mut over = 0;
    switch_to(&raw mut over, 0);
    unreachable!("nobody switches back");
}

fn switch_to(from: *mut u64, number: usize) {
    CURRENT.store(number, Ordering::Relaxed);
    // SAFETY: that task does not run.
    let to = unsafe { *POINTERS.0[number].get() };
    switch(from, to);
}

/// Goes on where the stack pointer `to` was saved; saves this one.
///
/// The frame pointer of one task is never there together with the stack pointer of another:
/// who walks the stack meanwhile would go on in the wrong one, in the same arena.
#[unsafe(naked)]
extern "C" fn switch(from: *mut u64, to: u64) {
    naked_asm!(
        ".cfi_startproc",
        "push rbp",
        ".cfi_adjust_cfa_offset 8",
        ".cfi_rel_offset rbp, 0",
        "mov rbp, rsp",
        ".cfi_def_cfa_register rbp",
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "mov [rdi], rsp",
        ".cfi_def_cfa rsp, 56",
        "xor ebp, ebp",
        "mov rsp, rsi",
        "pop r15",
        ".cfi_adjust_cfa_offset -8",
        "pop r14",
        ".cfi_adjust_cfa_offset -8",
        "pop r13",
        ".cfi_adjust_cfa_offset -8",
        "pop r12",
        ".cfi_adjust_cfa_offset -8",
        "pop rbx",
        ".cfi_adjust_cfa_offset -8",
        "pop rbp",
        ".cfi_adjust_cfa_offset -8",
        ".cfi_restore rbp",
        "ret",
        ".cfi_endproc",
    )
}
