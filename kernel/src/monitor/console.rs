//! What the monitor writes to, and reads from: the serial port and the screen, without a lock.

use core::fmt::{self, Write};

use kernel_core::monitor::Ahead;
use spin::mutex::SpinMutex;

use crate::cpu::stop;
use crate::log::Output;
use crate::serial::{self, Serial};
use crate::{exit, screen};

/// The serial port and the screen. A terminal on the port may be a raw one, so that lines end
/// with a carriage return as well.
pub struct Console;

impl Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for piece in text.split_inclusive('\n') {
            let Some(line) = piece.strip_suffix('\n') else {
                return Output.write_str(piece);
            };
            Output.write_str(line)?;
            Serial.write_str("\r\n")?;
            screen::write("\n");
        }
        Ok(())
    }
}

/// The port alone, for the line that is being typed: the screen knows no terminal's sequences.
pub struct Echo;

impl Write for Echo {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for piece in text.split_inclusive('\n') {
            match piece.strip_suffix('\n') {
                Some(line) => write!(Serial, "{line}\r\n")?,
                None => Serial.write_str(piece)?,
            }
        }
        Ok(())
    }
}

/// What was typed while a command ran. A core that was stopped meanwhile may have it for ever: then
/// nothing is kept.
static AHEAD: SpinMutex<Ahead> = SpinMutex::new(Ahead::new());

/// Keeps what is typed while a command runs. Returns true if somebody does not want to wait for
/// that any more, by `^C`.
pub fn is_interrupted() -> bool {
    let Some(mut ahead) = AHEAD.try_lock() else {
        return false;
    };
    !ahead.is_full() && serial::receive().is_some_and(|byte| ahead.put(byte))
}

/// What was typed is not for the next session.
pub fn forget_ahead() {
    if let Some(mut ahead) = AHEAD.try_lock() {
        ahead.clear();
    }
}

/// The next byte, which is waited for. `None` if another core ends the run, or holds this one.
pub fn read() -> Option<u8> {
    loop {
        if exit::is_ending_elsewhere() || !stop::is_asking() {
            return None;
        }
        let ahead = AHEAD.try_lock().and_then(|mut ahead| ahead.take());
        if let Some(byte) = ahead.or_else(serial::receive) {
            return Some(byte);
        }
        core::hint::spin_loop();
    }
}
