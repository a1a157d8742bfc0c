//! A record of a ring, however narrow its fields are there, as 64-bit words.

use super::sample::compact::{self, Context, Width};
use super::sample::{CROSSING_WORDS, FIXED_WORDS, MAX_WORDS, is_crossing};
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
    // As in a compact one, which it might have been: nothing else is told by the words on top of a
    // stack than who has called.
    let pc = record[7];
    keep_callers(pc, &mut record[5..7], text);
    let mut at = FIXED_WORDS;
    while at < words {
        let crossing = record[..words].get_mut(at..at + CROSSING_WORDS);
        match crossing {
            Some([marker, pc, stack_top @ ..]) if is_crossing(*marker) => {
                keep_callers(*pc, stack_top, text);
                at += CROSSING_WORDS;
            }
            _ => at += 1,
        }
    }
    let context = Context::of_sample(&record[..words]);
    Some(Expanded::Record { words, context })
}

/// Of the words on top of the stack of code at `pc` in the text, clears those that are not in the
/// text.
fn keep_callers(pc: u64, stack_top: &mut [u64], text: CodeRange) {
    let is_text = |word: u64| text.contains(CodeAddress(word));
    if is_text(pc) {
        for word in stack_top {
            *word *= u64::from(is_text(*word));
        }
    }
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

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const TEXT: CodeRange = CodeRange {
        start: CodeAddress(0x1000),
        end: CodeAddress(0x2000),
    };

    /// What is read of a wide sample with this program counter, these words on top of its stack,
    /// and this chain.
    fn read(pc: u64, stack_top: [u64; 2], chain: &[u64]) -> Vec<u64> {
        let words = FIXED_WORDS + chain.len();
        let head = RecordHead::of_words(kind::SAMPLE, words).to_bits();
        let [top, below] = stack_top;
        let fixed = [head, 1, 2, 3, 4, top, below, pc];
        let words = [&fixed[..], chain].concat();
        let halves = words
            .iter()
            .flat_map(|&word| [word & 0xffff_ffff, word >> 32]);
        let units: Vec<u32> = halves.map(|half| u32::try_from(half).unwrap()).collect();
        let mut record = [0; MAX_WORDS];
        let read = expand(&units, None, TEXT, &mut record);
        let context = Some(Context {
            time: 2,
            sp: 4,
            next: 2,
        });
        let words = words.len();
        assert_eq!(read, Some(Expanded::Record { words, context }));
        record[5..words].to_vec()
    }

    #[test]
    fn of_the_words_on_top_of_a_stack_callers_are_left() {
        assert_eq!(read(0x1000, [0xfff, 0x1fff], &[]), [0, 0x1fff, 0x1000]);
        assert_eq!(read(0x1000, [0x1000, 0x2000], &[]), [0x1000, 0, 0x1000]);
        // Code of which nothing is known.
        assert_eq!(read(0x2000, [7, 8], &[]), [7, 8, 0x2000]);
    }

    #[test]
    fn so_it_is_at_crossings_and_return_addresses_are_left_as_they_are() {
        let marker = 0x0100_c055_0000_0120;
        let chain = [
            9, marker, 0x1000, 7, 0x1001, 8, marker, 9, 7, 8, marker, 0x1000, 7,
        ];
        let left = [
            9, marker, 0x1000, 0, 0x1001, 8, marker, 9, 7, 8, marker, 0x1000, 7,
        ];
        assert_eq!(read(0x1000, [0; 2], &chain)[3..], left);
    }
}
