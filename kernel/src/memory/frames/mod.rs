//! Physical memory, in frames of 4 KiB.

mod allocator;
mod reserved;
pub use allocator::{
    Block, FRAME, HOST_PLACES, free_bytes, free_bytes_now, give_back, is_found_again, take,
    take_block, take_for_host,
};
pub(in crate::memory) use allocator::{ForPageTables, start};
pub use reserved::Reserved;
