//! `IA32_MISC_ENABLE` of Intel's processors: what firmware may hide of them, for systems that
//! are older than they are.

use super::cpuid::{self, Leaf};
use super::msr::{self, Refused};
use super::vendor::Vendor;

const IA32_MISC_ENABLE: u32 = 0x1a0;

/// CPUID's basic leaves end with the third, so that the counters' is not there (SDM vol. 4,
/// IA32_MISC_ENABLE, "Limit CPUID Maxval"). There to be cleared only.
const LIMITS_CPUID: u64 = 1 << 22;

/// The last leaf where they are limited. No processor with counters ends there by itself.
const LAST_LIMITED: u32 = 3;

/// Lets CPUID have all leaves on the running core, if firmware has limited them. Returns true
/// if it had, and they are there now.
///
/// To be called before anything else is asked of CPUID. The handler of #GP asks
/// [`msr::recover`].
pub fn unlimit_cpuid() -> bool {
    unlimit(
        || cpuid::leaf(0, 0),
        // SAFETY: reading it changes nothing.
        || unsafe { msr::try_read(IA32_MISC_ENABLE) },
        // SAFETY: it changes what CPUID answers, and nothing else.
        |value| unsafe { msr::try_write(IA32_MISC_ENABLE, value) },
    )
}

/// The same of a core whose leaf 0 and register these are. Only Intel has the register.
fn unlimit(
    leaf_0: impl Fn() -> Leaf,
    read: impl Fn() -> Result<u64, Refused>,
    write: impl Fn(u64) -> Result<(), Refused>,
) -> bool {
    let before = leaf_0();
    let [last, ..] = before;
    if last > LAST_LIMITED || Vendor::of_leaf(before) != Vendor::Intel {
        return false;
    }
    match read() {
        Ok(value) if value & LIMITS_CPUID != 0 => {
            let [now, ..] = write(value & !LIMITS_CPUID).map_or(before, |()| leaf_0());
            now > last
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use core::cell::Cell;

    use super::*;

    const INTEL: [u32; 3] = [0x756e_6547, 0x6c65_746e, 0x4965_6e69];
    const AMD: [u32; 3] = [0x6874_7541, 0x444d_4163, 0x6974_6e65];

    /// What else the register has: fast strings.
    const REST: u64 = 1;

    /// A processor of this maker, whose last leaf is `last` unless its register limits it to
    /// the third. Returns whether the limit was lifted, and what the register holds then;
    /// `None` where it was not touched.
    fn unlimited([b, c, d]: [u32; 3], last: u32, holds: u64) -> (bool, Option<u64>) {
        let register = Cell::new(holds);
        let is_touched = Cell::new(false);
        let leaf_0 = || {
            let is_limited = register.get() & LIMITS_CPUID != 0;
            [if is_limited { 3 } else { last }, b, c, d]
        };
        let read = || {
            is_touched.set(true);
            Ok(register.get())
        };
        let write = |value| {
            register.set(value);
            Ok(())
        };
        let is_lifted = unlimit(leaf_0, read, write);
        (is_lifted, is_touched.get().then_some(register.get()))
    }

    #[test]
    fn a_limit_of_firmwares_is_lifted_and_nothing_else_changed() {
        let limited = LIMITS_CPUID | REST;
        assert_eq!(unlimited(INTEL, 0x16, limited), (true, Some(REST)));
        // A hypervisor that has no more leaves.
        assert_eq!(unlimited(INTEL, 3, REST), (false, Some(REST)));
        assert_eq!(unlimited(INTEL, 3, limited), (false, Some(REST)));
        assert_eq!(unlimited(INTEL, 0x16, REST), (false, None));
        // Other makers have another register there, or none.
        assert_eq!(unlimited(AMD, 0x10, limited), (false, None));
    }

    #[test]
    fn a_register_may_be_refused() {
        let [b, c, d] = INTEL;
        let leaf_0 = || [3, b, c, d];
        assert!(!unlimit(leaf_0, || Err(Refused), |_| panic!("written")));
        assert!(!unlimit(leaf_0, || Ok(LIMITS_CPUID), |_| Err(Refused)));
    }
}
