//! The bug that this profiler was begun for, as a small kernel of its own: an idle routine that
//! sets the stack pointer before the frame pointer, with interrupts on, and a profiler whose
//! entry stays on the stack that it has interrupted and whose walk believes what a frame pointer
//! says. `docs/founding-bug.md` reads what the kernel says then.

use core::mem::offset_of;
use core::sync::atomic::{AtomicU64, Ordering};

use profiler::assembly;
use x86_64::instructions::interrupts;

use crate::boot::entry;
use crate::cpu::apic::{self, Destination, Message};
use crate::cpu::{self, CoreBlock};
use crate::trap::{self, TrapFrame};

#[expect(improper_ctypes, reason = "assembly only passes the pointer on")]
unsafe extern "C" {
    safe fn founding_loop(core: &'static CoreBlock) -> !;
}

assembly!(
    r#"
    # The idle loop, at the top of the core's stack.
    .global founding_loop
    .type founding_loop, @function
founding_loop:
    .cfi_startproc
    RULE FRAME
    push rbp
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset rbp, 0
    mov rbp, rsp
    .cfi_def_cfa_register rbp
    mov rbx, rdi
    call {work}
    mov rdi, rbx
    call founding_idle
    ud2
    .cfi_endproc
    .size founding_loop, . - founding_loop

    # Throws the stack away and starts the loop again. Wrong twice: interrupts are on, and what
    # is to be first comes second. One that waits for `sti` is taken behind the instruction that
    # follows it.
    .global founding_idle
    .type founding_idle, @function
founding_idle:
    .cfi_startproc
    RULE FRAME
    push rbp
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset rbp, 0
    mov rbp, rsp
    .cfi_def_cfa_register rbp
    sti
    mov rsp, [rdi + {entry_stack}]
    .cfi_undefined rip
    RULE ROOT
    xor ebp, ebp
    cli
    call founding_loop
    ud2
    .cfi_endproc
    .size founding_idle, . - founding_idle
    "#,
    work = sym work,
    entry_stack = const offset_of!(CoreBlock, entry_stack),
);

/// The vector of what this profiler samples by.
const VECTOR: u8 = 0xf8;

/// Samples, and the callers that their walks have found.
static SAMPLES: AtomicU64 = AtomicU64::new(0);
static CALLERS: AtomicU64 = AtomicU64::new(0);

/// Idles, and is sampled where that goes wrong.
pub(super) fn founding_bug() {
    trap::register(VECTOR, |frame| {
        apic::registers().end_of_interrupt();
        on_sample(frame);
    });
    entry::restart_stack(cpu::current(), founding_loop)
}

/// Is sampled where it can be, and then once more as soon as interrupts are on again.
extern "C" fn work() {
    let this = Destination::Core(cpu::current().apic_id);
    let sample = || {
        // SAFETY: the vector has a handler.
        unsafe { apic::registers().send(Message::Fixed(VECTOR), this) };
    };
    interrupts::enable();
    sample();
    while SAMPLES.load(Ordering::Relaxed) == 0 {
        core::hint::spin_loop();
    }
    interrupts::disable();
    let callers = CALLERS.load(Ordering::Relaxed);
    log::info!("self-test: the first sample has {callers} callers; now the core idles");
    sample();
}

#[inline(never)]
fn on_sample(frame: &TrapFrame) {
    let callers = count_callers(frame.rbp);
    CALLERS.fetch_add(callers, Ordering::Relaxed);
    SAMPLES.fetch_add(1, Ordering::Relaxed);
}

/// Follows frame pointers to where one is 0.
#[inline(never)]
fn count_callers(mut frame: u64) -> u64 {
    let mut callers = 0;
    while frame != 0 {
        callers += 1;
        // SAFETY: not safe at all: nothing says that it is on a stack, which is the test.
        frame = unsafe { (frame as *const u64).read_volatile() };
    }
    callers
}
