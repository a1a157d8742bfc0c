//! The sample: what one overflow leaves in the ring.
//!
//! ```text
//! word 0   0..8 length in units   8..16 kind   16..24 chain end
//!          24..32 state           32..40 event  48..64 task
//! word 1   0..32 sequence number   32..64 cost of the handler before, ticks
//! word 2   time stamp, ticks since sampling began
//! word 3   ticks that the interrupted code ran since it was last interrupted, or
//!          events since the event last overflowed
//! word 4   the stack pointer
//! word 5   the word on top of the interrupted stack
//! word 6   the word below it
//! word 7   the program counter
//! word 8…  the chain: callers, innermost first
//! the last the exact address, if there is one
//! ```
//!
//! That is a *wide* sample. Most are written *compact* (`sample/compact.rs`), and read as these words all the same.
//!
//! A *tick* is what the run's clock counts: one instruction under instruction
//! counting, a nanosecond otherwise (see
//! [`super::Clock`]).
//!
//! A run that counts events with performance counters names them in its description,
//! and the *event* is an index there. In other runs it is 0. Either may have aimed
//! overflows beside those, whose event is [`Sample::AIMED`].
//!
//! Where the processor says itself which instruction an overflow is for (AMD's
//! Instruction-Based Sampling), that is the *exact address*: [`State::EXACT`] says that the
//! record has it. All the rest is of the code that was interrupted, some instructions
//! later: the exact address may lie in another function.
//!
//! The chain holds return addresses. Where it crosses an interrupt there are
//! four words: a marker that no kernel address can equal, the *program counter*
//! of the code that was interrupted there, and the two words on top of its stack;
//! then return addresses follow again.
//!
//! Where the kernel serves the user's program, the chain goes on into that: four words, with another
//! marker, are the *border*. All return addresses behind it are the program's, and so are all of a
//! sample whose ring ([`State::RING`]) is 3.
//!
//! # The caller that a frame pointer does not show
//!
//! In a function's first and last instructions the frame pointer is still, or
//! again, the caller's, and the chain lacks the caller itself. Its return address
//! is then one of the two words on top of the stack; which one, if any, the host
//! tells from the call-frame information of the program counter. That goes for a
//! sample and for each crossing. Where the kernel itself knew how the code keeps
//! its caller ([`State::CALLER_KNOWN`], [`ChainEntry::Crossing::caller_known`])
//! nothing is missing.

pub(crate) mod compact;

use core::fmt;

use super::{RecordHead, kind, named};
use crate::address::{CodeAddress, StackAddress};

/// Words before the chain.
pub const FIXED_WORDS: usize = 8;

/// The most words that a chain can have.
pub const MAX_CHAIN: usize = 64;

/// The most words that a sample can have.
pub const MAX_WORDS: usize = FIXED_WORDS + MAX_CHAIN + 1;

/// A chain word that marks a crossing: not canonical, so never an address. Its
/// low byte is the vector of the interrupt or exception that was crossed; the bit
/// above it says that the caller is known.
const CROSSING: u64 = 0x0100_c055_0000_0000;
const CROSSING_CALLER_KNOWN: u64 = 1 << 8;
const CROSSING_FIELDS: u64 = CROSSING_CALLER_KNOWN | 0xff;

/// Words of a crossing, the marker first, then the program counter. A border has as many.
pub(crate) const CROSSING_WORDS: usize = 4;

/// A chain word that marks a border, as [`CROSSING`] does a crossing: the low byte is the vector; the
/// bit above it says that there was none, as the program came by SYSCALL.
const BORDER: u64 = 0x0100_c056_0000_0000;
const BORDER_SYSCALL: u64 = 1 << 8;
const BORDER_FIELDS: u64 = BORDER_SYSCALL | 0xff;

