//! The serial port of the log: a 16550, 115200 baud, 8 data bits, no parity. The first one,
//! until [`set_registers`] names another.

use core::fmt;
use core::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

use kernel_core::place::Place;
use kernel_core::uart::Registers;
use x86_64::VirtAddr;
use x86_64::instructions::port::Port;

const COM1: u16 = 0x3f8;

/// Registers, by their numbers.
const DATA: u16 = 0;
const INTERRUPT_ENABLE: u16 = 1;
const FIFO_CONTROL: u16 = 2;
const LINE_CONTROL: u16 = 3;
const MODEM_CONTROL: u16 = 4;
const LINE_STATUS: u16 = 5;

/// In the line status: a byte has come.
const HAS_BYTE: u8 = 1 << 0;
/// In the line status: the next byte can be written.
const ROOM: u8 = 1 << 5;
/// In the line status: everything has left.
const EMPTY: u8 = 1 << 6;

/// What reads where nothing answers.
const NOTHING: u8 = u8::MAX;

/// The first register: a port, or an address, which is above all ports; 0: there is none.
static FIRST: AtomicU64 = AtomicU64::new(COM1 as u64);
/// Bytes of a register in memory: 1 or 4.
static BYTES: AtomicU8 = AtomicU8::new(1);

/// Where a register is.
enum At {
    Port(Port<u8>),
    Byte(*mut u8),
    Word(*mut u32),
}

/// Where a register is; `None` without a port.
fn register(number: u16) -> Option<At> {
    let first = FIRST.load(Relaxed);
    if first == 0 {
        return None;
    }
    if let Ok(port) = u16::try_from(first) {
        return Some(At::Port(Port::new(port + number)));
    }
    let bytes = BYTES.load(Relaxed);
    let address = VirtAddr::new_truncate(first + u64::from(number) * u64::from(bytes));
    Some(match bytes {
        4 => At::Word(address.as_mut_ptr()),
        _ => At::Byte(address.as_mut_ptr()),
    })
}

fn write(number: u16, value: u8) {
    match register(number) {
        // SAFETY: a register of the 16550, or of nothing where there is none; none of
        // the values written here makes it touch memory.
        Some(At::Port(mut port)) => unsafe { port.write(value) },
        // SAFETY: likewise, mapped (the condition of `set_registers`).
        Some(At::Byte(at)) => unsafe { at.write_volatile(value) },
        // SAFETY: likewise.
        Some(At::Word(at)) => unsafe { at.write_volatile(value.into()) },
        None => {}
    }
}

fn read(number: u16) -> u8 {
    match register(number) {
        // SAFETY: none of those that are read here has an effect that is missed.
        Some(At::Port(mut port)) => unsafe { port.read() },
        // SAFETY: likewise, mapped (the condition of `set_registers`).
        Some(At::Byte(at)) => unsafe { at.read_volatile() },
        // SAFETY: likewise.
        Some(At::Word(at)) => unsafe { at.read_volatile() }.to_le_bytes()[0],
        None => NOTHING,
    }
}

fn line_status() -> u8 {
    // Reading clears error bits that are not used.
    read(LINE_STATUS)
}

/// Sets speed and format; interrupts stay off.
pub fn start() {
    const DIVISOR_LATCH: u8 = 1 << 7;
    write(INTERRUPT_ENABLE, 0);
    write(LINE_CONTROL, DIVISOR_LATCH);
    // 115200 divided by 1.
    write(DATA, 1);
    write(INTERRUPT_ENABLE, 0);
    set_format();
}

/// Sets the format, and leaves the speed as it is.
fn set_format() {
    write(INTERRUPT_ENABLE, 0);
    write(LINE_CONTROL, 0b11);
    // Both queues on, and emptied.
    write(FIFO_CONTROL, 0b111);
    // DTR and RTS, so that the other side listens.
    write(MODEM_CONTROL, 0b11);
}

/// Another port from now on, or none; with the speed that firmware has set, or with ours. Returns
/// false if nothing answers there: then it stays as it was.
///
/// # Safety
///
/// Registers in memory are mapped at their address, uncached and for ever.
pub unsafe fn set_registers(registers: Option<Registers>, sets_speed: bool) -> bool {
    let before = (FIRST.load(Relaxed), BYTES.load(Relaxed));
    let first = match registers.map(|registers| registers.place) {
        Some(Place::Port(port)) => port.into(),
        Some(Place::Memory(address)) => address,
        None => 0,
    };
    BYTES.store(registers.map_or(1, |registers| registers.bytes), Relaxed);
    FIRST.store(first, Relaxed);
    if registers.is_none() {
        return true;
    }
    if line_status() == NOTHING {
        FIRST.store(before.0, Relaxed);
        BYTES.store(before.1, Relaxed);
        return false;
    }
    if sets_speed {
        start()
    } else {
        set_format()
    }
    true
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
