//! Asks a QEMU what it is, and what it can do here. Whatever it is, it does not keep the
//! tool waiting.

use std::io::{self, PipeReader, Read as _, Write as _, pipe};
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{OFlags, fcntl_setfl};

use super::messages::joined;
use super::{Process, Qemu};

/// The options of a machine whose processor is the host's, with its PMU.
pub const KVM_MACHINE: [&str; 4] = ["-accel", "kvm", "-cpu", "host,pmu=on"];

/// How long QEMU may take to start and to end.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(2);
/// Bytes that are read of what it prints.
const MOST: usize = 64 << 10;

/// What a program has answered.
pub(super) struct Answer {
    /// How it ended; `None` if it did not in time, or printed without end.
    pub(super) status: Option<ExitStatus>,
    pub(super) printed: Vec<u8>,
}

impl Answer {
    /// What it printed, in a line.
    pub(super) fn said(&self) -> String {
        joined(&self.printed)
    }
}

/// Starts a program with these words and this input, and reads what it prints, on either
/// output. It is not waited for longer than `limit`.
pub(super) fn ask(
    program: &Path,
    words: &[&str],
    input: &[u8],
    limit: Duration,
) -> io::Result<Answer> {
    let (mut output, theirs) = pipe()?;
    fcntl_setfl(&output, OFlags::NONBLOCK)?;
    let (stdin, mut ours) = pipe()?;
    let mut command = Command::new(program);
    command
        .args(words)
        .stdin(stdin)
        .stdout(theirs.try_clone()?)
        .stderr(theirs);
    let mut process = Process::start(command)?;
    // It may have ended already; its status says so. A pipe has room for that.
    let _ = ours.write_all(input);
    drop(ours);
    let mut printed = Vec::new();
    let started = Instant::now();
    let status = loop {
        // First: what it has printed until its end is then in the pipe.
        let status = process.ended()?;
        read(&mut output, &mut printed)?;
        let is_over = printed.len() >= MOST || started.elapsed() >= limit;
        if status.is_some() || is_over {
            break status;
        }
        thread::sleep(POLL);
    };
    Ok(Answer { status, printed })
}

/// Reads what there is.
fn read(output: &mut PipeReader, printed: &mut Vec<u8>) -> io::Result<()> {
    let mut part = [0; 4096];
    while printed.len() < MOST {
        match output.read(&mut part) {
            Ok(0) => break,
            Ok(count) => printed.extend(&part[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

impl Qemu {
    /// Makes a machine with these options, which never runs, and ends it.
    ///
    /// # Errors
    ///
    /// QEMU's message if it cannot.
    pub fn try_machine(&self, options: &[&str]) -> Result<(), String> {
        let machine = ["-machine", "q35", "-m", "16", "-S"];
        let quiet = ["-display", "none", "-nodefaults", "-monitor", "stdio"];
        let words = [&machine, &quiet, options].concat();
        let answer = ask(&self.program, &words, b"quit\n", TIMEOUT);
        let answer = answer.map_err(|error| error.to_string())?;
        match answer.status {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(match answer.said() {
                said if said.is_empty() => status.to_string(),
                said => said,
            }),
            None => Err(format!("not within {} s", TIMEOUT.as_secs())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_end_is_ended_with_all_that_it_has_started() {
        let started = Instant::now();
        let limit = Duration::from_millis(300);
        // Three that hang: in the group, outside of it, and one that holds the pipe no more.
        let script =
            "sleep 600 & echo $!; setsid sleep 600 & echo $!; echo $$; exec sleep 600 >&- 2>&-";
        let answer = ask(Path::new("/bin/sh"), &["-c", script], b"", limit).unwrap();
        assert!(started.elapsed() < Duration::from_secs(30));
        assert_eq!(answer.status, None);
        let printed = String::from_utf8(answer.printed).unwrap();
        let pids: Vec<_> = printed.lines().collect();
        assert_eq!(pids.len(), 3, "{printed}");
        for pid in pids {
            let state = std::fs::read_to_string(format!("/proc/{pid}/stat"));
            // Who has adopted it may not have waited for it yet.
            let is_gone = state.map_or(true, |state| state.contains(") Z "));
            assert!(is_gone, "{pid} of {printed}");
        }
    }

    #[test]
    fn what_prints_without_end_is_not_listened_to_for_ever() {
        let ask = |script| ask(Path::new("/bin/sh"), &["-c", script], b"in", TIMEOUT).unwrap();
        let endless = ask("yes");
        assert_eq!((endless.status, endless.printed.len()), (None, MOST));
        // What is said on either output, to the end.
        let said = ask("cat; echo out; echo err >&2; exit 3");
        assert_eq!(said.said(), "inout; err");
        assert_eq!(said.status.and_then(|status| status.code()), Some(3));
    }
}
