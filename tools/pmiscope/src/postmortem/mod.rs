//! What a dead kernel knew, from its memory alone.
//!
//! ```text
//! memory ──► find (the root) ──► kernel (cores, tasks, log) ──► walk (chains) ──► story (text)
//!    └─► space (addresses) ──────────┘                             └── names: symbols, lines
//! ```
//!
//! [`memory`] reads by physical addresses: of a file that backs a guest's memory, of a dump, of a
//! guest that this tool has run. Nothing of what is read is believed: what is not there, or makes
//! no sense, is said in a line, and the rest is shown.

mod find;
mod kernel;
mod log;
mod memory;
mod newest;
mod registers;
mod space;
mod story;
#[cfg(test)]
mod tests;
mod walk;

pub use find::find;
pub use log::{log_of, log_of_running, text};
pub use memory::Memory;
pub use newest::{Newest, newest_of};
pub use registers::processors_said;
pub use story::{Files, Story, told_without_files};
