//! What the monitor writes to, and reads from: the serial port and the screen, without a lock.

use core::fmt::{self, Write};

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

/// The next byte, which is waited for. `None` if another core ends the run, or holds this one.
pub fn read() -> Option<u8> {
    loop {
        if exit::is_ending_elsewhere() || !stop::is_asking() {
            return None;
        }
        if let Some(byte) = serial::receive() {
            return Some(byte);
        }
        core::hint::spin_loop();
    }
}
