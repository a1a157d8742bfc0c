//! The table of one core, in which equal chains are counted in place: what `keep=chains` has beside
//! the ring. Its writer is that core alone, from any context; it never grows.
//!
//! ```text
//! bucket 0, 1, …     0, or in which word of the table an entry begins: a quarter of the table
//!                    (its upper half is a sender's: `order.rs`)
//! entries            one behind the other: the count, then the key
//! ```
//!
//! The key is what of a sample says which chain it is: a compact record without its numbers
//! (`key.rs`). Its hash says at which bucket to look first; an entry is at that one or one of the few
//! behind it (`PROBES`). Entries stay where they are, and only their counts change.
//!
//! # What nests
//!
//! A nested handler comes between two instructions of the outer one, and ends before that goes on.
//!
//! | nested count comes | of the same chain | of another one |
//! |---|---|---|
//! | before the outer one has looked | it is found | it is passed |
//! | before the entry's room is taken | the outer one's bucket is taken then: it counts there | its room is behind |
//! | before the entry is in its bucket | likewise: the outer one's own entry is in no bucket, and counts nothing | it has that bucket, or another one |
//! | later | it is found | it is passed |
//!
//! So each sample is counted once: by one instruction that adds to an entry, or by one that puts an
//! entry with a count of 1 into its bucket. What does not fit is no sample of the table
//! (`Full`), and goes to the ring.

mod chain;
mod coded;
mod key;
mod order;
mod reader;

use core::sync::atomic::AtomicU64;

use crate::sync::{CoreLocal as _, Ordering};

pub(super) use coded::{Coder, MOST_BYTES};
use key::MAX_KEY_WORDS;
pub(crate) use key::{KEY_AT, Key, SCRATCH_WORDS, TASK_AT, finish};
use order::own;
pub use reader::{Chains, CountedChain, Damaged};

/// The bytes that a table can have: a power of two of these.
pub const TABLE_BYTES: core::ops::RangeInclusive<u64> = 16 << 10..=1 << 30;

/// The buckets that are looked at for a chain.
pub(crate) const PROBES: usize = 8;

/// How often room is asked for again where a nested handler has taken it.
const MAX_RETRIES: u32 = 16;

/// What the hash is multiplied with for each word: 2⁶⁴ divided by the golden ratio, odd.
pub(crate) const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// The most words of an entry.
pub(crate) const MAX_ENTRY: usize = 1 + MAX_KEY_WORDS;

/// The number of buckets of a table of so many words: a power of two.
pub(crate) const fn buckets(words: usize) -> usize {
    words / 4
}

/// The first bucket of a key, whichever number of them is cut out of it.
#[inline(always)]
pub(crate) fn hash(key: &[u64]) -> u64 {
    let add = |hash: u64, &word: &u64| hash.wrapping_add(word).wrapping_mul(FACTOR);
    key.iter().fold(0, add).swap_bytes()
}

/// There is no room for another chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Full;

/// Called between any two steps that a nested count could distinguish: a test's counts.
pub(crate) trait InterruptPoint {
    /// A nested count may happen here.
    #[inline(always)]
    fn here(&self) {}
}

impl InterruptPoint for () {}

/// The writing end of a table.
#[derive(Clone, Copy)]
pub(crate) struct Table<'region> {
    words: &'region [AtomicU64],
    /// The words that entries have taken.
    used: &'region AtomicU64,
}

impl<'region> Table<'region> {
    /// The table in these words, a power of two, with what says how many of them are used.
    pub(crate) const fn new(words: &'region [AtomicU64], used: &'region AtomicU64) -> Self {
        assert!(words.len().is_power_of_two(), "table size no power of two");
        Self { words, used }
    }

    /// Where it begins, for assembly.
    pub(crate) const fn start(&self) -> *const AtomicU64 {
        self.words.as_ptr()
    }

    /// What a hash is cut to.
    pub(crate) const fn mask(&self) -> u64 {
        buckets(self.words.len()) as u64 - 1
    }

    /// Makes it one without an entry, whatever it was.
    pub(crate) fn clear(&self) {
        self.used.store(0, Ordering::Relaxed);
        for bucket in &self.words[..buckets(self.words.len())] {
            bucket.store(0, Ordering::Relaxed);
        }
    }

