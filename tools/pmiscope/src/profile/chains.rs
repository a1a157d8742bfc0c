//! Chains that were counted in place: how often there was each, and no order or times.
//!
//! A chunk of them is columns: the core, the stack by its number in the table of stacks, task, event, and how often.

use std::collections::BTreeMap;
use std::io;

use sha2::{Digest, Sha256};

use super::column::{Columns, Packer, Unpacker};
use super::hash::{BYTES, StackHash};
use super::stacks::StackTable;
use crate::units::hex;

/// A chain that was counted in place, of one core.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChainCount {
    /// Whose it is.
    pub core: u32,
    /// The number of its stack.
    pub stack: u32,
    /// What ran.
    pub task: u16,
    /// What overflowed.
    pub event: u8,
    /// How often it was there.
    pub samples: u64,
}

/// The columns of a [`ChainCount`].
const COLUMNS: usize = 5;

impl ChainCount {
    const fn columns(&self) -> [u64; COLUMNS] {
        [
            self.core as u64,
            self.stack as u64,
            self.task as u64,
            self.event as u64,
            self.samples,
        ]
    }

    fn of_columns([core, stack, task, event, samples]: [u64; COLUMNS]) -> Option<Self> {
        Some(Self {
            core: core.try_into().ok()?,
            stack: stack.try_into().ok()?,
            task: task.try_into().ok()?,
            event: event.try_into().ok()?,
            samples,
        })
    }
}

/// Appends the columns of chains to `out`.
///
/// # Errors
///
/// They are too long.
pub(super) fn pack(
    chains: &[ChainCount],
    packer: &mut Packer,
    out: &mut Vec<u8>,
) -> io::Result<()> {
    for column in 0..COLUMNS {
        let numbers = chains.iter().map(|chain| chain.columns()[column]);
        packer.planes(&numbers.collect::<Vec<_>>(), out)?;
    }
    Ok(())
}

/// Reads chains; `None` if they are not valid: each is of one of so many cores.
pub(super) fn unpack(
    payload: &[u8],
    cores: usize,
    unpacker: &mut Unpacker,
) -> Option<Vec<ChainCount>> {
    let mut columns = Columns::new(payload);
    let mut numbers: [Vec<u64>; COLUMNS] = Default::default();
    for numbers in &mut numbers {
        unpacker.unpack(columns.next()?, numbers)?;
    }
    let count = numbers[0].len();
    let is_whole = numbers.iter().all(|column| column.len() == count);
    (is_whole && columns.is_empty()).then_some(())?;
    let mut all = 0_u64;
    let chain = |row: usize| {
        let chain = ChainCount::of_columns(numbers.each_ref().map(|column| column[row]))?;
        // The sums of a report do not wrap.
        all = all
            .checked_add(chain.samples)
            .filter(|&all| all < 1 << 62)?;
        (usize::try_from(chain.core).ok()? < cores).then_some(chain)
    };
    (0..count).map(chain).collect()
}

/// Leaves out the chains whose stacks are not there. Returns how many samples each core lacks then.
pub(super) fn leave_out(chains: &mut Vec<ChainCount>, stacks: &StackTable) -> Vec<(u32, u64)> {
    let mut lost = Vec::new();
    chains.retain(|chain| {
        let has = usize::try_from(chain.stack).is_ok_and(|stack| stacks.has(stack));
        if !has {
            lost.push((chain.core, chain.samples));
        }
        has
    });
    lost
}

/// The hash of chains and counts, by which runs are compared of which the order is not kept. Whether a
/// sample was counted in place or is in a ring makes no difference.
///
/// It is the first 16 bytes of SHA-256 over the chains of all cores in order, each: its core, its event and
/// above bit 16 its task, the hash of its stack as in `hash.rs`, how often it was there; all numbers
/// 64-bit words, little-endian.
#[derive(Default)]
pub(super) struct ChainHash(BTreeMap<(u32, u64, StackHash), u64>);

impl ChainHash {
    /// Adds samples of a chain, whose stack has this hash.
    pub(super) fn add(&mut self, chain: ChainCount, stack: StackHash) {
        let kind = u64::from(chain.event) | u64::from(chain.task) << 16;
        let samples = self.0.entry((chain.core, kind, stack)).or_default();
        *samples = samples.saturating_add(chain.samples);
    }

    /// The hash, in hexadecimal.
    pub(super) fn finish(self) -> String {
        let mut hash = Sha256::new();
        for ((core, kind, stack), samples) in self.0 {
            hash.update(u64::from(core).to_le_bytes());
            hash.update(kind.to_le_bytes());
            hash.update(stack);
            hash.update(samples.to_le_bytes());
        }
        hex(&hash.finalize()[..BYTES])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHAINS: [ChainCount; 3] = [
        ChainCount {
            core: 1,
            stack: 7,
            task: 300,
            event: 2,
            samples: 1 << 40,
        },
        ChainCount {
            core: 0,
            stack: u32::MAX,
            task: 0,
            event: 255,
            samples: 1,
        },
        ChainCount {
            core: 1,
            stack: 0,
            task: 1,
            event: 0,
            samples: 9,
        },
    ];

    fn packed(chains: &[ChainCount]) -> Vec<u8> {
        let mut payload = Vec::new();
        pack(chains, &mut Packer::new().unwrap(), &mut payload).unwrap();
        payload
    }

    fn unpacked(payload: &[u8], cores: usize) -> Option<Vec<ChainCount>> {
        unpack(payload, cores, &mut Unpacker::new().unwrap())
    }

    #[test]
    fn what_was_packed_is_unpacked() {
        let payload = packed(&CHAINS);
        assert_eq!(unpacked(&payload, 2), Some(CHAINS.to_vec()));
        assert_eq!(unpacked(&packed(&[]), 2), Some(vec![]));
        // A core that there is not; more, or less.
        assert_eq!(unpacked(&payload, 1), None);
        assert_eq!(unpacked(&[&payload[..], &[0]].concat(), 2), None);
        assert_eq!(unpacked(&payload[..payload.len() - 1], 2), None);
        let huge = ChainCount {
            samples: 1 << 61,
            ..CHAINS[0]
        };
        assert_eq!(unpacked(&packed(&[huge, huge]), 2), None);
    }

    #[test]
    fn the_hash_is_of_chains_and_counts_in_any_order() {
        let hash_of = |chains: &[(ChainCount, u8)]| {
            let mut hash = ChainHash::default();
            for &(chain, stack) in chains {
                hash.add(chain, [stack; BYTES]);
            }
            hash.finish()
        };
        let [a, b, c] = CHAINS;
        let all = hash_of(&[(a, 1), (b, 2), (c, 3)]);
        assert_eq!(hash_of(&[(c, 3), (a, 1), (b, 2)]), all);
        // In parts, and by another number.
        let eight = ChainCount { samples: 8, ..c };
        let one = ChainCount {
            samples: 1,
            stack: 99,
            ..c
        };
        assert_eq!(hash_of(&[(one, 3), (b, 2), (eight, 3), (a, 1)]), all);
        assert_ne!(hash_of(&[(eight, 3), (b, 2), (a, 1)]), all);
        assert_ne!(hash_of(&[(a, 1), (b, 2), (c, 4)]), all);
        let elsewhere = ChainCount { core: 0, ..c };
        assert_ne!(hash_of(&[(a, 1), (b, 2), (elsewhere, 3)]), all);
    }
}
