//! Performance counters of Intel and AMD processors: what there is, what is to be
//! counted, and how a core is made to interrupt every N events.
//!
//! What a kernel, or a reader of its log, meets:
//!
//! * [`event`]: what can be counted, and how it is written.
//! * [`counters`]: the counters of a core, and sets of them.
//! * [`detect`]: which processor a core is, and which PMU it has, by CPUID.
//!
//! The rest is the sampler's own:
//!
//! * `registers`: the registers, and access to them; `this_core` has the running core's.
//! * `encode`: from an event to the bits of an event select.
//! * `allocate`: which counter counts which event.
//! * `cost`: what an interrupt costs in events.
//! * `plan`: what is counted on a core; the PMU as its registers show it.
//! * `counter_msrs`: which registers a counter has.
//! * `driver`: a core's PMU at work.
//! * `fast_form`: which fast path a plan's interrupts have.
//! * `ibs`: AMD's Instruction-Based Sampling, which gives samples exact addresses.
//! * `multiplex`: counting more events than there are counters.
//!
//! The sampler detects, probes, plans and starts on each core, and calls
//! `driver::PmuDriver::on_interrupt` and `resume` in its handler.

pub(crate) mod allocate;
pub(crate) mod cost;
pub(crate) mod counter_msrs;
pub mod counters;
pub mod detect;
pub(crate) mod driver;
pub(crate) mod encode;
pub mod event;
pub(crate) mod fast_form;
pub(crate) mod ibs;
pub(crate) mod multiplex;
pub(crate) mod plan;
pub(crate) mod registers;
#[cfg(all(test, not(loom)))]
mod tests;
pub(crate) mod this_core;
