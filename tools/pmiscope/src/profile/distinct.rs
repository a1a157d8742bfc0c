//! Finds out which samples have a stack that another one has had.

use std::hash::BuildHasher as _;
use std::io;
use std::ops::Range;

use hashbrown::{DefaultHashBuilder, HashMap, HashTable};
use profiler::address::CodeRange;
use profiler::format::Sample;

use super::hash::{StackHash, stack_hash};
use super::stacks::{LOOSE, Part, StackRow, is_loose, top_places};

/// The most of each that is kept for comparison. Beyond it all begins anew: stacks are written
/// once more, with other numbers, and memory stays.
#[derive(Clone, Copy)]
struct Limits {
    stacks: usize,
    chain_words: usize,
}

const LIMITS: Limits = Limits {
    stacks: 1 << 22,
    chain_words: 1 << 25,
};

/// The stacks that samples had so far, and which of them are not written yet.
pub(super) struct Distinct {
    text: CodeRange,
    limits: Limits,
    words: HashMap<u64, u32>,
    chains: Chains,
    stacks: HashMap<StackRow, u32>,
    /// Of the stacks from `first_hash` on.
    hashes: Vec<StackHash>,
    first_hash: u32,
    /// The part of the table that comes next.
    part: Part,
    /// The chain of the sample at hand, without what is loose in it.
    chain: Vec<u64>,
}

impl Distinct {
    /// None yet, of a kernel with this text.
    pub(super) fn new(text: CodeRange) -> Self {
        Self {
            text,
            limits: LIMITS,
            words: HashMap::new(),
            chains: Chains::default(),
            stacks: HashMap::new(),
            hashes: Vec::new(),
            first_hash: 0,
            part: Part {
                // The word 0 is every loose one.
                first_word: 1,
                ..Part::default()
            },
            chain: Vec::new(),
        }
    }

    /// The number of a sample's stack, and its hash.
    ///
    /// # Errors
    ///
    /// There are too many for the format.
    pub(super) fn find(&mut self, sample: &Sample<'_>) -> io::Result<(u32, StackHash)> {
        self.forget_if_full();
        self.chain.clear();
        self.chain.extend_from_slice(sample.chain_words);
        for place in top_places(sample.chain_words) {
            if is_loose(self.text, self.chain[place]) {
                self.chain[place] = 0;
            }
        }
        let mut top = [LOOSE; 2];
        for (number, word) in top.iter_mut().zip(sample.stack_top) {
            if !is_loose(self.text, word) {
                *number = self.word(word)?;
            }
        }
        let row = StackRow {
            pc: self.word(sample.pc.0)?,
            exact: sample.exact.map_or(Ok(0), |exact| self.word(exact.0))?,
            top,
            chain: self.chain()?,
            state: sample.state.0,
            end: sample.end as u8,
        };
        let next = self.part.first_stack + self.part.rows.len() as u64;
        let number = *self.stacks.entry(row).or_insert(number_of(next)?);
        if u64::from(number) == next {
            self.part.rows.push(row);
            self.hashes.push(stack_hash(self.text, sample));
        }
        Ok((number, self.hashes[(number - self.first_hash) as usize]))
    }

    /// The number of a word.
    fn word(&mut self, word: u64) -> io::Result<u32> {
        let next = self.part.first_word + self.part.words.len() as u64;
        let number = *self.words.entry(word).or_insert(number_of(next)?);
        if u64::from(number) == next {
            self.part.words.push(word);
        }
        Ok(number)
    }

    /// The number of the chain at hand.
    fn chain(&mut self) -> io::Result<u32> {
        let next = number_of(self.part.first_chain + self.part.lengths.len() as u64)?;
        let number = self.chains.find_or_add(&self.chain, next);
        if number == next {
            let chain = std::mem::take(&mut self.chain);
            let start = self.part.chains.len();
            for &word in &chain {
                let number = self.word(word)?;
                self.part.chains.push(number.into());
            }
            for place in top_places(&chain).filter(|&place| chain[place] == 0) {
                self.part.chains[start + place] = LOOSE.into();
            }
            self.part.lengths.push(chain.len() as u64);
            self.chain = chain;
        }
        Ok(number)
    }

    /// The part of the table that is not written yet; `None` if it has nothing.
    pub(super) fn take_part(&mut self) -> Option<Part> {
        if self.part.rows.is_empty() {
            return None;
        }
        let Part {
            first_word,
            first_chain,
            first_stack,
            words,
            lengths,
            rows,
            ..
        } = &self.part;
        let next = Part {
            first_word: first_word + words.len() as u64,
            first_chain: first_chain + lengths.len() as u64,
            first_stack: first_stack + rows.len() as u64,
            ..Part::default()
        };
        Some(std::mem::replace(&mut self.part, next))
    }

