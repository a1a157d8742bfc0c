//! What stacks a core has, and what a stack is. Where they lie is for
//! [`crate::memory::stacks`] to say.

use x86_64::VirtAddr;

/// What a stack is for.
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
            Self::NmiHandler => 32 << 10,
            Self::Kernel | Self::Task => 64 << 10,
            Self::Nmi | Self::DoubleFault | Self::Debug | Self::MachineCheck => 16 << 10,
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
    /// The stack pointer that the processor pushed when it last switched to the stack,
    /// which must be a core's.
    #[must_use]
    pub fn interrupted_sp(&self) -> u64 {
        let at: *const u64 = (self.entry() - 16).as_ptr();
        // SAFETY: on the stack, which is mapped and stays so for ever. It is written by the
        // processor alone.
        unsafe { at.read_volatile() }
    }

    /// Returns true if the address lies on the stack: its highest word is never popped.
    #[must_use]
    #[inline]
    pub fn contains(&self, address: u64) -> bool {
        self.low.as_u64() <= address && address < self.high.as_u64()
    }

    /// Where the stack pointer starts: below the block's address.
    #[must_use]
    pub fn entry(&self) -> VirtAddr {
        self.high - 16
    }
}
