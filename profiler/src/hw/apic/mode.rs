//! The mode of a local APIC.

use core::fmt;

use crate::hw::msr;

/// The last id of eight bits, which is all that an xAPIC and messages of devices can name: 255
/// is all cores' (SDM vol. 3, 12.6.2.1).
pub const LAST_XAPIC_ID: u32 = 254;

/// In `IA32_APIC_BASE` (SDM vol. 3, 12.4.4 and 12.12.1).
const ENABLED: u64 = 1 << 11;
const IN_X2APIC_MODE: u64 = 1 << 10;

/// The modes that a local APIC can be in.
///
/// ```no_run
/// use profiler::hw::apic::Mode;
///
/// match Mode::of_this_core() {
///     Some(mode) => println!("{mode}"),
///     None => println!("the local APIC is off"),
/// }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Registers in memory, ids of eight bits.
    XApic,
    /// Registers as MSRs, ids of 32 bits.
    X2Apic,
}

impl Mode {
    /// The mode of the running core's APIC; `None` if it is off.
    #[must_use]
    pub fn of_this_core() -> Option<Self> {
        // SAFETY: every x86-64 processor has the register; reading changes nothing.
        Self::of_base(unsafe { msr::read(msr::IA32_APIC_BASE) })
    }

    /// The same by the register's value.
    const fn of_base(base: u64) -> Option<Self> {
        if base & ENABLED == 0 {
            None
        } else if base & IN_X2APIC_MODE == 0 {
            Some(Self::XApic)
        } else {
            Some(Self::X2Apic)
        }
    }

    /// Returns true if interrupts can be sent in this mode to the core with this APIC id.
    #[must_use]
    pub const fn reaches(self, id: u32) -> bool {
        matches!(self, Self::X2Apic) || id <= LAST_XAPIC_ID
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::XApic => "xAPIC",
            Self::X2Apic => "x2APIC",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Mode;

    #[test]
    fn two_bits_say_the_mode() {
        for (base, mode) in [
            (0xfee0_0100, None),
            // Illegal, and not to be had.
            (0xfee0_0500, None),
            (0xfee0_0900, Some(Mode::XApic)),
            (0xfee0_0c00, Some(Mode::X2Apic)),
        ] {
            assert_eq!(Mode::of_base(base), mode, "{base:#x}");
        }
    }

    #[test]
    fn eight_bits_reach_254() {
        assert_eq!(
            [254, 255, 256].map(|id| Mode::XApic.reaches(id)),
            [true, false, false]
        );
        assert!(Mode::X2Apic.reaches(256));
    }
}
