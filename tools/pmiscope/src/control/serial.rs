//! The serial port of a run's guest (`run --monitor`): where it is, and who is connected.
//!
//! QEMU makes the socket, and serves one client at a time; so whoever is connected has a lock, and another one is
//! told so and does not wait.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use rustix::fs::{FlockOperation, flock};

use super::client::{listed, runs};
use super::{in_first_possible, search};

/// The longest path of a socket (unix(7)), and a zero behind it.
const MAX_PATH_BYTES: usize = 107;

/// What the names of such sockets begin with: `pmiscope ctl` looks for those that are numbers.
const PREFIX: &str = "serial-";

/// The place of the socket of this process, until dropped.
pub struct SerialSocket {
    path: PathBuf,
}

impl SerialSocket {
    /// Finds a place for the socket of this process's guest.
    ///
    /// # Errors
    ///
    /// There is none.
    pub fn new() -> io::Result<Self> {
        let name = format!("{PREFIX}{}.sock", std::process::id());
        in_first_possible(|directory| {
            let path = directory.join(&name);
            remove(&path)?;
            if path.as_os_str().len() > MAX_PATH_BYTES {
                return Err(io::Error::other("too long for the name of a socket"));
            }
            Ok(Self { path })
        })
    }

    /// Where QEMU is to make it.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Connects, once QEMU has made it. Returns `None` before, or while somebody else is connected.
    #[must_use]
    pub fn connect(&self) -> Option<SerialLine> {
        match open(&self.path) {
            Ok(Opened::Line(line)) => Some(line),
            _ => None,
        }
    }
}

impl Drop for SerialSocket {
    fn drop(&mut self) {
        // What is left is found to be dead by the next client.
        let _ = remove(&self.path);
    }
}

/// A connection to the serial port of a guest.
pub struct SerialLine {
    /// It does not block.
    pub stream: UnixStream,
    /// Others do not connect meanwhile.
    _lock: File,
}

/// What is at the place of a socket.
enum Opened {
    Line(SerialLine),
    /// Somebody else is connected.
    InUse,
    /// Its run has ended, or there is none.
    Dead,
}

/// Connects to the guest of the run of process `pid`, or of the only run that has a monitor. Returns its process.
///
/// # Errors
///
/// There is no such run, there are several, or somebody else is connected.
pub fn connect(pid: Option<u32>) -> Result<(u32, SerialLine)> {
    let mut found = sockets(pid)?;
    let number = found.len();
    match (found.pop(), number) {
        (Some((pid, Opened::Line(line))), 1) => Ok((pid, line)),
        (Some((pid, _)), 1) => {
            bail!("somebody is connected to the monitor of process {pid} already")
        }
        (Some(last), _) => {
            let pids = found.iter().chain([&last]).map(|(pid, _)| *pid);
            bail!("several runs have a monitor: say --pid {}", listed(pids))
        }
        (None, _) => bail!("{}", none(pid)?),
    }
}

/// Why there is none to connect to.
fn none(pid: Option<u32>) -> Result<String> {
    let others = runs(pid)?;
    Ok(match (others.as_slice(), pid) {
        ([], Some(pid)) => format!(
            "process {pid} is no run of this user's that goes on: name one that pmiscope run --monitor has started"
        ),
        ([], None) => {
            "no run goes on; start one by pmiscope run --monitor, in another terminal".to_owned()
        }
        ([pid], _) => {
            format!("the run of process {pid} has no monitor: start it by pmiscope run --monitor")
        }
        _ => "the runs that go on have no monitor: start one by pmiscope run --monitor".to_owned(),
    })
}

/// The sockets of all runs that have a monitor, or that of process `pid`.
fn sockets(pid: Option<u32>) -> Result<Vec<(u32, Opened)>> {
    search(|path| {
        let name = path.file_name().and_then(|name| name.to_str());
        let number = name.and_then(|name| name.strip_prefix(PREFIX)?.strip_suffix(".sock"));
        let number = number.and_then(|number| number.parse().ok());
        let Some(number) = number.filter(|&number| pid.is_none_or(|pid| pid == number)) else {
            return Ok(None);
        };
        let opened = open(path)?;
        if matches!(opened, Opened::Dead) {
            let _ = remove(path);
            return Ok(None);
        }
        Ok(Some((number, opened)))
    })
}

/// Connects to a socket, without waiting.
fn open(path: &Path) -> io::Result<Opened> {
    if !fs::exists(path)? {
        return Ok(Opened::Dead);
    }
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path.with_extension("lock"))?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => return Ok(Opened::InUse),
        Err(error) => return Err(error.into()),
    }
    // Whoever has the lock is alone, and QEMU's queue has room for one.
    let stream = match UnixStream::connect(path) {
        Ok(stream) => stream,
        Err(_) => return Ok(Opened::Dead),
    };
    stream.set_nonblocking(true)?;
    Ok(Opened::Line(SerialLine {
        stream,
        _lock: lock,
    }))
}

/// Removes what is left of a socket, and its lock.
fn remove(path: &Path) -> io::Result<()> {
    for path in [path.with_extension("lock"), path.to_owned()] {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
