//! Which PMU the running core has, by CPUID alone.
//!
//! Leaves above the maximum that CPUID tells are never asked for: what they answer
//! is another leaf's, or nonsense. Of what a hypervisor announces, or an AMD
//! processor does not announce at all, `super::plan::PmuState::probe` makes sure.
//!
//! On a hybrid processor cores differ, so each core asks for itself.

use core::fmt;

use super::counters::Counters;
use crate::format::region::Maker;
use crate::hw::cpuid::signature;
use crate::hw::vendor::Vendor;

/// What `cpuid` gives: EAX, EBX, ECX, EDX.
pub(crate) type Leaf = [u32; 4];

/// The way by which counters are reached and controlled.
///
/// ```
/// use profiler::pmu::detect::Interface;
///
/// assert_eq!(Interface::AmdV2.to_string(), "AMD PerfMonV2");
/// assert!(Interface::Intel(2) < Interface::Intel(5));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Interface {
    /// Intel's architectural performance monitoring, of this version.
    Intel(u8),
    /// AMD's first four counters, each controlled by itself.
    AmdLegacy,
    /// AMD's six (PerfCtrExtCore), each controlled by itself.
    AmdCore,
    /// AMD's with a global control and status (PerfMonV2).
    AmdV2,
}

impl Interface {
    /// Returns true if one register starts and stops all counters and another one shows
    /// their overflows.
    #[must_use]
    pub const fn is_global(self) -> bool {
        matches!(self, Self::Intel(2..) | Self::AmdV2)
    }

    /// Who made it.
    #[must_use]
    pub const fn maker(self) -> Maker {
        if self.is_amd() {
            Maker::Amd
        } else {
            Maker::Intel
        }
    }

    /// Returns true if it is AMD's.
    #[must_use]
    pub const fn is_amd(self) -> bool {
        !matches!(self, Self::Intel(_))
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Intel(version) => write!(f, "Intel version {version}"),
            Self::AmdLegacy => f.write_str("AMD, four counters"),
            Self::AmdCore => f.write_str("AMD PerfCtrExtCore"),
            Self::AmdV2 => f.write_str("AMD PerfMonV2"),
        }
    }
}

/// A core of a hybrid processor (leaf 0x1a).
///
/// ```
/// use profiler::pmu::detect::CoreKind;
///
/// assert_eq!(CoreKind::from_number(0x40), CoreKind::Core);
/// assert_eq!(CoreKind::Other(3).number(), 3);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum CoreKind {
    /// One for efficiency.
    Atom,
    /// One for performance.
    Core,
    /// Another.
    Other(u8),
}

impl CoreKind {
    /// The kind with this number in leaf 0x1a.
    #[must_use]
    pub const fn from_number(number: u8) -> Self {
        match number {
            0x20 => Self::Atom,
            0x40 => Self::Core,
            other => Self::Other(other),
        }
    }

    /// Its number in leaf 0x1a.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Atom => 0x20,
            Self::Core => 0x40,
            Self::Other(number) => number,
        }
    }
}

/// As perf names its counters.
impl fmt::Display for CoreKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Core => f.write_str("cpu_core"),
            Self::Atom => f.write_str("cpu_atom"),
            Self::Other(number) => write!(f, "kind {number:#x}"),
        }
    }
}

/// What a core's PMU can do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Capabilities {
    /// How it is reached.
    pub interface: Interface,
    /// The processor's family, the extended one added.
    pub family: u32,
    /// The processor's model, the extended one included.
    pub model: u32,
    /// The counters that there are.
    pub counters: Counters,
    /// Bits of a general counter.
    pub general_width: u8,
    /// Bits of a fixed counter; 0 if there is none.
    pub fixed_width: u8,
    /// Intel: the architectural events that general counters have, by their bits in
    /// leaf 0xa.
    pub architectural: u32,
    /// Intel: there is a second unit mask.
    pub has_unit_mask_2: bool,
    /// Intel: IA32_PERF_CAPABILITIES is there.
    pub has_capabilities: bool,
    /// On a hybrid processor, what the core is.
    pub core_kind: Option<CoreKind>,
    /// AMD: the bits of CPUID that say what Instruction-Based Sampling can do; 0 without.
    pub ibs: u32,
    /// What the hypervisor calls itself, if there is one.
    pub hypervisor: Option<[u8; 12]>,
}

/// Why a core has no PMU that could be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoPmu {
    /// CPUID announces no counters.
    NoCounters,
    /// CPUID ends before their leaf, which every processor of this maker has.
    Limited,
    /// The processor's maker is neither Intel nor AMD.
    UnknownVendor([u8; 12]),
    /// CPUID announces counters of this many bits.
    Width(u8),
}

