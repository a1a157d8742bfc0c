//! The first serial port.

use core::fmt::{self, Write as _};

use spin::Mutex;
use x86_64::instructions::interrupts;
use x86_64::instructions::port::Port;

const DATA: u16 = 0x3f8;
const LINE_STATUS: u16 = DATA + 5;
const TRANSMITTER_EMPTY: u8 = 1 << 5;

/// Prints a line.
#[macro_export]
macro_rules! println {
    ($($argument:tt)*) => { $crate::serial::print_line(format_args!($($argument)*)) };
}

struct Serial;

impl fmt::Write for Serial {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            // SAFETY: reading the status changes nothing that anybody waits for.
            while unsafe { Port::<u8>::new(LINE_STATUS).read() } & TRANSMITTER_EMPTY == 0 {
                core::hint::spin_loop();
            }
            // SAFETY: sends a byte.
            unsafe { Port::<u8>::new(DATA).write(byte) };
        }
        Ok(())
    }
}

#[doc(hidden)]
pub fn print_line(line: fmt::Arguments<'_>) {
    static PORT: Mutex<Serial> = Mutex::new(Serial);
    // A handler must not wait for what it interrupted.
    interrupts::without_interrupts(|| {
        let _ = writeln!(PORT.lock(), "{line}");
    });
}
