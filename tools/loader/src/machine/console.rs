//! The ways out for a loader that cannot go on: a line on the first serial port,
//! then QEMU's device for leaving.

use core::fmt::{self, Write};

use x86_64::instructions::hlt;
use x86_64::instructions::port::Port;

/// The first serial port, a 16550.
const COM1: u16 = 0x3f8;
/// QEMU's `isa-debug-exit`: a value v ends it with the status 2v + 1.
const EXIT: u16 = 0xf4;
/// The loader's value: status 65.
const FAILURE: u8 = 0x20;

struct Serial;

impl Serial {
    fn register(&self, number: u16) -> Port<u8> {
        Port::new(COM1 + number)
    }

    /// 115200 baud, 8 bits, no parity, one stop bit, no interrupts.
    fn start(&mut self) {
        for (register, value) in [(1, 0), (3, 0x80), (0, 1), (1, 0), (3, 3), (2, 7)] {
            // SAFETY: the port's own registers; nothing else uses them.
            unsafe { self.register(register).write(value) };
        }
    }
}

impl Write for Serial {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        const TRANSMITTER_EMPTY: u8 = 1 << 5;
        for byte in text.bytes() {
            // SAFETY: reading the line status has no effect that matters here.
            while unsafe { self.register(5).read() } & TRANSMITTER_EMPTY == 0 {}
            // SAFETY: the transmitter takes a byte.
            unsafe { self.register(0).write(byte) };
        }
        Ok(())
    }
}

/// Writes a line.
pub fn say(message: impl fmt::Display) {
    Serial.start();
    let Ok(()) = writeln!(Serial, "loader: {message}\r") else {
        return;
    };
}

/// Writes a line, and ends QEMU; without the device for it, stops.
pub fn fail(message: impl fmt::Display) -> ! {
    say(message);
    // SAFETY: the device ends QEMU, and an absent one ignores it.
    unsafe { Port::new(EXIT).write(FAILURE) };
    loop {
        hlt();
    }
}
