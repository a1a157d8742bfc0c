//! QEMU as a process that never outlives the tool, nor does anything that it has started.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, waitid};

use super::family::{Family, Mark, adopt_orphans};
use super::warden::Warden;
use crate::collect::system;
use crate::signals;

/// A process and its family. All of it is killed when this is dropped, and when the tool
/// dies without dropping it.
pub struct Process {
    child: Child,
    pid: Pid,
    family: Family,
    state: State,
}

enum State {
    /// As long as it was not waited for, its number is its own.
    Running { _warden: Option<Warden> },
    Ended {
        status: ExitStatus,
        /// Whether a QEMU was left behind it.
        left_qemu: bool,
    },
}

impl Process {
    /// Starts a command.
    ///
    /// # Errors
    ///
    /// Those of starting a program.
    pub fn start(mut command: Command) -> io::Result<Self> {
        // What loses its parent becomes this process's child, and is waited for with the family.
        // Where that cannot be, it is left to init.
        let _ = adopt_orphans();
        let mark = Mark::new()?;
        // Before there is anybody in it whom an error would leave running.
        let mut family = Family::new(None, mark.number(), mark.file())?;
        let mut warden = Warden::start(&mark)?;
        // A group of its own: the terminal's ^C is for the tool, which drains the rings
        // before it ends the guest.
        command.process_group(0);
        system::bind_to_parent(&mut command, mark.number());
        let child = command.spawn()?;
        let pid = Pid::from_child(&child);
        family.set_group(pid);
        if let Some(warden) = &mut warden {
            // One that has ended is told nothing: then all is as without it.
            let _ = warden.watch(pid);
        }
        Ok(Self {
            family,
            child,
            pid,
            state: State::Running { _warden: warden },
        })
    }

    /// How it ended, if it did. What it has left running is killed.
    ///
    /// # Errors
    ///
    /// Those of waiting for a process.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        if let State::Ended { status, .. } = self.state {
            return Ok(Some(status));
        }
        // Without waiting for it: its family is to be found by its number.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        if waitid(WaitId::Pid(self.pid), options)?.is_none() {
            return Ok(None);
        }
        let left_qemu = self.family.has_qemu();
        self.end(left_qemu).map(Some)
    }

    /// Returns true if it has ended and left a QEMU running, as a script does that starts it
    /// in the background.
    #[must_use]
    pub const fn has_left_qemu(&self) -> bool {
        matches!(
            self.state,
            State::Ended {
                left_qemu: true,
                ..
            }
        )
    }

    /// Stops it and the tool, and lets both go on when the tool is continued.
    pub fn halt(&self) {
        self.family.send(Signal::STOP);
        signals::halt();
        self.family.send(Signal::CONT);
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        if matches!(self.state, State::Running { .. }) {
            // Fails only if there is nothing to wait for.
            let _ = self.end(false);
        }
    }

    fn end(&mut self, left_qemu: bool) -> io::Result<ExitStatus> {
        self.family.kill();
        let status = self.child.wait()?;
        self.family.reap();
        self.state = State::Ended { status, left_qemu };
        Ok(status)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
