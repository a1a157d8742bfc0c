//! What the kernel asks for and does not get, by name and with the reason: a line of the
//! log before the kernel starts.

use core::fmt;

use crate::answers::{Facts, id};
use crate::requests::{Id, Requests};

/// Requests that may stay without an answer, and what is missing then.
const REASONS: [(Id, &str); 14] = [
    (id::FRAMEBUFFER, "framebuffer (this machine has no ramfb)"),
    (id::MODULES, "modules (none was given: --module FILE)"),
    (id::RSDP, "RSDP (this machine has no ACPI)"),
    (id::MP, "MP (ACPI names no cores)"),
    (id::SMBIOS, "SMBIOS (this machine has none)"),
    (
        id::DATE_AT_BOOT,
        "date at boot (this machine's clock has no date)",
    ),
    (
        id::PERFORMANCE,
        "bootloader performance (ACPI names no timer)",
    ),
    (
        id::EFI_SYSTEM_TABLE,
        "EFI system table (this machine has no UEFI)",
    ),
    (
        id::EFI_MEMORY_MAP,
        "EFI memory map (this machine has no UEFI)",
    ),
    (id::DEVICE_TREE, "device tree blob (this machine has none)"),
    (
        id::RISCV_HART,
        "RISC-V BSP hart ID (this is an x86-64 machine)",
    ),
    (
        id::FLANTERM,
        "Flanterm parameters (this loader has no terminal)",
    ),
    (id::TERMINAL, "terminal (Limine dropped it)"),
    (id::FIVE_LEVELS, "5-level paging (this loader has 4 levels)"),
];

/// Requests that are not missed, and what a kernel has then beside each.
const OPTIONAL: [(Id, Id); 2] = [
    (id::FRAMEBUFFER, id::FRAMEBUFFER_IS_OPTIONAL),
    (id::MODULES, id::MODULES_ARE_OPTIONAL),
];

/// What a kernel does not get, as a list between semicolons.
pub struct Unanswered<'a> {
    /// The requests, as far as possible answered.
    pub requests: &'a Requests<'a>,
    /// What the answers told.
    pub facts: &'a Facts<'a>,
}

impl Unanswered<'_> {
    /// Returns true if the kernel gets all that it asks for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let is_short = self.wants_five_levels() || self.wants_x2apic();
        let is_missing = !self.facts.modules.missing.is_empty();
        !is_short && !is_missing && self.ids().next().is_none()
    }

    /// The requests that are missed.
    fn ids(&self) -> impl Iterator<Item = Id> {
        let is_there = |tag| self.requests.revision(tag).is_some();
        self.requests.unanswered().filter(move |&id| {
            let mut optional = OPTIONAL.iter();
            !optional.any(|&(request, tag)| id == tag || (id == request && is_there(tag)))
        })
    }

    fn wants_five_levels(&self) -> bool {
        let preferred = self.requests.member(id::PAGING_MODE, 0);
        preferred.is_some_and(|mode| mode != 0)
    }

    fn wants_x2apic(&self) -> bool {
        let flags = self.requests.member(id::MP, 0).unwrap_or(0);
        flags & 1 != 0 && self.facts.cores.is_some_and(|cores| !cores.x2apic)
    }
}

impl fmt::Display for Unanswered<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        let mut item = |item: fmt::Arguments<'_>| {
            f.write_str(separator)?;
            separator = "; ";
            f.write_fmt(item)
        };
        for id in self.ids() {
            match REASONS.iter().find(|(known, _)| *known == id) {
                Some((_, reason)) => item(format_args!("{reason}"))?,
                None => item(format_args!(
                    "request {:#018x} {:#018x} (this loader does not know it)",
                    id[0], id[1]
                ))?,
            }
        }
        for path in &self.facts.modules.missing {
            item(format_args!("module {path} (not given: --module FILE)"))?;
        }
        if self.wants_five_levels() {
            item(format_args!("5-level paging (this loader has 4 levels)"))?;
        }
        if self.wants_x2apic() {
            item(format_args!(
                "x2APIC ({})",
                if self.facts.machine.opts_out_of_x2apic {
                    "firmware opts out of it, in its DMAR table"
                } else {
                    "this processor has none"
                }
            ))?;
        }
        Ok(())
    }
}
