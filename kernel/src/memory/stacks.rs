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
use core::sync::atomic::{AtomicBool, AtomicU16, Ordering};

use kernel_core::postmortem;
use profiler::address::StackAddress;
use profiler::format::Text;
use profiler::unwind::StackBounds;
use spin::Once;
use x86_64::VirtAddr;
use x86_64::structures::paging::Page;

use super::frames::FRAME;
use super::paging;
pub use crate::cpu::stack::{Stack, StackKind};
use crate::cpu::{self, CoreBlock};

/// Where stacks lie, those of tasks as well.
pub(super) const AREA: VirtAddr = VirtAddr::new_truncate(0xffff_fe00_0000_0000);
/// Address space for one stack and the hole below it, in bytes.
pub const SLOT: u64 = 128 << 10;
const SLOTS_PER_CORE: u64 = 8;
const CORE_BYTES: u64 = SLOT * SLOTS_PER_CORE;

/// From the lowest address of an NMI's landing to the end of the last stack that traps
/// have for themselves. What lies between belongs to nothing else.
pub const TRAP_STACKS_BYTES: u64 =
    StackKind::Nmi.bytes() + (StackKind::MachineCheck as u64 - StackKind::Nmi as u64) * SLOT;

/// Where the stacks of tasks lie, a slot each, by the tasks' numbers.
const TASK_AREA: VirtAddr = VirtAddr::new_truncate(0xffff_fe01_0000_0000);

/// Slots of tasks whose stacks are mapped: those below.
static TASK_STACKS: AtomicU16 = AtomicU16::new(0);

/// Where the tool finds the stacks in a dead kernel's memory.
#[must_use]
pub fn places() -> postmortem::Stacks {
    let kibibytes = StackKind::ALL.iter().rev();
    postmortem::Stacks {
        cores: AREA.as_u64(),
        core_stride: CORE_BYTES,
        slot: SLOT,
        kibibytes: kibibytes.fold(0, |sizes, kind| sizes << 8 | kind.bytes() >> 10),
        tasks: TASK_AREA.as_u64(),
        task_bytes: StackKind::Task.bytes(),
        made: (&raw const TASK_STACKS).addr() as u64,
    }
}

fn place(core: u32, kind: StackKind) -> Stack {
    let high = AREA + u64::from(core) * CORE_BYTES + (kind as u64 + 1) * SLOT;
    Stack {
        kind,
        low: high - kind.bytes(),
        high,
    }
}

/// The page that a task's stack begins in, made or not.
#[must_use]
pub fn top_page_of_task(number: u16) -> VirtAddr {
    of_task(number).high - FRAME
}

/// Returns true if a page is one in which a task's stack begins.
#[must_use]
pub fn is_top_of_task(page: VirtAddr) -> bool {
    task_at(page).is_some_and(
        |owner| matches!(owner, Owner::Task(number) if top_page_of_task(number) == page),
    )
}

/// The stack of the task with this number, made or not.
#[must_use]
pub fn of_task(number: u16) -> Stack {
    let kind = StackKind::Task;
    let high = TASK_AREA + (u64::from(number) + 1) * SLOT;
    Stack {
        kind,
        low: high - kind.bytes(),
        high,
    }
}

/// Stacks are painted when they are made, so that it can be told later how much of each was used.
static PAINTS: AtomicBool = AtomicBool::new(false);

/// What a word of a stack has that was never written.
const PAINT: u64 = 0x5a5a_7e57_57ac_5a5a;

/// From now on stacks are painted when they are made: it takes their memory, used or not.
pub fn paint_from_now_on() {
    PAINTS.store(true, Ordering::Relaxed);
}

/// Returns true if stacks are painted.
#[must_use]
pub fn are_painted() -> bool {
    PAINTS.load(Ordering::Relaxed)
}

/// All words of a stack above its canary and below what says whose it is.
fn words_above_canary(stack: &Stack) -> Range<*mut u64> {
    canary(stack).end..stack.entry().as_mut_ptr()
}

/// The most bytes of a painted stack that were ever in use.
fn most_used(stack: &Stack) -> u64 {
    let words = words_above_canary(stack);
    let mut at = words.start;
    // SAFETY: callers have a stack that is mapped, and stays so for ever.
    while at < words.end && unsafe { at.read_volatile() } == PAINT {
        at = at.wrapping_add(1);
    }
    stack.entry() - VirtAddr::from_ptr(at)
}

/// What is known of a stack.
pub struct Usage {
    /// Whose it is.
    pub owner: Owner,
    /// The bytes that it has.
    pub bytes: u64,
    /// The most that were ever in use, if stacks are painted.
    pub most_used: Option<u64>,
    /// Its canary is as it was written.
    pub is_canary_whole: bool,
}

