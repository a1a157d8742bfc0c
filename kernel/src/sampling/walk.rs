//! What the walk over frame pointers knows of this kernel: which code it has,
//! and which stacks the running core.

use profiler::address::{CodeAddress, CodeRange, StackAddress};
use profiler::unwind::{Rule, StackBounds, Target, TrapFrameLayout};

use crate::assembly;
use crate::cpu::CoreBlock;
use crate::memory::image;
use crate::memory::stacks::{self, Stack};
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

#[inline]
fn bounds(stack: &Stack) -> StackBounds {
    StackBounds {
        low: stack.low.as_u64(),
        high: stack.high.as_u64(),
    }
}

// SAFETY: `stack_of` returns bounds of this core's stacks or a task's, all of which stay
// mapped for ever.
unsafe impl Target for Walkable {
    #[inline]
    fn text(&self) -> CodeRange {
        image::code()
    }

    #[inline]
    fn rule(&self, address: CodeAddress) -> Rule {
        assembly::rule(address)
    }

    #[inline]
    fn has_root_rules(&self) -> bool {
        true
    }

    #[inline]
    fn is_called_by_stub(&self, address: CodeAddress) -> bool {
        image::trap_calls().contains(address)
    }

    #[inline]
    fn trap_frame_layout(&self) -> TrapFrameLayout {
        use core::mem::{offset_of, size_of};
        const {
            TrapFrameLayout {
                fp: (offset_of!(TrapFrame, rbp) / WORD) as u64,
                vector: Some((offset_of!(TrapFrame, vector) / WORD) as u64),
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
            .map(bounds)
            .find(|stack| stack.holds_pointer(sp))
            .or_else(|| stacks::of_task_at(sp.0).map(|stack| bounds(&stack)))
    }
}