named! {
    /// How a walk ended. Reports show the names.
    ///
    /// ```
    /// use profiler::format::ChainEnd;
    ///
    /// assert_eq!(ChainEnd::try_from(1), Ok(ChainEnd::DepthLimit));
    /// assert_eq!(ChainEnd::Complete.name(), "complete");
    /// ```
    ChainEnd {
        /// It reached the root of the stack.
        Complete = 0, "complete";
        /// The chain has more than the words that a record holds.
        DepthLimit = 1, "depth limit";
        /// The stack pointer lies on no stack that the core knows.
        UnknownStack = 2, "unknown stack";
        /// A frame pointer is zero before the root.
        FrameNull = 3, "frame pointer null";
        /// A frame pointer is no multiple of 8.
        FrameMisaligned = 4, "frame pointer misaligned";
        /// A frame pointer lies below the stack pointer, or not above the frame
        /// before it.
        FrameBelow = 5, "frame pointer below the frame";
        /// A frame pointer lies past the top of the stack, or so near that its frame
        /// does.
        FrameAbove = 6, "frame pointer above the stack";
        /// A return address lies outside the kernel's text; or, of the user's program, where that
        /// has nothing to execute.
        ReturnOutsideText = 7, "return address outside text";
        /// The program counter that an interrupt saved lies outside the kernel's
        /// text.
        InterruptedOutsideText = 8, "interrupted code outside text";
        /// It is not known where the registers or the page tables of the user's program are.
        UserUnknown = 9, "user registers unknown";
        /// The program's frame pointer leads to where it has no memory that is mapped.
        UserUnmapped = 10, "user stack unmapped";
    }
}

/// What the processor was doing, as bits.
///
/// ```
/// use profiler::format::State;
///
/// let state = State(State::NMI | State::IDLE);
/// assert!(state.has(State::IDLE) && !state.has(State::INTERRUPTS_ON));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct State(pub u8);

impl State {
    /// The privilege level (ring) of the interrupted code: 0 to 3.
    pub const RING: u8 = 0b11;
    /// Maskable interrupts were on (RFLAGS.IF).
    pub const INTERRUPTS_ON: u8 = 1 << 2;
    /// The overflow came as an NMI (else as an IRQ).
    pub const NMI: u8 = 1 << 3;
    /// The core was halted, waiting for an interrupt.
    pub const IDLE: u8 = 1 << 4;
    /// The kernel knew how the interrupted code keeps its caller: the chain lacks
    /// none, whatever the words on top of the stack are.
    pub const CALLER_KNOWN: u8 = 1 << 5;
    /// The record's last word is the exact address ([`Sample::exact`]).
    pub const EXACT: u8 = 1 << 6;

    /// Returns true if all bits of `mask` are set.
    #[must_use]
    pub const fn has(self, mask: u8) -> bool {
        self.0 & mask == mask
    }
}

/// Returns true if a word of a chain marks a crossing, whose other words are the three behind it.
///
/// ```
/// use profiler::address::CodeAddress;
/// use profiler::format::ChainEntry;
/// use profiler::format::sample::{Chain, is_crossing};
///
/// let mut chain = Chain::new();
/// let crossing = ChainEntry::Crossing {
///     vector: 32,
///     pc: CodeAddress(0xffff_ffff_8000_0200),
///     caller_known: true,
///     stack_top: [0; 2],
/// };
/// chain.push(crossing).unwrap();
/// assert!(is_crossing(chain.words()[0]) && !is_crossing(chain.words()[1]));
/// ```
#[must_use]
pub const fn is_crossing(word: u64) -> bool {
    word & !CROSSING_FIELDS == CROSSING
}

/// Returns true if a word of a chain marks the border to the user's program, whose other words are
/// the three behind it.
///
/// ```
/// use profiler::address::CodeAddress;
/// use profiler::format::ChainEntry;
/// use profiler::format::sample::{Chain, is_border};
///
/// let mut chain = Chain::new();
/// let border = ChainEntry::Border {
///     vector: None,
///     pc: CodeAddress(0x40_1000),
///     stack_top: [0; 2],
/// };
/// chain.push(border).unwrap();
/// assert!(is_border(chain.words()[0]) && !is_border(chain.words()[1]));
/// ```
#[must_use]
pub const fn is_border(word: u64) -> bool {
    word & !BORDER_FIELDS == BORDER
}

/// Returns true if a word of a chain is none of an address, and takes the three behind it along: it
/// marks a crossing or a border.
#[must_use]
pub const fn is_marker(word: u64) -> bool {
    is_crossing(word) || is_border(word)
}

/// The chain word of a border.
#[inline]
pub(crate) const fn border_word(vector: Option<u8>) -> u64 {
    match vector {
        Some(vector) => BORDER | vector as u64,
        None => BORDER | BORDER_SYSCALL,
    }
}

