//! The bounded walk over frame pointers.
//!
//! Every function of the kernel keeps a *frame pointer* in `rbp`: it points at a
//! pair of words, the caller's frame pointer and the return address. The pairs
//! form a list, innermost first, and walking it gives the chain of calls.
//!
//! The code that an NMI interrupts can be anything: a function's first
//! instruction, a context switch, an idle loop that is throwing its stack away,
//! or code that has just corrupted its own frame. So a frame pointer is an
//! *allegation*. [`StackBounds::slot`] is the one place that turns it into a
//! proven address, a [`Slot`]: aligned, on the stack that the walk is on, and
//! above everything that the walk has already passed. Only slots are loaded
//! from, and each step goes strictly up or to another stack with one more word
//! in the chain, so the walk ends after at most [`MAX_CHAIN`] steps, whatever
//! the memory holds.
//!
//! [`MAX_CHAIN`]: crate::format::sample::MAX_CHAIN
//!
//! # Interrupts on the way
//!
//! An entry stub saves the interrupted registers as a *trap frame*, points `rbp`
//! at it and calls the dispatcher. A return address right behind that call
//! therefore means that the frame pointer stored next to it leads to a trap
//! frame ([`Kernel::trap_frame_live`]). There the walk crosses to the code that
//! was interrupted, on whatever stack that was.
//!
//! # The root
//!
//! The bottom of every stack is a piece of assembly that zeroes `rbp` and calls
//! the first function ([`Kernel::is_root`]). A zero frame pointer ends the walk;
//! the chain is complete if the address before it lies in such a root.

use crate::address::{CodeAddress, CodeRange, StackAddress};
use crate::format::sample::{Chain, ChainEnd, ChainEntry};

/// Bytes in a word.
const WORD: u64 = 8;

/// The vectors that there are.
const VECTORS: u64 = 256;

/// A word on a stack: aligned and within the bounds of a stack that the core
/// knows. It cannot be made in any other way than by [`StackBounds::slot`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slot(u64);

impl Slot {
    /// The address of the word.
    #[must_use]
    pub const fn address(self) -> u64 {
        self.0
    }
}

/// The part of a stack that a walk may look at: `low` up to, not including,
/// `high`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StackBounds {
    /// The lowest address of the stack's memory.
    pub low: u64,
    /// The first address past it.
    pub high: u64,
}

impl StackBounds {
    /// Whether a stack pointer that points to `address` is on this stack. An
    /// empty stack's pointer equals `high`.
    #[must_use]
    pub const fn holds_pointer(&self, address: StackAddress) -> bool {
        self.low <= address.0 && address.0 <= self.high
    }

    /// Proves that `words` words from `address` on lie on this stack, at or
    /// above `floor`, and gives the first of them.
    ///
    /// # Errors
    ///
    /// What is wrong with the allegation.
    pub fn slot(
        &self,
        address: StackAddress,
        words: u64,
        floor: StackAddress,
    ) -> Result<Slot, ChainEnd> {
        let address = address.0;
        if address == 0 {
            return Err(ChainEnd::FrameNull);
        }
        if !address.is_multiple_of(WORD) {
            return Err(ChainEnd::FrameMisaligned);
        }
        if address < floor.0 || address < self.low {
            return Err(ChainEnd::FrameBelow);
        }
        match address.checked_add(words * WORD) {
            Some(end) if end <= self.high => Ok(Slot(address)),
            _ => Err(ChainEnd::FrameAbove),
        }
    }
}

/// The registers of the code that was interrupted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Registers {
    /// The instruction that was about to execute.
    pub pc: CodeAddress,
    /// The stack pointer.
    pub sp: StackAddress,
    /// The frame pointer.
    pub fp: StackAddress,
}

/// Where an entry stub saves the registers of what it interrupts, in words from
/// the trap frame's start, to which the stub points `rbp`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TrapFrameLayout {
    /// The interrupted frame pointer.
    pub fp: u64,
    /// The vector.
    pub vector: u64,
    /// The interrupted program counter.
    pub pc: u64,
    /// The interrupted stack pointer.
    pub sp: u64,
    /// The length of a trap frame.
    pub words: u64,
}

/// What the walk needs to know of the kernel and of the core that it runs on.
pub trait Kernel {
    /// The kernel's text.
    fn text(&self) -> CodeRange;

    /// Whether `address` lies in the root of a stack: the assembly that zeroed
    /// the frame pointer before it called the stack's first function.
    fn is_root(&self, address: CodeAddress) -> bool;

    /// Whether the frame pointer leads to a trap frame, not to a pair of words,
    /// while the instruction at `address` has not been executed.
    fn trap_frame_live(&self, address: CodeAddress) -> bool;

    /// What a trap frame looks like.
    fn trap_frame_layout(&self) -> TrapFrameLayout;

    /// The stack of this core that a stack pointer is on.
    fn stack_of(&self, sp: StackAddress) -> Option<StackBounds>;

    /// Loads a word. The slot lies on a stack that [`Self::stack_of`] gave.
    fn load(&self, slot: Slot) -> u64;
}

