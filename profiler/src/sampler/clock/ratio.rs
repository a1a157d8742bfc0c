//! Rates, as factors.

/// A number as a fixed-point number with 32 bits behind the point.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ratio(u64);

impl Ratio {
    pub(crate) const ONE: Self = Self(1 << 32);

    /// `numerator / denominator`; the largest there is where that is too large.
    pub(crate) fn new(numerator: u64, denominator: u64) -> Self {
        let ratio = (u128::from(numerator) << 32) / u128::from(denominator.max(1));
        Self(u64::try_from(ratio).unwrap_or(u64::MAX))
    }

    /// `value` times this number, to the nearest: a rate that is no binary fraction is a little less
    /// here, and what it makes whole is not to lose one for that.
    #[inline]
    #[allow(clippy::cast_possible_truncation)] // periods and times fit 64 bits
    pub(crate) fn of(self, value: u64) -> u64 {
        const HALF: u128 = 1 << 31;
        ((u128::from(value) * u128::from(self.0) + HALF) >> 32) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::Ratio;

    #[test]
    fn a_ratio_of_one_changes_nothing() {
        assert_eq!(Ratio::new(24, 24), Ratio::ONE);
        for value in [0, 1, 1000, u64::MAX] {
            assert_eq!(Ratio::ONE.of(value), value);
        }
    }

    #[test]
    fn a_ratio_gives_the_nearest() {
        let half = Ratio::new(20_000_000, 40_000_000);
        assert_eq!([0, 1, 2, 7].map(|it| half.of(it)), [0, 1, 1, 4]);
        let four_thirds = Ratio::new(4, 3);
        assert_eq!(
            [1, 2, 3, 3_000_000].map(|it| four_thirds.of(it)),
            [1, 3, 4, 4_000_000]
        );
        assert_eq!(Ratio::new(7, 2).of(4), 14);
    }

    #[test]
    fn ratios_that_there_are_not_are_the_nearest() {
        assert_eq!(Ratio::new(3, 0), Ratio::new(3, 1));
        assert_eq!(Ratio::new(0, 5).of(u64::MAX), 0);
        assert_eq!(Ratio::new(u64::MAX, 1), Ratio(u64::MAX));
        // The largest below that.
        assert_eq!(
            Ratio::new(u64::from(u32::MAX), 1),
            Ratio(u64::from(u32::MAX) << 32)
        );
    }
}
