//! What the kernel tells of itself while it runs: locks, cores that hang, where the time goes.
//!
//! * [`irq`]: how often each core was interrupted, and by what.
//! * [`locks`]: what was waited for and held.
//! * [`time`]: what each core has spent its time on.
//! * [`watchdog`]: cores that have had interrupts off for too long.

mod irq;
mod locks;
mod sampling;
mod time;
pub mod watchdog;

use core::fmt;

use kernel_core::monitor::{Arguments, Command};

use crate::cpu::accounts;
use crate::sync;

pub use sampling::{LockSamples, Sampling, set_sampling};

/// The commands of the monitor that are of this.
pub const COMMANDS: &[Command] = &[irq::COMMAND, locks::COMMAND, time::COMMAND];

/// Logs what was asked for by words of the command line, when the run has ended.
pub fn log_at_end() {
    struct Shown(&'static Command);
    impl fmt::Display for Shown {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            writeln!(f, "{}", self.0.name)?;
            match (self.0.run)(Arguments::new(""), f) {
                Ok(()) => f.write_str("-- end --"),
                Err(problem) => write!(f, "{problem}"),
            }
        }
    }
    if accounts::is_on() {
        time::leave();
        log::info!("{}", Shown(&time::COMMAND));
        log::info!("{}", Shown(&irq::COMMAND));
    }
    if sync::are_holds_measured() {
        log::info!("{}", Locks);
    }
}

/// The command `locks`, without the samples that the host has all of.
struct Locks;

impl fmt::Display for Locks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", locks::COMMAND.name)?;
        locks::show(None, f)?;
        f.write_str("-- end --")
    }
}
