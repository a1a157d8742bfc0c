//! A serial port of this machine.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::termios::{ControlModes, OptionalActions, Termios, isatty, tcgetattr, tcsetattr};

/// A port, set up for what a kernel sends; as it was when this is dropped.
pub struct Line {
    file: File,
    before: Termios,
}

impl Line {
    /// Opens the port of this name: bits per second as they are said, 8 data bits, no parity, no
    /// flow control, bytes as they are. `None` if it is no port but a file.
    ///
    /// # Errors
    ///
    /// Those of opening it and of setting it up, and that another program has it.
    pub fn open(path: &Path, speed: u32) -> io::Result<Option<Self>> {
        // Whoever writes to a pipe would be told that nobody reads it when this is closed.
        if !fs::metadata(path)?.file_type().is_char_device() {
            return Ok(None);
        }
        // A port without a carrier would never be open, and a terminal becomes nobody's.
        let flags = OFlags::NOCTTY | OFlags::NONBLOCK;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(i32::try_from(flags.bits()).unwrap_or(0))
            .open(path)?;
        if !isatty(&file) {
            return Ok(None);
        }
        // Each of two would have a part of what comes. Terminal programs lock theirs so as well.
        if matches!(file.try_lock(), Err(TryLockError::WouldBlock)) {
            return Err(io::Error::other("another program has the port"));
        }
        let before = tcgetattr(&file)?;
        let mut raw = before.clone();
        raw.make_raw();
        raw.control_modes |= ControlModes::CLOCAL | ControlModes::CREAD;
        raw.control_modes -= ControlModes::CRTSCTS | ControlModes::CSTOPB;
        raw.set_speed(speed)?;
        tcsetattr(&file, OptionalActions::Now, &raw)?;
        Ok(Some(Self { file, before }))
    }

    /// What has come, waiting at most so long for something. Nothing if nothing has.
    ///
    /// # Errors
    ///
    /// Those of reading. The other side may have gone.
    pub fn receive(&mut self, wait: Duration) -> io::Result<Vec<u8>> {
        if !self.wait(PollFlags::IN, wait)? {
            return Ok(Vec::new());
        }
        let mut bytes = vec![0; 4096];
        match self.file.read(&mut bytes) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(len) => {
                bytes.truncate(len);
                Ok(bytes)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Sends bytes.
    ///
    /// # Errors
    ///
    /// Those of writing, and that the port takes nothing for a second.
    pub fn send(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            if !self.wait(PollFlags::OUT, Duration::from_secs(1))? {
                return Err(io::ErrorKind::TimedOut.into());
            }
            match self.file.write(bytes) {
                Ok(len) => bytes = &bytes[len..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Waits until it can be read or written. Returns true if it can.
    fn wait(&self, what: PollFlags, at_most: Duration) -> io::Result<bool> {
        wait_for(&self.file, what, at_most)
    }
}

/// Waits until a file can be read or written. Returns true if it can.
///
/// # Errors
///
/// Those of `poll`.
pub fn wait_for(file: &File, what: PollFlags, at_most: Duration) -> io::Result<bool> {
    let mut fds = [PollFd::new(file, what)];
    let at_most = Timespec::try_from(at_most).map_err(io::Error::other)?;
    match poll(&mut fds, Some(&at_most)) {
        Ok(ready) => Ok(ready > 0),
        // A signal: whoever has asked sees to it.
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        // The last answer is to leave at the speed that the kernel hears.
        let _ = tcsetattr(&self.file, OptionalActions::Drain, &self.before);
    }
}
