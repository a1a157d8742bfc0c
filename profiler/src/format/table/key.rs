//! What of a sample says which chain it is.
//!
//! ```text
//! 0..4    the first unit of the compact record: length in units, kind, state, event
//! 4       the task
//! 5…      the offsets of the record, as in it: program counter, the words on top of the stack, chain
//! …       zeros to a multiple of 16 bytes
//! ```
//!
//! The numbers of the record are left out: time, period, cost, stack pointer. A fast handler makes
//! the key where a compact record would lie that began [`KEY_AT`] bytes before it: so the same stores make
//! both, but for the first unit and the task.

use core::mem::size_of;

use crate::address::{CodeRange, StackAddress};
use crate::format::Sample;
use crate::format::sample::MAX_WORDS;
use crate::format::sample::compact::{
    self, Context, Offsets, SAMPLE_UNITS, SP_BELOW, Width, at, decode,
};
use crate::format::{RecordHead, kind};

/// Bytes of a record's first unit.
pub(super) const UNIT: usize = 4;
/// Where a key has its task, and where its offsets begin.
pub(super) const TASK: usize = UNIT;
pub(super) const OFFSETS: usize = TASK + 1;
/// Keys are so many bytes, or twice as many, and so on.
const BLOCK: usize = 16;

/// Where the key begins, in bytes from where the record would.
pub(crate) const KEY_AT: usize = at::PC - OFFSETS;
/// Where it has the task, from there.
pub(crate) const TASK_AT: usize = KEY_AT + TASK;

/// The most bytes of a key without zeros behind, and the most words with them.
const MAX_BYTES: usize = SAMPLE_UNITS * UNIT - KEY_AT;
pub(super) const MAX_KEY_WORDS: usize = MAX_BYTES.next_multiple_of(BLOCK) / size_of::<u64>();

/// Words that a fast handler makes a key in: from [`KEY_AT`] on, with room behind for two words of zeros.
pub(crate) const SCRATCH_WORDS: usize = MAX_KEY_WORDS + KEY_AT.div_ceil(8) + 2;

/// A key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Key {
    words: [u64; MAX_KEY_WORDS],
    len: usize,
}

impl Key {
    /// That of a sample in a kernel with this text; `None` if it has none, as it is no compact sample.
    pub(crate) fn of(sample: &Sample<'_>, text: Offsets) -> Option<Self> {
        let plain = Sample {
            sequence: 0,
            handler_cost: 0,
            time: 0,
            period: 0,
            sp: StackAddress(0),
            ..*sample
        };
        let mut record = [0; SAMPLE_UNITS * UNIT];
        let place = record.as_mut_ptr();
        // SAFETY: it has as many units as that.
        let units = unsafe { compact::encode(&plain, Context::default(), text, place) }.ok()?;
        Some(Self::of_record(&record, units as usize))
    }

    /// That of a compact record of so many units, at the start of `record`.
    fn of_record(record: &[u8; SAMPLE_UNITS * UNIT], units: usize) -> Self {
        let mut bytes = [0; MAX_KEY_WORDS * size_of::<u64>()];
        let len = units * UNIT - KEY_AT;
        bytes[..UNIT].copy_from_slice(&record[..UNIT]);
        bytes[TASK] = record[at::TASK];
        bytes[OFFSETS..len].copy_from_slice(&record[at::PC..][..len - OFFSETS]);
        let mut words = [0; MAX_KEY_WORDS];
        for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        let len = words_of(units);
        Self { words, len }
    }

    /// That at the start of `words`, which may be anything; `None` if it is none.
    pub(super) fn read(words: &[u64]) -> Option<Self> {
        let mut key = Self {
            words: [0; MAX_KEY_WORDS],
            len: len(words)?,
        };
        key.words[..key.len].copy_from_slice(words.get(..key.len)?);
        Some(key)
    }

    /// That at the start of these bytes.
    pub(super) fn of_bytes(bytes: &[u8; MAX_KEY_WORDS * size_of::<u64>()]) -> Option<Self> {
        let words = bytes.as_chunks().0;
        let words: [u64; MAX_KEY_WORDS] =
            core::array::from_fn(|word| u64::from_le_bytes(words[word]));
        Self::read(&words)
    }

