//! What samples are grouped by.

use clap::ValueEnum;

/// What samples are grouped by.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum By {
    /// The function, inlined ones too
    Function,
    /// The line of the source that was executing
    Line,
    /// The source file of that line
    File,
    /// The instruction's address, as the ELF file has it, and its function
    Address,
    /// The user's process that ran, or that the kernel served
    Process,
    /// The program of that process: all its processes together
    Program,
    /// The task, by its number
    Thread,
    /// The task, by its name
    Task,
    /// The core
    Core,
    /// The event
    Event,
    /// The lock that was held (locks=on)
    Lock,
}

impl By {
    /// What JSON and the heads of columns call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Function => "function",
            Self::Line => "line",
            Self::File => "file",
            Self::Address => "address",
            Self::Process => "process",
            Self::Program => "program",
            Self::Thread => "thread",
            Self::Task => "task",
            Self::Core => "core",
            Self::Event => "event",
            Self::Lock => "lock",
        }
    }

    /// Returns true if it is told by lines of the source.
    #[must_use]
    pub const fn has_lines(self) -> bool {
        matches!(self, Self::Line | Self::File)
    }

    /// Returns true if it says which code: one stack has many.
    #[must_use]
    pub const fn is_code(self) -> bool {
        matches!(
            self,
            Self::Function | Self::Line | Self::File | Self::Address
        )
    }
}
