//! `IA32_APIC_BASE`: where the local APIC's registers are, and its mode.

use x86_64::PhysAddr;
use x86_64::registers::model_specific::{ApicBase, ApicBaseFlags};

use crate::cpu::features::X2Apic;

/// The physical address of the running core's xAPIC registers.
#[must_use]
pub fn address() -> PhysAddr {
    ApicBase::read().0.start_address()
}

/// Switches the running core's APIC on, if it is off. It is in xAPIC mode then.
pub fn switch_on() {
    insert(ApicBaseFlags::LAPIC_ENABLE);
}

/// Puts the running core's APIC into x2APIC mode, which only a reset ends. It is on: from off
/// there is no way (SDM vol. 3, 12.12.5).
pub fn enter_x2apic(_: X2Apic) {
    insert(ApicBaseFlags::X2APIC_ENABLE);
}

fn insert(flag: ApicBaseFlags) {
    let (frame, flags) = ApicBase::read();
    if !flags.contains(flag) {
        // SAFETY: the registers stay where they are. Each flag is there, by the proof or on
        // every x86-64 processor, and nobody uses the registers of the mode before.
        unsafe { ApicBase::write(frame, flags | flag) };
    }
}
