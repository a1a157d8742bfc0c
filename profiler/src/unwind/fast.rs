//! The walk over an ordinary stack, in as few instructions as can be: what most samples take.
//!
//! It is the walk of [`super::walk`] where that meets nothing but pairs of frame pointer and
//! return address, from compiled code up to the stack's root. Whatever else it meets, it says
//! so, and [`super::walk`] has to be asked; a chain that it finishes is the one that
//! [`super::walk`] finds, which a property test shows over random stacks.
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

use super::{Rule, StackBounds, Target};
use crate::address::{CodeAddress, StackAddress};
use crate::format::sample::MAX_CHAIN;

/// Bytes of a pair of frame pointer and return address.
const PAIR_BYTES: u64 = 16;

/// Bytes of an address in the chain: its distance from the text's start.
#[cfg(any(test, miri))]
pub const OFFSET_BYTES: usize = 3;

/// The most bytes that [`walk`] writes: the addresses, and what the last store is longer.
#[cfg(any(test, miri))]
pub const MOST_BYTES: usize = MAX_CHAIN * OFFSET_BYTES + 1;

/// Frames that are walked between two looks at how many there were.
const UNROLLED: usize = 4;
const _: () = assert!(MAX_CHAIN.is_multiple_of(UNROLLED));

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
    /// The frame pointer that was saved beside `code`.
    pub fp: u64,
    /// The first return address that is not compiled code's: as a distance from the text's
    /// start. It was not written.
    pub offset: u64,
    /// Behind what was written.
    pub end: *mut u8,
}

impl Reached {
    /// Returns true if that is the root of `target`: the chain is complete. Its address is of the
    /// chain, unless it is 0.
    pub fn is_root(self, code: CompiledCode, target: &impl Target) -> bool {
        let address = CodeAddress(code.start.0.wrapping_add(self.offset));
        let is_above = !target.has_root_rules() && address.0 == 0;
        // Less than 2^24, or it is recorded otherwise.
        let is_root = || self.offset >> 24 == 0 && target.rule(address) == Rule::Root;
        self.fp == 0 && (is_above || is_root())
    }
}

/// Walks from the frame at `fp` on, and writes the return addresses that are compiled code's
/// to `out`; up to the first that is not. `None` if there is none: a frame pointer is not
/// ordinary, or there are too many frames.
///
/// # Safety
///
/// 1. Aligned words of the stack that `frames` is of may be read.
/// 2. `MOST_BYTES` may be written to `out`.
#[inline(always)]
#[cfg(not(miri))]
pub unsafe fn walk(fp: u64, frames: Frames, code: CompiledCode, out: *mut u8) -> Option<Reached> {
    let Frames { top, room } = frames;
    let (reached, offset, end): (u64, u64, *mut u8);
    let is_ordinary: u64;
    // SAFETY: a pair is loaded from a place that is on the stack (1), as said above; not more
    // than MAX_CHAIN addresses are written, in four bytes each of which the next one
    // overwrites the last (2).
    unsafe {
        asm!(
            ".macro PMISCOPE_FRAME room, next, stop, place",
            "mov \\next, {top}",
            "sub \\next, {fp}",
            "ror \\next, 4",
            "cmp \\next, \\room",
            "jae 9f",
            "mov {offset}, [{fp} + 8]",
            "mov {fp}, [{fp}]",
            "sub {offset}, {start}",
            "cmp {offset}, {len}",
            "jae \\stop",
            "mov [{out} + \\place], {offset:e}",
            ".endm",
            "2:",
            "PMISCOPE_FRAME {a}, {b}, 3f, 0",
            "PMISCOPE_FRAME {b}, {a}, 4f, 3",
            "PMISCOPE_FRAME {a}, {b}, 5f, 6",
            "PMISCOPE_FRAME {b}, {a}, 6f, 9",
            ".purgem PMISCOPE_FRAME",
            "add {out}, 12",
            "dec {rounds:e}",
            "jnz 2b",
            "9:",
            "xor {rounds:e}, {rounds:e}",
            "jmp 3f",
            "6:",
            "add {out}, 3",
            "5:",
            "add {out}, 3",
            "4:",
            "add {out}, 3",
            "3:",
            top = in(reg) top,
            start = in(reg) code.start.0,
            len = in(reg) code.len,
            fp = inout(reg) fp => reached,
            offset = out(reg) offset,
            out = inout(reg) out => end,
            a = inout(reg) room => _,
            b = out(reg) _,
            rounds = inout(reg) (MAX_CHAIN / UNROLLED) as u64 => is_ordinary,
            options(nostack),
        );
    }
    (is_ordinary != 0).then_some(Reached {
        fp: reached,
        offset,
        end,
    })
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
) -> Option<Reached> {
    let Frames { top, mut room } = frames;
    for _ in 0..MAX_CHAIN {
        let next = top.wrapping_sub(fp).rotate_right(4);
        if next >= room {
            return None;
        }
        room = next;
        let pair = core::ptr::with_exposed_provenance::<u64>(fp as usize);
        // SAFETY: proven above; the function's condition 1.
        let address = unsafe { pair.add(1).read_volatile() };
        // SAFETY: likewise.
        fp = unsafe { pair.read_volatile() };
        let offset = address.wrapping_sub(code.start.0);
        if offset >= code.len {
            return Some(Reached {
                fp,
                offset,
                end: out,
            });
        }
        // SAFETY: as many as the function's condition 2 says.
        unsafe { out.cast::<u32>().write_unaligned(offset as u32) };
        out = out.wrapping_add(OFFSET_BYTES);
    }
    None
}
