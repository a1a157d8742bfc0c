//! Tries whether QEMU can make a machine here.

use std::fs::File;
use std::io::{self, Write as _};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::Qemu;
use super::log::last_line;
use crate::collect::{log_file, system};

/// The options of a machine whose processor is the host's, with its PMU.
pub const KVM_MACHINE: [&str; 4] = ["-accel", "kvm", "-cpu", "host,pmu=on"];

/// How long QEMU may take to start and to end.
const START_TIMEOUT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(5);

impl Qemu {
    /// Makes a machine with these options, which never runs, and ends it.
    ///
    /// # Errors
    ///
    /// QEMU's message if it cannot.
    pub fn try_machine(&self, options: &[&str]) -> Result<(), String> {
        let messages = log_file().map_err(|error| error.to_string())?;
        let ended = self.make_and_quit(options, &messages.file);
        match ended.map_err(|error| error.to_string())? {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(match last_line(&messages.file) {
                said if said.is_empty() => status.to_string(),
                said => said,
            }),
            None => Err(format!("not within {} s", START_TIMEOUT.as_secs())),
        }
    }

    /// How QEMU ended, if it did in time.
    fn make_and_quit(&self, options: &[&str], messages: &File) -> io::Result<Option<ExitStatus>> {
        let mut command = Command::new(&self.program);
        command
            .args(["-machine", "q35", "-m", "16", "-S"])
            .args(["-display", "none", "-nodefaults", "-monitor", "stdio"])
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(messages.try_clone()?);
        system::die_with_parent(&mut command);
        let mut process = command.spawn()?;
        if let Some(mut input) = process.stdin.take() {
            // QEMU may have ended already; its status says so.
            let _ = input.write_all(b"quit\n");
        }
        let started = Instant::now();
        while started.elapsed() < START_TIMEOUT {
            if let Some(status) = process.try_wait()? {
                return Ok(Some(status));
            }
            thread::sleep(POLL);
        }
        process.kill()?;
        process.wait()?;
        Ok(None)
    }
}
