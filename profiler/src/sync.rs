//! The atomics of the ring: core's, or loom's in tests under `--cfg loom`, which check
//! the same code against every order of memory accesses; and changes of a word that one
//! core alone writes.

#[cfg(not(all(test, loom)))]
pub(crate) use core::sync::atomic::{AtomicU32, AtomicU64};
#[cfg(all(test, loom))]
pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64};

pub(crate) use core::sync::atomic::{Ordering, compiler_fence};

use core::sync::atomic::AtomicU64 as PlainAtomicU64;

/// Changes of a word that only one core writes. Each is one instruction without a lock: nothing of
/// that core's, an NMI included, comes between its load and its store, and others see one value
/// or the other. What was written before is seen by who sees the new value, as x86 orders stores.
pub(crate) trait CoreLocal {
    /// Adds to it, modulo 2⁶⁴.
    fn add_local(&self, value: u64);

    /// Adds to it, modulo 2⁶⁴. Returns what it had been.
    fn fetch_add_local(&self, value: u64) -> u64;

    /// Replaces `old` by `new`. Returns true if it had been `old`.
    fn replace_local(&self, old: u64, new: u64) -> bool;
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
impl CoreLocal for PlainAtomicU64 {
    #[inline(always)]
    fn add_local(&self, value: u64) {
        // SAFETY: the word is valid for reads and writes, and an access of any other is atomic.
        // Memory that the compiler knows of is as it should be before and behind it.
        unsafe {
            core::arch::asm!(
                "add qword ptr [{}], {}",
                in(reg) self.as_ptr(),
                in(reg) value,
                options(nostack),
            );
        }
    }

    #[inline(always)]
    fn fetch_add_local(&self, value: u64) -> u64 {
        let before;
        // SAFETY: as above.
        unsafe {
            core::arch::asm!(
                "xadd qword ptr [{}], {}",
                in(reg) self.as_ptr(),
                inout(reg) value => before,
                options(nostack),
            );
        }
        before
    }

    #[inline(always)]
    fn replace_local(&self, old: u64, new: u64) -> bool {
        // SAFETY: as above.
        unsafe {
            core::arch::asm!(
                "cmpxchg qword ptr [{}], {}",
                "jne {}",
                in(reg) self.as_ptr(),
                in(reg) new,
                label { return false },
                inout("rax") old => _,
                options(nostack),
            );
        }
        true
    }
}

#[cfg(not(all(target_arch = "x86_64", not(miri))))]
impl CoreLocal for PlainAtomicU64 {
    fn add_local(&self, value: u64) {
        self.fetch_add(value, Ordering::Relaxed);
    }

    fn fetch_add_local(&self, value: u64) -> u64 {
        self.fetch_add(value, Ordering::Relaxed)
    }

    fn replace_local(&self, old: u64, new: u64) -> bool {
        self.compare_exchange(old, new, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }
}

#[cfg(all(test, loom))]
impl CoreLocal for AtomicU64 {
    fn add_local(&self, value: u64) {
        self.fetch_add(value, Ordering::Relaxed);
    }

    fn fetch_add_local(&self, value: u64) -> u64 {
        self.fetch_add(value, Ordering::Relaxed)
    }

    fn replace_local(&self, old: u64, new: u64) -> bool {
        self.compare_exchange(old, new, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_word_of_one_core_is_added_to_and_replaced() {
        let word = PlainAtomicU64::new(u64::MAX);
        word.add_local(3);
        assert_eq!(word.load(Ordering::Relaxed), 2);
        assert!(!word.replace_local(3, 7));
        assert_eq!(word.load(Ordering::Relaxed), 2);
        assert!(word.replace_local(2, 7));
        assert_eq!(word.load(Ordering::Relaxed), 7);
    }
}
