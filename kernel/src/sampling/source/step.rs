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

use crate::trap::TrapFrame;

/// Sets the running core's trap flag. The first trap comes after the instruction
/// behind the one that sets it.
#[inline(always)]
pub fn begin() {
    // SAFETY: the trap has a handler as soon as the source was probed, on a stack of
    // its own. The red zone is not used in kernels.
    unsafe {
        asm!("pushfq", "or qword ptr [rsp], {tf}", "popfq", tf = const RFlags::TRAP_FLAG.bits());
    };
}

/// Lets the code that was interrupted go on without the flag.
pub fn end(frame: &mut TrapFrame) {
    frame.rflags &= !RFlags::TRAP_FLAG.bits();
}

/// Whether the code that was interrupted is stepped.
#[must_use]
#[inline]
pub fn is_stepped(frame: &TrapFrame) -> bool {
    frame.rflags & RFlags::TRAP_FLAG.bits() != 0
}

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
