//! The table of stacks: what samples have in common, each once.
//!
//! A *stack* is a program counter with all that a sample says of how it was come to: the
//! chain, how the walk ended, the state, the exact address, the words on top that lie in the
//! text. A word on top of a stack that does not is *loose*: it is no return address, and next
//! to no two samples have the same one. So it stays the sample's own, and has the number 0
//! here, as has an exact address that is not there. What is in several stacks is kept once as
//! well: words by their numbers, from 1, and chains by theirs, from 0.
//!
//! A part of the table is a chunk, of these columns:
//!
//! ```text
//! firsts   the numbers of the part's first word, first chain and first stack
//! words    the words
//! lengths  of each chain
//! chains   the words' numbers of each, one chain behind the other
//! pc, exact, top, below, chain     of each stack: the words' numbers, and the chain's
//! flags    of each stack: 0..8 state   8..16 chain end
//! ```

use std::io;
use std::ops::Range;

use profiler::address::{CodeAddress, CodeRange, UserAddress};
use profiler::format::sample::is_marker;
use profiler::format::{ChainEnd, Sample, State};

use super::column::{Columns, Numbers, Packer, Unpacker};

/// Words of a crossing, and which of them are those on top of a stack.
const CROSSING_WORDS: usize = 4;
const CROSSING_TOP: Range<usize> = 2..4;

/// The most numbers that lost parts may have had: bounds what a crafted file can make a reader
/// allocate.
const MAX_LOST: usize = 1 << 22;

/// A loose word's number.
pub(super) const LOOSE: u32 = 0;

/// Returns true if a word on top of a stack is loose.
pub(super) fn is_loose(text: CodeRange, word: u64) -> bool {
    let address = CodeAddress(word);
    word == 0 || !text.contains(address) && UserAddress::of_program(address).is_none()
}

/// The places in a chain of the words that were on top of a stack.
pub(super) fn top_places(chain: &[u64]) -> impl Iterator<Item = usize> {
    let mut at = 0;
    let crossings = std::iter::from_fn(move || {
        loop {
            let place = at;
            if !is_marker(*chain.get(place)?) {
                at += 1;
            } else if chain.len() - place < CROSSING_WORDS {
                return None;
            } else {
                at += CROSSING_WORDS;
                return Some(place);
            }
        }
    });
    crossings.flat_map(|place| CROSSING_TOP.map(move |top| place + top))
}

/// A stack, by the numbers of what it is made of.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct StackRow {
    /// Never 0, but in a stack that is lost.
    pub pc: u32,
    pub exact: u32,
    pub top: [u32; 2],
    pub chain: u32,
    pub state: u8,
    pub end: u8,
}

impl StackRow {
    const LOST: Self = Self {
        pc: 0,
        exact: 0,
        top: [LOOSE; 2],
        chain: 0,
        state: 0,
        end: 0,
    };

    /// The columns of [`Part`] that are a stack's.
    const COLUMNS: usize = 6;

    fn columns(&self) -> [u64; Self::COLUMNS] {
        [
            self.pc.into(),
            self.exact.into(),
            self.top[0].into(),
            self.top[1].into(),
            self.chain.into(),
            u64::from(self.state) | u64::from(self.end) << 8,
        ]
    }

    /// The stacks of columns that are equally long; `None` if one is not valid.
    fn of_columns(columns: &[Numbers; Self::COLUMNS]) -> Option<Vec<Self>> {
        let mut rows = vec![Self::LOST; columns[0].len()];
        let [pc, exact, top, below, chain, flags] = columns;
        fill(&mut rows, pc, |row, pc| row.pc = pc)?;
        fill(&mut rows, exact, |row, exact| row.exact = exact)?;
        fill(&mut rows, top, |row, top| row.top[0] = top)?;
        fill(&mut rows, below, |row, below| row.top[1] = below)?;
        fill(&mut rows, chain, |row, chain| row.chain = chain)?;
        fill(&mut rows, flags, |row, flags: u16| {
            [row.state, row.end] = flags.to_le_bytes();
        })?;
        let has_end = |row: &Self| ChainEnd::try_from(row.end).is_ok();
        let is_valid = rows.iter().all(|row| row.pc != 0 && has_end(row));
        is_valid.then_some(rows)
    }
}

