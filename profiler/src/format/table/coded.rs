//! Entries as they leave by a wire: each says what is other than in the one before it, of which in the
//! table's order (`order.rs`) there is little. The first of a block has none before it, so each
//! block is read by itself.
//!
//! As tables, with an example: `docs/wire.md`.
//!
//! ```text
//! byte 0   0..3 the count less 1, or 7: the number is what is more
//!          3..7 the program counter less that before, or 15: the number is the difference
//!          7 a byte of flags follows. If not, callers, task, state and event are those before, and
//!            both words on top of the stack are none of the text
//! flags    0..2 the word on top of the stack: 0 not of the text, 1 the innermost caller, 2 the same as
//!            before, 3 a number says: the difference from the program counter
//!          2..4 the word below it, likewise
//!          4 other callers   5 another kind, state, event or task
//!          7 the key follows as it stands, and nothing else of this is used but the count
//! numbers  7 bits a byte, the lowest first, bit 7: there are more. Differences are of 32 bits, and
//!          doubled, less 1 and positive if they are negative
//! ```
//!
//! In their order: count, program counter, then kind, state, event and task (a byte each), callers, words on
//! top of the stack. Callers: how many of the innermost ones before are not there, how many are new,
//! and the new ones, outermost first, each as its difference from the one around it.

use core::ops::ControlFlow;

use super::MAX_KEY_WORDS;
use super::chain::{Chain, MAX_CALLERS, MAX_WIDE_CALLERS};
use super::key::Key;

/// The numbers of byte 0 that are all.
const MOST_COUNT: u64 = 7;
const MOST_STEP: u32 = 15;
const HAS_FLAGS: u8 = 1 << 7;

const CALLERS: u8 = 1 << 4;
const HEAD: u8 = 1 << 5;
const UNUSED: u8 = 1 << 6;
const AS_IT_STANDS: u8 = 1 << 7;

/// How a word on top of the stack is said.
const NO_TEXT: u8 = 0;
const INNERMOST: u8 = 1;
const AS_BEFORE: u8 = 2;
const DIFFERENCE: u8 = 3;

/// The most bytes of an entry: of the first two bytes, the count, five for each number, of the head,
/// of the callers.
pub(in crate::format) const MOST_BYTES: usize = 2 + 10 + 5 * 5 + 4 + MOST_CALLER_BYTES;

/// Of these there are as many as have three bytes, and then a difference has four; or fewer that have
/// four, with five.
const MOST_CALLER_BYTES: usize = {
    let (narrow, wide) = (4 * MAX_CALLERS, 5 * MAX_WIDE_CALLERS);
    if narrow > wide { narrow } else { wide }
};

/// Bytes, with a place behind the last one that is written.
struct Output<'a> {
    bytes: &'a mut [u8],
    len: usize,
}

impl Output<'_> {
    fn push(&mut self, byte: u8) -> Option<()> {
        *self.bytes.get_mut(self.len)? = byte;
        self.len += 1;
        Some(())
    }

    fn number(&mut self, mut number: u64) -> Option<()> {
        while number >= 0x80 {
            self.push(number.to_le_bytes()[0] | 0x80)?;
            number >>= 7;
        }
        self.push(number.to_le_bytes()[0])
    }

    fn difference(&mut self, from: u32, to: u32) -> Option<()> {
        let difference = to.wrapping_sub(from).cast_signed();
        self.number(
            ((difference << 1) ^ (difference >> 31))
                .cast_unsigned()
                .into(),
        )
    }
}

/// Bytes from outside.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    fn number(&mut self) -> Option<u64> {
        let step = |number: u64, shift| {
            let Some(byte) = self.byte() else {
                return ControlFlow::Break(None);
            };
            let bits = u64::from(byte & 0x7f);
            let number = number | bits << shift;
            if number >> shift != bits {
                ControlFlow::Break(None)
            } else if byte < 0x80 {
                ControlFlow::Break(Some(number))
            } else {
                ControlFlow::Continue(number)
            }
        };
        match (0..u64::BITS).step_by(7).try_fold(0, step) {
            ControlFlow::Break(number) => number,
            ControlFlow::Continue(_) => None,
        }
    }

    fn difference(&mut self, from: u32) -> Option<u32> {
        let number = u32::try_from(self.number()?).ok()?;
        Some(from.wrapping_add(number >> 1 ^ (number & 1).wrapping_neg()))
    }
}

