//! Numbers that a function of the driver reads while nothing changes them.

use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64};

/// An atomic that is read as if it was none: the compiler may take it from memory where it needs
/// it, which it does not with an atomic.
pub(super) trait Plain {
    type Value;

    /// What it holds. For functions that have made the core busy, of what only such write: see
    /// [`super::stage`].
    fn plain(&self) -> Self::Value;
}

macro_rules! plain {
    ($($atomic:ty: $value:ty),*) => {
        $(impl Plain for $atomic {
            type Value = $value;

            #[inline(always)]
            fn plain(&self) -> $value {
                // SAFETY: valid, as it is borrowed. It is the core's own, and not written
                // meanwhile: what interrupts the caller finds the core busy, and touches
                // nothing.
                unsafe { self.as_ptr().read() }
            }
        })*
    };
}

plain!(AtomicBool: bool, AtomicU8: u8, AtomicU32: u32, AtomicU64: u64);