    /// Counts a chain that is in the table. Returns false if it is not.
    #[inline]
    pub(crate) fn count_known(&self, key: &[u64]) -> bool {
        let hash = hash(key);
        for probe in 0..PROBES {
            let position = own(self.bucket(hash, probe).load(Ordering::Relaxed));
            if position == 0 {
                return false;
            }
            if self.count_at(position, key) {
                return true;
            }
        }
        false
    }

    /// Counts a chain, which is put into the table if it is new.
    ///
    /// # Errors
    ///
    /// [`Full`] if it is not counted, as there is no room for it.
    pub(crate) fn count(&self, key: &[u64]) -> Result<(), Full> {
        self.count_interruptible(key, &())
    }

    /// Like [`Self::count`], for tests.
    pub(crate) fn count_interruptible(
        &self,
        key: &[u64],
        interrupts: &impl InterruptPoint,
    ) -> Result<(), Full> {
        let hash = hash(key);
        let mut entry = None;
        for probe in 0..PROBES {
            let bucket = self.bucket(hash, probe);
            interrupts.here();
            let mut position = own(bucket.load(Ordering::Relaxed));
            interrupts.here();
            if position == 0 {
                // A nested handler may take the bucket: the entry is for another one then.
                let added = entry.or_else(|| self.add_entry(key, interrupts));
                let added = added.ok_or(Full)?;
                interrupts.here();
                if bucket.replace_local(0, added) {
                    return Ok(());
                }
                entry = Some(added);
                interrupts.here();
                position = own(bucket.load(Ordering::Relaxed));
            }
            interrupts.here();
            if self.count_at(position, key) {
                return Ok(());
            }
        }
        Err(Full)
    }

    /// Puts an entry of another table there, wherever there is room.
    ///
    /// # Errors
    ///
    /// [`Full`] if there is none.
    pub(crate) fn put(&self, count: u64, key: &[u64]) -> Result<(), Full> {
        let own = self.add_entry(key, &()).ok_or(Full)?;
        #[allow(clippy::cast_possible_truncation)] // a place in the table
        self.words[own as usize].store(count, Ordering::Relaxed);
        let hash = hash(key);
        let mut places = (0..buckets(self.words.len())).map(|probe| self.bucket(hash, probe));
        let free = places.find(|bucket| bucket.load(Ordering::Relaxed) == 0);
        free.ok_or(Full)?.store(own, Ordering::Relaxed);
        Ok(())
    }

    /// The bucket that is looked at after `probe` others.
    #[inline(always)]
    fn bucket(&self, hash: u64, probe: usize) -> &'region AtomicU64 {
        #[allow(clippy::cast_possible_truncation)] // cut to the number of buckets
        let place = (hash as usize).wrapping_add(probe) & (buckets(self.words.len()) - 1);
        &self.words[place]
    }

    /// Counts at the entry in this place, if it has this key.
    #[inline(always)]
    fn count_at(&self, position: u64, key: &[u64]) -> bool {
        let words = usize::try_from(position).ok();
        let words = words.and_then(|at| self.words.get(at..)?.get(..=key.len()));
        let Some([count, words @ ..]) = words else {
            return false;
        };
        let mut pairs = words.iter().zip(key);
        let is_it = pairs.all(|(word, own)| word.load(Ordering::Relaxed) == *own);
        if is_it {
            count.add_local(1);
        }
        is_it
    }

    /// Writes an entry that has been counted once, and is in no bucket. Returns its place.
    fn add_entry(&self, key: &[u64], interrupts: &impl InterruptPoint) -> Option<u64> {
        let len = 1 + key.len() as u64;
        let first = buckets(self.words.len()) as u64;
        let room = self.words.len() as u64 - first;
        for _ in 0..MAX_RETRIES {
            let used = self.used.load(Ordering::Relaxed);
            interrupts.here();
            if used.checked_add(len)? > room {
                return None;
            }
            if !self.used.replace_local(used, used + len) {
                continue;
            }
            interrupts.here();
            let at = usize::try_from(first + used).ok()?;
            self.words[at].store(1, Ordering::Relaxed);
            for (place, word) in self.words[at + 1..].iter().zip(key) {
                place.store(*word, Ordering::Relaxed);
                interrupts.here();
            }
            return Some(first + used);
        }
        None
    }
}

#[cfg(all(test, not(loom)))]
mod documented;
#[cfg(all(test, not(loom)))]
mod tests;
