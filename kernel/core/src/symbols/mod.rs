//! The names of the kernel's functions, as a table that lies in its image: so that a message can
//! say where code is without a file and without a host.
//!
//! `tools/symbol-table` writes it into the linked file, by [`encode`]; the kernel reads it by
//! [`Table`], in a panic as well: without allocation, and in a bounded number of steps. Of its
//! bytes nothing is believed: whatever they are, what is read is a name or none.
//!
//! ```text
//! 0    magic, 8 bytes
//! 8    bytes of the table
//! 12   functions
//! 16   ends of 256 tokens in the text of tokens, 16 bits each
//! 528  the text of tokens
//!      index: for each 16 functions 32 bits of where the first begins, from the start of the
//!      kernel's text, and 32 bits of where in the list it is
//!      list: for each function, in the order of addresses, as variable-length numbers:
//!      bytes since the end of the one before, its bytes, the bytes of its name; the name
//! ```
//!
//! Each byte of a name stands for a token, a piece of text that many names have: what one byte
//! of text costs less than half a byte. Numbers are little endian; variable-length ones have 7
//! bits in a byte, the lowest first, and the top bit says that more follow.

mod encode;
pub mod lines;

use core::fmt::{self, Write as _};

pub use encode::{EncodeError, Function, encode, shown};

const MAGIC: [u8; 8] = *b"PMINAMES";
const TOKENS: usize = 256;
const HEAD_BYTES: usize = 16;
const ENDS_BYTES: usize = 2 * TOKENS;

/// Functions between two entries of the index.
const BLOCK: usize = 16;

/// The most letters of a name that are shown.
const MAX_LETTERS: usize = 400;

/// A table of names.
#[derive(Clone, Copy, Debug)]
pub struct Table<'a> {
    ends: &'a [[u8; 2]],
    tokens: &'a [u8],
    /// Where a block begins, and where in `list`.
    index: &'a [[u8; 8]],
    list: &'a [u8],
}

/// A place in a function.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The function's name.
    pub name: Name<'a>,
    /// Where the function begins, from the start of the text.
    pub start: u32,
    /// Its bytes.
    pub size: u32,
}

/// The name of a function, as it is in a table.
#[derive(Clone, Copy, Debug)]
pub struct Name<'a> {
    coded: &'a [u8],
    table: Table<'a>,
}

impl<'a> Table<'a> {
    /// Reads the table at the start of `bytes`. `None` if there is none, as in a kernel that no
    /// table was made for.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        let (head, _) = bytes.split_first_chunk::<HEAD_BYTES>()?;
        let (magic, numbers) = head.split_first_chunk::<8>()?;
        let [length, functions] = numbers.as_chunks::<4>().0 else {
            return None;
        };
        if *magic != MAGIC {
            return None;
        }
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let functions = usize::try_from(u32::from_le_bytes(*functions)).ok()?;
        let rest = bytes.get(HEAD_BYTES..length)?;
        let (ends, rest) = rest.split_at_checked(ENDS_BYTES)?;
        let ends = ends.as_chunks::<2>().0;
        let text_bytes = usize::from(u16::from_le_bytes(*ends.last()?));
        let (tokens, rest) = rest.split_at_checked(text_bytes)?;
        let index_bytes = functions.div_ceil(BLOCK).checked_mul(8)?;
        let (index, list) = rest.split_at_checked(index_bytes)?;
        Some(Self {
            ends,
            tokens,
            index: index.as_chunks::<8>().0,
            list,
        })
    }

    /// The function that the byte at `offset` from the start of the text belongs to.
    #[must_use]
    pub fn find(&self, offset: u64) -> Option<Place<'a>> {
        let offset = u32::try_from(offset).ok()?;
        let (mut at, mut list) = block_of(offset, self.index, self.list)?;
        for _ in 0..BLOCK {
            let place = self.take_place(&mut list, at)?;
            let into = offset.checked_sub(place.start)?;
            if into < place.size {
                return Some(place);
            }
            at = place.start.checked_add(place.size)?;
        }
        None
    }

    /// All functions, in the order of their addresses; of a damaged table those before the damage.
    pub fn functions(self) -> impl Iterator<Item = Place<'a>> {
        let table = self;
        self.index.iter().flat_map(move |block| {
            let (mut at, position) = halves(block);
            let list = usize::try_from(position).ok();
            let mut list = list
                .and_then(|list| table.list.get(list..))
                .unwrap_or_default();
            (0..BLOCK).map_while(move |_| {
                let place = table.take_place(&mut list, at)?;
                at = place.start.checked_add(place.size)?;
                Some(place)
            })
        })
    }

    /// Takes the next function from the start of `list`; the one before ends at `at`.
    fn take_place(&self, list: &mut &'a [u8], at: u32) -> Option<Place<'a>> {
        let start = at.checked_add(take_number(list)?)?;
        let size = take_number(list)?;
        let name_bytes = usize::try_from(take_number(list)?).ok()?;
        let coded = list.split_off(..name_bytes)?;
        let table = *self;
        let name = Name { coded, table };
        Some(Place { name, start, size })
    }

    /// The text that a byte of a name stands for; none if the table is damaged.
    fn token(&self, number: u8) -> &'a [u8] {
        let end = |number: usize| {
            let end = self.ends.get(number).copied().unwrap_or_default();
            usize::from(u16::from_le_bytes(end))
        };
        let number = usize::from(number);
        let start = number.checked_sub(1).map_or(0, end);
        self.tokens.get(start..end(number)).unwrap_or_default()
    }
}

/// Returns true if a terminal shows the letter, and does nothing else by it.
fn is_shown(letter: u8) -> bool {
    letter == b' ' || letter.is_ascii_graphic()
}

/// The block of a list that the byte at `offset` is in, by the index of the list: the offset at which
/// the block begins, and the list from there on.
fn block_of<'a>(offset: u32, index: &[[u8; 8]], list: &'a [u8]) -> Option<(u32, &'a [u8])> {
    let behind = index.partition_point(|block| halves(block).0 <= offset);
    let (at, position) = halves(index.get(behind.checked_sub(1)?)?);
    Some((at, list.get(usize::try_from(position).ok()?..)?))
}

/// Both numbers of an entry of the index.
fn halves(entry: &[u8; 8]) -> (u32, u32) {
    let [a, b, c, d, e, f, g, h] = *entry;
    (
        u32::from_le_bytes([a, b, c, d]),
        u32::from_le_bytes([e, f, g, h]),
    )
}

/// Takes a variable-length number from the start of `list`. `None` if it has no end, or more
/// than 32 bits.
fn take_number(list: &mut &[u8]) -> Option<u32> {
    let mut number = 0;
    for shift in [0, 7, 14, 21, 28] {
        let byte = *list.split_off_first()?;
        let bits = u32::from(byte & 0x7f);
        let shifted = bits << shift;
        if shifted >> shift != bits {
            return None;
        }
        number |= shifted;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letters = self.coded.iter().flat_map(|&byte| self.table.token(byte));
        for (count, &letter) in letters.enumerate() {
            if count == MAX_LETTERS {
                return f.write_str("...");
            }
            // What is none may reprogram a terminal.
            f.write_char(if is_shown(letter) { letter.into() } else { '?' })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
