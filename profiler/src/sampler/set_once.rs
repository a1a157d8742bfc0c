//! A value that is set once and then read without a lock, in NMI handlers too.

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicU8, Ordering};

const EMPTY: u8 = 0;
const BEING_SET: u8 = 1;
const SET: u8 = 2;

/// A value that may not be there yet.
pub(crate) struct SetOnce<T> {
    state: AtomicU8,
    value: UnsafeCell<MaybeUninit<T>>,
}

// SAFETY: the value is written by one caller alone, before `state` says that it is there,
// and only read from then on.
unsafe impl<T: Send + Sync> Sync for SetOnce<T> {}

impl<T> SetOnce<T> {
    /// No value.
    pub(crate) const fn new() -> Self {
        Self {
            state: AtomicU8::new(EMPTY),
            value: UnsafeCell::new(MaybeUninit::uninit()),
        }
    }

    /// Sets the value. Returns false, and changes nothing, if it was set before.
    pub(crate) fn set(&self, value: T) -> bool {
        let claim =
            self.state
                .compare_exchange(EMPTY, BEING_SET, Ordering::Acquire, Ordering::Relaxed);
        if claim.is_err() {
            return false;
        }
        // SAFETY: this caller alone has claimed the cell, and it is not read before it is
        // `SET`.
        let place = unsafe { &mut *self.value.get() };
        place.write(value);
        self.state.store(SET, Ordering::Release);
        true
    }

    /// The value, if it is there.
    #[inline]
    pub(crate) fn get(&self) -> Option<&T> {
        if self.state.load(Ordering::Acquire) != SET {
            return None;
        }
        // SAFETY: it is not written again.
        let place = unsafe { &*self.value.get() };
        // SAFETY: it was written before.
        Some(unsafe { place.assume_init_ref() })
    }
}

#[cfg(test)]
mod tests {
    use super::SetOnce;

    #[test]
    fn the_first_value_stays() {
        let cell = SetOnce::new();
        assert_eq!(cell.get(), None);
        assert!(cell.set(1));
        assert!(!cell.set(2));
        assert_eq!(cell.get(), Some(&1));
    }
}
