use core::fmt;

use kernel_core::process::Rights;
use kernel_core::process::mappings::{self, Mapping};

use super::tables::NoMemory;

/// Why nothing was mapped or unmapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    /// The range of addresses.
    Mapping(mappings::Error),
    /// A page of the program could not be written.
    Fault(Fault),
    /// There is no memory.
    NoMemory,
}

impl From<mappings::Error> for Error {
    fn from(error: mappings::Error) -> Self {
        Self::Mapping(error)
    }
}

impl From<NoMemory> for Error {
    fn from(_: NoMemory) -> Self {
        Self::NoMemory
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mapping(error) => error.fmt(f),
            Self::Fault(fault) => fault.fmt(f),
            Self::NoMemory => f.write_str(NO_MEMORY),
        }
    }
}

impl core::error::Error for Error {}

const NO_MEMORY: &str = "there is no memory for it";

/// Why an address of a process cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Nothing is mapped at this address.
    NotMapped(u64),
    /// What is mapped at this address does not allow it.
    NotAllowed {
        /// The address.
        address: u64,
        /// What was wanted.
        wanted: Rights,
        /// The mapping.
        mapping: Mapping,
    },
    /// It is not a multiple of its size.
    Unaligned(u64),
    /// There is no memory for the page.
    NoMemory,
    /// A page fault with this error code, which is about more than what is mapped.
    Unusual(u64),
}

impl From<NoMemory> for Fault {
    fn from(_: NoMemory) -> Self {
        Self::NoMemory
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotMapped(address) => write!(f, "nothing is mapped at {address:#x}"),
            Self::NotAllowed {
                address,
                wanted,
                mapping,
            } => {
                let what = match wanted {
                    Rights::Read => "read",
                    Rights::Write => "written",
                    Rights::Execute => "executed",
                };
                write!(f, "{address:#x} cannot be {what}: it is in {mapping}")
            }
            Self::Unaligned(address) => write!(f, "{address:#x} is not aligned"),
            Self::NoMemory => f.write_str(NO_MEMORY),
            Self::Unusual(code) => write!(f, "a page fault with the error code {code:#x}"),
        }
    }
}

impl core::error::Error for Fault {}
