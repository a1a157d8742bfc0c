//! A terminal in raw mode, and as it was again.

use std::io::{self, IsTerminal as _};
use std::sync::{Mutex, PoisonError};

use rustix::termios::{OptionalActions, OutputModes, Termios, tcgetattr, tcsetattr};

use crate::signals;

/// How the terminal was, while it is in raw mode.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// The terminal of standard input in raw mode, until dropped, or a signal ends the tool.
pub(super) struct RawTerminal(());

impl RawTerminal {
    /// Sets it so, if standard input is a terminal.
    pub(super) fn new() -> io::Result<Option<Self>> {
        let stdin = io::stdin();
        if !stdin.is_terminal() {
            return Ok(None);
        }
        let before = tcgetattr(&stdin)?;
        let mut raw = before.clone();
        raw.make_raw();
        // A guest that ends its lines as kernels do is to begin the next one on the left.
        raw.output_modes |= OutputModes::OPOST | OutputModes::ONLCR;
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
        signals::before_exit(restore);
        let raw_terminal = Self(());
        tcsetattr(&stdin, OptionalActions::Now, &raw)?;
        Ok(Some(raw_terminal))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        restore();
    }
}

/// Makes it what it was.
fn restore() {
    let before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(before) = before {
        // If it has gone, there is nothing to be restored.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &before);
    }
}
