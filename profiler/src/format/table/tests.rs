//! The table: what is counted, and that each sample is counted once whatever nests in a count.

use core::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::address::{CodeAddress, CodeRange, StackAddress};
use crate::format::sample::compact::Offsets;
use crate::format::{ChainEnd, Sample, State};

/// The words of the smallest table.
const WORDS: usize = 16 << 10 >> 3;

const TEXT: CodeRange = CodeRange {
    start: CodeAddress(0xffff_ffff_8000_0000),
    end: CodeAddress(0xffff_ffff_8010_0000),
};

/// A table of its own.
fn table(words: usize) -> Table<'static> {
    let words: Vec<AtomicU64> = (0..words).map(|_| AtomicU64::new(u64::MAX)).collect();
    let used = Box::leak(Box::new(AtomicU64::new(7)));
    let table = Table::new(words.leak(), used);
    table.clear();
    table
}

/// What is counted, by the records of the chains; the same chain twice is none.
fn counted(table: &Table<'_>) -> BTreeMap<Vec<u64>, u64> {
    let mut all = BTreeMap::new();
    for chain in Chains::new(table.words, TEXT) {
        let chain = chain.expect("every entry is whole");
        let before = all.insert(chain.record().to_vec(), chain.count);
        assert_eq!(before, None, "a chain has two entries");
    }
    all
}

fn sample(pc: u64, chain_words: &[u64]) -> Sample<'_> {
    Sample {
        sequence: 9,
        handler_cost: 77,
        event: 3,
        task: 5,
        state: State(State::INTERRUPTS_ON | State::NMI),
        time: 123_456,
        period: 1000,
        sp: StackAddress(0xffff_c000_0000_1238),
        stack_top: [TEXT.start.0 + 0x44, 0x1234],
        pc: CodeAddress(TEXT.start.0 + pc),
        exact: None,
        end: ChainEnd::Complete,
        chain_words,
    }
}

fn key(sample: &Sample<'_>) -> Key {
    Key::of(sample, Offsets::new(TEXT)).expect("it is compact")
}

/// The record of a sample without what a table does not keep.
fn record_of(sample: &Sample<'_>) -> Vec<u64> {
    let plain = Sample {
        sequence: 0,
        handler_cost: 0,
        time: 0,
        period: 0,
        sp: StackAddress(0),
        stack_top: sample.stack_top.map(|word| {
            if TEXT.contains(CodeAddress(word)) {
                word
            } else {
                0
            }
        }),
        ..*sample
    };
    let mut record = [0; crate::format::sample::MAX_WORDS];
    let len = plain.encode(&mut record);
    record[..len].to_vec()
}

#[test]
fn a_chain_is_counted_and_read_as_it_was() {
    let table = table(WORDS);
    let chain = [TEXT.start.0 + 0x105, TEXT.start.0 + 0x2222];
    let one = sample(0x40, &chain);
    let deeper = Sample {
        end: ChainEnd::DepthLimit,
        ..sample(0x40, &chain[..1])
    };
    assert!(!table.count_known(key(&one).words()));
    for _ in 0..3 {
        assert_eq!(table.count(key(&one).words()), Ok(()));
    }
    assert!(table.count_known(key(&one).words()));
    assert_eq!(table.count(key(&deeper).words()), Ok(()));
    let expected = [(record_of(&one), 4), (record_of(&deeper), 1)];
    assert_eq!(counted(&table), expected.into());
}

/// A sender's order is no place to count at, if it was made too early.
#[test]
fn a_table_that_was_put_in_order_counts_on() {
    let table = table(WORDS);
    let words: Vec<_> = (0..100).map(|pc| key(&sample(pc, &[]))).collect();
    for key in &words {
        assert_eq!(table.count(key.words()), Ok(()));
    }
    table.sort();
    for key in &words {
        assert!(table.count_known(key.words()));
        assert_eq!(table.count(key.words()), Ok(()));
    }
    assert!(counted(&table).values().all(|&count| count == 3));
    // What is new has a bucket, or is left to the ring.
    let new = key(&sample(1000, &[]));
    let is_counted = table.count(new.words()).is_ok();
    assert_eq!(table.count_known(new.words()), is_counted);
    assert_eq!(counted(&table).len(), 100 + usize::from(is_counted));
}

