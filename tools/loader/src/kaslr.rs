//! Where a relocatable kernel is moved to on request, by a seed. The host tool asks
//! the same function, so it knows the place before the kernel starts.

/// Kernels are moved by multiples of this, so that large pages stay large.
const STEP: u64 = 2 << 20;

/// How far a kernel is moved up for `seed`: a multiple of 2 MiB and of `align` (a power
/// of two), never zero. Behind the kernel there are `room` bytes. None, if that is not
/// enough for a step.
#[must_use]
pub fn offset(seed: u64, room: u64, align: u64) -> Option<u64> {
    let step = align.max(STEP);
    let steps = room / step;
    Some((mix(seed).checked_rem(steps)? + 1) * step)
}

/// The finalizer of SplitMix64: seeds that are close give numbers that are not.
fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn a_seed_gives_one_place() {
        let far = 2046 * MIB;
        for (seed, mib) in SEEDS {
            assert_eq!(offset(seed, far, 4096), Some(mib * MIB), "seed {seed}");
        }
    }

    /// The first number of the generator for seed 0 is known: e220a8397b1dcdaf.
    #[test]
    fn the_generator_is_split_mix() {
        assert_eq!(mix(0), 0xe220_a839_7b1d_cdaf);
    }

    const SEEDS: [(u64, u64); 3] = [
        (0, 2 * (0xe220_a839_7b1d_cdaf_u64 % 1023 + 1)),
        (1, 2 * (0x910a_2dec_8902_5cc1_u64 % 1023 + 1)),
        (2, 2 * (0x9758_35de_1c97_56ce_u64 % 1023 + 1)),
    ];

    #[test]
    fn every_place_is_within_the_room_and_is_another_one() {
        for align in [1, 4096, 16 * MIB] {
            for seed in 0..5000 {
                let offset = offset(seed, 100 * MIB + 5, align).unwrap();
                assert!(offset > 0 && offset <= 100 * MIB, "{offset:#x}");
                assert!(offset.is_multiple_of(align.max(2 * MIB)));
            }
        }
        let mut all: Vec<_> = (0..5000)
            .filter_map(|seed| offset(seed, 100 * MIB, 1))
            .collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 50, "each place is some seed's");
    }

    #[test]
    fn without_room_there_is_no_place() {
        assert_eq!(offset(7, 2 * MIB - 1, 1), None);
        assert_eq!(offset(7, 2 * MIB, 1), Some(2 * MIB));
        assert_eq!(offset(7, 2 * MIB, 4 * MIB), None);
    }
}
