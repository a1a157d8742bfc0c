//! The kernel's own look at a process's memory: through the direct map, by the process's page tables
//! and mappings, so that no address of a process is ever used.

use core::sync::atomic::{AtomicU32, Ordering};

use kernel_core::process::{PAGE, Rights};
use x86_64::PhysAddr;

use super::inner::State;
use super::{Fault, Space, tables};
use crate::memory::direct;

impl State {
    /// The frame of a process's page that may be used like this. Makes the page if there is none yet.
    pub(super) fn page(&mut self, address: u64, wanted: Rights) -> Result<PhysAddr, Fault> {
        let mapping = self.mappings.find(address).copied();
        let mapping = mapping.ok_or(Fault::NotMapped(address))?;
        if !mapping.rights.allow(wanted) {
            return Err(Fault::NotAllowed {
                address,
                wanted,
                mapping,
            });
        }
        match self.tables.page(address) {
            Some(page) => {
                debug_assert!(tables::has_rights(page.flags, mapping.rights));
                Ok(page.frame)
            }
            None => Ok(self.tables.map(address, mapping.rights)?),
        }
    }

    /// Where the direct map has the byte at a process's address, which may be used like this.
    fn place(&mut self, address: u64, wanted: Rights) -> Result<*mut u8, Fault> {
        let frame = self.page(address, wanted)?;
        Ok((direct::address_of(frame) + address % PAGE).as_mut_ptr())
    }
}

/// The parts of a range that each lie in one page: their first addresses, and bytes.
fn parts(address: u64, bytes: usize) -> impl Iterator<Item = (u64, usize)> {
    let (mut at, mut left) = (address, bytes);
    core::iter::from_fn(move || {
        let start = at;
        // A page has few bytes.
        let bytes = left.min((PAGE - start % PAGE) as usize);
        left -= bytes;
        at = start.wrapping_add(bytes as u64);
        (bytes != 0).then_some((start, bytes))
    })
}

impl Space {
    /// Reads the process's memory. It may be changed by the process meanwhile.
    ///
    /// # Errors
    ///
    /// Some of it cannot be read. What is in `bytes` then is not said.
    pub fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), Fault> {
        let mut rest = bytes;
        for (start, count) in parts(address, rest.len()) {
            let (to, behind) = rest.split_at_mut(count);
            rest = behind;
            self.inner.with(|state| {
                let from = state.place(start, Rights::Read)?;
                // SAFETY: the frame is the process's while the lock is held, and the part lies in
                // it; `to` is the kernel's, as long, and somewhere else.
                unsafe { from.copy_to_nonoverlapping(to.as_mut_ptr(), count) };
                Ok::<_, Fault>(())
            })?;
        }
        Ok(())
    }

    /// Writes to the process's memory.
    ///
    /// # Errors
    ///
    /// Some of it cannot be written. What comes before that may have been.
    pub fn write(&self, address: u64, bytes: &[u8]) -> Result<(), Fault> {
        self.put(address, bytes, Rights::Write)
    }

    /// The same, whether the process may write there or not: for what it is made of.
    pub(super) fn overwrite(&self, address: u64, bytes: &[u8]) -> Result<(), Fault> {
        self.put(address, bytes, Rights::Read)
    }

    fn put(&self, address: u64, bytes: &[u8], wanted: Rights) -> Result<(), Fault> {
        let mut rest = bytes;
        for (start, count) in parts(address, rest.len()) {
            let (from, behind) = rest.split_at(count);
            rest = behind;
            self.inner.with(|state| {
                let to = state.place(start, wanted)?;
                // SAFETY: as in `read`.
                unsafe { to.copy_from_nonoverlapping(from.as_ptr(), count) };
                Ok::<_, Fault>(())
            })?;
        }
        Ok(())
    }

    /// Reads a word of the process's at once, as others write it at once.
    ///
    /// # Errors
    ///
    /// It cannot be read, or its address is no multiple of 4.
    pub fn load_u32(&self, address: u64) -> Result<u32, Fault> {
        if !address.is_multiple_of(4) {
            return Err(Fault::Unaligned(address));
        }
        self.inner.with(|state| {
            let word: *const AtomicU32 = state.place(address, Rights::Read)?.cast();
            // SAFETY: the frame is the process's while the lock is held; aligned, so in one page.
            Ok(unsafe { &*word }.load(Ordering::SeqCst))
        })
    }
}
