//! CPUID of processors as they are, and of hypervisors as they should not be.

use crate::pmu::counters::Counters;
use crate::pmu::detect::{Capabilities, CoreKind, Interface, Leaf, NoPmu, detect};
use proptest::prelude::*;

/// A processor, by its leaves; leaves above the maximum answer nonsense.
#[derive(Clone)]
pub struct Cpu {
    leaves: Vec<((u32, u32), Leaf)>,
}

const INTEL: [u32; 3] = [0x756e_6547, 0x6c65_746e, 0x4965_6e69];
const AMD: [u32; 3] = [0x6874_7541, 0x444d_4163, 0x6974_6e65];

impl Cpu {
    /// `vendor` is EBX, ECX, EDX of leaf 0; `version` EAX of leaf 1.
    fn new(vendor: [u32; 3], highest: u32, version: u32) -> Self {
        let [ebx, ecx, edx] = vendor;
        let features = 1 << 15;
        Self {
            leaves: vec![
                ((0, 0), [highest, ebx, ecx, edx]),
                ((1, 0), [version, 0, features, 0]),
            ],
        }
    }

    pub fn intel(highest: u32, version: u32, monitoring: Leaf) -> Self {
        Self::new(INTEL, highest, version).with(0xa, 0, monitoring)
    }

    pub fn amd(version: u32, features: u32) -> Self {
        Self::new(AMD, 0x10, version)
            .with(0x8000_0000, 0, [0x8000_0028, 0, 0, 0])
            .with(0x8000_0001, 0, [0, 0, features, 0])
    }

    pub fn with(mut self, leaf: u32, subleaf: u32, value: Leaf) -> Self {
        self.leaves.retain(|(key, _)| *key != (leaf, subleaf));
        self.leaves.push(((leaf, subleaf), value));
        self
    }

    fn hypervisor(mut self) -> Self {
        self.leaves[1].1[2] |= 1 << 31;
        self.with(0x4000_0000, 0, [0, 0x4b4d_564b, 0x564b_4d56, 0x4d])
    }

    pub fn detect(&self) -> Result<Capabilities, NoPmu> {
        detect(|leaf, subleaf| {
            let told = |leaf, subleaf| {
                let found = self.leaves.iter().find(|(key, _)| *key == (leaf, subleaf));
                found.map_or([0; 4], |(_, value)| *value)
            };
            let highest = match leaf {
                0..0x4000_0000 => told(0, 0)[0],
                0x8000_0000.. => told(0x8000_0000, 0)[0].max(0x8000_0000),
                _ => 0x4000_0000,
            };
            match leaf <= highest {
                true => told(leaf, subleaf),
                // What is there is another leaf's.
                false => [0x0830_0805, 0x4b4d_564b, 0xffff_ffff, 0xffff_8604],
            }
        })
    }
}

/// Leaf 0xa of some processors.
const CORE_2: Leaf = [0x0728_0202, 0, 0, 0x0503];
const NEHALEM: Leaf = [0x0730_0403, 0x44, 0, 0x0603];
const SKYLAKE: Leaf = [0x0730_0404, 0, 0, 0x0603];
const ICE_LAKE: Leaf = [0x0830_0805, 0, 0xf, 0x8604];

#[test]
fn intel_processors_are_told_by_their_version() {
    for (name, cpu, interface, general, fixed, widths) in [
        (
            "Core Duo",
            Cpu::intel(0xa, 0x6e8, [0x0728_0201, 0, 0, 0]),
            Interface::Intel(1),
            0b11,
            0,
            (40, 0),
        ),
        (
            "Core 2",
            Cpu::intel(0xd, 0x10676, CORE_2),
            Interface::Intel(2),
            0b11,
            0b111,
            (40, 40),
        ),
        (
            "Nehalem",
            Cpu::intel(0xb, 0x106a5, NEHALEM),
            Interface::Intel(3),
            0xf,
            0b111,
            (48, 48),
        ),
        (
            "Skylake",
            Cpu::intel(0x16, 0x506e3, SKYLAKE),
            Interface::Intel(4),
            0xf,
            0b111,
            (48, 48),
        ),
        (
            "Ice Lake",
            Cpu::intel(0x1b, 0x706e5, ICE_LAKE),
            Interface::Intel(5),
            0xff,
            0xf,
            (48, 48),
        ),
    ] {
        let pmu = cpu.detect().expect(name);
        assert_eq!(pmu.interface, interface, "{name}");
        assert_eq!(pmu.counters, Counters { general, fixed }, "{name}");
        assert_eq!((pmu.general_width, pmu.fixed_width), widths, "{name}");
        assert_eq!((pmu.hypervisor, pmu.core_kind), (None, None), "{name}");
        assert!(pmu.has_capabilities, "{name}");
    }
}

#[test]
fn fixed_counters_of_version_5_are_a_bitmap() {
    // Fixed counter 0 by the number, 2 by the bitmap, none between.
    let leaf = [0x0830_0805, 0, 0b101, 0x0601];
    let pmu = Cpu::intel(0x1b, 0x706e5, leaf).detect().unwrap();
    assert_eq!(pmu.counters.fixed, 0b101);
}

