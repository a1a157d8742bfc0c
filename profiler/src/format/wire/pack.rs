//! Compression by the LZ4 block format, of little, by few instructions and no memory but the
//! caller's.

/// The places of a table, by four bytes' hash.
pub(super) const TABLE: usize = 1 << TABLE_BITS;
const TABLE_BITS: u32 = 10;

/// A match is no shorter.
const MIN_MATCH: usize = 4;
/// The format has so many bytes at the end that are no match.
const LAST_LITERALS: usize = 5;
/// And no match begins that late.
const LAST_MATCH: usize = 12;

/// Does not fit: the bytes of the input that did, about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct TooLong(pub usize);

/// Packs `raw` into `packed`. Returns the packed length.
///
/// # Errors
///
/// [`TooLong`] if it does not fit.
///
/// # Panics
///
/// If `raw` is 64 KiB long or longer: an offset has 16 bits.
pub(super) fn pack(
    raw: &[u8],
    table: &mut [u16; TABLE],
    packed: &mut [u8],
) -> Result<usize, TooLong> {
    assert!(raw.len() <= usize::from(u16::MAX), "too much to pack");
    table.fill(0);
    let mut out = Output { packed, len: 0 };
    let last = raw.len().saturating_sub(LAST_MATCH);
    let (mut at, mut literals) = (0, 0);
    while at < last {
        let place = &mut table[hash(&raw[at..])];
        let before = usize::from(*place);
        #[allow(clippy::cast_possible_truncation)] // asserted
        {
            *place = at as u16;
        }
        let is_match = before < at && raw[before..][..MIN_MATCH] == raw[at..][..MIN_MATCH];
        if !is_match {
            at += 1;
            continue;
        }
        let pairs = raw[before..]
            .iter()
            .zip(&raw[at..raw.len() - LAST_LITERALS]);
        let len = pairs.take_while(|(a, b)| a == b).count();
        out.sequence(&raw[literals..at], Some((at - before, len)))
            .ok_or(TooLong(literals))?;
        at += len;
        literals = at;
    }
    out.sequence(&raw[literals..], None)
        .ok_or(TooLong(literals))?;
    Ok(out.len)
}

/// The place of the first four bytes.
fn hash(bytes: &[u8]) -> usize {
    let word = bytes
        .first_chunk()
        .map_or(0, |word| u32::from_le_bytes(*word));
    (word.wrapping_mul(2_654_435_761) >> (32 - TABLE_BITS)) as usize
}

struct Output<'a> {
    packed: &'a mut [u8],
    len: usize,
}

impl Output<'_> {
    /// Literals, then a match: its offset and length. `None` if there is no room.
    fn sequence(&mut self, literals: &[u8], found: Option<(usize, usize)>) -> Option<()> {
        let match_len = found.map_or(0, |(_, len)| len - MIN_MATCH);
        let [high, low] = [literals.len(), match_len].map(|len| len.min(15).to_le_bytes()[0]);
        self.push(&[high << 4 | low])?;
        self.rest(literals.len())?;
        self.push(literals)?;
        if let Some((offset, _)) = found {
            let [low, high, ..] = offset.to_le_bytes();
            self.push(&[low, high])?;
            self.rest(match_len)?;
        }
        Some(())
    }

    /// What of a length did not fit the token.
    fn rest(&mut self, len: usize) -> Option<()> {
        let Some(mut rest) = len.checked_sub(15) else {
            return Some(());
        };
        while rest >= 255 {
            self.push(&[255])?;
            rest -= 255;
        }
        self.push(&rest.to_le_bytes()[..1])
    }

    fn push(&mut self, bytes: &[u8]) -> Option<()> {
        let place = self.packed.get_mut(self.len..)?.get_mut(..bytes.len())?;
        place.copy_from_slice(bytes);
        self.len += bytes.len();
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn packed(raw: &[u8], room: usize) -> Result<Vec<u8>, TooLong> {
        let mut packed = vec![0; room];
        let len = pack(raw, &mut [0; TABLE], &mut packed)?;
        packed.truncate(len);
        Ok(packed)
    }

    #[test]
    fn lengths_and_offsets_are_as_the_format_has_them() {
        // 17 literals, of which 15 fit the token; 290 of a match, which is 4 + 15 + 255 + 16.
        let first: Vec<u8> = (0..17).collect();
        let raw = [&first[..], &first.repeat(20)[..290], &[90, 91, 92, 93, 94]].concat();
        let expected = [
            &[0xff, 2][..],
            &first,
            &[17, 0, 255, 16],
            &[0x50, 90, 91, 92, 93, 94],
        ];
        assert_eq!(packed(&raw, 100), Ok(expected.concat()));
        assert_eq!(packed(&[], 1), Ok(vec![0]));
        assert_eq!(packed(&raw, 28), Err(TooLong(307)));
    }

    proptest! {
        #[test]
        fn an_own_decoder_gets_it_back(
            words in vec((0..9_u8, 1..40_usize), 0..150),
            room in 0..1000_usize,
        ) {
            let raw: Vec<u8> = words.iter().flat_map(|&(byte, len)| {
                (0..len).map(move |at| byte.wrapping_mul(29) ^ (u8::try_from(at).unwrap() / 3))
            }).collect();
            let most = packed(&raw, raw.len() + raw.len() / 255 + 16).unwrap();
            let unpacked = lz4_flex::block::decompress(&most, raw.len());
            prop_assert_eq!(unpacked.unwrap(), raw.clone());
            match packed(&raw, room) {
                Ok(whole) => prop_assert_eq!(whole, most),
                Err(TooLong(fit)) => prop_assert!(fit <= raw.len() && most.len() > room),
            }
        }
    }
}
