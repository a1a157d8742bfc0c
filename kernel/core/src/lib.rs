//! What of the kernel is pure logic: it touches no hardware, and its tests run on the
//! host.
//!
//! * [`acpi`]: firmware tables, of which nothing is believed.
//! * [`bitmap`]: which frames are free.
//! * [`caller`]: the return address of code without a frame.
//! * [`classes`]: the heap's lists of small blocks.
//! * [`core_set`]: a set of cores.
//! * [`cores`]: which cores are used, and the mode of their APICs.
//! * [`exceptions`]: error codes and flags as words.
//! * [`hang`]: when a core hangs.
//! * [`holes`]: ranges of addresses without others.
//! * [`log_filter`]: which messages are made.
//! * [`log_ring`]: the last messages, in memory.
//! * [`monitor`]: what somebody types, and what they see of it.
//! * [`pci`]: a serial port on it.
//! * [`place`]: where a register is.
//! * [`postmortem`]: where the tool finds what a dead kernel knew.
//! * [`process`]: programs, and what a process has mapped.
//! * [`profile`]: which functions were executing, counted in fixed memory.
//! * [`ready`]: a core's queue of tasks.
//! * [`rest`]: where a core stands that others may stop.
//! * [`screen`]: text as pixels.
//! * [`stub`]: the entries of interrupts.
//! * [`symbols`]: the names of functions, in the image.
//! * [`uart`]: where a serial port's registers are.
//! * [`words`]: the kernel's own words of the command line.

#![cfg_attr(not(test), no_std)]

extern crate alloc;

pub mod acpi;
pub mod bitmap;
pub mod caller;
pub mod classes;
pub mod core_set;
pub mod cores;
pub mod exceptions;
pub mod hang;
pub mod holes;
pub mod log_filter;
pub mod log_ring;
pub mod monitor;
pub mod pci;
pub mod place;
pub mod postmortem;
pub mod process;
pub mod profile;
pub mod ready;
pub mod rest;
pub mod screen;
pub mod stub;
pub mod symbols;
pub mod uart;
pub mod words;
