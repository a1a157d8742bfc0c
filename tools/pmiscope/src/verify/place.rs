//! Which stack a stack pointer is of, and where a core is for that.

use profiler::address::{CodeAddress, StackAddress};

use crate::chain::Link;

/// A thread of a program in user mode.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Thread(pub u32);

/// A stack.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Stack {
    /// The kernel's in the slot with this number.
    Kernel(u64),
    /// That of a thread, wherever it has it.
    User(Thread),
}

impl Stack {
    /// The link that a call on this stack makes.
    pub(super) const fn return_to(self, address: CodeAddress) -> Link {
        match self {
            Self::Kernel(_) => Link::Return(address),
            Self::User(_) => Link::UserReturn(address),
        }
    }
}

/// A stack pointer, and the stack that it is of.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Place {
    pub(super) stack: Stack,
    pub(super) sp: StackAddress,
}

impl Place {
    /// Where the stack pointer is not known: all that the stack has is in use.
    pub(super) const fn somewhere(stack: Stack) -> Self {
        Self {
            stack,
            sp: StackAddress(0),
        }
    }

    /// Another stack pointer of the same stack.
    pub(super) const fn at(self, sp: StackAddress) -> Self {
        Self { sp, ..self }
    }

    /// So many bytes further up.
    pub(super) const fn above(self, bytes: u64) -> Self {
        self.at(StackAddress(self.sp.0.wrapping_add(bytes)))
    }

    /// So many bytes further down.
    pub(super) const fn below(self, bytes: u64) -> Self {
        self.at(StackAddress(self.sp.0.wrapping_sub(bytes)))
    }
}

/// In which code a core is, as far as it says which stack its stack pointer is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mode {
    Kernel,
    User(Thread),
    /// In the entry of SYSCALL, or the exit by SYSRET: the program's instruction is in a register.
    /// The link that a chain begins with there.
    Border(Thread, Link),
}
