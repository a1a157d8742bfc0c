//! The 32-bit CRC of Ethernet and zlib.

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        #[allow(clippy::cast_possible_truncation)] // below 256
        let mut rest = at as u32;
        let mut bit = 0;
        while bit < 8 {
            rest = (rest >> 1) ^ (0xedb8_8320 * (rest & 1));
            bit += 1;
        }
        table[at] = rest;
        at += 1;
    }
    table
};

/// A CRC that grows by and by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Crc(u32);

impl Crc {
    pub(super) const fn new() -> Self {
        Self(u32::MAX)
    }

    pub(super) fn add(self, bytes: &[u8]) -> Self {
        Self(bytes.iter().fold(self.0, |rest, &byte| {
            let [low, ..] = rest.to_le_bytes();
            (rest >> 8) ^ TABLE[usize::from(low ^ byte)]
        }))
    }

    pub(super) const fn value(self) -> u32 {
        !self.0
    }
}

#[cfg(test)]
mod tests {
    use super::Crc;

    #[test]
    fn it_is_the_usual_one() {
        let crc = Crc::new().add(b"1234").add(b"56789");
        assert_eq!(crc.value(), 0xcbf4_3926);
    }
}