/// All stacks that there are, those of cores first.
pub fn usage() -> impl Iterator<Item = Usage> {
    let of_cores = cpu::cores().iter().flat_map(|core| {
        let stacks = core.stacks.iter();
        stacks.map(|stack| (Owner::Core(core.index, stack.kind), *stack))
    });
    let tasks = 0..TASK_STACKS.load(Ordering::Acquire);
    let of_tasks = tasks.map(|number| (Owner::Task(number), of_task(number)));
    of_cores.chain(of_tasks).map(|(owner, stack)| Usage {
        owner,
        bytes: stack.kind.bytes(),
        most_used: are_painted().then(|| most_used(&stack)),
        is_canary_whole: is_canary_whole(&stack),
    })
}

/// Maps the stack and writes its canary. Returns false if memory is used up.
fn map(stack: &Stack) -> bool {
    let pages = Page::range(
        Page::containing_address(stack.low),
        Page::containing_address(stack.high),
    );
    if !pages.into_iter().all(paging::map_stack_page) {
        return false;
    }
    let words = canary(stack);
    let mut at = words.start;
    while at < words.end {
        // SAFETY: the stack's lowest bytes, mapped above and not in use.
        unsafe { at.write_volatile(canary_word(at)) };
        at = at.wrapping_add(1);
    }
    if are_painted() {
        let words = words_above_canary(stack);
        let mut at = words.start;
        while at < words.end {
            // SAFETY: likewise, to the stack's end.
            unsafe { at.write_volatile(PAINT) };
            at = at.wrapping_add(1);
        }
    }
    true
}

/// Returns true if the canary is as it was written.
fn is_canary_whole(stack: &Stack) -> bool {
    let words = canary(stack);
    let mut at = words.start;
    while at < words.end {
        // SAFETY: callers have a stack that is mapped, and stays so for ever.
        let word = unsafe { at.read_volatile() };
        if word != canary_word(at) {
            return false;
        }
        at = at.wrapping_add(1);
    }
    true
}

