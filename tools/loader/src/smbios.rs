//! Where the firmware left the SMBIOS tables: behind an anchor in the last 64 KiB below
//! 1 MiB (SMBIOS reference specification 3.7, chapter 5.2).

use core::ops::Range;

use x86_64::PhysAddr;

use crate::bytes::{u16_at, u32_at, u64_at};
use crate::pvh::Block;

/// Where the anchors are looked for.
pub const SEARCHED: Range<u64> = 0xf_0000..0x10_0000;

/// A way into the tables: the entry point, and the tables that it names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EntryPoint {
    /// The entry point itself.
    pub itself: Block,
    /// The structures.
    pub structures: Block,
}

/// What there is of SMBIOS; nothing, by default.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Smbios {
    /// The entry point of 32 bits.
    pub narrow: Option<EntryPoint>,
    /// The entry point of 64 bits.
    pub wide: Option<EntryPoint>,
}

impl Smbios {
    /// Looks for both entry points in what is in memory from `start` on.
    #[must_use]
    pub fn find(memory: &[u8], start: PhysAddr) -> Self {
        let offsets = || (0..memory.len()).step_by(16);
        Self {
            narrow: offsets().find_map(|offset| narrow(memory, start, offset)),
            wide: offsets().find_map(|offset| wide(memory, start, offset)),
        }
    }

    /// All that lies in memory.
    pub fn blocks(&self) -> impl Iterator<Item = Block> {
        let entries = [self.narrow, self.wide].into_iter().flatten();
        entries.flat_map(|entry| [entry.itself, entry.structures])
    }
}

fn narrow(memory: &[u8], start: PhysAddr, offset: usize) -> Option<EntryPoint> {
    let entry = checked(memory, offset, b"_SM_", 5)?;
    let address = u64::from(u32_at(entry, 24)?);
    let size = u16_at(entry, 22)?.into();
    entry_point(start + offset as u64, entry, address, size)
}

fn wide(memory: &[u8], start: PhysAddr, offset: usize) -> Option<EntryPoint> {
    let entry = checked(memory, offset, b"_SM3_", 6)?;
    let size = usize::try_from(u32_at(entry, 12)?).ok()?;
    entry_point(start + offset as u64, entry, u64_at(entry, 16)?, size)
}

/// The entry point at `offset`, if its anchor and its sum are right; its length is in the
/// byte number `length`.
fn checked<'a>(memory: &'a [u8], offset: usize, anchor: &[u8], length: usize) -> Option<&'a [u8]> {
    let memory = memory.get(offset..)?;
    let length = usize::from(*memory.get(length)?);
    let entry = memory.get(..length)?;
    let sum = entry.iter().copied().fold(0, u8::wrapping_add);
    (entry.starts_with(anchor) && sum == 0).then_some(entry)
}

fn entry_point(start: PhysAddr, entry: &[u8], address: u64, size: usize) -> Option<EntryPoint> {
    Some(EntryPoint {
        itself: Block {
            start,
            size: entry.len(),
        },
        structures: Block {
            start: PhysAddr::try_new(address).ok()?,
            size,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: PhysAddr = PhysAddr::new(0xf_0000);

    fn seal(entry: &mut [u8], at: usize) {
        let sum = entry.iter().copied().fold(0, u8::wrapping_add);
        entry[at] = entry[at].wrapping_sub(sum);
    }

    fn narrow_entry() -> [u8; 31] {
        let mut entry = [0; 31];
        entry[..4].copy_from_slice(b"_SM_");
        entry[5] = 31;
        entry[22..24].copy_from_slice(&0x123_u16.to_le_bytes());
        entry[24..28].copy_from_slice(&0xf_5000_u32.to_le_bytes());
        seal(&mut entry, 4);
        entry
    }

    fn wide_entry() -> [u8; 24] {
        let mut entry = [0; 24];
        entry[..5].copy_from_slice(b"_SM3_");
        entry[6] = 24;
        entry[12..16].copy_from_slice(&0x456_u32.to_le_bytes());
        entry[16..24].copy_from_slice(&0x1_0000_0000_u64.to_le_bytes());
        seal(&mut entry, 5);
        entry
    }

    fn memory(narrow_at: usize, wide_at: usize) -> Vec<u8> {
        let mut memory = vec![0; 0x1_0000];
        memory[narrow_at..narrow_at + 31].copy_from_slice(&narrow_entry());
        memory[wide_at..wide_at + 24].copy_from_slice(&wide_entry());
        memory
    }

    fn block(start: u64, size: usize) -> Block {
        let start = PhysAddr::new(start);
        Block { start, size }
    }

    #[test]
    fn both_entry_points_are_found() {
        let found = Smbios::find(&memory(0x5430, 0xffe0), START);
        let blocks: Vec<_> = found.blocks().collect();
        let expected = [
            block(0xf_5430, 31),
            block(0xf_5000, 0x123),
            block(0xf_ffe0, 24),
            block(0x1_0000_0000, 0x456),
        ];
        assert_eq!(blocks, expected);
    }

    #[test]
    fn what_is_no_entry_point_is_passed_over() {
        let none = Smbios::default();
        assert_eq!(
            Smbios::find(&memory(0x5438, 0x41), START),
            none,
            "no boundary"
        );
        assert_eq!(Smbios::find(&[], START), none);
        let mut memory = memory(0x100, 0x200);
        memory[0x100 + 24] ^= 1;
        memory[0x200 + 12] ^= 1;
        assert_eq!(Smbios::find(&memory, START), none, "wrong sums");
        let cut = &self::memory(0x100, 0x200)[..0x110];
        assert_eq!(Smbios::find(cut, START), none, "cut off");
    }
}
