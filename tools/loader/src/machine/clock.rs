//! What time it is: the date by the PC's clock, and microseconds by ACPI's timer.

use loader::acpi;
use loader::rtc::Registers;
use x86_64::instructions::port::Port;

const ADDRESS: u16 = 0x70;
const DATA: u16 = 0x71;

/// In register A: the clock counts on, and must not be read.
const UPDATING: u8 = 1 << 7;

/// How often the clock is read until it gives the same twice: an update takes 2 ms.
const ATTEMPTS: u32 = 1_000_000;

/// The date, in seconds since 1970, if the clock runs in UTC; none, if it has no date.
pub fn date() -> Option<i64> {
    let mut before = None;
    for _ in 0..ATTEMPTS {
        if register(0xa) & UPDATING != 0 {
            core::hint::spin_loop();
            continue;
        }
        let now = registers();
        if before == Some(now) {
            return now.timestamp();
        }
        before = Some(now);
    }
    None
}

fn registers() -> Registers {
    Registers {
        seconds: register(0),
        minutes: register(2),
        hours: register(4),
        day: register(7),
        month: register(8),
        year: register(9),
        century: register(0x32),
        status: register(0xb),
    }
}

fn register(number: u8) -> u8 {
    // SAFETY: chooses the register that is read next; bit 7, which lets NMIs in, is clear
    // as it is after reset.
    unsafe { Port::<u8>::new(ADDRESS).write(number) };
    // SAFETY: none of these registers changes by being read.
    unsafe { Port::<u8>::new(DATA).read() }
}

/// ACPI's timer, which runs since the machine's reset.
#[derive(Clone, Copy)]
pub struct Timer {
    port: u16,
    /// What it counted when the loader began.
    begun: u32,
}

/// It has at least 24 bits, which last 4.7 seconds.
const BITS: u32 = (1 << 24) - 1;

impl Timer {
    /// Takes the timer that a FADT names, and its time.
    pub fn new(fadt: &[u8]) -> Option<Self> {
        let port = acpi::timer_port(fadt)?;
        Some(Self {
            port,
            begun: count(port),
        })
    }

    /// Microseconds from the reset until the loader began, and until now.
    pub fn times(self) -> [u64; 2] {
        let passed = count(self.port).wrapping_sub(self.begun) & BITS;
        let microseconds = |counts: u64| counts * 1_000_000 / acpi::TIMER_FREQUENCY;
        [
            microseconds(self.begun.into()),
            microseconds(u64::from(self.begun) + u64::from(passed)),
        ]
    }
}

fn count(port: u16) -> u32 {
    // SAFETY: ACPI names this port as that of a counter; reading has no effect.
    unsafe { Port::<u32>::new(port).read() & BITS }
}
