//! Physical memory, in frames of 4 KiB.

pub mod bitmap;

#[cfg(target_os = "none")]
mod allocator;
#[cfg(target_os = "none")]
pub use allocator::{Block, FRAME, free_bytes, give_back, take, take_block};
#[cfg(target_os = "none")]
pub(in crate::memory) use allocator::{ForPageTables, start};
