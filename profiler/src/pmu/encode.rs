//! From an event to what the registers of this processor take, and which of its
//! counters can count it.
//!
//! Named events: Intel's architectural ones (SDM vol. 3, table "Architectural
//! Performance Events"), by the bits with which leaf 0xa announces them, and AMD's
//! by family (PPRs: PMCx076, PMCx0C0, PMCx060, PMCx064, PMCx0C2, PMCx0C3, PMCx120;
//! before family 17h the BKDGs: PMCx07D, PMCx07E).

use core::fmt;

use super::counters::Counters;
use super::detect::{Capabilities, Interface};
use super::event::{Event, Named, What};
use super::ibs;
use super::registers::{fixed, select};

/// An event as the registers take it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Encoding {
    /// The event select of a general counter, without the bits that let it count and
    /// interrupt.
    pub select: u64,
    /// As `select`, the bits of a fixed counter in its control register.
    pub fixed: u64,
    /// The counters that can count it.
    pub counters: Counters,
    /// The least number of events after which an overflow comes reliably.
    pub min_count: u64,
}

/// Why an event cannot be counted on this core.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoEncoding {
    /// The processor does not have the event.
    NotHere,
    /// It has it on a fixed counter only, which takes no edge, inversion, counter
    /// mask.
    PlainOnly,
    /// The event's number or unit mask has bits that this processor does not take.
    Bits(u64),
    /// It is for one kind of core, and the processor has one kind only.
    NotHybrid,
    /// It is for another kind of core.
    OtherCores,
    /// None of the counters that it was restricted to is there and counts it.
    NoSuchCounter(u32),
}

impl fmt::Display for NoEncoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotHere => f.write_str("this processor does not have the event"),
            Self::PlainOnly => {
                f.write_str("a fixed counter counts it, which has no edge, inv and cmask")
            }
            Self::Bits(bits) => {
                write!(
                    f,
                    "this processor takes no bits {bits:#x} in an event select"
                )
            }
            Self::NotHybrid => f.write_str(
                "all cores of this processor are of one kind; leave out cpu_core, cpu_atom",
            ),
            Self::OtherCores => {
                f.write_str("this core is of another kind, and has no event of its own; add one")
            }
            Self::NoSuchCounter(mask) => {
                write!(f, "none of the counters {mask:#x} is here and counts it")
            }
        }
    }
}

impl core::error::Error for NoEncoding {}

/// An event of a maker's table: its select, and the fixed counter that has it.
#[derive(Clone, Copy)]
struct Native {
    select: Option<u64>,
    fixed: Option<u8>,
}

impl Capabilities {
    /// What counts `event` on this core.
    ///
    /// # Errors
    ///
    /// [`NoEncoding`] says why nothing does.
    pub fn encode(&self, event: &Event) -> Result<Encoding, NoEncoding> {
        let native = match event.what {
            What::Named(named) => self.named(named).ok_or(NoEncoding::NotHere)?,
            What::Raw { event, unit_mask } => self.raw(event, unit_mask),
            What::IbsOp(_) if !self.interface.is_amd() => return Err(NoEncoding::NotHere),
            What::IbsOp(count) => Native {
                select: Some(ibs::select_of(count)),
                fixed: None,
            },
        };
        let is_plain = !event.edge && !event.invert && event.counter_mask == 0;
        let mut counters = Counters::NONE;
        if let Some(bits) = native.select {
            let foreign = bits & !self.select_bits();
            if foreign != 0 {
                return Err(NoEncoding::Bits(foreign));
            }
            counters.general = self.counters.general & self.counters_for(bits);
        }
        if let Some(number) = native.fixed.filter(|_| is_plain) {
            counters.fixed = self.counters.fixed & 1 << number;
        }
        if counters.is_empty() {
            return Err(match native.fixed {
                Some(_) if !is_plain => NoEncoding::PlainOnly,
                _ => NoEncoding::NotHere,
            });
        }
        if let Some(mask) = event.counters {
            // Counters that are named by number are general ones.
            counters = Counters {
                general: counters.general & mask,
                fixed: 0,
            };
            if counters.is_empty() {
                return Err(NoEncoding::NoSuchCounter(mask));
            }
        }
        let flag = |is_set: bool, bit: u64| if is_set { bit } else { 0 };
        Ok(Encoding {
            select: native.select.unwrap_or(0)
                | flag(event.user, select::USER)
                | flag(event.kernel, select::KERNEL)
                | flag(event.edge, select::EDGE)
                | flag(event.invert, select::INVERT)
                | u64::from(event.counter_mask) << 24,
            fixed: flag(event.user, fixed::USER) | flag(event.kernel, fixed::KERNEL),
            counters,
            min_count: self.min_count(native),
        })
    }

