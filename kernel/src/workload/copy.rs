//! Memory copies: `memcpy`, `memmove` and `memset` of several sizes.
//!
//! These three are the compiler's own. A profile shows them with 56 %, 8 % and
//! 8 %, and below them their callers: [`copy_blocks`], whose loop over small
//! blocks has another 15 %, [`copy_whole`], [`shift`] (the two ranges overlap, so
//! it goes backwards) and [`fill`]. Under instruction counting a string
//! instruction counts once for each of its steps and can be interrupted between
//! them: three program counters have more than half of the samples.

use core::hint::black_box;

use super::scratch::Scratch;

/// A unit of work.
pub fn unit(scratch: &mut Scratch) {
    let Scratch {
        source,
        target,
        round,
        ..
    } = scratch;
    for distance in [8, 24, 40] {
        fill(target, round.to_le_bytes()[0]);
        for size in [64, 256, 1024] {
            copy_blocks(source, target, size);
        }
        copy_whole(source, target);
        shift(target, distance);
    }
    black_box(&target);
}

/// Copies block by block, `size` bytes each. Both are as long.
#[inline(never)]
pub fn copy_blocks(source: &[u8], target: &mut [u8], size: usize) {
    // A size that the compiler knows would be moves, not a call.
    let size = black_box(size);
    for (to, from) in target.chunks_mut(size).zip(source.chunks(size)) {
        to.copy_from_slice(from);
    }
}

/// Copies all at once. Both are as long.
#[inline(never)]
pub fn copy_whole(source: &[u8], target: &mut [u8]) {
    target.copy_from_slice(black_box(source));
}

/// Moves all up by `distance` bytes, within itself, backwards.
#[inline(never)]
pub fn shift(bytes: &mut [u8], distance: usize) {
    let end = bytes.len() - distance;
    bytes.copy_within(..end, distance);
}

/// Writes `value` everywhere.
#[inline(never)]
pub fn fill(bytes: &mut [u8], value: u8) {
    bytes.fill(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_leaves_the_source_shifted_in_the_target() {
        let mut scratch = Scratch::new(1);
        unit(&mut scratch);
        let Scratch { source, target, .. } = &scratch;
        assert_eq!(target[40..], source[..source.len() - 40]);
        assert_eq!(target[..40], source[..40]);
    }

    #[test]
    fn blocks_of_any_size_are_copied_and_no_more() {
        let source: [u8; 100] = core::array::from_fn(|i| 1 + i.to_le_bytes()[0]);
        for size in [1, 16, 33, 200] {
            let mut target = [0; 100];
            fill(&mut target, 9);
            copy_blocks(&source[..90], &mut target[..90], size);
            assert_eq!(target[..90], source[..90]);
            assert_eq!(target[90..], [9; 10]);
        }
    }
}
