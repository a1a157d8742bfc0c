//! Where handlers in assembly find what: from a driver's start on.
//!
//! They have the numbers of the first event, as [`PmuDriver::advance_one`] has them.

use core::mem::offset_of;

use super::PmuDriver;
use super::fast::{Acknowledge, Fast, FastCounter, Gate, Halves, Reach, Terms};
use super::progress::Progress;

/// What an interrupt may do.
pub const STAGE: usize = offset_of!(PmuDriver, stage);
/// The byte that says whether the counters are to count.
pub const RUNNING: usize = offset_of!(PmuDriver, running);

const FAST: usize = offset_of!(PmuDriver, fast);
const GATE: usize = FAST + offset_of!(Fast, gate);
/// The register that stops and starts all counters, and what it is written with.
pub const GATE_REGISTER: usize = GATE + offset_of!(Gate, register);
/// See above.
pub const STOPPED: usize = GATE + offset_of!(Gate, stopped);
/// See above.
pub const STARTED: usize = GATE + offset_of!(Gate, started);

const ACKNOWLEDGE: usize = FAST + offset_of!(Fast, acknowledge);
/// The register that shows overflows, and that which acknowledges them.
pub const STATUS: usize = ACKNOWLEDGE + offset_of!(Acknowledge, status);
/// See above.
pub const RESET: usize = ACKNOWLEDGE + offset_of!(Acknowledge, reset);
/// Which of them are to be clear.
pub const OURS: usize = ACKNOWLEDGE + offset_of!(Acknowledge, ours);

const PROGRESS: usize = offset_of!(PmuDriver, progress);
/// Where the event stands.
pub const LOADED: usize = PROGRESS + offset_of!(Progress, loaded);
/// See above.
pub const RAW: usize = PROGRESS + offset_of!(Progress, raw);
/// See above.
pub const POSITION: usize = PROGRESS + offset_of!(Progress, position);
/// See above.
pub const DUE: usize = PROGRESS + offset_of!(Progress, due);
/// See above.
pub const LAST: usize = PROGRESS + offset_of!(Progress, last);
/// See above.
pub const RAN: usize = PROGRESS + offset_of!(Progress, ran);

const TERMS: usize = FAST + offset_of!(Fast, terms);
/// How it is sampled.
pub const PERIOD: usize = TERMS + offset_of!(Terms, period);
/// See above.
pub const OVERHEAD: usize = TERMS + offset_of!(Terms, overhead);
/// See above.
pub const LATENCY: usize = TERMS + offset_of!(Terms, latency);
/// See above.
pub const TOLERANCE: usize = TERMS + offset_of!(Terms, tolerance);
/// See above.
pub const LEAST: usize = TERMS + offset_of!(Terms, least);
/// See above.
pub const MIN_LEFT: usize = TERMS + offset_of!(Terms, reach) + offset_of!(Reach, min_left);

const COUNTER: usize = TERMS + offset_of!(Terms, counter);
/// Its counter, as `rdpmc` reads it.
pub const READ: usize = COUNTER + offset_of!(FastCounter, read);
/// The register that it is written by, and the high half of that.
pub const WRITE: usize = COUNTER + offset_of!(FastCounter, write);
/// See above.
pub const WRITTEN_HIGH: usize = COUNTER + offset_of!(FastCounter, written_high);
/// Its bit in the register that shows overflows.
pub const OVERFLOW: usize = COUNTER + offset_of!(FastCounter, status);

/// From the low half of a value to the high one.
pub const HIGH: usize = offset_of!(Halves, high);
const _: () = assert!(offset_of!(Halves, low) == 0);
