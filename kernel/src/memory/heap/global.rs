//! The global allocator: [`Classes`] behind a lock, refilled with frames.

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{self, NonNull};

use kernel_core::classes::{Classes, PAGE};

use crate::memory::{direct, frames};
use crate::sync::{Lock, lock_class};

struct Heap {
    classes: Lock<Classes>,
}

#[global_allocator]
static HEAP: Heap = Heap {
    classes: Lock::new(lock_class!("heap"), Classes::new()),
};

fn page() -> Option<NonNull<u8>> {
    let frame = frames::take()?;
    NonNull::new(direct::address_of(frame.start_address()).as_mut_ptr())
}

/// The run of frames that `layout`, too large for a list, takes.
fn run_bytes(layout: Layout) -> u64 {
    layout.size().max(1).next_multiple_of(PAGE) as u64
}

// SAFETY: blocks and runs are as large and aligned as the layout asks, handed
// out once, and found again from the same layout.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let pointer = match Classes::size_for(layout) {
            // SAFETY: `page` returns whole frames, which have no other owner.
            Some(size) => HEAP
                .classes
                .with(|classes| unsafe { classes.take(size, page) }),
            None => frames::take_block(run_bytes(layout), layout.align() as u64, None)
                .and_then(|block| NonNull::new(block.virtual_start().as_mut_ptr())),
        };
        pointer.map_or(ptr::null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        let Some(block) = NonNull::new(pointer) else {
            return;
        };
        match Classes::size_for(layout) {
            // SAFETY: the caller returns what `alloc` made for this layout.
            Some(size) => HEAP
                .classes
                .with(|classes| unsafe { classes.give(block, size) }),
            None => {
                let block = frames::Block {
                    start: direct::physical(pointer),
                    bytes: run_bytes(layout),
                };
                // SAFETY: the caller returns what `alloc` made for this layout.
                unsafe { frames::give_back(block) };
            }
        }
    }
}
