//! A lock for state that interrupt handlers may want as well, and what is known of all locks.
//!
//! * [`class`]: the name of a lock, and how long it was waited for and held.
//! * [`holding`]: what each core holds, and waits for.
//!
//! All of it is words: an NMI's handler or a panic reads it without a lock.

mod class;
mod holding;

use core::arch::asm;

use profiler::hw::tsc;
use spin::mutex::{SpinMutex, SpinMutexGuard};
use x86_64::instructions::interrupts;

pub(crate) use class::lock_class;
pub use class::{Class, classes};
pub use holding::{
    Awaited, Held, Tags, are_holds_measured, awaited_by, held_by, know_cores, measure_holds,
    tag_samples,
};

use holding::Record;

/// A spin lock that keeps interrupts off while it is held, so that a handler on
/// the same core never waits for the code that it interrupted.
///
/// Not for NMI handlers: those take no lock.
pub struct Lock<T> {
    record: Record,
    value: SpinMutex<T>,
}

impl<T: Send> Lock<T> {
    /// An open lock around `value`, one of those of `class`: `lock_class!("name")`.
    pub const fn new(class: &'static Class, value: T) -> Self {
        Self {
            record: Record::new(class),
            value: SpinMutex::new(value),
        }
    }

    /// Runs `action` on the value, alone among the cores.
    #[inline(always)]
    pub fn with<R>(&'static self, action: impl FnOnce(&mut T) -> R) -> R {
        let at = here();
        interrupts::without_interrupts(|| {
            let mut value = match self.value.try_lock() {
                Some(value) => value,
                None => self.wait(),
            };
            let taken = self.record.take(at);
            let result = action(&mut value);
            self.record.give_back(taken);
            result
        })
    }

    /// The same if nobody has the lock: a core that is held may never give it back.
    #[inline(always)]
    pub fn try_with<R>(&'static self, action: impl FnOnce(&mut T) -> R) -> Option<R> {
        let at = here();
        interrupts::without_interrupts(|| {
            let mut value = self.value.try_lock()?;
            let taken = self.record.take(at);
            let result = action(&mut value);
            self.record.give_back(taken);
            Some(result)
        })
    }

    /// Waits until the lock is open, and takes it.
    #[cold]
    #[inline(never)]
    fn wait(&'static self) -> SpinMutexGuard<'static, T> {
        let since = tsc::ticks();
        self.record.begin_wait(since);
        let value = self.value.lock();
        self.record.end_wait(since);
        value
    }
}

/// The address of the running code.
#[inline(always)]
fn here() -> u64 {
    let pc: u64;
    // SAFETY: a register is read.
    unsafe { asm!("lea {}, [rip]", out(reg) pc, options(nomem, nostack, preserves_flags)) };
    pc
}
