//! Where the registers of a 16550 are.

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
