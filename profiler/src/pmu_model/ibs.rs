//! Instruction-Based Sampling of ops: APM vol. 2, 13.3; PPR for family 19h, MSRs C001_1033h
//! and on.
//!
//! A cycle has no address. Its number, by [`super::Core::now`], stands for that, with
//! [`OUTSIDE`] if it is none of the program's.
//!
//! Where the manual leaves something open, this is as strict as it allows: a sample's registers
//! are spoiled when its valid bit is cleared.

use super::events::{Cycle, Event};

/// The bit by which its interrupts are told from those of counters.
pub const BIT: u8 = 47;

/// In an address: it is of a handler, or on the way in or out.
pub const OUTSIDE: u64 = 1 << 63;
/// What the registers hold once the valid bit was cleared.
const SPOILED: u64 = 0x5bad_5bad;

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
    pub dispatch: Dispatch,
    /// Of so many tagged ops one does not retire; 0: all do.
    pub abort_each: u64,
    /// The count is zero, whatever is written.
    pub forgets: bool,
    tags: u64,
}

/// How many ops are dispatched for each that retires: those of wrong paths as well.
#[derive(Clone, Debug)]
pub(super) struct Dispatch {
    pub percent: u64,
    /// Hundredths of one, up to now.
    part: u64,
}

impl Default for Dispatch {
    fn default() -> Self {
        Self {
            percent: 100,
            part: 0,
        }
    }
}

impl Dispatch {
    fn count(&mut self, retired: u64) -> u64 {
        let parts = self.part + retired * self.percent;
        self.part = parts % 100;
        parts / 100
    }
}

impl Ibs {
    pub(super) const fn control(&self) -> u64 {
        self.control | self.count << COUNT_SHIFT
    }

    pub(super) fn set_control(&mut self, value: u64) {
        if self.control & VALID != 0 && value & VALID == 0 {
            self.address = SPOILED;
            self.data = SPOILED;
        }
        self.control = value & !(COUNT << COUNT_SHIFT);
        self.count = if self.forgets {
            0
        } else {
            value >> COUNT_SHIFT & COUNT
        };
    }

    /// The maximum, if it counts up to one.
    fn max(&self) -> Option<u64> {
        let max = (self.control & MAX_LOW) << 4 | self.control & MAX_HIGH;
        let counts = self.control & (ENABLE | VALID) == ENABLE;
        assert!(!counts || max >= 9 << 4, "IbsOpMaxCnt is reserved below 9");
        counts.then_some(max)
    }

    /// What so many of these cycles add to the count.
    fn increment(&mut self, cycle: &Cycle<'_>, cycles: u64) -> u64 {
        if self.control & COUNT_OPS == 0 {
            return u64::from(cycle.occurrences(Event::Cycles)) * cycles;
        }
        let retired = u64::from(cycle.occurrences(Event::Raw(0xc1))) * cycles;
        self.dispatch.count(retired)
    }

    /// Counts a cycle, which has this number. Returns true if its op is sampled.
    pub(super) fn count(&mut self, cycle: &Cycle<'_>, now: u64, is_program: bool) -> bool {
        let Some(max) = self.max() else {
            return false;
        };
        self.count += self.increment(cycle, 1);
        if self.count < max {
            return false;
        }
        // Its low bits are random from here on.
        self.count = now & 0x7f;
        self.tags += 1;
        if self.abort_each != 0 && self.tags.is_multiple_of(self.abort_each) {
            return false;
        }
        self.control |= VALID;
        let address = if is_program { now } else { now | OUTSIDE };
        self.address = if self.has_no_address { 0 } else { address };
        self.data = if self.has_no_address { INVALID } else { 0 };
        true
    }

    /// How many more cycles like this one bring no sample.
    pub(super) fn quiet(&self, cycle: &Cycle<'_>) -> u64 {
        let Some(max) = self.max() else {
            return u64::MAX;
        };
        let room = (max - 1).saturating_sub(self.count);
        // What a hundred of them add, so that there are no parts of one.
        let hundred = self.clone().increment(cycle, 100);
        (room * 100).checked_div(hundred).unwrap_or(u64::MAX)
    }

    /// Counts so many of these.
    pub(super) fn add(&mut self, cycle: &Cycle<'_>, cycles: u64) {
        if self.max().is_some() {
            self.count += self.increment(cycle, cycles);
        }
    }
}
