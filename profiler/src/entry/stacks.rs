//! Stacks for traps, for kernels that have none of their own: a static.

use core::cell::UnsafeCell;
use core::mem::offset_of;
use core::ptr;
use core::sync::atomic::{AtomicU64, Ordering};

use super::fast::FastWord;
use super::nmi::NmiLayout;
use crate::address::StackAddress;
use crate::unwind::StackBounds;

/// The bytes of each stack: some handlers within each other.
const STACK_BYTES: usize = 16 << 10;

/// The bytes from the debug stack's end down to that of the next stack below it: see
/// [`NmiLayout::slot_bytes`].
const SLOT_BYTES: usize = 2 * STACK_BYTES;

/// Above the first push of a stack: a free word, and the address of the core's block.
const HEAD_BYTES: u64 = 16;

#[repr(C, align(4096))]
struct Stack(UnsafeCell<[u8; STACK_BYTES]>);

impl Stack {
    const fn new() -> Self {
        Self(UnsafeCell::new([0; STACK_BYTES]))
    }

    fn low(&self) -> u64 {
        self.0.get().addr() as u64
    }

    fn high(&self) -> u64 {
        self.low() + STACK_BYTES as u64
    }
}

/// The stacks of a core, in the order that [`super::nmi`] asks for. Below the debug stack is a
/// hole, by whose addresses an NMI over a #DB sees that it has no room.
#[repr(C, align(32768))]
struct CoreStacks {
    landing: Stack,
    handlers: Stack,
    _hole: Stack,
    debug: Stack,
}

const _: () = assert!(align_of::<CoreStacks>() == SLOT_BYTES);

/// What the NMI's entry finds at the top of the landing: the core, and where its stacks
/// are.
///
/// ```
/// use profiler::entry::stacks::TrapStacks;
///
/// static STACKS: TrapStacks<2> = TrapStacks::new();
/// STACKS.set_up(1);
/// let block = STACKS.block(1).unwrap();
/// assert_eq!((block.core(), block.without_room()), (1, 0));
/// ```
#[repr(C)]
pub struct Block {
    landing_low: AtomicU64,
    handlers_low: AtomicU64,
    handlers_high: AtomicU64,
    /// NMIs that found no room on the handler stack.
    no_room: AtomicU64,
    core: AtomicU64,
    fast: FastWord,
}

impl Block {
    /// The index of the core.
    #[must_use]
    #[inline]
    #[allow(clippy::cast_possible_truncation)] // written from 32 bits
    pub fn core(&self) -> u32 {
        self.core.load(Ordering::Relaxed) as u32
    }

    /// Returns true if code with this stack pointer is a handler of the core's NMIs.
    #[must_use]
    #[inline]
    pub fn is_in_handler(&self, sp: u64) -> bool {
        let low = self.handlers_low.load(Ordering::Relaxed);
        sp.wrapping_sub(low) < STACK_BYTES as u64
    }

    /// The NMIs of the core that there was no room for.
    #[must_use]
    pub fn without_room(&self) -> u64 {
        self.no_room.load(Ordering::Relaxed)
    }
}

/// Where the NMI's entry finds what.
pub const LAYOUT: NmiLayout = NmiLayout {
    landing_low: offset_of!(Block, landing_low),
    landing_bytes: STACK_BYTES as u64,
    handlers_low: offset_of!(Block, handlers_low),
    handlers_high: offset_of!(Block, handlers_high),
    handlers_bytes: STACK_BYTES as u64,
    trap_stacks_bytes: size_of::<CoreStacks>() as u64,
    slot_bytes: SLOT_BYTES as u64,
    stack_bytes: STACK_BYTES as u64,
    no_room: offset_of!(Block, no_room),
    fast: offset_of!(Block, fast),
};

/// The stacks of the NMIs and debug exceptions of `CORES` cores.
///
/// ```
/// use profiler::address::StackAddress;
/// use profiler::entry::stacks::TrapStacks;
///
/// static STACKS: TrapStacks<4> = TrapStacks::new();
///
/// let tops = STACKS.set_up(2); // to the TSS of core 2
/// assert!(STACKS.stack_of(2, StackAddress(tops.nmi)).is_some());
/// assert!(STACKS.stack_of(1, StackAddress(tops.nmi)).is_none());
/// ```
pub struct TrapStacks<const CORES: usize> {
    stacks: [CoreStacks; CORES],
    blocks: [Block; CORES],
}

// SAFETY: the stacks are used by the processor that they belong to alone; the blocks are
// atomics.
unsafe impl<const CORES: usize> Sync for TrapStacks<CORES> {}

