//! A guest's memory by physical addresses.

use std::rc::Rc;

use anyhow::Result;
use kernel_core::postmortem::MAGIC;

use crate::attach::Image;

/// Memory that is read by physical addresses, and may lack any part.
pub trait Memory {
    /// Reads what is at an address. Returns false if not all of it is there.
    fn read(&self, address: u64, into: &mut [u8]) -> bool;

    /// The addresses of all pages that begin as a root does.
    fn pages_like_roots(&self) -> Vec<u64>;

    /// The registers of each processor, if the memory's file has notes with them.
    fn notes(&self) -> Vec<Vec<u8>> {
        Vec::new()
    }
}

/// Where devices end, and memory that has no room below them goes on.
const FOUR_GIB: u64 = 1 << 32;

/// How much memory the machines of QEMU have below their devices if they have this much: q35, pc.
const BELOW_DEVICES: [(u64, u64); 2] = [(0xb000_0000, 0x8000_0000), (0xe000_0000, 0xc000_0000)];

/// A file that has a guest's memory in it, read as one machine of QEMU lays it out.
pub struct Placed<'a> {
    image: &'a Image,
    /// In a file that backs the memory: the bytes below the devices.
    below: u64,
    /// Where in the image pages begin as a root does: a large file is searched once.
    like_roots: Rc<[u64]>,
}

impl<'a> Placed<'a> {
    /// All ways in which the file can be the memory of a machine, the likeliest first.
    ///
    /// # Errors
    ///
    /// Those of reading the file.
    pub fn all(image: &'a Image) -> Result<Vec<Self>> {
        let like_roots: Rc<[u64]> = image.pages_with(&MAGIC)?.into();
        let bytes = image.bytes();
        let possible = BELOW_DEVICES
            .iter()
            .filter(|(least, _)| !image.is_dump() && bytes >= *least);
        let mut below: Vec<_> = possible.map(|&(_, below)| below).collect();
        if below.is_empty() {
            below.push(u64::MAX);
        }
        let placed = below.into_iter().map(|below| Self {
            image,
            below,
            like_roots: Rc::clone(&like_roots),
        });
        Ok(placed.collect())
    }

    /// The place in the image of a physical address.
    fn place(&self, address: u64) -> Option<u64> {
        if self.below == u64::MAX || address < self.below {
            return Some(address);
        }
        address.checked_sub(FOUR_GIB)?.checked_add(self.below)
    }
}

impl Memory for Placed<'_> {
    fn read(&self, address: u64, into: &mut [u8]) -> bool {
        self.place(address)
            .is_some_and(|place| self.image.read_at(place, into))
    }

    fn pages_like_roots(&self) -> Vec<u64> {
        let address = |&place: &u64| match place.checked_sub(self.below) {
            Some(above) => above.saturating_add(FOUR_GIB),
            None => place,
        };
        self.like_roots.iter().map(address).collect()
    }

    fn notes(&self) -> Vec<Vec<u8>> {
        self.image.process_notes()
    }
}
