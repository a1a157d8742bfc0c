//! The kernel's stack.

use core::cell::UnsafeCell;
use core::ops::Range;

/// In bytes.
pub const STACK_BYTES: usize = 64 << 10;

#[repr(C, align(16))]
pub struct Stack(UnsafeCell<[u8; STACK_BYTES]>);

// SAFETY: nothing but the processor uses it.
unsafe impl Sync for Stack {}

pub static STACK: Stack = Stack(UnsafeCell::new([0; STACK_BYTES]));

/// Its addresses.
pub fn addresses() -> Range<u64> {
    let low = STACK.0.get().addr() as u64;
    low..low + STACK_BYTES as u64
}
