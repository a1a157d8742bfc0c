//! The reading end.

use core::fmt;

use super::Control;
use crate::address::CodeRange;
use crate::format::RecordHead;
use crate::format::expand::{Expanded, MAX_UNITS, expand_nth};
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
    /// The samples of the oldest record that were read, if it has several.
    read: usize,
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
            read: 0,
        }
    }

    /// Copies the oldest whole record to `record`, with every field in its full width, and frees
    /// its place. One with several samples is as many records. Returns its length in words, or `None` if there is none.
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
            let expanded = expand_nth(copy, self.read, context, self.text, record);
            let (expanded, is_last) = expanded.ok_or(corrupt)?;
            if is_last {
                self.read = 0;
                let end = tail + u64::from(units);
                self.control.advance(tail, end, expanded.context());
            } else {
                self.read += 1;
            }
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
        self.data[super::place_of(position, self.data.len())].load(Ordering::Relaxed)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::format::expand::tests::{CONTEXT, TEXT, together};
    use crate::format::{Sample, kind};

    #[test]
    fn a_record_with_several_samples_is_free_once_the_last_is_read() {
        let units = together(kind::COMPACT, &[4 << 24 | 50, 6 << 24 | 51]);
        let mut data = units.clone();
        data.resize(64, 0);
        let data: Vec<_> = data.into_iter().map(AtomicU32::new).collect();
        let control = Control::new();
        // Its second lap.
        let start = 64;
        control.advance(0, start, Some(CONTEXT));
        let end = start + units.len() as u64;
        control.writer.head.store(end, Ordering::Relaxed);
        let mut record = [0; MAX_WORDS];
        let mut read = |reader: &mut Reader<'_>| {
            let words = reader.read(&mut record).unwrap()?;
            let sample = Sample::decode(&record[..words]).unwrap();
            Some((sample.sequence, sample.event, sample.period))
        };
        // One that ends in between has freed nothing: the next one reads all.
        let mut reader = Reader::new(&control, &data, TEXT);
        assert_eq!(read(&mut reader), Some((41, 2, 77)));
        assert_eq!(read(&mut reader), Some((42, 4, 50)));
        assert_eq!(reader.position(), start);
        let mut reader = Reader::new(&control, &data, TEXT);
        for (number, sample) in [(41, 2, 77), (42, 4, 50), (43, 6, 51)]
            .into_iter()
            .enumerate()
        {
            assert_eq!(reader.position(), start, "{number}");
            assert_eq!(read(&mut reader), Some(sample));
        }
        assert_eq!(reader.position(), end);
        assert_eq!(read(&mut reader), None);
        assert_eq!(control.context(end).map(|it| it.next), Some(44));
    }
}
