//! The trap flag: an exception after every instruction.

use core::arch::asm;

use x86_64::registers::rflags::RFlags;

use super::frame::TrapFrame;

/// Sets the running core's trap flag. The first trap comes after the instruction
/// behind the one that sets it.
#[inline(always)]
pub fn set() {
    // SAFETY: callers have a handler of the trap, on a stack of its own. The red zone
    // is not used in kernels.
    unsafe {
        asm!("pushfq", "or qword ptr [rsp], {tf}", "popfq", tf = const RFlags::TRAP_FLAG.bits());
    };
}

/// Clears the flag of the interrupted code.
pub fn clear_in(frame: &mut TrapFrame) {
    frame.rflags &= !RFlags::TRAP_FLAG.bits();
}

/// Returns true if the interrupted code is single-stepped.
#[must_use]
#[inline]
pub fn is_set_in(frame: &TrapFrame) -> bool {
    frame.rflags & RFlags::TRAP_FLAG.bits() != 0
}
