//! Which frames are free: one bit a frame, in words that the caller supplies.
//!
//! Single frames are taken from the top of memory downwards, blocks of several
//! from the bottom upwards, or from the middle of what is free, where firmware and boot loaders
//! write nothing. So the low memory that blocks may need (the sample
//! rings lie below 2 GiB, where the host finds them at their physical address
//! in the RAM file) is the last that page tables and small heap pages use up.

use core::ops::Range;

const BITS: usize = u64::BITS as usize;

/// Frames by number; a set bit is a free frame.
#[derive(Debug)]
pub struct Bitmap<'a> {
    words: &'a mut [u64],
    free: usize,
    /// No frame at or above this number is free.
    top: usize,
}

impl<'a> Bitmap<'a> {
    /// How many words a bitmap of `frames` frames takes.
    #[must_use]
    pub const fn words_for(frames: usize) -> usize {
        frames.div_ceil(BITS)
    }

    /// A bitmap of `64 * words.len()` frames, of which none is free.
    #[must_use]
    pub fn new(words: &'a mut [u64]) -> Self {
        words.fill(0);
        Self {
            words,
            free: 0,
            top: 0,
        }
    }

    /// How many frames are free.
    #[must_use]
    pub const fn free_frames(&self) -> usize {
        self.free
    }

    /// Makes `frames` free.
    ///
    /// # Panics
    ///
    /// If one of them is free already, or has no bit here: whoever frees it is
    /// confused about what it owns.
    pub fn release(&mut self, frames: Range<usize>) {
        for frame in frames.clone() {
            assert!(!self.is_free(frame), "frame {frame} freed twice");
            self.words[frame / BITS] |= 1 << (frame % BITS);
        }
        self.free += frames.len();
        self.top = self.top.max(frames.end);
    }

    /// Takes the highest free frame.
    pub fn take_one(&mut self) -> Option<usize> {
        let words = self.top.div_ceil(BITS);
        let index = self.words[..words].iter().rposition(|&word| word != 0)?;
        let bit = self.words[index].ilog2() as usize;
        let frame = index * BITS + bit;
        self.take(frame..frame + 1);
        self.top = frame;
        Some(frame)
    }

    /// Takes the lowest `count` frames in a row that start at a multiple of
    /// `align` (a power of two) and end at `below` or lower. Returns the first.
    pub fn take_block(&mut self, count: usize, align: usize, below: usize) -> Option<usize> {
        let limit = below.min(self.top);
        let mut from = 0;
        loop {
            let start = self.next_that_is(true, from, limit).next_multiple_of(align);
            if count == 0 || start.checked_add(count)? > limit {
                return None;
            }
            match self.last_used_in(start..start + count) {
                None => {
                    self.take(start..start + count);
                    return Some(start);
                }
                // No block that contains this frame will do.
                Some(used) => from = used + 1,
            }
        }
    }

    /// Takes `count` frames in the middle of the longest row of free ones that ends at `below` or
    /// lower, from a multiple of `align` (a power of two) on. `None` if it has no room for that.
    pub fn take_middle(&mut self, count: usize, align: usize, below: usize) -> Option<usize> {
        let row = self.longest_row(below.min(self.top));
        let spare = row.len().checked_sub(count)?;
        // Not below the row's start, which need not be a multiple.
        let middle = (row.start + spare / 2) / align * align;
        let start = middle.max(row.start.next_multiple_of(align));
        if count == 0 || start.checked_add(count)? > row.end {
            return None;
        }
        self.take(start..start + count);
        Some(start)
    }

    /// The longest row of free frames below `limit`; of several as long the lowest.
    fn longest_row(&self, limit: usize) -> Range<usize> {
        let mut longest = 0..0;
        let mut start = self.next_that_is(true, 0, limit);
        while start < limit {
            let end = self.next_that_is(false, start, limit);
            if end - start > longest.len() {
                longest = start..end;
            }
            start = self.next_that_is(true, end, limit);
        }
        longest
    }

    /// The first frame from `from` on that is free, or is not, or `limit`.
    fn next_that_is(&self, free: bool, from: usize, limit: usize) -> usize {
        let others = if free { 0 } else { u64::MAX };
        let mut frame = from;
        while frame < limit && self.is_free(frame) != free {
            // Whole words at once.
            let is_word = frame.is_multiple_of(BITS) && self.words[frame / BITS] == others;
            frame += if is_word { BITS } else { 1 };
        }
        frame.min(limit)
    }

    fn is_free(&self, frame: usize) -> bool {
        self.words[frame / BITS] & (1 << (frame % BITS)) != 0
    }

    fn last_used_in(&self, frames: Range<usize>) -> Option<usize> {
        let mut end = frames.end;
        while end > frames.start {
            // Whole words at once: blocks of many MiB are thousands of frames.
            if end.is_multiple_of(BITS)
                && end - frames.start >= BITS
                && self.words[end / BITS - 1] == u64::MAX
            {
                end -= BITS;
            } else if self.is_free(end - 1) {
                end -= 1;
            } else {
                return Some(end - 1);
            }
        }
        None
    }

