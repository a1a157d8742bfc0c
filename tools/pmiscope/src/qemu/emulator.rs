//! Which QEMU: the distribution's, or the lab emulator, which has performance counters.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::Version;

/// What the program is called.
const NAME: &str = "qemu-system-x86_64";
/// What the lab emulator's folder is called in the cache of `tools/qemu-pmu/build.sh`:
/// this, the version, and the hash of the sources that this tool belongs to. Another
/// hash is another emulator.
const LAB: &str = "qemu-pmu-";
const LAB_HASH: &str = env!("LAB_QEMU_HASH");

/// Which QEMU is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Choice {
    /// The first in `PATH`.
    Stock,
    /// The one that `make qemu-pmu` builds.
    Lab,
    /// This one.
    Path(PathBuf),
}

impl Choice {
    /// Reads what `--qemu` takes.
    #[must_use]
    pub fn parse(text: OsString) -> Self {
        match text.to_str() {
            Some("stock") => Self::Stock,
            Some("lab") => Self::Lab,
            _ => Self::Path(text.into()),
        }
    }
}

/// Which QEMU a run was on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Emulator {
    /// The first in `PATH`.
    #[default]
    Stock,
    /// The one that `make qemu-pmu` builds.
    Lab,
    /// One that was named by its path.
    Other,
}

/// A model of performance counters, of those that the lab emulator has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum PmuModel {
    /// No counters
    Off,
    /// Intel's architectural ones, version 2
    IntelV2,
    /// … version 4
    IntelV4,
    /// … version 5
    #[default]
    IntelV5,
    /// AMD's four
    AmdLegacy,
    /// AMD's six (`PerfCtrExtCore`)
    AmdCoreExt,
    /// … with global control (`PerfMonV2`)
    AmdV2,
}

impl PmuModel {
    /// Its name, which is the emulator's.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::IntelV2 => "intel-v2",
            Self::IntelV4 => "intel-v4",
            Self::IntelV5 => "intel-v5",
            Self::AmdLegacy => "amd-legacy",
            Self::AmdCoreExt => "amd-core-ext",
            Self::AmdV2 => "amd-v2",
        }
    }
}

impl fmt::Display for PmuModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A QEMU that can be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Qemu {
    /// The program.
    pub program: PathBuf,
    /// Which one it is.
    pub emulator: Emulator,
    /// Its version.
    pub version: Version,
}

/// How to get one, for messages.
const GET: &str = "install QEMU 7.2 or newer (Debian and Ubuntu: apt-get install qemu-system-x86), or say where it is by --qemu PATH";

/// Why there is no QEMU that can be used.
#[derive(Debug, Error)]
pub enum QemuError {
    /// There is none in `PATH`.
    #[error("{NAME} is not in PATH: {GET}")]
    Missing,
    /// The lab emulator was not built, or from other sources.
    #[error("the lab emulator is not built (nothing at {}): run `make qemu-pmu`, which takes minutes once", .0.display())]
    NoLab(PathBuf),
    /// There is no place where it could be.
    #[error(
        "the lab emulator is not built, and there is no place for it: neither HOME nor XDG_CACHE_HOME is set"
    )]
    NoCache,
    /// It cannot be started.
    #[error("{} cannot be started ({error}): {GET}", .program.display())]
    Start {
        /// What was started.
        program: PathBuf,
        /// What came of it.
        error: io::Error,
    },
    /// Its answer to `--version` is not understood.
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

impl QemuError {
    /// What to do; messages of a stock QEMU end with it.
    pub const REMEDY: &'static str = GET;
}

