//! The first serial port: a 16550, 115200 baud, 8 data bits, no parity.

use core::fmt;

use x86_64::instructions::port::Port;

const COM1: u16 = 0x3f8;
const DATA: u16 = COM1;
const INTERRUPT_ENABLE: u16 = COM1 + 1;
const FIFO_CONTROL: u16 = COM1 + 2;
const LINE_CONTROL: u16 = COM1 + 3;
const MODEM_CONTROL: u16 = COM1 + 4;
const LINE_STATUS: u16 = COM1 + 5;

/// In the line status: a byte has come.
const HAS_BYTE: u8 = 1 << 0;
/// In the line status: the next byte can be written.
const ROOM: u8 = 1 << 5;
/// In the line status: everything has left.
const EMPTY: u8 = 1 << 6;

fn write(register: u16, value: u8) {
    // SAFETY: a register of the 16550, or of nothing where there is none; none of
    // the values written here makes it touch memory.
    unsafe { Port::new(register).write(value) };
}

fn line_status() -> u8 {
    // SAFETY: reading clears error bits that are not used.
    unsafe { Port::new(LINE_STATUS).read() }
}

/// Sets speed and format; interrupts stay off.
pub fn start() {
    const DIVISOR_LATCH: u8 = 1 << 7;
    write(INTERRUPT_ENABLE, 0);
    write(LINE_CONTROL, DIVISOR_LATCH);
    // 115200 divided by 1.
    write(DATA, 1);
    write(INTERRUPT_ENABLE, 0);
    write(LINE_CONTROL, 0b11);
    // Both queues on, and emptied.
    write(FIFO_CONTROL, 0b111);
    // DTR and RTS, so that the other side listens.
    write(MODEM_CONTROL, 0b11);
}

/// A byte takes 87 µs at this speed. A port that is not there reads as all ones
/// and never makes anyone wait; one that is stuck shall not stop the kernel.
fn wait_for(status: u8) {
    for _ in 0..100_000 {
        if line_status() & status != 0 {
            return;
        }
        core::hint::spin_loop();
    }
}

/// Waits until everything has left.
pub fn drain() {
    wait_for(EMPTY);
}

/// The next byte from the other side, if one has come.
pub fn receive() -> Option<u8> {
    if line_status() & HAS_BYTE == 0 {
        return None;
    }
    // SAFETY: reading takes the byte from the queue.
    Some(unsafe { Port::new(DATA).read() })
}

/// Writes bytes to the port, without any lock.
pub fn send(bytes: &[u8]) {
    for &byte in bytes {
        wait_for(ROOM);
        write(DATA, byte);
    }
}

/// Writes to the port, without any lock.
pub struct Serial;

impl fmt::Write for Serial {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        send(text.as_bytes());
        Ok(())
    }
}
