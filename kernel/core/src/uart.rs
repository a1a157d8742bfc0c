//! Where the registers of a 16550 are, and how fast it can be.

use crate::place::Place;

/// The eight registers of a 16550.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Registers {
    /// The first.
    pub place: Place,
    /// Bytes from one to the next, and of an access: 1 or 4.
    pub bytes: u8,
}

impl Registers {
    /// Registers of so many bytes from here on; `None` if that is not to be had.
    #[must_use]
    pub fn new(place: Place, bytes: u8) -> Option<Self> {
        let is_there = match place {
            Place::Port(port) => bytes == 1 && (1..=u16::MAX - 7).contains(&port),
            Place::Memory(address) => {
                // Within a page, which is what is mapped.
                let offset = address % 4096;
                let size = 8 * u64::from(bytes);
                let fits = address.is_multiple_of(bytes.into()) && offset + size <= 4096;
                address != 0 && matches!(bytes, 1 | 4) && fits
            }
        };
        is_there.then_some(Self { place, bytes })
    }
}

/// The speed of a 16550 with the usual clock of 1.8432 MHz.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Speed(u16);

impl Speed {
    /// Bits per second at the least divisor.
    const FASTEST: u32 = 115_200;
    /// The slowest that anybody has.
    const SLOWEST: u32 = 300;

    /// So many bits per second; `None` if no divisor makes them.
    #[must_use]
    pub fn new(baud: u32) -> Option<Self> {
        let is_one = (Self::SLOWEST..=Self::FASTEST).contains(&baud);
        if !is_one || !Self::FASTEST.is_multiple_of(baud) {
            return None;
        }
        u16::try_from(Self::FASTEST / baud).ok().map(Self)
    }

    /// What the clock is divided by, 16 times.
    #[must_use]
    pub fn divisor(self) -> u16 {
        self.0
    }
}

impl Default for Speed {
    fn default() -> Self {
        Self(1)
    }
}
