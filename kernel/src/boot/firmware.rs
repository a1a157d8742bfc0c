//! Firmware tables, read through the boot loader's direct map.
//!
//! That map covers the first 4 GiB whatever is there, and above them what the
//! memory map calls memory. Reading elsewhere would fault.

use kernel_core::acpi::PhysicalMemory;
use limine::memmap;
use x86_64::VirtAddr;

const ALWAYS_MAPPED: u64 = 4 << 30;

/// Physical memory as the boot loader maps it.
pub(super) struct Tables {
    direct_map: VirtAddr,
    memory_map: &'static [&'static memmap::Entry],
}

impl Tables {
    /// Only as long as the boot loader's page tables are in use.
    pub(super) fn new(direct_map: VirtAddr, memory_map: &'static [&'static memmap::Entry]) -> Self {
        Self {
            direct_map,
            memory_map,
        }
    }

    fn is_mapped(&self, start: u64, end: u64) -> bool {
        end <= ALWAYS_MAPPED
            || self.memory_map.iter().any(|entry| {
                let unmapped = [memmap::MEMMAP_RESERVED, memmap::MEMMAP_BAD_MEMORY];
                !unmapped.contains(&entry.type_)
                    && entry.base <= start
                    && end - entry.base <= entry.length
            })
    }
}

impl PhysicalMemory for Tables {
    fn bytes(&self, address: u64, length: usize) -> Option<&[u8]> {
        let end = address.checked_add(length as u64)?;
        if address == 0 || !self.is_mapped(address, end) {
            return None;
        }
        let bytes: *const u8 = (self.direct_map + address).as_ptr();
        // SAFETY: mapped, and nothing writes firmware tables while the kernel boots.
        Some(unsafe { core::slice::from_raw_parts(bytes, length) })
    }
}
