//! Memory that is given away and never taken back: a pointer goes up, and nothing says what
//! was whose.

use core::cell::UnsafeCell;
use core::ops::Range;
use core::sync::atomic::{AtomicUsize, Ordering};

const BYTES: usize = 256 << 10;

/// No stack in it lies across a multiple of the 64 KiB by which `pmiscope verify` tells them apart.
#[repr(C, align(65536))]
struct Arena(UnsafeCell<[u8; BYTES]>);

// SAFETY: each byte belongs to whom it was given.
unsafe impl Sync for Arena {}

static ARENA: Arena = Arena(UnsafeCell::new([0; BYTES]));
static USED: AtomicUsize = AtomicUsize::new(0);

/// Its addresses.
pub fn addresses() -> Range<u64> {
    let low = ARENA.0.get().addr() as u64;
    low..low + BYTES as u64
}

/// Gives away so many bytes, a multiple of 16. Returns where they end.
pub fn allocate(bytes: usize) -> *mut u64 {
    let end = USED.fetch_add(bytes, Ordering::Relaxed) + bytes;
    assert!(end <= BYTES && bytes.is_multiple_of(16), "no room");
    ARENA.0.get().cast::<u8>().wrapping_add(end).cast()
}
