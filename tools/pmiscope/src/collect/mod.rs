//! Takes the samples out of the guest's memory while it runs.
//!
//! The guest's memory is a file that both QEMU and this tool map. The kernel
//! makes the rings somewhere in it; [`find`] sees the magic that they start with
//! appear, and [`Collector`] copies whole records out of them, every few
//! milliseconds and once more after the guest's end. The guest never waits for
//! that: a ring that is full counts what it loses.

mod drain;
mod find;
pub mod guard;
mod memory;
mod pace;
pub mod system;

pub use drain::{Collector, Sink};
pub use find::{Search, find};
pub use memory::{InheritedFile, MAKE_ROOM, guest_memory, log_file};
pub use pace::Pace;
pub use system::Mapping;
