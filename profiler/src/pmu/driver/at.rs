//! Where handlers in assembly find what: from a driver's start on.
//!
//! Those of an event are the first one's. Of the others they are [`STRIDE`] bytes apart.

use core::mem::offset_of;

use super::fast::{Acknowledge, Fast, FastCounter, Found, Gate, Halves, Terms};
use super::state::Progress;
use super::{EventState, PmuDriver};

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
/// Those of all counters.
pub const COUNTERS: usize = ACKNOWLEDGE + offset_of!(Acknowledge, counters);

/// The state of the random numbers.
pub const RANDOM: usize = offset_of!(PmuDriver, random);
const FOUND: usize = FAST + offset_of!(Fast, found);
/// What is found of several events.
pub const FURTHER: usize = FOUND + offset_of!(Found, further);
/// See above.
pub const LIST: usize = FOUND + offset_of!(Found, list);
/// Where the driver would be if the first event that is sampled was the first of all; and if the
/// one behind the last was.
pub const BEGIN: usize = FOUND + offset_of!(Found, begin);
/// See above.
pub const END: usize = FOUND + offset_of!(Found, end);

/// The first event.
pub const EVENTS: usize = offset_of!(PmuDriver, events);
/// From one event to the next.
pub const STRIDE: usize = size_of::<EventState>();
const PROGRESS: usize = EVENTS + offset_of!(EventState, progress);
/// Where the event stands.
pub const RAW: usize = PROGRESS + offset_of!(Progress, raw);
/// See above.
pub const POSITION: usize = PROGRESS + offset_of!(Progress, position);
/// See above.
pub const DUE: usize = PROGRESS + offset_of!(Progress, due);
/// See above.
pub const TARGET: usize = PROGRESS + offset_of!(Progress, target);
/// See above.
pub const LAST: usize = PROGRESS + offset_of!(Progress, last);
/// See above.
pub const RAN: usize = PROGRESS + offset_of!(Progress, ran);

const TERMS: usize = EVENTS + offset_of!(EventState, terms);
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
pub const EARLIEST: usize = TERMS + offset_of!(Terms, earliest);
/// See above.
pub const LATEST: usize = TERMS + offset_of!(Terms, latest);
/// See above.
pub const JITTER: usize = TERMS + offset_of!(Terms, jitter);
/// See above.
pub const SPREAD: usize = TERMS + offset_of!(Terms, spread);
/// Its number, as lists have it.
pub const NUMBER: usize = TERMS + offset_of!(Terms, number);

const COUNTER: usize = TERMS + offset_of!(Terms, counter);
/// Its counter, as `rdpmc` reads it.
pub const READ: usize = COUNTER + offset_of!(FastCounter, read);
/// The register that it is written by, and the high half of that.
pub const WRITE: usize = COUNTER + offset_of!(FastCounter, write);
/// See above.
pub const WRITTEN_HIGH: usize = COUNTER + offset_of!(FastCounter, written_high);
/// The high half of what it holds before it wraps.
pub const COUNTER_HIGH: usize = COUNTER + offset_of!(FastCounter, high);
const GATE_OF_EVENT: usize = COUNTER + offset_of!(FastCounter, gate);
/// What starts and stops it where nothing else does, and what that is written with.
pub const EVENT_GATE_REGISTER: usize = GATE_OF_EVENT + offset_of!(Gate, register);
/// See above.
pub const EVENT_STOPPED: usize = GATE_OF_EVENT + offset_of!(Gate, stopped);
/// See above.
pub const EVENT_STARTED: usize = GATE_OF_EVENT + offset_of!(Gate, started);
/// Its bit in the register that shows overflows.
pub const OVERFLOW: usize = COUNTER + offset_of!(FastCounter, status);

/// From the low half of a value to the high one.
pub const HIGH: usize = offset_of!(Halves, high);
const _: () = assert!(offset_of!(Halves, low) == 0);
