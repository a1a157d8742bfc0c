//! The kernel's addresses: its page tables, followed in its memory.

use kernel_core::page_tables::{self, Entry, LEVELS};

use super::memory::Memory;

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
        if !page_tables::is_canonical(address) {
            return Err(Fault::Unmapped);
        }
        let mut table = page_tables::root(self.tables);
        for level in 0..LEVELS {
            let mut entry = [0; 8];
            let place = table + page_tables::offset_of_entry(address, level);
            if !self.memory.read(place, &mut entry) {
                return Err(Fault::Missing);
            }
            match Entry::new(u64::from_le_bytes(entry), level) {
                Entry::Absent => return Err(Fault::Unmapped),
                Entry::Table(next) => table = next,
                Entry::Page { start, bytes } => return Ok(start | (address & (bytes - 1))),
            }
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
