//! The words behind a command's name.

use core::str::SplitAsciiWhitespace;

use super::Problem;

/// The words behind a command's name, one after the other.
#[derive(Clone, Debug)]
pub struct Arguments<'a>(SplitAsciiWhitespace<'a>);

impl<'a> Arguments<'a> {
    /// The words of this text.
    #[must_use]
    pub fn new(text: &'a str) -> Self {
        Self(text.split_ascii_whitespace())
    }

    /// The next word, if there is one.
    pub fn word(&mut self) -> Option<&'a str> {
        self.0.next()
    }

    /// The next word, which has to be there: `name` is what help calls it.
    ///
    /// # Errors
    ///
    /// It is not.
    pub fn required(&mut self, name: &str) -> Result<&'a str, Problem> {
        let word = self.word();
        word.ok_or_else(|| Problem::new(format_args!("{name} is missing")))
    }

    /// The next word as a number, decimal or behind `0x` hexadecimal, with `_` between digits
    /// allowed; `None` without a word.
    ///
    /// # Errors
    ///
    /// It is no number of 64 bits.
    pub fn number(&mut self, name: &str) -> Result<Option<u64>, Problem> {
        let Some(word) = self.word() else {
            return Ok(None);
        };
        let problem = || {
            Problem::new(format_args!(
                "{name} must be a number such as 4096 or 0x1000, not `{word}`"
            ))
        };
        parse_number(word).map(Some).ok_or_else(problem)
    }

    /// The same of a number that has to be there.
    ///
    /// # Errors
    ///
    /// It is not, or is no number of 64 bits.
    pub fn required_number(&mut self, name: &str) -> Result<u64, Problem> {
        let number = self.number(name)?;
        number.ok_or_else(|| Problem::new(format_args!("{name} is missing")))
    }

    /// There are no more words.
    ///
    /// # Errors
    ///
    /// There are.
    pub fn end(mut self) -> Result<(), Problem> {
        match self.word() {
            Some(word) => Err(Problem::new(format_args!(
                "`{word}` is one word too many; try `help`"
            ))),
            None => Ok(()),
        }
    }
}

pub(super) fn parse_number(word: &str) -> Option<u64> {
    let (digits, radix) = match word.strip_prefix("0x").or(word.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None => (word, 10),
    };
    let mut number = None;
    for digit in digits.chars().filter(|&digit| digit != '_') {
        let value = digit.to_digit(radix)?;
        let before: u64 = number.unwrap_or(0);
        number = Some(
            before
                .checked_mul(radix.into())?
                .checked_add(value.into())?,
        );
    }
    number
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(word: &str) -> Option<u64> {
        Arguments::new(word).required_number("N").ok()
    }

    #[test]
    fn numbers_are_decimal_or_hexadecimal() {
        for (word, expected) in [
            ("0", 0),
            ("4096", 4096),
            ("0x1000", 4096),
            ("0Xffff_ffff_8000_0000", 0xffff_ffff_8000_0000),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(number(word), Some(expected), "{word}");
        }
        for word in [
            "",
            "0x",
            "_",
            "-1",
            "+1",
            "ff",
            "0xg",
            "18446744073709551616",
            "0x10000000000000000",
        ] {
            assert_eq!(number(word), None, "{word}");
        }
    }

    #[test]
    fn what_is_missing_or_too_much_is_said() {
        let mut arguments = Arguments::new("  0x10\tx ");
        assert_eq!(arguments.number("ADDR"), Ok(Some(16)));
        let problem = arguments.number("LEN").unwrap_err().to_string();
        assert_eq!(
            problem,
            "LEN must be a number such as 4096 or 0x1000, not `x`"
        );
        assert_eq!(arguments.number("LEN"), Ok(None));
        let problem = arguments.required("NAME").unwrap_err().to_string();
        assert_eq!(problem, "NAME is missing");
        assert_eq!(arguments.end(), Ok(()));
        let problem = Arguments::new("7 8").end().unwrap_err().to_string();
        assert_eq!(problem, "`7` is one word too many; try `help`");
    }
}
