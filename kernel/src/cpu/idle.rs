//! Halting until something happens, in a way that a sample can tell.

use core::sync::atomic::{AtomicBool, Ordering};

use x86_64::instructions::interrupts;

use super::accounts::{self, Account};
use super::tick;
use profiler::assembly;

unsafe extern "C" {
    /// Turns interrupts on and halts until one was taken.
    safe fn halt_until_interrupt();
    static halted: u8;
}

assembly!(
    r#"
    # No maskable interrupt is recognized between `sti` and `hlt` (SDM vol. 2, STI): one
    # that is pending ends the halt at once. An NMI may come there, and one that comes
    # meanwhile is then taken before `hlt`: the NMI's handler returns behind it
    # (`Sampler::on_nmi`).
    .global halt_until_interrupt
    .type halt_until_interrupt, @function
halt_until_interrupt:
    .cfi_startproc
    RULE FRAME
    # A frame, or a sample of the halt would not tell who waits.
    push rbp
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset rbp, 0
    mov rbp, rsp
    .cfi_def_cfa_register rbp
    sti
    hlt
    .global halted
halted:
    pop rbp
    .cfi_def_cfa rsp, 8
    .cfi_restore rbp
    ret
    .cfi_endproc
    .size halt_until_interrupt, . - halt_until_interrupt
    "#,
);

/// Waiting looks again at once, and does not halt.
static POLLS: AtomicBool = AtomicBool::new(false);

/// From now on [`wait`] does not halt: for a source of samples that does not end a
/// halt, as the trap flag's (an emulator has no trap behind `hlt`). No sample is then
/// of a halt.
pub fn poll_from_now_on() {
    POLLS.store(true, Ordering::Relaxed);
}

/// Turns interrupts on and halts until one was taken, an NMI included. It may as
/// well come back without: the caller looks again at what it waits for.
///
/// Interrupts are off when it is called, so that what the caller looked for
/// cannot come unseen before the halt.
#[inline]
pub fn wait() {
    if POLLS.load(Ordering::Relaxed) || tick::is_lost_in_halts() {
        interrupts::enable();
        core::hint::spin_loop();
    } else {
        tick::arm();
        let before = accounts::change(Account::IDLE);
        halt_until_interrupt();
        accounts::change(before);
    }
}

/// Returns true if a core that is about to execute `pc` was halted: a halt is over when
/// an interrupt is taken, and returns behind itself.
#[must_use]
#[inline]
pub fn is_halted_at(pc: u64) -> bool {
    (&raw const halted).addr() as u64 == pc
}
