//! Recursion: chains of all lengths, also longer than the walk goes.
//!
//! Three shapes: [`ackermann`] calls itself in two places and is deep most of the
//! time; [`is_even`] and [`is_odd`] call each other, mostly not far; [`tree_sum`]
//! goes up and down a tree of eight levels. A profile has about 73 % of its
//! samples in `ackermann`, 16 % in `tree_sum` and 10 % in the other two together,
//! half each by self share. Some 5 % of the chains have more frames than a record
//! holds: they end at the depth limit, so they lack their roots.
//!
//! A call in the last place would become a jump: `black_box` on its result keeps
//! it a call.

use core::hint::black_box;

use super::scratch::Scratch;

/// A unit of work.
pub fn unit(scratch: &mut Scratch) {
    // First what most of the time goes to: a short profile has it, too.
    black_box(ackermann(2, 8));
    let nodes = &scratch.source[..TREE_NODES];
    black_box(tree_sum(nodes, 0));
    for n in 0..12 {
        black_box(is_even(20 + n));
    }
    black_box(is_even(200 + scratch.round % 2));
    black_box(ackermann(2, 32));
}

/// The nodes of the tree: eight full levels.
pub const TREE_NODES: usize = (1 << 8) - 1;

/// The Ackermann function. With `m` = 2 it is 2`n` + 3, and so is its depth.
#[inline(never)]
#[must_use]
pub fn ackermann(m: u64, n: u64) -> u64 {
    match (m, n) {
        (0, n) => n + 1,
        (m, 0) => black_box(ackermann(m - 1, 1)),
        (m, n) => {
            let inner = ackermann(m, n - 1);
            black_box(ackermann(m - 1, inner))
        }
    }
}

/// Returns true if `n` is even, `n` calls deep.
#[inline(never)]
#[must_use]
pub fn is_even(n: u64) -> bool {
    n == 0 || black_box(is_odd(n - 1))
}

/// Returns true if `n` is odd, `n` calls deep.
#[inline(never)]
#[must_use]
pub fn is_odd(n: u64) -> bool {
    n != 0 && black_box(is_even(n - 1))
}

/// The sum of the binary tree below node `index`, the children of node `i` being
/// 2`i` + 1 and 2`i` + 2.
#[inline(never)]
#[must_use]
pub fn tree_sum(nodes: &[u8], index: usize) -> u64 {
    match nodes.get(index) {
        Some(&value) => {
            let left = tree_sum(nodes, 2 * index + 1);
            let right = tree_sum(nodes, 2 * index + 2);
            black_box(u64::from(value) + left + right)
        }
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        assert_eq!(ackermann(0, 4), 5);
        assert_eq!(ackermann(2, 36), 75);
        assert_eq!(ackermann(3, 3), 61);
        assert!(is_even(200) && !is_even(201));
        assert!(is_odd(31) && !is_odd(30));
    }

    #[test]
    fn the_tree_is_walked_once_over() {
        let nodes: Vec<u8> = (0..TREE_NODES).map(|i| i.to_le_bytes()[0]).collect();
        let sum = nodes.iter().map(|&node| u64::from(node)).sum();
        assert_eq!(tree_sum(&nodes, 0), sum);
    }
}
