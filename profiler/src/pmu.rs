//! Performance counters of Intel and AMD processors: what there is, what is to be
//! counted, and how a core is made to interrupt every so many events.
//!
//! * [`registers`]: the registers, and how they are reached.

pub mod registers;
