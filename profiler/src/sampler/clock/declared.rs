//! What CPUID says of the time stamp counter's rate (SDM vol. 3, 20.7.3; vol. 2, CPUID).

use crate::format::ClockReference;
use crate::hw::cpuid::Leaf;
use crate::hw::vendor::Vendor;
use crate::pmu::detect::{Identity, identify};

/// So many ticks in so many nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Frequency {
    pub nanoseconds: u64,
    pub ticks: u64,
}

const NANOSECONDS_PER_SECOND: u64 = 1_000_000_000;
/// What a time stamp counter can have.
const PLAUSIBLE: core::ops::RangeInclusive<u64> = 10_000_000..=64_000_000_000;

impl Frequency {
    /// So many a second, if a time stamp counter can have that.
    pub(super) fn of_hertz(hertz: u64) -> Option<Self> {
        Self::of_crystal(hertz, 1, 1)
    }

    /// `crystal` a second times `numerator / denominator`.
    fn of_crystal(crystal: u64, numerator: u32, denominator: u32) -> Option<Self> {
        let ticks = crystal.checked_mul(numerator.into())?;
        let hertz = ticks.checked_div(denominator.into())?;
        PLAUSIBLE.contains(&hertz).then_some(Self {
            nanoseconds: NANOSECONDS_PER_SECOND * u64::from(denominator),
            ticks,
        })
    }
}

/// What the hypervisor says in kHz. VMware's leaf, which KVM has as well if it is told to;
/// elsewhere it may mean something else.
pub(super) fn by_hypervisor(cpuid: impl Fn(u32, u32) -> Leaf) -> Option<Frequency> {
    const FIRST: u32 = 0x4000_0000;
    const TIMING: u32 = 0x4000_0010;
    let hypervisor = identify(&cpuid).hypervisor?;
    let has_leaf = matches!(&hypervisor, b"VMwareVMware" | b"KVMKVMKVM\0\0\0");
    let [last, ..] = cpuid(FIRST, 0);
    if !has_leaf || last < TIMING {
        return None;
    }
    let [kilohertz, ..] = cpuid(TIMING, 0);
    Frequency::of_hertz(u64::from(kilohertz) * 1000)
}

/// Returns true if there is Hyper-V, or who does as it does, and its guest may read the MSRs
/// of frequencies (Hypervisor Top Level Functional Specification, 2.4).
pub(super) fn has_hyper_v_frequency(cpuid: impl Fn(u32, u32) -> Leaf) -> bool {
    const FIRST: u32 = 0x4000_0000;
    const INTERFACE: u32 = 0x4000_0001;
    const FEATURES: u32 = 0x4000_0003;
    /// `AccessFrequencyMsrs`, in EAX.
    const MAY_ACCESS: u32 = 1 << 11;
    /// "Frequency MSRs available", in EDX.
    const AVAILABLE: u32 = 1 << 8;
    if identify(&cpuid).hypervisor.is_none() || cpuid(FIRST, 0)[0] < FEATURES {
        return false;
    }
    let [interface, ..] = cpuid(INTERFACE, 0);
    let [access, .., features] = cpuid(FEATURES, 0);
    interface.to_le_bytes() == *b"Hv#1" && access & MAY_ACCESS != 0 && features & AVAILABLE != 0
}

/// A crystal times a ratio, on the bare machine.
pub(super) fn by_crystal(cpuid: impl Fn(u32, u32) -> Leaf) -> Option<Frequency> {
    match identify(&cpuid).hypervisor {
        Some(_) => None,
        None => crystal(&cpuid),
    }
}

/// What else CPUID says, and where: nominal.
pub(super) fn nominal(cpuid: impl Fn(u32, u32) -> Leaf) -> Option<(ClockReference, Frequency)> {
    if let Some(frequency) = crystal(&cpuid) {
        return Some((ClockReference::NominalCrystal, frequency));
    }
    let [last, ..] = cpuid(0, 0);
    if last < 0x16 || !is_intel(&identify(&cpuid)) {
        return None;
    }
    let [base, ..] = cpuid(0x16, 0);
    // Bits 15 to 0; the others are reserved.
    let hertz = u64::from(base & 0xffff) * 1_000_000;
    Frequency::of_hertz(hertz).map(|frequency| (ClockReference::Base, frequency))
}

fn crystal(cpuid: &impl Fn(u32, u32) -> Leaf) -> Option<Frequency> {
    let identity = identify(cpuid);
    let [last, ..] = cpuid(0, 0);
    if last < 0x15 || !is_intel(&identity) {
        return None;
    }
    let [denominator, numerator, hertz, _] = cpuid(0x15, 0);
    let crystal = match hertz {
        0 => known_crystal(identity.family, identity.model)?,
        hertz => hertz.into(),
    };
    Frequency::of_crystal(crystal, numerator, denominator)
}

