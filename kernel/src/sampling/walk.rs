//! What the walk over frame pointers knows of this kernel: which code it has,
//! and which stacks the running core.

use profiler::address::{CodeAddress, CodeRange, StackAddress};
use profiler::unwind::{Kernel, Rule, Slot, StackBounds, TrapFrameLayout};

use crate::assembly;
use crate::cpu::CoreBlock;
use crate::memory::image;
use crate::trap::TrapFrame;

/// The running core, as the walk sees it.
#[derive(Clone, Copy)]
pub struct Walkable {
    core: &'static CoreBlock,
}

impl Walkable {
    /// `core` must be the running core: only its stacks stand still while it
    /// looks at them.
    pub fn new(core: &'static CoreBlock) -> Self {
        Self { core }
    }
}

const WORD: usize = 8;

impl Kernel for Walkable {
    #[inline]
    fn text(&self) -> CodeRange {
        image::code()
    }

    #[inline]
    fn rule(&self, address: CodeAddress) -> Rule {
        assembly::rule(address)
    }

    #[inline]
    fn trap_frame_layout(&self) -> TrapFrameLayout {
        use core::mem::{offset_of, size_of};
        const {
            TrapFrameLayout {
                fp: (offset_of!(TrapFrame, rbp) / WORD) as u64,
                vector: (offset_of!(TrapFrame, vector) / WORD) as u64,
                pc: (offset_of!(TrapFrame, rip) / WORD) as u64,
                sp: (offset_of!(TrapFrame, rsp) / WORD) as u64,
                words: (size_of::<TrapFrame>() / WORD) as u64,
            }
        }
    }

    #[inline]
    fn stack_of(&self, sp: StackAddress) -> Option<StackBounds> {
        self.core
            .stacks
            .iter()
            .map(|stack| StackBounds {
                low: stack.low.as_u64(),
                high: stack.high.as_u64(),
            })
            .find(|stack| stack.holds_pointer(sp))
    }

    #[inline]
    fn load(&self, slot: Slot) -> u64 {
        let word = slot.address() as *const u64;
        // SAFETY: the slot is aligned and lies on a stack that `stack_of` gave: one
        // of this core's, all of which stay mapped for ever. Only this core writes
        // to them, and it is here; volatile, because the compiler does not know what
        // lies there.
        unsafe { word.read_volatile() }
    }
}
