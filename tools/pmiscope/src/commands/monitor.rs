//! `monitor`: connects the terminal to the serial port of a guest that runs.

use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::cli::MonitorArgs;
use crate::console::{Console, Ended};
use crate::control;
use crate::exit::Exit;
use crate::output::say;
use crate::signals::Interrupt;

/// How long a signal may wait, and what the guest writes.
const LOOK: Duration = Duration::from_millis(10);

pub(super) fn run(arguments: &MonitorArgs) -> Result<Exit> {
    let interrupt = Interrupt::catch().context("cannot catch signals")?;
    let (pid, line) = control::connect(arguments.pid)?;
    if Console::has_terminal() {
        say!("pmiscope: connected to the guest of process {pid}; ^] leaves it");
    }
    let mut console = Console::new(line).context("cannot set the terminal")?;
    let exit = loop {
        match console.pump() {
            Ok(None) => {}
            Ok(Some(Ended::Left)) => break Ok(Exit::Success),
            Ok(Some(Ended::Closed)) => {
                drop(console);
                say!("pmiscope: the guest of process {pid} has ended");
                return Ok(Exit::Success);
            }
            Err(error) => break Err(error).context("cannot read or write"),
        }
        if interrupt.wanted_by().is_some() {
            break Ok(Exit::Interrupted);
        }
        if console.is_done() {
            break Ok(Exit::Success);
        }
        console.wait(LOOK);
    };
    // The shell's prompt begins a line of its own, on a terminal that is as it was.
    drop(console);
    if Console::has_terminal() {
        say!("");
    }
    exit
}
