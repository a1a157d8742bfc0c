//! A process's memory: what it has mapped where, and the page tables for that.
//!
//! The upper half of the page tables is the kernel's, the same in all; the lower half is the
//! process's own. A program's segments have their pages from the beginning, all else gets its pages
//! when they are first used ([`Space::on_fault`]). The kernel never uses a process's addresses: it
//! looks them up, and goes through the direct map ([`Space::read`], [`Space::write`]), so a wild
//! pointer is an error and no fault.
//!
//! Locks are held for as long as a page is copied, or a range walked. Whoever unmaps, or drops a
//! space, holds none, and has interrupts on if other cores may run the process ([`shootdown`]).

mod active;
mod audit;
mod copy;
mod error;
mod inner;
pub mod isolation;
pub mod shootdown;
mod tables;

use alloc::vec::Vec;
use core::ops::Range;

use kernel_core::process::mappings::{Kind, Mapping};
use kernel_core::process::program::Program;
use kernel_core::process::{PAGE_BYTES, Rights, fault, mappings};
use x86_64::structures::paging::PhysFrame;
use x86_64::{PhysAddr, VirtAddr};

pub use active::leave;
pub use error::{Error, Fault};

use inner::{Inner, State};
use shootdown::What;
use tables::Tables;

/// A process's memory. All of it is given back when this is dropped.
pub struct Space {
    inner: &'static Inner,
    root: PhysFrame,
}

/// Frames that a process has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Usage {
    /// Of its own pages.
    pub pages: u64,
    /// Of page tables.
    pub tables: u64,
}

impl Space {
    /// One in which nothing is mapped. The handler of [`shootdown::VECTOR`] is registered.
    ///
    /// # Errors
    ///
    /// There is no memory for it.
    pub fn new() -> Result<Self, Error> {
        let tables = Tables::new()?;
        let root = tables.root();
        let inner = Inner::take(tables)?;
        Ok(Self { inner, root })
    }

    /// Maps the segments of a program, and applies its relocations.
    ///
    /// # Errors
    ///
    /// There is no memory for it, or something is mapped there already. What has been mapped by then
    /// stays.
    pub fn load(&self, program: &Program<'_>) -> Result<(), Error> {
        for segment in program.segments() {
            let pages = segment.pages();
            self.map_at(pages.clone(), segment.rights, Kind::Image)?;
            self.inner.with(|state| {
                let mut pages = pages.step_by(PAGE_BYTES);
                pages.try_for_each(|page| state.tables.map(page, segment.rights).map(drop))
            })?;
            self.overwrite(segment.start, segment.content)?;
        }
        for relocation in program.relocations() {
            let value = relocation.value.to_le_bytes();
            self.overwrite(relocation.address, &value)?;
        }
        Ok(())
    }

    /// Maps so many bytes, rounded up to pages, where there is room, with a free page on both sides.
    /// They are zero. Returns their addresses.
    ///
    /// # Errors
    ///
    /// There is no room for them.
    pub fn map(&self, bytes: u64, rights: Rights, kind: Kind) -> Result<Range<u64>, Error> {
        self.inner.with(|state| {
            let range = state.mappings.find_free(bytes)?;
            insert(state, range.clone(), rights, kind)?;
            Ok(range)
        })
    }

    /// Maps a range of pages. They are zero.
    ///
    /// # Errors
    ///
    /// It cannot be mapped.
    pub fn map_at(&self, range: Range<u64>, rights: Rights, kind: Kind) -> Result<(), Error> {
        self.inner
            .with(|state| Ok(insert(state, range, rights, kind)?))
    }

    /// Unmaps all that is mapped in a range of pages. When this returns, no core reaches it any more.
    /// The caller holds no lock.
    ///
    /// # Errors
    ///
    /// It is no range of pages, or there is no memory to do it. Nothing has changed.
    pub fn unmap(&self, range: Range<u64>) -> Result<(), Error> {
        let frames = self.inner.with(|state| take_out(state, range.clone()))?;
        if !frames.is_empty() {
            shootdown::ask(self.inner, &What::Forget(range));
        }
        for frame in frames {
            // SAFETY: it was a page of the process's, and all cores have forgotten it.
            unsafe { tables::give_back(frame) };
        }
        Ok(())
    }

    /// Gives the process a page for an access that has met with a page fault of this error code, so
    /// that it can be tried again.
    ///
    /// # Errors
    ///
    /// The access is not allowed, or there is no memory.
    pub fn on_fault(&self, address: u64, error_code: u64) -> Result<(), Fault> {
        let wanted = fault::wanted(error_code).ok_or(Fault::Unusual(error_code))?;
        self.inner.with(|state| {
            state.page(address, wanted)?;
            Ok(())
        })
    }

    /// The mapping that an address is in.
    #[must_use]
    pub fn mapping_at(&self, address: u64) -> Option<Mapping> {
        self.inner
            .with(|state| state.mappings.find(address).copied())
    }

    /// The frames that the process has.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let (tables, pages) = self.inner.with(|state| state.tables.frames());
        Usage { pages, tables }
    }

    /// Loads the page tables on the running core. It keeps them until it has loaded others, or has
    /// called [`leave`], or the space is dropped.
    pub fn activate(&self) {
        // SAFETY: `drop` has all cores leave them before it frees them.
        unsafe { active::enter(self.inner, self.root) };
    }

    /// Lets user mode have this page of a thread's stack, if it has a root of its own.
    ///
    /// # Errors
    ///
    /// There is no memory for the tables.
    pub fn show_stack(&self, page: VirtAddr) -> Result<(), Error> {
        self.inner.with(|state| match state.tables.user_side() {
            Some(user) => Ok(user.show(page)?),
            None => Ok(()),
        })
    }

    /// Ends that.
    pub fn hide_stack(&self, page: VirtAddr) {
        self.inner.with(|state| {
            if let Some(user) = state.tables.user_side() {
                user.hide(page);
            }
        });
    }

    /// Makes sure that user mode has nothing of the kernel but what it should have.
    ///
    /// # Panics
    ///
    /// If there is more, or less.
    pub fn assert_isolated(&self) {
        self.inner.with(|state| state.tables.audit_user_side());
    }

    /// The frame of the root that user mode has.
    #[must_use]
    pub fn user_root(&self) -> PhysFrame {
        if isolation::is_on() {
            self.root + 1
        } else {
            self.root
        }
    }

    /// The frame of the root of the page tables: what CR3 has where they are loaded.
    #[must_use]
    pub fn root(&self) -> PhysFrame {
        self.root
    }
}

impl Drop for Space {
    /// Gives back all frames. The caller holds no lock.
    fn drop(&mut self) {
        shootdown::ask(self.inner, &What::Leave);
        assert!(self.inner.cores.is_empty(), "a process runs that has ended");
        drop(self.inner.give_back());
    }
}

fn insert(
    state: &mut State,
    Range { start, end }: Range<u64>,
    rights: Rights,
    kind: Kind,
) -> Result<(), mappings::Error> {
    state.mappings.insert(Mapping {
        start,
        end,
        rights,
        kind,
    })
}

/// Takes out what is mapped in a range. Returns the frames of its pages.
fn take_out(state: &mut State, range: Range<u64>) -> Result<Vec<PhysAddr>, Error> {
    mappings::check(&range)?;
    let mut frames = Vec::new();
    let pages = state.tables.pages_in(range.clone()).count();
    frames
        .try_reserve_exact(pages)
        .map_err(|_| Error::NoMemory)?;
    state.mappings.remove(range.clone(), |_| {})?;
    state.tables.unmap(range, |frame| frames.push(frame));
    Ok(frames)
}
