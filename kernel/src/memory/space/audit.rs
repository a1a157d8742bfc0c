//! A process's page tables, read back: is what is mapped what was meant?

use kernel_core::process::USER;
use x86_64::PhysAddr;

use super::{Space, Usage, tables};
use crate::memory::paging;

impl Space {
    /// Visits every page of the process, and its entries for the kernel's half.
    ///
    /// # Panics
    ///
    /// If a page is in no mapping, or allows more or less than that; if a frame is mapped twice, or
    /// pages are not counted right; if the kernel's half is not the kernel's.
    pub fn audit(&self) -> Usage {
        let usage = self.usage();
        self.inner.with(|state| {
            let mut pages = 0;
            let mut last = PhysAddr::zero();
            let mut frames = alloc::vec::Vec::new();
            for page in state.tables.pages_in(USER) {
                let mapping = state.mappings.find(page.start);
                let mapping = mapping.unwrap_or_else(|| panic!("{page:?} is in no mapping"));
                assert!(
                    tables::has_rights(page.flags, mapping.rights),
                    "{page:?} has other rights than {mapping}"
                );
                frames.push(page.frame);
                pages += 1;
            }
            frames.sort_unstable();
            for frame in frames {
                assert!(frame != last, "{frame:?} is mapped twice");
                last = frame;
            }
            assert_eq!(pages, usage.pages, "the pages of a process");
            assert!(
                state.tables.has_kernel_half(&paging::kernel_half()),
                "a process has another kernel half than the kernel"
            );
        });
        usage
    }
}
