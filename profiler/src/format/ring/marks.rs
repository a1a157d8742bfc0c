//! Where some of a ring's records begin: so that its older ones can be found, whether a reader has
//! copied them or not. A record says how long it is, and nothing how long the one before it was.

use core::sync::atomic::{AtomicU64, Ordering, fence};

use crate::format::sample::compact::Context;

/// Marks that are kept. The oldest ones are of units that have been overwritten.
const MARKS: usize = 16;

/// How far two of them are apart, at least: this part of the ring.
const APART: u64 = 8;

/// The position of a mark that is being written.
const NONE: u64 = u64::MAX;

/// There is no context at a mark: the record that begins there is a wide sample, or no sample.
const NO_CONTEXT: u64 = 1 << 32;

/// The position at which a record begins, and what is known before it.
struct Mark {
    position: AtomicU64,
    time: AtomicU64,
    sp: AtomicU64,
    next: AtomicU64,
}

/// The newest marks of a ring, written by its core alone, in the outermost write.
pub(super) struct Marks {
    marks: [Mark; MARKS],
    /// The number of those that were made.
    made: AtomicU64,
    /// The first position that is to have the next one.
    due: AtomicU64,
}

impl Marks {
    /// Those of an empty ring: whatever is written first begins at its start, in a write that nests in
    /// the outermost one too.
    pub(super) const fn new() -> Self {
        let mut marks = [const { Mark::none() }; MARKS];
        marks[0] = Mark::first();
        Self {
            marks,
            made: AtomicU64::new(1),
            due: AtomicU64::new(0),
        }
    }

    /// Returns true if a write from `start` on is to make a mark first.
    #[inline]
    pub(super) fn is_due(&self, start: u64) -> bool {
        start >= self.due.load(Ordering::Relaxed)
    }

    /// A record begins at `start`, behind which the context is this one. In a ring of so many units.
    pub(super) fn add(&self, start: u64, context: Option<Context>, units: u64) {
        let made = self.made.load(Ordering::Relaxed);
        #[allow(clippy::cast_possible_truncation)] // less than that
        let mark = &self.marks[made as usize % MARKS];
        let next = context.map_or(NO_CONTEXT, |it| it.next.into());
        let Context { time, sp, .. } = context.unwrap_or_default();
        mark.position.store(NONE, Ordering::Relaxed);
        // Who sees any of the new values sees that as well.
        fence(Ordering::Release);
        mark.time.store(time, Ordering::Relaxed);
        mark.sp.store(sp, Ordering::Relaxed);
        mark.next.store(next, Ordering::Relaxed);
        mark.position.store(start, Ordering::Release);
        self.made.store(made + 1, Ordering::Relaxed);
        self.due.store(start + units / APART, Ordering::Relaxed);
    }

    /// The first mark from `position` on, on whatever core.
    pub(super) fn first_from(&self, position: u64) -> Option<(u64, Option<Context>)> {
        let marks = self.marks.iter().filter_map(Mark::read);
        let later = marks.filter(|&(found, _)| found >= position);
        later.min_by_key(|&(found, _)| found)
    }
}

impl Mark {
    const fn none() -> Self {
        Self {
            position: AtomicU64::new(NONE),
            time: AtomicU64::new(0),
            sp: AtomicU64::new(0),
            next: AtomicU64::new(0),
        }
    }

    const fn first() -> Self {
        Self {
            position: AtomicU64::new(0),
            next: AtomicU64::new(NO_CONTEXT),
            ..Self::none()
        }
    }

    fn read(&self) -> Option<(u64, Option<Context>)> {
        let position = self.position.load(Ordering::Acquire);
        let next = self.next.load(Ordering::Relaxed);
        #[allow(clippy::cast_possible_truncation)] // checked
        let context = (next < NO_CONTEXT).then_some(Context {
            time: self.time.load(Ordering::Relaxed),
            sp: self.sp.load(Ordering::Relaxed),
            next: next as u32,
        });
        fence(Ordering::Acquire);
        let is_whole = position != NONE && self.position.load(Ordering::Relaxed) == position;
        is_whole.then_some((position, context))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_marks_are_kept_with_what_is_known_there() {
        let marks = Marks::new();
        assert_eq!(marks.first_from(0), Some((0, None)));
        assert_eq!(marks.first_from(1), None);
        assert!(marks.is_due(0));
        marks.add(0, None, 800);
        assert!(!marks.is_due(99) && marks.is_due(100));
        assert_eq!(marks.first_from(0), Some((0, None)));
        let context = |number: u64| Context {
            time: number,
            sp: number + 1,
            next: u32::MAX,
        };
        for number in 1..40 {
            marks.add(number * 100, Some(context(number)), 800);
        }
        // Forty were made.
        assert_eq!(marks.first_from(0), Some((2400, Some(context(24)))));
        assert_eq!(marks.first_from(3801), Some((3900, Some(context(39)))));
        assert_eq!(marks.first_from(3901), None);
    }
}
