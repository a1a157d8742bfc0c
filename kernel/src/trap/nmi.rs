//! The entry of NMIs, and where this kernel has the stacks for it.

use core::mem::offset_of;

use profiler::entry::nmi::NmiLayout;

use super::dispatch::kernel_nmi;
use crate::cpu::CoreBlock;
use crate::cpu::stack::{Stack, StackKind};
use crate::memory::stacks;

const fn stack(kind: StackKind) -> usize {
    offset_of!(CoreBlock, stacks) + kind as usize * size_of::<Stack>()
}

const LAYOUT: NmiLayout = NmiLayout {
    landing_low: stack(StackKind::Nmi) + offset_of!(Stack, low),
    landing_bytes: StackKind::Nmi.bytes(),
    handlers_low: stack(StackKind::NmiHandler) + offset_of!(Stack, low),
    handlers_high: stack(StackKind::NmiHandler) + offset_of!(Stack, high),
    handlers_bytes: StackKind::NmiHandler.bytes(),
    trap_stacks_bytes: stacks::TRAP_STACKS_BYTES,
    slot_bytes: stacks::SLOT,
    stack_bytes: StackKind::Debug.bytes(),
    no_room: offset_of!(CoreBlock, nmis_without_room),
    fast: offset_of!(CoreBlock, fast),
};

profiler::nmi_entry! { handler: kernel_nmi, layout: LAYOUT, returns: true }
