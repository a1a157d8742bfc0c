//! Finds QEMU and asks for its version.

use std::env;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use thiserror::Error;

/// What the program is called.
const NAME: &str = "qemu-system-x86_64";

/// A version of QEMU.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Version {
    major: u32,
    minor: u32,
    micro: u32,
}

impl Version {
    /// The oldest that has all that is needed: the one that Debian 12 has.
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
    fn parse(text: &str) -> Option<Self> {
        let (_, rest) = text.split_once("QEMU emulator version ")?;
        let word = rest.split_ascii_whitespace().next()?;
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

/// A QEMU that can be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Qemu {
    /// The program.
    pub program: PathBuf,
    /// Its version.
    pub version: Version,
}

/// How to get one, for messages.
const GET: &str = "install QEMU 7.2 or newer (Debian and Ubuntu: apt-get install qemu-system-x86), or say where it is by --qemu PATH";

/// Why there is no QEMU that can be used.
#[derive(Debug, Error)]
pub enum BadQemu {
    /// There is none in `PATH`.
    #[error("{NAME} is not in PATH: {GET}")]
    Missing,
    /// It cannot be started.
    #[error("{} cannot be started ({error}): {GET}", .program.display())]
    Start {
        /// What was started.
        program: PathBuf,
        /// What came of it.
        error: io::Error,
    },
    /// It does not say a version that is understood.
    #[error("{} --version does not answer as QEMU does: {GET}", .0.display())]
    NoVersion(PathBuf),
    /// It is too old.
    #[error("{} is QEMU {version}, which is too old: {GET}", .program.display())]
    TooOld {
        /// What was asked.
        program: PathBuf,
        /// What it answered.
        version: Version,
    },
}

impl BadQemu {
    /// What to do; every message ends with it.
    pub const REMEDY: &'static str = GET;
}

impl Qemu {
    /// The QEMU at `path`, else the first in `PATH`.
    ///
    /// # Errors
    ///
    /// [`BadQemu`] says why there is none.
    pub fn find(path: Option<&Path>) -> Result<Self, BadQemu> {
        let program = match path {
            Some(path) => path.to_owned(),
            None => in_path().ok_or(BadQemu::Missing)?,
        };
        let answer = Command::new(&program)
            .arg("--version")
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output();
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return Err(BadQemu::Start { program, error }),
        };
        let Some(version) = Version::parse(&String::from_utf8_lossy(&answer.stdout)) else {
            return Err(BadQemu::NoVersion(program));
        };
        if version < Version::OLDEST {
            return Err(BadQemu::TooOld { program, version });
        }
        Ok(Self { program, version })
    }
}

fn in_path() -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    let mut candidates = env::split_paths(&path).map(|folder| folder.join(NAME));
    candidates.find(|candidate| candidate.is_file())
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
