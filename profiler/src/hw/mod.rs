//! The hardware that sampling works on, one file per group of registers.
//!
//! Only for the bare machine: the instructions here are privileged. Nothing here
//! allocates or locks, since NMI handlers use all of it. A kernel may use it as well.
//!
//! * [`exit`]: the end of a run, by QEMU's `isa-debug-exit`.
//! * [`apic`], [`tsc`]: the local APIC, and the clock of each core.
//! * [`hpet`], [`pm_timer`], the PIT (`pit`): what that is measured by.
//! * [`control`], [`debug`], [`msr`]: flags, debug registers, model-specific registers.
//! * [`vendor`], [`misc_enable`]: who has made the processor, and what firmware hides of it.

pub mod apic;
pub mod control;
pub(crate) mod cpuid;
pub mod debug;
pub mod exit;
pub mod hpet;
pub mod misc_enable;
pub mod msr;
pub(crate) mod pit;
pub mod pm_timer;
pub(crate) mod smi;
pub mod tsc;
pub mod vendor;
