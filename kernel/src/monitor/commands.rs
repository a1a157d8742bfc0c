//! All commands.

use core::fmt::Write;

use kernel_core::monitor::{Arguments, Command, Problem, find_command};
use spin::Once;

use super::{call, code, control, machine, memory, tasks};

/// The monitor's own, and what others have added.
const OWN: [&[Command]; 6] = [
    control::COMMANDS,
    code::COMMANDS,
    memory::COMMANDS,
    tasks::COMMANDS,
    machine::COMMANDS,
    call::COMMANDS,
];

/// The most lists that can be added.
const MAX_ADDED: usize = 8;

static ADDED: [Once<&'static [Command]>; MAX_ADDED] = [const { Once::new() }; MAX_ADDED];

/// Adds commands of a layer above.
///
/// # Panics
///
/// If there are too many lists.
pub fn add(commands: &'static [Command]) {
    for list in &ADDED {
        let mut is_added = false;
        list.call_once(|| {
            is_added = true;
            commands
        });
        if is_added {
            return;
        }
    }
    panic!("there are more than {MAX_ADDED} lists of commands");
}

/// All commands that there are.
pub fn all() -> impl Iterator<Item = &'static Command> {
    let added = ADDED.iter().filter_map(Once::get).copied();
    OWN.into_iter().chain(added).flatten()
}

/// `help`.
pub fn help(mut arguments: Arguments<'_>, out: &mut dyn Write) -> Result<(), Problem> {
    if let Some(name) = arguments.word() {
        arguments.end()?;
        let command = find_command(all(), name)?;
        let Command {
            name,
            arguments,
            summary,
            ..
        } = command;
        let gap = if arguments.is_empty() { "" } else { " " };
        writeln!(out, "{name}{gap}{arguments}: {summary}")?;
        return Ok(());
    }
    for command in all() {
        let words = format_args!("{} {}", command.name, command.arguments);
        let words = profiler::format::Text::<40>::formatted(words);
        writeln!(out, "  {:26}{}", words.as_str(), command.summary)?;
    }
    writeln!(
        out,
        "The beginning of a name is enough. Numbers are decimal, or hexadecimal behind 0x; ADDR|NAME\n\
         is a number, a function or a register, and +N or -N. Keys: Tab, arrows, ^A ^E ^K ^U ^W ^L ^C."
    )?;
    Ok(())
}
