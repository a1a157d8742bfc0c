//! The command `locks`: who has waited for each, how long it was held, and who holds it now.

use core::fmt::{self, Write};

use kernel_core::monitor::{Arguments, Command, Problem};
use profiler::hw::tsc;

use super::sampling::{LockSamples, sampling};
use crate::cpu;
use crate::sync::{self, Class, Held};
use crate::trap::Symbol;

/// `locks`.
pub(super) const COMMAND: Command = Command {
    name: "locks",
    arguments: "",
    summary: "what was waited for and held, by whom, in ticks of the time stamp counter; the share of samples in which each was held",
    run,
};

fn run(arguments: Arguments<'_>, out: &mut dyn Write) -> Result<(), Problem> {
    arguments.end()?;
    let samples = sampling().and_then(|sampling| (sampling.lock_samples)());
    show(samples, out)?;
    if !sync::are_holds_measured() {
        writeln!(out, "-: with locks=on or watchdog= on the command line")?;
    } else if samples.is_none() {
        writeln!(out, "-: with locks=on on the command line, of samples")?;
    }
    Ok(())
}

/// Shows all locks. Counting `samples` may take long: who wants an answer at once has none.
pub(super) fn show(samples: Option<LockSamples>, out: &mut dyn Write) -> fmt::Result {
    writeln!(
        out,
        "{:<16}{:>12}{:>16}{:>16}{:>12}",
        "lock", "contended", "longest wait", "longest hold", "of samples"
    )?;
    for (number, class) in sync::classes().iter().enumerate() {
        let (name, contended, wait) = (class.name(), class.contended(), class.longest_wait());
        write!(out, "{name:<16}{contended:>12}{wait:>16}")?;
        if sync::are_holds_measured() {
            write!(out, "{:>16}", class.longest_hold())?;
        } else {
            write!(out, "{:>16}", "-")?;
        }
        match samples.map(|samples| samples.share(number)) {
            Some(share) => writeln!(out, "{:>8}.{:02} %", share / 100, share % 100)?,
            None => writeln!(out, "{:>12}", "-")?,
        }
        users(class, out)?;
    }
    Ok(())
}

/// Who holds locks of a class, and who waits for them.
fn users(class: &Class, out: &mut dyn Write) -> fmt::Result {
    let is_class = |other: &Class| core::ptr::eq(class, other);
    for core in cpu::cores() {
        for held in sync::held_by(core).filter(|held| is_class(held.class())) {
            writeln!(out, "  held by core {}, {}", core.index, Since(held))?;
        }
        let awaited = sync::awaited_by(core).filter(|awaited| is_class(awaited.class()));
        if let Some(awaited) = awaited {
            let ticks = ticks_since(awaited.since_tsc);
            writeln!(out, "  core {} has waited for {ticks} ticks", core.index)?;
        }
    }
    Ok(())
}

/// How long a lock has been held, and where it was taken.
pub(super) struct Since(pub(super) Held);

impl fmt::Display for Since {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.0.taken_at;
        if let Some(tsc) = self.0.taken_tsc {
            write!(f, "for {} ticks, ", ticks_since(tsc))?;
        }
        let place = Symbol::of_instruction(at);
        write!(f, "taken at [<{at:#018x}>]{place}")
    }
}

/// Another core's counter may be a little ahead.
pub(super) fn ticks_since(tsc: u64) -> u64 {
    tsc::ticks().saturating_sub(tsc)
}
