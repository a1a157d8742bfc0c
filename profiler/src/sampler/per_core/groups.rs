//! The groups of events that a core counts in turn, where its handler reads them.

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicU8, Ordering::Relaxed};

use crate::pmu::event::MAX_EVENTS;
use crate::pmu::multiplex::Group;

/// A core's groups, and which of them its handler sees.
///
/// Only the core itself writes and reads them, and it writes none that its handler sees.
/// All zeros: it sees none.
pub(crate) struct CoreGroups {
    groups: UnsafeCell<[MaybeUninit<Group>; MAX_EVENTS]>,
    /// The first that the handler sees.
    first: AtomicU8,
    /// The number of groups that it sees.
    count: AtomicU8,
}

// SAFETY: used on one core only (said above); what is shared are atomics.
unsafe impl Sync for CoreGroups {}

impl CoreGroups {
    /// What the handler sees.
    #[inline]
    pub(crate) fn seen(&self) -> &[Group] {
        let (first, count) = (self.first.load(Relaxed), self.count.load(Relaxed));
        let groups = self.groups.get().cast::<Group>();
        let groups = groups.wrapping_add(first.into());
        // SAFETY: within the array: those were put, and they are not changed.
        unsafe { core::slice::from_raw_parts(groups, count.into()) }
    }

    /// Puts `group` at `place`, and lets the handler see that one alone.
    ///
    /// # Panics
    ///
    /// If there is no such place.
    pub(crate) fn put(&self, place: usize, group: Group) {
        assert!(place < MAX_EVENTS, "a group has an event at least");
        self.count.store(0, Relaxed);
        let groups = self.groups.get().cast::<MaybeUninit<Group>>();
        let group_at = groups.wrapping_add(place);
        // SAFETY: within the array, and the handler sees none.
        unsafe { group_at.write(MaybeUninit::new(group)) };
        self.first.store(place.to_le_bytes()[0], Relaxed);
        self.count.store(1, Relaxed);
    }

    /// Lets the handler see the first `count` groups, all of which were put.
    pub(crate) fn show_first(&self, count: usize) {
        self.first.store(0, Relaxed);
        self.count.store(count.to_le_bytes()[0], Relaxed);
    }
}
