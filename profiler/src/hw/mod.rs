//! The hardware that sampling works on, one file per group of registers.
//!
//! Only for the bare machine: the instructions here are privileged. Nothing here
//! allocates or locks, since NMI handlers use all of it.

pub mod apic;
pub mod control;
pub(crate) mod cpuid;
pub mod debug;
pub mod exit;
pub mod hpet;
pub mod msr;
pub mod tsc;
