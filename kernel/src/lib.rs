//! The kernel of pmiscope: what is profiled, and where the profiler is proven.
//!
//! `main.rs` is the order in which things start; each folder here is one thing.
//! What does not touch the hardware is compiled on the host as well, where
//! `cargo test -p pmiscope-kernel --lib` tests it; what does is compiled for the
//! bare machine alone.
//!
//! # Principles
//!
//! 1. **Each core owns its own.** What a core needs in a trap is in its
//!    `cpu::CoreBlock` or on its stacks; only booting and logging share locks.
//! 2. **A stack says whose it is.** Every stack lies in one area of addresses,
//!    by core and kind, over a hole that nothing is mapped in.
//! 3. **The boot loader is left behind early**: `boot::BootInfo` is all that is
//!    kept of it, then the kernel runs on its own stacks and page tables.
//! 4. **What is not understood ends the run**, with a message that names the
//!    core and a status that the host sees.

#![cfg_attr(not(test), no_std)]

extern crate alloc;

pub mod acpi;
pub mod memory;
pub mod note;
pub mod task;
pub mod workload;

#[cfg(target_os = "none")]
pub mod assembly;
#[cfg(target_os = "none")]
pub mod boot;
#[cfg(target_os = "none")]
pub mod build_id;
#[cfg(target_os = "none")]
pub mod config;
#[cfg(target_os = "none")]
pub mod cpu;
#[cfg(target_os = "none")]
pub mod exit;
#[cfg(target_os = "none")]
pub mod log;
#[cfg(target_os = "none")]
mod nmi;
#[cfg(target_os = "none")]
mod panic;
#[cfg(target_os = "none")]
pub mod sampling;
#[cfg(target_os = "none")]
pub mod selftest;
#[cfg(target_os = "none")]
mod serial;
#[cfg(target_os = "none")]
pub mod smp;
#[cfg(target_os = "none")]
pub mod sync;
#[cfg(target_os = "none")]
pub mod time;

#[cfg(target_os = "none")]
pub mod trap;
