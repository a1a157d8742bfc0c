//! How often each vector has interrupted each core, by the entry stubs; who has an entry of its own
//! counts by itself.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::cpu;
use crate::cpu::CoreBlock;
use crate::cpu::per_core::per_core;

per_core! {
    /// By vector.
    static COUNTS: [AtomicU64; 256] = [const { AtomicU64::new(0) }; 256];
}

/// Counts an interrupt of the running core: nothing, as long as it does not know itself.
#[inline]
pub fn count(vector: u8) {
    if cpu::knows_itself() {
        let count = &COUNTS.current()[usize::from(vector)];
        // That core alone writes it. What interrupts in between has another vector, but for an NMI in
        // an NMI's handler, which a debug exception has let in: that one may be missing here.
        count.store(count.load(Relaxed).wrapping_add(1), Relaxed);
    }
}

/// How often a vector has interrupted `core`.
#[must_use]
pub fn of(core: &CoreBlock, vector: u8) -> u64 {
    COUNTS.get(core)[usize::from(vector)].load(Relaxed)
}
