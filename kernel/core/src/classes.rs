//! Small allocations: a list of free blocks for each power of two.
//!
//! A request is rounded up to the next power of two from 16 to 2048 bytes, its
//! alignment included, and served from that size's list; an empty list is
//! refilled with one page cut into blocks. A page's blocks keep their size for
//! ever: allocating and freeing take constant time, and a block is aligned to
//! its size because the page is. What that costs is up to half of a block, and
//! pages that one size keeps when another could use them; a kernel that
//! allocates mostly at boot pays neither.

use core::alloc::Layout;
use core::ptr::NonNull;

/// The bytes of a page, which is what a list is refilled with.
pub const PAGE: usize = 4096;

const SMALLEST: usize = 16;
const SIZES: usize = 8;
/// The largest request that is served from a list, in bytes.
pub const LARGEST: usize = SMALLEST << (SIZES - 1);

/// What a free block holds in its first bytes.
struct FreeBlock {
    next: Option<NonNull<FreeBlock>>,
}

/// The free blocks of each size.
#[derive(Default)]
pub struct Classes {
    lists: [Option<NonNull<FreeBlock>>; SIZES],
}

// SAFETY: the lists own the blocks they point to; no core has a claim on them.
unsafe impl Send for Classes {}

impl Classes {
    /// Empty lists.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            lists: [None; SIZES],
        }
    }

    /// The block size that serves `layout`; none if it is too large for a list.
    #[must_use]
    pub fn size_for(layout: Layout) -> Option<usize> {
        let size = layout.size().max(layout.align()).max(SMALLEST);
        (size <= LARGEST).then(|| size.next_power_of_two())
    }

    /// Takes a block of `size` bytes, one of those that [`Classes::size_for`]
    /// returns, aligned to its size. Asks `refill` for a page when there is none.
    ///
    /// # Safety
    ///
    /// A page that `refill` returns:
    /// 1. is [`PAGE`] bytes of memory that can be read and written, aligned to
    ///    its size;
    /// 2. belongs to these lists from then on.
    pub unsafe fn take(
        &mut self,
        size: usize,
        refill: impl FnOnce() -> Option<NonNull<u8>>,
    ) -> Option<NonNull<u8>> {
        let list = Self::list_of(size);
        if self.lists[list].is_none() {
            let page = refill()?;
            // From the end, so that blocks are handed out in ascending order.
            for offset in (0..PAGE).step_by(size).rev() {
                // SAFETY: `offset` is within the page (condition 1).
                let block = unsafe { page.add(offset) };
                // SAFETY: a part of a page that belongs to us (condition 2), of
                // `size` bytes and aligned to them.
                unsafe { self.give(block, size) };
            }
        }
        let block = self.lists[list]?;
        // SAFETY: what is on a list was written by `give` and is ours since.
        self.lists[list] = unsafe { block.read() }.next;
        Some(block.cast())
    }

    /// Puts a block of `size` bytes on its list.
    ///
    /// # Safety
    ///
    /// 1. `block` is `size` bytes that can be read and written, aligned to `size`.
    /// 2. Nobody uses it any more: it came from [`Classes::take`] with this size,
    ///    or belongs to a page as described there.
    pub unsafe fn give(&mut self, block: NonNull<u8>, size: usize) {
        let list = Self::list_of(size);
        let block = block.cast::<FreeBlock>();
        let next = self.lists[list];
        // SAFETY: large enough (16 bytes at least), aligned and unused.
        unsafe { block.write(FreeBlock { next }) };
        self.lists[list] = Some(block);
    }

    fn list_of(size: usize) -> usize {
        debug_assert!(size.is_power_of_two() && (SMALLEST..=LARGEST).contains(&size));
        (size / SMALLEST).ilog2() as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn page() -> Option<NonNull<u8>> {
        let layout = Layout::from_size_align(PAGE, PAGE).unwrap();
        // SAFETY: the layout has a size. The page is never freed, as a kernel's
        // is not.
        NonNull::new(unsafe { std::alloc::alloc(layout) })
    }

    fn size(bytes: usize, align: usize) -> Option<usize> {
        Classes::size_for(Layout::from_size_align(bytes, align).unwrap())
    }

    #[test]
    fn sizes_are_powers_of_two_that_cover_alignment() {
        assert_eq!(size(0, 1), Some(16));
        assert_eq!(size(16, 8), Some(16));
        assert_eq!(size(17, 8), Some(32));
        assert_eq!(size(8, 256), Some(256));
        assert_eq!(size(2048, 1), Some(2048));
        assert_eq!(size(2049, 1), None);
        assert_eq!(size(8, 4096), None);
    }

    #[test]
    fn a_page_gives_each_of_its_blocks_once() {
        for shift in 4..=11 {
            let size = 1 << shift;
            let mut classes = Classes::new();
            let mut pages = Vec::new();
            let mut blocks = Vec::new();
            for _ in 0..2 * PAGE / size {
                // SAFETY: `page` returns whole pages that have no other owner.
                let block = unsafe {
                    classes.take(size, || {
                        let page = page();
                        pages.extend(page);
                        page
                    })
                };
                blocks.push(block.unwrap().addr().get());
            }
            assert_eq!(pages.len(), 2);
            let mut expected: Vec<_> = pages
                .iter()
                .flat_map(|page| (0..PAGE).step_by(size).map(|at| page.addr().get() + at))
                .collect();
            expected.sort_unstable();
            blocks.sort_unstable();
            assert_eq!(blocks, expected);
        }
    }

    #[test]
    fn without_a_page_there_is_no_block() {
        let mut classes = Classes::new();
        // SAFETY: no page is returned.
        assert_eq!(unsafe { classes.take(64, || None) }, None);
    }

    /// Random use, every block filled with a pattern of its own that must still
    /// stand there when it is freed.
    #[test]
    fn blocks_never_overlap() {
        let mut classes = Classes::new();
        let mut live: HashMap<usize, (NonNull<u8>, usize, u8)> = HashMap::new();
        let mut seed = 7_u64;
        for step in 0..50_000_usize {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let dice = usize::try_from(seed >> 33).unwrap();
            let key = dice % 500;
            if let Some((block, size, pattern)) = live.remove(&key) {
                // SAFETY: the block is live and has `size` bytes.
                let bytes = unsafe { core::slice::from_raw_parts(block.as_ptr(), size) };
                assert!(bytes.iter().all(|&byte| byte == pattern), "step {step}");
                // SAFETY: it came from `take` with this size and is live no more.
                unsafe { classes.give(block, size) };
            } else {
                let size = 16 << (dice / 500 % 8);
                // SAFETY: `page` returns whole pages that have no other owner.
                let block = unsafe { classes.take(size, page) }.unwrap();
                assert_eq!(block.addr().get() % size, 0);
                let pattern = (step % 251).to_le_bytes()[0];
                // SAFETY: a block of `size` bytes that is ours.
                unsafe { block.write_bytes(pattern, size) };
                live.insert(key, (block, size, pattern));
            }
        }
    }
}
