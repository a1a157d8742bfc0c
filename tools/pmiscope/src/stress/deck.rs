//! Values that are drawn from a seed.

/// Draws the values of one boot.
///
/// Each axis has a deck of cards, its values, which is dealt to the boots one after the other,
/// and shuffled anew when it is used up: so each value is reached within as many boots as
/// there are cards, and each boot can be drawn alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deck {
    pub seed: u64,
    /// The number of the boot, from 0 on.
    pub boot: u64,
}

impl Deck {
    /// The value that this boot has of an axis. A value that is there twice is dealt twice as often.
    pub(super) fn deal<T: Copy>(self, axis: &str, cards: &[T]) -> T {
        let count = cards.len() as u64;
        let mut order: Vec<usize> = (0..cards.len()).collect();
        self.random(axis, self.boot / count).shuffle(&mut order);
        let place = usize::try_from(self.boot % count).expect("it is below a length");
        cards[order[place]]
    }

    /// A number of a range, of this boot alone.
    pub(super) fn number(self, axis: &str, range: std::ops::Range<u64>) -> u64 {
        self.random(axis, self.boot).u64(range)
    }

    fn random(self, axis: &str, round: u64) -> fastrand::Rng {
        // FNV-1a, so that axes are shuffled in ways of their own.
        let bytes = [self.seed, round].map(u64::to_le_bytes).concat();
        let all = axis.bytes().chain(bytes);
        let mixed = all.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        });
        fastrand::Rng::with_seed(mixed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deal(seed: u64, boot: u64) -> u32 {
        Deck { seed, boot }.deal("axis", &[0, 1, 2, 3, 4, 5, 6, 7])
    }

    #[test]
    fn each_card_is_dealt_once_in_each_round() {
        for round in 0..20 {
            let mut dealt: Vec<_> = (0..8).map(|boot| deal(7, 8 * round + boot)).collect();
            dealt.sort_unstable();
            assert_eq!(dealt, [0, 1, 2, 3, 4, 5, 6, 7]);
        }
    }

    #[test]
    fn seeds_rounds_and_axes_are_shuffled_in_ways_of_their_own() {
        let all = |seed, from: u64| -> Vec<u32> {
            (from..from + 8).map(|boot| deal(seed, boot)).collect()
        };
        assert_eq!(all(7, 0), all(7, 0));
        assert_ne!(all(7, 0), all(8, 0));
        assert_ne!(all(7, 0), all(7, 8));
        let other = (0..8).map(|boot| Deck { seed: 7, boot }.deal("b", &[0, 1, 2, 3, 4, 5, 6, 7]));
        assert_ne!(other.collect::<Vec<_>>(), all(7, 0));
    }
}
