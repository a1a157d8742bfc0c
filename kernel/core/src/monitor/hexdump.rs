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

#[cfg(test)]
mod tests {
    use super::*;

    fn row(bytes: &[u8]) -> std::string::String {
        let address = 0xffff_fe00_0001_0ff8;
        Row { address, bytes }.to_string()
    }

    #[test]
    fn a_row_has_bytes_and_letters_in_their_columns() {
        let whole: [u8; 16] = *b"UH\x89\xe5 ~\x7f\x00kernel!\n";
        let expected = "fffffe0000010ff8  55 48 89 e5 20 7e 7f 00  6b 65 72 6e 65 6c 21 0a  |UH.. ~..kernel!.|";
        assert_eq!(row(&whole), expected);
        let gap = " ".repeat(3 * 13 + 1);
        assert_eq!(
            row(b"abc"),
            format!("fffffe0000010ff8  61 62 63{gap}  |abc|")
        );
        assert_eq!(row(&[b'x'; 20]), row(&[b'x'; 16]));
    }
}
