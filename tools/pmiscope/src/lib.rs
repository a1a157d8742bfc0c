//! The host's side of pmiscope: it boots the kernel in QEMU, drains the rings
//! that the kernel fills, keeps the samples in a profile, and shows where the
//! time went.
//!
//! # Which way data flows
//!
//! [`qemu`] starts the machine on a memory file; [`collect`] finds the rings in
//! that file and moves their records, while the guest runs, into a [`profile`];
//! [`report`] and [`flame`] read the profile, complete its chains ([`chain`]), look
//! its addresses up by [`symbols`], and show it. [`verify`] compares every chain
//! with the true one. [`commands`] are the subcommands that tie these together.

pub mod chain;
pub mod cli;
pub mod collect;
pub mod commands;
pub mod control;
pub mod doctor;
pub mod exit;
pub mod flame;
pub mod profile;
pub mod qemu;
pub mod report;
pub mod survey;
pub mod symbols;
pub mod units;
pub mod verify;