    /// The bits by which an event select names an event here: those that an event by
    /// its number can have.
    #[must_use]
    pub const fn select_bits(&self) -> u64 {
        let common = select::EVENT | select::UNIT_MASK;
        match self.interface {
            Interface::Intel(_) if self.has_unit_mask_2 => common | select::UNIT_MASK_2,
            Interface::Intel(_) => common,
            _ => common | select::EVENT_HIGH,
        }
    }

    fn named(&self, named: Named) -> Option<Native> {
        match self.interface {
            Interface::Intel(_) => self.intel_named(named),
            _ => self.amd_named(named).map(|select| Native {
                select: Some(select),
                fixed: None,
            }),
        }
    }

    /// SDM vol. 3, "Pre-defined Architectural Performance Events" and "Fixed-function
    /// Performance Counters".
    fn intel_named(&self, named: Named) -> Option<Native> {
        // The bit of leaf 0xa, event and unit mask, and the fixed counter.
        let (bit, select, fixed) = match named {
            Named::Cycles => (0, 0x003c, Some(1)),
            Named::Instructions => (1, 0x00c0, Some(0)),
            // What a general counter counts as reference cycles are those of the bus,
            // the fixed one those of the time stamp counter.
            Named::ReferenceCycles => (32, 0, Some(2)),
            Named::BusCycles => (2, 0x013c, None),
            Named::CacheReferences => (3, 0x4f2e, None),
            Named::CacheMisses => (4, 0x412e, None),
            Named::Branches => (5, 0x00c4, None),
            Named::BranchMisses => (6, 0x00c5, None),
            Named::Slots => (7, 0x01a4, Some(3)),
            Named::StalledFrontend | Named::StalledBackend => return None,
        };
        let is_general = bit < 32 && self.architectural >> bit & 1 != 0;
        let native = Native {
            select: is_general.then_some(select),
            fixed: fixed.filter(|number| self.counters.fixed >> number & 1 != 0),
        };
        (native.select.is_some() || native.fixed.is_some()).then_some(native)
    }

    fn amd_named(&self, named: Named) -> Option<u64> {
        let is_zen = self.family >= 0x17;
        // Zen 2 has models 30h and up of family 17h; Hygon's family 18h is Zen 1.
        let is_zen2 = self.family >= 0x19 || self.family == 0x17 && self.model >= 0x30;
        let is_zen4 = self.family >= 0x1a || self.interface == Interface::AmdV2;
        Some(match named {
            Named::Cycles => 0x0076,
            Named::Instructions => 0x00c0,
            Named::CacheReferences if is_zen => 0xff60,
            Named::CacheReferences => 0x077d,
            Named::CacheMisses if is_zen => 0x0964,
            Named::CacheMisses => 0x077e,
            Named::Branches => 0x00c2,
            Named::BranchMisses => 0x00c3,
            // Bits 8 to 11 of the event's number stand above the others.
            Named::ReferenceCycles if is_zen4 => 0x1_0000_0120,
            Named::StalledFrontend if is_zen2 => 0x00a9,
            Named::StalledFrontend if is_zen => 0x0287,
            Named::StalledFrontend => 0x00d0,
            Named::StalledBackend if is_zen2 => return None,
            Named::StalledBackend if is_zen => 0x0187,
            Named::StalledBackend => 0x00d1,
            Named::ReferenceCycles | Named::BusCycles | Named::Slots => return None,
        })
    }