#[test]
fn what_is_no_part_of_a_chain_makes_no_other_key() {
    let chain = [TEXT.start.0 + 0x105];
    let one = sample(0x40, &chain);
    let same = [
        Sample {
            sequence: 1 << 30,
            ..one
        },
        Sample {
            handler_cost: 1 << 20,
            ..one
        },
        Sample {
            time: 1 << 60,
            ..one
        },
        Sample {
            period: 1 << 40,
            ..one
        },
        Sample {
            sp: StackAddress(8),
            ..one
        },
        // No address of the text.
        Sample {
            stack_top: [one.stack_top[0], 0x9999],
            ..one
        },
    ];
    for other in same {
        assert_eq!(key(&other), key(&one), "{other:?}");
    }
    let other_chain = [TEXT.start.0 + 0x106];
    let others = [
        Sample { event: 4, ..one },
        Sample { task: 6, ..one },
        Sample {
            state: State(State::NMI),
            ..one
        },
        Sample {
            stack_top: [one.stack_top[0] + 1, 0],
            ..one
        },
        Sample {
            pc: CodeAddress(one.pc.0 + 1),
            ..one
        },
        Sample {
            end: ChainEnd::DepthLimit,
            ..one
        },
        Sample {
            chain_words: &other_chain,
            ..one
        },
        Sample {
            chain_words: &[],
            ..one
        },
    ];
    for other in others {
        assert_ne!(key(&other), key(&one), "{other:?}");
    }
    let none = [
        Sample { task: 256, ..one },
        Sample {
            exact: Some(one.pc),
            ..one
        },
        Sample {
            end: ChainEnd::UnknownStack,
            ..one
        },
        Sample {
            pc: CodeAddress(0x1000),
            ..one
        },
    ];
    for other in none {
        assert_eq!(Key::of(&other, Offsets::new(TEXT)), None, "{other:?}");
    }
}

/// A fast handler's key is that of the sample.
#[test]
fn a_key_that_is_made_in_place_is_the_same() {
    let chain = [TEXT.start.0 + 0x105, TEXT.start.0 + 0x0f_2222];
    for words in 0..=chain.len() {
        let sample = sample(0x40, &chain[..words]);
        let expected = key(&sample);
        let mut room = [u64::MAX; SCRATCH_WORDS];
        let start = room.as_mut_ptr().cast::<u8>();
        let start = start.wrapping_add(KEY_AT.next_multiple_of(8) - KEY_AT);
        let put = |at: usize, value: u64| {
            let value = u32::try_from(value).unwrap();
            // SAFETY: within the room.
            unsafe { start.wrapping_add(at).cast::<u32>().write_unaligned(value) };
        };
        put(TASK_AT, 5);
        put(18, 0x40);
        put(21, 0x44);
        put(24, 0xff_ffff);
        for (place, word) in chain[..words].iter().enumerate() {
            put(27 + 3 * place, word - TEXT.start.0);
        }
        let head = 5 << 8 | u32::from(sample.state.0) << 16 | 3 << 24;
        let end = start.wrapping_add(27 + 3 * words);
        // SAFETY: as many words, and the chain's end.
        let made = unsafe { finish(start, end, head) };
        assert_eq!(made, expected.words(), "{words}");
    }
}

#[test]
fn what_does_not_fit_is_not_counted() {
    let table = table(WORDS);
    let (mut counts, mut full) = (BTreeMap::new(), 0);
    for pc in 0..4000 {
        let sample = sample(pc % 1500, &[]);
        match table.count(key(&sample).words()) {
            Ok(()) => *counts.entry(record_of(&sample)).or_insert(0) += 1,
            Err(Full) => full += 1,
        }
    }
    assert!(counted(&table) == counts, "others were counted");
    // They are short: the buckets are all taken before the words are.
    assert_eq!(counts.len(), buckets(WORDS));
    assert!(full > 1000, "{full}");
}

