//! What a core works on, and where it gets numbers from.

/// The bytes of each of a [`Scratch`]'s buffers.
pub const BUFFER_BYTES: usize = 4096;

/// What a core works on: its own, made once, on its stack.
pub struct Scratch {
    /// The core's index.
    pub core: u32,
    /// How many rounds the core has done.
    pub round: u64,
    /// Input, [`BUFFER_BYTES`] of it: the core's index decides what it is.
    pub source: [u8; BUFFER_BYTES],
    /// Output, as large.
    pub target: [u8; BUFFER_BYTES],
}

impl Scratch {
    /// What core `core` works on.
    #[must_use]
    pub fn new(core: u32) -> Self {
        let mut source = [0; BUFFER_BYTES];
        let mut state = scramble(u64::from(core));
        for word in source.chunks_exact_mut(8) {
            word.copy_from_slice(&state.to_le_bytes());
            state = scramble(state);
        }
        Self {
            core,
            round: 0,
            source,
            target: [0; BUFFER_BYTES],
        }
    }

    /// A number that is another on each core and in each round.
    #[must_use]
    pub fn seed(&self) -> u64 {
        scramble(u64::from(self.core) << 48 | self.round)
    }
}

/// A bijection without visible pattern (the finalizer of `SplitMix64`): a number
/// generator, if applied over and over.
#[must_use]
#[inline]
pub fn scramble(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scramble_is_splitmix64() {
        // The first two numbers of the reference implementation seeded with 0.
        assert_eq!(scramble(0), 0xe220_a839_7b1d_cdaf);
        assert_eq!(scramble(0x9e37_79b9_7f4a_7c15), 0x6e78_9e6a_a1b9_65f4);
    }

    #[test]
    fn a_core_has_the_same_scratch_each_time_and_another_than_its_neighbour() {
        let [first, again, other] = [3, 3, 4].map(Scratch::new);
        assert_eq!(first.source, again.source);
        assert_eq!(first.seed(), again.seed());
        assert_ne!(first.source, other.source);
        assert_ne!(first.seed(), other.seed());
    }
}
