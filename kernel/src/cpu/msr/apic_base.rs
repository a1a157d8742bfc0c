//! `IA32_APIC_BASE`: where the local APIC's registers are.

use x86_64::PhysAddr;
use x86_64::registers::model_specific::Msr;

const IA32_APIC_BASE: u32 = 0x1b;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// The physical address of the running core's xAPIC registers.
#[must_use]
pub fn address() -> PhysAddr {
    // SAFETY: every x86-64 processor has the register; reading changes nothing.
    let value = unsafe { Msr::new(IA32_APIC_BASE).read() };
    PhysAddr::new(value & ADDRESS)
}
