//! Arithmetic.
use core::hint::black_box;

pub fn unit() {
    let mut sum = 0_u64;
    for i in 0..black_box(10_000_u64) {
        sum = black_box(sum.wrapping_mul(31).wrapping_add(step(i)));
    }
    black_box(sum);
}

#[inline(never)]
fn step(i: u64) -> u64 {
    black_box(i) ^ (i << 3)
}
