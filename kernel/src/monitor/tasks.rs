//! The commands that show cores, tasks and stacks.

use core::fmt::{self, Write};
use core::sync::atomic::Ordering;

use kernel_core::monitor::{Arguments, Command, Problem};
use kernel_core::rest::CoreState;

use super::owner;
use crate::cpu::accounts::{self, Use};
use crate::cpu::{self, CoreBlock, stop};
use crate::memory::stacks;
use crate::task;
use crate::trap::Symbol;

pub const COMMANDS: &[Command] = &[
    Command {
        name: "cores",
        arguments: "",
        summary: "all cores: what each does, and where; with accounting=on, what its time went to",
        run: cores,
    },
    Command {
        name: "tasks",
        arguments: "",
        summary: "all tasks",
        run: tasks,
    },
    Command {
        name: "stacks",
        arguments: "",
        summary: "the most that was ever in use of each stack, and its canary",
        run: stacks,
    },
];

fn state_of(core: &CoreBlock) -> &'static str {
    if owner::is_of(core.index) {
        return "monitor";
    }
    match stop::state_of(core) {
        _ if !core.online.load(Ordering::Acquire) => "offline",
        CoreState::Running => "runs",
        CoreState::Held => "held",
        CoreState::Working => "works",
        CoreState::Stopped => "stopped",
    }
}

fn cores(arguments: Arguments<'_>, out: &mut dyn Write) -> Result<(), Problem> {
    arguments.end()?;
    writeln!(out, "core APIC state   NMIs unclaimed  task")?;
    for core in cpu::cores() {
        let (index, id, state) = (core.index, core.apic_id, state_of(core));
        let nmis = core.stray_nmis();
        let fails = if stop::has_failed(core) {
            ", failed"
        } else {
            ""
        };
        write!(out, "{index:4} {id:4} {state:8}{nmis:14}  ")?;
        match task::running_on(core) {
            Some(number) => write!(out, "{number} ({})", task::name_of(number).as_str())?,
            None => write!(out, "none")?,
        }
        match stop::registers_of(core) {
            Some(at) => {
                let symbol = Symbol::of_instruction(at.pc.0);
                writeln!(out, "{fails}, at {:#018x}{symbol}", at.pc.0)?;
            }
            None => writeln!(out, "{fails}")?,
        }
        if accounts::is_on() {
            time(core, out)?;
        }
    }
    Ok(())
}

/// What a core has spent its time on, but for samples, as far as its accounts are settled; `time`
/// tells tasks and vectors apart.
fn time(core: &CoreBlock, out: &mut dyn Write) -> fmt::Result {
    let [mut tasks, mut user, mut interrupts, mut idle] = [0_u64; 4];
    for (used_for, ticks) in accounts::of_core(core) {
        let sum = match used_for {
            Use::Task(_) => &mut tasks,
            Use::User(_) => &mut user,
            Use::Interrupt(_) => &mut interrupts,
            Use::Idle => &mut idle,
        };
        *sum += ticks;
    }
    let all = (tasks + user + interrupts + idle).max(1);
    write!(out, "     time:")?;
    for (ticks, what) in [
        (tasks, "tasks,"),
        (user, "user,"),
        (interrupts, "interrupts,"),
        (idle, "halted"),
    ] {
        // In hundredths of a percent.
        let share = u128::from(ticks) * 10_000 / u128::from(all);
        write!(out, " {}.{:02} % {what}", share / 100, share % 100)?;
    }
    writeln!(out)
}

fn tasks(arguments: Arguments<'_>, out: &mut dyn Write) -> Result<(), Problem> {
    arguments.end()?;
    let mut count = 0;
    for seen in task::all() {
        count += 1;
        let name = task::name_of(seen.number);
        let (number, state, home) = (seen.number, seen.state, seen.home);
        writeln!(
            out,
            "task {number:3} {state:8} on core {home:3}  {}",
            name.as_str()
        )?;
    }
    if count == 0 {
        writeln!(out, "there are no tasks")?;
    }
    Ok(())
}

fn stacks(arguments: Arguments<'_>, out: &mut dyn Write) -> Result<(), Problem> {
    arguments.end()?;
    for usage in stacks::usage() {
        let canary = if usage.is_canary_whole {
            "whole"
        } else {
            "OVERWRITTEN"
        };
        let bytes = usage.bytes;
        match usage.most_used {
            Some(used) => write!(out, "{used:6} of {bytes:6} bytes used")?,
            None => write!(out, "of {bytes:6} bytes not known")?,
        }
        writeln!(out, ", canary {canary}: {}", usage.owner)?;
    }
    Ok(())
}
