//! The count of system management interrupts.

use super::msr;
use super::vendor::Vendor;

/// `MSR_SMI_COUNT` (SDM vol. 4, table 2-2 and those of Nehalem and later): 32 bits, read-only.
const SMI_COUNT: u32 = 0x34;

/// The system management interrupts of the running core since its reset, if it counts them:
/// a register of Intel's, which not all processors have, so that the kernel's handler of #GP
/// has to know ([`msr::recover`]).
pub(crate) fn count() -> Option<u32> {
    (Vendor::of_this_core() == Vendor::Intel)
        .then(count_again)
        .flatten()
}

/// The same where [`count`] has found it, without a look at which processor it is: CPUID
/// makes a hypervisor come in.
pub(crate) fn count_again() -> Option<u32> {
    // SAFETY: reading a count changes nothing.
    let count = unsafe { msr::try_read(SMI_COUNT) }.ok()?;
    #[allow(clippy::cast_possible_truncation)] // the others are reserved
    Some(count as u32)
}
