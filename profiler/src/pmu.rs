//! Performance counters of Intel and AMD processors: what there is, what is to be
//! counted, and how a core is made to interrupt every so many events.
//!
//! * [`registers`]: the registers, and how they are reached.
//! * `model`: a core with a PMU, for tests on the host.

#[cfg(all(test, not(loom)))]
pub mod model;
pub mod registers;
