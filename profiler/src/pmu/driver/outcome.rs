//! What an interrupt found.

use crate::pmu::event::MAX_EVENTS;

/// What an interrupt found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Interrupt {
    /// The PMU does not run.
    Off,
    /// It does not run any more; what it has sampled last may interrupt yet, as this one.
    OffLate,
    /// It interrupted a function of the driver.
    Busy,
    /// These events have overflowed, if any. The counters are stopped until
    /// [`PmuDriver::resume`].
    Stopped(Overflows, Cause),
}

/// Why an interrupt came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// A counter wrapped: at an overflow, or on the way to one.
    Counter,
    /// For an overflow that an earlier handler may have handled.
    Late,
    /// A check's: see [`PmuDriver::checked`].
    Check,
    /// For something else than the PMU.
    Other,
}

/// Events that have overflowed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Overflows(
    /// A bit each, by place in the plan's list.
    pub(super) u16,
);

impl Overflows {
    /// Returns true if there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The first event alone.
    pub const FIRST: Self = Self(1);

    /// A bit each, by place in the plan's list.
    #[must_use]
    #[inline]
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// Those with these bits.
    #[must_use]
    pub const fn of_bits(bits: u16) -> Self {
        Self(bits)
    }

    /// The place of the first one.
    #[inline]
    pub fn first(self) -> Option<u8> {
        (self.0 != 0).then(|| self.0.trailing_zeros().to_le_bytes()[0])
    }

    /// All but the first one.
    #[inline]
    #[must_use]
    pub const fn without_first(self) -> Self {
        Self(self.0 & self.0.wrapping_sub(1))
    }

    /// The places of the events in the plan's list, the first one first.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..MAX_EVENTS).filter(move |event| self.0 >> event & 1 != 0)
    }
}

/// An event's overflow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Overflow {
    /// Events of the interrupted code since the overflow before.
    pub ran: u64,
    /// Overflows merged into this one.
    pub missed: u64,
}
