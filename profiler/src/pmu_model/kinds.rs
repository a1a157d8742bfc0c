//! Which processor it is, and in which ways it errs.

/// A processor, and the hypervisor in front of it if there is one.
#[derive(Clone, Debug)]
pub struct Model {
    /// Its maker and its counters.
    pub kind: Kind,
    /// Its family, the extended one added.
    pub family: u32,
    /// Its model, the extended one included.
    pub model: u32,
    /// The highest basic leaf of CPUID.
    pub max_leaf: u32,
    /// What CPUID answers above the highest leaf.
    pub above: Above,
    /// What the hypervisor calls itself.
    pub hypervisor: Option<[u8; 12]>,
    /// In which ways it differs from the manual.
    pub quirks: Quirks,
}

/// Makers.
#[derive(Clone, Debug)]
pub enum Kind {
    /// Intel.
    Intel(Intel),
    /// AMD.
    Amd(Amd),
}

/// Architectural performance monitoring (CPUID leaf 0xa and 0x23).
#[derive(Clone, Debug)]
pub struct Intel {
    /// Its version; 0: there are no counters.
    pub version: u8,
    /// The general counters, a bit each. Before version 6 without holes.
    pub general: u32,
    /// Bits of a general counter.
    pub general_width: u8,
    /// The fixed counters, a bit each. From version 2 on; before version 5 without
    /// holes.
    pub fixed: u32,
    /// Bits of a fixed counter.
    pub fixed_width: u8,
    /// IA32_PERF_CAPABILITIES is there (PDCM).
    pub capabilities: bool,
    /// IA32_A_PMCn are there (in the capabilities: FW_WRITE).
    pub full_width_writes: bool,
    /// Counters can freeze in system management mode (in the capabilities:
    /// FREEZE_WHILE_SMM).
    pub freezes_in_smm: bool,
    /// That is announced, and the bit is refused: hypervisors.
    pub refuses_smm_freeze: bool,
    /// How many events leaf 0xa has bits for.
    pub event_bits: u8,
    /// Which of these events are not available.
    pub absent_events: u32,
    /// The ANY bits are there. From version 3 on; from version 5 on CPUID can say
    /// that they are not.
    pub any_thread: bool,
    /// Bit 61 of the global status is there. From version 3 on; hypervisors that
    /// announce version 4 may lack it.
    pub uncore: bool,
    /// There is Intel PT, and bit 55 of the global status.
    pub trace: bool,
    /// There is SGX, and bit 60 of the global status.
    pub sgx: bool,
    /// There is a second unit mask (leaf 0x23).
    pub unit_mask_2: bool,
    /// There is EQUAL (leaf 0x23).
    pub equal: bool,
    /// The kind of core of a hybrid processor: 0x20 (Atom), 0x40 (Core).
    pub core_type: Option<u8>,
}

/// AMD's counters.
#[derive(Clone, Debug)]
pub struct Amd {
    /// How they are reached.
    pub interface: AmdInterface,
    /// How many there are: 4, 6, or with PerfMonV2 what leaf 0x8000_0022 says.
    pub counters: u8,
    /// Counters and LBRs can freeze at an interrupt (leaf 0x8000_0022).
    pub freeze: bool,
    /// There is Instruction-Based Sampling of ops, and which entry of the extended local
    /// vector table the firmware has given it; 4: none.
    pub ibs: Option<u8>,
}

/// The three interfaces.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum AmdInterface {
    /// Four counters at 0xc001_0000.
    Legacy,
    /// PerfCtrExtCore: from 0xc001_0200 on, the first four under both numbers.
    Core,
    /// PerfMonV2: as before, with a global status and control.
    V2,
}

/// What CPUID answers above its highest leaf.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Above {
    /// The data of the highest basic leaf: Intel.
    HighestLeaf,
    /// Zeros: AMD.
    Zeros,
    /// What looks like counters: emulators.
    Garbage,
}

/// If and when counters freeze at an interrupt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Freezing {
    /// As the manual says.
    Always,
    /// At random.
    Sometimes,
    /// The bit can be set and does nothing.
    Never,
}

/// A number of cycles, from `least` to `most`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Latency {
    /// The fewest.
    pub least: u32,
    /// The most.
    pub most: u32,
}

impl Latency {
    /// Always this many cycles.
    #[must_use]
    pub const fn fixed(cycles: u32) -> Self {
        Self {
            least: cycles,
            most: cycles,
        }
    }