/// Writes or reads the entries of a block, one behind the other.
#[derive(Default)]
pub(in crate::format) struct Coder {
    before: Chain,
}

impl Coder {
    /// Writes an entry, the count and the words of the key, to the start of `bytes`. Returns how many
    /// bytes it takes; `None` if there is no room, or it is no entry.
    #[inline(never)]
    pub(in crate::format) fn write(&mut self, entry: &[u64], bytes: &mut [u8]) -> Option<usize> {
        let (&count, words) = entry.split_first()?;
        let key = Key::read(words)?;
        let mut out = Output { bytes, len: 0 };
        let more = count.wrapping_sub(1);
        let token = more.min(MOST_COUNT).to_le_bytes()[0];
        let Some(chain) = Chain::of(&key) else {
            out.push(token | HAS_FLAGS)?;
            out.push(AS_IT_STANDS)?;
            write_count(&mut out, more)?;
            for byte in key.words().iter().flat_map(|word| word.to_le_bytes()) {
                out.push(byte)?;
            }
            return Some(out.len);
        };
        let flags = self.flags(&chain);
        let step = chain.pc.wrapping_sub(self.before.pc).min(MOST_STEP);
        let has_flags = if flags == 0 { 0 } else { HAS_FLAGS };
        out.push(token | step.to_le_bytes()[0] << 3 | has_flags)?;
        if flags != 0 {
            out.push(flags)?;
        }
        write_count(&mut out, more)?;
        if step == MOST_STEP {
            out.difference(self.before.pc, chain.pc)?;
        }
        self.write_others(&mut out, flags, &chain)?;
        self.before = chain;
        Some(out.len)
    }

    /// Which of the fields have to be said.
    fn flags(&self, chain: &Chain) -> u8 {
        let before = &self.before;
        let top = |which: usize| match chain.stack_top[which] {
            word if word == chain.width.no_text() => NO_TEXT,
            word if chain.callers().last() == Some(&word) => INNERMOST,
            word if word == before.stack_top[which] => AS_BEFORE,
            _ => DIFFERENCE,
        };
        let is = |differs, flag| if differs { flag } else { 0 };
        top(0)
            | top(1) << 2
            | is(chain.callers() != before.callers(), CALLERS)
            | is(chain.head() != before.head(), HEAD)
    }

    fn write_others(&self, out: &mut Output<'_>, flags: u8, chain: &Chain) -> Option<()> {
        if flags & HEAD != 0 {
            for byte in chain.head() {
                out.push(byte)?;
            }
        }
        if flags & CALLERS != 0 {
            let (own, before) = (chain.callers(), self.before.callers());
            let same = own.iter().zip(before).take_while(|(a, b)| a == b).count();
            out.number((before.len() - same) as u64)?;
            out.number((own.len() - same) as u64)?;
            let mut around = same.checked_sub(1).map_or(0, |last| own[last]);
            for &caller in &own[same..] {
                out.difference(around, caller)?;
                around = caller;
            }
        }
        for (which, word) in chain.stack_top.into_iter().enumerate() {
            if flags >> (2 * which) & 3 == DIFFERENCE {
                out.difference(chain.pc, word)?;
            }
        }
        Some(())
    }

    /// Reads an entry at the start of `bytes`, which are what is behind it then: its count and its key.
    /// `None` if it is none.
    pub(in crate::format) fn read(&mut self, bytes: &mut &[u8]) -> Option<(u64, Key)> {
        let mut input = Input(bytes);
        let token = input.byte()?;
        let flags = if token & HAS_FLAGS == 0 {
            0
        } else {
            input.byte()?
        };
        let mut more = u64::from(token) & MOST_COUNT;
        if more == MOST_COUNT {
            more = more.checked_add(input.number()?)?;
        }
        let count = more.wrapping_add(1);
        let key = if flags == AS_IT_STANDS {
            read_key(&mut input)?
        } else if flags & (AS_IT_STANDS | UNUSED) != 0 {
            return None;
        } else {
            let step = u32::from(token >> 3) & MOST_STEP;
            let chain = self.read_chain(&mut input, step, flags)?;
            let key = chain.key()?;
            self.before = chain;
            key
        };
        *bytes = input.0;
        Some((count, key))
    }

