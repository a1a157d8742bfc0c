//! The serial port of the log: a 16550, 8 data bits, no parity. The first one, at 115200 baud,
//! until [`set_registers`] says otherwise.

use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};

use kernel_core::place::Place;
use kernel_core::uart::{Registers, Speed};
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
        // SAFETY: of those that are read here only the data have an effect: the byte is taken.
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
    set_speed(Speed::default());
}

fn set_speed(speed: Speed) {
    const DIVISOR_LATCH: u8 = 1 << 7;
    let [low, high] = speed.divisor().to_le_bytes();
    write(LINE_CONTROL, DIVISOR_LATCH);
    // The latch lies where the data and the interrupts are else.
    write(DATA, low);
    write(INTERRUPT_ENABLE, high);
    set_format();
}

/// Sets the format, and leaves the speed as it is.
fn set_format() {
    // First: the interrupts' register is the latch's before.
    write(LINE_CONTROL, 0b11);
    write(INTERRUPT_ENABLE, 0);
    // Both queues on, and emptied.
    write(FIFO_CONTROL, 0b111);
    // DTR and RTS, so that the other side listens.
    write(MODEM_CONTROL, 0b11);
}

/// Another port from now on, or none, or the same one; without a speed, with the one that firmware
/// has set. Returns false if nothing answers there: then it stays as it was.
///
/// # Safety
///
/// Registers in memory are mapped at their address, uncached and for ever.
pub unsafe fn set_registers(registers: Option<Registers>, speed: Option<Speed>) -> bool {
    // What the log has said is neither lost with the queue nor sent at another speed.
    drain();
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
    IS_STUCK.store(false, Relaxed);
    match speed {
        Some(speed) => set_speed(speed),
        None => set_format(),
    }
    true
}

/// The port was waited for in vain.
static IS_STUCK: AtomicBool = AtomicBool::new(false);

/// A byte takes 87 µs at 115200 baud, 33 ms at 300. A port that is not there reads as all ones
/// and never makes anyone wait. One that is stuck does so once, not for each byte of a region,
/// until it takes something again.
fn wait_for(status: u8) {
    let tries = if IS_STUCK.load(Relaxed) { 1 } else { 100_000 };
    for _ in 0..tries {
        if line_status() & status != 0 {
            IS_STUCK.store(false, Relaxed);
            return;
        }
        core::hint::spin_loop();
    }
    IS_STUCK.store(true, Relaxed);
}

/// Waits until everything has left.
pub fn drain() {
    wait_for(EMPTY);
}

/// The next byte from the other side, if one has come.
pub fn receive() -> Option<u8> {
    let status = line_status();
    // Where nothing answers there would be bytes without end.
    if status == NOTHING || status & HAS_BYTE == 0 {
        return None;
    }
    Some(read(DATA))
}

/// Lets the port raise its interrupt when a byte has come, or not any more.
pub fn set_receive_interrupt(is_on: bool) {
    // On PCs the third output lets the interrupt out.
    write(MODEM_CONTROL, if is_on { 0b1011 } else { 0b0011 });
    write(INTERRUPT_ENABLE, u8::from(is_on));
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