fn canary(stack: &Stack) -> Range<*mut u64> {
    let low: *mut u64 = stack.low.as_mut_ptr();
    low..low.wrapping_add(CANARY_WORDS)
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
fn create(core: u32) -> [Stack; StackKind::ALL.len()] {
    StackKind::ALL.map(|kind| {
        let stack = place(core, kind);
        assert!(map(&stack), "no memory for a stack");
        stack
    })
}

/// Maps the stack of the task with this number, which is one more than the last one
/// that was made. Returns false if there is no memory for it; no more are to be made then.
#[must_use]
pub fn create_for_task(number: u16) -> bool {
    let made = map(&of_task(number));
    if made {
        TASK_STACKS.store(number + 1, Ordering::Release);
    }
    made
}

/// The slot, counted from `area`, whose stack a stack pointer may be on: a full descending
/// stack, whose pointer may equal the upper end.
#[inline]
const fn slot_at(area: u64, sp: u64) -> u64 {
    sp.wrapping_sub(area).wrapping_sub(1) / SLOT
}

/// The upper end of the slot whose stack a stack pointer may be on: areas begin at multiples of
/// slots.
#[inline]
const fn slot_end(sp: u64) -> u64 {
    (sp.wrapping_sub(1) | (SLOT - 1)).wrapping_add(1)
}

/// The bounds of the task's stack that a stack pointer is on, if it is mapped.
#[must_use]
#[inline(always)]
pub fn of_task_at(sp: u64) -> Option<StackBounds> {
    let number = slot_at(TASK_AREA.as_u64(), sp);
    if number >= TASK_STACKS.load(Ordering::Acquire).into() {
        return None;
    }
    bounds_in_slot(sp, StackKind::Task.bytes())
}

/// The number of the task whose stack a stack pointer is on, if it is mapped.
#[must_use]
#[inline]
pub fn task_with_sp(sp: StackAddress) -> Option<u16> {
    of_task_at(sp.0)?;
    u16::try_from(slot_at(TASK_AREA.as_u64(), sp.0)).ok()
}

/// The bounds of the stack of so many bytes at the end of a slot, if `sp` is on it.
#[inline(always)]
fn bounds_in_slot(sp: u64, bytes: u64) -> Option<StackBounds> {
    let high = slot_end(sp);
    let low = high.wrapping_sub(bytes);
    (low <= sp).then_some(StackBounds { low, high })
}

/// The bounds of the stack of the core with this index that a stack pointer is on.
#[inline]
fn of_core_at(core: u32, sp: u64) -> Option<StackBounds> {
    let area = AREA.as_u64() + u64::from(core) * CORE_BYTES;
    let slot = usize::try_from(slot_at(area, sp)).ok()?;
    let kind = StackKind::ALL.get(slot)?;
    bounds_in_slot(sp, kind.bytes())
}

/// Returns true if code with this stack pointer on `core` interrupts an NMI's handler,
/// whatever is between.
///
/// An NMI's handler on the stack of #DB, #DF or #MC itself is not seen. For that an NMI has
/// to come twice there, and nothing lets in the second but a trial of counters.
///
/// Takes as many instructions on the handlers' stack as on none that a trap switches to:
/// counters are calibrated by NMIs in an NMI's handler, and count until they are stopped.
#[must_use]
#[inline]
pub fn is_in_nmi_handler(core: &CoreBlock, sp: u64) -> bool {
    let above = sp.wrapping_sub(core.stack(StackKind::NmiHandler).low.as_u64());
    if above.wrapping_sub(HANDLER_BYTES) < SWITCHED_BYTES {
        return is_nested(core, sp);
    }
    above < HANDLER_BYTES
}

const HANDLER_BYTES: u64 = StackKind::NmiHandler.bytes();
/// From the end of the NMIs' handler stack to that of the last stack that the processor
/// switches to.
const SWITCHED_BYTES: u64 = (StackKind::MachineCheck as u64 - StackKind::NmiHandler as u64) * SLOT;

/// The same for a stack pointer on a stack that the processor switches to: follows what was
/// interrupted.
#[cold]
fn is_nested(core: &CoreBlock, mut sp: u64) -> bool {
    // Each stack is in use once.
    for _ in 0..StackKind::SWITCHED.len() {
        let on = |kind: &&StackKind| core.stack(**kind).contains(sp);
        match StackKind::SWITCHED.iter().find(on) {
            Some(&kind) => sp = core.stack(kind).interrupted_sp(),
            None => break,
        }
    }
    core.stack(StackKind::NmiHandler).contains(sp)
}

/// The bounds of the stack that the stack pointer `sp` of the core with this index is on, if
/// it is one of that core or of a task, all of which stay mapped for ever.
#[must_use]
#[inline(always)]
pub fn bounds_at(core: u32, sp: StackAddress) -> Option<StackBounds> {
    of_task_at(sp.0).or_else(|| of_core_at(core, sp.0))
}

/// Makes the blocks of all cores, with their stacks.
///
/// # Panics
///
/// If there are too many cores, or memory is used up.
pub fn create_cores(apic_ids: impl Iterator<Item = u32>) {
    cpu::create_blocks(apic_ids, create);
    for core in cpu::cores() {
        core.stacks
            .iter()
            .for_each(|stack| write_owner(stack, core));
    }
}

/// Writes the address of the core's block to the top of a stack.
fn write_owner(stack: &Stack, core: &'static CoreBlock) {
    let at: *mut u64 = (stack.high - 8).as_mut_ptr();
    // SAFETY: the stack's highest word: mapped, aligned, above all that is pushed.
    unsafe { at.write_volatile(VirtAddr::from_ptr(core).as_u64()) };
}

/// The block of the core on one of whose stacks `address` is, which a trap has just switched to.
#[must_use]
pub fn owner_of_trap_stack(address: VirtAddr) -> &'static CoreBlock {
    let at: *const *const CoreBlock = VirtAddr::new(slot_end(address.as_u64()) - 8).as_ptr();
    // SAFETY: the stack's highest word, which `write_owner` has written before the core used it.
    let block = unsafe { at.read() };
    // SAFETY: a core's block, which lives for ever.
    unsafe { &*block }
}

/// Looks at the canaries of all stacks.
///
/// # Errors
///
/// Whose is the first that was overwritten.
fn check_all_canaries() -> Result<(), Owner> {
    for core in cpu::cores() {
        for stack in &core.stacks {
            if !is_canary_whole(stack) {
                return Err(Owner::Core(core.index, stack.kind));
            }
        }
    }
    let tasks = 0..TASK_STACKS.load(Ordering::Acquire);
    match tasks
        .into_iter()
        .find(|&number| !is_canary_whole(&of_task(number)))
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

/// What a task works on, by its number.
pub type TaskNames = fn(u16) -> Text<32>;

static TASK_NAMES: Once<TaskNames> = Once::new();

/// Says what messages call the stacks of tasks.
pub fn set_task_names(names: TaskNames) {
    TASK_NAMES.call_once(|| names);
}

/// What an address in the stack area is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// Whose stack it is.
    pub owner: Owner,
    /// The address lies below the stack, where nothing is mapped.
    pub in_guard: bool,
}

/// Whose stack `address` lies on, or in whose guard.
#[must_use]
pub fn locate(address: VirtAddr) -> Option<Place> {
    let owner = task_at(address).or_else(|| core_at(address))?;
    let stack = match owner {
        Owner::Core(core, kind) => place(core, kind),
        Owner::Task(number) => of_task(number),
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
                let name = TASK_NAMES.get().map(|name_of| name_of(number));
                let name = name.as_ref().map_or("unknown", Text::as_str);
                write!(f, "the stack of task {number} ({name})")
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
