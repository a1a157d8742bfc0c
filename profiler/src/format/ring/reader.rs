//! The reading end.

use core::fmt;

use super::Control;
use crate::address::CodeRange;
use crate::format::RecordHead;
use crate::format::expand::{Expanded, MAX_UNITS, expand};
use crate::format::sample::MAX_WORDS;
use crate::sync::{AtomicU32, Ordering};

/// The ring's positions or a record are not valid: the memory is not a ring, or it was
/// overwritten.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Corrupt {
    /// The position, in units of 4 bytes since the start, at which reading stopped.
    pub position: u64,
}

impl fmt::Display for Corrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the ring is corrupt at unit {}", self.position)
    }
}

impl core::error::Error for Corrupt {}

/// The reading end. There is one at a time.
///
/// ```
/// use profiler::format::ring::{Corrupt, Reader};
/// use profiler::format::sample::MAX_WORDS;
/// use profiler::format::Sample;
///
/// fn drain(mut reader: Reader<'_>) -> Result<usize, Corrupt> {
///     let mut samples = 0;
///     let mut record = [0; MAX_WORDS];
///     while let Some(words) = reader.read(&mut record)? {
///         // Records of other kinds are passed over.
///         samples += usize::from(Sample::decode(&record[..words]).is_ok());
///     }
///     Ok(samples)
/// }
/// ```
pub struct Reader<'ring> {
    control: &'ring Control,
    data: &'ring [AtomicU32],
    /// What the addresses in compact samples are offsets from.
    text: CodeRange,
}

impl<'ring> Reader<'ring> {
    /// A reader for the ring of `control` and `data`, of a kernel with this text.
    ///
    /// # Panics
    ///
    /// If the number of units is not a power of two.
    pub(crate) fn new(control: &'ring Control, data: &'ring [AtomicU32], text: CodeRange) -> Self {
        assert!(data.len().is_power_of_two(), "ring size not a power of two");
        Self {
            control,
            data,
            text,
        }
    }

    /// Copies the oldest whole record to `record`, with every field in its full width, and frees
    /// its place. Returns its length in words, or `None` if there is none.
    ///
    /// # Errors
    ///
    /// [`Corrupt`] if the ring's positions or the record are impossible. What was not read is
    /// left as it was.
    pub fn read(&mut self, record: &mut [u64; MAX_WORDS]) -> Result<Option<usize>, Corrupt> {
        let reader = &self.control.reader;
        loop {
            let tail = reader.tail.load(Ordering::Relaxed);
            // Acquire: the units before `head` were written before we read them.
            let head = self.control.writer.head.load(Ordering::Acquire);
            let corrupt = Corrupt { position: tail };
            let unread = head.wrapping_sub(tail);
            if unread > self.data.len() as u64 {
                return Err(corrupt);
            }
            if unread == 0 {
                return Ok(None);
            }
            let units = RecordHead::from_unit(self.unit(tail)).units;
            if u64::from(units) > unread {
                return Err(corrupt);
            }
            let mut copy = [0; MAX_UNITS];
            let copy = &mut copy[..units.into()];
            for (position, unit) in (tail..).zip(&mut *copy) {
                *unit = self.unit(position);
            }
            let context = self.control.context(tail);
            let expanded = expand(copy, context, self.text, record).ok_or(corrupt)?;
            let end = tail + u64::from(units);
            self.control.advance(tail, end, expanded.context());
            if let Expanded::Record { words, .. } = expanded {
                return Ok(Some(words));
            }
        }
    }

    /// The units that were read since the start. It only grows, unless the kernel makes
    /// the ring anew.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.control.reader.tail.load(Ordering::Relaxed)
    }

    fn unit(&self, position: u64) -> u32 {
        // The mask keeps the value below the length, a usize.
        #[allow(clippy::cast_possible_truncation)]
        let place = (position & (self.data.len() as u64 - 1)) as usize;
        self.data[place].load(Ordering::Relaxed)
    }
}