/// The vector of a border's chain word; `None`: it was SYSCALL.
#[inline]
pub(crate) const fn border_vector(word: u64) -> Option<u8> {
    if word & BORDER_SYSCALL == 0 {
        Some(word.to_le_bytes()[0])
    } else {
        None
    }
}

/// The chain word of a crossing.
#[inline]
pub(crate) const fn crossing_word(vector: u8, caller_known: bool) -> u64 {
    let known = if caller_known {
        CROSSING_CALLER_KNOWN
    } else {
        0
    };
    CROSSING | known | vector as u64
}

/// The vector of a crossing's chain word, and whether the caller is known; `None` if it is none.
#[inline]
pub(crate) const fn crossing_of(word: u64) -> Option<(u8, bool)> {
    if is_crossing(word) {
        Some((word.to_le_bytes()[0], word & CROSSING_CALLER_KNOWN != 0))
    } else {
        None
    }
}

/// The vector of a crossing whose trap frame has none. No processor delivers it: it is
/// reserved (SDM vol. 3, table 7-1).
pub const UNKNOWN_VECTOR: u8 = 15;

/// One entry of a chain.
///
/// ```
/// use profiler::address::CodeAddress;
/// use profiler::format::ChainEntry;
/// use profiler::format::sample::Chain;
///
/// let mut chain = Chain::new();
/// chain.push(ChainEntry::Return(CodeAddress(0xffff_ffff_8000_0105))).unwrap();
/// let crossing = ChainEntry::Crossing {
///     vector: 32,
///     pc: CodeAddress(0xffff_ffff_8000_0200),
///     caller_known: false,
///     stack_top: [0; 2],
/// };
/// chain.push(crossing).unwrap();
/// assert_eq!(chain.words().len(), 1 + 4);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChainEntry {
    /// A return address: the call is the instruction *before* it.
    Return(CodeAddress),
    /// The chain crosses an interrupt or exception with this vector; the code
    /// that it interrupted was about to execute `pc`.
    Crossing {
        /// The vector of the interrupt or exception, or [`UNKNOWN_VECTOR`].
        vector: u8,
        /// The program counter that the interrupt saved.
        pc: CodeAddress,
        /// As [`State::CALLER_KNOWN`], of the code that was interrupted.
        caller_known: bool,
        /// The two words on top of its stack, as [`Sample::stack_top`].
        stack_top: [u64; 2],
    },
    /// The chain leaves the kernel: what is behind is the user's program, which was about to
    /// execute `pc`.
    Border {
        /// The vector of the interrupt or exception that came from the program, or
        /// [`UNKNOWN_VECTOR`]; `None`: it called the kernel by SYSCALL.
        vector: Option<u8>,
        /// The program counter that the program goes on at.
        pc: CodeAddress,
        /// The two words on top of its stack, as [`Sample::stack_top`].
        stack_top: [u64; 2],
    },
}

/// A chain under construction: [`MAX_CHAIN`] words, no allocation.
///
/// It grows where it will stand in the record, behind room for the words before
/// it, so that nothing is copied when the record is made.
///
/// ```
/// use profiler::address::CodeAddress;
/// use profiler::format::sample::{Chain, MAX_CHAIN};
/// use profiler::format::{ChainEnd, ChainEntry};
///
/// let mut chain = Chain::new();
/// let entry = ChainEntry::Return(CodeAddress(0xffff_ffff_8000_0105));
/// for _ in 0..MAX_CHAIN {
///     chain.push(entry).unwrap();
/// }
/// assert_eq!(chain.push(entry), Err(ChainEnd::DepthLimit));
/// ```
pub struct Chain {
    record: [u64; MAX_WORDS],
    /// Words of the record so far, those before the chain included.
    len: usize,
}

