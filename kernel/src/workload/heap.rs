//! Allocation: vectors, maps and blocks of many sizes, through the kernel's heap.
//!
//! A profile is broad and flat, as that of most programs is. Below [`unit()`] are
//! [`index`] with about 31 %, [`churn`] with 28 %, [`prune`] with 19 %, [`sort`]
//! with 8 % and [`grow`] with 6 %, most of it in functions of `alloc`, of `core`
//! and of the kernel's heap: allocating and freeing has some 20 %. The heap's one
//! lock has 1 % on one core and 9 % with four.
//!
//! All of it is freed within the unit.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;
use core::hint::black_box;

use super::scratch::{Scratch, scramble};

/// A unit of work.
pub fn unit(scratch: &mut Scratch) {
    let seed = scratch.seed();
    let mut values = grow(seed, 80);
    let mut places = index(&values);
    prune(&mut places);
    sort(&mut values);
    black_box((values, places));
    churn(&mut [const { None }; 32], seed);
}

/// A vector of `len` numbers that begins small, so that it moves as it grows.
#[inline(never)]
#[must_use]
pub fn grow(seed: u64, len: usize) -> Vec<u64> {
    let mut values = Vec::new();
    let mut value = seed;
    for _ in 0..len {
        value = scramble(value);
        values.push(value);
    }
    values
}

/// Where each value is.
#[inline(never)]
#[must_use]
pub fn index(values: &[u64]) -> BTreeMap<u64, usize> {
    let mut places = BTreeMap::new();
    // One by one: `collect` would sort first and build the tree from below.
    for (place, &value) in values.iter().enumerate() {
        places.insert(value, place);
    }
    places
}

/// Removes all odd values.
#[inline(never)]
pub fn prune(places: &mut BTreeMap<u64, usize>) {
    places.retain(|value, _| value.is_multiple_of(2));
}

/// Sorts.
#[inline(never)]
pub fn sort(values: &mut [u64]) {
    values.sort_unstable();
}

/// Frees and allocates blocks of 16 to 1024 bytes, in an order that follows from
/// `seed`.
#[inline(never)]
pub fn churn(blocks: &mut [Option<Box<[u8]>>], seed: u64) {
    let mut choice = seed;
    for _ in 0..64 {
        choice = scramble(choice);
        let [slot, size, ..] = choice.to_le_bytes().map(usize::from);
        let bytes = 16 << (size % 7);
        blocks[slot % blocks.len()] = Some(black_box(vec![0; bytes].into_boxed_slice()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_where_they_are_and_odd_ones_not_at_all() {
        let values = grow(7, 200);
        assert_eq!(values.len(), 200);
        let mut places = index(&values);
        assert!(places.iter().all(|(&value, &place)| values[place] == value));
        assert_eq!(places.len(), 200);
        prune(&mut places);
        let even = values.iter().filter(|&value| value % 2 == 0);
        assert_eq!(places.len(), even.count());
        assert!(places.keys().all(|value| value % 2 == 0));
    }

    #[test]
    fn values_are_sorted() {
        let mut values = grow(7, 200);
        assert!(!values.is_sorted());
        sort(&mut values);
        assert!(values.is_sorted());
    }

    #[test]
    fn churn_fills_slots_with_blocks_of_all_sizes() {
        let mut blocks = [const { None }; 32];
        churn(&mut blocks, 1);
        let sizes: Vec<_> = blocks.iter().flatten().map(|block| block.len()).collect();
        assert!(sizes.len() > 16);
        assert!([16, 1024].iter().all(|size| sizes.contains(size)));
    }
}