    /// From `least` to `most`.
    #[must_use]
    pub const fn random(least: u32, most: u32) -> Self {
        Self { least, most }
    }
}

/// In which ways processors and hypervisors differ, or differ from the manual.
#[derive(Clone, Debug)]
pub struct Quirks {
    /// What everything random here follows from.
    pub seed: u64,
    /// From the wrap of a counter to its bit in the global status. Without a global
    /// status, it adds to the next.
    pub status: Latency,
    /// From there to the interrupt at the APIC: the skid.
    pub interrupt: Latency,
    /// An overflow that is on its way when its counter is stopped arrives so much
    /// later than it would have. `None`: the stop waits for it.
    ///
    /// AMD: late NMIs. Intel: status that is posted after the stop.
    pub late: Option<Latency>,
    /// A delivery masks LVTPC. Intel's does. KVM's did not, and later does for Intel
    /// and not for AMD.
    pub masks_on_delivery: bool,
    /// An entry that is unmasked while the status shows an overflow interrupts: Haswell
    /// and later.
    pub unmasking_interrupts: bool,
    /// There is an APIC that gets the interrupts. A vPMU without an in-kernel APIC
    /// has none.
    pub delivers: bool,
    /// An overflow interrupts only if its status bit was clear. Else a stale bit
    /// does not matter.
    pub needs_clear_status: bool,
    /// If and when counters freeze.
    pub freezing: Freezing,
    /// RDPMC reads counters. Hypervisors may refuse it.
    pub has_rdpmc: bool,
    /// Registers that are announced and refused: hypervisors.
    pub refused: Vec<u32>,
    /// Registers that are not there read 0 and ignore writes: QEMU's TCG, and KVM
    /// with `ignore_msrs`.
    pub ignores_unknown: bool,
    /// AMD: reserved bits are dropped and read-only registers ignore writes, which
    /// the processors are said to do, in place of #GP, which older KVM gives.
    pub drops_reserved: bool,
}

impl Quirks {
    /// None: every latency is 0.
    #[must_use]
    pub const fn none(masks_on_delivery: bool) -> Self {
        Self {
            seed: 1,
            status: Latency::fixed(0),
            interrupt: Latency::fixed(0),
            late: None,
            masks_on_delivery,
            unmasking_interrupts: false,
            delivers: true,
            needs_clear_status: true,
            freezing: Freezing::Always,
            has_rdpmc: true,
            refused: Vec::new(),
            ignores_unknown: false,
            drops_reserved: false,
        }
    }
}

/// A bit each for `count` counters.
const fn first(count: u8) -> u32 {
    (1 << count) - 1
}

impl Model {
    /// A processor of Intel's that has this version: Core Duo, Core 2, Sandy Bridge,
    /// Skylake, Ice Lake, and one with holes.
    #[must_use]
    pub fn intel(version: u8) -> Self {
        let (model, max_leaf, general, fixed) = match version {
            0 => (0x0d, 0x2, 0, 0),
            1 => (0x0e, 0xa, first(2), 0),
            2 => (0x0f, 0xa, first(2), first(3)),
            3 => (0x2a, 0xd, first(4), first(3)),
            4 => (0x5e, 0x16, first(4), first(3)),
            5 => (0x7e, 0x1b, first(8), first(4)),
            _ => (0xcc, 0x24, 0b11_0110_1111, 0b111_0111),
        };
        Self {
            kind: Kind::Intel(Intel {
                version,
                general,
                general_width: if version < 3 { 40 } else { 48 },
                fixed,
                fixed_width: if version == 2 { 40 } else { 48 },
                capabilities: version > 1,
                full_width_writes: version > 2,
                freezes_in_smm: version > 2,
                refuses_smm_freeze: false,
                event_bits: if version < 5 { 7 } else { 8 },
                absent_events: 0,
                any_thread: matches!(version, 3 | 4),
                uncore: version > 2,
                trace: version > 3,
                sgx: version > 3,
                unit_mask_2: version > 5,
                equal: version > 5,
                core_type: None,
            }),
            family: 6,
            model,
            max_leaf,
            above: Above::HighestLeaf,
            hypervisor: None,
            quirks: Quirks::none(true),
        }
    }