impl Chain {
    /// An empty chain.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            record: [0; MAX_WORDS],
            len: FIXED_WORDS,
        }
    }

    /// Appends an entry.
    ///
    /// # Errors
    ///
    /// [`ChainEnd::DepthLimit`] if there is no room for all of it.
    #[inline]
    pub fn push(&mut self, entry: ChainEntry) -> Result<(), ChainEnd> {
        match entry {
            ChainEntry::Return(address) => self.push_words([address.0]),
            ChainEntry::Crossing {
                vector,
                pc,
                caller_known,
                stack_top: [top, below],
            } => self.push_words([crossing_word(vector, caller_known), pc.0, top, below]),
            ChainEntry::Border {
                vector,
                pc,
                stack_top: [top, below],
            } => self.push_words([border_word(vector), pc.0, top, below]),
        }
    }

    fn push_words<const N: usize>(&mut self, words: [u64; N]) -> Result<(), ChainEnd> {
        let room = self.record[..FIXED_WORDS + MAX_CHAIN].get_mut(self.len..self.len + N);
        room.ok_or(ChainEnd::DepthLimit)?.copy_from_slice(&words);
        self.len += N;
        Ok(())
    }

    /// The words, as they stand in a record.
    #[must_use]
    pub fn words(&self) -> &[u64] {
        // `len` never exceeds the array: `push_words` keeps it.
        &self.record[FIXED_WORDS..self.len]
    }

    /// The entries, innermost caller first.
    ///
    /// ```
    /// use profiler::address::CodeAddress;
    /// use profiler::format::ChainEntry;
    /// use profiler::format::sample::Chain;
    ///
    /// let mut chain = Chain::new();
    /// let entry = ChainEntry::Return(CodeAddress(0xffff_ffff_8000_0105));
    /// chain.push(entry).unwrap();
    /// assert!(chain.entries().eq([entry]));
    /// ```
    pub fn entries(&self) -> impl Iterator<Item = ChainEntry> + '_ {
        entries_of(self.words())
    }

    /// Returns the record of `sample`, with this chain in place of the sample's own.
    pub fn record(&mut self, sample: &Sample<'_>) -> &[u64] {
        let mut words = self.len;
        if let Some(exact) = sample.exact {
            // Behind the longest chain there is one more.
            self.record[words] = exact.0;
            words += 1;
        }
        self.record[..FIXED_WORDS].copy_from_slice(&sample.fixed_words(words));
        &self.record[..words]
    }
}

impl Default for Chain {
    fn default() -> Self {
        Self::new()
    }
}

/// A sample, with its chain still in the record's words.
///
/// ```
/// use profiler::address::{CodeAddress, StackAddress};
/// use profiler::format::sample::{Chain, MAX_WORDS};
/// use profiler::format::{ChainEnd, ChainEntry, Sample, State};
///
/// let mut chain = Chain::new();
/// let caller = ChainEntry::Return(CodeAddress(0xffff_ffff_8000_0105));
/// chain.push(caller).unwrap();
/// let sample = Sample {
///     sequence: 0,
///     handler_cost: 0,
///     event: 0,
///     task: 0,
///     state: State(State::NMI),
///     time: 1000,
///     period: 1000,
///     sp: StackAddress(0xffff_ffff_8002_1fd0),
///     stack_top: [0; 2],
///     pc: CodeAddress(0xffff_ffff_8000_0040),
///     exact: None,
///     end: ChainEnd::Complete,
///     chain_words: chain.words(),
/// };
/// let mut record = [0; MAX_WORDS];
/// let words = sample.encode(&mut record);
/// let read = Sample::decode(&record[..words]).unwrap();
/// assert_eq!(read.pc, sample.pc);
/// assert_eq!(read.chain().collect::<Vec<_>>(), [caller]);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sample<'chain> {
    /// The number of this overflow on its core, from 0, modulo 2³². A gap says
    /// how many samples were lost there.
    pub sequence: u32,
    /// What the handler of the overflow before this one cost, in ticks, from the
    /// first instruction of the entry to the last of the exit; 0 in a core's
    /// first sample.
    pub handler_cost: u32,
    /// The event whose counter overflowed: an index into
    /// [`super::Description::events`]; 0 if there are none; or [`Self::AIMED`].
    pub event: u8,
    /// The task that ran: an index into the run's task names.
    pub task: u16,
    /// What the processor was doing. [`State::EXACT`] is set by [`Self::exact`].
    pub state: State,
    /// When the handler was entered, in ticks since sampling began.
    pub time: u64,
    /// The achieved period: the ticks that the interrupted code ran since the overflow
    /// before. Where the run has events: how often the event happened since its
    /// overflow before.
    pub period: u64,
    /// The interrupted stack pointer.
    pub sp: StackAddress,
    /// The two words on top of the interrupted stack, lowest address first; 0
    /// where the stack has none.
    pub stack_top: [u64; 2],
    /// The instruction that was about to execute.
    pub pc: CodeAddress,
    /// The instruction that the overflow is for, if the processor says it.
    pub exact: Option<CodeAddress>,
    /// How the walk ended.
    pub end: ChainEnd,
    /// The chain's words; [`Self::chain`] decodes them.
    pub chain_words: &'chain [u64],
}

