//! What is in a local APIC's registers, and an IO APIC's, when a kernel of base revision 5
//! or newer is entered. Registers are named by their offsets in xAPIC mode.

use crate::acpi::NmiPin;

/// Delivery modes (SDM vol. 3, 11.5.1).
const FIXED: u32 = 0b000;
const LOWEST_PRIORITY: u32 = 0b001;
const NMI: u32 = 0b100;
const EXTINT: u32 = 0b111;

const MASKED: u32 = 1 << 16;
const LEVEL: u32 = 1 << 15;
const LOW: u32 = 1 << 13;

/// The spurious interrupt vector: 255, and the APIC enabled by software.
pub const SPURIOUS: u32 = 0x1ff;

/// LINT0 and LINT1.
pub const PINS: [u32; 2] = [0x350, 0x360];

/// The other entries of the local vector table, and the number of its last entry, as the
/// version register has it, from which on they are there: timer, error, performance
/// counters, thermal monitor, corrected machine checks.
const ENTRIES: [(u32, u32); 5] = [(0x320, 0), (0x370, 0), (0x340, 4), (0x330, 5), (0x2f0, 6)];

/// The entries of the local vector table that are there, but for the pins.
pub fn entries(version: u32) -> impl Iterator<Item = u32> {
    let last = version >> 16 & 0xff;
    let there = ENTRIES.iter().filter(move |&&(_, from)| last >= from);
    there.map(|&(register, _)| register)
}

fn mode(entry: u32) -> u32 {
    entry >> 8 & 0b111
}

fn can_be_masked(entry: u32) -> bool {
    matches!(mode(entry), FIXED | LOWEST_PRIORITY | NMI | EXTINT)
}

/// An entry of the local vector table, given what the firmware left there.
#[must_use]
pub fn entry(left: u32) -> u32 {
    if can_be_masked(left) {
        left | MASKED
    } else {
        left
    }
}

/// A pin's entry, and what ACPI's tables say of it, if they say that it is for NMIs.
#[must_use]
pub fn pin(left: u32, nmi: Option<NmiPin>) -> u32 {
    let Some(nmi) = nmi.filter(|_| can_be_masked(left)) else {
        return entry(left);
    };
    let low = if nmi.is_low { LOW } else { 0 };
    let level = if nmi.is_level { LEVEL } else { 0 };
    NMI << 8 | MASKED | low | level
}

/// The low half of an IO APIC's redirection, given what the firmware left there.
#[must_use]
pub fn redirection(left: u32, base_revision: u64) -> u32 {
    let is_masked = match mode(left) {
        FIXED | LOWEST_PRIORITY => true,
        NMI | EXTINT => base_revision >= 5,
        _ => false,
    };
    if is_masked { left | MASKED } else { left }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_apics_have_fewer_entries() {
        let count = |last: u32| entries(0x14 | last << 16).count();
        assert_eq!([3, 4, 5, 6, 7].map(count), [2, 3, 4, 5, 5]);
    }

    #[test]
    fn entries_are_masked_by_their_modes() {
        for (mode, is_masked) in [
            (0, true),
            (1, true),
            (2, false), // SMI
            (4, true),
            (5, false), // INIT
            (7, true),
        ] {
            let left = mode << 8 | 0xa0ef;
            let mask = if is_masked { MASKED } else { 0 };
            assert_eq!(entry(left), left | mask, "mode {mode}");
            assert_eq!(pin(left, None), left | mask, "mode {mode}");
        }
    }

    #[test]
    fn pins_for_nmis_are_what_acpi_says() {
        let nmi = |is_low, is_level| {
            Some(NmiPin {
                pin: 1,
                is_low,
                is_level,
            })
        };
        assert_eq!(pin(0x0700, nmi(false, false)), 0x1_0400);
        assert_eq!(pin(0x1_0000, nmi(true, false)), 0x1_2400);
        assert_eq!(pin(0x0123, nmi(false, true)), 0x1_8400);
        assert_eq!(pin(0x0200, nmi(true, true)), 0x0200, "an SMI stays");
    }

    #[test]
    fn redirections_are_masked_by_their_modes_and_the_revision() {
        for (mode, in_4, in_5) in [
            (0, true, true),
            (1, true, true),
            (2, false, false),
            (4, false, true),
            (5, false, false),
            (7, false, true),
        ] {
            let left = mode << 8 | 0xa830;
            let expected = |masked| if masked { left | MASKED } else { left };
            assert_eq!(redirection(left, 0), expected(in_4), "mode {mode}");
            assert_eq!(redirection(left, 4), expected(in_4), "mode {mode}");
            assert_eq!(redirection(left, 5), expected(in_5), "mode {mode}");
            assert_eq!(redirection(left, 6), expected(in_5), "mode {mode}");
        }
    }
}
