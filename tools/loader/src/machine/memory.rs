//! Raw memory: what the firmware and QEMU left there, and what is still free.

use core::ffi::CStr;
use core::ops::Range;

use loader::Result;
use loader::memory_map::{Kind, MemoryMap};
use x86_64::{PhysAddr, VirtAddr};

/// The loader's own page tables map nothing from here on.
const MAPPED: PhysAddr = PhysAddr::new(1 << 32);
/// Below is what the firmware and real mode need.
const LOW: PhysAddr = PhysAddr::new(1 << 20);

/// Memory that nobody else has.
pub struct Block {
    /// Where it is.
    pub start: PhysAddr,
    /// What is there, of no particular content.
    pub bytes: &'static mut [u8],
}

/// All memory; what of it is free can be had once.
pub struct Memory {
    map: MemoryMap,
}

impl Memory {
    /// # Safety
    ///
    /// 1. What `map` calls usable is, and nobody has a reference to it.
    /// 2. It is the only `Memory`.
    pub unsafe fn new(map: MemoryMap) -> Self {
        Self { map }
    }

    /// The map as it is now.
    pub fn map(&self) -> &MemoryMap {
        &self.map
    }

    /// Says where the firmware's tables are, for a kernel that is to see them.
    pub fn show_tables(&mut self, start: PhysAddr, size: usize) -> Result<()> {
        self.map.show_tables(start..start + size as u64)
    }

    /// Takes the lowest block above 1 MiB that begins on a multiple of `align`.
    pub fn allocate(&mut self, size: u64, align: u64, kind: Kind) -> Result<Block> {
        self.allocate_within(LOW..MAPPED, size, align, kind)
    }

    /// Takes the lowest block that real mode reaches, on a page.
    pub fn allocate_low(&mut self, size: u64) -> Result<Block> {
        self.allocate_within(PhysAddr::zero()..LOW, size, 1, Kind::BootloaderReclaimable)
    }

    fn allocate_within(
        &mut self,
        range: Range<PhysAddr>,
        size: u64,
        align: u64,
        kind: Kind,
    ) -> Result<Block> {
        let start = self.map.allocate(size, align, range, kind)?;
        let length = usize::try_from(size).expect("is below 4 GiB");
        // SAFETY: mapped, as it is below 4 GiB; free until now by the conditions of
        // `new`, and never again, as the map says from now on.
        let bytes = unsafe { core::slice::from_raw_parts_mut(pointer(start), length) };
        Ok(Block { start, bytes })
    }
}

/// Where the loader sees a physical address.
pub fn pointer<T>(address: PhysAddr) -> *mut T {
    VirtAddr::new(address.as_u64()).as_mut_ptr()
}

/// Whether the loader's page tables map all of a block.
pub fn is_mapped(start: PhysAddr, size: usize) -> bool {
    (size as u64) < MAPPED.as_u64() && start + size as u64 <= MAPPED
}

/// What somebody left in memory.
///
/// # Safety
///
/// 1. All of it [is mapped](is_mapped).
/// 2. Nobody writes it from now on.
pub unsafe fn left_by_others(start: PhysAddr, size: usize) -> &'static [u8] {
    // SAFETY: by this function's conditions; any content is a byte's.
    unsafe { core::slice::from_raw_parts(pointer(start), size) }
}

/// A string that somebody left in memory, without the zero that ends it.
///
/// # Safety
///
/// 1. A zero follows `start` before memory ends.
/// 2. Nobody writes it from now on.
pub unsafe fn string_left_by_others(start: Option<PhysAddr>) -> &'static [u8] {
    let Some(start) = start else { return b"" };
    // SAFETY: by this function's conditions.
    unsafe { CStr::from_ptr(pointer(start)) }.to_bytes()
}
