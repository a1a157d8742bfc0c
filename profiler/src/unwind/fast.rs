//! The walk over an ordinary stack, in as few instructions as can be: what most samples take.
//!
//! [`walk`] is the walk of [`super::walk`] where that meets nothing but pairs of frame pointer and
//! return address, from compiled code up to the stack's root. Whatever else it meets, it says
//! so, and the walk over all goes there: with a [`CompactChain`] it is [`super::walk`], which leaves
//! to this one the frames that are ordinary, and so crosses interrupts without their making all of
//! a chain dear. A chain that either finishes is the one that [`super::walk`] finds, which a property
//! test shows over random stacks.
//!
//! Each frame is proven in one go. With `top` the highest place of a pair on the stack,
//!
//! ```text
//! r = rotate_right(top - fp, 4)     r < room     room = r
//! ```
//!
//! is a small number only if `fp` is a multiple of 16 that lies on the stack at or below
//! `top`: what is above wraps to a large one, and a bit below the 16 is rotated to the top.
//! Less than before, it is strictly above the frame before. The return address is compared
//! with one constant: as a distance from the text's start, which is what is recorded.

#[cfg(not(miri))]
use core::arch::asm;

use super::{Append, Frame, Rule, StackBounds, Target};
use crate::address::{CodeAddress, StackAddress, UserAddress};
#[cfg(any(test, miri))]
use crate::format::sample::compact::MOST_CHAIN_BYTES;
use crate::format::sample::compact::{ProgramPart, Width, put};
use crate::format::sample::{CROSSING_WORDS, MAX_CHAIN};
use crate::format::{ChainEnd, ChainEntry};

/// Bytes of a pair of frame pointer and return address.
const PAIR_BYTES: u64 = 16;

/// Bytes of an address in the chain: its distance from the text's start.
pub const OFFSET_BYTES: usize = 3;

/// The most bytes that a walk writes: the chain, and what the last store is longer.
#[cfg(any(test, miri))]
pub const MOST_BYTES: usize = MOST_CHAIN_BYTES + 4;

/// Frames that are walked between two looks at how many there were.
const UNROLLED: usize = 4;
const _: () = assert!(MAX_CHAIN.is_multiple_of(UNROLLED));

/// Rounds of a walk whose chain has room for all words.
pub const ROUNDS: usize = MAX_CHAIN / UNROLLED;

/// The compiled code of a kernel, at the start of its text: all of it keeps its callers by
/// frame pointers, and none of it is called by entry stubs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CompiledCode {
    /// The text's start.
    pub start: CodeAddress,
    /// The bytes from there on that are compiled code. Less than 2^24.
    pub len: u64,
}

impl CompiledCode {
    /// The distance of `address` from the text's start, if it is in this code.
    #[inline]
    pub fn offset(&self, address: CodeAddress) -> Option<u64> {
        let offset = address.0.wrapping_sub(self.start.0);
        (offset < self.len).then_some(offset)
    }
}

/// The frames of a stack that are still to be walked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frames {
    /// The highest place of a pair.
    top: u64,
    /// The number of places from the next frame on, and one.
    room: u64,
}

impl Frames {
    /// The highest place of a pair.
    #[inline(always)]
    pub const fn top(&self) -> u64 {
        self.top
    }

    /// The frames of `stack` from the stack pointer on; `None` if it is not ordinary: not
    /// aligned, or less than two words below the top.
    #[inline]
    pub fn above(sp: StackAddress, stack: StackBounds) -> Option<Self> {
        let top = stack.high.wrapping_sub(PAIR_BYTES) & !(PAIR_BYTES - 1);
        if sp.0 < stack.low || sp.0 > top || !sp.0.is_multiple_of(8) {
            return None;
        }
        let room = (top - sp.0) / PAIR_BYTES + 1;
        Some(Self { top, room })
    }
}

/// What a walk has come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reached {
    /// Where the first pair is whose return address was not written: proven.
    pub pair: u64,
    /// That address, as a distance from the text's start; the last one that was written if there were
    /// as many as were asked for.
    pub offset: u64,
    /// Behind what was written.
    pub end: *mut u8,
}

impl Reached {
    /// The frame pointer that is saved beside the address.
    ///
    /// # Safety
    ///
    /// [`walk`]'s first, of the same stack.
    #[inline(always)]
    pub unsafe fn fp(self) -> u64 {
        #[allow(clippy::cast_possible_truncation)] // a pointer has as many bits
        let pair = core::ptr::with_exposed_provenance::<u64>(self.pair as usize);
        // SAFETY: the walk has proven that it is on the stack; the caller's condition.
        unsafe { pair.read_volatile() }
    }
}

