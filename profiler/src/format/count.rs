//! The count: what a core says of an event when it has done its work, where events
//! are counted and not sampled.
//!
//! ```text
//! word 0   0..8 length in units   8..16 kind   16..24 flags   24..32 event   32..48 process
//! word 1   how often the event happened while it was counted
//! word 2   ticks that the work ran on the core
//! word 3   ticks of these in which the event was counted
//! ```
//!
//! A *tick* is what the run's clock counts (see [`super::Clock`]), and the *event* an
//! index into [`super::Description::events`]. Where the flag [`OF_PROCESS`] is set the
//! count is a part of what the core has counted: while it ran the process that
//! addresses have by this number, or, for 0, none. There may be several of a process,
//! which add up.

use core::fmt;

use super::{RecordHead, kind};

/// How often an event happened, as far as that was seen.
///
/// ```
/// use profiler::format::count::Reading;
///
/// // It took turns with others, and was counted for a quarter of the time.
/// let reading = Reading { count: 250, enabled: 4000, running: 1000 };
/// assert!(reading.is_scaled());
/// assert_eq!(reading.scaled(), Some(1000));
///
/// // Its turn never came: that is not 0.
/// assert_eq!(Reading { running: 0, ..reading }.scaled(), None);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Reading {
    /// How often, while it was counted.
    pub count: u64,
    /// How long the code ran, in ticks.
    pub enabled: u64,
    /// For how long of that the event was counted.
    pub running: u64,
}

impl Reading {
    /// Returns true if the event was counted a part of the time only, so that how often it
    /// happened is an estimate.
    #[must_use]
    pub const fn is_scaled(&self) -> bool {
        self.running < self.enabled
    }

    /// How often it happened in all that time, rounded; `None` if it was never counted.
    #[must_use]
    pub fn scaled(&self) -> Option<u64> {
        if self.running == 0 {
            return None;
        }
        if !self.is_scaled() {
            return Some(self.count);
        }
        let [count, enabled, running] = [self.count, self.enabled, self.running].map(u128::from);
        let scaled = (count * enabled + running / 2) / running;
        Some(u64::try_from(scaled).unwrap_or(u64::MAX))
    }
}

/// The words of a count.
pub const WORDS: usize = 4;

/// The event has no count, and never will on this core.
const NOT_SUPPORTED: u64 = 1 << 16;
/// The count is of a process.
pub const OF_PROCESS: u64 = 1 << 17;

/// The count of one event on one core.
///
/// ```
/// use profiler::format::Count;
/// use profiler::format::count::Reading;
///
/// let reading = Reading { count: 7, enabled: 9, running: 9 };
/// let count = Count { event: 1, is_supported: true, process: None, reading };
/// assert_eq!(count.encode(), [0x0100_0208, 7, 9, 9]);
/// assert_eq!(Count::decode(&count.encode()), Ok(count));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Count {
    /// The event: an index into [`super::Description::events`].
    pub event: u8,
    /// True if the core can count it at all.
    pub is_supported: bool,
    /// The process that it happened in, by the number that addresses have; `Some(0)`: in none.
    /// `None`: on the core, whatever that ran.
    pub process: Option<u16>,
    /// How often it happened. An event that never had a counter is *not counted*, which
    /// differs from 0.
    pub reading: Reading,
}

/// Why the words of a record are no count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CountError {
    /// The record is of another kind.
    OtherKind(u8),
    /// The record is not as long as a count, or not as long as its first word says.
    Length(usize),
}

impl fmt::Display for CountError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherKind(kind) => write!(f, "a record of kind {kind}, not a count"),
            Self::Length(words) => write!(f, "a record of {words} words is not a count"),
        }
    }
}

impl core::error::Error for CountError {}

impl Count {
    /// The record.
    #[must_use]
    pub fn encode(&self) -> [u64; WORDS] {
        let head = RecordHead::of_words(kind::COUNT, WORDS);
        let flags = if self.is_supported { 0 } else { NOT_SUPPORTED };
        let process = self
            .process
            .map_or(0, |number| OF_PROCESS | u64::from(number) << 32);
        let Reading {
            count,
            enabled,
            running,
        } = self.reading;
        [
            head.to_bits() | flags | process | u64::from(self.event) << 24,
            count,
            enabled,
            running,
        ]
    }

    /// Reads a count out of a whole record. Flags that this version does not know
    /// are ignored.
    ///
    /// # Errors
    ///
    /// [`CountError`] if they are not.
    #[allow(clippy::cast_possible_truncation)] // the field is cut out
    pub fn decode(record: &[u64]) -> Result<Self, CountError> {
        let Some(&first) = record.first() else {
            return Err(CountError::Length(0));
        };
        let head = RecordHead::from_word(first);
        if head.kind != kind::COUNT {
            return Err(CountError::OtherKind(head.kind));
        }
        match *record {
            [_, count, enabled, running] if head.words() == WORDS => Ok(Self {
                event: (first >> 24) as u8,
                is_supported: first & NOT_SUPPORTED == 0,
                process: (first & OF_PROCESS != 0).then_some((first >> 32) as u16),
                reading: Reading {
                    count,
                    enabled,
                    running,
                },
            }),
            _ => Err(CountError::Length(record.len())),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::format::Sample;

    #[test]
    fn the_words_are_where_they_are_said_to_be() {
        let count = Count {
            event: 5,
            is_supported: false,
            process: None,
            reading: Reading {
                count: 7,
                enabled: 9,
                running: 8,
            },
        };
        assert_eq!(count.encode(), [0x0501_0208, 7, 9, 8]);
        let process = Some(0x123);
        let of_process = Count { process, ..count };
        assert_eq!(of_process.encode(), [0x0123_0503_0208, 7, 9, 8]);
        // A reader that knows samples only passes it over.
        assert!(Sample::decode(&count.encode()).is_err());
    }

    #[test]
    fn a_record_of_another_kind_is_none() {
        let record = [0x0500_0108, 7, 9, 8];
        assert_eq!(Count::decode(&record), Err(CountError::OtherKind(1)));
    }

    #[test]
    fn a_flag_of_a_later_version_is_passed_over() {
        let record = [0x8000_0208 | 1 << 22, 1, 2, 2];
        let count = Count::decode(&record).unwrap();
        assert!(count.is_supported && count.event == 0x80);
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(
            event in any::<u8>(),
            is_supported in any::<bool>(),
            process in any::<Option<u16>>(),
            [count, enabled, running] in any::<[u64; 3]>(),
        ) {
            let reading = Reading { count, enabled, running };
            let count = Count { event, is_supported, process, reading };
            prop_assert_eq!(Count::decode(&count.encode()), Ok(count));
        }

        #[test]
        fn any_words_are_taken_or_refused(record in prop::collection::vec(any::<u64>(), 0..8)) {
            match Count::decode(&record) {
                Ok(_) => prop_assert_eq!(record.len(), WORDS),
                Err(CountError::Length(length)) => prop_assert_eq!(length, record.len()),
                Err(CountError::OtherKind(kind)) => prop_assert_ne!(kind, super::kind::COUNT),
            }
        }

        #[test]
        fn a_count_of_another_length_is_none(words in 0..9_usize, length in 0..9_u64) {
            prop_assume!(words != WORDS || length != WORDS as u64);
            let mut record = vec![0; words];
            if let Some(first) = record.first_mut() {
                *first = (2 * length) | 2 << 8;
            }
            prop_assert_eq!(Count::decode(&record), Err(CountError::Length(words)));
        }
    }
}
