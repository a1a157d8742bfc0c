//! A record of a ring, however narrow its fields are there, as 64-bit words.

use super::sample::compact::{self, Context, Width};
use super::sample::{CROSSING_WORDS, FIXED_WORDS, MAX_WORDS, is_crossing, is_marker};
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
        kind::GAP => return expand_gap(units),
        kind::COMPACT => Width::Bits24,
        kind::COMPACT_32 => Width::Bits32,
        _ => return None,
    };
    let (words, context) = compact::decode(units, width, context?, text, record)?;
    let context = Some(context);
    Some(Expanded::Record { words, context })
}

/// The samples of a record that are of one handler: what they say differs in the event and its
/// period.
///
/// The first is a compact one. Behind it there is a unit for each of the others, with the event in
/// the bits 24 to 32 and the period below. How many there are is in the high bits of the kind.
pub(crate) mod further {
    /// Where the number of them begins in the first unit.
    pub(crate) const SHIFT: u32 = 12;
    /// The first number that is none.
    pub(crate) const END: u32 = 1 << 4;
    /// The bits of the period.
    pub(crate) const PERIOD: u32 = 0xff_ffff;

    /// The number of them, by the record's first unit.
    pub(crate) const fn count(first_unit: u32) -> usize {
        (first_unit >> SHIFT & (END - 1)) as usize
    }
}

/// [`expand`] of the sample with this place in a record, of which there may be several. Returns
/// whether it is the last one as well. Only behind that the context is another one.
pub(crate) fn expand_nth(
    units: &[u32],
    nth: usize,
    context: Option<Context>,
    text: CodeRange,
    record: &mut [u64; MAX_WORDS],
) -> Option<(Expanded, bool)> {
    let count = further::count(*units.first()?);
    if count == 0 {
        return Some((expand(units, context, text, record)?, true));
    }
    let (first, others) = units.split_at_checked(units.len().checked_sub(count)?)?;
    let mut copy = [0; MAX_UNITS];
    let copy = copy.get_mut(..first.len())?;
    copy.copy_from_slice(first);
    // As it would be alone.
    let [units, kind, state, event] = copy.first()?.to_le_bytes();
    let units = units.checked_sub(u8::try_from(count).ok()?)?;
    let kind = kind & 0xf;
    *copy.first_mut()? = u32::from_le_bytes([units, kind, state, event]);
    if kind != kind::COMPACT {
        return None;
    }
    let expanded = expand(copy, context, text, record)?;
    let Expanded::Record { words, .. } = expanded else {
        return None;
    };
    if let Some(other) = nth.checked_sub(1) {
        let other = *others.get(other)?;
        // The fields of a wide sample.
        let [first, sequence, _, period, ..] = record;
        let [.., event] = other.to_le_bytes();
        *first = *first & !(0xff << 32) | u64::from(event) << 32;
        let number = (*sequence + nth as u64) & u64::from(u32::MAX);
        *sequence = *sequence & !u64::from(u32::MAX) | number;
        *period = (other & further::PERIOD).into();
    }
    let is_last = nth == count;
    let context = if is_last {
        expanded.context().map(|it| Context {
            next: it.next.wrapping_add(u32::try_from(count).unwrap_or(0)),
            ..it
        })
    } else {
        context
    };
    Some((Expanded::Record { words, context }, is_last))
}

/// What is known behind a record; `None` if it is none.
pub(crate) fn behind(units: &[u32], context: Option<Context>, text: CodeRange) -> Option<Expanded> {
    let last = further::count(*units.first()?);
    let (expanded, _) = expand_nth(units, last, context, text, &mut [0; MAX_WORDS])?;
    Some(expanded)
}

/// The units of a gap.
pub(crate) const GAP_UNITS: usize = 6;

/// In the first unit of a gap: there is a context behind it.
const GAP_HAS_CONTEXT: u32 = 1 << 16;

/// The record that stands in place of others that are not there, with what its reader has to know
/// of them.
pub(crate) fn gap(context: Option<Context>) -> [u32; GAP_UNITS] {
    let flag = if context.is_some() {
        GAP_HAS_CONTEXT
    } else {
        0
    };
    let Context { time, sp, next } = context.unwrap_or_default();
    let halves =
        |word: u64| [word & 0xffff_ffff, word >> 32].map(|it| u32::try_from(it).unwrap_or(0));
    let ([time, time_high], [sp, sp_high]) = (halves(time), halves(sp));
    let head = RecordHead {
        kind: kind::GAP,
        units: GAP_UNITS.to_le_bytes()[0],
    };
    let head = u32::try_from(head.to_bits()).unwrap_or(0) | flag;
    [head, time, time_high, sp, sp_high, next]
}

