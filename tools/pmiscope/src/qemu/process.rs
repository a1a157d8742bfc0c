//! QEMU as a process that never outlives the tool.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus, Stdio};

use super::ending::Exited;
use super::log::last_line;
use super::{Qemu, status};
use crate::collect::system;

/// A running QEMU. It is killed when this is dropped, and when the tool dies
/// without dropping it.
pub struct Process(Child);

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

    /// How QEMU ended, if it did. `messages` is what it has printed.
    ///
    /// # Errors
    ///
    /// Those of waiting for a process.
    pub(super) fn ended(&mut self, messages: &File) -> io::Result<Option<Exited>> {
        let ended = self.0.try_wait()?;
        Ok(ended.map(|ended| exited(ended, &last_line(messages))))
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

/// What QEMU says of a kernel that does not fit.
const TOO_LARGE: &str = "initrd is too large";

/// What QEMU's status says. `printed` is the last line of its own messages.
fn exited(ended: ExitStatus, printed: &str) -> Exited {
    let how = match (ended.code(), ended.signal()) {
        // -no-reboot: the guest reset the machine, as a triple fault does.
        (Some(0), _) => return Exited::Reset,
        (Some(code), _) => match status::value(code) {
            // It is QEMU's own status for an error, too.
            Some(0) if !printed.is_empty() => format!("exit status {code}"),
            Some(value) => return Exited::Value(value),
            None => format!("exit status {code}"),
        },
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => ended.to_string(),
    };
    Exited::Failed(match printed {
        "" => how,
        line if line.contains(TOO_LARGE) => format!(
            "{how}; {line}: the kernel's file does not fit the machine's memory, raise --memory or strip the file"
        ),
        line => format!("{how}; {line}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guests_statuses_are_told_from_qemus_own() {
        let said = |code: i32, line: &str| exited(ExitStatus::from_raw(code << 8), line);
        let failed = |how: &str| Exited::Failed(how.into());
        for (code, printed, expected) in [
            (33, "", Exited::Value(0x10)),
            (65, "a warning", Exited::Value(0x20)),
            (255, "", Exited::Value(0x7f)),
            (1, "", Exited::Value(0)),
            (
                1,
                "no such machine",
                failed("exit status 1; no such machine"),
            ),
            (2, "", failed("exit status 2")),
            (0, "", Exited::Reset),
        ] {
            assert_eq!(said(code, printed), expected, "{code} {printed}");
        }
        let killed = exited(ExitStatus::from_raw(9), "");
        assert_eq!(killed, failed("killed by signal 9"));
    }
}
