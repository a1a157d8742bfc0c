//! The serial port, and the ways in which a kernel can end.

use core::arch::asm;
use core::fmt::{self, Write};
use core::panic::PanicInfo;

/// Prints a line to the first serial port.
#[macro_export]
macro_rules! println {
    ($($argument:tt)*) => { $crate::machine::print_line(format_args!($($argument)*)) };
}

struct Serial;

impl Write for Serial {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // QEMU's takes a byte at any time.
        text.bytes().for_each(|byte| write_byte(0x3f8, byte));
        Ok(())
    }
}

#[doc(hidden)]
pub fn print_line(line: fmt::Arguments<'_>) {
    let _ = writeln!(Serial, "{line}");
}

/// Writes a byte to a port.
pub fn write_byte(port: u16, value: u8) {
    // SAFETY: the ports that this kernel names do nothing to its memory.
    unsafe { asm!("out dx, al", in("dx") port, in("al") value, options(nomem, nostack)) };
}

/// Nothing ever happens again.
pub fn halt() -> ! {
    loop {
        // SAFETY: waits.
        unsafe { asm!("cli", "hlt", options(nomem, nostack)) };
    }
}

/// A triple fault, by an exception without an interrupt table.
pub fn reset() -> ! {
    let none = [0_u8; 10];
    // SAFETY: it does not return: the machine is reset.
    unsafe { asm!("lidt [{}]", "ud2", in(reg) &none, options(noreturn)) }
}

/// Switches the machine off, as QEMU's power management takes it.
pub fn switch_off() -> ! {
    // SAFETY: the port of power management of this machine.
    unsafe { asm!("out dx, ax", in("dx") 0x604_u16, in("ax") 0x2000_u16, options(nomem, nostack)) };
    halt()
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    println!("{info}");
    halt()
}
