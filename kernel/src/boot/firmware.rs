//! Firmware tables, read through the boot loader's direct map.
//!
//! That map covers the first 4 GiB whatever is there, and above them what the
//! memory map calls memory. Reading elsewhere would fault.

use kernel_core::acpi::{self, PhysicalMemory};
use kernel_core::uart::Registers;
use kernel_core::words::{AtEnd, PortName, Words};
use limine::memmap;
use x86_64::{PhysAddr, VirtAddr};

use super::{Region, requests};

const ALWAYS_MAPPED: u64 = 4 << 30;

/// What firmware says. Found while the boot loader's direct map is in use: the tables may lie
/// in reserved memory, which the kernel's own does not map.
pub struct Firmware {
    /// Where the HPET's registers are.
    pub hpet: Result<PhysAddr, acpi::Error>,
    /// The power management timer.
    pub pm_timer: Result<acpi::PmTimer, acpi::Error>,
    /// Its serial port, if the command line asks for it.
    pub console: Option<Result<Registers, acpi::Error>>,
    /// Where the interrupt of the log's port arrives, likewise.
    pub console_pin: Option<Result<acpi::Pin, acpi::Error>>,
    /// Its reset register, likewise.
    pub reset: Option<Result<acpi::Reset, acpi::Error>>,
    /// What switches the machine off, likewise.
    pub off: Option<Result<acpi::PowerOff, acpi::Error>>,
}

impl Firmware {
    pub(super) fn find(direct_map: VirtAddr, tables: &Tables, words: &Words<'_>) -> Self {
        // A virtual address in this base revision.
        let rsdp = requests::RSDP.response();
        let rsdp = rsdp.map(|response| VirtAddr::from_ptr(response.address) - direct_map);
        let rsdp = rsdp.ok_or(acpi::Error::NoTable("RSDP"));
        let hpet = rsdp.and_then(|rsdp| acpi::hpet_address(tables, rsdp));
        let physical = |address| PhysAddr::try_new(address).map_err(|_| acpi::Error::NoRegisters);
        Self {
            hpet: hpet.and_then(physical),
            pm_timer: rsdp.and_then(|rsdp| acpi::pm_timer(tables, rsdp)),
            console: (words.serial.name == PortName::Spcr)
                .then(|| rsdp.and_then(|rsdp| acpi::console(tables, rsdp))),
            console_pin: console_irq(words)
                .map(|irq| rsdp.and_then(|rsdp| acpi::pin_of(tables, rsdp, irq))),
            reset: (words.at_end == AtEnd::Reboot)
                .then(|| rsdp.and_then(|rsdp| acpi::reset(tables, rsdp))),
            off: (words.at_end == AtEnd::Off)
                .then(|| rsdp.and_then(|rsdp| acpi::power_off(tables, rsdp))),
        }
    }
}

/// The interrupt of the port that the log goes to, if its key leads to the monitor. Of ports that
/// are no PC's it is not known.
fn console_irq(words: &Words<'_>) -> Option<u8> {
    match words.serial.name {
        PortName::Io(0x3f8 | 0x3e8) if words.monitor.is_by_key() => Some(4),
        PortName::Io(0x2f8 | 0x2e8) if words.monitor.is_by_key() => Some(3),
        _ => None,
    }
}

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

    pub(super) fn regions(&self) -> impl Iterator<Item = Region> {
        super::regions(self.memory_map)
    }

    /// Returns true if the loader's direct map has all from `start` to `end`.
    pub(super) fn is_mapped(&self, start: u64, end: u64) -> bool {
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
