//! The kernel's addresses: four levels of page tables (SDM vol. 3, 5.5.4), followed in its memory.

use super::memory::Memory;

const PRESENT: u64 = 1;
const LARGE: u64 = 1 << 7;
/// In an entry: the address of the next table, or of the page.
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
const PAGE: u64 = 4096;

/// Why an address cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The kernel has nothing there.
    Unmapped,
    /// What it has there, or the table that would say so, is not in the memory's file.
    Missing,
}

impl Fault {
    /// For messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unmapped => "is not mapped",
            Self::Missing => "is not in the file",
        }
    }
}

/// Addresses as the kernel has them.
#[derive(Clone, Copy)]
pub struct Space<'a> {
    pub memory: &'a dyn Memory,
    /// The physical address of the root table.
    pub tables: u64,
}

impl Space<'_> {
    /// The physical address of what is at an address.
    pub fn physical(&self, address: u64) -> Result<u64, Fault> {
        let canonical = (address.cast_signed() << 16 >> 16).cast_unsigned();
        if canonical != address {
            return Err(Fault::Unmapped);
        }
        let mut table = self.tables & ADDRESS;
        // The bits of the address that choose an entry, from the highest table on.
        for shift in [39, 30, 21, 12] {
            let index = address >> shift & 0x1ff;
            let mut entry = [0; 8];
            if !self.memory.read(table + index * 8, &mut entry) {
                return Err(Fault::Missing);
            }
            let entry = u64::from_le_bytes(entry);
            if entry & PRESENT == 0 {
                return Err(Fault::Unmapped);
            }
            let is_page = shift == 12 || (shift < 39 && entry & LARGE != 0);
            if is_page {
                let within = (1 << shift) - 1;
                return Ok((entry & ADDRESS & !within) | (address & within));
            }
            table = entry & ADDRESS;
        }
        Err(Fault::Unmapped)
    }

    /// Reads what is at an address.
    pub fn read(&self, mut address: u64, mut into: &mut [u8]) -> Result<(), Fault> {
        while !into.is_empty() {
            let in_page = usize::try_from(PAGE - address % PAGE).unwrap_or(1);
            let (part, rest) = into.split_at_mut(in_page.min(into.len()));
            if !self.memory.read(self.physical(address)?, part) {
                return Err(Fault::Missing);
            }
            address = address.wrapping_add(part.len() as u64);
            into = rest;
        }
        Ok(())
    }

    pub fn bytes<const N: usize>(&self, address: u64) -> Result<[u8; N], Fault> {
        let mut bytes = [0; N];
        self.read(address, &mut bytes)?;
        Ok(bytes)
    }

    pub fn word(&self, address: u64) -> Result<u64, Fault> {
        self.bytes(address).map(u64::from_le_bytes)
    }

    pub fn half(&self, address: u64) -> Result<u32, Fault> {
        self.bytes(address).map(u32::from_le_bytes)
    }

    pub fn short(&self, address: u64) -> Result<u16, Fault> {
        self.bytes(address).map(u16::from_le_bytes)
    }

    pub fn byte(&self, address: u64) -> Result<u8, Fault> {
        self.bytes(address).map(|[byte]: [u8; 1]| byte)
    }
}
