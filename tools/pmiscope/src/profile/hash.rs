//! The hash by which two runs are compared. It is made of what samples say, and not of how
//! records or files have it; and it is independent of the order in which cores were read.
//!
//! All numbers are 64-bit words, little-endian; a hash that is hashed is its bytes.
//!
//! * A stack's: the first 16 bytes of SHA-256 over its flags (0..8 the state, 8..16 the chain end), the
//!   number of the chain's words, the program counter, the exact address or 0, the two words on
//!   top, the chain. A word on top of a stack, here and in the chain's crossings, counts as 0
//!   if it does not lie in the text: it is no return address, and where memory lies is no
//!   difference between runs.
//! * A core's: SHA-256 over its samples, each: the sequence number and above bit 32 the cost of
//!   the handler before; the event and above bit 16 the task; time; period; stack pointer; the
//!   stack's hash.
//! * The run's: the first 16 bytes of SHA-256 over its cores in order, each: its number, the
//!   number of its samples, its hash.

use profiler::address::CodeRange;
use profiler::format::{Sample, State};
use sha2::{Digest, Sha256};

use super::block::SampleRow;
use super::stacks::{is_loose, top_places};
use crate::units::hex;

/// Bytes of a stack's hash, and of the run's.
pub(super) const BYTES: usize = 16;

pub(super) type StackHash = [u8; BYTES];

/// The hash of a sample's stack.
pub(super) fn stack_hash(text: CodeRange, sample: &Sample<'_>) -> StackHash {
    let mut words: Vec<u64> = sample.chain_words.to_vec();
    let without_loose = |word: u64| if is_loose(text, word) { 0 } else { word };
    for place in top_places(sample.chain_words) {
        words[place] = without_loose(words[place]);
    }
    let state = match sample.exact {
        Some(_) => sample.state.0 | State::EXACT,
        None => sample.state.0 & !State::EXACT,
    };
    let [top, below] = sample.stack_top.map(without_loose);
    let mut hash = Sha256::new();
    for word in [
        u64::from(state) | u64::from(sample.end as u8) << 8,
        words.len() as u64,
        sample.pc.0,
        sample.exact.map_or(0, |exact| exact.0),
        top,
        below,
    ]
    .into_iter()
    .chain(words)
    {
        hash.update(word.to_le_bytes());
    }
    let hash: [u8; 32] = hash.finalize().into();
    std::array::from_fn(|byte| hash[byte])
}

/// The hash of a run's samples, made while they arrive.
#[derive(Clone)]
pub(super) struct RunHash {
    /// Each core's, and the number of its samples.
    cores: Vec<(Sha256, u64)>,
}

impl RunHash {
    pub(super) fn new(cores: usize) -> Self {
        Self {
            cores: vec![(Sha256::new(), 0); cores],
        }
    }

    /// Adds the next sample of `core`, which the run must have.
    pub(super) fn add(&mut self, core: usize, sample: &SampleRow, stack: &StackHash) {
        let (hash, count) = &mut self.cores[core];
        let words = [
            u64::from(sample.sequence) | u64::from(sample.cost) << 32,
            u64::from(sample.event) | u64::from(sample.task) << 16,
            sample.time,
            sample.period,
            sample.sp,
        ];
        let mut bytes = [0; 5 * 8 + BYTES];
        for (place, word) in bytes.as_chunks_mut().0.iter_mut().zip(words) {
            *place = word.to_le_bytes();
        }
        bytes[5 * 8..].copy_from_slice(stack);
        hash.update(bytes);
        *count += 1;
    }

    /// The hash, in hexadecimal.
    pub(super) fn finish(self) -> String {
        let mut hash = Sha256::new();
        for (number, (core, count)) in (0_u64..).zip(self.cores) {
            hash.update(number.to_le_bytes());
            hash.update(count.to_le_bytes());
            hash.update(core.finalize());
        }
        hex(&hash.finalize()[..BYTES])
    }
}
