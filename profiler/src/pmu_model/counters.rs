//! How a counter counts: SDM vol. 3, "Architectural Performance Monitoring Version
//! 1 Facilities"; APM vol. 2, 13.2.1.

use super::events::{Cycle, Event, Privilege};
use super::kinds::Model;

/// A counter's content.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Counter {
    /// Its value, of its width.
    pub value: u64,
    /// How much it has ever counted.
    pub counted: u64,
    /// How often it has wrapped.
    pub wraps: u64,
    /// True if its condition held in the cycle before: EDGE compares with that.
    asserted: bool,
}

impl Counter {
    /// Counts what is due in a cycle, and says whether it wrapped.
    pub(super) fn count(&mut self, wanted: &Wanted, cycle: &Cycle<'_>, width: u8) -> bool {
        let (increment, asserted) = wanted.increment(cycle, self.asserted);
        self.asserted = asserted;
        self.counted += u64::from(increment);
        let sum = self.value + u64::from(increment);
        self.value = sum & ((1 << width) - 1);
        let wrapped = sum >> width != 0;
        self.wraps += u64::from(wrapped);
        wrapped
    }

    /// How many more cycles like the one just counted it can take without a wrap,
    /// and what it counts in each.
    pub(super) fn quiet(&self, wanted: &Wanted, cycle: &Cycle<'_>, width: u8) -> (u64, u64) {
        let increment = u64::from(wanted.increment(cycle, self.asserted).0);
        let room = (1 << width) - 1 - self.value;
        (room.checked_div(increment).unwrap_or(u64::MAX), increment)
    }

    /// Counts what [`Self::quiet`] returned, this many times.
    pub(super) fn add(&mut self, increment: u64, cycles: u64) {
        self.counted += increment * cycles;
        self.value += increment * cycles;
    }

    /// It does not count for a while: the condition does not hold.
    pub(super) fn pause(&mut self) {
        self.asserted = false;
    }
}

/// What a counter counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    event: Event,
    user: bool,
    kernel: bool,
    edge: bool,
    invert: bool,
    equal: bool,
    mask: u32,
    /// An overflow interrupts.
    pub interrupt: bool,
}

impl Wanted {
    /// What an event select says; `None`: nothing.
    pub(super) fn select(model: &Model, select: u64) -> Option<Self> {
        let bit = |number: u32| select >> number & 1 != 0;
        let is_intel = model.version().is_some();
        // HG_ONLY 01: in guests only, of which this is none.
        let guest_only = !is_intel && select >> 40 & 0b11 == 0b01;
        (bit(22) && !guest_only).then(|| Self {
            event: model.selected(select),
            user: bit(16),
            kernel: bit(17),
            edge: bit(18),
            invert: bit(23),
            equal: is_intel && bit(36),
            mask: u32::from(select.to_le_bytes()[3]),
            interrupt: bit(20),
        })
    }

    /// What a fixed counter's field says; `None`: nothing.
    pub(super) fn fixed(number: u8, control: u64) -> Option<Self> {
        let field = control >> (number * 4) & 0xf;
        (field & 0b11 != 0).then(|| Self {
            event: Model::fixed_event(number),
            user: field & 0b10 != 0,
            kernel: field & 0b01 != 0,
            edge: false,
            invert: false,
            equal: false,
            mask: 0,
            interrupt: field & 0b1000 != 0,
        })
    }

    /// What is counted in a cycle, and whether the condition holds in it.
    ///
    /// With a counter mask it is the cycle that is counted, if there are that many
    /// occurrences or more (EQUAL: exactly that many); INVERT reverses that. Without one both
    /// are ignored. EDGE counts the cycles in which the condition, with all the rest
    /// of the select, begins to hold.
    fn increment(&self, cycle: &Cycle<'_>, was_asserted: bool) -> (u32, bool) {
        let counts = match cycle.privilege {
            Privilege::Kernel => self.kernel,
            Privilege::User => self.user,
        };
        if !counts {
            return (0, false);
        }
        let occurrences = cycle.occurrences(self.event);
        let increment = if self.mask == 0 {
            occurrences
        } else {
            let holds = if self.equal {
                occurrences == self.mask
            } else {
                occurrences >= self.mask
            };
            u32::from(holds != self.invert)
        };
        let asserted = increment != 0;
        if self.edge {
            (u32::from(asserted && !was_asserted), asserted)
        } else {
            (increment, asserted)
        }
    }
}
