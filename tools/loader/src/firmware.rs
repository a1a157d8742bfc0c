//! What the firmware has to say of the machine, and how it left it.

use loader::Result;
use loader::acpi::{self, Tables};
use loader::answers::{Machine, id};
use loader::requests::Requests;
use loader::smbios::{self, Smbios};
use x86_64::PhysAddr;

use crate::machine::apic::mask_io_apic;
use crate::machine::clock::{self, Timer};
use crate::machine::cores;
use crate::machine::memory::{Memory, is_mapped, left_by_others};

/// The firmware's tables.
pub struct Firmware {
    rsdp: Option<PhysAddr>,
    /// The table that lists cores and IO APICs.
    pub madt: Option<&'static [u8]>,
    /// It asks not to use x2APIC mode.
    pub opts_out_of_x2apic: bool,
    timer: Option<Timer>,
}

impl Firmware {
    /// Finds the tables, given ACPI's root pointer.
    pub fn find(rsdp: Option<PhysAddr>) -> Self {
        let tables = rsdp.and_then(|rsdp| Tables::new(rsdp, table));
        let find = |signature| tables.as_ref()?.find(signature);
        Self {
            rsdp,
            madt: find(b"APIC"),
            opts_out_of_x2apic: find(b"DMAR").is_some_and(acpi::opts_out_of_x2apic),
            timer: find(b"FACP").and_then(Timer::new),
        }
    }

    /// What the answers tell of the machine.
    pub fn machine(&self, requests: &Requests<'_>, framebuffer: Option<PhysAddr>) -> Machine {
        let start = PhysAddr::new(smbios::SEARCHED.start);
        let size = smbios::SEARCHED.end - smbios::SEARCHED.start;
        let searched = || table(start, usize::try_from(size).unwrap_or(0));
        let is_asked = |id| requests.revision(id).is_some();
        // Its tables are in the memory map from revision 5 on, asked for or not.
        let smbios = is_asked(id::SMBIOS) || requests.base_revision() >= 5;
        Machine {
            rsdp: self.rsdp,
            smbios: if smbios {
                Smbios::find(searched(), start)
            } else {
                Smbios::default()
            },
            framebuffer,
            opts_out_of_x2apic: self.opts_out_of_x2apic,
            date: is_asked(id::DATE_AT_BOOT).then(clock::date).flatten(),
            times: None,
        }
    }

    /// When the loader began, and now, if the kernel asks.
    pub fn times(&self, requests: &Requests<'_>) -> Option<[u64; 2]> {
        requests.revision(id::PERFORMANCE)?;
        self.timer.map(Timer::times)
    }

    /// Puts the tables into the memory map, those of ACPI from base revision 4 on, those of
    /// SMBIOS from 5 on.
    pub fn show_tables(
        &self,
        memory: &mut Memory,
        machine: &Machine,
        base_revision: u64,
    ) -> Result<()> {
        let acpi = self.rsdp.filter(|_| base_revision >= 4);
        let acpi = acpi.and_then(|rsdp| Tables::new(rsdp, table));
        for block in acpi.iter().flat_map(Tables::blocks) {
            memory.show_tables(block.start, block.size)?;
        }
        if base_revision >= 5 {
            for block in machine.smbios.blocks() {
                memory.show_tables(block.start, block.size)?;
            }
        }
        Ok(())
    }

    /// Masks the interrupts that the firmware may have left on, as far as kernels of this
    /// base revision find them masked.
    pub fn quieten(&self, base_revision: u64) {
        if let Some(madt) = self.madt {
            for registers in acpi::io_apics(madt) {
                mask_io_apic(registers, base_revision);
            }
            cores::set_up_first_apic(madt, base_revision);
        }
    }
}

/// What the firmware left in memory; nothing, if the loader cannot see it.
fn table(start: PhysAddr, size: usize) -> &'static [u8] {
    if !is_mapped(start, size) {
        return &[];
    }
    // SAFETY: checked; ACPI's and SMBIOS's tables are in memory that the firmware
    // reserved.
    unsafe { left_by_others(start, size) }
}
