//! The local APIC: timer, local interrupts, interrupts between cores.
//!
//! The `x2apic` crate knows the sequence that switches one on, in x2APIC mode
//! where the processor has it. What runs afterwards, in handlers too, goes to
//! the registers directly ([`Registers`]).

pub use profiler::hw::apic::*;

use x2apic::lapic::{LocalApicBuilder, TimerDivide, TimerMode};
use x86_64::{PhysAddr, VirtAddr};

use super::block::CoreBlock;
use super::features::Features;
use super::msr::apic_base;

/// The vector of the local APIC's own errors.
pub const ERROR_VECTOR: u8 = 0xfe;
/// The vector of an interrupt that went away before the core took it. It is not to be
/// ended.
pub const SPURIOUS_VECTOR: u8 = 0xff;

/// Maps a page of device registers and returns where the address is.
pub type MapDevice = fn(PhysAddr) -> VirtAddr;

/// Where the page of registers is mapped, in xAPIC mode.
#[must_use]
pub fn address() -> Option<u64> {
    match find_registers() {
        Some(Registers::XApic(address)) => Some(address),
        Some(Registers::X2Apic) | None => None,
    }
}

/// Switches the running core's APIC on, with every local interrupt masked but
/// its own errors.
///
/// LINT0 would bring the old interrupt controller's interrupts, which nothing
/// handles. LINT1 is the platform's NMI (a button, a parity error): masked too,
/// so that every NMI that arrives is one that the kernel asked for.
///
/// # Panics
///
/// If the APIC's id is not the one that the boot loader told.
pub(super) fn start(core: &CoreBlock, map_device: MapDevice) {
    let registers = find_registers().unwrap_or_else(|| match Features::get().x2apic {
        Some(_) => Registers::X2Apic,
        None => Registers::XApic(map_device(apic_base::address()).as_u64()),
    });
    let mut builder = LocalApicBuilder::new();
    builder
        .timer_vector(SPURIOUS_VECTOR.into())
        .error_vector(ERROR_VECTOR.into())
        .spurious_vector(SPURIOUS_VECTOR.into())
        .timer_mode(TimerMode::OneShot)
        .timer_divide(TimerDivide::Div1)
        // The crate unmasks the timer; from 0 it does not run.
        .timer_initial(0);
    if let Registers::XApic(base) = registers {
        builder.set_xapic_base(base);
    }
    let mut apic = builder
        .build()
        .unwrap_or_else(|problem| panic!("{problem}"));
    // SAFETY: interrupts are off, and every vector has a stub.
    unsafe { apic.enable() };
    // SAFETY: that mode is on now, here, and on each core before it asks; a device's page
    // stays mapped.
    unsafe { set_registers(registers) };
    // The crate has unmasked both pins, with vector 0. Nothing came of it: fixed
    // interrupts wait, and an invalid vector is an error that is cleared below.
    // SAFETY: an enabled APIC has this register.
    let last_entry = unsafe { apic.max_lvt_entry() };
    for (register, entry) in [
        (Register::LvtTimer, 0),
        (Register::LvtLint0, 1),
        (Register::LvtLint1, 2),
        (Register::LvtPerformance, 4),
        (Register::LvtThermal, 5),
    ] {
        if entry <= last_entry {
            // SAFETY: the entry exists; masked, it delivers nothing.
            unsafe { registers.write(register, LVT_MASKED) };
        }
    }
    // SAFETY: any value may be written; it makes the register forget.
    unsafe { registers.write(Register::ErrorStatus, 0) };
    // SAFETY: a fixed interrupt whose vector is reported by the trap dispatch.
    unsafe { registers.write(Register::LvtError, ERROR_VECTOR.into()) };
    // SAFETY: the lowest priority lets every interrupt through.
    unsafe { registers.write(Register::TaskPriority, 0) };
    let (found, told) = (registers.id(), core.apic_id);
    assert_eq!(
        found, told,
        "core {} has another APIC id than it should",
        core.index
    );
}
