//! What the kernel and the host tool share, byte by byte: one definition for
//! the writer and the reader.
//!
//! * [`sample`]: the record that an overflow leaves in the ring.
//! * [`count`]: the record that a core leaves of each event in a run that counts.
//! * [`description`]: what a run is, said once, when sampling starts.
//! * [`event`]: an event that is counted from some later time on.
//! * [`ring`]: a core's records, from one writer to one reader.
//! * [`region`]: the block of memory that the rings lie in.
//!
//! Everything is made of little-endian 64-bit words, because a ring is. As tables:
//! `docs/region.md`.

pub mod count;
pub mod description;
#[cfg(all(test, not(loom)))]
mod documented;
pub mod event;
mod named;
pub mod note;
pub mod region;
pub mod ring;
pub mod sample;

pub use count::Count;
pub use description::{
    AimDescription, Clock, Delivery, Description, EventDescription, Source, Text,
};
pub use named::UnknownValue;
pub(crate) use named::named;
pub use sample::{ChainEnd, ChainEntry, Sample, State};

/// The version of everything in this module. A reader
/// refuses another one.
pub const VERSION: u32 = 6;

/// A record's first word says what it is and how long.
///
/// ```
/// use profiler::format::{RecordHead, kind};
///
/// // A sample of 11 words; what else its first word says is the sample's own.
/// let head = RecordHead::from_word(0x0003_000c_0001_000b);
/// assert_eq!(head, RecordHead { kind: kind::SAMPLE, words: 11 });
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordHead {
    /// What the record is; see [`kind`].
    pub kind: u8,
    /// The record's length in words, the first included.
    pub words: u16,
}

/// What a record can be.
pub mod kind {
    /// A [`super::Sample`].
    pub const SAMPLE: u8 = 1;
    /// A [`super::Count`].
    pub const COUNT: u8 = 2;
    /// A [`super::event::NewEvent`].
    pub const EVENT: u8 = 3;
}

impl RecordHead {
    /// Reads the head out of a record's first word.
    #[must_use]
    #[allow(clippy::cast_possible_truncation)] // the fields are cut out
    pub const fn from_word(word: u64) -> Self {
        Self {
            words: word as u16,
            kind: (word >> 16) as u8,
        }
    }

    /// The low 24 bits of a record's first word; the kind defines the others.
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        self.words as u64 | (self.kind as u64) << 16
    }
}

/// The length in words of the record whose first word is `word`, for
/// [`crate::format::ring::Reader::read`].
#[must_use]
pub fn record_words(word: u64) -> usize {
    usize::from(RecordHead::from_word(word).words)
}
