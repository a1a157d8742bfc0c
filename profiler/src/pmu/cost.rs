//! What an interrupt costs in events, as measured, and how an event is sampled by that.
//!
//! A kernel makes two kinds of trials on each core before it samples:
//!
//! * *Interrupts in a row*, each of which comes as the handler of the one before
//!   returns. What an event counts from one handler to the next is its *overhead*: on
//!   the way out of a handler and into the next one, and nothing of any other code. They are
//!   made twice: while all other cores halt (*at rest*), and while all of them make the same
//!   trial (*busy*).
//! * *Overflows*, for which a core waits. Where one interrupts, past the overhead, says
//!   by how many events it was early; an overflow is put off by that *latency of arming*. One that
//!   was late is brought forward likewise if all were, by the same number: else it varies with the
//!   code, and some would come too early.
//!
//! Overheads vary on real hardware. The mean of the busy ones is subtracted: a mean, so that
//! errors do not add up; a busy one, as all cores sample at the same time in a run, and the
//! threads of one physical core share its caches and its front end. One number for the whole
//! run, so that its periods can be compared with each other. A count within the range of all
//! overheads, the *spread*, does not show that the interrupted code has moved. So the spread
//! has in it by how much the two trials differ: by so much may the world of the run differ
//! from either. The *shortest period* is four
//! times that: an interrupt may come late by one spread, so that there is less left to the
//! next, and that is to be more than one is ever taken to be off by.
//!
//! Where instructions are counted, both trials count the same ones, on whichever core and in
//! whatever order: the spread is 0, and all of this is exact.
//!
//! What an overhead is while the run lasts is checked now and then
//! ([`super::driver`]), and reported beside these.

use super::plan::Assignment;

/// One in this many overheads may be an outlier: more than twice the median, as something
/// else came in between.
const OUTLIER_RATIO: usize = 8;

/// What an interrupt costs in an event, on one core.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Cost {
    /// Events on the way out of a handler and into the next one, in the mean, while all
    /// cores take interrupts. This is subtracted.
    pub overhead: u64,
    /// The same while the other cores halt.
    pub at_rest: u64,
    /// The shortest of all these overheads.
    pub least: u64,
    /// The longest, without outliers.
    pub most: u64,
    /// Events by which an overflow is to be put off, so that none interrupts before it
    /// is due; or below zero, to be brought forward.
    pub arm_latency: i64,
}

/// By how many events the overflows of trials were early; late ones, by less than none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Leads {
    /// The most and the least.
    range: Option<(i64, i64)>,
}

impl Leads {
    /// An overflow which was due at the position `due` has interrupted at `position`.
    pub fn record(&mut self, due: u64, position: u64) {
        let lead = due.wrapping_sub(position).cast_signed();
        let (most, least) = self.range.unwrap_or((lead, lead));
        self.range = Some((most.max(lead), least.min(lead)));
    }

    /// Returns true if none has come.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.range.is_none()
    }

    /// What an overflow is put off by. The earliest counts: the interrupts of others were late.
    #[must_use]
    pub const fn arm_latency(self) -> i64 {
        match self.range {
            Some((most, least)) if most >= 0 || most == least => most,
            _ => 0,
        }
    }
}

impl Cost {
    /// The overhead, from what an event has counted between interrupts in a row. Sorts
    /// them. Without any, it costs nothing.
    #[must_use]
    pub fn from_overheads(overheads: &mut [u64]) -> Self {
        overheads.sort_unstable();
        let count = overheads.len();
        let is_long = |overhead: &&u64| **overhead / 2 > overheads[count / 2];
        let outliers = overheads.iter().filter(is_long).count();
        let believed = &overheads[..count - outliers.min(count / OUTLIER_RATIO)];
        let (Some(&least), Some(&most)) = (believed.first(), believed.last()) else {
            return Self::default();
        };
        let (sum, count) = (believed.iter().sum::<u64>(), believed.len() as u64);
        // To the nearest.
        let overhead = (sum + count / 2) / count;
        Self {
            overhead,
            at_rest: overhead,
            least,
            most,
            arm_latency: 0,
        }
    }

    /// Takes into account the overheads of a trial while the other cores halt; this one is
    /// that of all cores.
    #[must_use]
    pub fn with_rest(self, overheads: &mut [u64]) -> Self {
        let rest = Self::from_overheads(overheads);
        Self {
            at_rest: rest.overhead,
            least: self.least.min(rest.least),
            most: self.most.max(rest.most),
            ..self
        }
    }

    /// What is subtracted in a trial while the other cores halt.
    #[must_use]
    pub const fn resting(self) -> Self {
        Self {
            overhead: self.at_rest,
            ..self
        }
    }

    /// The range of the overheads.
    #[must_use]
    pub const fn spread(&self) -> u64 {
        self.most - self.least
    }

    /// The shortest period that is known to make progress, of an event whose overflows
    /// come reliably after `min_count` events.
    #[must_use]
    pub fn min_period(&self, min_count: u64) -> u64 {
        (4 * self.spread()).max(min_count)
    }

    /// Fills in how an event is sampled: once in `period` events, each time displaced at
    /// random by up to `jitter` percent of that.
    pub fn apply_to(&self, assignment: &mut Assignment, period: u64, jitter: u8) {
        assignment.overhead = self.overhead;
        assignment.arm_latency = self.arm_latency;
        assignment.noise = self.spread();
        // An interrupt more for the last few events costs more than it is worth.
        assignment.tolerance = self.spread();
        assignment.period = Some(period);
        assignment.jitter = period * u64::from(jitter) / 100;
    }
}
