//! A short text that somebody else wrote, for a message.

use core::fmt;

use arrayvec::ArrayVec;

/// The beginning of a text, without characters that a terminal would obey.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Text(ArrayVec<u8, 64>);

impl Text {
    /// Keeps what of `bytes` fits.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        Self(bytes.iter().copied().take(64).collect())
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_shown = |byte: &u8| byte.is_ascii_graphic() || *byte == b' ';
        self.0.iter().try_for_each(|byte| {
            let shown = if is_shown(byte) {
                char::from(*byte)
            } else {
                '?'
            };
            write!(f, "{shown}")
        })
    }
}
