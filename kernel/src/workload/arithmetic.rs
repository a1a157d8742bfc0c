//! Arithmetic in registers: no memory, and no branch but the loops'.
//!
//! A profile shows four leaves and next to nothing else. Of all instructions
//! [`collatz_steps`] has about 29 %, [`greatest_divisor`] and [`shift`] 25 % each
//! and [`multiply`] 20 %. By the clock of a real machine the divisions of
//! `greatest_divisor` weigh more.

use core::hint::black_box;

use super::scratch::Scratch;

/// A unit of work.
pub fn unit(scratch: &mut Scratch) {
    let seed = scratch.seed();
    black_box(multiply(seed, 20_000));
    black_box(shift(seed, 1500));
    for pair in 0..40 {
        black_box(greatest_divisor(seed, multiply(seed, 1 + pair)));
    }
    for start in 0..12 {
        black_box(collatz_steps(27 + (seed >> 40) + start));
    }
}

/// `steps` steps of a linear congruential generator (Knuth's MMIX).
#[inline(never)]
#[must_use]
pub fn multiply(mut state: u64, steps: u32) -> u64 {
    for _ in 0..steps {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
    }
    state
}

/// `steps` steps of Marsaglia's xorshift generator.
#[inline(never)]
#[must_use]
pub fn shift(mut state: u64, steps: u32) -> u64 {
    for _ in 0..steps {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
    }
    state
}

/// The greatest common divisor, by Euclid.
#[inline(never)]
#[must_use]
pub fn greatest_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// How many steps it takes from `n`, at least 1, down to 1 if an even number is
/// halved, and an odd one tripled and incremented.
#[inline(never)]
#[must_use]
pub fn collatz_steps(mut n: u64) -> u32 {
    let mut steps = 0;
    while n != 1 {
        n = if n.is_multiple_of(2) {
            n / 2
        } else {
            n.wrapping_mul(3).wrapping_add(1)
        };
        steps += 1;
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        assert_eq!(multiply(1, 1), 7_806_831_264_735_756_412);
        assert_eq!(multiply(5, 7), multiply(multiply(5, 3), 4));
        // Marsaglia, Xorshift RNGs (2003), section 3: the first number from his seed.
        assert_eq!(shift(88_172_645_463_325_252, 1), 8_748_534_153_485_358_512);
        assert_eq!(greatest_divisor(1071, 462), 21);
        assert_eq!(greatest_divisor(0, 7), 7);
        assert_eq!(collatz_steps(1), 0);
        assert_eq!(collatz_steps(27), 111);
    }
}
