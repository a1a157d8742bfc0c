//! What there is to profile: small programs, each of which stresses one thing,
//! so that a profile of it can be checked against what its file says.
//!
//! | workload         | stresses                          | its profile shows           |
//! |------------------|-----------------------------------|-----------------------------|
//! | `arithmetic`     | the execution units               | leaves with fixed shares    |
//! | `hash`           | loops over memory                 | leaves, inlined functions   |
//! | `recursion`      | the stack walk                    | deep chains, some cut       |
//! | `contention`     | one lock, all cores               | waiting                     |
//! | `copy`           | memcpy, memmove, memset           | string instructions         |
//! | `interrupts-off` | sections that only NMIs see       | both halves, or skid        |
//! | `ping-pong`      | interrupts from core to core      | chains across handlers      |
//! | `heap`           | the allocator and its lock        | a broad, flat profile       |
//! | `idle`           | halting                           | halted samples              |
//! | `yield-storm`    | switches of stacks, the idle loop | shallow and deep switches   |
//! | `layers`         | interrupts in exceptions          | chains across both          |
//! | `corruption`     | the walk, by words gone wrong     | chains cut, each by reason  |
//! | `nmi-storm`      | NMIs from all cores to all        | the same, in parallel       |
//! | `mix`            | all but those two, in turn        | all of it, by task          |
//!
//! # Rules for a workload
//!
//! Work comes in units of some 10,000 to 100,000 instructions, or of a few
//! halts, which every core repeats for ever.
//!
//! 1. **No end.** A core stops for good where its last sample found it, while
//!    others still run. So a unit that waits for another core gives up after a
//!    bounded number of tries, and shared state is whole whenever it is not
//!    locked. Bounds are small: where cores take turns, waiting costs turns. The
//!    waits for the kernel's own locks, the heap's and the scheduler's, have no
//!    bound; they are held with interrupts off, and a core that stops while it holds
//!    one leaves those that want it spinning through the rest of their samples.
//! 2. **Repeatable.** What a unit does follows from the core's index and the
//!    number of the round; nothing reads a clock.
//! 3. **Seen by name.** Functions that a profile should show are not inlined, and
//!    their results pass through `black_box`.
//! 4. **Out of step.** Where cores wait for each other, what they do between
//!    takes longer or shorter each time. If it were always the same, a sampler
//!    whose samples end their turns would see always the same place.
//!
//! The shares that a workload's file names are those of its own samples on four
//! cores, 1000 instructions apart, unless it says otherwise.
//!
//! What is pure logic here is compiled on the host too, where its tests are.

pub mod arithmetic;
pub mod contention;
pub mod copy;
pub mod corruption;
pub mod hash;
pub mod heap;
pub mod recursion;

#[cfg(target_os = "none")]
mod idle;
#[cfg(target_os = "none")]
mod interrupts_off;
#[cfg(target_os = "none")]
mod layers;
#[cfg(target_os = "none")]
mod nmi_storm;
#[cfg(target_os = "none")]
mod ping_pong;
#[cfg(target_os = "none")]
mod run;
#[cfg(target_os = "none")]
mod yield_storm;

#[cfg(target_os = "none")]
pub use run::{Workload, find_or_refuse, run, run_counted, start, task_name};

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
