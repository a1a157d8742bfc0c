//! Where the kernel's code is in its source, as a table that lies in its image beside that of
//! names; it is made, read and mistrusted in the same way.
//!
//! ```text
//! 0    magic, 8 bytes
//! 8    bytes of the table
//! 12   folders
//! 16   files
//! 20   blocks
//! 24   for each folder the end of its path in the text of folders, 16 bits
//!      for each file its folder and the end of its name in the text of names, 16 bits each
//!      the text of folders, the text of names
//!      index: for each block, 64 rows, 32 bits of where the first begins, from the start of the
//!      kernel's text, and 32 bits of where in the list it is
//!      list: for each row, as variable-length numbers: bytes since the start of the one before;
//!      twice the difference of lines (signed, the sign in the lowest bit), and 1 if a file's
//!      number follows
//! ```
//!
//! A row holds up to the start of the next one. The first of a block counts from line 0, and has
//! its file. Line 0 says that nothing is known.
//!
//! Of code that is inlined it is the line of the call, in the function that has a name in the table
//! of names. With all calls that are inlined the table would be several times as long.

mod encode;
mod path;

use core::fmt::{self, Write as _};

pub use encode::{Row, encode};
pub use path::short_path;

use super::{block_of, is_shown, take_number};

const MAGIC: [u8; 8] = *b"PMILINES";
const HEAD_BYTES: usize = 24;

/// Rows between two entries of the index.
const BLOCK: usize = 64;

/// The most letters of a path that are shown.
const MAX_LETTERS: usize = 200;

/// A table of lines.
#[derive(Clone, Copy, Debug)]
pub struct LineTable<'a> {
    folder_ends: &'a [[u8; 2]],
    /// The folder of each file, and where its name ends.
    files: &'a [[u8; 4]],
    folders: &'a [u8],
    names: &'a [u8],
    index: &'a [[u8; 8]],
    list: &'a [u8],
}

/// A place in a source file.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    folder: &'a [u8],
    name: &'a [u8],
    number: u32,
}

/// The number at a place in the head.
fn count(head: &[u8; HEAD_BYTES], at: usize) -> Option<usize> {
    let number = head.get(at..)?.first_chunk()?;
    usize::try_from(u32::from_le_bytes(*number)).ok()
}

fn number(bytes: [u8; 2]) -> usize {
    u16::from_le_bytes(bytes).into()
}

impl<'a> LineTable<'a> {
    /// Reads the table at the start of `bytes`. `None` if there is none.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        let head = bytes.first_chunk::<HEAD_BYTES>()?;
        if !head.starts_with(&MAGIC) {
            return None;
        }
        let rest = bytes.get(HEAD_BYTES..count(head, 8)?)?;
        let (folder_ends, rest) = rest.split_at_checked(count(head, 12)?.checked_mul(2)?)?;
        let (files, rest) = rest.split_at_checked(count(head, 16)?.checked_mul(4)?)?;
        let folder_ends = folder_ends.as_chunks::<2>().0;
        let files = files.as_chunks::<4>().0;
        let folder_bytes = folder_ends.last().map_or(0, |&end| number(end));
        let name_bytes = files
            .last()
            .map_or(0, |&[_, _, low, high]| number([low, high]));
        let (folders, rest) = rest.split_at_checked(folder_bytes)?;
        let (names, rest) = rest.split_at_checked(name_bytes)?;
        let (index, list) = rest.split_at_checked(count(head, 20)?.checked_mul(8)?)?;
        Some(Self {
            folder_ends,
            files,
            folders,
            names,
            index: index.as_chunks::<8>().0,
            list,
        })
    }

    /// Where the byte at `offset` from the start of the text is from, if that is known.
    #[must_use]
    pub fn find(&self, offset: u64) -> Option<Line<'a>> {
        let offset = u32::try_from(offset).ok()?;
        let (mut at, mut list) = block_of(offset, self.index, self.list)?;
        let (mut line, mut file) = (0_u32, 0);
        for _ in 0..BLOCK {
            // Those of the last block may be fewer.
            let Some(bytes) = take_number(&mut list) else {
                break;
            };
            at = at.checked_add(bytes)?;
            if at > offset {
                break;
            }
            let code = take_number(&mut list)?;
            line = line.wrapping_add_signed(difference(code >> 1));
            if code & 1 != 0 {
                file = take_number(&mut list)?;
            }
        }
        (line != 0).then(|| self.line(file, line))?
    }

    /// A line of the file with this number.
    fn line(&self, file: u32, line: u32) -> Option<Line<'a>> {
        let file = usize::try_from(file).ok()?;
        let name_end = |&[_, _, low, high]: &[u8; 4]| number([low, high]);
        let &[low, high, ..] = self.files.get(file)?;
        let folder = number([low, high]);
        let of_before = |at: usize| at.checked_sub(1);
        let name_start = of_before(file).and_then(|at| self.files.get(at));
        let folder_start = of_before(folder).and_then(|at| self.folder_ends.get(at));
        let folder_start = folder_start.map_or(0, |&end| number(end));
        let folder_end = number(*self.folder_ends.get(folder)?);
        Some(Line {
            folder: self.folders.get(folder_start..folder_end)?,
            name: self
                .names
                .get(name_start.map_or(0, name_end)..name_end(self.files.get(file)?))?,
            number: line,
        })
    }
}

/// The signed number that is written with its sign in the lowest bit.
const fn difference(code: u32) -> i32 {
    (code >> 1).cast_signed() ^ (code & 1).cast_signed().wrapping_neg()
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for &letter in self.folder.iter().chain(self.name).take(MAX_LETTERS) {
            f.write_char(if is_shown(letter) { letter.into() } else { '?' })?;
        }
        write!(f, ":{}", self.number)
    }
}

#[cfg(test)]
mod tests;