    fn take(&mut self, frames: Range<usize>) {
        self.free -= frames.len();
        for frame in frames {
            self.words[frame / BITS] &= !(1 << (frame % BITS));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_free_at_first() {
        let mut words = [u64::MAX; 2];
        let mut bitmap = Bitmap::new(&mut words);
        assert_eq!(bitmap.free_frames(), 0);
        assert_eq!(bitmap.take_one(), None);
        assert_eq!(bitmap.take_block(1, 1, usize::MAX), None);
    }

    #[test]
    fn single_frames_come_from_the_top_and_each_only_once() {
        let mut words = [0; 3];
        let mut bitmap = Bitmap::new(&mut words);
        bitmap.release(60..70);
        bitmap.release(190..192);
        let taken: Vec<_> = core::iter::from_fn(|| bitmap.take_one()).collect();
        assert_eq!(taken, [191, 190, 69, 68, 67, 66, 65, 64, 63, 62, 61, 60]);
        assert_eq!(bitmap.free_frames(), 0);
    }

    #[test]
    fn a_released_frame_is_found_again_above_and_below_the_last() {
        let mut words = [0; 2];
        let mut bitmap = Bitmap::new(&mut words);
        bitmap.release(0..128);
        assert_eq!(bitmap.take_one(), Some(127));
        assert_eq!(bitmap.take_one(), Some(126));
        bitmap.release(127..128);
        assert_eq!(bitmap.take_one(), Some(127));
        assert_eq!(bitmap.take_one(), Some(125));
    }

    #[test]
    fn blocks_come_from_the_bottom_aligned_and_whole() {
        let mut words = [0; 8];
        let mut bitmap = Bitmap::new(&mut words);
        bitmap.release(3..200);
        bitmap.release(201..512);
        assert_eq!(bitmap.take_block(4, 4, 512), Some(4));
        assert_eq!(bitmap.take_block(1, 1, 512), Some(3));
        assert_eq!(bitmap.take_block(128, 64, 512), Some(64));
        // 200 is missing, so the next 64 aligned frames start at 256.
        assert_eq!(bitmap.take_block(64, 64, 512), Some(256));
        assert_eq!(bitmap.free_frames(), 508 - 4 - 1 - 128 - 64);
    }

    #[test]
    fn a_block_ends_below_its_bound() {
        let mut words = [0; 4];
        let mut bitmap = Bitmap::new(&mut words);
        bitmap.release(10..256);
        assert_eq!(bitmap.take_block(90, 1, 99), None);
        assert_eq!(bitmap.take_block(90, 1, 100), Some(10));
        assert_eq!(bitmap.take_block(157, 1, usize::MAX), None);
        assert_eq!(bitmap.take_block(usize::MAX, 1, usize::MAX), None);
    }

    #[test]
    #[should_panic(expected = "frame 7 freed twice")]
    fn freeing_twice_is_an_error() {
        let mut words = [0; 1];
        let mut bitmap = Bitmap::new(&mut words);
        bitmap.release(5..8);
        bitmap.release(7..9);
    }

    /// Random takes and releases against a plain list of who owns what.
    #[test]
    fn no_frame_has_two_owners() {
        let mut words = [0; 16];
        let mut bitmap = Bitmap::new(&mut words);
        bitmap.release(1..1000);
        let mut owned: Vec<Range<usize>> = Vec::new();
        let mut seed = 1_u64;
        for _ in 0..20_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let dice = usize::try_from(seed >> 33).unwrap();
            let taken = match dice % 4 {
                0 => bitmap.take_one().map(|frame| frame..frame + 1),
                1 => {
                    let (count, align) = (dice / 4 % 40 + 1, 1 << (dice / 160 % 6));
                    let start = bitmap.take_block(count, align, 900);
                    start.map(|start| {
                        assert!(start % align == 0 && start + count <= 900);
                        start..start + count
                    })
                }
                _ if owned.is_empty() => None,
                _ => {
                    bitmap.release(owned.swap_remove(dice / 4 % owned.len()));
                    None
                }
            };
            if let Some(taken) = taken {
                assert!(taken.start >= 1 && taken.end <= 1000);
                for other in &owned {
                    assert!(taken.end <= other.start || other.end <= taken.start);
                }
                owned.push(taken);
            }
            let in_use: usize = owned.iter().map(ExactSizeIterator::len).sum();
            assert_eq!(bitmap.free_frames() + in_use, 999);
        }
    }

    #[test]
    fn the_middle_is_that_of_the_longest_row() {
        let mut words = [0; 8];
        let mut bitmap = Bitmap::new(&mut words);
        bitmap.release(3..10);
        bitmap.release(70..331);
        bitmap.release(400..420);
        // 61 are spare.
        assert_eq!(bitmap.take_middle(200, 1, usize::MAX), Some(100));
        assert_eq!(bitmap.free_frames(), 7 + 261 + 20 - 200);
        // What is left of it: 70 to 100, and 300 to 331.
        assert_eq!(bitmap.take_middle(31, 1, usize::MAX), Some(300));
        assert_eq!(bitmap.take_middle(4, 8, usize::MAX), Some(80));
        // From 84 on, and below 95.
        assert_eq!(bitmap.take_middle(3, 1, 95), Some(88));
    }

    #[test]
    fn a_middle_is_aligned_or_none() {
        let mut words = [0; 2];
        let mut bitmap = Bitmap::new(&mut words);
        bitmap.release(17..49);
        assert_eq!(bitmap.take_middle(0, 1, usize::MAX), None);
        assert_eq!(bitmap.take_middle(33, 1, usize::MAX), None);
        assert_eq!(bitmap.take_middle(18, 16, usize::MAX), None);
        assert_eq!(bitmap.take_middle(17, 16, 48), None);
        assert_eq!(bitmap.free_frames(), 32);
        // Below the middle is no multiple any more.
        assert_eq!(bitmap.take_middle(17, 16, usize::MAX), Some(32));
        let mut words = [0; 2];
        assert_eq!(Bitmap::new(&mut words).take_middle(1, 1, 9), None);
    }
}
