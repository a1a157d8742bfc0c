//! What of the kernel is pure logic: it touches no hardware, and its tests run on the
//! host.
//!
//! * [`acpi`]: firmware tables, of which nothing is believed.
//! * [`bitmap`]: which frames are free.
//! * [`caller`]: the return address of code without a frame.
//! * [`classes`]: the heap's lists of small blocks.
//! * [`cores`]: which cores are used, and the mode of their APICs.
//! * [`exceptions`]: error codes and flags as words.
//! * [`hang`]: when a core hangs.
//! * [`holes`]: ranges of addresses without others.
//! * [`monitor`]: what somebody types, and what they see of it.
//! * [`pci`]: a serial port on it.
//! * [`place`]: where a register is.
//! * [`ready`]: a core's queue of tasks.
//! * [`screen`]: text as pixels.
//! * [`symbols`]: the names of functions, in the image.
//! * [`uart`]: where a serial port's registers are.
//! * [`words`]: the kernel's own words of the command line.

#![cfg_attr(not(test), no_std)]

extern crate alloc;

pub mod acpi;
pub mod bitmap;
pub mod caller;
pub mod classes;
pub mod cores;
pub mod exceptions;
pub mod hang;
pub mod holes;
pub mod monitor;
pub mod pci;
pub mod place;
pub mod ready;
pub mod screen;
pub mod symbols;
pub mod uart;
pub mod words;
