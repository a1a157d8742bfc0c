//! The sampler of pmiscope, without a kernel in it.
//!
//! A kernel that links this library implements `sampler::Target` (the bounds of the
//! stack that an address is on, and little else), supplies memory that a reader can see,
//! and calls the sampler from its interrupt handlers. It gets samples in rings, one ring
//! a core, that a reader can follow live or find later in a memory image.
//!
//! # Principles
//!
//! 1. **Nothing here allocates, locks, logs, faults or loops without a bound**
//!    on the path from an overflow to a record in the ring. The code runs in
//!    NMI handlers, on top of anything.
//! 2. **A frame pointer is an allegation.** [`unwind`] alone turns one into a
//!    [`unwind::Slot`], an address that is proven to lie on a known stack, and
//!    only a slot can be loaded from.
//! 3. **Nothing is lost in silence.** What a full ring could not take is counted
//!    in the ring ([`format::ring::Control::lost`]), and why a walk ended stands in
//!    the record ([`format::ChainEnd`]).
//! 4. **One definition for writer and reader.** The kernel and the host tool use
//!    the same types for every byte that they share.
//!
//! # Layers
//!
//! A module names only those above it in this list (`tools/layers/layers.toml`):
//!
//! 1. [`address`]: addresses that carry their kind in their type. [`format`]: what kernel
//!    and tool share byte by byte: samples, the run's description, the ring, the region of
//!    memory that the rings lie in.
//! 2. [`unwind`]: the bounded walk. `linked`: what the linker knows of the kernel.
//! 3. `hw`: registers. `entry`: entries of interrupts, as macros.
//! 4. [`pmu`]: performance counters.
//! 5. [`contract`]: the command line, a machine's capabilities, requests to a running kernel.
//! 6. `sampler`: what interrupts each core every N events, and records where it was.
//!
//! Data flows from an overflow through `sampler`, [`unwind`], [`format::sample`] and
//! [`format::ring`] to the host, which decodes, symbolizes and shows it. What touches the
//! machine (`entry`, `hw`, `linked`, `sampler`) is compiled for it alone, and for
//! tests: the host tool uses the rest.

#![cfg_attr(not(test), no_std)]

pub mod address;
pub mod contract;
pub mod entry;
pub mod format;
pub mod hw;
pub mod linked;
pub mod pmu;
#[cfg(all(test, not(loom)))]
mod pmu_model;
#[cfg(not(all(test, loom)))]
pub mod sampler;
mod sync;
pub mod unwind;