/// Where a core's interrupt stacks begin: what its TSS is to have.
///
/// ```
/// use profiler::entry::stacks::{Tops, TrapStacks};
///
/// static STACKS: TrapStacks<1> = TrapStacks::new();
///
/// /// The entries of a task state segment's table of interrupt stacks.
/// fn interrupt_stacks() -> [u64; 2] {
///     let Tops { nmi, debug } = STACKS.set_up(0);
///     [nmi, debug]
/// }
/// # assert!(interrupt_stacks()[0] < interrupt_stacks()[1]);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tops {
    /// For the gate of NMIs.
    pub nmi: u64,
    /// For the gate of debug exceptions.
    pub debug: u64,
}

impl<const CORES: usize> TrapStacks<CORES> {
    /// Stacks that no core has.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            stacks: [const {
                CoreStacks {
                    landing: Stack::new(),
                    handlers: Stack::new(),
                    _hole: Stack::new(),
                    debug: Stack::new(),
                }
            }; CORES],
            blocks: [const {
                Block {
                    landing_low: AtomicU64::new(0),
                    handlers_low: AtomicU64::new(0),
                    handlers_high: AtomicU64::new(0),
                    no_room: AtomicU64::new(0),
                    core: AtomicU64::new(0),
                    fast: FastWord::new(),
                }
            }; CORES],
        }
    }

    /// Prepares the stacks of the core with this index, before its TSS names them.
    ///
    /// # Panics
    ///
    /// If there are none for it.
    pub fn set_up(&'static self, core: u32) -> Tops {
        let stacks = &self.stacks[core as usize];
        let block = &self.blocks[core as usize];
        for (word, value) in [
            (&block.landing_low, stacks.landing.low()),
            (&block.handlers_low, stacks.handlers.low()),
            (&block.handlers_high, stacks.handlers.high()),
            (&block.core, core.into()),
        ] {
            word.store(value, Ordering::Relaxed);
        }
        block.fast.set_up(core);
        for stack in [&stacks.landing, &stacks.debug] {
            let head: *mut u64 = stack.0.get().cast();
            let highest = head.wrapping_add(STACK_BYTES / 8 - 1);
            // SAFETY: the stack's highest word, aligned; no processor uses the stack yet.
            unsafe { highest.write_volatile(ptr::from_ref(block).addr() as u64) };
        }
        Tops {
            nmi: stacks.landing.high() - HEAD_BYTES,
            debug: stacks.debug.high() - HEAD_BYTES,
        }
    }

    /// The stack of the core with this index that the stack pointer is on, if it is one of
    /// these: for [`crate::sampler::Target::stack_of`].
    #[must_use]
    pub fn stack_of(&self, core: u32, sp: StackAddress) -> Option<StackBounds> {
        let stacks = self.stacks.get(core as usize)?;
        let bounds = |stack: &Stack| StackBounds {
            low: stack.low(),
            high: stack.high(),
        };
        [&stacks.handlers, &stacks.debug, &stacks.landing]
            .map(bounds)
            .into_iter()
            .find(|stack| stack.holds_pointer(sp))
    }

    /// The block of the core whose debug stack the trap frame at `address` lies on.
    #[must_use]
    pub fn block_of(&self, address: u64) -> Option<&Block> {
        let first = self.stacks.as_ptr().addr() as u64;
        let index = address.checked_sub(first)? / size_of::<CoreStacks>() as u64;
        self.blocks.get(usize::try_from(index).ok()?)
    }

    /// The NMIs of the core with this index that there was no room for: for
    /// [`crate::sampler::Target::unclaimed_nmis`].
    #[must_use]
    pub fn without_room(&self, core: u32) -> u64 {
        self.block(core).map_or(0, Block::without_room)
    }

    /// The block of the core with this index.
    #[must_use]
    pub fn block(&self, core: u32) -> Option<&Block> {
        self.blocks.get(core as usize)
    }
}

impl<const CORES: usize> Default for TrapStacks<CORES> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::nmi::ROOM;

    /// As `nmi_aside` does.
    fn has_room(sp: u64) -> bool {
        (sp - ROOM as u64) % LAYOUT.slot_bytes >= LAYOUT.slot_bytes - LAYOUT.stack_bytes
    }

    #[test]
    fn an_nmi_over_a_debug_exception_has_room_down_to_the_stacks_end() {
        let stacks: &TrapStacks<2> = Box::leak(Box::default());
        for core in 0..2 {
            let low = stacks.stacks[core as usize].debug.low();
            let tops = stacks.set_up(core);
            for sp in (low + 8..=tops.debug).step_by(8) {
                assert_eq!(has_room(sp), sp >= low + ROOM as u64, "{:#x}", sp - low);
            }
        }
    }
}
