//! The count of system management interrupts.

use super::{cpuid, msr};

/// `MSR_SMI_COUNT` (SDM vol. 4, table 2-2 and those of Nehalem and later): 32 bits, read-only.
const SMI_COUNT: u32 = 0x34;

/// The system management interrupts of the running core since its reset, if it counts them:
/// a register of Intel's family 6, which the kernel's handler of #GP has to know
/// ([`msr::recover`]).
pub(crate) fn count() -> Option<u32> {
    is_of_family_6(cpuid::leaf(0, 0), cpuid::leaf(1, 0))
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

/// Returns true if those leaves 0 and 1 are of a processor of Intel's family 6.
fn is_of_family_6([_, b, c, d]: [u32; 4], [version, ..]: [u32; 4]) -> bool {
    let vendor = [b, d, c].map(u32::to_le_bytes);
    vendor.as_flattened() == b"GenuineIntel" && version >> 8 & 0xf == 6
}

#[cfg(test)]
mod tests {
    use super::is_of_family_6;

    #[test]
    fn intels_family_6_counts_them() {
        let intel = [0x16, 0x756e_6547, 0x6c65_746e, 0x4965_6e69];
        let amd = [0x10, 0x6874_7541, 0x444d_4163, 0x6974_6e65];
        let skylake = [0x0005_06e3, 0, 0, 0];
        assert!(is_of_family_6(intel, skylake));
        assert!(!is_of_family_6(intel, [0x0000_0f29, 0, 0, 0]), "Pentium 4");
        assert!(!is_of_family_6(amd, [0x00a2_0f10, 0, 0, 0]));
    }
}