/// Returns true if a walk that has come to the address at `offset`, and a frame pointer of zero
/// beside it, is at the root of `target`: the chain is complete. The address is of the chain, unless
/// it is 0.
pub fn is_root(offset: u64, code: CompiledCode, target: &impl Target) -> bool {
    let address = CodeAddress(code.start.0.wrapping_add(offset));
    let is_above = !target.has_root_rules() && address.0 == 0;
    // Less than 2^24, or it is recorded otherwise.
    let is_root = || offset >> 24 == 0 && target.rule(address) == Rule::Root;
    is_above || is_root()
}

/// Walks from the frame at `fp` on, and writes the return addresses that are compiled code's
/// to `out`; up to the first that is not, or so many rounds of [`UNROLLED`] frames. `None` if a frame
/// pointer is not ordinary.
///
/// # Safety
///
/// 1. Aligned words of the stack that `frames` is of may be read.
/// 2. There is a round, and [`OFFSET_BYTES`] for each frame and a byte may be written to `out`.
#[inline(always)]
#[cfg(not(miri))]
pub unsafe fn walk(
    fp: u64,
    frames: Frames,
    code: CompiledCode,
    out: *mut u8,
    rounds: usize,
) -> Option<Reached> {
    let Frames { top, room } = frames;
    let (pair, offset, end): (u64, u64, *mut u8);
    // SAFETY: a pair is loaded from a place that is on the stack (1), as said above; not more
    // than `rounds` times as many addresses are written, in four bytes each of which the next one
    // overwrites the last (2).
    unsafe {
        asm!(
            ".macro PMISCOPE_PROVE room, next",
            "mov \\next, {top}",
            "sub \\next, {fp}",
            "ror \\next, 4",
            "cmp \\next, \\room",
            "jae 9f",
            ".endm",
            ".macro PMISCOPE_FRAME room, next, stop, place",
            "PMISCOPE_PROVE \\room, \\next",
            "mov {offset}, [{fp} + 8]",
            "sub {offset}, {start}",
            "cmp {offset}, {len}",
            "jae \\stop",
            "mov {fp}, [{fp}]",
            "mov [{out} + \\place], {offset:e}",
            ".endm",
            "2: PMISCOPE_FRAME {a}, {b}, 3f, 0",
            "PMISCOPE_FRAME {b}, {a}, 4f, 3",
            "PMISCOPE_FRAME {a}, {b}, 5f, 6",
            "PMISCOPE_FRAME {b}, {a}, 6f, 9",
            "add {out}, 12",
            "dec {rounds}; jnz 2b",
            "PMISCOPE_PROVE {a}, {b}",
            "jmp 3f",
            ".purgem PMISCOPE_PROVE",
            ".purgem PMISCOPE_FRAME",
            "9: xor {out:e}, {out:e}",
            "jmp 3f",
            "6: add {out}, 3",
            "5: add {out}, 3",
            "4: add {out}, 3",
            "3:",
            top = in(reg) top,
            start = in(reg) code.start.0,
            len = in(reg) code.len,
            fp = inout(reg) fp => pair,
            offset = out(reg) offset,
            out = inout(reg) out => end,
            a = inout(reg) room => _,
            b = out(reg) _,
            rounds = inout(reg) rounds => _,
            options(nostack),
        );
    }
    (!end.is_null()).then_some(Reached { pair, offset, end })
}

/// The same, for an interpreter that has no assembly.
///
/// # Safety
///
/// The same.
#[cfg(miri)]
pub unsafe fn walk(
    mut fp: u64,
    frames: Frames,
    code: CompiledCode,
    mut out: *mut u8,
    rounds: usize,
) -> Option<Reached> {
    let Frames { top, mut room } = frames;
    let mut offset = 0;
    for frame in 0..=rounds * UNROLLED {
        let next = top.wrapping_sub(fp).rotate_right(4);
        if next >= room {
            return None;
        }
        room = next;
        let reached = |offset| Reached {
            pair: fp,
            offset,
            end: out,
        };
        if frame == rounds * UNROLLED {
            return Some(reached(offset));
        }
        let pair = core::ptr::with_exposed_provenance::<u64>(fp as usize);
        // SAFETY: proven above; the function's condition 1.
        let address = unsafe { pair.add(1).read_volatile() };
        offset = address.wrapping_sub(code.start.0);
        if offset >= code.len {
            return Some(reached(offset));
        }
        // SAFETY: likewise.
        fp = unsafe { pair.read_volatile() };
        // SAFETY: as many as the function's condition 2 says.
        unsafe { out.cast::<u32>().write_unaligned(offset as u32) };
        out = out.wrapping_add(OFFSET_BYTES);
    }
    None
}

/// How the walk ends where something of a program does not fit: the handler that is not fast has it.
const UNFIT: ChainEnd = ChainEnd::UserUnknown;

