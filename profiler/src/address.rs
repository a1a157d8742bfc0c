//! Addresses that carry their kind in their type.
//!
//! All of them are virtual addresses of the kernel that is being sampled. They
//! are plain numbers here: nothing in this library dereferences them, except
//! through [`crate::unwind::Slot`].

use core::fmt;

/// The address of an instruction: a program counter or a return address.
///
/// ```
/// use profiler::address::CodeAddress;
///
/// let pc = CodeAddress(0xffff_ffff_8000_1000);
/// assert_eq!(format!("{pc:?}"), "code 0xffffffff80001000");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CodeAddress(pub u64);

/// What a register or a word in memory claims to be an address on a stack: an
/// allegation, until [`crate::unwind::StackBounds::slot`] proves it.
///
/// ```
/// use profiler::address::StackAddress;
///
/// let sp = StackAddress(0xffff_fe00_0000_8000);
/// assert!(sp < StackAddress(sp.0 + 8));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StackAddress(pub u64);

/// A range of code: `start` belongs to it, `end` is the first address past it.
///
/// ```
/// use profiler::address::{CodeAddress, CodeRange};
///
/// let text = CodeRange { start: CodeAddress(0x1000), end: CodeAddress(0x2000) };
/// assert!(text.contains(CodeAddress(0x1fff)));
/// assert!(!text.contains(text.end));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CodeRange {
    /// The first address of the range.
    pub start: CodeAddress,
    /// The first address past the range.
    pub end: CodeAddress,
}

impl CodeRange {
    /// A range that contains no address.
    pub const EMPTY: Self = Self {
        start: CodeAddress(0),
        end: CodeAddress(0),
    };

    /// Returns true if `address` lies in the range.
    #[must_use]
    pub fn contains(&self, address: CodeAddress) -> bool {
        self.start <= address && address < self.end
    }
}

impl fmt::Debug for CodeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "code {:#018x}", self.0)
    }
}

impl fmt::Debug for StackAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stack {:#018x}", self.0)
    }
}