    /// An event by its number. One that is also a fixed counter's is that one's too.
    fn raw(&self, event: u16, unit_mask: u16) -> Native {
        let [event_low, event_high] = event.to_le_bytes();
        let [mask_low, mask_high] = unit_mask.to_le_bytes();
        let select = u64::from(event_low)
            | u64::from(mask_low) << 8
            | u64::from(event_high) << 32
            | u64::from(mask_high) << 40;
        let is_intel = !self.interface.is_amd();
        let same = |number: u8| (self.counters.fixed >> number & 1 != 0).then_some(number);
        Native {
            select: Some(select),
            fixed: match select {
                0x00c0 if is_intel => same(0),
                0x003c if is_intel => same(1),
                _ => None,
            },
        }
    }

    /// The general counters that count an event with these bits in its select, whether
    /// they are there or not.
    #[allow(clippy::cast_possible_truncation)] // twelve bits
    const fn counters_for(&self, select: u64) -> u32 {
        if !self.interface.is_amd() || self.family != 0x15 {
            return u32::MAX;
        }
        family_15h_counters((select & select::EVENT | (select & select::EVENT_HIGH) >> 24) as u16)
    }

    /// The fewest events after which an overflow comes reliably.
    fn min_count(&self, native: Native) -> u64 {
        // One that is due at the very next event may be missed (Linux, "quirk: some
        // CPUs don't like a period of 1").
        const LEAST: u64 = 2;
        if self.interface.is_amd() || self.family != 6 {
            return LEAST;
        }
        let is_instructions =
            matches!(native.select, Some(0x00c0 | 0x01c0)) || native.fixed == Some(0);
        let row = LEAST_COUNTS
            .iter()
            .find(|row| row.models.contains(&self.model));
        match row {
            Some(row) if is_instructions => row.instructions,
            Some(row) => row.others,
            None => LEAST,
        }
    }
}

/// On certain processors of Intel's family 6, an overflow that is due after fewer events
/// may not come, or come late.
struct LeastCount {
    models: &'static [u32],
    /// Of INST_RETIRED.
    instructions: u64,
    /// Of any other event.
    others: u64,
}

/// From the specification updates, and from Linux, which found the others by trying
/// (`nhm_limit_period`, `hsw_limit_period`, `bdw_limit_period`).
///
/// Linux also clears the low six bits of what INST_RETIRED is loaded with on Broadwell
/// (BDM55). That is left out: rounded down, each overflow would come before its event is
/// due, and the rest is less than the least, so that the sample would be late. What is
/// counted is exact with or without it.
const LEAST_COUNTS: [LeastCount; 3] = [
    // Nehalem, and Westmere, which has the same counters and which Linux does not limit.
    LeastCount {
        models: &[0x1a, 0x1e, 0x1f, 0x2e, 0x25, 0x2c, 0x2f],
        instructions: 32,
        others: 32,
    },
    // Haswell (HSW11).
    LeastCount {
        models: &[0x3c, 0x3f, 0x45, 0x46],
        instructions: 128,
        others: 32,
    },
    // Broadwell (BDM11, BDE11).
    LeastCount {
        models: &[0x3d, 0x47, 0x4f, 0x56],
        instructions: 128,
        others: 2,
    },
];

/// The counters of family 15h, a bit each, that count the event with this number: each
/// unit of the core reaches some of them (BKDG for family 15h models 00h-0Fh, "Performance
/// Counter Events", PERF_CTL of each; Linux, `amd_get_event_constraints_f15h`).
const fn family_15h_counters(event: u16) -> u32 {
    match event {
        // Exceptions.
        0x023 | 0x031 | 0x043 | 0x045 | 0x046 | 0x054 | 0x055 => 0b111,
        // Two of these may have more, by their unit masks.
        0x000 | 0x003 | 0x004 | 0x00b | 0x00d | 0x02d => 0b1000,
        0x02e => 0b1001,
        0x08f | 0x187 | 0x188 => 0b1,
        0x0db..=0x0df | 0x1d6 | 0x1d8 => 0b11_1111,
        0x1c0 => 0b11_1000,
        _ => match event & 0xf0 {
            // The floating-point unit.
            0x00 | 0x10 => 0b11_1000,
            // The cache that two cores share, fetching and decoding.
            0x60..=0x90 | 0xd0 => 0b111,
            // The northbridge, which has counters of its own.
            0xe0 | 0xf0 => 0,
            _ => 0b11_1111,
        },
    }
}
