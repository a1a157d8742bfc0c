//! QEMU as a process that never outlives the tool.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus, Stdio};

use super::{Qemu, status};
use crate::collect::system;
use crate::profile::Outcome;

/// A running QEMU. It is killed when this is dropped, and when the tool dies
/// without dropping it.
pub struct Process(Child);

/// How QEMU ended by itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WhenEnded {
    /// The outcome of the run.
    pub outcome: Outcome,
    /// The status, in words.
    pub status: String,
}

impl Process {
    /// Starts QEMU. What it prints goes to `messages`.
    ///
    /// # Errors
    ///
    /// Those of starting a program.
    pub fn start(qemu: &Qemu, arguments: &[OsString], messages: &File) -> io::Result<Self> {
        let mut command = Command::new(&qemu.program);
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(messages.try_clone()?)
            .stderr(messages.try_clone()?)
            // A group of its own: the terminal's ^C is for the tool, which drains
            // the rings before it ends the guest.
            .process_group(0);
        system::die_with_parent(&mut command);
        Ok(Self(command.spawn()?))
    }

    /// How QEMU ended, if it did.
    ///
    /// # Errors
    ///
    /// Those of waiting for a process.
    pub fn ended(&mut self) -> io::Result<Option<WhenEnded>> {
        Ok(self.0.try_wait()?.map(meaning))
    }

    /// Ends QEMU at once.
    pub fn kill(&mut self) {
        // Fails only if it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn meaning(ended: ExitStatus) -> WhenEnded {
    let outcome = match ended.code() {
        Some(status::SUCCESS) => Outcome::Finished,
        Some(status::BAD_COMMAND_LINE) => Outcome::BadCommandLine,
        Some(status::PANIC) => Outcome::Panic,
        Some(status::EXCEPTION) => Outcome::Exception,
        Some(status::SAMPLING_UNAVAILABLE) => Outcome::SamplingUnavailable,
        Some(status::LOADER_FAILED) => Outcome::LoaderFailed,
        _ => Outcome::QemuFailed,
    };
    let status = match (ended.code(), ended.signal()) {
        // -no-reboot: the guest reset the machine, as a triple fault does.
        (Some(0), _) => "the guest reset or switched off the machine".into(),
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => ended.to_string(),
    };
    WhenEnded { outcome, status }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guests_statuses_are_told_from_qemus_own() {
        let outcome = |code: i32| meaning(ExitStatus::from_raw(code << 8)).outcome;
        assert_eq!(outcome(33), Outcome::Finished);
        assert_eq!(outcome(35), Outcome::BadCommandLine);
        assert_eq!(outcome(37), Outcome::Panic);
        assert_eq!(outcome(39), Outcome::Exception);
        assert_eq!(outcome(41), Outcome::SamplingUnavailable);
        assert_eq!(outcome(65), Outcome::LoaderFailed);
        assert_eq!(outcome(1), Outcome::QemuFailed);
        let reset = meaning(ExitStatus::from_raw(0));
        assert_eq!(reset.outcome, Outcome::QemuFailed);
        assert!(reset.status.contains("reset"));
        let killed = meaning(ExitStatus::from_raw(9));
        assert_eq!(killed.status, "killed by signal 9");
    }
}
