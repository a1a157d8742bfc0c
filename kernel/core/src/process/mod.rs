//! Processes: the programs that they run, and what they have mapped where.

pub mod call;
pub mod fault;
pub mod mappings;
pub mod program;
mod rights;

use core::ops::Range;

pub use rights::Rights;

/// The bytes of a page.
pub const PAGE: u64 = 4096;

/// The same, to count them in memory.
pub const PAGE_BYTES: usize = 4096;

/// The addresses that a process may map. Below them a null pointer and what is near it faults; the
/// page above them is left free, so that no instruction ends where addresses cease to be canonical.
pub const USER: Range<u64> = 0x1_0000..0x7fff_ffff_f000;
