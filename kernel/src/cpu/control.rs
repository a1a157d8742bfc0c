//! Control registers: what a core is allowed to do to memory.

use x86_64::registers::control::{Cr0, Cr0Flags, Cr4, Cr4Flags};

use super::features::{Features, NoExecute};
use super::msr;

/// Makes bit 63 of a page-table entry mean "not executed" instead of reserved.
pub fn allow_no_execute(proof: NoExecute) {
    msr::efer::allow_no_execute(proof);
}

/// Sets the running core's protection bits. Its page tables are the kernel's.
///
/// CR0.WP holds the kernel to read-only pages (SDM vol. 3, 2.5). No page is the
/// user's, so SMEP and SMAP forbid nothing that is there: they turn a page that
/// becomes one by mistake into a fault. Setting PGE drops translations that were
/// made under the boot loader's tables, global ones too.
pub(super) fn set(features: &Features) {
    let mut flags = Cr4::read();
    for (flag, present) in [
        (Cr4Flags::PAGE_GLOBAL, features.global_pages.is_some()),
        (
            Cr4Flags::SUPERVISOR_MODE_EXECUTION_PROTECTION,
            features.smep.is_some(),
        ),
        (
            Cr4Flags::SUPERVISOR_MODE_ACCESS_PREVENTION,
            features.smap.is_some(),
        ),
        (
            Cr4Flags::MACHINE_CHECK_EXCEPTION,
            features.machine_check.is_some(),
        ),
    ] {
        flags.set(flag, present);
    }
    // SAFETY: more is forbidden than before, and only what the kernel never does.
    unsafe { Cr0::update(|cr0| cr0.insert(Cr0Flags::WRITE_PROTECT)) };
    // SAFETY: likewise; the processor has every bit that is set here.
    unsafe { Cr4::write(flags) };
}
