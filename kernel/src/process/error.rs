use core::fmt;

use kernel_core::process::program;

use crate::memory::space;

/// Why there is no process.
#[derive(Debug)]
pub enum Error {
    /// There is no program with that name.
    NotFound,
    /// It cannot be loaded.
    Program(program::Error),
    /// There is no memory for it, or not where it wants to be.
    Memory(space::Error),
    /// There are too many tasks, or children of a process.
    TooMany,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => f.write_str("the boot loader has brought no module with that name"),
            Self::Program(error) => error.fmt(f),
            Self::Memory(error) => error.fmt(f),
            Self::TooMany => f.write_str("there are too many tasks or children"),
        }
    }
}

impl core::error::Error for Error {}
