//! Stacks: where each lies, what is below it, and whose an address is.
//!
//! Every stack has a slot of [`SLOT`] bytes of address space and fills the slot's
//! upper end; nothing is mapped below it in the slot, so an overflow faults at
//! once. A core's slots follow each other, by kind, and cores follow each other:
//! from an address alone it is known which core's which stack it belongs to, or
//! into which one's guard it fell.
//!
//! Tasks have stacks like that as well, in an area behind, by their numbers. They
//! stay mapped when a task ends, and serve the next one with its number: whatever
//! a walk finds, it may look at.
//!
//! A stack's size is a power of two that divides its address. Its top 16 bytes
//! hold, in the upper word of a core's stack, the address of the core's block, for code that
//! cannot trust the GS base; the first push goes below them. Its lowest
//! words hold a canary: a guard page catches what runs into it, the canary what
//! came close or jumped over.

use core::fmt;
use core::ops::Range;
use core::sync::atomic::{AtomicU16, Ordering};

use x86_64::VirtAddr;
use x86_64::structures::paging::Page;

use super::paging;
use crate::cpu::{self, CoreBlock};
use crate::task;

const AREA: VirtAddr = VirtAddr::new_truncate(0xffff_fe00_0000_0000);
/// Address space for one stack and the hole below it, in bytes.
pub const SLOT: u64 = 128 << 10;
const SLOTS_PER_CORE: u64 = 8;
const CORE_BYTES: u64 = SLOT * SLOTS_PER_CORE;

/// The size of a stack that the processor switches to, in bytes.
pub const SWITCHED_STACK: u64 = 16 << 10;

/// From the lowest address of an NMI's landing to the end of the last stack that traps
/// have for themselves. What lies between belongs to nothing else.
pub const TRAP_STACKS_BYTES: u64 =
    StackKind::Nmi.bytes() + (StackKind::MachineCheck as u64 - StackKind::Nmi as u64) * SLOT;

/// Where the stacks of tasks lie, a slot each, by the tasks' numbers.
const TASK_AREA: VirtAddr = VirtAddr::new_truncate(0xffff_fe01_0000_0000);
/// The size of a task's stack, in bytes.
const TASK_STACK: u64 = 64 << 10;

/// Slots of tasks whose stacks are mapped: those below.
static TASK_STACKS: AtomicU16 = AtomicU16::new(0);

/// What a stack is for. Those of traps are next to each other: see `trap::nmi`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum StackKind {
    /// What the core starts on, and idles on.
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
    /// A task's own, interrupts included.
    Task,
}

impl StackKind {
    /// Those that each core has, in the order in which they lie in memory.
    pub const ALL: [Self; 6] = [
        Self::Kernel,
        Self::Nmi,
        Self::NmiHandler,
        Self::DoubleFault,
        Self::Debug,
        Self::MachineCheck,
    ];

    /// Those that the processor switches to and that are not an NMI's.
    pub const SWITCHED: [Self; 3] = [Self::DoubleFault, Self::Debug, Self::MachineCheck];

    /// The size of such a stack, in bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        match self {
            Self::Kernel => 64 << 10,
            Self::NmiHandler => 32 << 10,
            Self::Task => TASK_STACK,
            Self::Nmi | Self::DoubleFault | Self::Debug | Self::MachineCheck => SWITCHED_STACK,
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
            Self::Task => "task",
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

    /// Returns true if code with this stack pointer runs on the stack.
    #[must_use]
    #[inline]
    pub fn holds(&self, sp: u64) -> bool {
        // Its highest word is never popped.
        self.low.as_u64() <= sp && sp < self.high.as_u64()
    }

    /// The stack pointer that the processor pushed when it last switched to the stack,
    /// which must be a core's.
    #[must_use]
    pub fn interrupted_sp(&self) -> u64 {
        let at: *const u64 = (self.entry() - 16).as_ptr();
        // SAFETY: on the stack, which is mapped and stays so for ever. It is written by the
        // processor alone.
        unsafe { at.read_volatile() }
    }

    fn place(core: u32, kind: StackKind) -> Self {
        let high = AREA + u64::from(core) * CORE_BYTES + (kind as u64 + 1) * SLOT;
        Self {
            kind,
            low: high - kind.bytes(),
            high,
        }
    }

    /// The stack of the task with this number, made or not.
    #[must_use]
    pub fn of_task(number: u16) -> Self {
        let high = TASK_AREA + (u64::from(number) + 1) * SLOT;
        Self {
            kind: StackKind::Task,
            low: high - TASK_STACK,
            high,
        }
    }

    /// Maps the stack and writes its canary. Whether there was memory for it.
    fn map(&self) -> bool {
        let pages = Page::range(
            Page::containing_address(self.low),
            Page::containing_address(self.high),
        );
        if !pages.into_iter().all(paging::map_stack_page) {
            return false;
        }
        let canary = self.canary();
        let mut at = canary.start;
        while at < canary.end {
            // SAFETY: the stack's lowest bytes, mapped above and not in use.
            unsafe { at.write_volatile(canary_word(at)) };
            at = at.wrapping_add(1);
        }
        true
    }

