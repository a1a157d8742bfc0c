//! What a pixel is.

/// Where a colour is in a pixel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Channel {
    /// How many bits it has.
    pub bits: u8,
    /// Its lowest bit.
    pub shift: u8,
}

/// How pixels are made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct PixelFormat {
    /// 2, 3 or 4.
    pub(super) bytes: usize,
    colours: [Channel; 3],
}

impl PixelFormat {
    /// Pixels of so many bits, with these colours in them; `None` if there are no such.
    pub(super) fn new(pixel_bits: u16, colours: [Channel; 3]) -> Option<Self> {
        let bytes = match pixel_bits {
            15 | 16 => 2,
            24 => 3,
            32 => 4,
            _ => return None,
        };
        let fits = |colour: &Channel| {
            let end = u16::from(colour.bits) + u16::from(colour.shift);
            (1..=16).contains(&colour.bits) && end <= pixel_bits
        };
        colours.iter().all(fits).then_some(Self { bytes, colours })
    }

    /// A grey of this intensity, little-endian. Black is zero.
    pub(super) fn grey(&self, intensity: u8) -> [u8; 4] {
        let pixel = self.colours.iter().fold(0, |pixel, colour| {
            let most = (1_u32 << colour.bits) - 1;
            let value = u32::from(intensity) * most / u32::from(u8::MAX);
            pixel | value << colour.shift
        });
        pixel.to_le_bytes()
    }
}