/// Others do not define the leaves.
fn is_intel(identity: &Identity) -> bool {
    Vendor::named(&identity.vendor) == Vendor::Intel
}

/// The crystals of processors that do not name theirs (SDM vol. 3, table 20-97). Not of the
/// servers of Skylake's time (model 55h), some of which have another than the table says.
const fn known_crystal(family: u32, model: u32) -> Option<u64> {
    match (family, model) {
        // Skylake, Kaby Lake, Coffee Lake, Comet Lake.
        (6, 0x4e | 0x5e | 0x8e | 0x9e | 0xa5 | 0xa6) => Some(24_000_000),
        // Goldmont; its server.
        (6, 0x5c | 0x7a) => Some(19_200_000),
        (6, 0x5f) => Some(25_000_000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CPUID of a processor of family 6.
    struct Cpu {
        vendor: [u8; 12],
        model: u32,
        last: u32,
        ratio: Leaf,
        base: u32,
        hypervisor: Option<([u8; 12], u32)>,
        /// Leaves of the hypervisor.
        above: &'static [(u32, Leaf)],
    }

    const SKYLAKE: Cpu = Cpu {
        vendor: *b"GenuineIntel",
        model: 0x5e,
        last: 0x16,
        ratio: [2, 250, 0, 0],
        base: 3000,
        hypervisor: None,
        above: &[],
    };

    fn word(bytes: &[u8], at: usize) -> u32 {
        u32::from_le_bytes(bytes[4 * at..4 * at + 4].try_into().unwrap())
    }

    impl Cpu {
        fn leaf(&self, leaf: u32) -> Leaf {
            let name = |last, bytes: &[u8], order: [usize; 3]| {
                let [b, c, d] = order.map(|at| word(bytes, at));
                [last, b, c, d]
            };
            match (leaf, self.hypervisor) {
                (0, _) => name(self.last, &self.vendor, [0, 2, 1]),
                (1, _) => {
                    let features = u32::from(self.hypervisor.is_some()) << 31;
                    let signature = 6 << 8 | (self.model & 0xf) << 4 | self.model >> 4 << 16;
                    [signature, 0, features, 0]
                }
                (0x15, _) => self.ratio,
                (0x16, _) => [self.base, 0, 0, 0],
                (0x4000_0000, Some((bytes, last))) => name(last, &bytes, [0, 1, 2]),
                _ => self
                    .above
                    .iter()
                    .find(|(at, _)| *at == leaf)
                    .map_or([0; 4], |(_, it)| *it),
            }
        }

        fn hertz(frequency: Frequency) -> u64 {
            frequency.ticks / (frequency.nanoseconds / NANOSECONDS_PER_SECOND)
        }

        fn crystal(&self) -> Option<u64> {
            by_crystal(|leaf, _| self.leaf(leaf)).map(Self::hertz)
        }

        fn nominal(&self) -> Option<(ClockReference, u64)> {
            let nominal = nominal(|leaf, _| self.leaf(leaf));
            nominal.map(|(reference, frequency)| (reference, Self::hertz(frequency)))
        }

        fn hypervisor(&self) -> Option<u64> {
            by_hypervisor(|leaf, _| self.leaf(leaf)).map(Self::hertz)
        }

        fn has_hyper_v(&self) -> bool {
            has_hyper_v_frequency(|leaf, _| self.leaf(leaf))
        }
    }

    #[test]
    fn a_crystal_times_its_ratio_is_the_rate() {
        assert_eq!(SKYLAKE.crystal(), Some(3_000_000_000));
        let named = Cpu {
            model: 0xb7,
            ratio: [2, 166, 38_400_000, 0],
            ..SKYLAKE
        };
        assert_eq!(named.crystal(), Some(3_187_200_000));
        // Exactly: not rounded to a Hz.
        let third = Cpu {
            ratio: [3, 250, 38_400_001, 0],
            ..SKYLAKE
        };
        let found = by_crystal(|leaf, _| third.leaf(leaf)).unwrap();
        assert_eq!(
            (found.nanoseconds, found.ticks),
            (3_000_000_000, 250 * 38_400_001)
        );
        let goldmont = Cpu {
            model: 0x5c,
            ratio: [3, 171, 0, 0],
            ..SKYLAKE
        };
        assert_eq!(goldmont.crystal(), Some(1_094_400_000));
        let denverton = Cpu {
            model: 0x5f,
            ratio: [5, 440, 0, 0],
            ..SKYLAKE
        };
        assert_eq!(denverton.crystal(), Some(2_200_000_000));
    }

    #[test]
    fn what_is_not_a_crystal_is_none() {
        for cpu in [
            Cpu {
                model: 0x55,
                ..SKYLAKE
            },
            Cpu {
                ratio: [0, 250, 24_000_000, 0],
                ..SKYLAKE
            },
            Cpu {
                ratio: [2, 0, 24_000_000, 0],
                ..SKYLAKE
            },
            Cpu {
                ratio: [1, u32::MAX, u32::MAX, 0],
                ..SKYLAKE
            },
            Cpu {
                ratio: [u32::MAX, 1, 24_000_000, 0],
                ..SKYLAKE
            },
            Cpu {
                last: 0x14,
                ..SKYLAKE
            },
            Cpu {
                vendor: *b"AuthenticAMD",
                ..SKYLAKE
            },
            // A guest's counter may be scaled.
            Cpu {
                hypervisor: Some((*b"KVMKVMKVM\0\0\0", 0x4000_0001)),
                ..SKYLAKE
            },
        ] {
            assert_eq!(cpu.crystal(), None);
        }
    }

    #[test]
    fn the_nominal_rate_is_the_last_word() {
        let server = Cpu {
            model: 0x55,
            ..SKYLAKE
        };
        assert_eq!(
            server.nominal(),
            Some((ClockReference::Base, 3_000_000_000))
        );
        let reserved = Cpu {
            base: 0xabcd_0bb8,
            ..server
        };
        assert_eq!(
            reserved.nominal(),
            Some((ClockReference::Base, 3_000_000_000))
        );
        let guest = Cpu {
            hypervisor: Some((*b"KVMKVMKVM\0\0\0", 0x4000_0001)),
            ..SKYLAKE
        };
        assert_eq!(
            guest.nominal(),
            Some((ClockReference::NominalCrystal, 3_000_000_000))
        );
        for none in [
            Cpu {
                model: 0x55,
                base: 0,
                ..SKYLAKE
            },
            Cpu {
                model: 0x55,
                last: 0x15,
                ..SKYLAKE
            },
            Cpu {
                vendor: *b"AuthenticAMD",
                ..SKYLAKE
            },
        ] {
            assert_eq!(none.nominal(), None);
        }
    }

    #[test]
    fn a_hypervisor_is_believed_where_the_leaf_is_its() {
        const ABOVE: &[(u32, Leaf)] = &[(0x4000_0010, [2_394_230, 66_000, 0, 0])];
        let guest = |name, last| Cpu {
            hypervisor: Some((name, last)),
            above: ABOVE,
            ..SKYLAKE
        };
        for name in [*b"VMwareVMware", *b"KVMKVMKVM\0\0\0"] {
            assert_eq!(guest(name, 0x4000_0010).hypervisor(), Some(2_394_230_000));
            assert_eq!(guest(name, 0x4000_000f).hypervisor(), None);
            let unsaid = Cpu {
                above: &[],
                ..guest(name, 0x4000_0010)
            };
            assert_eq!(unsaid.hypervisor(), None);
        }
        assert_eq!(guest(*b"Microsoft Hv", 0x4000_0010).hypervisor(), None);
        let bare = Cpu {
            hypervisor: None,
            above: ABOVE,
            ..SKYLAKE
        };
        assert_eq!(bare.hypervisor(), None);
    }

    #[test]
    fn hyper_v_is_asked_where_it_lets_its_guest() {
        const HV: Leaf = [0x3123_7648, 0, 0, 0];
        let guest = |last, above| Cpu {
            hypervisor: Some((*b"Microsoft Hv", last)),
            above,
            ..SKYLAKE
        };
        let may = &[(0x4000_0001, HV), (0x4000_0003, [1 << 11, 0, 0, 1 << 8])];
        assert!(guest(0x4000_000b, may).has_hyper_v());
        assert!(!guest(0x4000_0002, may).has_hyper_v());
        assert!(
            !Cpu {
                hypervisor: None,
                ..guest(0, may)
            }
            .has_hyper_v()
        );
        for above in [
            &[(0x4000_0001, HV), (0x4000_0003, [1 << 11, 0, 0, 0])],
            &[(0x4000_0001, HV), (0x4000_0003, [0, 0, 0, 1 << 8])],
            &[
                (0x4000_0001, [1, 0, 0, 0]),
                (0x4000_0003, [1 << 11, 0, 0, 1 << 8]),
            ],
        ] {
            assert!(!guest(0x4000_000b, above).has_hyper_v());
        }
    }
}