    /// Whether the canary is as it was written.
    fn is_canary_whole(&self) -> bool {
        let canary = self.canary();
        let mut at = canary.start;
        while at < canary.end {
            // SAFETY: callers have a stack that is mapped, and stays so for ever.
            let word = unsafe { at.read_volatile() };
            if word != canary_word(at) {
                return false;
            }
            at = at.wrapping_add(1);
        }
        true
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
        assert!(stack.map(), "no memory for a stack");
        stack
    })
}

/// Maps the stack of the task with this number, which is one more than the last one
/// that was made. Whether there was memory for it; if not, no more are to be made.
#[must_use]
pub fn create_for_task(number: u16) -> bool {
    let made = Stack::of_task(number).map();
    if made {
        TASK_STACKS.store(number + 1, Ordering::Release);
    }
    made
}

/// The task's stack that a stack pointer is on, if it is mapped.
#[must_use]
#[inline]
pub fn of_task_at(sp: u64) -> Option<Stack> {
    // A full descending stack: the pointer may equal the upper end.
    let offset = sp.wrapping_sub(TASK_AREA.as_u64()).wrapping_sub(1);
    let number = u16::try_from(offset / SLOT).ok()?;
    let stack = (number < TASK_STACKS.load(Ordering::Acquire)).then(|| Stack::of_task(number));
    stack.filter(|stack| stack.low.as_u64() <= sp)
}

/// Writes the address of the core's block to the top of a stack.
pub fn write_owner(stack: &Stack, core: &'static CoreBlock) {
    let at: *mut u64 = (stack.high - 8).as_mut_ptr();
    // SAFETY: the stack's highest word: mapped, aligned, above all that is pushed.
    unsafe { at.write_volatile(VirtAddr::from_ptr(core).as_u64()) };
}

/// Looks at the canaries of all stacks.
///
/// # Errors
///
/// Whose is the first that was overwritten.
pub fn check_all_canaries() -> Result<(), Owner> {
    for core in cpu::cores() {
        for stack in &core.stacks {
            if !stack.is_canary_whole() {
                return Err(Owner::Core(core.index, stack.kind));
            }
        }
    }
    let tasks = 0..TASK_STACKS.load(Ordering::Acquire);
    match tasks
        .into_iter()
        .find(|&number| !Stack::of_task(number).is_canary_whole())
    {
        Some(number) => Err(Owner::Task(number)),
        None => Ok(()),
    }
}

/// Ends the run if a canary was overwritten.
///
/// # Panics
///
/// The message names the stack.
pub fn assert_canaries() {
    if let Err(owner) = check_all_canaries() {
        panic!("the canary of {owner} is overwritten");
    }
}

/// Whose a stack is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Owner {
    /// A core's, and which of its stacks.
    Core(u32, StackKind),
    /// The task's with this number.
    Task(u16),
}

/// What an address in the stack area is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// Whose stack it is.
    pub owner: Owner,
    /// Whether the address lies below the stack, where nothing is mapped.
    pub in_guard: bool,
}

/// Whose stack `address` lies on, or in whose guard.
#[must_use]
pub fn locate(address: VirtAddr) -> Option<Place> {
    let owner = task_at(address).or_else(|| core_at(address))?;
    let stack = match owner {
        Owner::Core(core, kind) => Stack::place(core, kind),
        Owner::Task(number) => Stack::of_task(number),
    };
    Some(Place {
        owner,
        in_guard: address < stack.low,
    })
}

fn task_at(address: VirtAddr) -> Option<Owner> {
    let offset = address.as_u64().checked_sub(TASK_AREA.as_u64())?;
    let number = u16::try_from(offset / SLOT).ok()?;
    (number < TASK_STACKS.load(Ordering::Acquire)).then_some(Owner::Task(number))
}

fn core_at(address: VirtAddr) -> Option<Owner> {
    let offset = address.as_u64().checked_sub(AREA.as_u64())?;
    let core = u32::try_from(offset / CORE_BYTES).ok()?;
    let slot = usize::try_from(offset % CORE_BYTES / SLOT).ok()?;
    let kind = *StackKind::ALL.get(slot)?;
    let exists = usize::try_from(core).is_ok_and(|core| core < cpu::cores().len());
    exists.then_some(Owner::Core(core, kind))
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Core(core, kind) => write!(f, "core {core}'s {} stack", kind.name()),
            Self::Task(number) => {
                let name = task::name_of(number);
                write!(f, "the stack of task {number} ({})", name.as_str())
            }
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let guard = if self.in_guard { "guard page of " } else { "" };
        write!(f, "{guard}{}", self.owner)
    }
}
