//! Stacks: where each lies, what is below it, and whose an address is.
//!
//! Every stack has a slot of [`SLOT`] bytes of address space and fills the slot's
//! upper end; nothing is mapped below it in the slot, so an overflow faults at
//! once. A core's slots follow each other, by kind, and cores follow each other:
//! from an address alone it is known which core's which stack it belongs to, or
//! into which one's guard it fell.
//!
//! A stack's size is a power of two that divides its address. Its top 16 bytes
//! hold, in the upper word, the address of the core's block, for code that
//! cannot trust the GS base; the first push goes below them. Its lowest
//! words hold a canary: a guard page catches what runs into it, the canary what
//! came close or jumped over.

use core::fmt;
use core::ops::Range;

use x86_64::VirtAddr;
use x86_64::structures::paging::Page;

use super::frames::FRAME;
use super::paging;
use crate::cpu::{self, CoreBlock};

const AREA: VirtAddr = VirtAddr::new_truncate(0xffff_fe00_0000_0000);
/// Address space for one stack and the hole below it, in bytes.
pub const SLOT: u64 = 128 << 10;
const SLOTS_PER_CORE: u64 = 8;
const CORE_BYTES: u64 = SLOT * SLOTS_PER_CORE;

/// What a stack is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum StackKind {
    /// What the core runs on, interrupts included.
    Kernel,
    /// Where NMIs land.
    Nmi,
    /// Where NMIs are handled, one in another if need be: see `trap::nmi`.
    NmiHandler,
    /// #DF: the stack that was in use may be what is broken.
    DoubleFault,
    /// #DB: may come between any two instructions.
    Debug,
    /// #MC: likewise.
    MachineCheck,
}

impl StackKind {
    /// All of them, in the order in which they lie in memory.
    pub const ALL: [Self; 6] = [
        Self::Kernel,
        Self::Nmi,
        Self::NmiHandler,
        Self::DoubleFault,
        Self::Debug,
        Self::MachineCheck,
    ];

    /// The size of such a stack, in bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        match self {
            Self::Kernel => 64 << 10,
            Self::NmiHandler => 32 << 10,
            _ => 16 << 10,
        }
    }

    /// The name, as messages have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Nmi => "NMI",
            Self::NmiHandler => "NMI handler",
            Self::DoubleFault => "double fault",
            Self::Debug => "debug",
            Self::MachineCheck => "machine check",
        }
    }
}

/// A stack.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Stack {
    /// What it is for.
    pub kind: StackKind,
    /// The lowest mapped address.
    pub low: VirtAddr,
    /// The first address past it.
    pub high: VirtAddr,
}

impl Stack {
    /// Where the stack pointer starts: below the block's address.
    #[must_use]
    pub fn entry(&self) -> VirtAddr {
        self.high - 16
    }

    fn place(core: u32, kind: StackKind) -> Self {
        let high = AREA + u64::from(core) * CORE_BYTES + (kind as u64 + 1) * SLOT;
        Self {
            kind,
            low: high - kind.bytes(),
            high,
        }
    }

    fn canary(&self) -> Range<*mut u64> {
        let low: *mut u64 = self.low.as_mut_ptr();
        low..low.wrapping_add(CANARY_WORDS)
    }
}

const CANARY_WORDS: usize = 4;

/// Words that no address and no small number looks like, other for each stack.
fn canary_word(at: *const u64) -> u64 {
    VirtAddr::from_ptr(at).as_u64().rotate_left(23) ^ 0x0cab_a2e1_ca11_ab1e
}

/// Maps all stacks of core `core` and writes their canaries.
///
/// # Panics
///
/// If memory is used up, or the core has its stacks already.
pub fn create(core: u32) -> [Stack; StackKind::ALL.len()] {
    StackKind::ALL.map(|kind| {
        let stack = Stack::place(core, kind);
        for page in 0..kind.bytes() / FRAME {
            paging::map_stack_page(Page::containing_address(stack.low + page * FRAME));
        }
        let canary = stack.canary();
        let mut at = canary.start;
        while at < canary.end {
            // SAFETY: the stack's lowest bytes, mapped above and not in use.
            unsafe { at.write_volatile(canary_word(at)) };
            at = at.wrapping_add(1);
        }
        stack
    })
}

/// Writes the address of the core's block to the top of a stack.
pub fn write_owner(stack: &Stack, core: &'static CoreBlock) {
    let at: *mut u64 = (stack.high - 8).as_mut_ptr();
    // SAFETY: the stack's highest word: mapped, aligned, above all that is pushed.
    unsafe { at.write_volatile(VirtAddr::from_ptr(core).as_u64()) };
}

/// Looks at the canaries of all stacks of all cores.
///
/// # Errors
///
/// The core and kind of the first stack whose canary was overwritten.
pub fn check_all_canaries() -> Result<(), (u32, StackKind)> {
    for core in cpu::cores() {
        for stack in &core.stacks {
            let canary = stack.canary();
            let mut at = canary.start;
            while at < canary.end {
                // SAFETY: stacks stay mapped for ever once they are in a block.
                let word = unsafe { at.read_volatile() };
                if word != canary_word(at) {
                    return Err((core.index, stack.kind));
                }
                at = at.wrapping_add(1);
            }
        }
    }
    Ok(())
}

/// Ends the run if a canary was overwritten.
///
/// # Panics
///
/// The message names the stack.
pub fn assert_canaries() {
    if let Err((core, kind)) = check_all_canaries() {
        panic!(
            "the canary of core {core}'s {} stack is overwritten",
            kind.name()
        );
    }
}

/// What an address in the stack area is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// The core whose stack it is.
    pub core: u32,
    /// Which of its stacks.
    pub kind: StackKind,
    /// Whether the address lies below the stack, where nothing is mapped.
    pub in_guard: bool,
}

/// Whose stack `address` lies on, or in whose guard.
#[must_use]
pub fn locate(address: VirtAddr) -> Option<Place> {
    let offset = address.as_u64().checked_sub(AREA.as_u64())?;
    let core = u32::try_from(offset / CORE_BYTES).ok()?;
    let slot = usize::try_from(offset % CORE_BYTES / SLOT).ok()?;
    let kind = *StackKind::ALL.get(slot)?;
    let exists = usize::try_from(core).is_ok_and(|core| core < cpu::cores().len());
    exists.then(|| Place {
        core,
        kind,
        in_guard: address < Stack::place(core, kind).low,
    })
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { core, kind, .. } = self;
        let guard = if self.in_guard { "guard page of " } else { "" };
        write!(f, "{guard}core {core}'s {} stack", kind.name())
    }
}
