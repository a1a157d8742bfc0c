//! The event record: what the samples behind it mean by an event's number, where that
//! was decided after sampling had begun.
//!
//! ```text
//! word 0    0..8 length in units   8..16 kind   16..24 the event's number
//! word 1    the requested period, in events
//! word 2    the period that was set
//! word 3    the shortest period that progresses
//! word 4…11 the event's name, with zeros behind it
//! ```

use super::{EventDescription, RecordHead, Text, kind};

/// Words of the record.
pub const EVENT_WORDS: usize = 4 + NAME_WORDS;

const NAME_WORDS: usize = 8;

/// An event that gets its number while the run samples.
///
/// ```
/// use profiler::format::event::NewEvent;
/// use profiler::format::{EventDescription, Text};
///
/// let event = EventDescription {
///     name: Text::new("instructions"),
///     requested_period: 500,
///     period: 500,
///     floor: 120,
/// };
/// // From this record on, samples whose event is 3 mean this one.
/// let record = NewEvent { number: 3, event }.encode();
/// assert_eq!(NewEvent::decode(&record).unwrap().event, event);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NewEvent {
    /// The number; greater than all before it.
    pub number: u8,
    /// The event.
    pub event: EventDescription,
}

impl NewEvent {
    /// The record.
    #[must_use]
    pub fn encode(&self) -> [u64; EVENT_WORDS] {
        let Self { number, event } = self;
        let head = RecordHead::of_words(kind::EVENT, EVENT_WORDS);
        let mut name = [0; NAME_WORDS * 8];
        let text = event.name.as_str().as_bytes();
        name[..text.len()].copy_from_slice(text);
        let mut record = [0; EVENT_WORDS];
        record[0] = head.to_bits() | u64::from(*number) << 16;
        record[1..4].copy_from_slice(&[event.requested_period, event.period, event.floor]);
        for (word, bytes) in record[4..].iter_mut().zip(name.as_chunks().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        record
    }

    /// Reads a record; `None` if it is of another kind or not valid.
    #[must_use]
    pub fn decode(record: &[u64]) -> Option<Self> {
        let &[first, requested_period, period, floor, ref name @ ..] = record else {
            return None;
        };
        let head = RecordHead::from_word(first);
        if head.kind != kind::EVENT || record.len() != EVENT_WORDS {
            return None;
        }
        let mut bytes = [0; NAME_WORDS * 8];
        for (bytes, word) in bytes.as_chunks_mut().0.iter_mut().zip(name) {
            *bytes = word.to_le_bytes();
        }
        let end = bytes.iter().position(|&byte| byte == 0);
        let name = core::str::from_utf8(&bytes[..end.unwrap_or(bytes.len())]).ok()?;
        Some(Self {
            number: first.to_le_bytes()[2],
            event: EventDescription {
                name: Text::new(name),
                requested_period,
                period,
                floor,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(
            number in any::<u8>(),
            name in "[a-z:/=,]{0,64}",
            numbers in any::<[u64; 3]>(),
        ) {
            let [requested_period, period, floor] = numbers;
            let name = Text::new(&name);
            let event = EventDescription { name, requested_period, period, floor };
            let event = NewEvent { number, event };
            let record = event.encode();
            prop_assert_eq!(crate::format::record_words(record[0]), record.len());
            prop_assert_eq!(NewEvent::decode(&record), Some(event));
            prop_assert_eq!(NewEvent::decode(&record[1..]), None);
        }

        #[test]
        fn any_words_decode_or_do_not(record in prop::collection::vec(any::<u64>(), 0..20)) {
            let _ = NewEvent::decode(&record);
        }
    }
}
