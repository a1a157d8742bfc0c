//! The screen: QEMU's `ramfb`, which shows a block of ordinary memory once it is told
//! where that is and what is in it (QEMU, hw/display/ramfb.c).

use x86_64::PhysAddr;

/// The screen's width, in pixels.
pub const WIDTH: u64 = 1280;
/// Its height.
pub const HEIGHT: u64 = 800;
/// Bits of a pixel: 8 of red, 8 of green, 8 of blue from the top of its lower 24 down.
pub const PIXEL_BITS: u64 = 32;
/// Bytes from a row to the next.
pub const PITCH: u64 = WIDTH * PIXEL_BITS / 8;
/// Bytes of all rows, in whole large pages: its caching differs from all others'.
pub const SIZE: u64 = (PITCH * HEIGHT).next_multiple_of(2 << 20);

/// Bytes of the device's configuration.
pub const CONFIGURATION_SIZE: usize = 28;

/// What the device is told, big-endian: the address, the format, flags, width, height,
/// pitch.
#[must_use]
pub fn configuration(address: PhysAddr) -> [u8; CONFIGURATION_SIZE] {
    /// `DRM_FORMAT_XRGB8888`.
    const FORMAT: u32 = u32::from_le_bytes(*b"XR24");
    let mut bytes = [0; CONFIGURATION_SIZE];
    bytes[..8].copy_from_slice(&address.as_u64().to_be_bytes());
    let small = |value: u64| u32::try_from(value).expect("a constant of 12 bits");
    let words = [FORMAT, 0, small(WIDTH), small(HEIGHT), small(PITCH)];
    for (place, word) in bytes[8..].chunks_exact_mut(4).zip(words) {
        place.copy_from_slice(&word.to_be_bytes());
    }
    bytes
}

/// The members of the protocol's structures that say what a pixel is: its size, the
/// model (RGB), and size and shift of red, green and blue, as two words.
#[must_use]
pub fn pixel_format() -> [u64; 2] {
    let [bits, bits_high] = [32, 0];
    let first = [bits, bits_high, 1, 8, 16, 8, 8, 8];
    [u64::from_le_bytes(first), 0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_device_is_told_in_its_words() {
        let bytes = configuration(PhysAddr::new(0x1234_5678));
        let expected = [
            &[0, 0, 0, 0, 0x12, 0x34, 0x56, 0x78][..],
            &[0x34, 0x32, 0x52, 0x58], // "XR24", as a number
            &[0; 4],
            &[0, 0, 5, 0],       // 1280
            &[0, 0, 3, 0x20],    // 800
            &[0, 0, 0x14, 0x00], // 5120
        ];
        assert_eq!(bytes[..], expected.concat());
        assert_eq!(SIZE, 4 << 20);
    }
}
