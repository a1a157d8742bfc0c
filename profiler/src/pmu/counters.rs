//! The counters of a core, by kind and number, and sets of them.

use core::fmt;

/// A counter.
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

    /// Whether `counter` is in it.
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

    /// Whether there is none.
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
    pub const fn global_bits(self) -> u64 {
        self.general as u64 | (self.fixed as u64) << super::registers::intel::status::FIXED_SHIFT
    }
}

impl fmt::Display for Counters {
    /// As `counters 0-3, 6, fixed counter 1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (kind, numbers) in [("counter", self.general), ("fixed counter", self.fixed)] {
            let plural = match numbers.count_ones() {
                0 => continue,
                1 => "",
                _ => "s",
            };
            write!(f, "{separator}{kind}{plural} ")?;
            ranges(numbers, f)?;
            separator = ", ";
        }
        Ok(())
    }
}

/// The numbers of the bits that are set, those in a row as a range.
fn ranges(mut bits: u32, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut separator = "";
    while bits != 0 {
        let first = bits.trailing_zeros();
        let count = (bits >> first).trailing_ones();
        write!(f, "{separator}{first}")?;
        if count > 1 {
            write!(f, "-{}", first + count - 1)?;
        }
        separator = ", ";
        bits &= !(u32::MAX >> (u32::BITS - count) << first);
    }
    Ok(())
}
