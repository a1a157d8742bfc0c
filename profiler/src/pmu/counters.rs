//! The counters of a core, by kind and number, and sets of them.

use core::fmt;

/// A counter.
///
/// ```
/// use profiler::pmu::counters::Counter;
///
/// assert_eq!(Counter::Fixed(1).to_string(), "fixed counter 1");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Counter {
    /// One that counts what its event select says.
    General(u8),
    /// One that counts one event only.
    Fixed(u8),
}

impl fmt::Display for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::General(number) => write!(f, "counter {number}"),
            Self::Fixed(number) => write!(f, "fixed counter {number}"),
        }
    }
}

/// A set of counters, by bits of their numbers.
///
/// ```
/// use profiler::pmu::counters::{Counter, Counters};
///
/// let mut counters = Counters { general: 0b100_1111, fixed: 0 };
/// counters.insert(Counter::Fixed(1));
/// assert_eq!(counters.len(), 6);
/// assert_eq!(counters.to_string(), "counters 0-3 and 6, and fixed counter 1");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// The general ones.
    pub general: u32,
    /// The fixed ones.
    pub fixed: u32,
}

impl Counters {
    /// No counter.
    pub const NONE: Self = Self {
        general: 0,
        fixed: 0,
    };

    /// The most general counters that Intel's registers before version 6 have
    /// numbers for.
    pub const MOST_INTEL: u8 = 8;
    /// The most general counters that a core is given credit for.
    pub const MOST_GENERAL: u8 = 16;
    /// The most fixed ones: IA32_FIXED_CTR_CTRL has four bits for each.
    pub const MOST_FIXED: u8 = 16;

    /// Returns true if `counter` is in it.
    #[must_use]
    #[inline]
    pub const fn contains(self, counter: Counter) -> bool {
        match counter {
            Counter::General(number) => self.general >> number & 1 != 0,
            Counter::Fixed(number) => self.fixed >> number & 1 != 0,
        }
    }

    /// Puts `counter` into it.
    pub const fn insert(&mut self, counter: Counter) {
        match counter {
            Counter::General(number) => self.general |= 1 << number,
            Counter::Fixed(number) => self.fixed |= 1 << number,
        }
    }

    /// Those that are not in `others`.
    #[must_use]
    pub const fn without(self, others: Self) -> Self {
        Self {
            general: self.general & !others.general,
            fixed: self.fixed & !others.fixed,
        }
    }

    /// Those that are in `others` too.
    #[must_use]
    pub const fn and(self, others: Self) -> Self {
        Self {
            general: self.general & others.general,
            fixed: self.fixed & others.fixed,
        }
    }

    /// How many there are.
    #[must_use]
    pub const fn len(self) -> u32 {
        self.general.count_ones() + self.fixed.count_ones()
    }

    /// Returns true if there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Each of them, the general ones first.
    pub fn iter(self) -> impl Iterator<Item = Counter> {
        let general = (0..32).filter(move |number| self.general >> number & 1 != 0);
        let fixed = (0..32).filter(move |number| self.fixed >> number & 1 != 0);
        general
            .map(Counter::General)
            .chain(fixed.map(Counter::Fixed))
    }

    /// As the global registers have it: the general ones by their number, the fixed
    /// ones above 32.
    #[must_use]
    #[inline]
    pub(crate) const fn global_bits(self) -> u64 {
        self.general as u64 | (self.fixed as u64) << super::registers::intel::status::FIXED_SHIFT
    }
}

impl fmt::Display for Counters {
    /// As `counters 0-3 and 6, and fixed counter 1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        kind("counter", self.general, f)?;
        f.write_str(match (ranges(self.general).count(), self.fixed) {
            (0, _) | (_, 0) => "",
            (1, _) => " and ",
            // Behind a list that has an "and" of its own.
            _ => ", and ",
        })?;
        kind("fixed counter", self.fixed, f)
    }
}

/// The counters of one kind that `numbers` has bits for.
fn kind(name: &str, numbers: u32, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let plural = match numbers.count_ones() {
        0 => return Ok(()),
        1 => "",
        _ => "s",
    };
    write!(f, "{name}{plural} ")?;
    let count = ranges(numbers).count();
    for (index, (first, last)) in ranges(numbers).enumerate() {
        f.write_str(match index {
            0 => "",
            _ if index == count - 1 => " and ",
            _ => ", ",
        })?;
        write!(f, "{first}")?;
        if last != first {
            write!(f, "-{last}")?;
        }
    }
    Ok(())
}

/// The numbers of the bits that are set: the first and the last of each row.
fn ranges(mut bits: u32) -> impl Iterator<Item = (u32, u32)> {
    core::iter::from_fn(move || {
        if bits == 0 {
            return None;
        }
        let first = bits.trailing_zeros();
        let count = (bits >> first).trailing_ones();
        bits &= !(u32::MAX >> (u32::BITS - count) << first);
        Some((first, first + count - 1))
    })
}
