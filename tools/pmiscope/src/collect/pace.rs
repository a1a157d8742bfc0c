//! How often the region is looked for.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// Between two searches at the least.
const SHORTEST: Duration = Duration::from_millis(20);

/// When the next search is due. One looks at all memory that was written to: on a large machine
/// it takes as long as [`SHORTEST`], and more.
pub struct Pace {
    /// How many times as long as a search the wait behind it is at the least.
    share: u32,
    next: Option<Instant>,
}

impl Pace {
    pub const fn new(share: u32) -> Self {
        Self { share, next: None }
    }

    /// Returns true if a search is due.
    pub fn is_due(&self, now: Instant) -> bool {
        self.next.is_none_or(|next| next <= now)
    }

    /// Makes a search, and puts off the next one.
    pub fn search<T>(&mut self, search: impl FnOnce() -> T) -> T {
        let before = processor_time();
        let found = search();
        self.ended(Instant::now(), processor_time().saturating_sub(before));
        found
    }

    /// Puts off the next search: one that took so long has ended `now`.
    fn ended(&mut self, now: Instant, took: Duration) {
        self.next = Some(now + SHORTEST.max(took * self.share));
    }
}

/// What this thread has taken of a processor: that it had to wait for one says nothing of a search.
fn processor_time() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime)
        .try_into()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);

    /// How long the wait behind a search is that took so long.
    fn wait(took: Duration) -> u32 {
        let now = Instant::now();
        let mut pace = Pace::new(9);
        assert!(pace.is_due(now), "the first search is due at once");
        pace.ended(now, took);
        let is_due = |after: &u32| pace.is_due(now + *after * MILLISECOND);
        (0..10_000).find(is_due).expect("a search")
    }

    #[test]
    fn the_wait_is_in_proportion_to_what_the_search_took() {
        for (took, expected) in [(0, 20), (1, 20), (2, 20), (3, 27), (20, 180), (300, 2_700)] {
            assert_eq!(wait(took * MILLISECOND), expected, "{took} ms");
        }
    }

    #[test]
    fn what_a_search_takes_is_measured() {
        let before = Instant::now();
        let begun = processor_time();
        let mut pace = Pace::new(9);
        pace.search(|| while processor_time() < begun + 20 * MILLISECOND {});
        assert!(!pace.is_due(before + 180 * MILLISECOND));
    }
}
