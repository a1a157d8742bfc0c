//! A core's segments (GDT) and its interrupt stacks (TSS).
//!
//! In long mode segments say nothing but the privilege level. The TSS matters:
//! an IDT entry can name one of its seven stacks, to which the processor switches
//! whatever the stack pointer was (SDM vol. 3, 7.14.5). Four kinds of trap need
//! that: those that come where the stack may be unusable or half set up.

use alloc::boxed::Box;

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

/// A core's descriptor tables.
pub struct Descriptors {
    gdt: &'static GlobalDescriptorTable,
    code: SegmentSelector,
    data: SegmentSelector,
    task: SegmentSelector,
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
        let mut gdt = GlobalDescriptorTable::new();
        let code = gdt.append(Descriptor::kernel_code_segment());
        let data = gdt.append(Descriptor::kernel_data_segment());
        let task = gdt.append(Descriptor::tss_segment(Box::leak(Box::new(task))));
        Self {
            gdt: Box::leak(Box::new(gdt)),
            code,
            data,
            task,
        }
    }

    /// Makes the running core use these tables. Loading FS clears nothing that
    /// is in use; GS is left alone, its base is set by MSR.
    pub(super) fn load(&self) {
        self.gdt.load();
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
