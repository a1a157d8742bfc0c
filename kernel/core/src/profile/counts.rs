//! How often each of some numbers was seen, in a fixed number of places.

/// The places that are looked at for a key.
const PROBES: usize = 32;

/// 2⁶⁴ divided by the golden ratio, odd: it spreads keys over the places.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// How often each of some keys was seen; `PLACES` is a power of two.
#[derive(Debug)]
pub struct Counts<const PLACES: usize> {
    /// Each with its count, which is 0 in a place that is free.
    places: [Entry; PLACES],
}

/// A key, and how often it was seen.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Entry {
    /// What was seen.
    pub key: u64,
    /// How often.
    pub count: u64,
}

impl<const PLACES: usize> Counts<PLACES> {
    /// Nothing was seen.
    #[must_use]
    pub const fn new() -> Self {
        assert!(PLACES.is_power_of_two(), "no power of two");
        Self {
            places: [Entry { key: 0, count: 0 }; PLACES],
        }
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.places.fill(Entry::default());
    }

    /// Adds `times`, which is not 0, to a key. Returns its place, which it keeps; `None` if there is no
    /// room for it, and it is not counted.
    pub fn add(&mut self, key: u64, times: u64) -> Option<usize> {
        let hash = key.wrapping_mul(FACTOR) >> 32;
        #[allow(clippy::cast_possible_truncation)] // 32 bits
        let first = hash as usize;
        for probe in 0..PROBES.min(PLACES) {
            let place = (first + probe) % PLACES;
            let entry = &mut self.places[place];
            if entry.count == 0 {
                entry.key = key;
            }
            if entry.key == key {
                entry.count += times;
                return Some(place);
            }
        }
        None
    }

    /// All that was seen, in no order, with its place.
    pub fn all(&self) -> impl Iterator<Item = (usize, Entry)> + '_ {
        let places = self.places.iter().copied().enumerate();
        places.filter(|(_, entry)| entry.count != 0)
    }

    /// Those of them that `is_wanted`, the most frequent first, and of equal ones the lowest key.
    pub fn by_count<'a>(
        &'a self,
        is_wanted: impl Fn(u64) -> bool + 'a,
    ) -> impl Iterator<Item = (usize, Entry)> + 'a {
        let mut last = None;
        core::iter::from_fn(move || {
            let wanted = self.all().filter(|(_, entry)| is_wanted(entry.key));
            let behind = wanted.filter(|(_, entry)| last.is_none_or(|last| rank(entry) < last));
            let found = behind.max_by_key(|(_, entry)| rank(entry))?;
            last = Some(rank(&found.1));
            Some(found)
        })
    }
}

impl<const PLACES: usize> Default for Counts<PLACES> {
    fn default() -> Self {
        Self::new()
    }
}

const fn rank(entry: &Entry) -> (u64, u64) {
    (entry.count, u64::MAX - entry.key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_its_count_and_its_place() {
        let mut counts = Counts::<64>::new();
        let place = counts.add(7, 1);
        for (key, times) in [(0, 3), (u64::MAX, 2), (9, 3), (7, 4)] {
            assert!(counts.add(key, times).is_some());
        }
        assert_eq!(counts.add(7, 1), place);
        let all: Vec<_> = counts.by_count(|_| true).map(|(_, it)| it).collect();
        let entry = |key, count| Entry { key, count };
        let expected = [entry(7, 6), entry(0, 3), entry(9, 3), entry(u64::MAX, 2)];
        assert_eq!(all, expected);
        let odd: Vec<_> = counts
            .by_count(|key| key % 2 == 1)
            .map(|(_, it)| it.key)
            .collect();
        assert_eq!(odd, [7, 9, u64::MAX]);
        counts.clear();
        assert_eq!(counts.all().count(), 0);
    }

    #[test]
    fn what_has_no_room_is_not_counted_and_the_others_are() {
        let mut counts = Counts::<16>::new();
        let there = (0..100).filter(|&key| counts.add(key, 2).is_some());
        let there: Vec<_> = there.collect();
        assert_eq!(there.len(), 16);
        for (_, entry) in counts.all() {
            assert!(there.contains(&entry.key) && entry.count == 2);
        }
        assert_eq!(counts.add(1000, 1), None);
        assert!(counts.add(there[15], 1).is_some());
    }
}
