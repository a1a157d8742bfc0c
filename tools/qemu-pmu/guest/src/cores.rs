//! The cores, which run a test together.

use core::sync::atomic::{AtomicUsize, Ordering};

use spin::Once;

use crate::machine;

/// As many cores as the guest takes.
pub const MAX_CORES: usize = 16;

static COUNT: Once<usize> = Once::new();
static ARRIVED: AtomicUsize = AtomicUsize::new(0);

/// Says how many cores there are.
pub fn set_count(count: usize) {
    COUNT.call_once(|| count);
}

/// How many cores there are.
pub fn count() -> usize {
    *COUNT.wait()
}

/// Whether this is the first core.
pub fn is_first() -> bool {
    machine::core_number() == 0
}

/// Waits until all cores are here.
pub fn meet() {
    let arrival = ARRIVED.fetch_add(1, Ordering::AcqRel) + 1;
    let round_ends = arrival.next_multiple_of(count());
    while ARRIVED.load(Ordering::Acquire) < round_ends {
        core::hint::spin_loop();
    }
}
