//! What a word says that stands for an address: a number or a name, and how far from it.

use super::arguments::parse_number;

/// Where a place is counted from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Base<'a> {
    /// An address.
    Number(u64),
    /// What has this name: a function, a register.
    Name(&'a str),
}

/// A place: `0xffffffff80001000`, `yield_now`, `task::yield_now+0x12`, `rsp-8`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place<'a> {
    /// Where it is counted from.
    pub base: Base<'a>,
    /// What is added, around the end of all addresses.
    pub offset: u64,
}

impl<'a> Place<'a> {
    /// The place that a word stands for.
    #[must_use]
    pub fn parse(word: &'a str) -> Self {
        let split = word.rfind(['+', '-']).filter(|&at| at > 0);
        let parts = split.and_then(|at| {
            let number = parse_number(word.get(at + 1..)?)?;
            let is_minus = word.as_bytes().get(at) == Some(&b'-');
            let offset = if is_minus {
                number.wrapping_neg()
            } else {
                number
            };
            Some((word.get(..at)?, offset))
        });
        // Names may have a sign as well: `<fn() -> u8>`.
        let (base, offset) = parts.unwrap_or((word, 0));
        let base = parse_number(base).map_or(Base::Name(base), Base::Number);
        Self { base, offset }
    }

    /// The address, if its base has this one.
    #[must_use]
    pub const fn from(&self, base: u64) -> u64 {
        base.wrapping_add(self.offset)
    }
}
