//! Who handles a trap.

use profiler::hw::control;
use spin::Once;

use super::{counts, report, vector};
use crate::cpu::CoreBlock;
use crate::cpu::accounts::{self, Account};
use profiler::entry::TrapFrame;

/// What handles a trap. It runs with interrupts off.
pub type Handler = fn(&mut TrapFrame);

static HANDLERS: [Once<Handler>; 256] = [const { Once::new() }; 256];

/// Lets `handler` handle the traps of `vector`, on all cores, from now on.
///
/// # Panics
///
/// If the vector has a handler already.
pub fn register(vector: u8, handler: Handler) {
    let slot = &HANDLERS[usize::from(vector)];
    let mut is_new = false;
    slot.call_once(|| {
        is_new = true;
        handler
    });
    assert!(is_new, "vector {vector:#x} has a handler already");
}

unsafe extern "C" {
    /// What the NMI's entry calls, on the NMI handler's stack of `core`, the running
    /// core. `entry_tsc` is the time stamp counter at the entry.
    ///
    /// Whoever uses the kernel defines it, once, in the section `.pmiscope.calls` and
    /// with [`end_of_trap_call`] at its end.
    #[expect(improper_ctypes, reason = "both sides are Rust, of one compilation")]
    pub(super) fn kernel_nmi(frame: &mut TrapFrame, core: &'static CoreBlock, entry_tsc: u64);
}

/// What the entry stubs call.
#[unsafe(link_section = ".pmiscope.calls")]
pub(super) extern "C" fn dispatch(frame: &mut TrapFrame) {
    let vector = frame.vector.to_le_bytes()[0];
    // The processor has taken the trap flag away. The handler of the trap itself
    // must go without.
    if frame.rflags & control::TRAP_FLAG != 0 && vector != vector::DEBUG {
        control::set_trap_flag();
    }
    counts::count(vector);
    let before = accounts::change(Account::of_vector(vector));
    handle(vector, frame);
    accounts::change(before);
    end_of_trap_call();
}

/// Calls the handler of `vector`.
#[inline(always)]
pub(super) fn handle(vector: u8, frame: &mut TrapFrame) {
    match HANDLERS[usize::from(vector)].get() {
        Some(handler) => handler(frame),
        None => report::unhandled(vector, frame),
    }
}

/// Comes last in what an entry stub calls, so that the compiler does not jump to
/// the function called before: the walk knows the stubs' own by their addresses.
#[inline(always)]
pub fn end_of_trap_call() {
    // SAFETY: does nothing.
    unsafe { core::arch::asm!("", options(nomem, nostack, preserves_flags)) };
}
