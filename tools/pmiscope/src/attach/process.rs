//! The process whose guest it is: it maps the file.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::Image;

/// Of a process that cannot be seen, the beginnings of names that make it worth a question.
const QEMU_NAMES: [&str; 3] = ["qemu", "kvm", "pc-system"];

/// How long a process that was named may take to map the file.
const START: Duration = Duration::from_secs(1);

/// A process that maps the file.
pub struct Process {
    pub pid: u32,
    /// What the kernel calls it: the first 15 bytes of its program's name.
    pub name: String,
    /// Its command line, without the program.
    pub arguments: Vec<String>,
    /// Stays that process, whatever comes to have its number.
    handle: OwnedFd,
}

/// Who maps a file.
pub enum Seen {
    /// This process.
    One(Process),
    /// Several; their numbers and names.
    Several(Vec<String>),
    /// None that can be seen, but these look like QEMU and cannot be looked into.
    Hidden(Vec<String>),
    /// None.
    Nobody,
}

/// What a process does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Activity {
    /// A signal or a debugger has stopped it.
    pub is_stopped: bool,
    /// Its time on a processor, in ticks of 10 ms.
    pub ticks: u64,
}

/// Whether a process maps the file.
enum Maps {
    Yes,
    No,
    /// It may not be asked.
    Unknown,
}

impl Process {
    /// The process of this number, which has to map the file.
    ///
    /// # Errors
    ///
    /// There is no such process, or it does not, or that cannot be seen.
    pub fn of_pid(pid: u32, image: &Image) -> Result<Self> {
        let Some(process) = Self::open(pid)? else {
            bail!("there is no process {pid}: without --pid, what an ended QEMU has left is read");
        };
        let name = process.display();
        let asked = Instant::now();
        let maps = loop {
            match maps(pid, image)? {
                // It may have made the file, and be about to map it.
                Maps::No if asked.elapsed() < START && !process.has_ended()? => {
                    thread::sleep(START / 100);
                }
                maps => break maps,
            }
        };
        match maps {
            Maps::Yes if process.has_ended()? => bail!("{name} has just ended"),
            Maps::Yes => Ok(process),
            Maps::No => bail!("{name} does not map {}{}", image.name(), others(image)?),
            Maps::Unknown => bail!(
                "{name} is another user's: it cannot be seen whether it maps {}; be that user or root, or say --live in place of --pid",
                image.name()
            ),
        }
    }

    /// The number and the name, for messages.
    pub fn display(&self) -> String {
        format!("process {} ({})", self.pid, self.name)
    }

    /// Returns true if its program is called as QEMU's are.
    pub fn is_qemu(&self) -> bool {
        QEMU_NAMES.iter().any(|name| self.name.starts_with(name))
    }

