//! A core with a PMU, for tests on the host: what the manuals say of the hardware,
//! and the ways in which processors and hypervisors are known to differ.
//!
//! Nothing here knows a driver. Numbers and masks are written down a second time,
//! from the manuals, so that a wrong one in the driver's tables shows. Where a
//! manual says #GP, [`Core::rdmsr`] and [`Core::wrmsr`] give [`Fault`]; what has no
//! defined result panics and says what was done.
//!
//! * [`Model`]: which processor it is (`kinds`), what CPUID tells of it (`cpuid`),
//!   which registers it has and which of their bits can be written (`map`).
//! * [`Core`]: the registers' contents, counting, overflow (`state`,
//!   `counters`), and the local APIC's part in it (`apic`).
//! * [`Machine`]: runs code on a core, and a handler when the core interrupts it.
//!
//! # What it follows
//!
//! | | |
//! | --- | --- |
//! | event selects, fixed counters, global registers | SDM vol. 3, "Architectural Performance Monitoring Version 1" to "Version 6" |
//! | sign extension, full width | SDM vol. 3, "Full-Width Writes to Performance Counter Registers" |
//! | bits, and when they are there | SDM vol. 4, table 2-2 |
//! | freezing | SDM vol. 3, "Freezing LBR and Performance Counters on PMI", legacy and streamlined |
//! | state at reset | SDM vol. 3, table "IA-32 and Intel 64 Processor States Following Power-up, Reset, or INIT" |
//! | LVTPC | SDM vol. 3, "Local Vector Table", "Valid Interrupt Vectors" |
//! | NMIs | SDM vol. 3, "Handling Multiple NMIs"; APM vol. 2, 8.2.3 |
//! | CPUID | SDM vol. 2, `CPUID`; APM vol. 3, appendix E |
//! | AMD's sampling of ops | APM vol. 2, 13.3; PPR for family 19h, "IBS" |
//! | AMD's counters | APM vol. 2, 13.2; PPR for family 19h, "Performance Monitor Counters" |
//!
//! # What it leaves out
//!
//! PEBS, IBS fetch, LBRs, trace, debug store, `PERF_METRICS`, automatic reload and uncore
//! counters: their bits and registers are reserved, except that a test can set the
//! bits of the global status that they would ([`Core::set_status`]). The sibling
//! thread is idle, so ANY changes nothing. Counters 0 to n all count all events.
//! The privilege of a cycle is that of all its events.

mod apic;
mod counters;
mod cpuid;
mod events;
mod ibs;
mod kinds;
pub mod machine;
mod map;
mod processor;
mod state;
mod tests;
mod truth;

pub use apic::Delivered;
pub use events::{Cycle, Event, Privilege};
pub use ibs::OUTSIDE;
pub use kinds::{Above, AmdInterface, Freezing, Kind, Latency, Model};
pub use machine::{Costs, Machine};
pub use processor::{Core, Snapshot};
pub use truth::{Accesses, Context, Id};
