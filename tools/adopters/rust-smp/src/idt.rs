//! The interrupt table, which all cores share.

use core::cell::UnsafeCell;
use core::fmt::Debug;
use core::ops::RangeInclusive;

use profiler::entry::protection::entry_before; // pmiscope
use spin::Once;
use x86_64::VirtAddr;
use x86_64::registers::model_specific::{ApicBase, ApicBaseFlags, Msr};
use x86_64::structures::idt::{InterruptDescriptorTable, InterruptStackFrame, PageFaultErrorCode};

use crate::boot::Boot;
use crate::{cpu, println};

/// The last vector, 255, is that of spurious interrupts.
const INTERRUPTS: RangeInclusive<u8> = 32..=254;

struct Table(UnsafeCell<InterruptDescriptorTable>);

// SAFETY: it is written by the first core alone.
unsafe impl Sync for Table {}

static TABLE: Table = Table(UnsafeCell::new(InterruptDescriptorTable::new()));

/// Makes the running core use it.
pub fn load() {
    static FILLED: Once = Once::new();
    let table = TABLE.0.get();
    FILLED.call_once(|| {
        // SAFETY: only once, and no core uses it yet.
        fill(unsafe { &mut *table });
    });
    // SAFETY: it lives for ever.
    unsafe { (*table).load_unsafe() };
}

/// Lets `handler` take interrupts with this vector, on one of the core's interrupt stacks
/// or else on the stack that it interrupts.
///
/// # Safety
///
/// 1. Code for an interrupt of that kind is at that address.
/// 2. The vector is 1, 2 or at least 32, and no interrupt with it comes meanwhile.
/// 3. The first core alone does that.
pub unsafe fn set_gate(vector: u8, handler: u64, stack: Option<u16>) {
    // SAFETY: the caller's third condition.
    let table = unsafe { &mut *TABLE.0.get() };
    let entry = match vector {
        1 => &mut table.debug,
        2 => &mut table.non_maskable_interrupt,
        _ => &mut table[vector],
    };
    // SAFETY: the caller's first condition.
    let options = unsafe { entry.set_handler_addr(VirtAddr::new(handler)) };
    if let Some(stack) = stack {
        // SAFETY: whoever names a stack has set it.
        unsafe { options.set_stack_index(stack) };
    }
}

fn fill(table: &mut InterruptDescriptorTable) {
    table.divide_error.set_handler_fn(divide_error);
    table.invalid_opcode.set_handler_fn(invalid_opcode);
    let protection = entry_before((general_protection as *const ()).addr() as u64); // pmiscope
    let gate = &mut table.general_protection_fault;
    // SAFETY: what is not the sampler's goes on in our handler.
    unsafe { gate.set_handler_addr(VirtAddr::new(protection)) }; // pmiscope
    table.page_fault.set_handler_fn(page_fault);
    let double_fault = table.double_fault.set_handler_fn(double_fault);
    // SAFETY: each core has one before it loads the table.
    unsafe { double_fault.set_stack_index(cpu::DOUBLE_FAULT_STACK) };
    for vector in INTERRUPTS {
        table[vector].set_handler_fn(leftover);
    }
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

extern "x86-interrupt" fn general_protection(frame: InterruptStackFrame, code: u64) {
    fail("general protection fault", &frame, &code);
}

extern "x86-interrupt" fn page_fault(frame: InterruptStackFrame, code: PageFaultErrorCode) {
    let address = x86_64::registers::control::Cr2::read_raw();
    fail(
        "page fault",
        &frame,
        &(VirtAddr::new_truncate(address), code),
    );
}

extern "x86-interrupt" fn double_fault(frame: InterruptStackFrame, code: u64) -> ! {
    fail("double fault", &frame, &code)
}

fn fail(what: &str, frame: &InterruptStackFrame, more: &dyn Debug) -> ! {
    let core = cpu::index();
    if cpu::stack_of(frame.stack_pointer.as_u64()).is_none() {
        println!("rust-smp: core {core}: not on a stack");
    }
    panic!("core {core}: {what} ({more:x?}): {frame:#x?}");
}
