//! The reading end: what a table has when nobody counts in it any more, or about now.

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

use super::buckets;
use super::key::{self, MAX_KEY_WORDS};
use super::order::own;
use crate::address::CodeRange;
use crate::format::Sample;
use crate::format::sample::MAX_WORDS;

/// What is no chain, where a table should have one: it is damaged.
///
/// ```
/// use profiler::format::table::Damaged;
///
/// assert_eq!(Damaged.to_string(), "an entry of the table is no chain");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Damaged;

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an entry of the table is no chain")
    }
}

impl core::error::Error for Damaged {}

/// A chain of a table.
///
/// ```
/// use profiler::format::table::CountedChain;
/// use profiler::format::Sample;
///
/// fn is_hot(chain: &CountedChain) -> bool {
///     let sample = Sample::decode(chain.record()).unwrap();
///     chain.count > 1000 && sample.task == 1
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct CountedChain {
    /// How often it was counted.
    pub count: u64,
    record: [u64; MAX_WORDS],
    len: usize,
}

impl CountedChain {
    /// A sample that has this chain, event, task and state, as the words of its record. All else in it
    /// is 0.
    #[must_use]
    pub fn record(&self) -> &[u64] {
        &self.record[..self.len]
    }
}

/// The chains of a table.
///
/// ```
/// use profiler::format::region::Region;
///
/// fn counted(region: &Region<'_>, core: u32) -> u64 {
///     region.chains(core).flatten().map(|chain| chain.count).sum()
/// }
/// ```
#[derive(Clone, Copy)]
pub struct Chains<'region> {
    words: &'region [AtomicU64],
    text: CodeRange,
    bucket: usize,
}

impl<'region> Chains<'region> {
    /// Those of the table in these words, of a kernel with this text.
    pub(crate) const fn new(words: &'region [AtomicU64], text: CodeRange) -> Self {
        Self {
            words,
            text,
            bucket: 0,
        }
    }

    /// The chain whose entry begins at a word; `None` if it is none.
    fn at(&self, position: u64) -> Option<CountedChain> {
        let at = usize::try_from(position).ok()?;
        let is_entry = at >= buckets(self.words.len());
        let [count, words @ ..] = self.words.get(at..).filter(|_| is_entry)? else {
            return None;
        };
        let mut copy = [0; MAX_KEY_WORDS];
        for (to, word) in copy.iter_mut().zip(words) {
            *to = word.load(Ordering::Relaxed);
        }
        let len = key::len(&copy)?;
        if len > words.len() {
            return None;
        }
        let mut record = [0; MAX_WORDS];
        let len = key::sample(&copy[..len], self.text, &mut record)?;
        Sample::decode(&record[..len]).ok()?;
        Some(CountedChain {
            count: count.load(Ordering::Relaxed),
            record,
            len,
        })
    }
}

impl Iterator for Chains<'_> {
    type Item = Result<CountedChain, Damaged>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.bucket < buckets(self.words.len()) {
            let position = own(self.words[self.bucket].load(Ordering::Acquire));
            self.bucket += 1;
            if position != 0 {
                return Some(self.at(position).ok_or(Damaged));
            }
        }
        None
    }
}
