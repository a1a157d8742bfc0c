//! The interrupt table.

use core::fmt::Debug;

use profiler::sampler::vector; // pmiscope
use spin::LazyLock;
use x86_64::VirtAddr;
use x86_64::instructions::{hlt, interrupts};
use x86_64::registers::control::Cr2;
use x86_64::structures::idt::{InterruptDescriptorTable, InterruptStackFrame, PageFaultErrorCode};

static TABLE: LazyLock<InterruptDescriptorTable> = LazyLock::new(|| {
    let mut table = InterruptDescriptorTable::new();
    table.divide_error.set_handler_fn(divide_error);
    table.invalid_opcode.set_handler_fn(invalid_opcode);
    table.segment_not_present.set_handler_fn(not_present);
    table.general_protection_fault.set_handler_fn(protection);
    table.page_fault.set_handler_fn(page_fault);
    table.double_fault.set_handler_fn(double_fault);
    table[vector::OVERFLOW].set_handler_fn(crate::profiling::on_overflow); // pmiscope
    table
});

/// Makes the core use it.
pub fn load() {
    TABLE.load();
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
