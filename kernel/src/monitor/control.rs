//! The commands that lead out of the monitor, and to another core.

use core::fmt::Write;
use core::sync::atomic::{AtomicU8, Ordering};

use kernel_core::monitor::{Arguments, Command, Line, Problem};
use kernel_core::rest::CoreState;
use spin::mutex::SpinMutex;

use super::console::{self, Console};
use super::owner::{self, Leave};
use super::session;
use super::{commands, cores};
use crate::cpu::{self, CoreBlock, stop};
use crate::trap::last_words;
use crate::{exit, power, serial, smp};
use profiler::hw::exit as status;

pub const COMMANDS: &[Command] = &[
    Command {
        name: "help",
        arguments: "[COMMAND]",
        summary: "list commands, or describe one",
        run: commands::help,
    },
    Command {
        name: "resume",
        arguments: "",
        summary: "let all cores go on where they were; one that has failed stays at rest",
        run: |arguments, _| {
            arguments.end()?;
            owner::leave_by(Leave::Resume)
        },
    },
    Command {
        name: "idle",
        arguments: "",
        summary: "the same, but this core gives up what it did, and goes to its idle loop",
        run: |arguments, _| {
            arguments.end()?;
            owner::leave_by(Leave::Idle)
        },
    },
    Command {
        name: "on",
        arguments: "CORE COMMAND...",
        summary: "let another core execute a command",
        run: on,
    },
    Command {
        name: "reboot",
        arguments: "",
        summary: "start the machine again",
        run: |arguments, _| {
            arguments.end()?;
            owner::check_is_here()?;
            smp::stop_others();
            serial::drain();
            power::reboot()
        },
    },
    Command {
        name: "exit",
        arguments: "[STATUS]",
        summary: "end the run with this status, 0 to 127, or with that of the failure",
        run: exit,
    },
];

/// What the run ends with if nobody says otherwise.
static STATUS: AtomicU8 = AtomicU8::new(status::SUCCESS);

/// The run has failed: it ends with this status if nobody says otherwise.
pub fn set_status(status: u8) {
    STATUS.store(status, Ordering::Relaxed);
}

fn exit(mut arguments: Arguments<'_>, out: &mut dyn Write) -> Result<(), Problem> {
    const MOST: u64 = 127;
    let named = arguments.number("STATUS")?;
    arguments.end()?;
    owner::check_is_here()?;
    let Some(number) = named else {
        if exit::is_ending_here() {
            // As it would have ended without the monitor.
            return owner::leave_by(Leave::End);
        }
        end(STATUS.load(Ordering::Relaxed), out)
    };
    match u8::try_from(number) {
        Ok(status) if number <= MOST => end(status, out),
        _ => Err(Problem::new(format_args!(
            "STATUS must be from 0 to {MOST}, not {number}"
        ))),
    }
}

fn end(status: u8, out: &mut dyn Write) -> ! {
    let _ = writeln!(
        out,
        "monitor: the run is ended by hand, with status {status}"
    );
    last_words::keep_quiet();
    smp::stop_others();
    exit::exit_early(status)
}

/// What another core is to execute.
static LINE: SpinMutex<Line> = SpinMutex::new(Line::new());

fn on(mut arguments: Arguments<'_>, out: &mut dyn Write) -> Result<(), Problem> {
    let core = cores::core_of(&mut arguments)?;
    let mut line = Line::new();
    while let Some(word) = arguments.word() {
        for byte in word.bytes().chain([b' ']) {
            // The whole line was one, so this fits.
            let _ = line.insert(line.len(), byte);
        }
    }
    if line.is_empty() {
        return Err(Problem::new(format_args!("COMMAND is missing")));
    }
    if core.index == cpu::current_index() {
        session::execute(line.as_str(), out);
        return Ok(());
    }
    // Cores have it for as long as it takes to copy it.
    if let Some(mut place) = LINE.try_lock() {
        *place = line;
    }
    if !stop::give(core, execute_here) {
        return Err(cores::not_at_rest(core));
    }
    wait_for(core, out)
}

fn execute_here() {
    let line = LINE.try_lock().map(|line| *line);
    session::execute(line.unwrap_or_default().as_str(), &mut Console);
}

/// Waits until `core` has done its command, or somebody does not want to wait any more.
fn wait_for(core: &CoreBlock, out: &mut dyn Write) -> Result<(), Problem> {
    let index = core.index;
    loop {
        match stop::state_of(core) {
            CoreState::Held if stop::has_begun(core) => return Ok(()),
            CoreState::Stopped => {
                let why = stop::message_of(core).unwrap_or("again, in saying why");
                writeln!(out, "core {index} has failed: {why}")?;
                return Ok(());
            }
            CoreState::Held | CoreState::Working | CoreState::Running => {}
        }
        if console::is_interrupted() {
            return Err(Problem::new(format_args!("core {index} goes on with it")));
        }
        if owner::is_lost() {
            return Ok(());
        }
        core::hint::spin_loop();
    }
}