    fn read_chain(&self, input: &mut Input<'_>, step: u32, flags: u8) -> Option<Chain> {
        let mut chain = self.before;
        chain.pc = if step == MOST_STEP {
            input.difference(chain.pc)?
        } else {
            chain.pc.checked_add(step)?
        };
        if flags & HEAD != 0 {
            let [kind, state, event, task] =
                [input.byte()?, input.byte()?, input.byte()?, input.byte()?];
            chain.set_head([kind, state, event, task])?;
        }
        if flags & CALLERS != 0 {
            let gone = usize::try_from(input.number()?).ok()?;
            let same = chain.callers().len().checked_sub(gone)?;
            chain.truncate(same);
            for _ in 0..input.number()? {
                let around = chain.callers().last().copied().unwrap_or(0);
                chain.push(input.difference(around)?)?;
            }
        }
        for which in 0..chain.stack_top.len() {
            chain.stack_top[which] = match flags >> (2 * which) & 3 {
                NO_TEXT => chain.width.no_text(),
                INNERMOST => *chain.callers().last()?,
                AS_BEFORE => self.before.stack_top[which],
                _ => input.difference(chain.pc)?,
            };
        }
        Some(chain)
    }
}

fn write_count(out: &mut Output<'_>, more: u64) -> Option<()> {
    match more.checked_sub(MOST_COUNT) {
        Some(rest) => out.number(rest),
        None => Some(()),
    }
}

