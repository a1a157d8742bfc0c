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

    /// Half the width of its 95 % confidence interval, in percent points: of Wilson's intervals of
    /// both shares, which do not depend on each other.
    #[must_use]
    pub fn error(self) -> f64 {
        let [before, after] = [0, 1].map(|it| error(self.part[it], self.whole[it]));
        before.hypot(after)
    }

    /// How likely a difference as large as this is if both shares are the same, two-sided: by Fisher's
    /// exact test where few samples are expected on a side, else by a test of two proportions. 1 if
    /// there is nothing to compare.
    #[must_use]
    #[allow(clippy::cast_precision_loss)] // far more samples than matter
    pub fn chance(self) -> f64 {
        const FEW: f64 = 10.0;
        let Some(table) = Table::new(self) else {
            return 1.0;
        };
        if table.expected() < FEW {
            return table.chance();
        }
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

/// Samples of two profiles by whether they are of a part: the smaller profile, and the smaller of the
/// part and what is not in it.
struct Table {
    all: u64,
    in_profile: u64,
    in_part: u64,
    in_both: u64,
}

impl Table {
    /// `None` if a profile has no samples.
    fn new(shares: TwoShares) -> Option<Self> {
        let TwoShares { part, whole } = shares;
        let smaller = usize::from(whole[1] < whole[0]);
        let (all, in_part) = (whole[0] + whole[1], part[0] + part[1]);
        let (in_profile, both) = (whole[smaller], part[smaller]);
        let [in_part, in_both] = match in_part > all - in_part {
            true => [all - in_part, in_profile - both],
            false => [in_part, both],
        };
        (in_profile > 0).then_some(Self {
            all,
            in_profile,
            in_part,
            in_both,
        })
    }

    /// The samples in both, in the mean.
    #[allow(clippy::cast_precision_loss)] // far more samples than matter
    fn expected(&self) -> f64 {
        self.in_part as f64 * self.in_profile as f64 / self.all as f64
    }

    /// How likely it is that as many are in both or that it comes to what is no likelier.
    #[allow(clippy::cast_precision_loss)] // likewise
    fn chance(&self) -> f64 {
        /// Behind what was seen, and behind what is expected, there is nothing that counts.
        const BEHIND: u64 = 200;
        // What is as likely, but for how it was rounded.
        const SAME: f64 = 1.0 + 1e-7;
        let [all, profile, part] = [self.all, self.in_profile, self.in_part].map(|it| it as f64);
        let of = |n: f64, k: f64| {
            libm::lgamma(n + 1.0) - libm::lgamma(k + 1.0) - libm::lgamma(n - k + 1.0)
        };
        // None in both, then one more each time.
        let mut likely = (of(all - part, profile) - of(all, profile)).exp();
        let last = (self.in_both + BEHIND)
            .min(self.in_profile)
            .min(self.in_part);
        let mut each = Vec::new();
        for both in 0..=last {
            each.push(likely);
            let both = both as f64;
            likely *= (part - both) * (profile - both);
            likely /= (both + 1.0) * (all - part - profile + both + 1.0);
        }
        let place = usize::try_from(self.in_both).unwrap_or(usize::MAX);
        let seen = each.get(place).copied().unwrap_or(0.0);
        let unlikely = each.iter().filter(|&&it| it <= seen * SAME);
        unlikely.sum::<f64>().min(1.0)
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
    let last = sorted.iter().enumerate().rfind(is_within);
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
        is_near(error(10, 20), 20.0702);
        is_near(error(0, 10), 13.8766);
        is_near(error(10, 10), 13.8766);
        is_near(error(1, 1), 39.6725);
        is_near(error(5000, 10_000), 0.9798);
        is_near(error(0, 0), 0.0);
    }

    #[test]
    fn differences_are_tested_as_two_proportions() {
        let of = |part, whole| TwoShares { part, whole };
        // z = 1.48324 and 2.12398, by another program.
        let some = of([40, 60], [100, 120]);
        is_near(some.delta(), 10.0);
        is_near(some.chance(), 0.13801);
        is_near(of([45, 60], [100, 100]).chance(), 0.03367);
        is_near(of([0, 0], [100, 100]).chance(), 1.0);
        is_near(of([100, 50], [100, 50]).chance(), 1.0);
        is_near(of([0, 5], [0, 10]).chance(), 1.0);
        is_near(
            of([5, 5], [10, 10]).error(),
            26.3407 * std::f64::consts::SQRT_2,
        );
    }

    #[test]
    fn few_samples_are_tested_exactly() {
        let of = |part, whole| TwoShares { part, whole }.chance();
        // A sample of which 269 of 20,001 are.
        is_near(of([1, 268], [1, 20_000]), 269.0 / 20_001.0);
        is_near(of([268, 1], [20_000, 1]), 269.0 / 20_001.0);
        // By the definition: Fisher's lady, and tables of which the sums are small.
        is_near(of([3, 1], [4, 4]), 34.0 / 70.0);
        is_near(of([3, 0], [10, 10]), 240.0 / 1140.0);
        is_near(of([7, 10], [10, 10]), 240.0 / 1140.0);
        is_near(of([1, 1], [1, 1]), 1.0);
        // All of a small profile are what most of a large one are not.
        assert!(of([40, 0], [40, 1_000_000]) < 1e-100);
        is_near(of([0, 4], [1_000_000, 2_000_000]), 0.3086);
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