    /// Begins anew where too much is kept.
    fn forget_if_full(&mut self) {
        let is_full = self.stacks.len() >= self.limits.stacks
            || self.chains.words.len() >= self.limits.chain_words;
        if is_full {
            self.words.clear();
            self.chains = Chains::default();
            self.stacks.clear();
            // Numbers go on.
            self.first_hash += u32::try_from(self.hashes.len()).unwrap_or(u32::MAX);
            self.hashes.clear();
        }
    }
}

fn number_of(next: u64) -> io::Result<u32> {
    let too_many = |_| io::Error::new(io::ErrorKind::FileTooLarge, "too many different stacks");
    u32::try_from(next).map_err(too_many)
}

/// Chains, each once, and their numbers.
#[derive(Default)]
struct Chains {
    /// Of all, one behind the other.
    words: Vec<u64>,
    known: HashTable<(Range<usize>, u32)>,
    hasher: DefaultHashBuilder,
}

impl Chains {
    /// The number of a chain: `next` if it is new.
    fn find_or_add(&mut self, chain: &[u64], next: u32) -> u32 {
        let Self {
            words,
            known,
            hasher,
        } = self;
        let hash = hasher.hash_one(chain);
        let is_it = |(place, _): &(Range<usize>, u32)| words[place.clone()] == *chain;
        if let Some(&(_, number)) = known.find(hash, is_it) {
            return number;
        }
        let place = words.len()..words.len() + chain.len();
        words.extend_from_slice(chain);
        known.insert_unique(hash, (place, next), |(place, _)| {
            hasher.hash_one(&words[place.clone()])
        });
        next
    }
}

#[cfg(test)]
mod tests {
    use profiler::address::{CodeAddress, StackAddress};
    use profiler::format::{ChainEnd, State};

    use super::super::column::{Packer, Unpacker};
    use super::super::stacks::StackTable;
    use super::*;

    const TEXT: CodeRange = CodeRange {
        start: CodeAddress(0x1000),
        end: CodeAddress(0x2000),
    };

    fn sample(pc: u64, chain: &[u64]) -> Sample<'_> {
        Sample {
            sequence: 0,
            handler_cost: 0,
            event: 0,
            task: 0,
            state: State(0),
            time: 0,
            period: 0,
            sp: StackAddress(0),
            stack_top: [0x1800, 7],
            pc: CodeAddress(pc),
            exact: None,
            end: ChainEnd::Complete,
            chain_words: chain,
        }
    }

    /// The stacks of samples, each with its number, and the table of them; a part is written
    /// behind each sample.
    fn table_of(samples: &[Sample<'_>], limits: Limits) -> (Vec<(u32, StackHash)>, StackTable) {
        let mut distinct = Distinct {
            limits,
            ..Distinct::new(TEXT)
        };
        let mut table = StackTable::default();
        let mut found = Vec::new();
        for sample in samples {
            found.push(distinct.find(sample).unwrap());
            if let Some(part) = distinct.take_part() {
                let mut payload = Vec::new();
                part.pack(&mut Packer::new().unwrap(), &mut payload)
                    .unwrap();
                table.add(&payload, &mut Unpacker::new().unwrap()).unwrap();
            }
        }
        (found, table)
    }

    fn assert_found(samples: &[Sample<'_>], limits: Limits, expected: &[u32]) {
        let (found, table) = table_of(samples, limits);
        let numbers: Vec<_> = found.iter().map(|&(number, _)| number).collect();
        assert_eq!(numbers, expected);
        let mut chain = Vec::new();
        for (sample, (number, hash)) in samples.iter().zip(found) {
            let stack = table.get(number as usize).unwrap();
            let stored = stack.sample(&mut chain);
            let expected = Sample {
                // What is no code is the sample's own.
                stack_top: [sample.stack_top[0], 0],
                ..*sample
            };
            assert_eq!(stored, expected);
            assert_eq!(stack_hash(TEXT, sample), hash);
        }
    }

    #[test]
    fn a_stack_is_kept_once() {
        let samples = [
            sample(0x1000, &[]),
            sample(0x1001, &[0x1003, 0]),
            sample(0x1000, &[0x1003, 0]),
            sample(0x1000, &[]),
            sample(0x1001, &[0x1003, 0]),
        ];
        assert_found(&samples, LIMITS, &[0, 1, 2, 0, 1]);
    }

    #[test]
    fn what_is_kept_for_comparison_is_bounded() {
        let samples = [
            sample(0x1000, &[0x1002, 0x1003]),
            sample(0x1001, &[0x1002, 0x1003]),
            sample(0x1000, &[0x1002, 0x1003]),
            sample(0x1001, &[0x1002, 0x1003]),
        ];
        let few_stacks = Limits {
            stacks: 2,
            ..LIMITS
        };
        // Behind the second it is full.
        assert_found(&samples, few_stacks, &[0, 1, 2, 3]);
        let few_words = Limits {
            chain_words: 2,
            ..LIMITS
        };
        assert_found(&samples, few_words, &[0, 1, 2, 3]);
    }
}