/// Puts a column's numbers into as many rows; `None` if one is too large. It is compiled for each
/// `put`: a table has many rows.
fn fill<T: TryFrom<u64>>(
    rows: &mut [StackRow],
    column: &Numbers,
    put: impl Fn(&mut StackRow, T),
) -> Option<()> {
    let mut places = rows.iter_mut();
    let mut is_valid = true;
    column.for_each(0..column.len(), |number| {
        match (T::try_from(number), places.next()) {
            (Ok(number), Some(row)) => put(row, number),
            _ => is_valid = false,
        }
    });
    is_valid.then_some(())
}

/// A part of the table.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Part {
    pub first_word: u64,
    pub first_chain: u64,
    pub first_stack: u64,
    pub words: Vec<u64>,
    pub lengths: Vec<u64>,
    pub chains: Vec<u64>,
    pub rows: Vec<StackRow>,
}

impl Part {
    /// Appends the part's columns to `out`.
    ///
    /// # Errors
    ///
    /// One is too long.
    pub(super) fn pack(&self, packer: &mut Packer, out: &mut Vec<u8>) -> io::Result<()> {
        let firsts = [self.first_word, self.first_chain, self.first_stack];
        packer.planes(&firsts, out)?;
        for column in [&self.words, &self.lengths, &self.chains] {
            packer.planes(column, out)?;
        }
        for number in 0..StackRow::COLUMNS {
            let column = self.rows.iter().map(|row| row.columns()[number]);
            packer.planes(&column.collect::<Vec<_>>(), out)?;
        }
        Ok(())
    }

    /// Reads a part; `None` if it is not valid.
    fn unpack(payload: &[u8], unpacker: &mut Unpacker) -> Option<Self> {
        let mut columns = Columns::new(payload);
        let mut next = || {
            let mut numbers = Vec::new();
            unpacker.unpack(columns.next()?, &mut numbers)?;
            Some(numbers)
        };
        let [first_word, first_chain, first_stack] = next()?[..] else {
            return None;
        };
        let [words, lengths, chains] = [next()?, next()?, next()?];
        let mut rows: [Numbers; StackRow::COLUMNS] = Default::default();
        for numbers in &mut rows {
            unpacker.numbers(columns.next()?, numbers)?;
        }
        let count = rows[0].len();
        let is_whole = rows.iter().all(|column| column.len() == count);
        (is_whole && columns.is_empty()).then_some(())?;
        Some(Self {
            first_word,
            first_chain,
            first_stack,
            words,
            lengths,
            chains,
            rows: StackRow::of_columns(&rows)?,
        })
    }
}

/// A stack of a [`StackTable`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stack<'a> {
    /// The instruction that was about to execute.
    pub pc: CodeAddress,
    /// The instruction that the overflow is for, if the processor says it.
    pub exact: Option<CodeAddress>,
    /// The two words on top of the stack; 0 in place of one that is loose.
    pub top: [u64; 2],
    /// What the processor was doing.
    pub state: State,
    /// How the walk ended.
    pub end: ChainEnd,
    /// The program counter's number: stacks that have the same one have the same.
    pub pc_number: u32,
    /// The chain's number: stacks that have the same one have the same chain.
    pub chain: u32,
    words: &'a [u64],
    links: &'a [u32],
}

