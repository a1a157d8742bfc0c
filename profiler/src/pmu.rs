//! Performance counters of Intel and AMD processors: what there is, what is to be
//! counted, and how a core is made to interrupt every N events.
//!
//! * [`registers`]: the registers, and access to them.
//! * [`detect`]: which PMU the running core has, by CPUID.
//! * [`event`]: what can be counted, and how it is written.
//! * [`encode`]: from an event to the bits of an event select.
//! * [`allocate`]: which counter counts which event.
//! * [`cost`]: what an interrupt costs in events.
//! * [`plan`]: what is counted on a core; the PMU as its registers show it.
//! * [`counter_msrs`]: which registers a counter has.
//! * [`driver`]: a core's PMU at work.
//! * [`multiplex`]: counting more events than there are counters.
//!
//! A kernel detects, probes, plans and starts on each core, and calls
//! [`driver::PmuDriver::on_interrupt`] and [`driver::PmuDriver::resume`] in its handler.

pub mod allocate;
pub mod cost;
pub mod counter_msrs;
pub mod counters;
pub mod detect;
pub mod driver;
pub mod encode;
pub mod event;
pub mod multiplex;
pub mod plan;
pub mod registers;
#[cfg(all(test, not(loom)))]
mod tests;
#[cfg(any(target_os = "none", test, doc))]
pub mod this_core;