    /// A processor of AMD's that has this interface: family 10h, Zen 3, Zen 4.
    #[must_use]
    pub fn amd(interface: AmdInterface) -> Self {
        let (family, model, max_leaf, counters) = match interface {
            AmdInterface::Legacy => (0x10, 0x02, 0x5, 4),
            AmdInterface::Core => (0x19, 0x21, 0x10, 6),
            AmdInterface::V2 => (0x19, 0x11, 0x10, 6),
        };
        Self {
            kind: Kind::Amd(Amd {
                interface,
                counters,
                freeze: interface == AmdInterface::V2,
                ibs: None,
            }),
            family,
            model,
            max_leaf,
            above: Above::Zeros,
            hypervisor: None,
            quirks: Quirks::none(false),
        }
    }

    /// Intel's part. Panics on AMD.
    pub fn as_intel(&mut self) -> &mut Intel {
        match &mut self.kind {
            Kind::Intel(intel) => intel,
            Kind::Amd(_) => panic!("not Intel"),
        }
    }

    /// AMD's part. Panics on Intel.
    pub fn as_amd(&mut self) -> &mut Amd {
        match &mut self.kind {
            Kind::Amd(amd) => amd,
            Kind::Intel(_) => panic!("not AMD"),
        }
    }

    /// The entry of the extended local vector table that is Instruction-Based Sampling's.
    pub(super) fn ibs_entry(&self) -> u8 {
        match &self.kind {
            Kind::Amd(amd) => amd.ibs.unwrap_or(4),
            Kind::Intel(_) => 4,
        }
    }

    /// The version of Intel's performance monitoring; `None` is AMD.
    pub(super) const fn version(&self) -> Option<u8> {
        match &self.kind {
            Kind::Intel(intel) => Some(intel.version),
            Kind::Amd(_) => None,
        }
    }

    /// The general and the fixed counters, a bit each.
    pub(super) const fn counters(&self) -> (u32, u32) {
        match &self.kind {
            Kind::Intel(intel) => (intel.general, intel.fixed),
            Kind::Amd(amd) => (first(amd.counters), 0),
        }
    }

    /// The counters, as bits of the global registers.
    pub(super) const fn counter_bits(&self) -> u64 {
        let (general, fixed) = self.counters();
        general as u64 | (fixed as u64) << 32
    }

    /// Returns true if there are a global control and status.
    pub(super) const fn has_global(&self) -> bool {
        match &self.kind {
            Kind::Intel(intel) => intel.version >= 2,
            Kind::Amd(amd) => matches!(amd.interface, AmdInterface::V2),
        }
    }

    /// Panics if the manual has no such processor.
    pub(super) fn check(&self) {
        assert!(
            !self.quirks.drops_reserved || self.version().is_none(),
            "only AMD drops reserved bits"
        );
        let contiguous = |bits: u32| bits & bits.wrapping_add(1) == 0;
        match &self.kind {
            Kind::Intel(intel) => {
                let version = intel.version;
                let needs = |feature: bool, least: u8, name: &str| {
                    assert!(!feature || version >= least, "version {version} has {name}");
                };
                assert!(version <= 6, "version {version}");
                assert!(
                    (version == 0) == (intel.general == 0),
                    "counters and no version, or the reverse"
                );
                needs(intel.fixed != 0, 2, "fixed counters");
                needs(!contiguous(intel.fixed), 5, "holes in the fixed counters");
                needs(!contiguous(intel.general), 6, "holes in the counters");
                needs(intel.general > 0xff, 6, "more than 8 counters");
                needs(intel.any_thread, 3, "ANY");
                assert!(
                    intel.any_thread || !matches!(version, 3 | 4),
                    "version {version} without ANY"
                );
                needs(intel.uncore, 3, "bit 61");
                needs(intel.unit_mask_2 || intel.equal, 6, "leaf 0x23");
                assert!(intel.fixed < 1 << 7, "fixed counters without a meaning");
                for width in [intel.general_width, intel.fixed_width] {
                    assert!((32..64).contains(&width), "counters of {width} bits");
                }
                assert!(
                    intel.capabilities || !(intel.full_width_writes || intel.freezes_in_smm),
                    "FW_WRITE or FREEZE_WHILE_SMM without PDCM"
                );
            }
            Kind::Amd(amd) => {
                let right = match amd.interface {
                    AmdInterface::Legacy => amd.counters == 4,
                    AmdInterface::Core => amd.counters == 6,
                    AmdInterface::V2 => (4..16).contains(&amd.counters),
                };
                assert!(right, "{:?} with {} counters", amd.interface, amd.counters);
                assert!(
                    !amd.freeze || amd.interface == AmdInterface::V2,
                    "freezing without PerfMonV2"
                );
            }
        }
    }
}
