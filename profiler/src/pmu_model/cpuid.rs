//! What CPUID tells of the counters: SDM vol. 2, `CPUID`; APM vol. 3, appendix E.

use super::kinds::{Above, Amd, AmdInterface, Intel, Kind, Model};

/// EAX, EBX, ECX, EDX.
type Leaf = [u32; 4];

/// The first leaf of hypervisors.
const HYPERVISOR: u32 = 0x4000_0000;
/// The first extended leaf.
const EXTENDED: u32 = 0x8000_0000;

/// Three words of a name.
fn words(name: &[u8; 12]) -> [u32; 3] {
    let word = |at: usize| u32::from_le_bytes(*name[at..].first_chunk().unwrap());
    [word(0), word(4), word(8)]
}

impl Model {
    /// What `cpuid` gives: EAX, EBX, ECX, EDX.
    #[must_use]
    pub fn cpuid(&self, leaf: u32, subleaf: u32) -> Leaf {
        let max_extended = match &self.kind {
            Kind::Intel(_) => EXTENDED + 8,
            Kind::Amd(amd) if amd.interface == AmdInterface::V2 => EXTENDED + 0x28,
            Kind::Amd(_) => EXTENDED + 0x20,
        };
        match leaf {
            EXTENDED => [max_extended, 0, 0, 0],
            HYPERVISOR.. if leaf > EXTENDED && leaf <= max_extended => self.extended(leaf),
            HYPERVISOR if let Some(name) = &self.hypervisor => {
                let [first, second, third] = words(name);
                [HYPERVISOR + 1, first, second, third]
            }
            leaf if leaf == HYPERVISOR + 1 && self.hypervisor.is_some() => [0; 4],
            leaf if leaf <= self.max_leaf => self.basic(leaf, subleaf),
            _ => match self.above {
                Above::HighestLeaf => self.basic(self.max_leaf, subleaf),
                Above::Zeros => [0; 4],
                Above::Garbage => [0x0830_0805, 0x6, 0xff, 0x8604],
            },
        }
    }

    /// A leaf that there is.
    fn basic(&self, leaf: u32, subleaf: u32) -> Leaf {
        let is_intel = matches!(self.kind, Kind::Intel(_));
        match (leaf, &self.kind) {
            (0, _) => {
                let name = if is_intel {
                    b"GenuineIntel"
                } else {
                    b"AuthenticAMD"
                };
                let [first, second, third] = words(name);
                [self.max_leaf, first, third, second]
            }
            (1, _) => self.version_leaf(),
            (0x7, Kind::Intel(intel)) => intel.features(subleaf),
            (0xa, Kind::Intel(intel)) => intel.leaf_0xa(),
            (0x1a, Kind::Intel(intel)) => [u32::from(intel.core_type.unwrap_or(0)) << 24, 0, 0, 0],
            (0x23, Kind::Intel(intel)) if intel.version >= 6 => intel.leaf_0x23(subleaf),
            _ => [0; 4],
        }
    }

    /// Family, model, stepping; PDCM; hypervisor.
    fn version_leaf(&self) -> Leaf {
        let (family, extended_family) = match self.family {
            0..0xf => (self.family, 0),
            _ => (0xf, self.family - 0xf),
        };
        // A model has its high bits here from family 6 and from family 15 on.
        let version = extended_family << 20
            | self.model >> 4 << 16
            | family << 8
            | (self.model & 0xf) << 4
            | 1;
        let has_capabilities = match &self.kind {
            Kind::Intel(intel) => intel.capabilities,
            Kind::Amd(_) => false,
        };
        let features =
            u32::from(has_capabilities) << 15 | u32::from(self.hypervisor.is_some()) << 31;
        [version, 0, features, 0]
    }

    fn extended(&self, leaf: u32) -> Leaf {
        match (leaf, &self.kind) {
            (0x8000_0001, Kind::Amd(amd)) => {
                let has_core = amd.interface >= AmdInterface::Core;
                let has_ibs = amd.ibs.is_some();
                [
                    0,
                    0,
                    u32::from(has_core) << 23 | u32::from(has_ibs) << 10,
                    0,
                ]
            }
            // Flags, ops, writable count, count of ops, 27 bits, check of the address.
            (0x8000_001b, Kind::Amd(amd)) if amd.ibs.is_some() => [0b1101_1101, 0, 0, 0],
            (0x8000_0022, Kind::Amd(amd)) => amd.leaf_0x22(),
            _ => [0; 4],
        }
    }
}

impl Intel {
    /// SGX, PT, hybrid; subleaf 1: ArchPerfmonExt.
    fn features(&self, subleaf: u32) -> Leaf {
        match subleaf {
            0 => [
                1,
                u32::from(self.sgx) << 2 | u32::from(self.trace) << 25,
                0,
                u32::from(self.core_type.is_some()) << 15,
            ],
            1 => [u32::from(self.version >= 6) << 8, 0, 0, 0],
            _ => [0; 4],
        }
    }

    /// "Architectural Performance Monitoring Leaf".
    fn leaf_0xa(&self) -> Leaf {
        if self.version == 0 {
            return [0; 4];
        }
        let eax = u32::from(self.version)
            | self.general.trailing_ones() << 8
            | u32::from(self.general_width) << 16
            | u32::from(self.event_bits) << 24;
        let ecx = if self.version >= 5 { self.fixed } else { 0 };
        let any_deprecated = self.version >= 5 && !self.any_thread;
        let edx = if self.version >= 2 {
            self.fixed.trailing_ones()
                | u32::from(self.fixed_width) << 5
                | u32::from(any_deprecated) << 15
        } else {
            0
        };
        [eax, self.absent_events, ecx, edx]
    }

    /// "Architectural Performance Monitoring Extended Leaf". Its subleaf 3 says
    /// which events there are, the reverse of leaf 0xa.
    fn leaf_0x23(&self, subleaf: u32) -> Leaf {
        match subleaf {
            0 => [
                0b1011,
                u32::from(self.unit_mask_2) | u32::from(self.equal) << 1,
                0,
                0,
            ],
            1 => [self.general, self.fixed, 0, 0],
            3 => [((1 << self.event_bits) - 1) & !self.absent_events, 0, 0, 0],
            _ => [0; 4],
        }
    }
}

impl Amd {
    /// "Extended Performance Monitoring and Debug".
    fn leaf_0x22(&self) -> Leaf {
        if self.interface < AmdInterface::V2 {
            return [0; 4];
        }
        [
            1 | u32::from(self.freeze) << 2,
            u32::from(self.counters),
            0,
            0,
        ]
    }
}
