//! Ranges of addresses without others that lie in them.

use core::ops::Range;

/// The parts of `range` that are in none of `holes`, which are in ascending order and do not
/// overlap; empty ones are left out.
///
/// ```
/// use kernel_core::holes::around;
///
/// let parts: Vec<_> = around(0..10, &[2..4, 9..20]).collect();
/// assert_eq!(parts, [0..2, 4..9]);
/// ```
pub fn around(range: Range<u64>, holes: &[Range<u64>]) -> impl Iterator<Item = Range<u64>> + Clone {
    let end = range.end;
    // A part before each hole, and one behind the last.
    let starts = core::iter::once(range.start).chain(holes.iter().map(|hole| hole.end));
    let ends = holes.iter().map(|hole| hole.start).chain([end]);
    starts
        .zip(ends)
        .map(move |(from, to)| from.clamp(range.start, end)..to.clamp(range.start, end))
        .filter(|part| part.start < part.end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::single_range_in_vec_init, reason = "there is one")]
    fn holes_are_left_out_wherever_they_lie() {
        let parts = |holes: &[Range<u64>]| around(10..20, holes).collect::<std::vec::Vec<_>>();
        assert_eq!(parts(&[]), [10..20]);
        assert_eq!(parts(&[0..10, 20..30]), [10..20]);
        assert_eq!(parts(&[0..12, 18..30]), [12..18]);
        assert_eq!(parts(&[12..13, 13..15]), [10..12, 15..20]);
        assert_eq!(parts(&[2..3, 10..11, 19..20, 25..26]), [11..19]);
        assert_eq!(parts(&[0..30]), []);
        assert_eq!(parts(&[10..20]), []);
        assert_eq!(around(5..5, &[]).count(), 0);
    }
}
