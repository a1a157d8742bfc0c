//! Arithmetic in user mode: all but a few of its samples are the program's, in three functions
//! that do one, two and five parts of the work.

#![no_std]
#![no_main]

use programs::mix;

programs::program!(main);

/// Rounds of one part.
const PART: u32 = 200;

fn main(_: u64) -> u64 {
    let mut value = 1;
    for _ in 0..8 {
        value = one_part(value);
        value = two_parts(value);
        value = five_parts(value);
    }
    u64::from(value == 0)
}

#[inline(never)]
fn one_part(seed: u64) -> u64 {
    mix(seed, PART) ^ 1
}

#[inline(never)]
fn two_parts(seed: u64) -> u64 {
    mix(seed, 2 * PART) ^ 2
}

#[inline(never)]
fn five_parts(seed: u64) -> u64 {
    mix(seed, 5 * PART) ^ 5
}
