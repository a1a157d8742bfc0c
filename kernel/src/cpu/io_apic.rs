//! The I/O APIC: where an interrupt of a device goes (82093AA data sheet, 3.2).

use x86_64::VirtAddr;

/// The registers of one, in memory: which one is accessed, and its value.
const SELECT: u64 = 0x00;
const WINDOW: u64 = 0x10;

/// The number of the last redirection entry is in the bits from 16 on.
const VERSION: u8 = 1;
const FIRST_ENTRY: u8 = 0x10;

const DELIVER_NMI: u32 = 0b100 << 8;
const ACTIVE_LOW: u32 = 1 << 13;

/// Lets an input raise an NMI at its edges on the core with this APIC id. Returns false if there is
/// no such input, or no register.
///
/// # Safety
///
/// The registers are mapped at `registers`, uncached and for ever, nobody else uses them, and the
/// core has a gate for NMIs.
#[must_use]
pub unsafe fn raise_nmi(registers: VirtAddr, input: u8, is_active_low: bool, apic_id: u8) -> bool {
    let select: *mut u32 = (registers + SELECT).as_mut_ptr();
    let window: *mut u32 = (registers + WINDOW).as_mut_ptr();
    let read = |register: u8| {
        // SAFETY: the caller's condition.
        unsafe { select.write_volatile(register.into()) };
        // SAFETY: likewise.
        unsafe { window.read_volatile() }
    };
    let write = |register: u8, value: u32| {
        // SAFETY: the caller's condition.
        unsafe { select.write_volatile(register.into()) };
        // SAFETY: likewise.
        unsafe { window.write_volatile(value) };
    };
    let [_, _, last, _] = read(VERSION).to_le_bytes();
    if input > last {
        return false;
    }
    let entry = FIRST_ENTRY + 2 * input;
    let polarity = if is_active_low { ACTIVE_LOW } else { 0 };
    // The destination first: the other half unmasks it.
    write(entry + 1, u32::from(apic_id) << 24);
    write(entry, DELIVER_NMI | polarity);
    read(entry) & DELIVER_NMI != 0
}
