//! Numbers between commas, with ranges: as perf's `--cpu` takes them.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// A number, or all from one to another: `3`, `2-5`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NumberRange(RangeInclusive<u32>);

impl NumberRange {
    #[must_use]
    pub fn numbers(&self) -> RangeInclusive<u32> {
        self.0.clone()
    }

    /// The largest.
    #[must_use]
    pub fn last(&self) -> u32 {
        *self.0.end()
    }
}

impl fmt::Display for NumberRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = (self.0.start(), self.0.end());
        match first == last {
            true => write!(f, "{first}"),
            false => write!(f, "{first}-{last}"),
        }
    }
}

impl FromStr for NumberRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const EXPECTED: &str = "must be numbers and ranges between commas, such as 0,2-5";
        let number = |text: &str| text.trim().parse::<u32>().map_err(|_| EXPECTED.to_owned());
        let (first, last) = match text.split_once('-') {
            Some((first, last)) => (number(first)?, number(last)?),
            None => (number(text)?, number(text)?),
        };
        if first > last {
            return Err(format!("{first} to {last} is no range: say {last}-{first}"));
        }
        Ok(Self(first..=last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_has_both_its_ends() {
        let numbers = |text: &str| Ok::<_, String>(text.parse::<NumberRange>()?.numbers());
        assert_eq!(numbers("7"), Ok(7..=7));
        assert_eq!(numbers("2-5"), Ok(2..=5));
        assert_eq!(numbers("4-4"), Ok(4..=4));
        assert_eq!(numbers(" 2 - 5"), Ok(2..=5));
        for text in [
            "",
            "-",
            "-1",
            "1-",
            "a",
            "1-b",
            "0x1",
            "1-2-3",
            "4294967296",
        ] {
            assert!(numbers(text).is_err(), "{text}");
        }
        assert_eq!(
            numbers("5-2"),
            Err("5 to 2 is no range: say 2-5".to_owned())
        );
    }
}
