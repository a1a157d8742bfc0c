//! Which of many ranges, that may lie in each other, is the innermost at an address.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;

/// Ranges, each with an index. A look-up takes steps by the logarithm of their number, however
/// they overlap.
#[derive(Clone, Debug, Default)]
pub(super) struct Spans {
    /// Where another one begins to be the innermost, or none is.
    changes: Vec<(u64, Option<usize>)>,
}

impl Spans {
    /// Of ranges that begin at one address, those first are the inner ones.
    pub(super) fn new(spans: impl Iterator<Item = (Range<u64>, usize)>) -> Self {
        let mut spans: Vec<_> = spans.filter(|(span, _)| !span.is_empty()).collect();
        spans.sort_by_key(|(span, _)| span.start);
        let bounds = spans.iter().flat_map(|(span, _)| [span.start, span.end]);
        let mut bounds: Vec<_> = bounds.collect();
        bounds.sort_unstable();
        bounds.dedup();
        let mut changes: Vec<(u64, Option<usize>)> = Vec::new();
        let mut behind = spans.iter().enumerate().peekable();
        // Those that have begun, the innermost on top; one that has ended goes when it is there.
        let mut open = BinaryHeap::new();
        for bound in bounds {
            while let Some((order, (span, index))) =
                behind.next_if(|(_, (span, _))| span.start == bound)
            {
                open.push((span.start, Reverse(order), span.end, *index));
            }
            while open.peek().is_some_and(|&(_, _, end, _)| end <= bound) {
                open.pop();
            }
            let innermost = open.peek().map(|&(_, _, _, index)| index);
            if changes.last().is_none_or(|&(_, index)| index != innermost) {
                changes.push((bound, innermost));
            }
        }
        Self { changes }
    }

    /// The index of the range around `address` that begins last.
    pub(super) fn at(&self, address: u64) -> Option<usize> {
        let behind = self.changes.partition_point(|&(at, _)| at <= address);
        self.changes[..behind].last()?.1
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Spans;

    proptest! {
        #[test]
        fn the_innermost_is_found(spans in prop::collection::vec((0_u64..40, 0_u64..20), 0..20)) {
            let mut spans: Vec<_> = spans.iter().map(|&(start, size)| start..start + size).collect();
            spans.sort_by_key(|span| span.start);
            let found = Spans::new(spans.iter().cloned().zip(0..));
            for address in 0..70 {
                let around = spans.iter().enumerate().filter(|(_, span)| span.contains(&address));
                let start = around.clone().map(|(_, span)| span.start).max();
                let innermost = around.clone().find(|(_, span)| Some(span.start) == start);
                prop_assert_eq!(found.at(address), innermost.map(|(index, _)| index));
            }
        }
    }
}
