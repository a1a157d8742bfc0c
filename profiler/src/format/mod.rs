//! What the kernel and the host tool share, byte by byte: one definition for
//! the writer and the reader.
//!
//! * [`account`]: what a core has spent its time on.
//! * [`sample`]: the record that an overflow leaves in the ring.
//! * [`count`]: the record that a core leaves of each event in a run that counts.
//! * [`description`]: what a run is, said once, when sampling starts.
//! * [`process`]: a process of the user's, by the number that records have.
//! * [`event`]: an event that is counted from some later time on.
//! * [`ring`]: a core's records, from one writer to one reader.
//! * [`table`]: a core's chains, counted in place.
//! * [`region`]: the block of memory that the rings lie in.
//! * [`wire`]: the same as it leaves a machine byte by byte.
//!
//! Everything is little-endian. A ring is made of units of 4 bytes, and most of its records of
//! 64-bit words; the usual sample is narrower ([`sample`]). As tables: `docs/region.md`.

pub mod account;
pub mod count;
pub mod description;
#[cfg(all(test, not(loom)))]
mod documented;
pub mod event;
mod expand;
#[cfg(not(all(test, loom)))]
pub mod kept;
mod named;
pub mod note;
pub mod process;
pub mod region;
pub mod ring;
pub mod sample;
pub mod table;
#[cfg(all(test, not(loom)))]
mod test_memory;
#[cfg(not(all(test, loom)))]
pub mod wire;

pub use count::Count;
pub use description::{
    AimDescription, Clock, ClockReference, Delivery, Description, EventDescription, Source, Text,
};
pub(crate) use expand::further;
pub use named::UnknownValue;
pub(crate) use named::named;
pub use sample::{ChainEnd, ChainEntry, Sample, State};

/// The version of everything in this module. A reader
/// refuses another one.
pub const VERSION: u32 = 10;

/// A record's first unit says what it is and how long.
///
/// ```
/// use profiler::format::{RecordHead, kind};
///
/// // A sample of 22 units, which are 11 words; what else its first word says is the sample's own.
/// let head = RecordHead::from_word(0x0003_0000_0c00_0116);
/// assert_eq!(head, RecordHead { kind: kind::SAMPLE, units: 22 });
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordHead {
    /// What the record is; see [`kind`].
    pub kind: u8,
    /// The record's length in units of 4 bytes, the first included.
    pub units: u8,
}

/// What a record can be.
pub mod kind {
    /// A [`super::Sample`] of whole words.
    pub const SAMPLE: u8 = 1;
    /// A [`super::Count`].
    pub const COUNT: u8 = 2;
    /// A [`super::event::NewEvent`].
    pub const EVENT: u8 = 3;
    /// Nothing: room that a writer has passed over.
    pub const FILLER: u8 = 4;
    /// A [`super::Sample`] with narrow fields. In the kind's high four bits: how many more samples
    /// of the same handler it has.
    pub const COMPACT: u8 = 5;
    /// The same for a text of 16 MiB and more.
    pub const COMPACT_32: u8 = 6;
    /// Stands in place of records that have not arrived by wire. No kernel writes it.
    pub const GAP: u8 = 7;
}

impl RecordHead {
    /// Reads the head out of a record's first unit.
    #[must_use]
    pub const fn from_unit(unit: u32) -> Self {
        let [units, kind, ..] = unit.to_le_bytes();
        Self { kind, units }
    }

    /// Reads the head out of the first word of a record that is made of words.
    #[must_use]
    #[allow(clippy::cast_possible_truncation)] // the low half
    pub const fn from_word(word: u64) -> Self {
        Self::from_unit(word as u32)
    }

    /// The low 16 bits of a record's first unit; the kind defines the others.
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        self.units as u64 | (self.kind as u64) << 8
    }

    /// The head of a record of so many words.
    ///
    /// # Panics
    ///
    /// If there are more than a record can have.
    #[must_use]
    pub const fn of_words(kind: u8, words: usize) -> Self {
        assert!(words <= u8::MAX as usize / 2, "a record too long");
        #[allow(clippy::cast_possible_truncation)] // asserted
        let units = 2 * words as u8;
        Self { kind, units }
    }

    /// The record's length in words, if it is made of words.
    #[must_use]
    pub const fn words(self) -> usize {
        self.units as usize / 2
    }
}

/// The length in words of the record of words whose first one is `word`, as
/// [`crate::format::ring::Reader::read`] makes them.
#[must_use]
pub fn record_words(word: u64) -> usize {
    RecordHead::from_word(word).words()
}