fn expand_gap(units: &[u32]) -> Option<Expanded> {
    let &[head, time, time_high, sp, sp_high, next] = units else {
        return None;
    };
    let word = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    let context = (head & GAP_HAS_CONTEXT != 0).then(|| Context {
        time: word(time, time_high),
        sp: word(sp, sp_high),
        next,
    });
    Some(Expanded::Filler { context })
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
            Some([marker, pc, stack_top @ ..]) if is_marker(*marker) => {
                if is_crossing(*marker) {
                    keep_callers(*pc, stack_top, text);
                }
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
pub(super) mod tests {
    use super::*;
    use crate::address::StackAddress;
    use crate::format::{ChainEnd, Sample, State};

    pub(crate) const TEXT: CodeRange = CodeRange {
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

    /// A compact sample of two words' chain, with these units behind it.
    pub(crate) fn together(kind: u8, further: &[u32]) -> Vec<u32> {
        let sample = Sample {
            sequence: 41,
            handler_cost: 300,
            event: 2,
            task: 3,
            state: State(9),
            time: 1010,
            period: 77,
            sp: StackAddress(0x7000),
            stack_top: [0x1008, 0],
            pc: CodeAddress(0x1004),
            exact: None,
            end: ChainEnd::Complete,
            chain_words: &[0x1010, 0x1020],
        };
        let mut units = [0_u32; compact::EXTENT_UNITS];
        let place = units.as_mut_ptr().cast();
        let text = compact::Offsets::new(TEXT);
        // SAFETY: of that length.
        let len = unsafe { compact::encode(&sample, CONTEXT, text, place) }.unwrap();
        let mut units = [&units[..len as usize], further].concat();
        let count = u32::try_from(further.len()).unwrap();
        let [.., state, event] = units[0].to_le_bytes();
        let head = (len + count).to_le_bytes()[0];
        units[0] = u32::from_le_bytes([
            head,
            kind | further.len().to_le_bytes()[0] << 4,
            state,
            event,
        ]);
        units
    }

    pub(crate) const CONTEXT: Context = Context {
        time: 1000,
        sp: 0x8000,
        next: 41,
    };

    #[test]
    fn samples_of_one_handler_differ_in_event_and_period() {
        for further in [
            &[][..],
            &[5 << 24 | 0xff_fffe],
            &[3 << 24 | 1, 255 << 24, 7 << 24 | 99],
        ] {
            let units = together(kind::COMPACT, further);
            let mut expected = vec![(2, 77)];
            expected.extend(further.iter().map(|unit| (unit >> 24, unit & 0xff_ffff)));
            for (nth, (event, period)) in (0..).zip(&expected) {
                let mut record = [0; MAX_WORDS];
                let read = expand_nth(&units, nth as usize, Some(CONTEXT), TEXT, &mut record);
                let (Expanded::Record { words, context }, is_last) = read.unwrap() else {
                    panic!("a filler");
                };
                let sample = Sample::decode(&record[..words]).unwrap();
                let found = (sample.event.into(), sample.period, sample.sequence);
                assert_eq!(found, (*event, u64::from(*period), 41 + nth));
                let alike = (sample.time, sample.task, sample.pc.0, sample.handler_cost);
                assert_eq!(alike, (1010, 3, 0x1004, 300));
                assert_eq!(sample.chain_words, [0x1010, 0x1020]);
                assert_eq!(is_last, nth as usize + 1 == expected.len());
                let next = if is_last { 42 + nth } else { 41 };
                assert_eq!(context, Some(Context { next, ..CONTEXT }));
            }
            let mut record = [0; MAX_WORDS];
            let beyond = expand_nth(&units, expected.len(), Some(CONTEXT), TEXT, &mut record);
            assert!(further.is_empty() || beyond.is_none());
        }
    }

    #[test]
    fn other_records_have_one_sample() {
        let mut record = [0; MAX_WORDS];
        for kind in [kind::SAMPLE, kind::COUNT, kind::FILLER, kind::COMPACT_32] {
            let units = together(kind, &[0, 0]);
            assert_eq!(
                expand_nth(&units, 0, Some(CONTEXT), TEXT, &mut record),
                None
            );
        }
        // Shorter than what is behind it.
        let short = [3 | 0xf5 << 8, 0, 0];
        assert_eq!(
            expand_nth(&short, 0, Some(CONTEXT), TEXT, &mut record),
            None
        );
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
