//! The heap: what `alloc` allocates from.
//!
//! Small requests come from lists of blocks ([`classes`]), larger ones are whole
//! runs of frames, seen through the direct map. Neither has a size set in
//! advance. The sampling path never comes here.

pub mod classes;

#[cfg(target_os = "none")]
mod global;
