//! Finds frames among anything.

use super::frame::{BODY, FRAME_BYTES, Frame, SYNC};

/// Looks for frames in bytes that come one by one.
///
/// A frame is tried wherever all but one byte of its sync marker are right, and, whatever its
/// marker is, right behind a whole one. What is none costs its first byte: the next one is found
/// after any noise, and after bytes that were lost.
///
/// ```
/// use profiler::format::wire::{Scanner, request};
///
/// let mut bytes = request(7, &[(3, 9)]);
/// for damaged in (0..bytes.len()).step_by(50) {
///     bytes[damaged] ^= 0xff;
/// }
/// let mut scanner = Scanner::new();
/// let noise = b"[INFO core0] booting\n".iter().chain(&bytes);
/// assert_eq!(noise.filter_map(|&byte| scanner.push(byte)).count(), 1);
/// assert_eq!(scanner.mended(), 16);
/// ```
pub struct Scanner {
    /// The last bytes that were pushed, around the end of which they go on at the start.
    window: [u8; FRAME_BYTES],
    start: usize,
    len: usize,
    /// Whether the first byte of the window is the one behind a frame.
    is_expected: bool,
    mended: u64,
}

impl Scanner {
    /// One that has seen nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            window: [0; FRAME_BYTES],
            start: 0,
            len: 0,
            is_expected: false,
            mended: 0,
        }
    }

    /// Takes the next byte. Returns the frame that ends with it, if one does.
    pub fn push(&mut self, byte: u8) -> Option<Frame> {
        self.window[(self.start + self.len) % FRAME_BYTES] = byte;
        self.len += 1;
        if self.len < FRAME_BYTES {
            return None;
        }
        if let Some((frame, mended)) = self.frame() {
            self.mended += mended as u64;
            self.len = 0;
            self.is_expected = true;
            return Some(frame);
        }
        self.is_expected = false;
        self.start = (self.start + 1) % FRAME_BYTES;
        self.len -= 1;
        None
    }

    /// Bytes of frames that were damaged, and are as they had been.
    #[must_use]
    pub fn mended(&self) -> u64 {
        self.mended
    }

    fn at(&self, place: usize) -> u8 {
        self.window[(self.start + place) % FRAME_BYTES]
    }

    /// The frame that fills the window.
    fn frame(&self) -> Option<(Frame, usize)> {
        let marker = SYNC.iter().enumerate();
        let right = marker.filter(|&(place, &byte)| self.at(place) == byte);
        let wrong = SYNC.len() - right.count();
        if wrong > 1 && !self.is_expected {
            return None;
        }
        let body: [u8; BODY] = core::array::from_fn(|place| self.at(SYNC.len() + place));
        let (frame, mended) = Frame::decode(&body)?;
        Some((frame, mended + wrong))
    }
}

impl Default for Scanner {
    fn default() -> Self {
        Self::new()
    }
}
