//! What of the kernel is pure logic: it touches no hardware, and its tests run on the
//! host.
//!
//! * [`acpi`]: firmware tables, of which nothing is believed.
//! * [`bitmap`]: which frames are free.
//! * [`classes`]: the heap's lists of small blocks.
//! * [`cores`]: which cores are used, and the mode of their APICs.
//! * [`ready`]: a core's queue of tasks.
//! * [`screen`]: text as pixels.

#![cfg_attr(not(test), no_std)]

extern crate alloc;

pub mod acpi;
pub mod bitmap;
pub mod classes;
pub mod cores;
pub mod ready;
pub mod screen;
