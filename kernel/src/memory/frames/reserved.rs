//! Memory that is left alone though it is free by the memory map.

use core::ops::Range;

use super::Block;

/// Blocks that are given to nobody.
#[derive(Default, Debug)]
pub struct Reserved {
    ranges: [Range<u64>; Self::MOST],
    count: usize,
}

impl Reserved {
    /// The most blocks that can be reserved.
    pub const MOST: usize = 8;

    /// Reserves a block, which lies above all that were reserved before. Returns false if there is
    /// no room for more.
    pub fn add(&mut self, block: Block) -> bool {
        let start = block.start.as_u64();
        let Some(place) = self.ranges.get_mut(self.count) else {
            return false;
        };
        *place = start..start + block.bytes;
        self.count += 1;
        true
    }

    /// Where the last one ends; 0 if there is none.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.ranges().last().map_or(0, |range| range.end)
    }

    /// Their addresses, in ascending order.
    pub(super) fn ranges(&self) -> &[Range<u64>] {
        &self.ranges[..self.count]
    }
}
