//! The interrupt table.

use core::fmt::Debug;
use core::ops::Range;

use profiler::entry::protection::entry_before; // pmiscope
use profiler::sampler::vector; // pmiscope
use spin::LazyLock;
use x86_64::VirtAddr;
use x86_64::instructions::{hlt, interrupts};
use x86_64::registers::control::Cr2;
use x86_64::registers::model_specific::{ApicBase, ApicBaseFlags, Msr};
use x86_64::structures::idt::{InterruptDescriptorTable, InterruptStackFrame, PageFaultErrorCode};

use crate::boot::Boot;

/// From 0xf0 on they are the sampler's, of which this kernel is to have one.
const INTERRUPTS: Range<u8> = 32..0xf0;

static TABLE: LazyLock<InterruptDescriptorTable> = LazyLock::new(|| {
    let mut table = InterruptDescriptorTable::new();
    table.divide_error.set_handler_fn(divide_error);
    table.invalid_opcode.set_handler_fn(invalid_opcode);
    table.segment_not_present.set_handler_fn(not_present);
    let protection = entry_before((protection as *const ()).addr() as u64); // pmiscope
    let gate = &mut table.general_protection_fault;
    // SAFETY: what is not the sampler's goes on in our handler.
    unsafe { gate.set_handler_addr(VirtAddr::new(protection)) }; // pmiscope
    table.page_fault.set_handler_fn(page_fault);
    table.double_fault.set_handler_fn(double_fault);
    for vector in INTERRUPTS {
        table[vector].set_handler_fn(leftover);
    }
    table[vector::OVERFLOW].set_handler_fn(crate::profiling::on_overflow); // pmiscope
    table
});

/// Makes the core use it.
pub fn load() {
    TABLE.load();
}

/// What firmware has left pending comes when interrupts are let in first. It is ended.
extern "x86-interrupt" fn leftover(_: InterruptStackFrame) {
    const END_OF_INTERRUPT: u64 = 0xb0;
    let (_, flags) = ApicBase::read();
    if flags.contains(ApicBaseFlags::X2APIC_ENABLE) {
        // SAFETY: ends this interrupt.
        unsafe { Msr::new(0x80b).write(0) };
    } else {
        let register = (Boot::get().direct_map + 0xfee0_0000 + END_OF_INTERRUPT) as *mut u32;
        // SAFETY: likewise; the direct map has it.
        unsafe { register.write_volatile(0) };
    }
}

extern "x86-interrupt" fn divide_error(frame: InterruptStackFrame) {
    fail("divide error", &frame, &());
}

extern "x86-interrupt" fn invalid_opcode(frame: InterruptStackFrame) {
    fail("invalid opcode", &frame, &());
}

extern "x86-interrupt" fn not_present(frame: InterruptStackFrame, code: u64) {
    fail("segment not present", &frame, &code);
}

extern "x86-interrupt" fn protection(frame: InterruptStackFrame, code: u64) {
    fail("general protection fault", &frame, &code);
}

extern "x86-interrupt" fn page_fault(frame: InterruptStackFrame, code: PageFaultErrorCode) {
    let address = VirtAddr::new_truncate(Cr2::read_raw());
    fail("page fault", &frame, &(address, code));
}

extern "x86-interrupt" fn double_fault(frame: InterruptStackFrame, code: u64) -> ! {
    fail("double fault", &frame, &code)
}

fn fail(what: &str, frame: &InterruptStackFrame, more: &dyn Debug) -> ! {
    panic!("{what} ({more:x?}): {frame:#x?}");
}

/// Halts for ever.
pub fn halt() -> ! {
    interrupts::disable();
    loop {
        hlt();
    }
}
