//! Control of a run: how `pmiscope ctl` finds one, and how `pmiscope run` listens.
//!
//! A run listens on a socket that is named by its process, in a directory that is the
//! user's own. A client sends a line, [`Command`], and gets one back: `ok`, perhaps with
//! words behind it, or `no` and why. Beside that, the guest of `run --monitor` has its serial port on a socket.

mod client;
mod serial;
mod server;

pub use client::{run_of, send};
pub use serial::{SerialLine, SerialSocket, connect};
pub use server::Server;

use std::env;
use std::fmt;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use profiler::contract::mailbox::Request;
use profiler::contract::settings::Settings;
use profiler::pmu::event::EventList;

/// What a client wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(clippy::large_enum_variant)] // one at a time
pub enum Command {
    /// Asks for the state of the run.
    Status,
    /// A request to the kernel.
    Request(Request),
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status => f.write_str("status"),
            Self::Request(Request::Start) => f.write_str("start"),
            Self::Request(Request::Stop) => f.write_str("stop"),
            Self::Request(Request::Period(period)) => write!(f, "period {period}"),
            Self::Request(Request::Events(events)) => write!(f, "event {events}"),
        }
    }
}

impl Command {
    /// Reads a line that [`fmt::Display`] has made.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        Some(match (word, rest) {
            ("status", "") => Self::Status,
            ("start", "") => Self::Request(Request::Start),
            ("stop", "") => Self::Request(Request::Stop),
            ("period", number) => {
                let period = number.parse().ok();
                let period = period.filter(|period| Settings::PERIODS.contains(period))?;
                Self::Request(Request::Period(period))
            }
            ("event", list) => Self::Request(Request::Events(EventList::parse(list).ok()?)),
            _ => return None,
        })
    }
}

/// The directories that may have this user's sockets, the first choice first. Who runs and
/// who controls need not have the same environment.
fn directories() -> Vec<PathBuf> {
    let named = |variable| env::var_os(variable).map(PathBuf::from);
    let own = format!("pmiscope-{}", rustix::process::getuid().as_raw());
    // Relative ones are to be ignored (XDG Base Directory Specification).
    let runtime = named("XDG_RUNTIME_DIR").filter(|folder| folder.is_absolute());
    let temporary = named("TMPDIR").filter(|folder| !folder.as_os_str().is_empty());
    let temporary = temporary.into_iter().chain(["/tmp".into()]);
    let runtime = runtime.map(|folder| folder.join("pmiscope"));
    let mut found: Vec<_> = runtime.into_iter().collect();
    found.extend(temporary.map(|folder| folder.join(&own)));
    found.dedup();
    found
}

/// Makes something in the first of the directories in which that can be done.
///
/// # Errors
///
/// It can be done in none, with what each lacks.
fn in_first_possible<T>(made: impl Fn(&Path) -> io::Result<T>) -> io::Result<T> {
    let mut problems = Vec::new();
    for directory in directories() {
        match make(&directory).and_then(|()| made(&directory)) {
            Ok(made) => return Ok(made),
            Err(problem) => problems.push(format!("{}: {problem}", directory.display())),
        }
    }
    Err(io::Error::other(problems.join("; ")))
}

/// Collects what `look` finds at the files in all directories. A directory that somebody else has made
/// does not hide what is in another.
///
/// # Errors
///
/// Nothing is found, and one of them cannot be looked into.
fn search<T>(mut look: impl FnMut(&Path) -> io::Result<Option<T>>) -> anyhow::Result<Vec<T>> {
    let (mut found, mut problem) = (Vec::new(), None);
    for directory in directories() {
        if let Err(error) = look_into(&directory, &mut look, &mut found) {
            let place = format!("cannot look for runs in {}", directory.display());
            problem = problem.or(Some(anyhow::Error::new(error).context(place)));
        }
    }
    match problem.filter(|_| found.is_empty()) {
        Some(problem) => Err(problem),
        None => Ok(found),
    }
}

fn look_into<T>(
    directory: &Path,
    look: &mut impl FnMut(&Path) -> io::Result<Option<T>>,
    found: &mut Vec<T>,
) -> io::Result<()> {
    match fs::symlink_metadata(directory) {
        Err(error) if is_missing(&error) => return Ok(()),
        _ => is_own(directory)?,
    }
    for entry in fs::read_dir(directory)? {
        found.extend(look(&entry?.path())?);
    }
    Ok(())
}

/// Returns true if there is no such directory, nor can be.
fn is_missing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::PermissionDenied
    )
}

/// Makes a directory of sockets, if it is missing.
fn make(directory: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => is_own(directory),
    }
}

/// That a directory is this user's: another may have made it, as a trap.
fn is_own(directory: &Path) -> io::Result<()> {
    let uid = rustix::process::getuid().as_raw();
    let found = fs::symlink_metadata(directory)?;
    if !found.is_dir() || found.uid() != uid || found.mode() & 0o077 != 0 {
        return Err(io::Error::other("not a directory of this user alone"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_displayed_is_parsed() {
        let events = EventList::parse("cycles:k,cpu/event=0xc4,period=500/u").unwrap();
        for command in [
            Command::Status,
            Command::Request(Request::Start),
            Command::Request(Request::Stop),
            Command::Request(Request::Period(128)),
            Command::Request(Request::Events(events)),
        ] {
            assert_eq!(Command::parse(&command.to_string()), Some(command));
        }
        for line in [
            "",
            "go",
            "period",
            "period 0",
            "period many",
            "event",
            "event nothing",
            "stop now",
        ] {
            assert_eq!(Command::parse(line), None, "{line}");
        }
    }
}
