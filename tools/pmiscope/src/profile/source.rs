//! Where a profile's bytes are: read from the file piece by piece, so that memory does not
//! grow with it.

use std::fs::File;
use std::io::{self, Read as _};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

use memchr::memmem::Finder;
use rustix::fs::{SeekFrom, seek};

use super::is_profile;
use crate::input::data_from;

/// Bytes that are searched at a time.
const WINDOW: usize = 64 << 10;

/// The bytes of a profile.
#[derive(Debug)]
pub(super) struct Source {
    place: Place,
    length: usize,
    /// How many zeros follow, which are a hole of the file and not read.
    zeros: u64,
}

#[derive(Debug)]
enum Place {
    Memory(Vec<u8>),
    File(File),
}

impl From<Vec<u8>> for Source {
    fn from(bytes: Vec<u8>) -> Self {
        Self {
            length: bytes.len(),
            place: Place::Memory(bytes),
            zeros: 0,
        }
    }
}

impl Source {
    /// The bytes of a file, up to the hole that it ends with, if it does: somebody has given it
    /// a length that it does not fill. Of anything that is no profile, and may have no end, the
    /// beginning; all of a pipe.
    ///
    /// # Errors
    ///
    /// Those of reading a file.
    pub(super) fn of_file(mut file: File) -> io::Result<Self> {
        const BEGINNING: u64 = 4096;
        if seek(&file, SeekFrom::Start(0)).is_err() {
            let mut bytes = Vec::new();
            (&file).take(BEGINNING).read_to_end(&mut bytes)?;
            if is_profile(&bytes).is_ok() {
                file.read_to_end(&mut bytes)?;
            }
            return Ok(bytes.into());
        }
        let mut bytes = Vec::new();
        (&file).take(BEGINNING).read_to_end(&mut bytes)?;
        if is_profile(&bytes).is_err() {
            return Ok(bytes.into());
        }
        let length = file.metadata()?.len();
        let end = end_of_data(&file, length);
        Ok(Self {
            length: usize::try_from(end).map_err(io::Error::other)?,
            place: Place::File(file),
            zeros: length.saturating_sub(end),
        })
    }

    pub(super) fn length(&self) -> usize {
        self.length
    }

    /// How many zeros follow.
    pub(super) fn zeros(&self) -> u64 {
        self.zeros
    }

    /// The bytes of `range`, which lies within the length; `buffer` is room for them.
    ///
    /// # Errors
    ///
    /// Those of reading a file.
    pub(super) fn read<'a>(
        &'a self,
        range: Range<usize>,
        buffer: &'a mut Vec<u8>,
    ) -> io::Result<&'a [u8]> {
        match &self.place {
            Place::Memory(bytes) => Ok(&bytes[range]),
            Place::File(file) => {
                // What was there once is written over, and needs no zeros.
                buffer.resize(buffer.len().max(range.len()), 0);
                let room = &mut buffer[..range.len()];
                file.read_exact_at(room, range.start as u64)?;
                Ok(room)
            }
        }
    }

    /// The bytes of `range`, which lies within the length, if all are in memory.
    pub(super) fn in_memory(&self, range: Range<usize>) -> Option<&[u8]> {
        match &self.place {
            Place::Memory(bytes) => Some(&bytes[range]),
            Place::File(_) => None,
        }
    }

    /// Where the first of these bytes is that lies in `range`, whole. None of them is zero, so holes
    /// of the file are not searched.
    ///
    /// # Errors
    ///
    /// Those of reading a file.
    pub(super) fn find(
        &self,
        finder: &Finder<'_>,
        range: Range<usize>,
    ) -> io::Result<Option<usize>> {
        let mut buffer = Vec::new();
        let more = finder.needle().len() - 1;
        let mut at = range.start;
        while at + more < range.end {
            if let Place::File(file) = &self.place
                && let Ok(data) = data_from(file, at as u64)
            {
                let hole_ends = data.map_or(range.end as u64, |data| data.start);
                at = at.max(usize::try_from(hole_ends).unwrap_or(range.end));
                if at + more >= range.end {
                    break;
                }
            }
            let end = range.end.min(at + WINDOW + more);
            if let Some(offset) = finder.find(self.read(at..end, &mut buffer)?) {
                return Ok(Some(at + offset));
            }
            at += WINDOW;
        }
        Ok(None)
    }
}

/// Where a file's last hole begins, if it ends with one: else its length.
fn end_of_data(file: &File, length: u64) -> u64 {
    let mut end = 0;
    loop {
        match data_from(file, end) {
            Ok(Some(data)) => end = data.end,
            Ok(None) => return end,
            Err(_) => return length, // a file system that does not tell
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::profile::MAGIC;

    #[test]
    fn a_hole_at_the_end_is_not_read() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let mut data = MAGIC.to_vec();
        data.resize(1 << 20, 7);
        file.write_all(&data).unwrap();
        let source = || Source::of_file(file.reopen().unwrap()).unwrap();
        let read =
            |source: &Source| source.read(0..source.length(), &mut Vec::new()).unwrap() == data;
        let whole = source();
        assert!(read(&whole));
        assert_eq!(whole.zeros(), 0);
        file.as_file().set_len(3 << 20).unwrap();
        let cut = source();
        assert!(read(&cut));
        assert_eq!(cut.zeros(), 2 << 20);
        file.as_file().set_len(4 << 40).unwrap();
        assert_eq!(source().zeros(), (4 << 40) - (1 << 20));
    }

    #[test]
    fn what_is_behind_a_hole_is_found_soon() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&MAGIC).unwrap();
        file.write_all_at(b"before\x93PMI", 8 << 40).unwrap();
        let source = Source::of_file(file).unwrap();
        let found = source.find(&Finder::new(b"\x93PMI"), 16..source.length());
        assert_eq!(found.unwrap(), Some((8 << 40) + 6));
    }

    #[test]
    fn bytes_are_found_where_two_windows_meet() {
        for at in [0, 1, WINDOW - 3, WINDOW - 1, WINDOW, 2 * WINDOW - 2] {
            let mut file = tempfile::tempfile().unwrap();
            let mut data = MAGIC.to_vec();
            data.resize(16 + 2 * WINDOW + 2, 0);
            data[16 + at..20 + at].copy_from_slice(b"\x93PMI");
            file.write_all(&data).unwrap();
            let finder = Finder::new(b"\x93PMI");
            for source in [Source::of_file(file).unwrap(), data.into()] {
                let end = source.length();
                assert_eq!(source.find(&finder, 16..end).unwrap(), Some(16 + at));
                assert_eq!(source.find(&finder, 17 + at..end).unwrap(), None);
                assert_eq!(source.find(&finder, 16..19 + at).unwrap(), None);
            }
        }
    }
}
