//! The sampling path of pmiscope, without a kernel in it.
//!
//! A kernel that links this library supplies three things: the registers of the
//! code that was interrupted, the bounds of the stacks that its core knows, and
//! a block of memory that a reader can see. It gets back samples in rings, one
//! ring a core, that a reader can follow live or find later in a memory image.
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
//!    in the ring ([`ring::WriterState::lost`]), and why a walk ended stands in
//!    the record ([`format::ChainEnd`]).
//! 4. **One definition for writer and reader.** The kernel and the host tool use
//!    the same types for every byte that they share.
//!
//! # Which way data flows
//!
//! overflow → [`unwind`] → [`format::sample`] → [`ring`] → (host) decode →
//! symbolize → show. [`shared`] is the block of memory that the rings lie in;
//! [`settings`] are the words by which a run is described to the kernel, and
//! [`survey`] the lines by which a kernel says what a machine has to sample by.

#![cfg_attr(not(any(test, loom)), no_std)]

pub mod address;
pub mod format;
pub mod pmu;
pub mod ring;
pub mod settings;
pub mod shared;
pub mod survey;
mod sync;
pub mod unwind;
