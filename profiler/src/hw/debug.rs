//! The debug registers: one breakpoint, of DR0, at the execution of an instruction
//! (SDM vol. 3, 19.2).

use core::arch::asm;

use crate::address::CodeAddress;

/// DR7: the breakpoint of DR0 is on, at the execution of an instruction. Bit 10 is
/// always set.
const BREAK_ON_DR0: u64 = 1 << 10 | 0b10;
/// DR7 without a breakpoint.
const NO_BREAKPOINT: u64 = 1 << 10;
/// DR6 as it is after a reset: no breakpoint was hit.
const NO_HIT: u64 = 0xffff_0ff0;

/// Stops the running core before the instruction at `address`, from now on.
pub fn set_breakpoint(address: CodeAddress) {
    // SAFETY: the debug exception has a handler, as whoever sets a breakpoint knows.
    unsafe { asm!("mov dr0, {}", in(reg) address.0, options(nomem, nostack, preserves_flags)) };
    set_dr7(BREAK_ON_DR0);
}

/// Takes that back.
pub fn clear_breakpoint() {
    set_dr7(NO_BREAKPOINT);
}

fn set_dr7(value: u64) {
    // SAFETY: one of the two values above, for an address in DR0.
    unsafe { asm!("mov dr7, {}", in(reg) value, options(nomem, nostack, preserves_flags)) };
}

/// Returns true if the debug exception that is being handled is the breakpoint's, and
/// clears that status: the processor sets bits of DR6 and never clears one.
#[must_use]
pub(crate) fn take_breakpoint_hit() -> bool {
    let status: u64;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, dr6", out(reg) status, options(nomem, nostack, preserves_flags)) };
    let is_hit = status & 1 != 0;
    if is_hit {
        // SAFETY: says that no breakpoint was hit (SDM vol. 3, 19.2.3).
        unsafe { asm!("mov dr6, {}", in(reg) NO_HIT, options(nomem, nostack, preserves_flags)) };
    }
    is_hit
}
