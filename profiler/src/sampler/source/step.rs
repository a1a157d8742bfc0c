//! The source `step`: the trap flag, which interrupts after every instruction.
//!
//! The processor clears the flag on the way into any interrupt (SDM vol. 3,
//! 7.12.1.3) and `iret` brings it back, so the handler of the trap is not stepped
//! and nothing has to be re-armed. Handlers of other interrupts are, if their
//! dispatcher sets the flag anew where the interrupted code had it
//! ([`continue_in_handler`]). What is not seen
//! is the way from such an interrupt to there; an NMI at every instruction
//! (`apic-timer` with a period of 1) sees that as well.
//!
//! It works on every machine, and is never chosen but by name.

use core::arch::asm;

use crate::hw::control::TRAP_FLAG;

/// Sets the running core's trap flag. The first trap comes after the instruction
/// behind the one that sets it.
#[inline(always)]
pub(crate) fn begin() {
    // SAFETY: the trap has a handler as soon as the source was probed, on a stack of
    // its own. The red zone is not used in kernels.
    unsafe {
        asm!("pushfq", "or qword ptr [rsp], {tf}", "popfq", tf = const TRAP_FLAG);
    };
}

/// For a kernel's dispatcher of interrupts, any but the debug exception's: steps the
/// handler too, if the interrupted code, which had these flags, is stepped.
#[inline(always)]
pub fn continue_in_handler(interrupted_flags: u64) {
    if interrupted_flags & TRAP_FLAG != 0 {
        begin();
    }
}

/// Traps after two instructions, one right behind the other.
pub(crate) fn trap_twice() {
    // SAFETY: as in `begin`. The flags are those from before, with the trap flag for
    // two instructions: `nop`, and the `popfq` that takes it away, after which there
    // is a trap still.
    unsafe {
        asm!(
            "pushfq",
            "pushfq",
            "or qword ptr [rsp], {tf}",
            "popfq",
            "nop",
            "popfq",
            tf = const TRAP_FLAG,
        );
    };
}
