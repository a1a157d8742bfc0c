//! What a core needs to let code run in user mode: segments, where `syscall` leads to, and which
//! flags are clear there.

use core::mem::offset_of;

use x86_64::VirtAddr;
use x86_64::registers::model_specific::{LStar, SFMask, Star};
use x86_64::registers::rflags::RFlags;
use x86_64::structures::gdt::SegmentSelector;

use super::block::CoreBlock;
use super::descriptors::{Descriptors, Selector};
use super::{extended_state, msr};

/// In a core's block: where the kernel's stack begins for what comes from user mode.
pub const ENTRY_SP: usize =
    offset_of!(CoreBlock, descriptors) + offset_of!(Descriptors, user_entry_sp);
/// In a core's block: room for the user's stack pointer in `syscall`'s first instructions.
pub const USER_SP: usize = offset_of!(CoreBlock, descriptors) + offset_of!(Descriptors, user_sp);

/// The flags that user code begins with: interrupts on, and the one that is always set.
pub const INITIAL_FLAGS: u64 = RFlags::INTERRUPT_FLAG.bits() | 1 << 1;

/// The flags that are clear behind `syscall`: those that change what the kernel's code does.
const CLEARED: RFlags = RFlags::INTERRUPT_FLAG
    .union(RFlags::TRAP_FLAG)
    .union(RFlags::DIRECTION_FLAG)
    .union(RFlags::NESTED_TASK)
    .union(RFlags::ALIGNMENT_CHECK)
    .union(RFlags::IOPL_LOW)
    .union(RFlags::IOPL_HIGH)
    .union(RFlags::RESUME_FLAG);

/// Lets the running core, whose block is set, run code in user mode. `entry` is where `syscall`
/// leads to. Floating point traps until somebody says otherwise ([`extended_state`]).
pub fn enable(entry: VirtAddr) {
    let selector = SegmentSelector;
    let written = Star::write(
        selector(Selector::USER_CODE),
        selector(Selector::USER_DATA),
        selector(Selector::KERNEL_CODE),
        selector(Selector::KERNEL_DATA),
    );
    written.expect("the segments are in the order of the processor");
    LStar::write(entry);
    SFMask::write(CLEARED);
    msr::gs::set_users();
    msr::efer::allow_system_calls();
    extended_state::enable();
}
