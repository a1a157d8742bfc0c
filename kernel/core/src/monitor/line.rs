//! A line of printable ASCII, in fixed memory.

use core::ops::Range;

/// The most characters of a line.
pub const LINE_BYTES: usize = 128;

/// A line: printable characters of ASCII alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Line {
    bytes: [u8; LINE_BYTES],
    len: usize,
}

impl Line {
    /// An empty one.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            bytes: [0; LINE_BYTES],
            len: 0,
        }
    }

    /// Returns true if this can be a line.
    #[must_use]
    pub fn can_be(text: &str) -> bool {
        text.len() <= LINE_BYTES && text.bytes().all(is_printable)
    }

    /// This text, without what no line has, and cut where it is too long.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let mut line = Self::new();
        for byte in text.bytes() {
            let _ = line.insert(line.len, byte);
        }
        line
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Never otherwise: ASCII alone is put in.
        str::from_utf8(&self.bytes[..self.len]).unwrap_or_default()
    }

    /// The number of characters.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Returns true if there is no character.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What is before character `at`, and from there on.
    #[must_use]
    pub fn split(&self, at: usize) -> (&str, &str) {
        self.as_str().split_at(at.min(self.len))
    }

    /// Puts a character before character `at`. Returns false if there is no room, or it is not
    /// printable.
    #[must_use]
    pub fn insert(&mut self, at: usize, byte: u8) -> bool {
        if self.len == LINE_BYTES || at > self.len || !is_printable(byte) {
            return false;
        }
        self.bytes.copy_within(at..self.len, at + 1);
        self.bytes[at] = byte;
        self.len += 1;
        true
    }

    /// Takes these characters out. Returns false, and does nothing, if they are not there.
    pub fn remove(&mut self, range: Range<usize>) -> bool {
        if range.end > self.len || range.start > range.end {
            return false;
        }
        self.bytes.copy_within(range.end..self.len, range.start);
        self.len -= range.len();
        true
    }

    /// Where the word begins that ends before character `at`, spaces behind it included.
    #[must_use]
    pub fn word_before(&self, at: usize) -> usize {
        let (before, _) = self.split(at);
        let word = before.trim_end();
        word.rfind(' ').map_or(0, |space| space + 1)
    }
}

impl Default for Line {
    fn default() -> Self {
        Self::new()
    }
}

fn is_printable(byte: u8) -> bool {
    matches!(byte, b' '..=b'~')
}
