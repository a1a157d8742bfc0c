//! The processes of a QEMU: it, and whatever it and a wrapper around it have started.
//!
//! They are a process group, and all inherit a file, the mark, under one number. Who leaves
//! the group (`setsid`, `-daemonize`) still has the mark; who closes files is still in the
//! group.

use std::collections::HashMap;
use std::fs;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, Stat, fstat, memfd_create, stat};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process_group, pidfd_open,
    pidfd_send_signal, set_child_subreaper, waitid,
};

/// How long processes that are killed may take to go.
const PATIENCE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(1);

/// A file of no bytes, by which a family's processes are known.
pub struct Mark(OwnedFd);

impl Mark {
    /// What a link below `/proc` to one begins with.
    pub const LINK: &str = "/memfd:pmiscope-mark";

    /// Makes a mark that nothing else has.
    ///
    /// # Errors
    ///
    /// Those of making a file in memory.
    pub fn new() -> rustix::io::Result<Self> {
        memfd_create("pmiscope-mark", MemfdFlags::CLOEXEC).map(Self)
    }

    /// The number that the family has it by.
    #[must_use]
    pub fn number(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    #[must_use]
    pub fn file(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// What the names of emulators begin with: of others that QEMU comes with (`qemu-nbd`), a
/// script may leave some running.
const EMULATORS: [&str; 2] = ["qemu-system", "qemu-kvm"];

/// Processes that are found to be of a family.
pub struct Members {
    found: Vec<(Pid, OwnedFd)>,
    /// False if there may be others: the system did not say.
    are_all: bool,
}

/// The processes of a QEMU.
pub struct Family {
    /// Its group, if that is known.
    group: Option<Pid>,
    /// The number of the mark in each process.
    number: RawFd,
    mark: Stat,
}

/// Makes this process the parent of all processes below it whose own parents end, so that
/// it can wait for them: not every init does.
///
/// # Errors
///
/// The kernel does not know that: Linux does since 3.4.
pub fn adopt_orphans() -> rustix::io::Result<()> {
    set_child_subreaper(Some(rustix::process::getpid()))
}

/// Returns true if a process has not ended, by its handle.
fn is_running(process: &OwnedFd) -> bool {
    let mut ended = [PollFd::new(process, PollFlags::IN)];
    poll(&mut ended, Some(&Timespec::default())) == Ok(0)
}

impl Family {
    /// The family of this group, each of which has `mark` as this number.
    ///
    /// # Errors
    ///
    /// The mark cannot be looked at.
    pub fn new(group: Option<Pid>, number: RawFd, mark: impl AsFd) -> rustix::io::Result<Self> {
        Ok(Self {
            group,
            number,
            mark: fstat(mark)?,
        })
    }

    /// Says which group it is.
    pub const fn set_group(&mut self, group: Pid) {
        self.group = Some(group);
    }

    /// Kills all of them, and returns when they are gone.
    ///
    /// The group's first process must not have been waited for: its number would be free.
    pub fn kill(&self) {
        let started = Instant::now();
        let is_late = || started.elapsed() >= PATIENCE;
        // By number: a look finds again who takes time to go. If a number is another one's by
        // then, its first process has gone.
        let mut killed = HashMap::new();
        loop {
            let members = self.send(Signal::KILL);
            let is_last = members.are_all && members.found.is_empty();
            killed.extend(members.found);
            // Each takes a file of this process, of which there may be too few for all at once.
            killed.retain(|&pid, process| is_running(process) || !self.is_waited_for(pid, process));
            // One that hangs in the kernel goes when it comes back.
            if is_last || is_late() {
                break;
            }
            thread::sleep(POLL);
        }
        // A process closes its files, and with them the mark, before it has ended.
        while killed.values().any(is_running) && !is_late() {
            thread::sleep(POLL);
        }
        for (pid, process) in killed {
            self.is_waited_for(pid, &process);
        }
    }

    /// Waits for one of them that has ended, and returns true if that is done: it fails for one
    /// whose parent is another's. The first one's status is asked for elsewhere.
    fn is_waited_for(&self, pid: Pid, process: &OwnedFd) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        let wait = || waitid(WaitId::PidFd(process.as_fd()), options);
        Some(pid) != self.group && wait().is_ok_and(|ended| ended.is_some())
    }

    /// Waits for those of the group that were killed and whose parents have ended: they are
    /// this process's ([`adopt_orphans`]). The group's first process must have been waited for.
    pub fn reap(&self) {
        let Some(group) = self.group else { return };
        let started = Instant::now();
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        while let Ok(ended) = waitid(WaitId::Pgid(Some(group)), options)
            && started.elapsed() < PATIENCE
        {
            if ended.is_none() {
                thread::sleep(POLL);
            }
        }
    }

    /// Sends a signal to all of them. Returns those that have the mark.
    pub fn send(&self, signal: Signal) -> Members {
        // First: who is found can be waited for.
        let members = self.members();
        if let Some(group) = self.group {
            // It fails if none is left.
            let _ = kill_process_group(group, signal);
        }
        for (_, member) in &members.found {
            // It fails if the process has ended, or has become another user's.
            let _ = pidfd_send_signal(member, signal);
        }
        members
    }

    /// Returns true if a QEMU is among them.
    #[must_use]
    pub fn has_qemu(&self) -> bool {
        self.members().found.iter().any(|(pid, _)| {
            let name = fs::read_to_string(format!("/proc/{}/comm", pid.as_raw_nonzero()));
            name.is_ok_and(|name| EMULATORS.iter().any(|it| name.starts_with(it)))
        })
    }

    /// The other processes that have the mark.
    fn members(&self) -> Members {
        let mut members = Members {
            found: Vec::new(),
            are_all: true,
        };
        let Ok(entries) = fs::read_dir("/proc") else {
            members.are_all = false;
            return members;
        };
        let names = entries.flatten().map(|entry| entry.file_name());
        let pids = names.filter_map(|name| Pid::from_raw(name.to_str()?.parse().ok()?));
        let own = rustix::process::getpid();
        for pid in pids.filter(|&pid| pid != own && self.has_mark(pid)) {
            // From here on it is that process, or none: whatever has its number by then is asked again.
            match pidfd_open(pid, PidfdFlags::empty()) {
                Ok(handle) if self.has_mark(pid) => members.found.push((pid, handle)),
                Ok(_) | Err(Errno::SRCH) => {}
                Err(_) => members.are_all = false,
            }
        }
        members
    }

    fn has_mark(&self, pid: Pid) -> bool {
        let file = format!("/proc/{}/fd/{}", pid.as_raw_nonzero(), self.number);
        let is_mark =
            |found: Stat| (found.st_dev, found.st_ino) == (self.mark.st_dev, self.mark.st_ino);
        stat(file).is_ok_and(is_mark)
    }
}
