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

/// The first address that is no program's of the user: four levels of page tables, the lower half.
pub const USER_END: u64 = 1 << 47;

/// An address of the user's program as records have it, with the number of the program above it:
/// different programs have the same addresses.
///
/// ```
/// use profiler::address::{CodeAddress, UserAddress};
///
/// let main = UserAddress { program: 2, address: 0x40_1000 };
/// assert_eq!(main.code(), CodeAddress(0x0002_0000_0040_1000));
/// assert_eq!(UserAddress::of(main.code()), Some(main));
/// // An address of the kernel's is none, nor is what is no address at all.
/// assert_eq!(UserAddress::of(CodeAddress(0xffff_ffff_8000_1000)), None);
/// let none = UserAddress { program: 2, address: 0x1234_0000_0000_1000 };
/// assert_eq!(UserAddress::of(none.code()), None);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct UserAddress {
    /// Which program; 0: nobody has said.
    pub program: u16,
    /// Below [`USER_END`].
    pub address: u64,
}

impl UserAddress {
    /// The bits above an address.
    const SHIFT: u32 = 48;

    /// As a record has it. What is no address of a program's stays none: one of the kernel's is as it is.
    #[must_use]
    pub const fn code(self) -> CodeAddress {
        if self.address < USER_END {
            CodeAddress(self.address | (self.program as u64) << Self::SHIFT)
        } else {
            // No processor executes what is changed by this, and it is not to look like a program's.
            CodeAddress(self.address | USER_END)
        }
    }

    /// What a record has; `None` if it is no program's. Of a kernel in the lower half it may be
    /// one of the program 0.
    #[must_use]
    #[allow(clippy::cast_possible_truncation)] // 16 bits are left
    pub const fn of(code: CodeAddress) -> Option<Self> {
        if code.0 & USER_END != 0 {
            return None;
        }
        Some(Self {
            program: (code.0 >> Self::SHIFT) as u16,
            address: code.0 & (USER_END - 1),
        })
    }

    /// The same, of a program that has a number: no kernel has such an address.
    #[must_use]
    pub fn of_program(code: CodeAddress) -> Option<Self> {
        Self::of(code).filter(|it| it.program != 0)
    }
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