    /// Returns true if it has ended.
    ///
    /// # Errors
    ///
    /// Those of asking Linux.
    pub fn has_ended(&self) -> io::Result<bool> {
        let mut handles = [PollFd::new(&self.handle, PollFlags::IN)];
        let at_once = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        match poll(&mut handles, Some(&at_once)) {
            Ok(ready) => Ok(ready > 0),
            Err(Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// What it does, if that can be seen.
    pub fn activity(&self) -> Option<Activity> {
        activity(&fs::read_to_string(format!("/proc/{}/stat", self.pid)).ok()?)
    }

    /// Opens the process of this number; `None` if there is none.
    fn open(pid: u32) -> Result<Option<Self>> {
        let number = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let Some(number) = number else {
            return Ok(None);
        };
        let handle = match pidfd_open(number, PidfdFlags::empty()) {
            Ok(handle) => handle,
            Err(Errno::SRCH | Errno::INVAL) => return Ok(None),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot watch process {pid}"));
            }
        };
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words = command.split(|&byte| byte == 0).skip(1);
        let mut arguments: Vec<_> = words
            .map(|word| String::from_utf8_lossy(word).into())
            .collect();
        // Each word ends with a zero, the last one too.
        arguments.pop();
        Ok(Some(Self {
            pid,
            name: name_of(pid),
            arguments,
            handle,
        }))
    }
}

/// Looks for the process that maps the file.
///
/// # Errors
///
/// `/proc` cannot be read.
pub fn find(image: &Image) -> Result<Seen> {
    let (mut mapping, mut hidden) = (Vec::new(), Vec::new());
    for pid in pids()? {
        match maps(pid, image)? {
            Maps::Yes => mapping.extend(Process::open(pid)?),
            Maps::Unknown if looks_like_qemu(&name_of(pid)) => {
                hidden.push(format!("{pid} ({})", name_of(pid)));
            }
            Maps::No | Maps::Unknown => {}
        }
    }
    // Another program may look at the file; QEMU's is the guest.
    if mapping.len() > 1 && mapping.iter().any(Process::is_qemu) {
        mapping.retain(Process::is_qemu);
    }
    Ok(match (mapping.len(), hidden.is_empty()) {
        (1, _) => Seen::One(mapping.remove(0)),
        (0, true) => Seen::Nobody,
        (0, false) => Seen::Hidden(hidden),
        _ => Seen::Several(mapping.iter().map(Process::display).collect()),
    })
}

/// Who maps the file, behind a message that it is not the process that was named.
fn others(image: &Image) -> Result<String> {
    Ok(match find(image)? {
        Seen::One(process) => format!(": {} does", process.display()),
        Seen::Several(processes) => format!(": {} do", processes.join(", ")),
        Seen::Hidden(_) | Seen::Nobody => ", nor does any process that can be seen".into(),
    })
}

fn looks_like_qemu(name: &str) -> bool {
    QEMU_NAMES.iter().any(|qemu| name.starts_with(qemu))
}

/// The numbers of all other processes.
fn pids() -> Result<Vec<u32>> {
    let entries = fs::read_dir("/proc").context("cannot look for processes in /proc")?;
    let numbers = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    Ok(numbers.filter(|&pid| pid != std::process::id()).collect())
}

fn name_of(pid: u32) -> String {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    name.trim_end().to_owned()
}

fn maps(pid: u32, image: &Image) -> Result<Maps> {
    let maps = match fs::read(format!("/proc/{pid}/maps")) {
        // Names of files need not be UTF-8.
        Ok(maps) => String::from_utf8_lossy(&maps).into_owned(),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(Maps::Unknown),
        // It has ended.
        Err(_) => return Ok(Maps::No),
    };
    let (device, inode, path) = image.identity()?;
    let device = (rustix::fs::major(device), rustix::fs::minor(device));
    let is_it = |line: &str| is_of_file(line, device, inode, &path);
    Ok(if maps.lines().any(is_it) {
        Maps::Yes
    } else {
        Maps::No
    })
}

/// Returns true if a line of `/proc/PID/maps` is of this file. Some file systems (btrfs,
/// overlays) have another device there than they say of their files; then the path has to
/// be the same.
fn is_of_file(line: &str, device: (u32, u32), inode: u64, path: &Path) -> bool {
    // Address, access, offset, device, inode, path.
    let mut words = line.split_ascii_whitespace().skip(3);
    let (Some(found), Some(number)) = (words.next(), words.next()) else {
        return false;
    };
    if number.parse() != Ok(inode) {
        return false;
    }
    let (major, minor) = device;
    let named = line.find('/').map(|start| PathBuf::from(&line[start..]));
    found == format!("{major:02x}:{minor:02x}") || named.as_deref() == Some(path)
}

/// Reads `/proc/PID/stat` (proc(5)): the name, which is in parentheses and may have any
/// character in it, then the state, and as the 12th and 13th word behind it the ticks in
/// user space and in the kernel.
fn activity(stat: &str) -> Option<Activity> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let words: Vec<_> = rest.split_ascii_whitespace().collect();
    let number = |at: usize| words.get(at)?.parse::<u64>().ok();
    Some(Activity {
        is_stopped: matches!(*words.first()?, "T" | "t"),
        ticks: number(11)? + number(12)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapping_is_told_by_device_and_inode_or_by_path_and_inode() {
        let line = "7f3a00000000-7f3a06000000 rw-s 00000000 00:1a 4711    /dev/shm/guest ram";
        let path = Path::new("/dev/shm/guest ram");
        assert!(is_of_file(line, (0, 0x1a), 4711, Path::new("/else")));
        assert!(is_of_file(line, (0, 0x2b), 4711, path));
        assert!(!is_of_file(line, (0, 0x1a), 4712, path));
        assert!(!is_of_file(
            line,
            (0, 0x2b),
            4711,
            Path::new("/dev/shm/guest")
        ));
        assert!(!is_of_file(
            "7f3a00000000-7f3a06000000 rw-p 00000000 00:00 0",
            (0, 0),
            4711,
            path
        ));
        assert!(!is_of_file("", (0, 0), 0, path));
    }

    #[test]
    fn a_processs_state_is_read_whatever_it_is_called() {
        let stat = |state: &str| {
            format!(
                "12 (qemu) S 9 (x) {state} 1 12 12 0 -1 4194560 1 2 3 4 250 31 7 8 20 0 3 0 99 1 2"
            )
        };
        for (state, is_stopped) in [("S", false), ("R", false), ("T", true), ("t", true)] {
            let expected = Activity {
                is_stopped,
                ticks: 281,
            };
            assert_eq!(activity(&stat(state)), Some(expected), "{state}");
        }
        assert_eq!(activity("12 (qemu) S 1 2"), None);
        assert_eq!(activity(""), None);
    }
}
