//! `IA32_GS_BASE`: where a core finds its block.
//!
//! Without processes the base, once set, is right at every instruction but in code that an NMI
//! finds before. With them there are two bases, the kernel's and user mode's: one is in use, and
//! `swapgs` exchanges it for the other. Entries from user mode do that in their first instructions
//! ([`crate::trap`]), and say by the code segment whether they come from there. Handlers of what
//! comes at any instruction (NMI, #DB, #MC, #DF) may find the user's base with the kernel's code
//! segment: in those first instructions, and in the last ones on the way out. They look at the
//! base itself ([`own`]).

use core::arch::asm;
use core::sync::atomic::{AtomicBool, Ordering};

use x86_64::VirtAddr;
use x86_64::registers::model_specific::{GsBase, KernelGsBase};
use x86_64::registers::segmentation::GS;

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

/// There is a base of user mode.
static HAS_USERS: AtomicBool = AtomicBool::new(false);

/// Gives user mode a base on the running core, null, which is not in use yet.
pub(in crate::cpu) fn set_users() {
    KernelGsBase::write(VirtAddr::zero());
    HAS_USERS.store(true, Ordering::Relaxed);
}

/// The base was the user's, and is the kernel's until it is given back.
#[must_use = "the base is to be given back"]
pub struct Swapped(bool);

/// Makes the base that of `core`, the running one, whatever it is. For handlers of what comes at
/// any instruction.
#[inline(always)]
pub fn own(core: &'static CoreBlock) -> Swapped {
    Swapped(HAS_USERS.load(Ordering::Relaxed) && swap_unless_own(core))
}

#[inline(never)]
fn swap_unless_own(core: &'static CoreBlock) -> bool {
    let is_users = GsBase::read() != core.this;
    if is_users {
        swap();
    }
    is_users
}

/// The same for handlers that nothing but user mode leads to with the user's base.
#[inline(always)]
pub fn own_if(is_from_user: bool) -> Swapped {
    if is_from_user {
        swap();
    }
    Swapped(is_from_user)
}

impl Swapped {
    /// Makes the base what it was.
    #[inline(always)]
    pub fn give_back(self) {
        if self.0 {
            swap();
        }
    }
}

#[inline(always)]
fn swap() {
    // SAFETY: what is compiled finds the kernel's base behind it, or nothing that asks for it.
    unsafe { GS::swap() };
}
