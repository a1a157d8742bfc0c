//! What a core has counted of each process.

use core::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, AtomicU64, Ordering::Relaxed};

use crate::format::count::Reading;
use crate::pmu::event::MAX_EVENTS;

/// The processes whose counts a core keeps. Another one has the place of one before it, whose counts are
/// handed out then.
const ROWS: usize = 8;

/// How often each event has happened.
struct Row {
    /// The process's number, and one more; 0: the row is of none.
    used_for: AtomicU32,
    enabled: AtomicU64,
    counts: [AtomicU64; MAX_EVENTS],
    running: [AtomicU64; MAX_EVENTS],
}

/// The counts of a core's processes. Written by that core. All zeros: nothing is counted.
pub(crate) struct ProcessCounts {
    is_on: AtomicBool,
    /// The process that runs.
    current: AtomicU16,
    /// The process that is to run from the next change on.
    next: AtomicU16,
    rows: [Row; ROWS],
    /// What there was at the last change.
    before: Row,
}

/// Takes a process's part of an event: its number, the event's, and the part.
pub(crate) type Take<'a> = &'a mut dyn FnMut(u16, usize, Reading);

impl Row {
    fn reading(&self, event: usize) -> Reading {
        Reading {
            count: self.counts[event].load(Relaxed),
            enabled: self.enabled.load(Relaxed),
            running: self.running[event].load(Relaxed),
        }
    }

    fn set(&self, event: usize, reading: Reading) {
        self.counts[event].store(reading.count, Relaxed);
        self.enabled.store(reading.enabled, Relaxed);
        self.running[event].store(reading.running, Relaxed);
    }

    /// Empties it, and hands out what it has of so many events.
    fn hand_out(&self, events: usize, take: Take<'_>) {
        let Some(number) = self.used_for.swap(0, Relaxed).checked_sub(1) else {
            return;
        };
        let number = number.to_le_bytes();
        let number = u16::from_le_bytes([number[0], number[1]]);
        for event in 0..events.min(MAX_EVENTS) {
            take(number, event, self.reading(event));
        }
        self.clear();
    }

    fn clear(&self) {
        for event in 0..MAX_EVENTS {
            self.set(event, Reading::default());
        }
    }
}

impl ProcessCounts {
    /// Counts by process from now on, where nothing has been counted yet.
    pub(crate) fn begin(&self) {
        self.before.clear();
        for row in &self.rows {
            row.used_for.store(0, Relaxed);
            row.clear();
        }
        self.current.store(self.next.load(Relaxed), Relaxed);
        self.is_on.store(true, Relaxed);
    }

    /// Returns true behind [`Self::begin`] and before [`Self::end`].
    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.is_on.load(Relaxed)
    }

    /// Says which process runs behind the next change.
    #[inline]
    pub(crate) fn set_next(&self, number: u16) {
        self.next.store(number, Relaxed);
    }

    /// What was counted since the last change, of so many events whose totals are these, is of the process
    /// that ran; now the next one does.
    pub(crate) fn change(&self, total: impl Fn(usize) -> Reading, events: usize, take: Take<'_>) {
        let number = self.current.swap(self.next.load(Relaxed), Relaxed);
        let row = &self.rows[usize::from(number) % ROWS];
        let used_for = u32::from(number) + 1;
        if row.used_for.load(Relaxed) != used_for {
            row.hand_out(events, take);
            row.used_for.store(used_for, Relaxed);
        }
        // What is taken off for the way through may be more than what was added.
        let enabled = total(0)
            .enabled
            .saturating_sub(self.before.enabled.load(Relaxed));
        let all = row.enabled.load(Relaxed) + enabled;
        for event in 0..events.min(MAX_EVENTS) {
            let (total, before) = (total(event), self.before.reading(event));
            let so_far = row.reading(event);
            row.set(
                event,
                Reading {
                    count: so_far.count + total.count.saturating_sub(before.count),
                    enabled: all,
                    running: so_far.running + total.running.saturating_sub(before.running),
                },
            );
        }
        for event in 0..events.min(MAX_EVENTS) {
            self.before.set(event, total(event));
        }
    }

    /// Hands all out, behind the last change.
    pub(crate) fn end(&self, events: usize, take: Take<'_>) {
        self.is_on.store(false, Relaxed);
        for row in &self.rows {
            row.hand_out(events, take);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn zeros() -> ProcessCounts {
        // SAFETY: numbers, all of them atomics.
        unsafe { core::mem::MaybeUninit::zeroed().assume_init() }
    }

    /// Twenty processes in turn, in a few rows: what is handed out adds up to each one's.
    #[test]
    fn parts_add_up_to_each_processs_counts() {
        let counts = zeros();
        let mut found: BTreeMap<(u16, usize), [u64; 3]> = BTreeMap::new();
        let mut take = |number: u16, event: usize, part: Reading| {
            let sum = found.entry((number, event)).or_default();
            for (sum, part) in sum.iter_mut().zip([part.count, part.enabled, part.running]) {
                *sum += part;
            }
        };
        counts.set_next(0);
        counts.begin();
        let mut expected: BTreeMap<(u16, usize), [u64; 3]> = BTreeMap::new();
        let mut totals = [Reading::default(); 2];
        let mut running = 0;
        for turn in 1..200_u64 {
            for (event, total) in totals.iter_mut().enumerate() {
                // The second event has a counter in every other turn.
                let has_counter = event == 0 || turn % 2 == 0;
                let part = [turn * 3, turn, turn].map(|it| if has_counter { it } else { 0 });
                total.count += part[0];
                total.enabled += turn;
                total.running += part[2];
                let sum = expected.entry((running, event)).or_default();
                sum[0] += part[0];
                sum[1] += turn;
                sum[2] += part[2];
            }
            let next = u16::try_from(turn * 7 % 20).unwrap();
            counts.set_next(next);
            counts.change(|event| totals[event], 2, &mut take);
            running = next;
        }
        counts.end(2, &mut take);
        assert!(!counts.is_on());
        assert_eq!(found, expected);
    }
}
