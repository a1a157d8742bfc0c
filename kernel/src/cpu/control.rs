//! Control registers: what a core is allowed to do to memory.

use x86_64::registers::control::{Cr0, Cr0Flags, Cr4, Cr4Flags};

use super::features::{Features, GlobalPages, MachineCheck, NoExecute, Smap, Smep};
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

impl MachineCheck {
    const fn cr4(self) -> Cr4Flags {
        Cr4Flags::MACHINE_CHECK_EXCEPTION
    }
}

/// Sets the running core's protection bits. Its page tables are the kernel's.
///
/// CR0.WP holds the kernel to read-only pages (SDM vol. 3, 2.5). No page is the
/// user's, so SMEP and SMAP forbid nothing that is there: they turn a page that
/// becomes one by mistake into a fault. Setting PGE drops translations that were
/// made under the boot loader's tables, global ones too.
pub(super) fn set(features: &Features) {
    let proven = [
        features.global_pages.map(GlobalPages::cr4),
        features.smep.map(Smep::cr4),
        features.smap.map(Smap::cr4),
        features.machine_check.map(MachineCheck::cr4),
    ];
    let flags = proven
        .into_iter()
        .flatten()
        .fold(Cr4::read(), Cr4Flags::union);
    // SAFETY: more is forbidden than before, and only what the kernel never does.
    unsafe { Cr0::update(|cr0| cr0.insert(Cr0Flags::WRITE_PROTECT)) };
    // SAFETY: likewise; each bit that is set here came from a proof that it is there.
    unsafe { Cr4::write(flags) };
}
