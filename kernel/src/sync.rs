//! A lock for state that interrupt handlers may want as well.

use spin::mutex::SpinMutex;
use x86_64::instructions::interrupts;

/// A spin lock that keeps interrupts off while it is held, so that a handler on
/// the same core never waits for the code that it interrupted.
///
/// Not for NMI handlers: those take no lock.
pub struct Lock<T>(SpinMutex<T>);

impl<T> Lock<T> {
    /// An open lock around `value`.
    pub const fn new(value: T) -> Self {
        Self(SpinMutex::new(value))
    }

    /// Runs `action` on the value, alone among the cores.
    pub fn with<R>(&self, action: impl FnOnce(&mut T) -> R) -> R {
        interrupts::without_interrupts(|| action(&mut self.0.lock()))
    }

    /// The same if nobody has the lock: a core that is held may never give it back.
    pub fn try_with<R>(&self, action: impl FnOnce(&mut T) -> R) -> Option<R> {
        interrupts::without_interrupts(|| self.0.try_lock().map(|mut value| action(&mut value)))
    }
}
