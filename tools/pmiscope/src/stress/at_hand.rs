//! What there is to boot by.

use std::fmt;
use std::path::{Path, PathBuf};

use super::configuration::Way;
use crate::profile::Mode;

/// A QEMU to boot in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Emulator {
    /// The first in `PATH`.
    Stock,
    /// The lab emulator.
    Lab,
    /// The lab emulator with devices that are as strict as the manuals.
    Strict,
    /// The one of this number that was named by its path, of which nothing is known.
    Other(usize),
}

/// What there is on this host to boot by.
#[derive(Clone, Debug, Default)]
pub struct AtHand {
    pub emulators: Vec<Emulator>,
    /// QEMUs that were named by their paths.
    pub others: Vec<PathBuf>,
    pub modes: Vec<Mode>,
    /// The most memory that a machine can have.
    pub memory: u64,
    pub disc: Option<PathBuf>,
    pub firmware: Option<PathBuf>,
    /// Those that are named, and not the ones that were built.
    pub kernel: Option<PathBuf>,
    pub loader: Option<PathBuf>,
}

/// The most memory that is asked for.
pub const MOST_MEMORY: u64 = 64 << 30;

impl AtHand {
    /// What is not covered, and why.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        let has = |emulator| self.emulators.contains(&emulator);
        let all = [
            (has(Emulator::Stock), "the stock QEMU: there is none"),
            (
                has(Emulator::Lab),
                "the lab emulator, counters, strict devices: it is not built (make qemu-pmu)",
            ),
            (
                self.modes.contains(&Mode::Kvm),
                "KVM: it cannot be used here (pmiscope doctor says why)",
            ),
            (
                self.disc.is_some(),
                "stock Limine: no --disc (make stress-boot LIMINE_DIR=its folder)",
            ),
            (
                self.firmware.is_some(),
                "UEFI: no --firmware with a --disc (Debian's package ovmf has one)",
            ),
            (
                self.memory >= MOST_MEMORY,
                "64 GiB of memory: no folder has room for such a file (TMPDIR names one that has)",
            ),
        ];
        let missing = all.into_iter().filter(|(is_there, _)| !is_there);
        missing.map(|(_, what)| what.to_owned()).collect()
    }

    /// The words that name what is booted.
    pub(super) fn files(&self, way: Way) -> Vec<String> {
        let loader = self.loader.as_deref().filter(|_| way == Way::Loader);
        let disc = self.disc.as_deref().filter(|_| way != Way::Loader);
        let firmware = self.firmware.as_deref().filter(|_| way == Way::Uefi);
        let all = [
            ("--kernel", self.kernel.as_deref()),
            ("--loader", loader),
            ("--disc", disc),
            ("--firmware", firmware),
        ];
        let named = all
            .into_iter()
            .filter_map(|(option, file)| Some((option, file?)));
        named
            .flat_map(|(option, file)| [option.to_owned(), text(file)])
            .collect()
    }

    /// The words that choose a QEMU.
    pub(super) fn emulator_words(&self, emulator: Emulator) -> Vec<String> {
        let name = match emulator {
            Emulator::Stock => "stock".into(),
            Emulator::Lab | Emulator::Strict => "lab".into(),
            Emulator::Other(number) => text(&self.others[number]),
        };
        vec!["--qemu".into(), name]
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

impl Emulator {
    /// Returns true if it is the lab emulator, whose counters have names.
    #[must_use]
    pub const fn is_lab(self) -> bool {
        matches!(self, Self::Lab | Self::Strict)
    }
}

impl fmt::Display for Emulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stock => f.write_str("stock"),
            Self::Lab => f.write_str("lab"),
            Self::Strict => f.write_str("lab with strict devices"),
            Self::Other(number) => write!(f, "other {}", number + 1),
        }
    }
}
