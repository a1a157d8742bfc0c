//! A process that outlives the tool by a moment, however that ends, and ends QEMU's family.
//!
//! What Linux kills with its parent is the process that was started, not what that has
//! started in turn. So the tool starts itself once more, as a warden: it waits for the end
//! of a pipe that only the tool can write to, and that ends with the tool.

use std::fs;
use std::io::{self, PipeWriter, Read as _, Write as _, pipe};
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use rustix::fs::{FileType, fcntl_get_seals, fstat};
use rustix::process::Pid;

use super::family::{Family, Mark};
use crate::signals;

/// The subcommand that makes a process of this program a warden.
pub const COMMAND: &str = "warden";

/// Set if this process's program knows [`COMMAND`]. That of a test or a bench does not.
static IS_POSSIBLE: OnceLock<()> = OnceLock::new();

/// Says that this process's program is the tool.
pub fn allow() {
    IS_POSSIBLE.get_or_init(|| ());
}

/// A warden, as the tool that has it sees it.
pub struct Warden {
    child: Child,
    tool: PipeWriter,
}

impl Warden {
    /// Starts a warden of the family with this mark; `None` if the program is not the tool.
    ///
    /// # Errors
    ///
    /// Those of starting a process.
    pub fn start(mark: &Mark) -> io::Result<Option<Self>> {
        if IS_POSSIBLE.get().is_none() {
            return Ok(None);
        }
        let (end, tool) = pipe()?;
        let child = Command::new("/proc/self/exe")
            .arg0("pmi-warden")
            .args([COMMAND, &mark.number().to_string()])
            .current_dir("/")
            .stdin(end)
            .stdout(mark.file().try_clone_to_owned()?)
            .stderr(Stdio::null())
            // What is sent to the tool's group, such as ^C, is not for it.
            .process_group(0)
            .spawn()?;
        Ok(Some(Self { child, tool }))
    }

    /// Says which group it is.
    ///
    /// # Errors
    ///
    /// Those of writing to it.
    pub fn watch(&mut self, group: Pid) -> io::Result<()> {
        writeln!(self.tool, "{}", group.as_raw_nonzero())
    }
}

impl Drop for Warden {
    /// There is nothing left to watch.
    fn drop(&mut self) {
        // Fails only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns true if this process was started as a warden: its standard output is a mark, its
/// standard input a pipe. Whoever calls it by hand has neither, and would end strangers.
pub fn is_one() -> bool {
    let is_pipe = |it| FileType::from_raw_mode(it) == FileType::Fifo;
    // Only files in memory have seals.
    let has_seals = fcntl_get_seals(io::stdout()).is_ok();
    let is_mark = fs::read_link("/proc/self/fd/1")
        .is_ok_and(|it| it.as_os_str().as_bytes().starts_with(Mark::LINK.as_bytes()));
    has_seals && is_mark && fstat(io::stdin()).is_ok_and(|it| is_pipe(it.st_mode))
}

/// What a warden does: it waits for the tool's end, and ends the family whose mark is this
/// process's standard output, and has this number there.
///
/// # Errors
///
/// Those of looking at the mark.
pub fn watch(number: RawFd) -> io::Result<()> {
    signals::ignore_ends();
    // Not the tool's, by which it may be killed.
    let _ = rustix::thread::set_name(c"pmi-warden");
    let mut said = String::new();
    // What cannot be read has ended.
    let _ = io::stdin().read_to_string(&mut said);
    let group = said.trim().parse().ok().and_then(Pid::from_raw);
    Family::new(group, number, io::stdout())?.kill();
    Ok(())
}
