//! Control registers: what a core is allowed to do to memory.
//!
//! They are written as they are to be, and not only added to: what firmware or a boot loader
//! has left there (caches off, an x87 trap, protection keys, shadow stacks) is nothing that
//! this kernel reckons with.

use x86_64::registers::control::{Cr0, Cr0Flags, Cr4, Cr4Flags};

use super::features::{Features, GlobalPages, MachineCheck, NoExecute, Smap, Smep, Umip};
use super::msr;

/// Makes bit 63 of a page-table entry mean "not executed" instead of reserved.
pub fn allow_no_execute(proof: NoExecute) {
    msr::efer::allow_no_execute(proof);
}

impl GlobalPages {
    const fn cr4(self) -> Cr4Flags {
        Cr4Flags::PAGE_GLOBAL
    }
}

impl Smep {
    const fn cr4(self) -> Cr4Flags {
        Cr4Flags::SUPERVISOR_MODE_EXECUTION_PROTECTION
    }
}

impl Smap {
    const fn cr4(self) -> Cr4Flags {
        Cr4Flags::SUPERVISOR_MODE_ACCESS_PREVENTION
    }
}

impl Umip {
    const fn cr4(self) -> Cr4Flags {
        Cr4Flags::USER_MODE_INSTRUCTION_PREVENTION
    }
}

impl MachineCheck {
    const fn cr4(self) -> Cr4Flags {
        Cr4Flags::MACHINE_CHECK_EXCEPTION
    }
}

/// CR0 as it is to be: long mode asks for the first and the last (SDM vol. 3, 2.5). The
/// kernel has no floating point, so nothing of it traps.
const CR0: Cr0Flags = Cr0Flags::PROTECTED_MODE_ENABLE
    .union(Cr0Flags::MONITOR_COPROCESSOR)
    .union(Cr0Flags::EXTENSION_TYPE)
    .union(Cr0Flags::NUMERIC_ERROR)
    .union(Cr0Flags::WRITE_PROTECT)
    .union(Cr0Flags::PAGING);

/// CR4 as it is to be: what the mode of the processor hangs on stays as it was.
fn cr4(features: &Features, before: Cr4Flags) -> Cr4Flags {
    // Neither can be changed while there is paging, nor VMXE in VMX operation.
    let fixed = Cr4Flags::L5_PAGING | Cr4Flags::VIRTUAL_MACHINE_EXTENSIONS;
    let proven = [
        features.global_pages.map(GlobalPages::cr4),
        features.smep.map(Smep::cr4),
        features.smap.map(Smap::cr4),
        features.umip.map(Umip::cr4),
        features.machine_check.map(MachineCheck::cr4),
    ];
    let own = Cr4Flags::PHYSICAL_ADDRESS_EXTENSION | before.intersection(fixed);
    proven.into_iter().flatten().fold(own, Cr4Flags::union)
}

/// Lets the running core keep no translation over a change of page tables.
pub fn forget_global_pages() {
    // SAFETY: paging and its mode stay; nothing hangs on translations that are kept.
    unsafe { Cr4::update(|flags| flags.remove(Cr4Flags::PAGE_GLOBAL)) };
}

/// Sets the running core's control registers. Its page tables are the kernel's.
///
/// CR0.WP holds the kernel to read-only pages (SDM vol. 3, 2.5). The kernel uses no page
/// of a process by the process's address (`memory::space`), so SMEP and SMAP forbid nothing that it
/// does: they turn a mistake into a fault. Setting PGE drops translations that were
/// made under the boot loader's tables, global ones too.
pub fn set(features: &Features) {
    let before = Cr4::read();
    let wanted = cr4(features, before);
    // Global translations end only if the bit changes: with it clear, all are dropped.
    // SAFETY: paging and its mode stay; each bit that is set came from a proof. Shadow stacks
    // go before CR0.WP is written, which they depend on.
    unsafe { Cr4::write_raw((wanted - Cr4Flags::PAGE_GLOBAL).bits()) };
    // SAFETY: no more is allowed than before but what the kernel does anyway.
    unsafe { Cr0::write_raw(CR0.bits()) };
    // SAFETY: likewise.
    unsafe { Cr4::write_raw(wanted.bits()) };
    msr::efer::set(features.no_execute);
}
