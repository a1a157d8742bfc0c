//! How a core's APIC is switched on.

use super::{
    ERROR, ErrorEntry, LocalInterrupt, MapDevice, Mode, Register, Registers, SPURIOUS,
    find_registers, mode, set_registers,
};
use crate::cpu::block::CoreBlock;
use crate::cpu::features::Features;
use crate::cpu::msr::apic_base;

/// Interrupts that firmware can have left in service: as many as there are vectors.
const VECTORS: u32 = 256;

/// Switches the running core's APIC on, with every local interrupt masked but
/// its own errors, and those that are firmware's (SMIs). Interrupts are off.
///
/// LINT0 would bring the old interrupt controller's interrupts, which nothing
/// handles. LINT1 is the platform's NMI (a button, a parity error): masked too,
/// so that every NMI that arrives is one that the kernel asked for.
///
/// It is not switched off by software for that, although it would be simple: that masks SMIs
/// as well (SDM vol. 3, 12.4.7.2).
///
/// # Panics
///
/// If the APIC's id is not the one that the boot loader told, or its mode cannot be that of
/// the first core's.
pub(in crate::cpu) fn start(core: &CoreBlock, map_device: MapDevice) {
    enter_mode(core);
    let registers = find_registers().unwrap_or_else(|| match mode() {
        Mode::X2Apic => Registers::X2Apic,
        Mode::XApic => Registers::XApic(map_device(apic_base::address()).as_u64()),
    });
    // SAFETY: that mode is on now, here, and on each core before it asks; a device's page
    // stays mapped.
    unsafe { set_registers(registers) };
    // Errors first: what the entries hold until they are written may be one.
    // SAFETY: a masked entry delivers nothing.
    unsafe { registers.set_error_entry(ErrorEntry::new(ERROR).masked()) };
    // SAFETY: 0 stops the timer.
    unsafe { registers.write(Register::TimerInitialCount, 0) };
    for interrupt in LocalInterrupt::ALL {
        // SAFETY: nothing waits for what firmware has set up for itself, but SMIs.
        unsafe { registers.quieten(interrupt, ERROR) };
    }
    // SAFETY: the vector's handler does not end the interrupt, and no entry has it.
    unsafe { registers.enable_with(SPURIOUS) };
    end_what_is_in_service(registers);
    // What went wrong so far is not ours.
    let _ = registers.take_errors();
    // SAFETY: the vector has a handler.
    unsafe { registers.set_error_entry(ErrorEntry::new(ERROR)) };
    // SAFETY: any priority may be written. This one lets every interrupt through but vectors
    // 16 to 31, which would be taken for exceptions.
    unsafe { registers.write(Register::TaskPriority, 0x10) };
    let (found, told) = (registers.id(), core.apic_id);
    assert_eq!(
        found, told,
        "core {} has another APIC id than it should",
        core.index
    );
}

fn enter_mode(core: &CoreBlock) {
    apic_base::switch_on();
    match (mode(), Mode::of_this_core(), Features::get().x2apic) {
        (Mode::X2Apic, Some(Mode::XApic), Some(proof)) => apic_base::enter_x2apic(proof),
        (wanted, Some(found), _) if wanted == found => {}
        (wanted, found, _) => panic!(
            "the APIC of core {} (APIC id {}) is in the mode {found:?}, and should be in {wanted:?} as the first core's",
            core.index, core.apic_id
        ),
    }
}

/// Ends interrupts that were taken before the kernel, and not ended: they would keep those
/// of their priority and below out.
fn end_what_is_in_service(registers: Registers) {
    for _ in 0..VECTORS {
        if registers.highest_in_service().is_none() {
            return;
        }
        registers.end_of_interrupt();
    }
}
