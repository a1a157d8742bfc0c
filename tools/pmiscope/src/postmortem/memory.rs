//! A guest's memory by physical addresses.

use anyhow::Result;

use crate::attach::Image;

/// Memory that is read by physical addresses, and may lack any part.
pub trait Memory {
    /// Reads what is at an address. Returns false if not all of it is there.
    fn read(&self, address: u64, into: &mut [u8]) -> bool;

    /// The addresses of all pages that begin with `magic`.
    ///
    /// # Errors
    ///
    /// Those of reading the file.
    fn pages_with(&self, magic: &[u8]) -> Result<Vec<u64>>;

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
}

impl<'a> Placed<'a> {
    /// All ways in which the file can be the memory of a machine, the likeliest first.
    pub fn all(image: &'a Image) -> Vec<Self> {
        let bytes = image.bytes();
        let mut all: Vec<_> = BELOW_DEVICES
            .iter()
            .filter(|(least, _)| !image.is_dump() && bytes >= *least)
            .map(|&(_, below)| Self { image, below })
            .collect();
        if all.is_empty() {
            let below = u64::MAX;
            all.push(Self { image, below });
        }
        all
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

    fn pages_with(&self, magic: &[u8]) -> Result<Vec<u64>> {
        let mut pages = self.image.pages_with(magic)?;
        for page in &mut pages {
            if *page >= self.below {
                *page = (*page - self.below).saturating_add(FOUR_GIB);
            }
        }
        Ok(pages)
    }

    fn notes(&self) -> Vec<Vec<u8>> {
        self.image.process_notes()
    }
}
