//! Memory for the regions of tests.

use std::ptr::NonNull;

use super::region::PAGE;

#[repr(align(4096))]
#[derive(Clone)]
struct Page([u8; PAGE]);

/// Whole pages.
pub(super) struct Memory(Vec<Page>);

impl Memory {
    /// So many bytes, a multiple of a page, that all have this value.
    pub(super) fn filled(bytes: usize, value: u8) -> Self {
        assert!(bytes.is_multiple_of(PAGE));
        Self(vec![Page([value; PAGE]); bytes / PAGE])
    }

    /// What is there from `offset` on.
    pub(super) fn bytes(&mut self, offset: usize) -> NonNull<[u8]> {
        let len = self.0.len() * PAGE - offset;
        let start = self.0.as_mut_ptr().cast::<u8>().wrapping_add(offset);
        NonNull::slice_from_raw_parts(NonNull::new(start).unwrap(), len)
    }

    /// Writes over what is there.
    pub(super) fn put(&mut self, offset: usize, bytes: &[u8]) {
        self.0[offset / PAGE].0[offset % PAGE..][..bytes.len()].copy_from_slice(bytes);
    }
}