/// The chain of a compact sample, written where it will lie.
pub(crate) struct CompactChain {
    code: CompiledCode,
    text_len: u64,
    /// Where the next word goes to.
    place: *mut u8,
    /// The words that there is room for.
    left: usize,
    /// No frame was met that [`walk`] does not take.
    is_ordinary: bool,
    /// Behind a border, of what program the addresses are.
    program: Option<ProgramPart>,
}

impl CompactChain {
    /// An empty chain of a kernel with a text of `text_len` bytes, which offsets of three bytes
    /// suffice for.
    ///
    /// # Safety
    ///
    /// 1. [`MOST_BYTES`] may be written to `place`, and read.
    /// 2. Whatever is appended is of a [`Target`] whose stacks can be read by their addresses.
    pub(crate) const unsafe fn new(code: CompiledCode, text_len: u64, place: *mut u8) -> Self {
        Self {
            code,
            text_len,
            place,
            left: MAX_CHAIN,
            is_ordinary: true,
            program: None,
        }
    }

    /// The same with room for the border of a program that was interrupted itself, which is no part of
    /// its chain.
    pub(crate) const fn with_border(self) -> Self {
        Self {
            left: MAX_CHAIN + CROSSING_WORDS,
            ..self
        }
    }

    /// The place behind the chain, and zeros there; `None` if it cannot be told where it ends: the
    /// text's start, as the last return address, would be taken for none.
    pub(crate) fn end(self) -> Option<*mut u8> {
        // SAFETY: there is room for a store behind the longest chain (1).
        unsafe { put(self.place, 0) };
        let last = self.place.wrapping_sub(OFFSET_BYTES).cast::<u32>();
        // SAFETY: it was written (1).
        let is_told = self.left == MAX_CHAIN || unsafe { last.read_unaligned() } != 0;
        is_told.then_some(self.place)
    }

    /// Appends a word, for which there is room.
    #[inline]
    fn push_field(&mut self, field: u32) {
        // SAFETY: of the words for which there is room (1).
        unsafe { put(self.place, field) };
        self.place = self.place.wrapping_add(OFFSET_BYTES);
    }

    /// The offset of an address in the text.
    #[inline]
    #[allow(clippy::cast_possible_truncation)] // a text's offsets are less
    fn offset(&self, address: u64) -> u32 {
        address.wrapping_sub(self.code.start.0) as u32
    }
}

impl Append for CompactChain {
    #[inline]
    fn push(&mut self, entry: ChainEntry) -> Result<(), ChainEnd> {
        let words = match entry {
            ChainEntry::Return(_) => 1,
            ChainEntry::Crossing { .. } | ChainEntry::Border { .. } => CROSSING_WORDS,
        };
        self.left = self.left.checked_sub(words).ok_or(ChainEnd::DepthLimit)?;
        match entry {
            ChainEntry::Return(address) => self.push_field(self.offset(address.0)),
            ChainEntry::Crossing {
                vector,
                pc,
                caller_known,
                stack_top,
            } => {
                let in_text = |&word: &u64| word.wrapping_sub(self.code.start.0) < self.text_len;
                let pc = self.offset(pc.0);
                let stack_top =
                    stack_top.map(|word| Some(word).filter(in_text).map(|it| self.offset(it)));
                let head = (vector, caller_known);
                Width::Bits24.push_crossing(head, pc, stack_top, |field| self.push_field(field));
            }
            ChainEntry::Border {
                vector,
                pc,
                stack_top,
            } => {
                let push = |field| self.push_field(field);
                let part = ProgramPart::begin(vector, pc, stack_top, push);
                self.program = Some(part.ok_or(UNFIT)?);
            }
        }
        Ok(())
    }

    #[inline(always)]
    fn push_of_program(&mut self, caller: UserAddress) -> Result<(), ChainEnd> {
        self.left = self.left.checked_sub(1).ok_or(ChainEnd::DepthLimit)?;
        let part = self.program.ok_or(UNFIT)?;
        let pushed = part.push(caller, |field| self.push_field(field));
        pushed.ok_or(UNFIT)
    }

    #[inline]
    fn pass(&mut self, frame: Frame, stack: StackBounds) -> Frame {
        let rounds = self.left / UNROLLED;
        if !self.is_ordinary || rounds == 0 || self.code.offset(frame.code).is_none() {
            return frame;
        }
        let reached = Frames::above(frame.floor, stack).and_then(|frames| {
            // SAFETY: the stack is a target's (2), and there is room for as many words (1).
            unsafe { walk(frame.fp.0, frames, self.code, self.place, rounds) }
        });
        let Some(Reached { pair, end, .. }) = reached else {
            // Not again at each frame.
            self.is_ordinary = false;
            return frame;
        };
        self.left -= (end.addr() - self.place.addr()) / OFFSET_BYTES;
        self.place = end;
        let pair = StackAddress(pair);
        Frame {
            fp: pair,
            floor: pair,
            ..frame
        }
    }
}