#[test]
fn a_core_2_that_says_nothing_of_its_fixed_counters_has_three() {
    // Some say how wide they are, others not even that.
    for said in [0x0500, 0] {
        let silent = Cpu::intel(0xa, 0x6f6, [0x0728_0202, 0, 0, said]);
        let pmu = silent.detect().unwrap();
        assert_eq!((pmu.counters.fixed, pmu.fixed_width), (0b111, 40));
        // A hypervisor that says none has none.
        assert_eq!(silent.hypervisor().detect().unwrap().counters.fixed, 0);
    }
    // One that has them and gives them no bits errs.
    let wrong = Cpu::intel(0xa, 0x6f6, [0x0728_0202, 0, 0, 0x0003]);
    assert_eq!(wrong.detect(), Err(NoPmu::Width(0)));
}

#[test]
fn version_6_has_its_counters_in_leaf_0x23() {
    let cpu = Cpu::intel(0x23, 0xd06f0, [0x0830_0806, 0, 0xf, 0x8604])
        .with(7, 0, [1, 0, 0, 0])
        .with(7, 1, [1 << 8, 0, 0, 0])
        .with(0x23, 0, [0b1011, 0b11, 0, 0])
        .with(0x23, 1, [0b11_1111_0111, 0b111_0111, 0, 0])
        .with(0x23, 3, [0xff, 0, 0, 0]);
    let pmu = cpu.detect().unwrap();
    assert_eq!(pmu.interface, Interface::Intel(6));
    let counters = Counters {
        general: 0b11_1111_0111,
        fixed: 0b111_0111,
    };
    assert_eq!(pmu.counters, counters);
    assert!(pmu.has_unit_mask_2);
    assert_eq!(pmu.architectural, 0xff);
    // Without the feature, the leaf is not looked at.
    let pmu = cpu.with(7, 1, [0; 4]).detect().unwrap();
    assert_eq!(
        pmu.counters,
        Counters {
            general: 0xff,
            fixed: 0xf
        }
    );
    assert!(!pmu.has_unit_mask_2);
}

#[test]
fn leaves_above_the_maximum_are_not_asked() {
    let cpu = Cpu::intel(4, 0xf29, ICE_LAKE);
    assert_eq!(cpu.detect(), Err(NoPmu::NoCounters));
    // Of the extended ones neither: leaf 0x80000022 would announce a global control.
    let cpu = Cpu::amd(0x0060_0f12, 1 << 23)
        .with(0x8000_0000, 0, [0x8000_001e, 0, 0, 0])
        .with(0x8000_0022, 0, [1, 6, 0, 0]);
    assert_eq!(cpu.detect().unwrap().interface, Interface::AmdCore);
}

#[test]
fn amd_processors_are_told_by_their_features() {
    for (name, cpu, interface, general, family) in [
        (
            "K10",
            Cpu::amd(0x0010_0f42, 0),
            Interface::AmdLegacy,
            0xf,
            0x10,
        ),
        (
            "Bulldozer",
            Cpu::amd(0x0060_0f12, 1 << 23),
            Interface::AmdCore,
            0x3f,
            0x15,
        ),
        (
            "Zen 3",
            Cpu::amd(0x00a2_0f10, 1 << 23),
            Interface::AmdCore,
            0x3f,
            0x19,
        ),
        (
            "Zen 4",
            Cpu::amd(0x00a1_0f11, 1 << 23).with(0x8000_0022, 0, [0b111, 0x0410_0846, 0, 0]),
            Interface::AmdV2,
            0x3f,
            0x19,
        ),
    ] {
        let pmu = cpu.detect().expect(name);
        assert_eq!(pmu.interface, interface, "{name}");
        assert_eq!(pmu.counters, Counters { general, fixed: 0 }, "{name}");
        assert_eq!((pmu.general_width, pmu.family), (48, family), "{name}");
    }
}

#[test]
fn cores_of_a_hybrid_processor_and_hypervisors_say_what_they_are() {
    let hybrid = Cpu::intel(0x20, 0x90672, ICE_LAKE).with(7, 0, [0, 0, 0, 1 << 15]);
    for (kind, expected) in [
        (0x20, CoreKind::Atom),
        (0x40, CoreKind::Core),
        (7, CoreKind::Other(7)),
    ] {
        let core = hybrid.clone().with(0x1a, 0, [kind << 24, 0, 0, 0]);
        assert_eq!(core.detect().unwrap().core_kind, Some(expected));
    }
    let guest = hybrid.hypervisor().detect().unwrap();
    assert_eq!(guest.hypervisor.as_ref(), Some(b"KVMKVMKVM\0\0\0"));
}

#[test]
fn what_is_no_pmu_says_why() {
    assert_eq!(
        Cpu::intel(0x16, 0x506e3, [0; 4]).detect(),
        Err(NoPmu::NoCounters)
    );
    let limited = Cpu::intel(3, 0x506e3, SKYLAKE);
    assert_eq!(limited.detect(), Err(NoPmu::Limited));
    let wide = Cpu::intel(0x16, 0x506e3, [0x0740_0404, 0, 0, 0x0603]);
    assert_eq!(wide.detect(), Err(NoPmu::Width(64)));
    let mut other = Cpu::intel(0x16, 0x506e3, SKYLAKE);
    other.leaves[0].1[1] ^= 1;
    let error = other.detect().unwrap_err().to_string();
    assert_eq!(error, "no driver for the counters of `FenuineIntel`");
}

proptest! {
    /// Every word of leaf 0xa is somebody's mistake somewhere.
    #[test]
    fn any_leaf_is_taken_or_refused(leaf in any::<Leaf>()) {
        if let Ok(pmu) = Cpu::intel(0x23, 0x506e3, leaf).detect() {
            prop_assert!((32..64).contains(&pmu.general_width));
            prop_assert!(pmu.counters.general.count_ones() <= 8);
        }
    }
}
