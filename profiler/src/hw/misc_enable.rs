//! `IA32_MISC_ENABLE` of Intel's processors: what firmware may hide of them, for systems that
//! are older than they are.

use super::{cpuid, msr};

const IA32_MISC_ENABLE: u32 = 0x1a0;

/// CPUID's basic leaves end with the third, so that the counters' is not there (SDM vol. 4,
/// IA32_MISC_ENABLE, "Limit CPUID Maxval"). There to be cleared only.
const LIMITS_CPUID: u64 = 1 << 22;

/// The last leaf where they are limited. No processor with counters ends there by itself.
const LAST_LIMITED: u32 = 3;

/// Lets CPUID have all leaves on the running core, if firmware has limited them. Returns true
/// if it had, and they are there now.
///
/// The handler of #GP asks [`msr::recover`].
pub fn unlimit_cpuid() -> bool {
    let [last, ..] = cpuid::leaf(0, 0);
    if last > LAST_LIMITED {
        return false;
    }
    // SAFETY: reading it changes nothing.
    let Ok(before) = (unsafe { msr::try_read(IA32_MISC_ENABLE) }) else {
        return false;
    };
    // SAFETY: it changes what CPUID answers, and nothing else.
    let written = unsafe { msr::try_write(IA32_MISC_ENABLE, before & !LIMITS_CPUID) };
    let [now, ..] = cpuid::leaf(0, 0);
    written.is_ok() && now > last
}
