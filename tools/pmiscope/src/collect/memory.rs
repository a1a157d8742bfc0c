//! The files that the guest writes: its memory and its log.
//!
//! They have no name in any folder (`O_TMPFILE`): QEMU opens them through
//! `/proc/self/fd`, and however the tool ends, nothing is left behind.

use std::env;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, StatVfs, flock};
use rustix::io::FdFlags;
use thiserror::Error;

use crate::units::size;

/// A file that QEMU can open.
pub struct InheritedFile {
    pub file: File,
    /// Its name in a process that this one starts.
    pub path: PathBuf,
    /// Where it is, though it has no name there.
    pub folder: PathBuf,
}

impl InheritedFile {
    /// Bytes that are free where it is, and bytes of it that have no room yet.
    #[must_use]
    pub fn missing(&self) -> Option<(u64, u64)> {
        let room = rustix::fs::fstatvfs(&self.file).ok()?;
        let file = self.file.metadata().ok()?;
        let missing = file.len().saturating_sub(file.blocks() * 512);
        Some((free(&room), missing))
    }
}

/// What to do where there is no room for a guest's memory.
pub const MAKE_ROOM: &str =
    "free some, set TMPDIR to a folder that has it, or ask for less by --memory, --ring or --smp";

/// No folder has room for the guest's memory.
#[derive(Debug, Error)]
#[error(
    "no room for a file of {} for the guest's memory ({}): {MAKE_ROOM}",
    size(*.bytes),
    joined(.attempts)
)]
pub struct NoRoomError {
    pub bytes: u64,
    /// The folders that were tried, with the problem of each.
    pub attempts: Vec<Attempt>,
}

/// No folder takes a temporary file.
#[derive(Debug, Error)]
#[error("no folder for a temporary file ({}): set TMPDIR to one that can be written", joined(.0))]
pub struct NoFolderError(Vec<Attempt>);

fn joined(attempts: &[Attempt]) -> String {
    let attempts: Vec<_> = attempts.iter().map(ToString::to_string).collect();
    attempts.join("; ")
}

/// A folder that has no room.
#[derive(Debug)]
pub struct Attempt {
    folder: PathBuf,
    problem: Problem,
}

#[derive(Debug)]
enum Problem {
    Free(u64),
    Error(io::Error),
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let folder = self.folder.display();
        match &self.problem {
            Problem::Free(bytes) => write!(f, "{folder} has {}", size(*bytes)),
            Problem::Error(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                write!(f, "{folder}: no file may be so large (`ulimit -f`)")
            }
            Problem::Error(error) => write!(f, "{folder}: {error}"),
        }
    }
}

/// The folder of memory files.
const SHARED: &str = "/dev/shm";

/// The folders of temporary files: the one that is asked for, and those that all systems have.
fn temporary() -> impl Iterator<Item = PathBuf> {
    let named = env::var_os("TMPDIR").filter(|folder| !folder.is_empty());
    let usual = ["/tmp", "/var/tmp"].map(PathBuf::from);
    named.map(PathBuf::from).into_iter().chain(usual)
}

/// Makes a file by the first folder that can.
fn first<T>(
    folders: impl Iterator<Item = PathBuf>,
    make: impl Fn(&Path) -> Result<T, Problem>,
) -> Result<T, Vec<Attempt>> {
    let mut attempts: Vec<Attempt> = Vec::new();
    for folder in folders {
        if attempts.iter().any(|attempt| attempt.folder == folder) {
            continue;
        }
        match make(&folder) {
            Ok(made) => return Ok(made),
            Err(problem) => attempts.push(Attempt { folder, problem }),
        }
    }
    Err(attempts)
}

/// Makes the file for the guest's memory: in memory if there is room, which
/// spares the writing back to a disk, else among the temporary files.
///
/// # Errors
///
/// No folder has room; the message names those that were tried.
pub fn guest_memory(bytes: u64) -> Result<InheritedFile, NoRoomError> {
    let folders = std::iter::once(SHARED.into()).chain(temporary());
    first(folders, |folder| file_in(folder, bytes))
        .map_err(|attempts| NoRoomError { bytes, attempts })
}

fn file_in(folder: &Path, bytes: u64) -> Result<InheritedFile, Problem> {
    let room = rustix::fs::statvfs(folder).map_err(|error| Problem::Error(error.into()))?;
    // The file is sparse: a guest that touches what is not there is killed.
    if free(&room) < bytes {
        return Err(Problem::Free(free(&room)));
    }
    let file = tempfile::tempfile_in(folder).map_err(Problem::Error)?;
    // `pmiscope attach`, which can reach it through /proc, is told that the rings have a
    // reader.
    let locked = flock(&file, FlockOperation::NonBlockingLockExclusive);
    locked.map_err(|error| Problem::Error(error.into()))?;
    file.set_len(bytes).map_err(Problem::Error)?;
    inherited(file, folder).map_err(Problem::Error)
}

const fn free(room: &StatVfs) -> u64 {
    room.f_bavail.saturating_mul(room.f_frsize)
}

/// Makes a file for what a guest or QEMU prints.
///
/// # Errors
///
/// No folder takes a temporary file.
pub fn log_file() -> Result<InheritedFile, NoFolderError> {
    let make = |folder: &Path| {
        let file = tempfile::tempfile_in(folder);
        file.and_then(|file| inherited(file, folder))
            .map_err(Problem::Error)
    };
    let folders = temporary().chain(std::iter::once(SHARED.into()));
    first(folders, make).map_err(NoFolderError)
}

/// Lets child processes inherit the file, under the same number.
fn inherited(file: File, folder: &Path) -> io::Result<InheritedFile> {
    rustix::io::fcntl_setfd(&file, FdFlags::empty())?;
    let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    let folder = folder.to_owned();
    Ok(InheritedFile { file, path, folder })
}
