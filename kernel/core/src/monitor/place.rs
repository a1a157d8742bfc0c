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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_a_number_or_a_name_and_how_far_from_it() {
        let name = |name, offset: i64| Place {
            base: Base::Name(name),
            offset: offset.cast_unsigned(),
        };
        let number = |number, offset: i64| Place {
            base: Base::Number(number),
            offset: offset.cast_unsigned(),
        };
        for (word, place) in [
            ("0x1000", number(0x1000, 0)),
            ("4096+16", number(4096, 16)),
            ("0x10-0x20", number(16, -32)),
            ("rsp", name("rsp", 0)),
            ("rsp-8", name("rsp", -8)),
            ("a::b+0x12", name("a::b", 18)),
            ("<fn()->u8>", name("<fn()->u8>", 0)),
            ("<fn()->u8>+1", name("<fn()->u8>", 1)),
            ("a+b", name("a+b", 0)),
            ("a+", name("a+", 0)),
            ("+5", name("+5", 0)),
            ("-", name("-", 0)),
            ("", name("", 0)),
            ("1-1-1", name("1-1", -1)),
        ] {
            assert_eq!(Place::parse(word), place, "{word}");
        }
        assert_eq!(Place::parse("0-1").from(0), u64::MAX);
        assert_eq!(Place::parse("x+2").from(u64::MAX), 1);
    }
}
