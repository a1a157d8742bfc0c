//! What can be changed of a run while it goes on: see [`super::requests`].

use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use super::latest::Latest;
use super::source::pmu::Jitter;
use crate::pmu::event::EventList;

/// What can be changed of a run. Written by the first core.
pub(crate) struct Control {
    events: Latest<EventList>,
    /// Of events that have none of their own.
    pub period: AtomicU64,
    pub jitter: Jitter,
    /// The number of the first event that is counted now.
    first_event: AtomicU8,
    /// The number of events.
    event_count: AtomicU8,
}

impl Control {
    pub(crate) fn new(events: EventList, event_count: u8, period: u64, jitter: Jitter) -> Self {
        let control = Self {
            events: Latest::new(),
            period: AtomicU64::new(period),
            jitter,
            first_event: AtomicU8::new(0),
            event_count: AtomicU8::new(event_count),
        };
        control.set_events(events);
        control
    }

    /// The number of the first event that is counted now.
    #[inline]
    pub(crate) fn first_event(&self) -> u8 {
        self.first_event.load(Ordering::Relaxed)
    }

    pub(crate) fn events(&self) -> EventList {
        *self.events.current().expect("set from the start on")
    }

    fn set_events(&self, events: EventList) {
        // SAFETY: the first core alone sets and reads them, one after the other.
        unsafe { self.events.set(events) };
    }

    /// The first of the numbers of `count` new events, if enough are left.
    pub(crate) fn next_event(&self, count: u8) -> Option<u8> {
        let first = self.first_event() + self.event_count.load(Ordering::Relaxed);
        let end = first.checked_add(count)?;
        (end != u8::MAX).then_some(first)
    }

    /// From now on events are counted as `measured`, which have numbers from `first` on.
    pub(crate) fn change(&self, events: EventList, period: u64, first: u8, count: u8) {
        self.set_events(events);
        self.period.store(period, Ordering::Relaxed);
        self.first_event.store(first, Ordering::Relaxed);
        self.event_count.store(count, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::{Control, Jitter, Ordering};
    use crate::sampler::source::pmu::DEFAULT_EVENTS;

    fn control(event_count: u8) -> Control {
        let jitter = Jitter {
            percent: 0,
            seed: 0,
        };
        Control::new(DEFAULT_EVENTS, event_count, 1000, jitter)
    }

    #[test]
    fn each_change_numbers_its_events_behind_those_before() {
        let control = control(3);
        assert_eq!(control.first_event(), 0);
        assert_eq!(control.next_event(2), Some(3));
        control.change(DEFAULT_EVENTS, 700, 3, 2);
        assert_eq!(control.first_event(), 3);
        assert_eq!(control.period.load(Ordering::Relaxed), 700);
        assert_eq!(control.next_event(1), Some(5));
    }

    #[test]
    fn numbers_end() {
        let control = control(1);
        control.change(DEFAULT_EVENTS, 1000, 250, 2);
        // 252 and 253 are left: aimed overflows have 255, and 254 is never given.
        assert_eq!(control.next_event(2), Some(252));
        assert_eq!(control.next_event(3), None);
        assert_eq!(control.next_event(4), None);
    }
}
