//! Performance counters of Intel and AMD processors: what there is, what is to be
//! counted, and how a core is made to interrupt every so many events.
//!
//! * [`event`]: events, and how a list of them is written.
//! * [`registers`]: the registers, and how they are reached.

pub mod event;
pub mod registers;