impl Stack<'_> {
    /// The words of the chain; 0 in place of those that are loose.
    pub fn chain_words(&self) -> impl Iterator<Item = u64> {
        self.links.iter().map(|&word| self.words[word as usize])
    }

    /// Returns the places of the chain's words that are loose.
    pub(super) fn loose_in_chain(&self) -> impl Iterator<Item = usize> {
        let links = self.links.iter().enumerate();
        links
            .filter(|&(_, &word)| word == LOOSE)
            .map(|(place, _)| place)
    }

    /// A sample that has this stack, and nothing else. Its chain is put into `chain`.
    pub fn sample<'c>(&self, chain: &'c mut Vec<u64>) -> Sample<'c> {
        chain.clear();
        chain.extend(self.chain_words());
        Sample {
            sequence: 0,
            handler_cost: 0,
            event: 0,
            task: 0,
            state: self.state,
            time: 0,
            period: 0,
            sp: profiler::address::StackAddress(0),
            stack_top: self.top,
            pc: self.pc,
            exact: self.exact,
            end: self.end,
            chain_words: chain,
        }
    }
}

/// All stacks of a profile.
#[derive(Debug)]
pub struct StackTable {
    /// By their numbers. The first is that of loose words.
    words: Vec<u64>,
    /// The words' numbers of each chain, one chain behind the other, and where each ends.
    chains: Vec<u32>,
    chain_ends: Vec<usize>,
    rows: Vec<StackRow>,
    /// Whether some are lost, and whether some have exact addresses: most tables need not be
    /// looked at to know it of a stack.
    has_lost: bool,
    has_exact: bool,
    lost: Lost,
}

/// What parts had that are not there.
#[derive(Default, Debug)]
struct Lost {
    words: Vec<Range<usize>>,
    /// Also those of whose words some are lost.
    chains: Vec<Range<usize>>,
}

fn has(ranges: &[Range<usize>], number: usize) -> bool {
    let after = ranges.partition_point(|range| range.end <= number);
    ranges
        .get(after)
        .is_some_and(|range| range.contains(&number))
}

impl Default for StackTable {
    fn default() -> Self {
        Self {
            words: vec![0],
            chains: Vec::new(),
            chain_ends: Vec::new(),
            rows: Vec::new(),
            has_lost: false,
            has_exact: false,
            lost: Lost::default(),
        }
    }
}

impl StackTable {
    /// Returns the number of stacks, those that are lost included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Returns true if there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Returns the number of chains.
    #[must_use]
    pub fn chains(&self) -> usize {
        self.chain_ends.len()
    }

    /// Returns the number of words of all chains.
    #[must_use]
    pub fn chain_words(&self) -> usize {
        self.chains.len()
    }

    /// Returns true if the stack with this number is there.
    #[must_use]
    pub fn has(&self, number: usize) -> bool {
        number < self.rows.len() && (!self.has_lost || self.rows[number].pc != 0)
    }

    /// Returns true if some of them are lost.
    #[must_use]
    pub fn has_lost(&self) -> bool {
        self.has_lost
    }

    /// Returns true if some have exact addresses.
    #[must_use]
    pub fn has_exact_addresses(&self) -> bool {
        self.has_exact
    }

    /// Returns true if the stack with this number is there, and has an exact address.
    #[must_use]
    pub fn has_exact(&self, number: usize) -> bool {
        self.has_exact && self.rows.get(number).is_some_and(|row| row.exact != 0)
    }

