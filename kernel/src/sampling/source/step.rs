//! The source `step`: the trap flag, which interrupts after every instruction.
//!
//! The processor clears the flag on the way into any interrupt (SDM vol. 3,
//! 7.12.1.3) and `iret` brings it back, so the handler of the trap is not stepped
//! and nothing has to be re-armed. Handlers of other interrupts are: the
//! dispatcher sets the flag anew if the interrupted code had it. What is not seen
//! is the way from such an interrupt to there; an NMI at every instruction
//! (`apic-timer` with a period of 1) sees that as well.
//!
//! It works on every machine, and is never chosen but by name.

use core::arch::asm;

use x86_64::registers::rflags::RFlags;

pub use crate::cpu::trap_flag::{clear_in as end, set as begin};

/// Traps after two instructions, one right behind the other.
pub fn twice() {
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
            tf = const RFlags::TRAP_FLAG.bits(),
        );
    };
}
