//! `IA32_EFER`: extended features.

use x86_64::registers::model_specific::{Efer, EferFlags};

use crate::cpu::features::NoExecute;

/// Sets `NXE`.
pub fn allow_no_execute(_: NoExecute) {
    // SAFETY: the proof says that the bit is there; tables that are in use either
    // have the entries' bit 63 clear or mean by it what it means from now on.
    unsafe { Efer::update(|flags| flags.insert(EferFlags::NO_EXECUTE_ENABLE)) };
}