    /// Returns the stack with this number; `None` if it is lost, or there is none.
    #[must_use]
    pub fn get(&self, number: usize) -> Option<Stack<'_>> {
        let row = self.rows.get(number).filter(|row| row.pc != 0)?;
        let word = |number: u32| self.words[number as usize];
        let chain = row.chain as usize;
        let start = chain
            .checked_sub(1)
            .map_or(0, |before| self.chain_ends[before]);
        Some(Stack {
            pc: CodeAddress(word(row.pc)),
            exact: (row.exact != 0).then(|| CodeAddress(word(row.exact))),
            top: row.top.map(word),
            state: State(row.state),
            // Others were refused when the row was read.
            end: ChainEnd::try_from(row.end).unwrap_or(ChainEnd::Complete),
            pc_number: row.pc,
            chain: row.chain,
            words: &self.words,
            links: &self.chains[start..self.chain_ends[chain]],
        })
    }

    /// Adds the next part. Returns `None`, and adds nothing, if it is not valid.
    pub(super) fn add(&mut self, payload: &[u8], unpacker: &mut Unpacker) -> Option<()> {
        let part = Part::unpack(payload, unpacker)?;
        let firsts = [part.first_word, part.first_chain, part.first_stack];
        let [words, chains, stacks] = firsts.map(usize::try_from);
        let missing = [
            words.ok()?.checked_sub(self.words.len())?,
            chains.ok()?.checked_sub(self.chain_ends.len())?,
            stacks.ok()?.checked_sub(self.rows.len())?,
        ];
        (missing.iter().sum::<usize>() <= MAX_LOST).then_some(())?;
        self.check(&part, missing)?;
        self.leave_out(missing);
        self.words.extend(&part.words);
        self.add_chains(&part);
        let mut rows = part.rows;
        if !self.lost.words.is_empty() || !self.lost.chains.is_empty() {
            for row in rows.iter_mut().filter(|row| self.is_lost(row)) {
                *row = StackRow::LOST;
            }
        }
        self.has_lost |= rows.iter().any(|row| row.pc == 0);
        self.has_exact |= rows.iter().any(|row| row.exact != 0);
        self.rows.append(&mut rows);
        Some(())
    }

    /// Checks that a part speaks of nothing that comes behind it.
    fn check(&self, part: &Part, [words, chains, _]: [usize; 3]) -> Option<()> {
        let words = (self.words.len() + words + part.words.len()) as u64;
        let chains = self.chain_ends.len() + chains + part.lengths.len();
        let length: u64 = part
            .lengths
            .iter()
            .try_fold(0, |sum: u64, &length| sum.checked_add(length))?;
        let is_row = |row: &StackRow| {
            let all = [row.pc, row.exact, row.top[0], row.top[1]];
            (row.chain as usize) < chains && all.iter().all(|&word| u64::from(word) < words)
        };
        let is_valid = length == part.chains.len() as u64
            && part.chains.iter().all(|&word| word < words)
            && part.rows.iter().all(is_row);
        is_valid.then_some(())
    }

    /// Takes the place of what lost parts had.
    fn leave_out(&mut self, [words, chains, stacks]: [usize; 3]) {
        let behind = |len: usize, more: usize| len..len + more;
        if words > 0 {
            self.lost.words.push(behind(self.words.len(), words));
            self.words.resize(self.words.len() + words, 0);
        }
        if chains > 0 {
            self.lost.chains.push(behind(self.chain_ends.len(), chains));
            let end = self.chains.len();
            self.chain_ends.resize(self.chain_ends.len() + chains, end);
        }
        self.rows.resize(self.rows.len() + stacks, StackRow::LOST);
        self.has_lost |= stacks > 0;
    }

    fn add_chains(&mut self, part: &Part) {
        // Both were checked against the number of words, which fits.
        #[allow(clippy::cast_possible_truncation)]
        self.chains
            .extend(part.chains.iter().map(|&word| word as u32));
        let mut end = self.chains.len() - part.chains.len();
        for &length in &part.lengths {
            #[allow(clippy::cast_possible_truncation)]
            let words = end..end + length as usize;
            end = words.end;
            let is_lost = |&word: &u32| has(&self.lost.words, word as usize);
            if !self.lost.words.is_empty() && self.chains[words].iter().any(is_lost) {
                let number = self.chain_ends.len();
                self.lost.chains.push(number..number + 1);
            }
            self.chain_ends.push(end);
        }
    }

    /// Returns true if something that a stack is made of is lost.
    fn is_lost(&self, row: &StackRow) -> bool {
        let words = [row.pc, row.exact, row.top[0], row.top[1]];
        let mut words = words.iter().map(|&word| word as usize);
        words.any(|word| has(&self.lost.words, word)) || has(&self.lost.chains, row.chain as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(pc: u32, chain: u32) -> StackRow {
        StackRow {
            pc,
            chain,
            ..StackRow::LOST
        }
    }

    /// Two parts; the second one's second stack has a word, and its third a chain, of the first.
    fn parts() -> [Part; 2] {
        let first = Part {
            first_word: 1,
            first_chain: 0,
            first_stack: 0,
            words: vec![10, 20],
            lengths: vec![1, 0],
            chains: vec![2],
            rows: vec![row(1, 0), row(2, 1)],
        };
        let second = Part {
            first_word: 3,
            first_chain: 2,
            first_stack: 2,
            words: vec![30],
            lengths: vec![2, 1],
            chains: vec![3, 3, 2],
            rows: vec![row(3, 2), row(1, 2), row(3, 1), row(3, 3)],
        };
        [first, second]
    }

    fn add(table: &mut StackTable, part: &Part) -> Option<()> {
        let mut payload = Vec::new();
        part.pack(&mut Packer::new().unwrap(), &mut payload)
            .unwrap();
        table.add(&payload, &mut Unpacker::new().unwrap())
    }

    /// The program counter and the chain of each stack that is there.
    fn stacks(table: &StackTable) -> Vec<Option<(u64, Vec<u64>)>> {
        let stack = |number| {
            let stack = table.get(number)?;
            assert!(table.has(number));
            Some((stack.pc.0, stack.chain_words().collect()))
        };
        (0..table.len()).map(stack).collect()
    }

    #[test]
    fn parts_are_put_together() {
        let mut table = StackTable::default();
        for part in parts() {
            add(&mut table, &part).unwrap();
        }
        let expected = [
            (10, vec![20]),
            (20, vec![]),
            (30, vec![30, 30]),
            (10, vec![30, 30]),
            (30, vec![]),
            (30, vec![20]),
        ];
        assert_eq!(stacks(&table), expected.map(Some));
    }

    #[test]
    fn what_a_lost_part_had_is_lost_and_nothing_else() {
        let mut table = StackTable::default();
        add(&mut table, &parts()[1]).unwrap();
        let there = Some((30, vec![30, 30]));
        assert_eq!(stacks(&table), [None, None, there, None, None, None]);
        assert!(!table.has(0) && !table.has(3) && !table.has(6));
    }

    #[test]
    fn a_part_that_no_writer_has_made_is_refused() {
        let [first, second] = parts();
        let changes: [fn(&mut Part); 10] = [
            |part| part.first_word = 2,
            |part| part.first_stack = 1,
            |part| part.first_chain = 1 << 40,
            |part| part.lengths[0] = 3,
            |part| part.lengths[0] = u64::MAX,
            |part| part.chains[0] = 4,
            |part| part.rows[0].pc = 0,
            |part| part.rows[0].top[1] = 4,
            |part| part.rows[0].chain = 4,
            |part| part.rows[0].end = u8::MAX,
        ];
        for (number, change) in changes.iter().enumerate() {
            let mut table = StackTable::default();
            add(&mut table, &first).unwrap();
            let mut changed = second.clone();
            change(&mut changed);
            assert_eq!(add(&mut table, &changed), None, "{number}");
            assert_eq!(table.len(), 2, "{number}");
            add(&mut table, &second).unwrap();
        }
    }

    #[test]
    fn words_on_top_are_those_of_whole_crossings() {
        const CROSSING: u64 = 0x0100_c055_0000_0041;
        let places = |chain: &[u64]| top_places(chain).collect::<Vec<_>>();
        assert_eq!(places(&[1, 2, 3]), [0; 0]);
        assert_eq!(places(&[1, CROSSING, 2, 3, 4, 5]), [3, 4]);
        assert_eq!(places(&[CROSSING, 2, CROSSING, 4]), [2, 3]);
        assert_eq!(places(&[CROSSING, 2, 3, 4, CROSSING, 2, 3]), [2, 3]);
        const BORDER: u64 = 0x0100_c056_0000_0100;
        assert_eq!(places(&[BORDER, CROSSING, 3, 4, 5]), [2, 3]);
    }
}
