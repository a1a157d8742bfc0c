//! A look at what a ring's memory still has, beside its reader.

use core::fmt;

use super::place_of;
use super::writer::{EXTENT, Writer};
use crate::address::CodeRange;
use crate::format::RecordHead;
use crate::format::expand::{Expanded, MAX_UNITS, expand_nth};
use crate::format::sample::MAX_WORDS;
use crate::format::sample::compact::Context;
use crate::sync::{AtomicU32, Ordering};
use core::sync::atomic::fence;

/// Units that could not be read, as the core has written over them meanwhile, or as they are no
/// records. What follows them can be.
///
/// ```
/// use profiler::format::ring::Skipped;
///
/// let skipped = Skipped { units: 40 };
/// assert_eq!(skipped.to_string(), "40 units of a ring could not be read");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Skipped {
    /// How many of them there are, of 4 bytes.
    pub units: u64,
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} units of a ring could not be read", self.units)
    }
}

impl core::error::Error for Skipped {}

/// The records that a ring's memory has, the oldest first, whether its reader has copied them or
/// not: the newest ones of its core, as many as the memory holds. It changes nothing, and what is written
/// meanwhile is left out.
///
/// A clone reads on from the same record.
///
/// ```
/// use profiler::format::Sample;
/// use profiler::format::sample::MAX_WORDS;
/// use profiler::sampler::{Sampler, Target};
///
/// /// The newest samples of a core that are in idle code, and the units that could not be read.
/// fn idle<T: Target>(sampler: &Sampler<T>, core: u32) -> (u64, u64) {
///     let (mut idle, mut skipped) = (0, 0);
///     let Some(mut recent) = sampler.recent(core) else {
///         return (0, 0);
///     };
///     let mut record = [0; MAX_WORDS];
///     loop {
///         match recent.read(&mut record) {
///             Ok(None) => return (idle, skipped),
///             Ok(Some(words)) => {
///                 let sample = Sample::decode(&record[..words]);
///                 idle += u64::from(sample.is_ok_and(|it| it.task == 0));
///             }
///             Err(gap) => skipped += gap.units,
///         }
///     }
/// }
/// ```
#[derive(Clone)]
pub struct Recent<'ring> {
    writer: &'ring Writer<'ring>,
    /// What the addresses in compact samples are offsets from.
    text: CodeRange,
    /// The position of the next record, what is known before it, and how many of its samples were read.
    position: u64,
    context: Option<Context>,
    read: usize,
    /// Where the records end.
    end: u64,
}

impl<'ring> Recent<'ring> {
    /// The records of this writer's ring, in a kernel with this text.
    pub(crate) fn new(writer: &'ring Writer<'ring>, text: CodeRange) -> Self {
        let end = writer.control.writer.head.load(Ordering::Acquire);
        let mut recent = Self {
            writer,
            text,
            position: 0,
            context: None,
            read: 0,
            end,
        };
        recent.skip_to(recent.first_intact());
        recent
    }

    /// Copies the next record to `record`, as [`Reader::read`](super::Reader::read) does. Returns its length in
    /// words, or `None` if there are no more. It ends, whatever the memory holds.
    ///
    /// # Errors
    ///
    /// [`Skipped`] if there are units that could not be read. The next call reads what is behind them.
    pub fn read(&mut self, record: &mut [u64; MAX_WORDS]) -> Result<Option<usize>, Skipped> {
        while self.position < self.end {
            let Some((expanded, is_last, units)) = self.expand(record) else {
                return Err(self.skip());
            };
            if is_last {
                self.read = 0;
                self.position += units;
                self.context = expanded.context();
            } else {
                self.read += 1;
            }
            if let Expanded::Record { words, .. } = expanded {
                return Ok(Some(words));
            }
        }
        Ok(None)
    }

    /// The record at the position, whether that was the last sample of it, and its units; `None`
    /// if there is no whole one.
    fn expand(&self, record: &mut [u64; MAX_WORDS]) -> Option<(Expanded, bool, u64)> {
        let units = RecordHead::from_unit(self.unit(self.position)).units;
        if u64::from(units) > self.end - self.position {
            return None;
        }
        let mut copy = [0; MAX_UNITS];
        let copy = &mut copy[..units.into()];
        for (position, unit) in (self.position..).zip(&mut *copy) {
            *unit = self.unit(position);
        }
        // What was copied was read before the writer's position is.
        fence(Ordering::Acquire);
        if self.position < self.first_intact() {
            return None;
        }
        let (expanded, is_last) = expand_nth(copy, self.read, self.context, self.text, record)?;
        Some((expanded, is_last, units.into()))
    }

    /// Goes on at the next record that is known of.
    fn skip(&mut self) -> Skipped {
        let before = self.position;
        self.skip_to(self.first_intact().max(before + 1));
        Skipped {
            units: self.position - before,
        }
    }

    /// Goes on at the first record from `position` on that is known of.
    fn skip_to(&mut self, position: u64) {
        let found = self.writer.marks.first_from(position);
        let found = found.filter(|&(position, _)| position < self.end);
        (self.position, self.context) = found.unwrap_or((self.end, None));
        self.read = 0;
    }

    /// The first unit that nothing has been written over. What is under way lies behind what is reserved,
    /// or is a write in place of an extent from there on.
    fn first_intact(&self) -> u64 {
        let reserved = self.writer.reserved.load(Ordering::Relaxed);
        (reserved + EXTENT).saturating_sub(self.data().len() as u64)
    }

    fn unit(&self, position: u64) -> u32 {
        let data = self.data();
        data[place_of(position, data.len())].load(Ordering::Relaxed)
    }

    const fn data(&self) -> &'ring [AtomicU32] {
        self.writer.data
    }
}

#[cfg(test)]
mod tests;
