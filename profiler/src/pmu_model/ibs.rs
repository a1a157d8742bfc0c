//! Instruction-Based Sampling of ops: APM vol. 2, 13.3; PPR for family 19h, MSRs C001_1033h
//! and on.
//!
//! A cycle has no address. Its number, by [`super::Core::now`], stands for that.

use super::events::{Cycle, Event};

/// The bit by which its interrupts are told from those of counters.
pub const BIT: u8 = 47;

/// IbsOpEn.
const ENABLE: u64 = 1 << 17;
/// IbsOpVal.
const VALID: u64 = 1 << 18;
/// IbsOpCntCtl.
const COUNT_OPS: u64 = 1 << 19;
/// Both parts of the maximum.
const MAX_LOW: u64 = 0xffff;
const MAX_HIGH: u64 = 0x7f << 20;
/// The count's place and bits.
const COUNT_SHIFT: u32 = 32;
const COUNT: u64 = (1 << 27) - 1;
/// IbsRipInvalid.
const INVALID: u64 = 1 << 38;
/// All that can be written to IbsOpCtl.
pub const BITS: u64 = ENABLE | VALID | COUNT_OPS | MAX_LOW | MAX_HIGH | COUNT << COUNT_SHIFT;

/// Its registers.
#[derive(Clone, Default, Debug)]
pub(super) struct Ibs {
    /// IbsOpCtl but for the count.
    control: u64,
    count: u64,
    pub address: u64,
    pub data: u64,
    /// The next samples have no address.
    pub has_no_address: bool,
}

impl Ibs {
    pub(super) const fn control(&self) -> u64 {
        self.control | self.count << COUNT_SHIFT
    }

    pub(super) fn set_control(&mut self, value: u64) {
        self.control = value & !(COUNT << COUNT_SHIFT);
        self.count = value >> COUNT_SHIFT & COUNT;
    }

    /// The maximum, if it counts up to one.
    fn max(&self) -> Option<u64> {
        let max = (self.control & MAX_LOW) << 4 | self.control & MAX_HIGH;
        let counts = self.control & (ENABLE | VALID) == ENABLE;
        assert!(!counts || max >= 9 << 4, "IbsOpMaxCnt is reserved below 9");
        counts.then_some(max)
    }

    fn increment(&self, cycle: &Cycle<'_>) -> u64 {
        let event = if self.control & COUNT_OPS == 0 {
            Event::Cycles
        } else {
            Event::Raw(0xc1)
        };
        cycle.occurrences(event).into()
    }

    /// Counts a cycle, which has this number. Returns true if its op is sampled.
    pub(super) fn count(&mut self, cycle: &Cycle<'_>, now: u64) -> bool {
        let Some(max) = self.max() else {
            return false;
        };
        self.count += self.increment(cycle);
        if self.count < max {
            return false;
        }
        self.control |= VALID;
        self.address = if self.has_no_address { 0 } else { now };
        self.data = if self.has_no_address { INVALID } else { 0 };
        // Its low bits are random from here on.
        self.count = now & 0x7f;
        true
    }

    /// How many more cycles like this one bring no sample.
    pub(super) fn quiet(&self, cycle: &Cycle<'_>) -> u64 {
        let room = self.max().map(|max| (max - 1).saturating_sub(self.count));
        let quiet = room.and_then(|room| room.checked_div(self.increment(cycle)));
        quiet.unwrap_or(u64::MAX)
    }

    /// Counts so many of these.
    pub(super) fn add(&mut self, cycle: &Cycle<'_>, cycles: u64) {
        if self.max().is_some() {
            self.count += self.increment(cycle) * cycles;
        }
    }
}
