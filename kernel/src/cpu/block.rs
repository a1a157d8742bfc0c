//! What each core has for itself.

use alloc::boxed::Box;
use core::mem::offset_of;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use kernel_core::postmortem::Cores;
use profiler::entry::fast::FastWord;
use x86_64::VirtAddr;

use super::descriptors::Descriptors;
use super::stack::{Stack, StackKind};

/// A core's own state. Other cores may read all of it; what changes is atomic.
///
/// Assembly knows some fields by their offsets: [`CoreBlock::this`],
/// [`CoreBlock::entry_stack`], and what the NMI's entry needs. It has a page of its own: where
/// programs are isolated their page tables have it too, for what entries keep in it.
#[repr(C, align(4096))]
pub struct CoreBlock {
    /// The block's own address, at offset 0, so that `gs:[0]` is a pointer to it.
    pub this: VirtAddr,
    /// Where the stack pointer starts when the core enters the kernel.
    pub entry_stack: VirtAddr,
    /// Dense, from 0; the first core is 0.
    pub index: u32,
    /// The core's local APIC id.
    pub apic_id: u32,
    /// All stacks of the core, in the order of [`StackKind::ALL`].
    pub stacks: [Stack; StackKind::ALL.len()],
    /// Segments and interrupt stacks.
    pub descriptors: Descriptors,
    /// The core is up: interrupts on, answering.
    pub online: AtomicBool,
    /// NMIs that were not claimed. A source that was just switched off can still
    /// deliver one, so they are counted, not fatal.
    pub unclaimed_nmis: AtomicU64,
    /// NMIs that found no room for one more handler on the handler stack.
    pub nmis_without_room: AtomicU64,
    /// What NMIs try first.
    pub fast: FastWord,
    /// How far the core's variables are from the template's.
    pub(super) per_core_distance: usize,
}

impl CoreBlock {
    /// The block of core `index`, for ever.
    pub(super) fn create(
        index: u32,
        apic_id: u32,
        stacks: [Stack; StackKind::ALL.len()],
        per_core_distance: usize,
    ) -> &'static Self {
        let block = Box::leak(Box::new(Self {
            this: VirtAddr::zero(),
            entry_stack: stacks[StackKind::Kernel as usize].entry(),
            index,
            apic_id,
            stacks,
            descriptors: Descriptors::create(&stacks),
            online: AtomicBool::new(false),
            unclaimed_nmis: AtomicU64::new(0),
            nmis_without_room: AtomicU64::new(0),
            fast: FastWord::new(),
            per_core_distance,
        }));
        block.this = VirtAddr::from_ptr(block);
        let block: &'static Self = block;
        block.fast.set_up(index);
        block
    }

    /// Where in a block the tool finds what it reads of a dead kernel's.
    #[must_use]
    pub(super) fn places() -> Cores {
        let at = |offset: usize| offset as u64;
        Cores {
            index: at(offset_of!(Self, index)),
            apic_id: at(offset_of!(Self, apic_id)),
            online: at(offset_of!(Self, online)),
            distance: at(offset_of!(Self, per_core_distance)),
            ..Cores::default()
        }
    }

    /// The core's stack of this kind.
    #[must_use]
    pub fn stack(&self, kind: StackKind) -> &Stack {
        &self.stacks[kind as usize]
    }

    /// Counts an unclaimed NMI.
    #[inline]
    pub fn count_unclaimed_nmi(&self) {
        self.unclaimed_nmis.fetch_add(1, Ordering::Relaxed);
    }

    /// NMIs that were not claimed, or that there was no room for.
    #[must_use]
    pub fn stray_nmis(&self) -> u64 {
        self.nmis_without_room.load(Ordering::Relaxed) + self.unclaimed_nmis.load(Ordering::Relaxed)
    }
}
