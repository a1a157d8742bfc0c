//! What the guest says: lines of the Test Anything Protocol on the serial port.

use core::fmt::{self, Write as _};
use core::sync::atomic::{AtomicU32, Ordering};

use spin::Mutex;

use crate::machine;

struct Serial;

impl fmt::Write for Serial {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().for_each(machine::write_serial);
        Ok(())
    }
}

static SERIAL: Mutex<Serial> = Mutex::new(Serial);
static TESTS: AtomicU32 = AtomicU32::new(0);
static FAILED: AtomicU32 = AtomicU32::new(0);

/// Writes a line.
pub fn say(line: fmt::Arguments<'_>) {
    // The serial port does not fail.
    let _ = writeln!(SERIAL.lock(), "{line}");
}

/// Writes what came of a test.
pub fn test(good: bool, name: fmt::Arguments<'_>) {
    let number = TESTS.fetch_add(1, Ordering::Relaxed) + 1;
    if !good {
        FAILED.fetch_add(1, Ordering::Relaxed);
    }
    let not = if good { "" } else { "not " };
    say(format_args!("{not}ok {number} {name}"));
}

/// Compares, as a test.
pub fn equal<T: PartialEq + fmt::Debug>(name: fmt::Arguments<'_>, got: T, expected: T) {
    if got == expected {
        test(true, name);
    } else {
        test(
            false,
            format_args!("{name}: {got:?}, expected {expected:?}"),
        );
    }
}

/// Ends QEMU.
pub fn finish() -> ! {
    say(format_args!("1..{}", TESTS.load(Ordering::Relaxed)));
    machine::exit(if FAILED.load(Ordering::Relaxed) == 0 {
        0x10
    } else {
        0x11
    })
}