impl Qemu {
    /// The QEMU that `choice` means.
    ///
    /// # Errors
    ///
    /// [`QemuError`] says why there is none.
    pub fn find(choice: &Choice) -> Result<Self, QemuError> {
        let (program, emulator) = match choice {
            Choice::Stock => (in_path().ok_or(QemuError::Missing)?, Emulator::Stock),
            Choice::Lab => (lab()?, Emulator::Lab),
            Choice::Path(path) => (path.clone(), Emulator::Other),
        };
        let answer = Command::new(&program)
            .arg("--version")
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output();
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return Err(QemuError::Start { program, error }),
        };
        let Some(version) = Version::parse(&String::from_utf8_lossy(&answer.stdout)) else {
            return Err(QemuError::NoVersion(program));
        };
        if version < Version::OLDEST {
            return Err(QemuError::TooOld { program, version });
        }
        Ok(Self {
            program,
            emulator,
            version,
        })
    }
}

/// Returns true if the lab emulator is built.
#[must_use]
pub fn has_lab() -> bool {
    lab().is_ok()
}

/// The lab emulator's program: of those that were built from the sources that this tool
/// belongs to the one of the newest version of QEMU.
fn lab() -> Result<PathBuf, QemuError> {
    let cache = cache().ok_or(QemuError::NoCache)?;
    lab_in(&cache, LAB_HASH).ok_or_else(|| {
        let folder = format!("{LAB}*-{LAB_HASH}");
        QemuError::NoLab(cache.join(folder))
    })
}

/// Where `tools/qemu-pmu/build.sh` puts it.
fn cache() -> Option<PathBuf> {
    let variable = |name| env::var_os(name).filter(|value| !value.is_empty());
    let caches = variable("XDG_CACHE_HOME").map(PathBuf::from);
    let caches = caches.or_else(|| Some(Path::new(&variable("HOME")?).join(".cache")));
    Some(caches?.join("pmiscope"))
}

fn lab_in(cache: &Path, hash: &str) -> Option<PathBuf> {
    let built = fs::read_dir(cache).ok()?.flatten().filter_map(|entry| {
        let name = entry.file_name();
        let name = name.to_str()?.strip_prefix(LAB)?;
        let version = Version::parse_numbers(name.strip_suffix(hash)?.strip_suffix('-')?)?;
        let program = entry.path().join("bin").join(NAME);
        program.is_file().then_some((version, program))
    });
    built.max().map(|(_, program)| program)
}

fn in_path() -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    let mut candidates = env::split_paths(&path).map(|folder| folder.join(NAME));
    candidates.find(|candidate| candidate.is_file())
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn models_have_the_same_names_everywhere() {
        for model in PmuModel::value_variants() {
            let option = model.to_possible_value().unwrap();
            assert_eq!(option.get_name(), model.name());
            let json = serde_json::to_string(model).unwrap();
            assert_eq!(json, format!("\"{model}\""));
        }
    }

    #[test]
    fn the_lab_emulator_is_the_newest_of_the_same_sources() {
        let cache = tempfile::tempdir().unwrap();
        assert_eq!(lab_in(&cache.path().join("nothing"), "5a5a"), None);
        let program = |folder: &str| cache.path().join(folder).join("bin").join(NAME);
        for folder in [
            // Of other sources, half installed, or nothing of ours.
            "qemu-pmu-11.0.0-a55a",
            "qemu-pmu-10.0.13-15a5a",
            "qemu-pmu-5a5a",
            "new-qemu-pmu-77",
        ] {
            fs::create_dir_all(program(folder).parent().unwrap()).unwrap();
            fs::write(program(folder), "").unwrap();
        }
        fs::create_dir_all(cache.path().join("qemu-pmu-10.1.0-5a5a")).unwrap();
        assert_eq!(lab_in(cache.path(), "5a5a"), None);
        for version in ["10.0.9", "10.0.13", "10.0.2"] {
            let folder = format!("qemu-pmu-{version}-5a5a");
            fs::create_dir_all(program(&folder).parent().unwrap()).unwrap();
            fs::write(program(&folder), "").unwrap();
        }
        let newest = program("qemu-pmu-10.0.13-5a5a");
        assert_eq!(lab_in(cache.path(), "5a5a"), Some(newest));
    }
}
