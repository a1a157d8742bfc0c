//! A value that a handler can read while the next one is made.

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicU8, Ordering};

/// Places for a value each: the current one's, that of one which is to come back, and one
/// to write the next one to.
const PLACES: usize = 3;
/// No place: of all zeros nothing is current.
const NONE: u8 = 0;

/// A value that one core changes while another one's handlers may read it.
///
/// [`Self::set`] writes to a place that is neither current nor kept, so what a handler
/// has got from [`Self::current`] stays as it is until the value after next is set. The
/// counters of a core stand still whenever its value is set, and each value is tried or
/// used before the next is set; a handler that found the old one has ended by then.
pub(crate) struct Latest<T> {
    places: [UnsafeCell<MaybeUninit<T>>; PLACES],
    current: AtomicU8,
    kept: AtomicU8,
}

// SAFETY: a place is written by the one core that sets values (1 of `set`), while none
// reads it, as said above.
unsafe impl<T: Send + Sync> Sync for Latest<T> {}

impl<T: Copy> Latest<T> {
    pub(crate) const fn new() -> Self {
        Self {
            places: [const { UnsafeCell::new(MaybeUninit::uninit()) }; PLACES],
            current: AtomicU8::new(NONE),
            kept: AtomicU8::new(NONE),
        }
    }

    /// The current value, if there is one.
    #[inline]
    pub(crate) fn current(&self) -> Option<&T> {
        // Places are numbered from 1.
        let number = usize::from(self.current.load(Ordering::Acquire));
        let place = self.places.get(number.checked_sub(1)?)?;
        // SAFETY: it is not written while it is current or a handler may still read it.
        let place = unsafe { &*place.get() };
        // SAFETY: a current place was written before.
        Some(unsafe { place.assume_init_ref() })
    }

    /// Makes `value` the current one.
    ///
    /// # Safety
    ///
    /// 1. One core at a time sets values.
    /// 2. The handlers of the core whose value it is have ended that read the value before
    ///    the current one.
    pub(crate) unsafe fn set(&self, value: T) {
        let used = [
            self.current.load(Ordering::Relaxed),
            self.kept.load(Ordering::Relaxed),
        ];
        let free = (1..)
            .zip(&self.places)
            .find(|(place, _)| !used.contains(place));
        let (number, place) = free.expect("of three places two are used");
        // SAFETY: the place is neither current nor kept: it is not read (2), and no other
        // core writes it (1).
        let place = unsafe { &mut *place.get() };
        place.write(value);
        self.current.store(number, Ordering::Release);
    }

    /// Keeps the current value, or that there is none, for [`Self::restore`].
    pub(crate) fn keep(&self) {
        self.kept
            .store(self.current.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Makes the value current that was kept last, or none if there was none.
    pub(crate) fn restore(&self) {
        let kept = self.kept.swap(NONE, Ordering::Relaxed);
        self.current.store(kept, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::Latest;

    /// Sets a value.
    fn set(latest: &Latest<u32>, value: u32) {
        // SAFETY: one thread, which reads no old value.
        unsafe { latest.set(value) };
    }

    #[test]
    fn the_value_set_last_is_current() {
        let latest = Latest::new();
        assert_eq!(latest.current(), None);
        for value in 0..10 {
            set(&latest, value);
            assert_eq!(latest.current(), Some(&value));
        }
    }

    #[test]
    fn the_value_before_stays_where_it_is() {
        let latest = Latest::new();
        set(&latest, 1);
        let before = latest.current().unwrap();
        set(&latest, 2);
        assert_eq!((*before, latest.current()), (1, Some(&2)));
    }

    #[test]
    fn a_kept_value_comes_back() {
        let latest = Latest::new();
        latest.keep();
        set(&latest, 1);
        latest.restore();
        assert_eq!(latest.current(), None);
        set(&latest, 2);
        latest.keep();
        for value in 3..8 {
            set(&latest, value);
            assert_eq!(latest.current(), Some(&value));
        }
        latest.restore();
        assert_eq!(latest.current(), Some(&2));
    }
}
