//! The count of system management interrupts.

use super::vendor::Vendor;
use super::{cpuid, msr};

/// `MSR_SMI_COUNT` (SDM vol. 4, table 2-2 and those of Nehalem and later): 32 bits, read-only.
const SMI_COUNT: u32 = 0x34;

/// The system management interrupts of the running core since its reset, if it counts them:
/// a register of Intel's. A hypervisor may refuse it all the same, so that the kernel's handler of
/// #GP has to know ([`msr::recover`]).
pub(crate) fn count() -> Option<u32> {
    let [version, ..] = cpuid::leaf(1, 0);
    (Vendor::of_this_core() == Vendor::Intel && may_count(version))
        .then(count_again)
        .flatten()
}

/// Returns true unless Intel's processor with this version, of CPUID's leaf 1, is known not to
/// have the register: in the sixth family it begins with Nehalem, and the first Atoms have none.
const fn may_count(version: u32) -> bool {
    const NEHALEM: u32 = 0x1a;
    let family = version >> 8 & 0xf;
    let model = version >> 4 & 0xf | version >> 12 & 0xf0;
    let is_bonnell = matches!(model, 0x1c | 0x26 | 0x27 | 0x35 | 0x36);
    family != 6 || model >= NEHALEM && !is_bonnell
}

/// The same where [`count`] has found it, without a look at which processor it is: CPUID
/// makes a hypervisor come in.
pub(crate) fn count_again() -> Option<u32> {
    // SAFETY: reading a count changes nothing.
    let count = unsafe { msr::try_read(SMI_COUNT) }.ok()?;
    #[allow(clippy::cast_possible_truncation)] // the others are reserved
    Some(count as u32)
}

#[cfg(test)]
mod tests {
    use super::may_count;

    #[test]
    fn processors_without_the_register_are_not_asked() {
        for (version, may) in [
            (0x0000_06f6, false), // Core 2
            (0x0001_0676, false),
            (0x0001_06c2, false), // Atom: Bonnell, Saltwell
            (0x0003_0661, false),
            (0x0001_06a5, true), // Nehalem
            (0x0003_0678, true), // Atom: Silvermont
            (0x000b_0671, true), // Raptor Lake
            (0x0030_0f00, true), // a family that is not known
        ] {
            assert_eq!(may_count(version), may, "{version:#x}");
        }
    }
}