/// Walks from `interrupted` outwards and appends the callers to `chain`.
///
/// The program counter itself is the caller's to record. However the walk ends,
/// what `chain` holds is true as far as the stack was.
pub fn walk(interrupted: Registers, kernel: &impl Kernel, chain: &mut Chain) -> ChainEnd {
    let mut at = interrupted;
    // Each turn of the loop appends at least one word to the chain, or ends.
    loop {
        let Some(stack) = kernel.stack_of(at.sp) else {
            return ChainEnd::UnknownStack;
        };
        match walk_stack(at, stack, kernel, chain) {
            Ok(beyond) => at = beyond,
            Err(end) => return end,
        }
    }
}

/// Walks the frames of one stack, down to its root or to a trap frame; gives the
/// registers that the trap frame holds.
fn walk_stack(
    at: Registers,
    stack: StackBounds,
    kernel: &impl Kernel,
    chain: &mut Chain,
) -> Result<Registers, ChainEnd> {
    let text = kernel.text();
    let mut last = at.pc;
    let mut fp = at.fp;
    let mut floor = at.sp;
    if let Some(call) = trap_call(at, stack, kernel) {
        chain.push(ChainEntry::Return(call))?;
        return cross(fp, floor, stack, kernel, chain);
    }
    // A chain holds a bounded number of words and each turn appends one.
    while !kernel.trap_frame_live(last) {
        if fp.0 == 0 && kernel.is_root(last) {
            return Err(ChainEnd::Complete);
        }
        let pair = stack.slot(fp, 2, floor)?;
        let saved_fp = kernel.load(pair);
        let return_address = CodeAddress(kernel.load(Slot(pair.0 + WORD)));
        if !text.contains(return_address) {
            return Err(ChainEnd::ReturnOutsideText);
        }
        chain.push(ChainEntry::Return(return_address))?;
        floor = StackAddress(pair.0 + 2 * WORD);
        fp = StackAddress(saved_fp);
        last = return_address;
    }
    cross(fp, floor, stack, kernel, chain)
}

/// The return address into an entry stub, if `at` is in the first or last
/// instructions of the dispatcher that the stub has called: the frame pointer is
/// still, or again, the trap frame's address, and the call has left its return
/// address right below. Between that and the stack pointer lies nothing, or the
/// frame pointer that the dispatcher has just saved.
fn trap_call(at: Registers, stack: StackBounds, kernel: &impl Kernel) -> Option<CodeAddress> {
    let below = at.fp.0.wrapping_sub(WORD);
    let saved = below.wrapping_sub(WORD);
    if at.sp.0 != below && at.sp.0 != saved {
        return None;
    }
    let slot = stack.slot(StackAddress(below), 1, at.sp).ok()?;
    let call = CodeAddress(kernel.load(slot));
    if !kernel.trap_frame_live(call) {
        return None;
    }
    // Below the frame of any other function the word may be left over from a trap
    // before. Then what the frame pointer leads to is no trap frame.
    let layout = kernel.trap_frame_layout();
    let frame = stack.slot(at.fp, layout.words, at.sp).ok()?;
    let vector = kernel.load(Slot(frame.0 + layout.vector * WORD));
    let pc = CodeAddress(kernel.load(Slot(frame.0 + layout.pc * WORD)));
    (vector < VECTORS && kernel.text().contains(pc)).then_some(call)
}

/// Crosses the trap frame that `fp` alleges.
fn cross(
    fp: StackAddress,
    floor: StackAddress,
    stack: StackBounds,
    kernel: &impl Kernel,
    chain: &mut Chain,
) -> Result<Registers, ChainEnd> {
    let layout = kernel.trap_frame_layout();
    let frame = stack.slot(fp, layout.words, floor)?;
    // Within the frame, so proven with it.
    let field = |words: u64| kernel.load(Slot(frame.0 + words * WORD));
    let interrupted = Registers {
        pc: CodeAddress(field(layout.pc)),
        sp: StackAddress(field(layout.sp)),
        fp: StackAddress(field(layout.fp)),
    };
    if !kernel.text().contains(interrupted.pc) {
        return Err(ChainEnd::InterruptedOutsideText);
    }
    // The vector was pushed by the stub as a byte's worth.
    #[allow(clippy::cast_possible_truncation)]
    let vector = field(layout.vector) as u8;
    chain.push(ChainEntry::Crossing {
        vector,
        pc: interrupted.pc,
    })?;
    Ok(interrupted)
}

/// The two words on top of the stack that `sp` points to, lowest first; 0 where
/// the stack has none or is not known.
///
/// In a function's first and last instructions the frame pointer is still, or
/// again, the caller's: the return address is then one of these words, and the
/// host finds it by the call-frame information.
pub fn stack_top(sp: StackAddress, kernel: &impl Kernel) -> [u64; 2] {
    let Some(stack) = kernel.stack_of(sp) else {
        return [0; 2];
    };
    [0, WORD].map(|offset| {
        let word = StackAddress(sp.0.wrapping_add(offset));
        stack.slot(word, 1, sp).map_or(0, |slot| kernel.load(slot))
    })
}

#[cfg(all(test, not(loom)))]
mod tests;
