//! What an interrupt costs in events, from what was tried, and how an event is sampled
//! by that.
//!
//! A kernel tries two things on each core before it samples:
//!
//! * *Interrupts in a row*, each of which comes as the handler of the one before
//!   returns. What an event counts from one handler to the next is its *passage*: on
//!   the way out of a handler and into the next one, and nothing of any other code.
//! * *Overflows*, for which a core waits. Where one interrupts, past the passage, says
//!   by how many events it was early; an overflow is put off by that *lead*.
//!
//! No two passages are alike on real hardware. Their mean is what is taken off, so that
//! what it errs by does not add up; as many events as they differ by, the *spread*, do not
//! show that the interrupted code has moved. The *floor*, the shortest period, is four
//! times that: an interrupt may come late by one spread, so that there is less left to the
//! next, and that is to be more than one is ever taken to be off by.

use super::plan::Slot;

/// Of so many passages the longest is not believed if it is more than twice as long as the
/// one in the middle: something else came in between.
const AN_OUTLIER_IN: usize = 8;

/// What an interrupt costs in an event, on one core.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Cost {
    /// Events on the way out of a handler and into the next one, in the mean.
    pub passage: u64,
    /// By how many events the longest passage that is believed is longer than the shortest.
    pub spread: u64,
    /// Events by which an overflow is to be put off, so that none interrupts before it
    /// is due.
    pub lead: u64,
}

impl Cost {
    /// The passage and its spread, from what an event has counted between interrupts in
    /// a row. Sorts them. Without any, it costs nothing.
    #[must_use]
    pub fn of_passages(passages: &mut [u64]) -> Self {
        passages.sort_unstable();
        let count = passages.len();
        let is_long = |passage: &&u64| **passage / 2 > passages[count / 2];
        let outliers = passages.iter().filter(is_long).count();
        let believed = &passages[..count - outliers.min(count / AN_OUTLIER_IN)];
        let (Some(least), Some(most)) = (believed.first(), believed.last()) else {
            return Self::default();
        };
        let (sum, count) = (believed.iter().sum::<u64>(), believed.len() as u64);
        Self {
            // To the nearest.
            passage: (sum + count / 2) / count,
            spread: most - least,
            lead: 0,
        }
    }

    /// The same, and an overflow that was due at the position `due` has interrupted at
    /// `position`. Of several the earliest counts: the others' interrupts were late.
    pub fn note_overflow(&mut self, due: u64, position: u64) {
        self.lead = self.lead.max(due.saturating_sub(position));
    }

    /// The shortest period that is known to make progress, of an event whose overflows
    /// come reliably after `least` events.
    #[must_use]
    pub fn floor(&self, least: u64) -> u64 {
        (4 * self.spread).max(least)
    }

    /// Fills in how an event is sampled: once in `period` events, each time displaced at
    /// random by up to `jitter` percent of that.
    pub fn settle(&self, slot: &mut Slot, period: u64, jitter: u8) {
        slot.passage = self.passage;
        slot.lead = self.lead;
        slot.noise = self.spread;
        // An interrupt more for the last few events costs more than it is worth.
        slot.tolerance = self.spread;
        slot.period = Some(period);
        slot.jitter = period * u64::from(jitter) / 100;
    }
}