    /// Its bytes, and zeros behind it.
    pub(super) fn bytes(&self) -> [u8; MAX_KEY_WORDS * size_of::<u64>()] {
        let mut bytes = [0; MAX_KEY_WORDS * size_of::<u64>()];
        for (to, word) in bytes.as_chunks_mut().0.iter_mut().zip(self.words()) {
            *to = word.to_le_bytes();
        }
        bytes
    }

    /// Its words.
    pub(crate) fn words(&self) -> &[u64] {
        &self.words[..self.len]
    }
}

/// The words of a key of which the record has so many units.
const fn words_of(units: usize) -> usize {
    (units * UNIT - KEY_AT).next_multiple_of(BLOCK) / size_of::<u64>()
}

/// Ends a key that was made from [`KEY_AT`] on, as far as `end`, behind `start`: its first unit, of which `head`
/// is all but the length, and the zeros behind it. Returns its words.
///
/// # Safety
///
/// 1. `start` is where [`SCRATCH_WORDS`] words less 3 bytes are valid for reads and writes, and nothing
///    else uses them as long as `'a` lasts; the key in it is aligned to a word.
/// 2. `end` is in the room for a key, behind its offsets.
#[inline(always)]
pub(crate) unsafe fn finish<'a>(start: *mut u8, end: *mut u8, head: u32) -> &'a [u64] {
    let units = (end.addr() - start.addr()).div_ceil(UNIT);
    // SAFETY: there is room for two words behind the longest key (1, 2).
    unsafe { end.cast::<[u64; 2]>().write_unaligned([0; 2]) };
    let key = start.wrapping_add(KEY_AT).cast::<u64>();
    #[allow(clippy::cast_possible_truncation)] // a record has less than 256
    let head = head | units as u32;
    // SAFETY: within the words, and aligned (1).
    unsafe { key.cast::<u32>().write(head.to_le()) };
    // SAFETY: likewise.
    unsafe { core::slice::from_raw_parts(key, words_of(units)) }
}

/// Writes the chain with this key, at the start of `words`, to `record` as the words of a wide sample
/// without numbers. Returns how many; `None` if it is no key.
pub(super) fn sample(
    words: &[u64],
    text: CodeRange,
    record: &mut [u64; MAX_WORDS],
) -> Option<usize> {
    #[allow(clippy::cast_possible_truncation)] // its first unit
    let head = RecordHead::from_unit(*words.first()? as u32);
    let width = match head.kind {
        kind::COMPACT => Width::Bits24,
        kind::COMPACT_32 => Width::Bits32,
        _ => return None,
    };
    let units = usize::from(head.units);
    let is_possible = units * UNIT >= width.chain() && units <= SAMPLE_UNITS;
    let key = is_possible.then(|| words.get(..words_of(units)))??;
    let mut bytes = [0; MAX_KEY_WORDS * size_of::<u64>()];
    for (bytes, word) in bytes.as_chunks_mut().0.iter_mut().zip(key) {
        *bytes = word.to_le_bytes();
    }
    let mut compact = [0; SAMPLE_UNITS * UNIT];
    let offsets = units * UNIT - at::PC;
    compact[..UNIT].copy_from_slice(&bytes[..UNIT]);
    compact[at::TASK] = bytes[TASK];
    compact[at::PC..][..offsets].copy_from_slice(&bytes[OFFSETS..][..offsets]);
    let mut record_units = [0; SAMPLE_UNITS];
    for (unit, bytes) in record_units.iter_mut().zip(compact.as_chunks().0) {
        *unit = u32::from_le_bytes(*bytes);
    }
    // Its stack pointer is 0, too.
    let context = Context {
        sp: SP_BELOW,
        ..Context::default()
    };
    let (len, _) = decode(&record_units[..units], width, context, text, record)?;
    Some(len)
}

/// The words of the key at the start of `words`.
pub(super) fn len(words: &[u64]) -> Option<usize> {
    #[allow(clippy::cast_possible_truncation)] // its first unit
    let head = RecordHead::from_unit(*words.first()? as u32);
    let units = usize::from(head.units);
    (units * UNIT > KEY_AT && units <= SAMPLE_UNITS).then(|| words_of(units))
}
