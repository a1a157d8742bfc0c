//! Which QEMU: the distribution's, or the lab emulator, which has performance counters.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::Version;
use super::probe::{TIMEOUT, ask};

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

/// Characters that are shown of an answer that is not QEMU's.
const SHOWN: usize = 200;

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
        "the lab emulator is not built, and there is no place for it: neither HOME nor XDG_CACHE_HOME is set, and the user has no home"
    )]
    NoCache,
    /// Those in `PATH` are no programs.
    #[error("no {NAME} in PATH can be executed ({}): {GET}", .0.join(", "))]
    Unusable(Vec<String>),
    /// It cannot be started.
    #[error("{} cannot be started ({problem}): {GET}", .program.display())]
    Start {
        /// What was started.
        program: PathBuf,
        /// What came of it.
        problem: String,
    },
    /// The system does not let it be started.
    #[error("{} cannot be started: {error}", .program.display())]
    System {
        /// What was started.
        program: PathBuf,
        /// What came of it.
        error: String,
    },
    /// It does not end, or prints without end.
    #[error("{} --version does not come to an end, as QEMU's does at once: {GET}", .0.display())]
    Endless(PathBuf),
    /// Its answer to `--version` is not understood.
    #[error("{} --version does not answer as QEMU does ({answer}): {GET}", .program.display())]
    NoVersion {
        /// What was asked.
        program: PathBuf,
        /// How it ended, and what it printed.
        answer: String,
    },
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
            Choice::Stock => (
                in_path(OsStr::new(NAME))?.ok_or(QemuError::Missing)?,
                Emulator::Stock,
            ),
            Choice::Lab => (lab()?, Emulator::Lab),
            Choice::Path(path) => (named(path)?, Emulator::Other),
        };
        let answer = match ask(&program, &["--version"], b"", TIMEOUT) {
            Ok(answer) => answer,
            Err(error) => return Err(not_started(program, &error)),
        };
        let version = Version::parse(&String::from_utf8_lossy(&answer.printed));
        let version = match (version, answer.status) {
            (Some(version), _) => version,
            (None, None) => return Err(QemuError::Endless(program)),
            (None, Some(status)) => {
                let answer = match answer.said() {
                    _ if is_for_another_machine(&program) => {
                        "it is a program for another kind of machine".into()
                    }
                    said if said.is_empty() => format!("{status}, and not a word"),
                    said => format!("{status}: {}", said.chars().take(SHOWN).collect::<String>()),
                };
                return Err(QemuError::NoVersion { program, answer });
            }
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

    /// Returns true if it is a script: what that starts may be QEMU.
    #[must_use]
    pub fn is_script(&self) -> bool {
        interpreter(&self.program).is_some()
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
    // By the password database where services and `env -i` have no `HOME`: another emulator would be
    // another run, without a word.
    let home = env::home_dir().filter(|home| home.is_absolute());
    let caches = caches.or_else(|| Some(home?.join(".cache")));
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

/// The program of a path that is named. A name alone is that of a file here, or else is
/// looked for in `PATH`.
fn named(path: &Path) -> Result<PathBuf, QemuError> {
    let is_name = path.components().count() == 1 && path.file_name() == Some(path.as_os_str());
    if !is_name {
        return Ok(path.to_owned());
    }
    let here = Path::new(".").join(path);
    if here.is_file() {
        return Ok(here);
    }
    Ok(in_path(path.as_os_str())?.unwrap_or(here))
}

/// The first of this name in `PATH` that can be executed; shells pass over others, too.
fn in_path(name: &OsStr) -> Result<Option<PathBuf>, QemuError> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut unusable = Vec::new();
    for folder in env::split_paths(&path) {
        // An empty one is the current folder.
        let candidate = Path::new(".").join(folder).join(name);
        if !candidate.exists() {
            continue;
        }
        if candidate.is_file() && access(&candidate, Access::EXEC_OK).is_ok() {
            return Ok(Some(candidate));
        }
        unusable.push(candidate.display().to_string());
    }
    if unusable.is_empty() {
        Ok(None)
    } else {
        Err(QemuError::Unusable(unusable))
    }
}

/// What a script names in its first line.
fn interpreter(program: &Path) -> Option<String> {
    let mut line = [0; 256];
    let read = File::open(program)
        .and_then(|file| file.read_at(&mut line, 0))
        .ok()?;
    let text = String::from_utf8_lossy(&line[..read]).into_owned();
    let line = text.strip_prefix("#!")?.lines().next()?;
    Some(line.trim().to_owned())
}

/// Returns true if a program is one of another processor. The standard library then starts
/// a shell with it, as `execvp` does.
fn is_for_another_machine(program: &Path) -> bool {
    let mut head = [0; 20];
    let read = File::open(program).and_then(|file| file.read_exact_at(&mut head, 0));
    let own = object::elf::EM_X86_64.0.to_le_bytes();
    read.is_ok() && head.starts_with(b"\x7fELF") && head[18..] != own
}

/// Why a program cannot be started, in words that Linux's error has not.
fn not_started(program: PathBuf, error: &io::Error) -> QemuError {
    let is_there = program.metadata();
    let problem = match (is_there, error.raw_os_error().map(Errno::from_raw_os_error)) {
        (_, Some(Errno::MFILE)) => {
            let error = format!("{error}: raise `ulimit -n`");
            return QemuError::System { program, error };
        }
        (_, Some(Errno::AGAIN | Errno::NFILE | Errno::NOMEM)) => {
            let error = error.to_string();
            return QemuError::System { program, error };
        }
        (Ok(file), _) if file.is_dir() => "it is a folder".into(),
        (Ok(_), Some(Errno::ACCESS)) => "it may not be executed; chmod +x lets it be".into(),
        (Ok(_), Some(Errno::NOENT)) => match interpreter(&program) {
            Some(line) => format!("it is a script by `#!{line}`, which is not there"),
            None => "the dynamic linker that it names is not there".into(),
        },
        _ => error.to_string(),
    };
    QemuError::Start { program, problem }
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