/// A key as it stands.
fn read_key(input: &mut Input<'_>) -> Option<Key> {
    let mut words = [0; MAX_KEY_WORDS];
    for (word, bytes) in words.iter_mut().zip(input.0.as_chunks().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    let there = (input.0.len() / 8).min(words.len());
    let key = Key::read(&words[..there])?;
    input.0 = &input.0[8 * key.words().len()..];
    Some(key)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::format::kind;

    /// An entry as a handler makes it, and sometimes one that only looks like a key.
    fn entry() -> impl Strategy<Value = Vec<u64>> {
        let field = prop_oneof![
            Just(0),
            0..40_u32,
            Just(0xff_ffff),
            0..=0xff_ffff_u32,
            any::<u32>()
        ];
        let callers = vec(field.clone(), 0..80);
        let head = (
            prop_oneof![Just(kind::COMPACT), Just(kind::COMPACT_32)],
            0..3_u8,
            0..3_u8,
            0..3_u8,
        );
        let count = prop_oneof![0..10_u64, 0..1000_u64, any::<u64>()];
        let made = (
            count.clone(),
            head,
            field.clone(),
            [field.clone(), field],
            callers,
        )
            .prop_filter_map(
                "more than fits",
                |(count, (kind, state, event, task), pc, stack_top, callers)| {
                    let mut chain = Chain::default();
                    chain.set_head([kind, state, event, task])?;
                    let mask = chain.width.no_text();
                    let cut = |field: u32| field & mask;
                    (chain.pc, chain.stack_top) = (cut(pc), stack_top.map(cut));
                    for &caller in &callers {
                        chain.push(cut(caller))?;
                    }
                    Some([&[count], chain.key()?.words()].concat())
                },
            );
        let any = (count, vec(any::<u64>(), MAX_KEY_WORDS))
            .prop_filter_map("no key", |(count, words)| {
                Some([&[count], Key::read(&words)?.words()].concat())
            });
        prop_oneof![9 => made, 1 => any]
    }

    fn coded(entries: &[Vec<u64>]) -> Vec<u8> {
        let (mut coder, mut all) = (Coder::default(), Vec::new());
        for entry in entries {
            let mut bytes = [0xa5; MOST_BYTES];
            let len = coder.write(entry, &mut bytes).expect("there is room");
            all.extend(&bytes[..len]);
        }
        all
    }

    /// Those before what is none.
    fn read(mut bytes: &[u8]) -> (Vec<Vec<u64>>, usize) {
        let (mut coder, mut entries) = (Coder::default(), Vec::new());
        while let Some((count, key)) = coder.read(&mut bytes) {
            entries.push([&[count], key.words()].concat());
        }
        (entries, bytes.len())
    }

    #[test]
    fn an_entry_like_the_one_before_is_one_byte() {
        let mut chain = Chain::default();
        (chain.pc, chain.stack_top) = (0x1234, [0x2000, 0xff_ffff]);
        for caller in [0x1000, 0x1000, 0x0ff0] {
            chain.push(caller).unwrap();
        }
        let first = chain;
        chain.pc += 14;
        chain.stack_top = [0xff_ffff; 2];
        let second = chain;
        chain.pc += 15;
        chain.stack_top = [0x0ff0, 0xff_ffff];
        chain.truncate(2);
        chain.push(0x0ff0 + 2).unwrap();
        let third = chain;
        let entry = |count, chain: Chain| [&[count], chain.key().unwrap().words()].concat();
        let entries = [entry(2, first), entry(7, second), entry(8, third)];
        let expected = [
            // Flags: a difference, other callers. Then the program counter, the callers, the difference.
            &[
                0xf9, 0x13, 0xe8, 0x48, 0, 3, 0x80, 0x40, 0, 0x1f, 0x98, 0x37,
            ][..],
            &[0x76],
            &[0xff, 0x13, 0, 30, 1, 1, 0x1b, 0xc1, 0x09],
        ];
        assert_eq!(coded(&entries), expected.concat());
        // The page's example.
        for bytes in &expected[..2] {
            let bytes: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            let line = format!("\n{} ", bytes.join(" "));
            assert!(
                include_str!("../../../../docs/wire.md").contains(&line),
                "{line}"
            );
        }
    }

    #[test]
    fn bits_are_as_the_page_has_them() {
        let page = include_str!("../../../../docs/wire.md");
        let last = |flag: u8| flag.trailing_zeros();
        for row in [
            format!(
                "| 0..{} | `token` | the count less 1, modulo 2⁶⁴; {MOST_COUNT}: a number",
                last(8)
            ),
            format!(
                "| 3..7 | `token` | the program counter less the one before; {MOST_STEP}: a difference"
            ),
            format!("| {} | `token` | the flags follow", last(HAS_FLAGS)),
            format!(
                "{NO_TEXT} is not in the text, {INNERMOST} is the innermost caller, \
                 {AS_BEFORE} is the one before, {DIFFERENCE}: a difference from the program counter"
            ),
            format!("| {} | `flags` | other callers |", last(CALLERS)),
            format!(
                "| {} | `flags` | another kind of the first unit, state, event or task |",
                last(HEAD)
            ),
            format!(
                "| {} | `flags` | the key follows as it stands",
                last(AS_IT_STANDS)
            ),
        ] {
            assert!(page.contains(&row), "{row}");
        }
    }

    /// A key that no handler makes, as of memory that was damaged, is none to be made again of what
    /// it says: not of a caller behind its end, nor of one that is none.
    #[test]
    fn a_key_with_any_bit_wrong_is_read_as_it_was() {
        let mut chain = Chain::default();
        chain.set_head([kind::COMPACT, 0, 0, 0]).unwrap();
        (chain.pc, chain.stack_top) = (0x1234, [0x2345, 0xff_ffff]);
        chain.push(0x3456).unwrap();
        let key = chain.key().unwrap();
        let mut none = 0;
        for bit in 0..64 * key.words().len() {
            let mut words = key.words().to_vec();
            words[bit / 64] ^= 1 << (bit % 64);
            let Some(read_key) = Key::read(&words) else {
                continue;
            };
            let entries = vec![[&[7], read_key.words()].concat()];
            assert_eq!(read(&coded(&entries)), (entries, 0), "bit {bit}");
            none += u32::from(Chain::of(&read_key).is_none());
        }
        assert!(none > 0, "each is a key that a handler makes");
    }

    proptest! {
        #[test]
        fn entries_are_read_as_they_were(entries in vec(entry(), 0..12)) {
            let bytes = coded(&entries);
            prop_assert_eq!(read(&bytes), (entries, 0));
        }

        #[test]
        fn any_bytes_are_entries_or_none(
            entries in vec(entry(), 1..6),
            damage in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            behind in vec(any::<u8>(), 0..40),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = [coded(&entries), behind].concat();
            for (place, byte) in damage {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
            bytes.truncate(1 + cut.index(bytes.len()));
            let (found, rest) = read(&bytes);
            // What was read is said by other bytes again.
            prop_assert_eq!(read(&coded(&found)), (found, 0));
            prop_assert!(rest <= bytes.len());
        }
    }
}
