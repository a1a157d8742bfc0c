//! The atomics that the ring is made of: the real ones, or loom's under
//! `--cfg loom`, so that the very same ring code is model-checked.

#[cfg(not(loom))]
pub(crate) use core::sync::atomic::AtomicU64;
#[cfg(loom)]
pub(crate) use loom::sync::atomic::AtomicU64;

pub(crate) use core::sync::atomic::{Ordering, compiler_fence};
