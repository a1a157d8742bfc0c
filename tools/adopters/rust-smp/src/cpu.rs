//! What each core has of its own: a number, a stack, segments.

use core::arch::{asm, naked_asm};
use core::cell::UnsafeCell;
use core::ops::Range;

use x86_64::VirtAddr;
use x86_64::instructions::{hlt, interrupts, tables};
use x86_64::registers::model_specific::GsBase;
use x86_64::registers::segmentation::{CS, DS, ES, SS, Segment};
use x86_64::structures::gdt::{Descriptor, GlobalDescriptorTable, SegmentSelector};
use x86_64::structures::tss::TaskStateSegment;

use crate::idt;

/// The most cores that this kernel uses.
pub const MAX_CORES: usize = 16;

/// Of each stack, in bytes. The linker script aligns stacks to that.
pub const STACK_SIZE: usize = 64 << 10;

/// The interrupt stack of double faults. The others are free.
pub const DOUBLE_FAULT_STACK: u16 = 6;

#[repr(C, align(4096))]
struct Stack(UnsafeCell<[u8; STACK_SIZE]>);

// SAFETY: nothing but the processor that it belongs to uses it.
unsafe impl Sync for Stack {}

impl Stack {
    const fn new() -> Self {
        Self(UnsafeCell::new([0; STACK_SIZE]))
    }

    fn top(&self) -> u64 {
        self.0.get().addr() as u64 + STACK_SIZE as u64
    }
}

#[unsafe(link_section = ".bss.stacks")]
static STACKS: [Stack; MAX_CORES] = [const { Stack::new() }; MAX_CORES];
#[unsafe(link_section = ".bss.stacks")]
static DOUBLE_FAULT_STACKS: [Stack; MAX_CORES] = [const { Stack::new() }; MAX_CORES];

/// GS points to it.
#[repr(C)]
struct Core {
    index: usize,
    tss: TaskStateSegment,
    gdt: GlobalDescriptorTable,
}

struct Cores([UnsafeCell<Core>; MAX_CORES]);

// SAFETY: each is for one core alone.
unsafe impl Sync for Cores {}

static CORES: Cores = Cores(
    [const {
        UnsafeCell::new(Core {
            index: 0,
            tss: TaskStateSegment::new(),
            gdt: GlobalDescriptorTable::new(),
        })
    }; MAX_CORES],
);

/// Goes on in `run`, with `index`, on the stack of the core with that index, which is to
/// be this one.
pub fn enter(index: usize, run: extern "C" fn(usize) -> !) -> ! {
    /// With no frame and no return address at the bottom.
    #[unsafe(naked)]
    extern "C" fn switch(index: usize, run: extern "C" fn(usize) -> !, top: u64) -> ! {
        naked_asm!("mov rsp, rdx", "xor ebp, ebp", "push 0", "jmp rsi",)
    }
    switch(index, run, STACKS[index].top())
}

/// Gives the running core its segments, its interrupt stacks and the interrupt table.
pub fn start(index: usize) {
    // SAFETY: this core's own, and not in use yet.
    let core = unsafe { &mut *CORES.0[index].get() };
    core.index = index;
    let stack = DOUBLE_FAULT_STACKS[index].top();
    core.tss.interrupt_stack_table[usize::from(DOUBLE_FAULT_STACK)] = VirtAddr::new(stack);
    let code = core.gdt.append(Descriptor::kernel_code_segment());
    let data = core.gdt.append(Descriptor::kernel_data_segment());
    // SAFETY: it lives for ever, as the processor needs.
    let tss = unsafe { Descriptor::tss_segment_unchecked(&raw const core.tss) };
    let task = core.gdt.append(tss);
    // SAFETY: likewise, and it is not changed any more.
    unsafe { core.gdt.load_unsafe() };
    // SAFETY: the selectors are of that table.
    unsafe { load_segments(code, data, task) };
    GsBase::write(VirtAddr::from_ptr(core));
    idt::load();
    keep_low_vectors_out();
}

/// An interrupt with a vector below 32 would be taken for an exception.
fn keep_low_vectors_out() {
    // SAFETY: nobody here sends one.
    unsafe { asm!("mov cr8, {}", in(reg) 1u64, options(nostack, preserves_flags)) };
}

/// # Safety
///
/// They are of the table in use, a code, a data and a task segment, the last not loaded yet.
unsafe fn load_segments(code: SegmentSelector, data: SegmentSelector, task: SegmentSelector) {
    // SAFETY: of the caller, as are those that follow.
    unsafe {
        CS::set_reg(code);
        SS::set_reg(data);
        DS::set_reg(data);
        ES::set_reg(data);
        tables::load_tss(task);
    }
}

/// The running core's index. Interrupt handlers may ask, too.
pub fn index() -> usize {
    let index: usize;
    // SAFETY: GS points to the core's own block since `start`, which begins with it.
    unsafe { asm!("mov {}, gs:[0]", out(reg) index, options(nostack, readonly, preserves_flags)) };
    index
}

/// The stack that this address is on. Interrupt handlers may ask, too.
pub fn stack_of(address: u64) -> Option<Range<u64>> {
    let is_in = |stacks: &[Stack; MAX_CORES]| {
        let start = stacks.as_ptr().addr() as u64;
        address.wrapping_sub(start) < size_of_val(stacks) as u64
    };
    let low = address - address % STACK_SIZE as u64;
    (is_in(&STACKS) || is_in(&DOUBLE_FAULT_STACKS)).then_some(low..low + STACK_SIZE as u64)
}

/// Lets interrupts that name this interrupt stack of this core come on the one that ends
/// at `top`.
///
/// # Safety
///
/// Nothing else uses that memory, and no interrupt names that stack yet.
pub unsafe fn set_interrupt_stack(core: usize, stack: u16, top: u64) {
    let tss = CORES.0[core].get();
    // SAFETY: of the caller; the processor reads it when an interrupt comes.
    unsafe { (*tss).tss.interrupt_stack_table[usize::from(stack)] = VirtAddr::new(top) };
}

/// Halts the running core for ever.
pub fn halt() -> ! {
    interrupts::disable();
    loop {
        hlt();
    }
}