/// Why the words of a record are no sample.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SampleError {
    /// The record is of another kind: a later version's, to be skipped.
    OtherKind(u8),
    /// The record is shorter than a sample, longer than one can be, or not as
    /// long as its first word says.
    Length(usize),
    /// The chain ends for a reason that this version does not know.
    ChainEnd(u8),
}

impl fmt::Display for SampleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherKind(kind) => write!(f, "a record of kind {kind}, not a sample"),
            Self::Length(words) => write!(f, "a record of {words} words is not a sample"),
            Self::ChainEnd(number) => write!(f, "no chain ends by reason {number}"),
        }
    }
}

impl core::error::Error for SampleError {}

impl<'chain> Sample<'chain> {
    /// The event of an overflow that was aimed at an instruction, beside those of the
    /// period.
    pub const AIMED: u8 = 0xff;

    /// Writes the record to `record` and returns its length in words.
    ///
    /// # Panics
    ///
    /// If the chain has more than [`MAX_CHAIN`] words; a [`Chain`] never has.
    pub fn encode(&self, record: &mut [u64; MAX_WORDS]) -> usize {
        let mut words = FIXED_WORDS + self.chain_words.len();
        record[FIXED_WORDS..words].copy_from_slice(self.chain_words);
        if let Some(exact) = self.exact {
            record[words] = exact.0;
            words += 1;
        }
        record[..FIXED_WORDS].copy_from_slice(&self.fixed_words(words));
        words
    }

    /// The state, with the bit that says what the record holds.
    #[inline]
    const fn state_bits(&self) -> u8 {
        match self.exact {
            Some(_) => self.state.0 | State::EXACT,
            None => self.state.0 & !State::EXACT,
        }
    }

    /// The words before the chain, in a record of `words` words.
    #[inline]
    fn fixed_words(&self, words: usize) -> [u64; FIXED_WORDS] {
        // At most `MAX_WORDS`: no longer record can be made.
        let head = RecordHead::of_words(kind::SAMPLE, words);
        [
            head.to_bits()
                | u64::from(self.end as u8) << 16
                | u64::from(self.state_bits()) << 24
                | u64::from(self.event) << 32
                | u64::from(self.task) << 48,
            u64::from(self.sequence) | u64::from(self.handler_cost) << 32,
            self.time,
            self.period,
            self.sp.0,
            self.stack_top[0],
            self.stack_top[1],
            self.pc.0,
        ]
    }

    /// Reads a sample out of a whole record.
    ///
    /// # Errors
    ///
    /// [`SampleError`] if they are not.
    #[allow(clippy::cast_possible_truncation)] // the fields are cut out
    pub fn decode(record: &'chain [u64]) -> Result<Self, SampleError> {
        let &[
            first,
            second,
            time,
            period,
            sp,
            top0,
            top1,
            pc,
            ref chain_words @ ..,
        ] = record
        else {
            return Err(SampleError::Length(record.len()));
        };
        let head = RecordHead::from_word(first);
        if head.kind != kind::SAMPLE {
            return Err(SampleError::OtherKind(head.kind));
        }
        let state = State((first >> 24) as u8);
        let (exact, chain_words) = match chain_words {
            [chain @ .., exact] if state.has(State::EXACT) => (Some(CodeAddress(*exact)), chain),
            [] if state.has(State::EXACT) => return Err(SampleError::Length(record.len())),
            _ => (None, chain_words),
        };
        if usize::from(head.units) != 2 * record.len() || chain_words.len() > MAX_CHAIN {
            return Err(SampleError::Length(record.len()));
        }
        let end = (first >> 16) as u8;
        Ok(Self {
            sequence: second as u32,
            handler_cost: (second >> 32) as u32,
            event: (first >> 32) as u8,
            task: (first >> 48) as u16,
            state,
            time,
            period,
            sp: StackAddress(sp),
            stack_top: [top0, top1],
            pc: CodeAddress(pc),
            exact,
            end: ChainEnd::try_from(end).map_err(|_| SampleError::ChainEnd(end))?,
            chain_words,
        })
    }

