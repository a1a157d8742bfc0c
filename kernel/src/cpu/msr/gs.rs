//! `IA32_GS_BASE`: where a core finds its block.
//!
//! The kernel runs in ring 0 only, so there is no `swapgs`, and the base, once
//! set, is right at every instruction but in code that an NMI finds before.

use core::arch::asm;

use x86_64::registers::model_specific::GsBase;

use crate::cpu::block::CoreBlock;

/// Points the running core's GS base to its block.
pub(in crate::cpu) fn set_base(core: &'static CoreBlock) {
    GsBase::write(core.this);
}

/// The running core's block, by its GS base.
#[inline]
pub(in crate::cpu) fn block() -> &'static CoreBlock {
    let block: *const CoreBlock;
    // SAFETY: the block's first word is its own address. The base was set before
    // anyone asks. Code continues on another core only behind a switch of stacks, a call
    // that writes to memory, and `readonly` says that this depends on memory.
    unsafe {
        asm!("mov {}, gs:[0]", out(reg) block, options(pure, readonly, nostack, preserves_flags));
    };
    // SAFETY: it lives for ever, and what of it changes is atomic.
    unsafe { &*block }
}
