//! A set of cores, which any core changes at any time.

use core::sync::atomic::{AtomicU64, Ordering::SeqCst};

use crate::cores::MAX_CORES;

const WORDS: usize = MAX_CORES.div_ceil(64);

/// A set of cores by their indices. Each change is in one order with all others and with what is
/// read, on all cores.
#[derive(Debug)]
pub struct CoreSet([AtomicU64; WORDS]);

const fn place(core: u32) -> (usize, u64) {
    (core as usize / 64, 1 << (core % 64))
}

impl CoreSet {
    /// None.
    #[must_use]
    pub const fn new() -> Self {
        Self([const { AtomicU64::new(0) }; WORDS])
    }

    /// Adds a core.
    pub fn insert(&self, core: u32) {
        let (word, bit) = place(core);
        self.0[word].fetch_or(bit, SeqCst);
    }

    /// Takes a core out.
    pub fn remove(&self, core: u32) {
        let (word, bit) = place(core);
        self.0[word].fetch_and(!bit, SeqCst);
    }

    /// Returns true if a core is in it.
    #[must_use]
    pub fn contains(&self, core: u32) -> bool {
        let (word, bit) = place(core);
        self.0[word].load(SeqCst) & bit != 0
    }

    /// Returns true if there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| word.load(SeqCst) == 0)
    }

    /// The cores that are in it, in ascending order; those of each 64 as they are when the first of
    /// them is asked for.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        (0..).zip(&self.0).flat_map(|(number, word)| {
            let mut left = word.load(SeqCst);
            core::iter::from_fn(move || {
                let bit = (left != 0).then(|| left.trailing_zeros())?;
                left &= left - 1;
                Some(number * 64 + bit)
            })
        })
    }
}

impl Default for CoreSet {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_come_and_go() {
        let set = CoreSet::new();
        assert!(set.is_empty());
        let last = u32::try_from(MAX_CORES).unwrap() - 1;
        for core in [63, last, 0, 64, 63] {
            set.insert(core);
        }
        assert_eq!(set.iter().collect::<std::vec::Vec<_>>(), [0, 63, 64, last]);
        assert!(set.contains(64) && !set.contains(65) && !set.contains(1));
        set.remove(63);
        set.remove(2);
        assert_eq!(set.iter().collect::<std::vec::Vec<_>>(), [0, 64, last]);
        for core in [0, 64, last] {
            assert!(!set.is_empty());
            set.remove(core);
        }
        assert!(set.is_empty());
    }
}
