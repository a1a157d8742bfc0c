//! A record of a ring, however narrow its fields are there, as 64-bit words.

use super::sample::compact::{self, Context, Width};
use super::sample::{FIXED_WORDS, MAX_WORDS};
use super::{RecordHead, count, event, kind};
use crate::address::{CodeAddress, CodeRange};

/// The most units that a record can have: its head has a byte for them.
pub(crate) const MAX_UNITS: usize = u8::MAX as usize;

/// What a record is to its reader, and the context behind it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Expanded {
    /// Nothing: room that a writer has passed over.
    Filler { context: Option<Context> },
    /// So many words of a record.
    Record {
        words: usize,
        context: Option<Context>,
    },
}

impl Expanded {
    pub(crate) const fn context(self) -> Option<Context> {
        match self {
            Self::Filler { context } | Self::Record { context, .. } => context,
        }
    }
}

/// Writes a record of a ring to `record` with every field in its full width, whatever way the
/// writer has taken: a sample then has the same words. `None` if it is no record.
pub(crate) fn expand(
    units: &[u32],
    context: Option<Context>,
    text: CodeRange,
    record: &mut [u64; MAX_WORDS],
) -> Option<Expanded> {
    let head = RecordHead::from_unit(*units.first()?);
    let width = match head.kind {
        kind::FILLER => return Some(Expanded::Filler { context }),
        kind::SAMPLE => return expand_wide(units, text, record),
        kind::COUNT => {
            let words = copy_words(units, record).filter(|&words| words == count::WORDS)?;
            return Some(Expanded::Record { words, context });
        }
        kind::EVENT => {
            let words = copy_words(units, record).filter(|&words| words == event::EVENT_WORDS)?;
            return Some(Expanded::Record { words, context });
        }
        kind::COMPACT => Width::Bits24,
        kind::COMPACT_32 => Width::Bits32,
        _ => return None,
    };
    let (words, context) = compact::decode(units, width, context?, text, record)?;
    let context = Some(context);
    Some(Expanded::Record { words, context })
}

fn expand_wide(units: &[u32], text: CodeRange, record: &mut [u64; MAX_WORDS]) -> Option<Expanded> {
    let words = copy_words(units, record).filter(|&words| words >= FIXED_WORDS)?;
    let is_text = |word: u64| text.contains(CodeAddress(word));
    if is_text(record[7]) {
        // As in a compact one, which it might have been: nothing else is told by a word on top of
        // the stack than who has called.
        for word in &mut record[5..=6] {
            *word *= u64::from(is_text(*word));
        }
    }
    let context = Context::of_sample(&record[..words]);
    Some(Expanded::Record { words, context })
}

/// The words that the units are halves of; `None` if there are too many, or half a one.
fn copy_words(units: &[u32], record: &mut [u64; MAX_WORDS]) -> Option<usize> {
    let (pairs, rest) = units.as_chunks();
    if !rest.is_empty() {
        return None;
    }
    let words = record.get_mut(..pairs.len())?;
    for (word, &[low, high]) in words.iter_mut().zip(pairs) {
        *word = u64::from(low) | u64::from(high) << 32;
    }
    Some(pairs.len())
}
