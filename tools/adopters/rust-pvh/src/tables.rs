//! Segments, the task state and the interrupt table.

use core::cell::UnsafeCell;
use core::fmt::Debug;
use core::ops::RangeInclusive;

use profiler::entry::protection::entry_before; // pmiscope
use x86_64::VirtAddr;
use x86_64::instructions::port::Port;
use x86_64::instructions::{hlt, interrupts, tables};
use x86_64::registers::control::Cr2;
use x86_64::registers::model_specific::{ApicBase, ApicBaseFlags, Msr};
use x86_64::registers::segmentation::{CS, DS, ES, SS, Segment};
use x86_64::structures::gdt::{Descriptor, GlobalDescriptorTable};
use x86_64::structures::idt::{InterruptDescriptorTable, InterruptStackFrame, PageFaultErrorCode};
use x86_64::structures::tss::TaskStateSegment;

/// The last vector, 255, is that of spurious interrupts.
const INTERRUPTS: RangeInclusive<u8> = 32..=254;

struct Tables {
    gdt: GlobalDescriptorTable,
    tss: TaskStateSegment,
    idt: InterruptDescriptorTable,
}

struct Shared(UnsafeCell<Tables>);

// SAFETY: there is one core.
unsafe impl Sync for Shared {}

static TABLES: Shared = Shared(UnsafeCell::new(Tables {
    gdt: GlobalDescriptorTable::new(),
    tss: TaskStateSegment::new(),
    idt: InterruptDescriptorTable::new(),
}));

/// Makes the core use them. To be called once.
pub fn load() {
    // SAFETY: only once, and no interrupt comes yet.
    let all = unsafe { &mut *TABLES.0.get() };
    let code = all.gdt.append(Descriptor::kernel_code_segment());
    let data = all.gdt.append(Descriptor::kernel_data_segment());
    // SAFETY: it lives for ever, as the processor needs.
    let tss = unsafe { Descriptor::tss_segment_unchecked(&raw const all.tss) };
    let task = all.gdt.append(tss);
    mask_pic();
    // SAFETY: it lives for ever; the selectors are of that table.
    unsafe {
        all.gdt.load_unsafe();
        CS::set_reg(code);
        SS::set_reg(data);
        DS::set_reg(data);
        ES::set_reg(data);
        tables::load_tss(task);
    }
    // Gates have the code segment that is in use.
    all.idt.invalid_opcode.set_handler_fn(invalid_opcode);
    let protection = entry_before((protection as *const ()).addr() as u64); // pmiscope
    let gate = &mut all.idt.general_protection_fault;
    // SAFETY: what is not the sampler's goes on in our handler.
    unsafe { gate.set_handler_addr(VirtAddr::new(protection)) }; // pmiscope
    all.idt.page_fault.set_handler_fn(page_fault);
    all.idt.double_fault.set_handler_fn(double_fault);
    for vector in INTERRUPTS {
        all.idt[vector].set_handler_fn(leftover);
    }
    // SAFETY: it lives for ever.
    unsafe { all.idt.load_unsafe() };
}

/// Lets no interrupt of the old controller in: the firmware has left its timer on, whose vector
/// is that of double faults.
fn mask_pic() {
    for port in [0x21, 0xa1] {
        // SAFETY: nobody waits for its interrupts.
        unsafe { Port::<u8>::new(port).write(0xff) };
    }
}

/// Lets `handler` take interrupts with this vector, on one of the interrupt stacks or else on
/// the stack that it interrupts.
///
/// # Safety
///
/// Code for an interrupt of that kind is at that address; the stack was set; the vector is 1, 2
/// or at least 32, and no interrupt with it comes meanwhile.
pub unsafe fn set_gate(vector: u8, handler: u64, stack: Option<u16>) {
    // SAFETY: there is one core, and nobody else refers to them.
    let idt = unsafe { &mut (*TABLES.0.get()).idt };
    let entry = match vector {
        1 => &mut idt.debug,
        2 => &mut idt.non_maskable_interrupt,
        _ => &mut idt[vector],
    };
    // SAFETY: of the caller.
    let options = unsafe { entry.set_handler_addr(VirtAddr::new(handler)) };
    if let Some(stack) = stack {
        // SAFETY: of the caller.
        unsafe { options.set_stack_index(stack) };
    }
}

/// Lets interrupts that name this interrupt stack come on the one that ends at `top`.
///
/// # Safety
///
/// Nothing else uses that memory, and no interrupt names that stack yet.
pub unsafe fn set_interrupt_stack(stack: u16, top: u64) {
    // SAFETY: of the caller; the processor reads it when an interrupt comes.
    unsafe {
        (*TABLES.0.get()).tss.interrupt_stack_table[usize::from(stack)] = VirtAddr::new(top);
    };
}

/// What firmware has left pending comes when interrupts are let in first. It is ended.
extern "x86-interrupt" fn leftover(_: InterruptStackFrame) {
    const END_OF_INTERRUPT: u64 = 0xb0;
    let (_, flags) = ApicBase::read();
    if flags.contains(ApicBaseFlags::X2APIC_ENABLE) {
        // SAFETY: ends this interrupt.
        unsafe { Msr::new(0x80b).write(0) };
    } else {
        let register = (0xfee0_0000u64 + END_OF_INTERRUPT) as *mut u32;
        // SAFETY: likewise; the page tables map it.
        unsafe { register.write_volatile(0) };
    }
}

extern "x86-interrupt" fn invalid_opcode(frame: InterruptStackFrame) {
    fail("invalid opcode", &frame, &());
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
