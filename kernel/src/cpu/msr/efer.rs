//! `IA32_EFER`: extended features.

use x86_64::registers::model_specific::{Efer, EferFlags};

use crate::cpu::features::NoExecute;

/// Sets `NXE`.
pub fn allow_no_execute(_: NoExecute) {
    // SAFETY: the proof says that the bit is there; tables that are in use either
    // have the entries' bit 63 clear or mean by it what it means from now on.
    unsafe { Efer::update(|flags| flags.insert(EferFlags::NO_EXECUTE_ENABLE)) };
}

/// Clears what long mode and pages that are not executed do without: system calls by
/// `syscall`, virtualization, and what a boot loader may have left.
pub(in crate::cpu) fn set(_: NoExecute) {
    // LMA is the processor's: written as it is (APM vol. 2, "Extended Feature Enable Register").
    let wanted =
        EferFlags::LONG_MODE_ACTIVE | EferFlags::LONG_MODE_ENABLE | EferFlags::NO_EXECUTE_ENABLE;
    // SAFETY: the mode stays, and the proof says that the last bit is there.
    unsafe { Efer::write_raw(wanted.bits()) };
}

/// Sets `SCE`: `syscall` leads to where its registers say.
pub(in crate::cpu) fn allow_system_calls() {
    // SAFETY: every processor has it in long mode, and the registers are set.
    unsafe { Efer::update(|flags| flags.insert(EferFlags::SYSTEM_CALL_EXTENSIONS)) };
}
