//! The command `time`: what each core has spent its time on.

use core::fmt::{self, Write};

use kernel_core::monitor::{Arguments, Command, Problem};
use profiler::format::account::{Account, AccountKind};

use super::sampling::sampling;
use crate::cpu::accounts::{self, Use};
use crate::cpu::{self, CoreBlock};
use crate::monitor::core_if_named;
use crate::workload;

/// `time`.
pub(super) const COMMAND: Command = Command {
    name: "time",
    arguments: "[CORE]",
    summary: "what each core, or one, has spent its time on: tasks, interrupts, halts, samples",
    run,
};

fn run(mut arguments: Arguments<'_>, out: &mut dyn Write) -> Result<(), Problem> {
    let core = core_if_named(&mut arguments)?;
    arguments.end()?;
    if !accounts::is_on() {
        return Err(Problem::new(format_args!(
            "nothing is counted: start with accounting=on on the command line"
        )));
    }
    accounts::settle_own();
    match core {
        Some(core) => show(core, out)?,
        None => cpu::cores().iter().try_for_each(|core| show(core, out))?,
    }
    Ok(())
}

/// The accounts of `core`; last, if it is known, what samples took.
fn of_core(core: &CoreBlock) -> impl Iterator<Item = Account> + use<> {
    let accounted = || accounts::of_core(core);
    let own: u64 = accounted().map(|(_, ticks)| ticks).sum();
    // What is on no account: the samples of the core, and its waits for the others in them.
    let span = accounts::span(core);
    let all = sampling().and_then(|sampling| (sampling.account_ticks)(span));
    let all = all.unwrap_or(own);
    let samples = Account {
        kind: AccountKind::Samples,
        number: 0,
        ticks: all.saturating_sub(own),
    };
    let accounted = accounted().map(|(used_for, ticks)| {
        let (kind, number) = match used_for {
            Use::Task(name) => (AccountKind::Task, name),
            Use::User(name) => (AccountKind::User, name),
            Use::Interrupt(vector) => (AccountKind::Interrupt, vector.into()),
            Use::Idle => (AccountKind::Idle, 0),
        };
        Account {
            kind,
            number,
            ticks,
        }
    });
    accounted.chain(Some(samples).filter(|samples| samples.ticks != 0))
}

/// Leaves all accounts to the host.
pub(super) fn leave() {
    accounts::settle_own();
    let Some(sampling) = sampling() else { return };
    for core in cpu::cores() {
        (sampling.leave_accounts)(core, &mut of_core(core));
    }
}

fn show(core: &CoreBlock, out: &mut dyn Write) -> fmt::Result {
    let accounts = of_core(core);
    let all = of_core(core).map(|account| account.ticks).sum();
    writeln!(out, "core {}: {all} ticks", core.index)?;
    for Account {
        kind,
        number,
        ticks,
    } in accounts
    {
        let share = Share { ticks, all };
        match kind {
            AccountKind::Task => writeln!(out, "  {share}  task {}", workload::task_name(number))?,
            AccountKind::User => {
                let name = workload::task_name(number);
                writeln!(out, "  {share}  user {name}")?;
            }
            AccountKind::Interrupt => writeln!(out, "  {share}  interrupt {number}")?,
            AccountKind::Idle => writeln!(out, "  {share}  idle")?,
            AccountKind::Samples => writeln!(out, "  {share}  samples, and waiting in them")?,
        }
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
