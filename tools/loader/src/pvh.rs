//! What QEMU hands over at a PVH entry: Xen's `hvm_start_info`, version 1
//! (xen/include/public/arch-x86/hvm/start_info.h). All addresses are physical.

use x86_64::PhysAddr;

use crate::bytes::{u32_at, u64_at};
use crate::memory_map::{Kind, Region};
use crate::{Error, Result};

const MAGIC: u32 = 0x336e_c578;

/// A block of memory that something was loaded into.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Block {
    /// The first address.
    pub start: PhysAddr,
    /// In bytes.
    pub size: usize,
}

/// `hvm_start_info`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StartInfo {
    /// The table of modules, to be read by [`modules`].
    pub modules: Block,
    /// The command line, which a zero ends; if there is one.
    pub command_line: Option<PhysAddr>,
    /// ACPI's root pointer, if there is one.
    pub rsdp: Option<PhysAddr>,
    /// The firmware's memory map, to be read by [`memory_map`].
    pub memory_map: Block,
}

/// A module: a file that QEMU loaded besides the loader.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Module {
    /// The file's content.
    pub content: Block,
    /// What came with it, which a zero ends; if anything did.
    pub command_line: Option<PhysAddr>,
}

impl StartInfo {
    /// Bytes of the structure in memory.
    pub const SIZE: usize = 56;

    /// Reads the structure.
    ///
    /// # Errors
    ///
    /// [`Error::NotPvh`] if it is another, or has no memory map yet (version 0).
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let parse = || {
            let magic = u32_at(bytes, 0)?;
            let version = u32_at(bytes, 4)?;
            (magic == MAGIC && version >= 1).then_some(())?;
            Some(Self {
                modules: table(u64_at(bytes, 16)?, u32_at(bytes, 12)?, MODULE_SIZE)?,
                command_line: address(u64_at(bytes, 24)?),
                rsdp: address(u64_at(bytes, 32)?),
                memory_map: table(u64_at(bytes, 40)?, u32_at(bytes, 48)?, REGION_SIZE)?,
            })
        };
        parse().ok_or(Error::NotPvh)
    }
}

const MODULE_SIZE: usize = 32;
const REGION_SIZE: usize = 24;

fn table(start: u64, entries: u32, entry_size: usize) -> Option<Block> {
    Some(Block {
        start: PhysAddr::try_new(start).ok()?,
        size: usize::try_from(entries).ok()? * entry_size,
    })
}

fn address(address: u64) -> Option<PhysAddr> {
    PhysAddr::try_new(address)
        .ok()
        .filter(|address| !address.is_null())
}

/// Reads the table of modules.
pub fn modules(table: &[u8]) -> impl Iterator<Item = Module> + Clone {
    table.chunks_exact(MODULE_SIZE).filter_map(|entry| {
        Some(Module {
            content: Block {
                start: PhysAddr::try_new(u64_at(entry, 0)?).ok()?,
                size: usize::try_from(u64_at(entry, 8)?).ok()?,
            },
            command_line: address(u64_at(entry, 16)?),
        })
    })
}

/// Reads the memory map, whose types are those of the BIOS function E820h.
/// What is not known to be anything else is reserved.
pub fn memory_map(table: &[u8]) -> impl Iterator<Item = Region> + Clone {
    table.chunks_exact(REGION_SIZE).filter_map(|entry| {
        let start = u64_at(entry, 0)?;
        let end = start.saturating_add(u64_at(entry, 8)?);
        Some(Region {
            start: PhysAddr::try_new(start).ok()?,
            end: PhysAddr::try_new(end).ok()?,
            kind: match u32_at(entry, 16)? {
                1 => Kind::Usable,
                3 => Kind::AcpiReclaimable,
                4 => Kind::AcpiNvs,
                5 => Kind::Bad,
                _ => Kind::Reserved,
            },
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[u64]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    #[test]
    fn the_structure_is_read() {
        let bytes = words(&[
            1 << 32 | u64::from(MAGIC),
            2 << 32, // flags, modules
            0x1000,
            0,
            0xf_5000,
            0x2000,
            3,
        ]);
        let info = StartInfo::parse(&bytes).unwrap();
        let expected = StartInfo {
            modules: Block {
                start: PhysAddr::new(0x1000),
                size: 64,
            },
            command_line: None,
            rsdp: Some(PhysAddr::new(0xf_5000)),
            memory_map: Block {
                start: PhysAddr::new(0x2000),
                size: 72,
            },
        };
        assert_eq!(info, expected);
    }

    #[test]
    fn another_structure_is_refused() {
        let mut bytes = words(&[1 << 32 | u64::from(MAGIC), 0, 0, 0, 0, 0, 0]);
        assert!(StartInfo::parse(&bytes).is_ok());
        assert_eq!(StartInfo::parse(&bytes[..48]), Err(Error::NotPvh));
        bytes[4] = 0; // version 0
        assert_eq!(StartInfo::parse(&bytes), Err(Error::NotPvh));
        bytes[4] = 1;
        bytes[0] ^= 1;
        assert_eq!(StartInfo::parse(&bytes), Err(Error::NotPvh));
    }

    #[test]
    fn modules_and_regions_are_read() {
        let table = words(&[0x3000, 5, 0, 0, 0x8000, 7, 0x9000, 0]);
        let modules: Vec<_> = modules(&table).collect();
        assert_eq!(
            modules[0].content,
            Block {
                start: PhysAddr::new(0x3000),
                size: 5
            }
        );
        assert_eq!(modules[0].command_line, None);
        assert_eq!(modules[1].command_line, Some(PhysAddr::new(0x9000)));

        let table = words(&[0, 0x9fc00, 1, 0x9fc00, 0x400, 2, 0xf000_0000, 0x1000, 77]);
        let kinds: Vec<_> = memory_map(&table).map(|region| region.kind).collect();
        assert_eq!(kinds, [Kind::Usable, Kind::Reserved, Kind::Reserved]);
        assert_eq!(
            memory_map(&table).nth(1).unwrap().end,
            PhysAddr::new(0xa_0000)
        );
    }
}
