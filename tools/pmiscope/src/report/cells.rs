//! Counts of samples by stack and by something else of which there is little: read for each sample, so
//! that a place in a list is found and no hash made.

use std::hash::Hash;

use hashbrown::HashMap;

/// Counts by a key and a stack.
pub(crate) struct Cells<K> {
    /// How many stacks there are.
    stacks: usize,
    /// The list of each key: its place in `lists`.
    keys: HashMap<K, usize>,
    /// The key that came last: the next one is seldom another.
    last: Option<(K, usize)>,
    lists: Vec<Vec<u64>>,
    /// Those of further keys, where lists would take too much memory.
    others: HashMap<(K, u32), u64>,
}

/// The most counts that lists have room for.
const ROOM: usize = 8 << 20;

impl<K: Copy + Eq + Hash> Cells<K> {
    pub(super) fn new(stacks: usize) -> Self {
        Self {
            stacks,
            keys: HashMap::new(),
            last: None,
            lists: Vec::new(),
            others: HashMap::new(),
        }
    }

    #[inline]
    pub(super) fn add(&mut self, key: K, stack: u32, samples: u64) {
        let list = match self.last {
            Some((last, list)) if last == key => Some(list),
            _ => self.list(key),
        };
        let count = list.and_then(|list| self.lists[list].get_mut(stack as usize));
        match count {
            Some(count) => *count += samples,
            None => *self.others.entry((key, stack)).or_default() += samples,
        }
    }

    /// The list of a key, if there is room for one.
    fn list(&mut self, key: K) -> Option<usize> {
        let next = self.lists.len();
        let list = match self.keys.get(&key) {
            Some(&list) => list,
            None if (next + 1).saturating_mul(self.stacks) > ROOM => return None,
            None => {
                self.lists.push(vec![0; self.stacks]);
                self.keys.insert(key, next);
                next
            }
        };
        self.last = Some((key, list));
        Some(list)
    }

    /// Each count that is not 0, by the key and the stack.
    pub(crate) fn into_counts(self) -> impl Iterator<Item = ((K, u32), u64)> {
        let Self {
            keys,
            lists,
            others,
            ..
        } = self;
        let mut lists = lists;
        let of_lists = keys.into_iter().flat_map(move |(key, list)| {
            let counts = (0..).zip(std::mem::take(&mut lists[list]));
            let counts = counts.filter(|&(_, count)| count > 0);
            counts.map(move |(stack, count)| ((key, stack), count))
        });
        of_lists.chain(others)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_the_same_with_lists_and_without() {
        // The second has room for one list, the third for none.
        for stacks in [10, ROOM / 2 + 1, ROOM + 1] {
            let mut cells = Cells::new(stacks);
            for (key, stack, samples) in [(7, 1, 1), (7, 9, 2), (8, 1, 3), (7, 1, 4), (9, 0, 5)] {
                cells.add(key, stack, samples);
            }
            let mut counts: Vec<_> = cells.into_counts().collect();
            counts.sort_unstable();
            let expected = [((7, 1), 5), ((7, 9), 2), ((8, 1), 3), ((9, 0), 5)];
            assert_eq!(counts, expected, "{stacks}");
        }
    }
}
