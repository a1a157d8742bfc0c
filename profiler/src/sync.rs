//! The atomics of the ring: core's, or loom's in tests under `--cfg loom`, which check
//! the same code against every order of memory accesses.

#[cfg(not(all(test, loom)))]
pub(crate) use core::sync::atomic::AtomicU64;
#[cfg(all(test, loom))]
pub(crate) use loom::sync::atomic::AtomicU64;

pub(crate) use core::sync::atomic::{Ordering, compiler_fence};
