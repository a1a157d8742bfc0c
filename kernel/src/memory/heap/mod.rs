//! The heap: what `alloc` allocates from.
//!
//! Small requests come from lists of blocks ([`kernel_core::classes`]), larger ones are whole
//! runs of frames, seen through the direct map. Neither has a size set in
//! advance. The sampling path never comes here.

mod global;
