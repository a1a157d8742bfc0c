//! Versions of QEMU.

use std::fmt;

/// A version of QEMU.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Version {
    major: u32,
    minor: u32,
    micro: u32,
}

impl Version {
    /// The oldest that is supported: that of Debian 12.
    pub const OLDEST: Self = Self {
        major: 7,
        minor: 2,
        micro: 0,
    };

    /// The first whose emulation has x2APIC.
    pub const X2APIC: Self = Self {
        major: 9,
        minor: 0,
        micro: 0,
    };

    /// Reads the first line of what `--version` prints.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (_, rest) = text.split_once("QEMU emulator version ")?;
        Self::parse_numbers(rest.split_ascii_whitespace().next()?)
    }

    /// Reads a version such as `7.2.22`.
    pub(super) fn parse_numbers(word: &str) -> Option<Self> {
        let mut numbers = word.split('.').map(|number| {
            let digits = number
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(number.len());
            number[..digits].parse().ok()
        });
        Some(Self {
            major: numbers.next()??,
            minor: numbers.next()??,
            micro: numbers.next().flatten().unwrap_or(0),
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.micro)
    }
}

#[cfg(test)]
mod tests {
    use super::Version;

    #[test]
    fn versions_are_read_as_distributions_write_them() {
        let version = |text: &str| Version::parse(text).map(|version| version.to_string());
        for (text, expected) in [
            (
                "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)\nCopyright",
                Some("7.2.22"),
            ),
            (
                "QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)",
                Some("10.0.2"),
            ),
            ("QEMU emulator version 11.0.50-rc1 (v11.0)", Some("11.0.50")),
            ("QEMU emulator version 9.1", Some("9.1.0")),
            ("QEMU emulator version x", None),
            ("bash, version 5.2", None),
            ("", None),
        ] {
            assert_eq!(version(text).as_deref(), expected, "{text}");
        }
        assert!(Version::parse("QEMU emulator version 7.1.9") < Some(Version::OLDEST));
        assert!(Version::parse("QEMU emulator version 10.0.0") > Some(Version::OLDEST));
    }
}
