//! QEMU's own monitor (QMP), which is asked where the processors of a guest are that hangs. Nothing
//! is said to it before.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::Shutdown;
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::io::FdFlags;
use serde_json::Value;

/// How long an answer may take: the processors have to stop for it.
const PATIENCE: Duration = Duration::from_secs(3);

/// The longest answer: some kilobytes for each processor.
const LONGEST: usize = 16 << 20;

/// What is asked. Processors that stop are between two instructions; those that run are not.
const QUESTION: &str = concat!(
    r#"{"execute":"qmp_capabilities"}"#,
    r#"{"execute":"stop"}"#,
    r#"{"execute":"human-monitor-command","arguments":{"command-line":"info registers -a"},"id":"registers"}"#,
    "\n"
);

/// A connection to the monitor of a QEMU that is started with [`Control::arguments`].
pub(super) struct Control {
    own: UnixStream,
    /// What QEMU inherits.
    theirs: UnixStream,
}

impl Control {
    /// Makes one; a run works without.
    pub(super) fn new() -> Option<Self> {
        let (own, theirs) = UnixStream::pair().ok()?;
        rustix::io::fcntl_setfd(&theirs, FdFlags::empty()).ok()?;
        Some(Self { own, theirs })
    }

    /// What tells QEMU of it.
    pub(super) fn arguments(&self) -> [String; 4] {
        let socket = format!("socket,id=pmiscope-control,fd={}", self.theirs.as_raw_fd());
        let monitor = "chardev=pmiscope-control,mode=control".to_owned();
        ["-chardev".into(), socket, "-mon".into(), monitor]
    }

    /// Stops the guest, and returns what QEMU says of the registers of all processors; empty if it
    /// says nothing.
    pub(super) fn registers(&mut self) -> String {
        let said = self.answer().unwrap_or_default();
        // Nobody asks again.
        let _ = self.own.shutdown(Shutdown::Both);
        said
    }

    fn answer(&mut self) -> Option<String> {
        let deadline = Instant::now() + PATIENCE;
        self.own.set_write_timeout(Some(PATIENCE)).ok()?;
        self.own.write_all(QUESTION.as_bytes()).ok()?;
        let mut said = Vec::new();
        while said.len() < LONGEST {
            let left = deadline.checked_duration_since(Instant::now())?;
            self.own
                .set_read_timeout(Some(left.max(Duration::from_millis(1))))
                .ok()?;
            let mut bytes = [0; 1 << 16];
            match self.own.read(&mut bytes) {
                Ok(0) => return None,
                Ok(count) => said.extend(&bytes[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return None,
            }
            while let Some(end) = said.iter().position(|&byte| byte == b'\n') {
                let line: Vec<_> = said.drain(..=end).collect();
                if let Some(text) = registers_in(&line) {
                    return Some(text);
                }
            }
        }
        None
    }
}

/// The registers, if the line is the answer that has them.
fn registers_in(line: &[u8]) -> Option<String> {
    let answer: Value = serde_json::from_slice(line).ok()?;
    let is_it = answer["id"] == "registers";
    is_it.then(|| answer["return"].as_str().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// What is read of one that answers so.
    fn answered(says: &'static str) -> String {
        let mut control = Control::new().unwrap();
        let mut theirs = control.theirs.try_clone().unwrap();
        let qemu = thread::spawn(move || {
            let mut asked = [0; 1024];
            let count = theirs.read(&mut asked).unwrap();
            assert!(asked[..count].ends_with(b"\n"));
            theirs.write_all(says.as_bytes()).unwrap();
            theirs.shutdown(Shutdown::Both).unwrap();
        });
        let said = control.registers();
        qemu.join().unwrap();
        said
    }

    #[test]
    fn registers_are_the_answer_to_the_last_question() {
        let greeting =
            "{\"QMP\": {\"capabilities\": []}}\r\n{\"return\": {}}\r\n{\"event\": \"STOP\"}\r\n";
        let registers = "{\"return\": \"CPU#0\\r\\nRAX=1\", \"id\": \"registers\"}\r\n";
        let both: &'static str = Box::leak((greeting.to_owned() + registers).into_boxed_str());
        assert_eq!(answered(both), "CPU#0\r\nRAX=1");
        for other in [
            greeting,
            "",
            "{",
            "no JSON\n",
            "{\"id\": \"registers\", \"error\": {}}\n",
        ] {
            assert_eq!(answered(other), "", "{other}");
        }
    }

    #[test]
    fn a_monitor_that_is_silent_is_not_waited_for_for_ever() {
        let mut control = Control::new().unwrap();
        let before = Instant::now();
        assert_eq!(control.registers(), "");
        assert!(before.elapsed() < 2 * PATIENCE);
    }
}