impl fmt::Display for NoPmu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCounters => f.write_str("CPUID announces no counters"),
            Self::Limited => f.write_str(
                "CPUID is limited: switch off \"Limit CPUID Maximum\" in the firmware's setup",
            ),
            Self::UnknownVendor(vendor) => {
                write!(
                    f,
                    "no driver for the counters of `{}`",
                    vendor.escape_ascii()
                )
            }
            Self::Width(bits) => write!(f, "CPUID announces counters of {bits} bits"),
        }
    }
}

impl core::error::Error for NoPmu {}

/// Which processor a core is, and what it runs under.
///
/// ```
/// use profiler::pmu::detect::Identity;
///
/// let epyc = Identity {
///     vendor: *b"AuthenticAMD",
///     family: 0x19,
///     model: 0x11,
///     hypervisor: None,
/// };
/// assert!(epyc.hypervisor.is_none());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity {
    /// What its maker calls itself.
    pub vendor: [u8; 12],
    /// The family, the extended one added.
    pub family: u32,
    /// The model, the extended one included.
    pub model: u32,
    /// What the hypervisor calls itself, if there is one.
    pub hypervisor: Option<[u8; 12]>,
}

/// Asks which processor the running core is; `cpuid` takes a leaf and a subleaf.
#[must_use]
pub(crate) fn identify(cpuid: impl Fn(u32, u32) -> Leaf) -> Identity {
    Limited::new(cpuid).identity()
}

/// Looks which PMU the running core has; `cpuid` takes a leaf and a subleaf.
///
/// # Errors
///
/// [`NoPmu`] says why it has none.
pub(crate) fn detect(cpuid: impl Fn(u32, u32) -> Leaf) -> Result<Capabilities, NoPmu> {
    let cpuid = Limited::new(cpuid);
    let Identity {
        vendor,
        family,
        model,
        hypervisor,
    } = cpuid.identity();
    let [_, _, features, _] = cpuid.leaf(1, 0);
    let capabilities = Capabilities {
        interface: Interface::AmdLegacy,
        family,
        model,
        counters: Counters::NONE,
        general_width: 48,
        fixed_width: 0,
        architectural: 0,
        has_unit_mask_2: false,
        has_capabilities: features & 1 << 15 != 0,
        core_kind: cpuid.core_kind(),
        ibs: 0,
        hypervisor,
    };
    match Vendor::named(&vendor) {
        Vendor::Intel => cpuid.intel(capabilities),
        Vendor::Amd => cpuid.amd(capabilities),
        Vendor::Other => Err(NoPmu::UnknownVendor(vendor)),
    }
}

/// CPUID, asked for nothing that it does not have.
struct Limited<F> {
    cpuid: F,
    /// The highest leaves: of the basic and of the extended ones.
    highest: u32,
    highest_extended: u32,
}

const EXTENDED: u32 = 0x8000_0000;
const HYPERVISOR: u32 = 0x4000_0000;

impl<F: Fn(u32, u32) -> Leaf> Limited<F> {
    fn new(cpuid: F) -> Self {
        let [highest, ..] = cpuid(0, 0);
        let [highest_extended, ..] = cpuid(EXTENDED, 0);
        Self {
            cpuid,
            highest,
            // A processor without extended leaves answers as for another leaf.
            highest_extended: match highest_extended >> 16 {
                0x8000 => highest_extended,
                _ => 0,
            },
        }
    }

    /// A leaf; nothing but zeros if there is none.
    fn leaf(&self, leaf: u32, subleaf: u32) -> Leaf {
        let highest = match leaf {
            EXTENDED.. => self.highest_extended,
            _ => self.highest,
        };
        if leaf <= highest {
            (self.cpuid)(leaf, subleaf)
        } else {
            [0; 4]
        }
    }

    fn identity(&self) -> Identity {
        let [_, first, third, second] = self.leaf(0, 0);
        let vendor = signature([first, second, third]);
        let [version, _, features, _] = self.leaf(1, 0);
        let (family, model) = family_and_model(version);
        let has_hypervisor = features & 1 << 31 != 0;
        let [_, first, second, third] = self.hypervisor(has_hypervisor);
        Identity {
            vendor,
            family,
            model,
            hypervisor: has_hypervisor.then_some(signature([first, second, third])),
        }
    }

    /// The first leaf of a hypervisor, which is above the maximum of the basic ones.
    fn hypervisor(&self, is_there: bool) -> Leaf {
        if is_there {
            (self.cpuid)(HYPERVISOR, 0)
        } else {
            [0; 4]
        }
    }

    fn core_kind(&self) -> Option<CoreKind> {
        let [_, _, _, features] = self.leaf(7, 0);
        let is_hybrid = features & 1 << 15 != 0;
        let [kind, ..] = self.leaf(0x1a, 0);
        let [kind, ..] = kind.to_be_bytes();
        is_hybrid.then_some(CoreKind::from_number(kind))
    }

