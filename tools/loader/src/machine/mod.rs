//! What needs the machine: assembly, registers, raw memory, other cores.
//!
//! Until a kernel is entered, all code runs on page tables that map the first
//! 4 GiB twice, to themselves and into the direct map, and in memory that the
//! loader hands out once.

pub mod apic;
pub mod clock;
pub mod console;
pub mod cores;
pub mod entry;
pub mod fw_cfg;
pub mod memory;
pub mod mtrr;
pub mod paging;

use raw_cpuid::CpuId;
use x86_64::instructions::port::Port;
use x86_64::registers::model_specific::{Efer, EferFlags, Msr};

/// What the processor has of what the loader can do without.
#[derive(Clone, Copy)]
pub struct Features {
    /// Pages may be marked as not executable.
    pub no_execute: bool,
    /// Pages may be of 1 GiB.
    pub gigabyte_pages: bool,
    /// The local APIC may be used by registers of the processor.
    pub x2apic: bool,
    /// There are memory type range registers.
    pub memory_types: bool,
    /// Page tables may choose from eight caching modes.
    pub page_attributes: bool,
}

impl Features {
    /// Asks the core that this runs on.
    pub fn read() -> Self {
        let cpuid = CpuId::new();
        let basic = cpuid.get_feature_info();
        let extended = cpuid.get_extended_processor_and_feature_identifiers();
        Self {
            no_execute: extended.as_ref().is_some_and(|it| it.has_execute_disable()),
            gigabyte_pages: extended.as_ref().is_some_and(|it| it.has_1gib_pages()),
            x2apic: basic.as_ref().is_some_and(|it| it.has_x2apic()),
            memory_types: basic.as_ref().is_some_and(|it| it.has_mtrr()),
            page_attributes: basic.as_ref().is_some_and(|it| it.has_pat()),
        }
    }

    /// Sets up the core that this runs on as the protocol says, beyond what its
    /// entry did: pages may be marked as not executable, and the caching modes
    /// that page tables choose from are WB, WT, UC-, UC, WP, WC.
    pub fn enable(self) {
        if self.no_execute {
            // SAFETY: the page tables in use have the bit that this gives a meaning
            // to clear everywhere.
            unsafe { Efer::update(|flags| flags.insert(EferFlags::NO_EXECUTE_ENABLE)) };
        }
        if self.page_attributes {
            // IA32_PAT (SDM vol. 3, 12.12.2), a byte for each mode.
            const PAT: u32 = 0x277;
            // SAFETY: the page tables in use choose mode 0 everywhere, which was WB
            // and stays so.
            unsafe { Msr::new(PAT).write(0x0000_0105_0007_0406) };
        }
    }
}

/// Masks every interrupt of the two 8259 controllers.
pub fn mask_pic() {
    for port in [0x21, 0xa1] {
        // SAFETY: the controllers' mask registers; interrupts are off and nobody
        // waits for one.
        unsafe { Port::<u8>::new(port).write(0xff) };
    }
}
