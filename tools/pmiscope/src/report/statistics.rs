//! What shares of samples are worth: as if each sample were drawn by itself.

/// How many standard deviations 95 % of a normal distribution are within.
const Z: f64 = 1.959_963_984_540_054;

/// Half the width of the 95 % confidence interval of a share, in percent points: of `part` of `whole`
/// samples (Wilson's, which is of use for few samples and for shares of 0 and 100 % too).
#[must_use]
#[allow(clippy::cast_precision_loss)] // shown with two digits
pub fn error(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    let (part, n) = (part as f64, whole as f64);
    let p = part / n;
    let square = Z * Z;
    let spread = (p * (1.0 - p) / n + square / (4.0 * n * n)).sqrt();
    100.0 * Z / (1.0 + square / n) * spread
}

/// A share of samples in each of two profiles.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TwoShares {
    /// Samples of those of the profile before, and of the one after.
    pub part: [u64; 2],
    pub whole: [u64; 2],
}

impl TwoShares {
    /// By how much the share grew, in percent points.
    #[must_use]
    pub fn delta(self) -> f64 {
        let [before, after] = self.shares();
        100.0 * (after - before)
    }

    /// Half the width of its 95 % confidence interval, in percent points (Newcombe's, of Wilson's
    /// intervals of both).
    #[must_use]
    pub fn error(self) -> f64 {
        let [before, after] = [0, 1].map(|it| error(self.part[it], self.whole[it]));
        before.hypot(after)
    }

    /// How likely a difference as large as this is if both shares are the same (a test of two
    /// proportions, two-sided): 1 if there is nothing to compare.
    #[must_use]
    #[allow(clippy::cast_precision_loss)] // far more samples than matter
    pub fn chance(self) -> f64 {
        let [first, second] = self.whole.map(|it| it as f64);
        let all = first + second;
        let pooled = self.part.iter().map(|&it| it as f64).sum::<f64>() / all;
        let variance = pooled * (1.0 - pooled) * (1.0 / first + 1.0 / second);
        let [before, after] = self.shares();
        let z = (after - before).abs() / variance.sqrt();
        if z.is_nan() {
            return 1.0;
        }
        libm::erfc(z / std::f64::consts::SQRT_2)
    }

    #[allow(clippy::cast_precision_loss)] // likewise
    fn shares(self) -> [f64; 2] {
        [0, 1].map(|it| match self.whole[it] {
            0 => 0.0,
            whole => self.part[it] as f64 / whole as f64,
        })
    }
}

/// Which of these differences are significant: of those that are said to be, 5 % are by chance at most
/// (Benjamini and Hochberg's false discovery rate), however many there are.
#[must_use]
#[allow(clippy::cast_precision_loss)] // numbers of functions
pub fn significant(chances: &[f64]) -> Vec<bool> {
    const RATE: f64 = 0.05;
    let mut sorted = chances.to_vec();
    sorted.sort_by(f64::total_cmp);
    let all = sorted.len() as f64;
    let is_within = |&(place, &chance): &(usize, &f64)| chance <= RATE * (place + 1) as f64 / all;
    let last = sorted.iter().enumerate().filter(is_within).last();
    let most = last.map_or(-1.0, |(_, &chance)| chance);
    chances.iter().map(|&chance| chance <= most).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_near(value: f64, expected: f64) {
        assert!((value - expected).abs() < 5e-4, "{value}, not {expected}");
    }

    #[test]
    fn errors_are_wilsons() {
        // Of published tables: 10 of 20 is 29.93 % to 70.07 %, 0 of 10 is 0 to 27.75 %.
        is_near(error(10, 20), 20.070);
        is_near(error(0, 10), 13.877);
        is_near(error(10, 10), 13.877);
        is_near(error(1, 1), 39.673);
        is_near(error(5000, 10_000), 0.9798);
        is_near(error(0, 0), 0.0);
    }

    #[test]
    fn differences_are_tested_as_two_proportions() {
        let of = |part, whole| TwoShares { part, whole };
        // z = 2.0412, p = 0.04123: by hand.
        let some = of([40, 60], [100, 120]);
        is_near(some.delta(), 10.0);
        is_near(some.chance(), 0.1376);
        is_near(of([45, 60], [100, 100]).chance(), 0.0339);
        is_near(of([0, 0], [100, 100]).chance(), 1.0);
        is_near(of([100, 50], [100, 50]).chance(), 1.0);
        is_near(of([0, 5], [0, 10]).chance(), 1.0);
        is_near(
            of([5, 5], [10, 10]).error(),
            26.342 * std::f64::consts::SQRT_2,
        );
    }

    #[test]
    fn few_of_many_are_significant_by_chance() {
        // Each alone would be below 5 %; of a hundred others it is not.
        let mut chances = vec![0.04];
        assert_eq!(significant(&chances), [true]);
        chances.extend(vec![0.9; 99]);
        assert!(!significant(&chances).contains(&true));
        chances[0] = 0.0004;
        chances[1] = 0.001;
        chances[2] = 0.002;
        let found = significant(&chances);
        // The limits are 0.0005, 0.001, 0.0015.
        assert_eq!(found[..4], [true, true, false, false]);
        assert_eq!(significant(&[]), [false; 0]);
    }
}
