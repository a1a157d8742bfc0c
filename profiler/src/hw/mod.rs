//! The hardware that sampling works on, one file per group of registers.
//!
//! Only for the bare machine: the instructions here are privileged. Nothing here
//! allocates or locks, since NMI handlers use all of it. A kernel may use it as well.
//!
//! * [`exit`]: the end of a run, by QEMU's `isa-debug-exit`.
//! * [`apic`], [`hpet`], [`tsc`]: the local APIC, and what time is measured by.
//! * [`control`], [`debug`], [`msr`]: flags, debug registers, model-specific registers.

pub mod apic;
pub mod control;
pub(crate) mod cpuid;
pub mod debug;
pub mod exit;
pub mod hpet;
pub mod msr;
pub mod pit;
pub(crate) mod smi;
pub mod tsc;
