//! The source `step`: the trap flag, which interrupts after every instruction.
//!
//! The processor clears the flag on the way into any interrupt (SDM vol. 3,
//! 7.12.1.3) and `iret` brings it back, so the handler of the trap is not stepped
//! and nothing has to be re-armed. Handlers of other interrupts are, if their
//! dispatcher sets the flag anew where the interrupted code had it
//! ([`control::set_trap_flag`](crate::hw::control::set_trap_flag)). What is not seen is the way from such an interrupt to there; an NMI at every instruction
//! (`apic-timer` with a period of 1) sees that as well.
//!
//! It works on every machine, and is never chosen but by name.

use core::arch::asm;

use crate::hw::control::TRAP_FLAG;

/// Traps after two instructions, one right behind the other.
pub(crate) fn trap_twice() {
    // SAFETY: as of `set_trap_flag`. The flags are those from before, with the trap flag for
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
