//! The order in which a sender takes a table's entries: alike chains one behind the other.
//!
//! A place in a table is below 2³², so half of a bucket is free: the first buckets' upper halves
//! are where the entries lie, in their order, and 0 behind the last one. No bucket moves, so whoever
//! reads the table meanwhile finds in it what there was before.

use core::cmp::Ordering as Order;
use core::sync::atomic::{AtomicU64, Ordering};

use super::key::{self, OFFSETS, TASK, UNIT};
use super::{Table, buckets};
use crate::format::kind;
use crate::format::sample::compact::{Width, at};

/// The half of a bucket that is its own.
const OWN: u64 = u32::MAX as u64;

/// Where the entry of a bucket begins, whatever the other half is; 0 if it has none.
pub(super) fn own(bucket: u64) -> u64 {
    bucket & OWN
}

/// The upper halves of a table's buckets.
#[derive(Clone, Copy)]
struct Halves<'a>(&'a [AtomicU64]);

impl Halves<'_> {
    fn get(self, at: usize) -> u64 {
        self.0[at].load(Ordering::Relaxed) >> 32
    }

    fn set(self, at: usize, position: u64) {
        let own = own(self.0[at].load(Ordering::Relaxed));
        self.0[at].store(position << 32 | own, Ordering::Relaxed);
    }

    fn swap(self, one: usize, other: usize) {
        let (a, b) = (self.get(one), self.get(other));
        self.set(one, b);
        self.set(other, a);
    }
}

impl<'region> Table<'region> {
    /// Puts the entries in order, for [`Self::sorted`]. To be called where nobody counts in the table any
    /// more; it is harmless to do it again.
    pub(crate) fn sort(&self) {
        let halves = Halves(&self.words[..buckets(self.words.len())]);
        let mut count = 0;
        for at in 0..halves.0.len() {
            let position = own(halves.0[at].load(Ordering::Relaxed));
            halves.set(at, 0);
            if position != 0 {
                halves.set(count, position);
                count += 1;
            }
        }
        // A heap needs no memory, and as many steps whatever the order was.
        for root in (0..count / 2).rev() {
            self.sift(halves, root, count);
        }
        for end in (1..count).rev() {
            halves.swap(0, end);
            self.sift(halves, 0, end);
        }
    }

    /// Lets what is at `root` of a heap sink to where it belongs.
    fn sift(&self, halves: Halves<'_>, mut root: usize, end: usize) {
        loop {
            let mut child = 2 * root + 1;
            if child >= end {
                return;
            }
            let is_before =
                |one, other| self.compare(halves.get(one), halves.get(other)) == Order::Less;
            if child + 1 < end && is_before(child, child + 1) {
                child += 1;
            }
            if !is_before(root, child) {
                return;
            }
            halves.swap(root, child);
            root = child;
        }
    }

    /// What is no entry comes last.
    fn compare(&self, one: u64, other: u64) -> Order {
        match [one, other].map(|position| self.entry_at(position)) {
            [Some(a), Some(b)] => Fields::of(a).compare(Fields::of(b)).then(one.cmp(&other)),
            [a, b] => b.is_some().cmp(&a.is_some()).then(one.cmp(&other)),
        }
    }

    /// The words of an entry by its number in the order; `None` behind the last one.
    pub(crate) fn sorted(&self, number: u64) -> Option<&'region [AtomicU64]> {
        let number = usize::try_from(number).ok()?;
        let bucket = self.words[..buckets(self.words.len())].get(number)?;
        self.entry_at(bucket.load(Ordering::Relaxed) >> 32)
    }

    /// The words of the entry that begins there, if that may be one.
    fn entry_at(&self, position: u64) -> Option<&'region [AtomicU64]> {
        let at = usize::try_from(position).ok()?;
        let entry = self.words.get(at..)?;
        let first = entry.get(1)?.load(Ordering::Relaxed);
        let len = key::len(&[first])?;
        let is_behind = at >= buckets(self.words.len());
        entry.get(..=len).filter(|_| is_behind)
    }
}

/// The fields of an entry's key, read one by one: most comparisons need few.
#[derive(Clone, Copy)]
struct Fields<'a> {
    key: &'a [AtomicU64],
    width: usize,
    /// How many there are, the first three included, and without zeros behind them.
    count: usize,
}

impl<'a> Fields<'a> {
    fn of(entry: &'a [AtomicU64]) -> Self {
        let key = entry.get(1..).unwrap_or_default();
        let mut fields = Self {
            key,
            width: Width::Bits24.bytes(),
            count: 0,
        };
        let [units, kind, ..] = fields.bytes(0);
        if kind == kind::COMPACT_32 {
            fields.width = Width::Bits32.bytes();
        }
        let bytes = (usize::from(units) * UNIT).saturating_sub(at::PC);
        fields.count = bytes / fields.width;
        while fields.count > 0 && fields.get(fields.count - 1) == 0 {
            fields.count -= 1;
        }
        fields
    }

    /// Four bytes of the key, from one on; zeros behind it.
    fn bytes(self, at: usize) -> [u8; 4] {
        let word = |place| {
            self.key
                .get(place)
                .map_or(0, |word: &AtomicU64| word.load(Ordering::Relaxed))
        };
        let pair = u128::from(word(at / 8)) | u128::from(word(at / 8 + 1)) << 64;
        #[allow(clippy::cast_possible_truncation)] // cut out
        let bytes = (pair >> (8 * (at % 8))) as u32;
        bytes.to_le_bytes()
    }

    fn get(self, number: usize) -> u32 {
        let field = u32::from_le_bytes(self.bytes(OFFSETS + number * self.width));
        let unused = 32 - 8 * self.width;
        field << unused >> unused
    }

    /// By callers from the outermost on, then task, state and event, then the program counter.
    fn compare(self, other: Self) -> Order {
        let callers = |fields: Self| {
            (3..fields.count)
                .rev()
                .map(move |number| fields.get(number))
        };
        let head = |fields: Self| {
            let [_, kind, state, event] = fields.bytes(0);
            let [task, ..] = fields.bytes(TASK);
            [task, event, state, kind]
        };
        callers(self)
            .cmp(callers(other))
            .then_with(|| head(self).cmp(&head(other)))
            .then_with(|| {
                (0..3)
                    .map(|at| self.get(at))
                    .cmp((0..3).map(|at| other.get(at)))
            })
    }
}
