//! The command `time`: what each core has spent its time on.

use core::fmt::{self, Write};

use kernel_core::monitor::{Arguments, Command, Problem};

use crate::cpu::accounts::{self, Use};
use crate::cpu::{self, CoreBlock};
use crate::{profiling, workload};

/// `time`.
pub(super) const COMMAND: Command = Command {
    name: "time",
    arguments: "[CORE]",
    summary: "what each core, or one, has spent its time on: tasks, interrupts, halts, samples",
    run,
};

fn run(mut arguments: Arguments<'_>, out: &mut dyn Write) -> Result<(), Problem> {
    let core = super::core_of(&mut arguments)?;
    arguments.end()?;
    if !accounts::is_on() {
        return Err(Problem::new(format_args!(
            "nothing is counted: start with accounting=on on the command line"
        )));
    }
    match core {
        Some(core) => of_core(core, out)?,
        None => cpu::cores()
            .iter()
            .try_for_each(|core| of_core(core, out))?,
    }
    Ok(())
}

fn of_core(core: &CoreBlock, out: &mut dyn Write) -> fmt::Result {
    let accounted = || accounts::of_core(core);
    let own: u64 = accounted().map(|(_, ticks)| ticks).sum();
    // What is on no account: the samples of the core, and its waits for the others in them.
    let all = profiling::account_ticks(accounts::span(core)).unwrap_or(own);
    let samples = all.saturating_sub(own);
    writeln!(out, "core {}: {all} ticks", core.index)?;
    for (used_for, ticks) in accounted() {
        let share = Share { ticks, all };
        match used_for {
            Use::Task(name) => writeln!(out, "  {share}  task {}", workload::task_name(name))?,
            Use::Interrupt(vector) => writeln!(out, "  {share}  interrupt {vector}")?,
            Use::Idle => writeln!(out, "  {share}  idle")?,
        }
    }
    if samples != 0 {
        let share = Share {
            ticks: samples,
            all,
        };
        writeln!(out, "  {share}  samples, and waiting in them")?;
    }
    Ok(())
}

/// A part of the whole: in percent, and in ticks.
struct Share {
    ticks: u64,
    all: u64,
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hundredths = u128::from(self.ticks) * 10_000 / u128::from(self.all.max(1));
        let (whole, rest) = (hundredths / 100, hundredths % 100);
        write!(f, "{whole:>3}.{rest:02} % {:>16}", self.ticks)
    }
}
