//! The files that the guest writes: its memory and its log.
//!
//! They have no name in any folder (`O_TMPFILE`): QEMU opens them through
//! `/proc/self/fd`, and however the tool ends, nothing is left behind.

use std::env;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::FdFlags;
use thiserror::Error;

use crate::units::size;

/// A file that QEMU can open.
pub struct InheritedFile {
    pub file: File,
    /// Its name in a process that this one starts.
    pub path: PathBuf,
}

/// No folder has room for the guest's memory.
#[derive(Debug, Error)]
#[error(
    "no room for a file of {} for the guest's memory ({}): free some, set TMPDIR to a folder that has it, or ask for less by --memory, --ring or --smp",
    size(*.bytes),
    .attempts.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
)]
pub struct NoRoomError {
    pub bytes: u64,
    /// The folders that were tried, with the problem of each.
    pub attempts: Vec<Attempt>,
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
            Problem::Error(error) => write!(f, "{folder}: {error}"),
        }
    }
}

/// Makes the file for the guest's memory: in memory if there is room, which
/// spares the writing back to a disk, else among the temporary files.
///
/// # Errors
///
/// No folder has room; the message names those that were tried.
pub fn guest_memory(bytes: u64) -> Result<InheritedFile, NoRoomError> {
    let mut folders = vec![
        PathBuf::from("/dev/shm"),
        env::temp_dir(),
        PathBuf::from("/tmp"),
    ];
    folders.dedup();
    let mut attempts = Vec::new();
    for folder in folders {
        match file_in(&folder, bytes) {
            Ok(file) => return Ok(file),
            Err(problem) => attempts.push(Attempt { folder, problem }),
        }
    }
    Err(NoRoomError { bytes, attempts })
}

fn file_in(folder: &Path, bytes: u64) -> Result<InheritedFile, Problem> {
    let room = rustix::fs::statvfs(folder).map_err(|error| Problem::Error(error.into()))?;
    let free = room.f_bavail.saturating_mul(room.f_frsize);
    // The file is sparse: a guest that touches what is not there is killed.
    if free < bytes {
        return Err(Problem::Free(free));
    }
    let file = tempfile::tempfile_in(folder).map_err(Problem::Error)?;
    // `pmiscope attach`, which can reach it through /proc, is told that the rings have a
    // reader.
    let locked = flock(&file, FlockOperation::NonBlockingLockExclusive);
    locked.map_err(|error| Problem::Error(error.into()))?;
    file.set_len(bytes).map_err(Problem::Error)?;
    inherited(file).map_err(Problem::Error)
}

/// Makes a file for the guest's log.
///
/// # Errors
///
/// Those of making a temporary file.
pub fn log_file() -> io::Result<InheritedFile> {
    inherited(tempfile::tempfile()?)
}

/// Lets child processes inherit the file, under the same number.
fn inherited(file: File) -> io::Result<InheritedFile> {
    rustix::io::fcntl_setfd(&file, FdFlags::empty())?;
    let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    Ok(InheritedFile { file, path })
}
