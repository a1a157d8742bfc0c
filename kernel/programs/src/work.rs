//! Something to do.

use core::hint::black_box;

/// Shifts and multiplies, so many times.
#[inline(never)]
#[must_use]
pub fn mix(seed: u64, rounds: u32) -> u64 {
    let mut value = seed | 1;
    for _ in 0..rounds {
        value ^= value << 13;
        value ^= value >> 7;
        value = value.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
    black_box(value)
}

/// Calls itself `depth` times, and `last` at the bottom.
#[inline(never)]
pub fn descend(depth: u32, last: fn() -> u64) -> u64 {
    if depth == 0 {
        return last();
    }
    black_box(descend(depth - 1, last).wrapping_add(1))
}
