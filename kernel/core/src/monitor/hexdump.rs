//! Bytes of memory as a line.

use core::fmt;

/// Bytes of a whole line.
pub const ROW_BYTES: usize = 16;

/// A line of up to [`ROW_BYTES`] bytes.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// Where the first of them is.
    pub address: u64,
    /// The bytes; of more than a line has, the first.
    pub bytes: &'a [u8],
}

impl fmt::Display for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x} ", self.address)?;
        for at in 0..ROW_BYTES {
            let gap = if at == ROW_BYTES / 2 { "  " } else { " " };
            match self.bytes.get(at) {
                Some(byte) => write!(f, "{gap}{byte:02x}")?,
                None => write!(f, "{gap}  ")?,
            }
        }
        f.write_str("  |")?;
        for &byte in self.bytes.iter().take(ROW_BYTES) {
            let is_shown = byte == b' ' || byte.is_ascii_graphic();
            let letter = if is_shown { byte.into() } else { '.' };
            write!(f, "{letter}")?;
        }
        f.write_str("|")
    }
}