#[test]
fn a_damaged_table_is_read_without_a_panic() {
    let table = table(WORDS);
    table.count(key(&sample(0x40, &[])).words()).unwrap();
    for position in [1, WORDS as u64 - 1, WORDS as u64, u64::MAX] {
        let free = table.words[..buckets(WORDS)].iter();
        let free = free.filter(|it| it.load(Ordering::Relaxed) == 0).last();
        free.unwrap().store(position, Ordering::Relaxed);
        let found: Vec<_> = Chains::new(table.words, TEXT).collect();
        assert_eq!(
            found.iter().filter(|it| it.is_ok()).count(),
            1,
            "{position}"
        );
        assert!(found.iter().any(Result::is_err), "{position}");
        // The writer passes it.
        table.count(key(&sample(0x50, &[])).words()).unwrap();
        table.clear();
        table.count(key(&sample(0x40, &[])).words()).unwrap();
    }
}

/// Counts a chain at the `at`-th point of interruption, and at each further one in turn as `more` says.
struct Nested<'a> {
    table: Table<'static>,
    at: u32,
    passed: Cell<u32>,
    keys: &'a [Key],
    counted: RefCell<Vec<usize>>,
}

impl InterruptPoint for Nested<'_> {
    fn here(&self) {
        let passed = self.passed.replace(self.passed.get() + 1);
        let Some(place) = passed.checked_sub(self.at) else {
            return;
        };
        if let Some(key) = self.keys.get(place as usize)
            && self.table.count(key.words()).is_ok()
        {
            self.counted.borrow_mut().push(place as usize);
        }
    }
}

/// Chains that have the same first bucket in the smallest table.
fn colliding(count: usize) -> Vec<u64> {
    let bucket = |pc: u64| hash(key(&sample(pc, &[])).words()) & (buckets(WORDS) - 1) as u64;
    let first = bucket(0);
    (0..)
        .filter(|&pc| bucket(pc) == first)
        .take(count)
        .collect()
}

#[test]
fn whatever_nests_at_any_point_is_counted_once() {
    let pcs = colliding(3);
    // What nests, at this point and at those behind it: the same chain, others of its bucket.
    for nested in [
        &[0][..],
        &[1],
        &[0, 0],
        &[1, 0],
        &[1, 2, 0],
        &[0, 1, 0, 2],
        &[1, 2, 1, 2, 0],
    ] {
        for known in [&[][..], &[0], &[1], &[1, 2]] {
            for at in 0..40 {
                let table = table(WORDS);
                let key_of = |&which: &usize| key(&sample(pcs[which], &[]));
                let keys: Vec<_> = nested.iter().map(key_of).collect();
                let mut counts = BTreeMap::new();
                let mut add = |which: usize| {
                    *counts
                        .entry(record_of(&sample(pcs[which], &[])))
                        .or_insert(0) += 1;
                };
                for which in known {
                    table.count(key_of(which).words()).unwrap();
                    add(*which);
                }
                let interrupts = Nested {
                    table,
                    at,
                    passed: Cell::new(0),
                    keys: &keys,
                    counted: RefCell::default(),
                };
                let outcome = table.count_interruptible(key_of(&0).words(), &interrupts);
                assert_eq!(outcome, Ok(()));
                add(0);
                for place in interrupts.counted.into_inner() {
                    add(nested[place]);
                }
                assert_eq!(
                    counted(&table),
                    counts,
                    "{nested:?} from {at} on, {known:?} known"
                );
            }
        }
    }
}

proptest! {
    #[test]
    fn counts_are_those_of_the_samples(
        which in vec((0..40_u64, vec(1..0xf_ffff_u64, 0..64)), 1..300),
        again in vec(0..300_usize, 0..600),
    ) {
        let table = table(64 << 10 >> 3);
        let mut counts = BTreeMap::new();
        let mut full = 0;
        for place in (0..which.len()).chain(again.into_iter().map(|it| it % which.len())) {
            let (pc, chain) = &which[place];
            let chain: Vec<u64> = chain.iter().map(|offset| TEXT.start.0 + offset).collect();
            let sample = sample(*pc, &chain);
            match table.count(key(&sample).words()) {
                Ok(()) => *counts.entry(record_of(&sample)).or_insert(0) += 1,
                Err(Full) => full += 1,
            }
        }
        prop_assert!(counted(&table) == counts);
        prop_assert!(full < 900);
    }
}
