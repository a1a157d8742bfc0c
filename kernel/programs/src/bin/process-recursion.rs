//! Deep recursion, with system calls at the bottom: chains that go through the kernel's entry into
//! up to forty frames of the program.

#![no_std]
#![no_main]

use programs::{descend, mix, nothing};

programs::program!(main);

fn main(_: u64) -> u64 {
    let mut sum = 0_u64;
    for depth in 0..40 {
        sum = sum.wrapping_add(descend(depth, bottom));
    }
    u64::from(sum == 0)
}

fn bottom() -> u64 {
    let value = mix(3, 10);
    value.wrapping_add(nothing())
}