    /// The chain, innermost caller first. Every word is either a marker, which
    /// takes the next three words along, or a return address; a marker without
    /// them (a record that something else wrote) ends the chain.
    pub fn chain(&self) -> impl Iterator<Item = ChainEntry> + use<'chain> {
        entries_of(self.chain_words)
    }
}

/// The entries that words of a chain are.
fn entries_of(words: &[u64]) -> impl Iterator<Item = ChainEntry> + use<'_> {
    let mut words = words.iter().copied();
    core::iter::from_fn(move || {
        let word = words.next()?;
        if let Some((vector, caller_known)) = crossing_of(word) {
            Some(ChainEntry::Crossing {
                vector,
                caller_known,
                pc: CodeAddress(words.next()?),
                stack_top: [words.next()?, words.next()?],
            })
        } else if is_border(word) {
            Some(ChainEntry::Border {
                vector: border_vector(word),
                pc: CodeAddress(words.next()?),
                stack_top: [words.next()?, words.next()?],
            })
        } else {
            Some(ChainEntry::Return(CodeAddress(word)))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entries() -> impl Strategy<Value = Vec<ChainEntry>> {
        // Canonical kernel addresses: what the walk lets through.
        let address = (0xffff_8000_0000_0000_u64..).prop_map(CodeAddress);
        let entry = prop_oneof![
            4 => address.clone().prop_map(ChainEntry::Return),
            1 => (any::<u8>(), address, any::<bool>(), any::<[u64; 2]>()).prop_map(
                |(vector, pc, caller_known, stack_top)| ChainEntry::Crossing {
                    vector,
                    pc,
                    caller_known,
                    stack_top,
                },
            ),
            1 => (any::<Option<u8>>(), any::<u64>(), any::<[u64; 2]>()).prop_map(
                |(vector, pc, stack_top)| ChainEntry::Border {
                    vector,
                    pc: CodeAddress(pc),
                    stack_top,
                },
            ),
        ];
        prop::collection::vec(entry, 0..80)
    }

    impl Chain {
        /// A copy of the chain, to make a record of.
        fn record_of(&self, sample: &Sample<'_>) -> Self {
            let mut chain = Self::new();
            for entry in sample.chain() {
                chain.push(entry).unwrap();
            }
            assert_eq!(chain.words(), self.words());
            chain
        }
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(
            entries in entries(),
            numbers in any::<(u32, u32, u8, u16, u8, u64, u64, [u64; 3], u64)>(),
            exact in any::<Option<u64>>(),
            end in 0..ChainEnd::ALL.len(),
        ) {
            let mut chain = Chain::new();
            let kept: Vec<_> = entries
                .iter()
                .take_while(|&&entry| chain.push(entry).is_ok())
                .copied()
                .collect();
            let (sequence, handler_cost, event, task, state, time, period, stack, pc) = numbers;
            let sample = Sample {
                sequence, handler_cost, event, task, time, period,
                sp: StackAddress(stack[0]),
                stack_top: [stack[1], stack[2]],
                state: State(state & !State::EXACT | u8::from(exact.is_some()) << 6),
                pc: CodeAddress(pc),
                exact: exact.map(CodeAddress),
                end: ChainEnd::ALL[end],
                chain_words: chain.words(),
            };
            let mut record = [0; MAX_WORDS];
            let words = sample.encode(&mut record);
            prop_assert_eq!(crate::format::record_words(record[0]), words);
            // What the handler does, which has no chain words to hand.
            let mut in_place = chain.record_of(&sample);
            prop_assert_eq!(in_place.record(&Sample { chain_words: &[], ..sample }), &record[..words]);
            let decoded = Sample::decode(&record[..words]).unwrap();
            prop_assert_eq!(decoded, sample);
            prop_assert_eq!(decoded.chain().collect::<Vec<_>>(), kept);
        }

        #[test]
        fn any_words_decode_or_say_why_not(record in prop::collection::vec(any::<u64>(), 0..100)) {
            if let Ok(sample) = Sample::decode(&record) {
                prop_assert!(sample.chain().count() <= MAX_CHAIN);
            }
        }

        #[test]
        fn random_words_with_a_samples_head_decode(
            mut record in prop::collection::vec(any::<u64>(), FIXED_WORDS..=MAX_WORDS),
        ) {
            // The longest has an exact address behind its chain; the shortest has none.
            let has_exact = record.len() == MAX_WORDS;
            record[0] = record[0] & !0x40ff_ffff | u64::from(has_exact) << 30
                | RecordHead::of_words(kind::SAMPLE, record.len()).to_bits();
            let sample = Sample::decode(&record).unwrap();
            prop_assert!(sample.chain().count() <= record.len() - FIXED_WORDS);
        }
    }

    /// A sample with a chain of two words.
    const fn example() -> Sample<'static> {
        Sample {
            sequence: 1,
            handler_cost: 2,
            event: 0,
            task: 3,
            state: State(State::NMI),
            time: 4,
            period: 5,
            sp: StackAddress(11),
            stack_top: [6, 7],
            pc: CodeAddress(8),
            exact: None,
            end: ChainEnd::Complete,
            chain_words: &[9, 10],
        }
    }

    #[test]
    fn an_exact_address_stands_behind_the_longest_chain() {
        let mut chain = Chain::new();
        let entry = ChainEntry::Return(CodeAddress(0xffff_ffff_8000_1000));
        while chain.push(entry).is_ok() {}
        let sample = Sample {
            exact: Some(CodeAddress(0xffff_ffff_8000_1234)),
            end: ChainEnd::DepthLimit,
            chain_words: &[],
            ..example()
        };
        let mut record = chain.record(&sample).to_vec();
        assert_eq!(record.len(), MAX_WORDS);
        assert_eq!(record.last(), Some(&0xffff_ffff_8000_1234));
        let decoded = Sample::decode(&record).unwrap();
        assert_eq!(decoded.exact, sample.exact);
        assert_eq!(decoded.chain().count(), MAX_CHAIN);
        // Without the bit it is one word too many of the chain.
        record[0] &= !(u64::from(State::EXACT) << 24);
        assert_eq!(Sample::decode(&record), Err(SampleError::Length(MAX_WORDS)));
        // With it, and no word: no sample.
        let mut short = record[..FIXED_WORDS].to_vec();
        short[0] = short[0] & !0xff | u64::from(State::EXACT) << 24;
        short[0] |= 2 * FIXED_WORDS as u64;
        assert_eq!(
            Sample::decode(&short),
            Err(SampleError::Length(FIXED_WORDS))
        );
    }

    #[test]
    fn a_full_chain_refuses_an_entry_and_keeps_what_it_has() {
        let mut chain = Chain::new();
        let entry = ChainEntry::Return(CodeAddress(0xffff_ffff_8000_1000));
        for _ in 0..MAX_CHAIN - 3 {
            chain.push(entry).unwrap();
        }
        let crossing = ChainEntry::Crossing {
            vector: 2,
            pc: CodeAddress(1),
            caller_known: true,
            stack_top: [3, 4],
        };
        assert_eq!(chain.push(crossing), Err(ChainEnd::DepthLimit));
        assert_eq!(chain.words().len(), MAX_CHAIN - 3);
        for _ in 0..3 {
            chain.push(entry).unwrap();
        }
        assert_eq!(chain.push(entry), Err(ChainEnd::DepthLimit));
    }

    #[test]
    fn a_record_that_is_cut_or_of_another_kind_is_refused() {
        let sample = example();
        let mut record = [0; MAX_WORDS];
        let words = sample.encode(&mut record);
        assert_eq!(Sample::decode(&record[..3]), Err(SampleError::Length(3)));
        assert_eq!(
            Sample::decode(&record[..words - 1]),
            Err(SampleError::Length(words - 1))
        );
        let mut other = record;
        other[0] ^= 0xff << 8;
        assert_eq!(
            Sample::decode(&other[..words]),
            Err(SampleError::OtherKind(0xff ^ kind::SAMPLE))
        );
        let mut unknown = record;
        unknown[0] |= 0xff << 16;
        assert_eq!(
            Sample::decode(&unknown[..words]),
            Err(SampleError::ChainEnd(0xff))
        );
    }
}
