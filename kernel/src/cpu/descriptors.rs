//! A core's segments (GDT) and its interrupt stacks (TSS).
//!
//! In long mode segments say nothing but the privilege level. Those of user mode lie in the
//! order that `syscall` and `sysret` reckon with ([`super::user`]). The TSS matters:
//! an IDT entry can name one of its seven stacks, to which the processor switches
//! whatever the stack pointer was (SDM vol. 3, 7.14.5). Four kinds of trap need
//! that: those that come where the stack may be unusable or half set up.

use alloc::boxed::Box;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU64, Ordering};

use x86_64::VirtAddr;
use x86_64::instructions::tables;
use x86_64::registers::segmentation::{CS, DS, ES, FS, SS, Segment};
use x86_64::structures::gdt::{Descriptor, GlobalDescriptorTable, SegmentSelector};
use x86_64::structures::tss::TaskStateSegment;

use super::stack::{Stack, StackKind};

/// The interrupt stack table's entries, as the IDT numbers them: from 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum InterruptStack {
    /// For NMIs.
    Nmi = 1,
    /// For #DF.
    DoubleFault = 2,
    /// For #DB.
    Debug = 3,
    /// For #MC.
    MachineCheck = 4,
}

/// A selector of a segment, as a number.
pub struct Selector;

impl Selector {
    /// The kernel's code.
    pub const KERNEL_CODE: u16 = 0x08;
    /// The kernel's data.
    pub const KERNEL_DATA: u16 = 0x10;
    /// The data of user mode.
    pub const USER_DATA: u16 = 0x28 | 3;
    /// The code of user mode.
    pub const USER_CODE: u16 = 0x30 | 3;
}

/// A TSS whose stack for what comes from user mode changes.
struct TaskState(UnsafeCell<TaskStateSegment>);

// SAFETY: the core that it belongs to alone writes it, and the processor alone reads it.
unsafe impl Sync for TaskState {}

/// What the processor looks at whenever it enters the kernel: on a page of its own, which the page
/// tables of isolated programs have too.
#[repr(C, align(4096))]
struct Segments {
    gdt: GlobalDescriptorTable,
    state: TaskState,
}

/// A core's descriptor tables.
pub struct Descriptors {
    segments: &'static Segments,
    code: SegmentSelector,
    data: SegmentSelector,
    task: SegmentSelector,
    /// Where the kernel's stack begins for what comes from user mode; for `syscall`, which does
    /// not look into the TSS.
    pub(super) user_entry_sp: AtomicU64,
    /// The user's stack pointer between `syscall`'s first instructions.
    pub(super) user_sp: AtomicU64,
}

impl Descriptors {
    /// Tables that use these stacks. They live for ever, as the processor holds
    /// their addresses.
    pub(super) fn create(stacks: &[Stack; StackKind::ALL.len()]) -> Self {
        let mut task = TaskStateSegment::new();
        for (entry, kind) in [
            (InterruptStack::Nmi, StackKind::Nmi),
            (InterruptStack::DoubleFault, StackKind::DoubleFault),
            (InterruptStack::Debug, StackKind::Debug),
            (InterruptStack::MachineCheck, StackKind::MachineCheck),
        ] {
            let stack = stacks[kind as usize].entry();
            task.interrupt_stack_table[entry as usize - 1] = stack;
        }
        let segments: &'static mut Segments = Box::leak(Box::new(Segments {
            gdt: GlobalDescriptorTable::new(),
            state: TaskState(UnsafeCell::new(task)),
        }));
        let gdt = &mut segments.gdt;
        let code = gdt.append(Descriptor::kernel_code_segment());
        let data = gdt.append(Descriptor::kernel_data_segment());
        // SAFETY: it lives for ever.
        let task = gdt.append(unsafe { Descriptor::tss_segment_unchecked(segments.state.0.get()) });
        let user_data = gdt.append(Descriptor::user_data_segment());
        let user_code = gdt.append(Descriptor::user_code_segment());
        assert_eq!(
            [code.0, data.0, user_data.0, user_code.0],
            [
                Selector::KERNEL_CODE,
                Selector::KERNEL_DATA,
                Selector::USER_DATA,
                Selector::USER_CODE
            ],
            "selectors"
        );
        Self {
            segments,
            code,
            data,
            task,
            user_entry_sp: AtomicU64::new(0),
            user_sp: AtomicU64::new(0),
        }
    }

    /// From now on what comes from user mode begins here on the running core, whose tables these
    /// are. Interrupts are off.
    #[inline]
    pub fn set_user_entry_sp(&self, sp: VirtAddr) {
        self.user_entry_sp.store(sp.as_u64(), Ordering::Relaxed);
        let state = self.segments.state.0.get();
        // SAFETY: of a TSS that lives for ever; this core alone writes it, and is not in user mode.
        let place = unsafe { &raw mut (*state).privilege_stack_table[0] };
        // SAFETY: likewise. The field is not aligned.
        unsafe { place.write_unaligned(sp) };
    }

    /// What [`Self::set_user_entry_sp`] was told last; 0: nothing.
    #[must_use]
    pub fn user_entry_sp(&self) -> u64 {
        self.user_entry_sp.load(Ordering::Relaxed)
    }

    /// The user's stack pointer, between the first instructions of a call by `syscall`.
    #[must_use]
    #[inline]
    pub fn user_sp(&self) -> u64 {
        self.user_sp.load(Ordering::Relaxed)
    }

    /// The page that they are in.
    #[must_use]
    pub fn page(&self) -> VirtAddr {
        VirtAddr::from_ptr(self.segments)
    }

    /// Makes the running core use these tables. Loading FS clears nothing that
    /// is in use; GS is left alone, its base is set by MSR.
    pub(super) fn load(&self) {
        self.segments.gdt.load();
        // SAFETY: a 64-bit code segment of ring 0 in the table just loaded.
        unsafe { CS::set_reg(self.code) };
        // SAFETY: a data segment of ring 0 in that table.
        unsafe { SS::set_reg(self.data) };
        // SAFETY: likewise.
        unsafe { DS::set_reg(self.data) };
        // SAFETY: likewise.
        unsafe { ES::set_reg(self.data) };
        // SAFETY: likewise.
        unsafe { FS::set_reg(self.data) };
        // SAFETY: a TSS that lives for ever, not loaded before: one per core.
        unsafe { tables::load_tss(self.task) };
    }
}
