//! What the kernel tells of itself while it runs: locks, cores that hang, where the time goes.
//!
//! * [`locks`]: what was waited for and held.
//! * [`watchdog`]: cores that have had interrupts off for too long.

mod locks;
pub mod watchdog;

use kernel_core::monitor::Command;

/// The commands of the monitor that are of this.
pub const COMMANDS: &[Command] = &[locks::COMMAND];
