//! A run whose guest somebody types to (`--monitor`).

use std::io;

use crate::console::{Console, Ended};
use crate::control::SerialSocket;
use crate::output::say;

/// What is connected to the guest's serial port while it runs.
pub(super) enum Attended {
    /// QEMU has not made the socket yet.
    Waiting(SerialSocket),
    /// Somebody may type.
    Connected(SerialSocket, Box<Console>),
    /// Nobody any more, by this process: `pmiscope monitor` may connect.
    Over(SerialSocket),
}

impl Attended {
    /// By the guest that is to have this socket.
    pub(super) const fn new(socket: SerialSocket) -> Self {
        Self::Waiting(socket)
    }

    /// Moves what there is between the guest and the terminal. Returns true if somebody has left it, and
    /// wants an end of the run.
    ///
    /// # Errors
    ///
    /// Those of the terminal.
    pub(super) fn look(self) -> io::Result<(Self, bool)> {
        let (socket, mut console) = match self {
            Self::Waiting(socket) => match socket.connect() {
                None => return Ok((Self::Waiting(socket), false)),
                Some(line) => {
                    if Console::has_terminal() {
                        say!("pmiscope: connected to the guest; ^] ends the run");
                    }
                    (socket, Box::new(Console::new(line)?))
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
            Self::Waiting(_) => true,
            Self::Connected(_, console) => console.has_input(),
            Self::Over(_) => false,
        }
    }
}
