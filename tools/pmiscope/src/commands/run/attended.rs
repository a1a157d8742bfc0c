//! A run whose guest somebody types to (`--monitor`).

use std::io;

use crate::cli::Monitor;
use crate::console::{Console, Ended};
use crate::control::SerialSocket;
use crate::output::say;

/// The prompt of the monitor in this kernel.
const PROMPT: &str = "pmiscope> ";

/// What is connected to the guest's serial port while it runs.
pub(super) enum Attended {
    /// QEMU has not made the socket yet; what is typed is held until the guest has this prompt.
    Waiting(SerialSocket, Option<&'static str>),
    /// Somebody may type.
    Connected(SerialSocket, Box<Console>),
    /// Nobody any more, by this process: `pmiscope monitor` may connect.
    Over(SerialSocket),
}

impl Attended {
    /// By the guest that is to have this socket, and shows the prompt `when` its kernel's monitor does.
    pub(super) fn new(socket: SerialSocket, when: Monitor) -> Self {
        let prompt = match when {
            Monitor::Start => Some(PROMPT),
            // A key leads to it.
            Monitor::On => None,
        };
        Self::Waiting(socket, prompt)
    }

    /// Moves what there is between the guest and the terminal. Returns true if somebody has left it, and
    /// wants an end of the run.
    ///
    /// # Errors
    ///
    /// Those of the terminal.
    pub(super) fn look(self) -> io::Result<(Self, bool)> {
        let (socket, mut console) = match self {
            Self::Waiting(socket, prompt) => match socket.connect() {
                None => return Ok((Self::Waiting(socket, prompt), false)),
                Some(line) => {
                    if Console::has_terminal() {
                        say!("pmiscope: connected to the guest; ^] ends the run");
                    }
                    (socket, Box::new(Console::new(line)?.held_until(prompt)))
                }
            },
            Self::Connected(socket, console) => (socket, console),
            Self::Over(socket) => return Ok((Self::Over(socket), false)),
        };
        let ended = console.pump()?;
        Ok(match ended {
            Some(ended) => (Self::Over(socket), ended == Ended::Left),
            // A script has said all that it had to say.
            None if console.is_done() => (Self::Over(socket), false),
            None => (Self::Connected(socket, console), false),
        })
    }

    /// Returns true while somebody may type.
    pub(super) fn has_input(&self) -> bool {
        match self {
            Self::Waiting(..) => true,
            Self::Connected(_, console) => console.has_input(),
            Self::Over(_) => false,
        }
    }
}