    /// SDM vol. 3, "Architectural Performance Monitoring"; vol. 2, CPUID leaf 0xa.
    fn intel(&self, mut pmu: Capabilities) -> Result<Capabilities, NoPmu> {
        let [last, ..] = self.leaf(0, 0);
        // IA32_MISC_ENABLE[22] leaves three. A processor with long mode has more.
        if last <= 3 {
            return Err(NoPmu::Limited);
        }
        let [general, absent, fixed, more] = self.leaf(0xa, 0);
        let [version, counters, width, events] = general.to_le_bytes();
        if version == 0 || counters == 0 {
            return Err(NoPmu::NoCounters);
        }
        pmu.interface = Interface::Intel(version);
        pmu.counters.general = low_bits(counters.min(Counters::MOST_INTEL));
        pmu.general_width = checked_width(width)?;
        // A set bit says that the event is not there, and so does a vector that ends
        // before its bit.
        pmu.architectural = !absent & low_bits(events);
        if version >= 2 {
            let mut number = more.to_le_bytes()[0] & 0x1f;
            let [mut width, ..] = (more >> 5).to_le_bytes();
            // The first processors of version 2 have three and say none, and some of them
            // do not say how wide those are: as wide as the general ones.
            if version == 2 && number == 0 && pmu.hypervisor.is_none() {
                number = 3;
                if width == 0 {
                    width = pmu.general_width;
                }
            }
            pmu.counters.fixed = low_bits(number);
            if version >= 5 {
                pmu.counters.fixed |= fixed;
            }
            pmu.counters.fixed &= low_bits(Counters::MOST_FIXED);
            if pmu.counters.fixed != 0 {
                pmu.fixed_width = checked_width(width)?;
            }
        }
        if version >= 6 {
            self.intel_extended(&mut pmu);
        }
        Ok(pmu)
    }

    /// Leaf 0x23: counters by bitmaps, which may have holes.
    fn intel_extended(&self, pmu: &mut Capabilities) {
        let [subleaves, ..] = self.leaf(7, 0);
        let [features, ..] = match subleaves {
            0 => [0; 4],
            _ => self.leaf(7, 1),
        };
        if features & 1 << 8 == 0 {
            return;
        }
        let [valid, features, ..] = self.leaf(0x23, 0);
        pmu.has_unit_mask_2 = features & 1 != 0;
        if valid & 1 << 1 != 0 {
            let [general, fixed, ..] = self.leaf(0x23, 1);
            pmu.counters = Counters {
                general: general & low_bits(Counters::MOST_GENERAL),
                fixed: fixed & low_bits(Counters::MOST_FIXED),
            };
        }
        if valid & 1 << 3 != 0 {
            // Here a set bit says that the event is there.
            let [events, ..] = self.leaf(0x23, 3);
            pmu.architectural = events;
        }
    }

    /// APM vol. 2, 13.2.1; vol. 3, appendix E, leaves 0x80000001 and 0x80000022.
    fn amd(&self, mut pmu: Capabilities) -> Result<Capabilities, NoPmu> {
        // No leaf announces the first four. Every processor with long mode has them.
        pmu.counters.general = low_bits(4);
        let [_, _, features, _] = self.leaf(EXTENDED + 1, 0);
        if features & 1 << 10 != 0 {
            // APM vol. 3, appendix E, leaf 0x8000001b. If it does not say what there is, there
            // is less than is needed here.
            [pmu.ibs, ..] = self.leaf(EXTENDED + 0x1b, 0);
        }
        if features & 1 << 23 == 0 {
            return Ok(pmu);
        }
        pmu.interface = Interface::AmdCore;
        pmu.counters.general = low_bits(6);
        let [features, numbers, ..] = self.leaf(EXTENDED + 0x22, 0);
        if features & 1 != 0 {
            pmu.interface = Interface::AmdV2;
            let number = numbers.to_le_bytes()[0] & 0xf;
            if number != 0 {
                pmu.counters.general = low_bits(number);
            }
        }
        Ok(pmu)
    }
}

/// A word with this many of its lowest bits set.
const fn low_bits(bits: u8) -> u32 {
    match bits {
        32.. => u32::MAX,
        _ => (1 << bits) - 1,
    }
}

/// A counter's width, if it is one that counters can have.
fn checked_width(bits: u8) -> Result<u8, NoPmu> {
    match bits {
        32..=63 => Ok(bits),
        _ => Err(NoPmu::Width(bits)),
    }
}

/// Leaf 1, EAX (SDM vol. 2, CPUID, "INPUT EAX = 01H"; the same for AMD).
fn family_and_model(version: u32) -> (u32, u32) {
    let (family, model) = (version >> 8 & 0xf, version >> 4 & 0xf);
    let (more_family, more_model) = (version >> 20 & 0xff, version >> 16 & 0xf);
    match family {
        0xf => (family + more_family, model | more_model << 4),
        0x6 => (family, model | more_model << 4),
        _ => (family, model),
    }
}
