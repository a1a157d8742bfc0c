//! What is typed while a command runs: it is for the prompt behind that.

use super::editor::CONTROL_C;

/// The most bytes that are kept: some lines.
const BYTES: usize = 256;

/// Bytes that were typed ahead, in fixed memory.
#[derive(Debug)]
pub struct Ahead {
    bytes: [u8; BYTES],
    /// Where the first one is.
    first: usize,
    count: usize,
}

impl Ahead {
    /// None.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            bytes: [0; BYTES],
            first: 0,
            count: 0,
        }
    }

    /// Returns true if no more can be kept: they are left to the port.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.count == BYTES
    }

    /// Keeps a byte that has come, if there is room. Returns true if it is `^C`, which gives up all
    /// that was typed before it, as on any terminal.
    pub fn put(&mut self, byte: u8) -> bool {
        if byte == CONTROL_C {
            self.clear();
            return true;
        }
        if !self.is_full() {
            self.bytes[(self.first + self.count) % BYTES] = byte;
            self.count += 1;
        }
        false
    }

    /// The next byte.
    pub fn take(&mut self) -> Option<u8> {
        self.count = self.count.checked_sub(1)?;
        let byte = self.bytes[self.first];
        self.first = (self.first + 1) % BYTES;
        Some(byte)
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.count = 0;
    }
}

impl Default for Ahead {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_in_order_until_there_is_no_room() {
        let mut ahead = Ahead::new();
        for round in 0..3 {
            // Over the end of the memory, too.
            for number in 0..200 {
                assert!(!ahead.put(b'A' + (number + round) % 20), "{round}");
            }
            for number in 0..200 {
                assert_eq!(ahead.take(), Some(b'A' + (number + round) % 20), "{round}");
            }
            assert_eq!(ahead.take(), None);
        }
        for _ in 0..BYTES {
            assert!(!ahead.is_full());
            assert!(!ahead.put(b'x'));
        }
        assert!(ahead.is_full() && !ahead.put(b'y'));
        let kept: Vec<_> = core::iter::from_fn(|| ahead.take()).collect();
        assert_eq!(kept, [b'x'; BYTES]);
    }

    #[test]
    fn the_key_that_interrupts_gives_up_what_was_typed_before_it() {
        let mut ahead = Ahead::new();
        for byte in *b"resume\r" {
            assert!(!ahead.put(byte));
        }
        assert!(ahead.put(CONTROL_C));
        assert!(!ahead.put(b'h'));
        assert_eq!((ahead.take(), ahead.take()), (Some(b'h'), None));
    }
}
