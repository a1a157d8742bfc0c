//! The side of `pmiscope ctl`.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::{Command, search};

/// How long a run may take to answer, which says itself if its kernel does not.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(150);

/// Sends `command` to the run of process `pid`, or to the only run. Returns its answer.
///
/// # Errors
///
/// There is no such run, there are several, or it refuses.
pub fn send(pid: Option<u32>, command: &Command) -> Result<String> {
    let (pid, mut stream) = connect(pid)?;
    let answer = ask(&mut stream, command);
    let answer = answer.with_context(|| format!("the run of process {pid} does not answer"))?;
    let (word, rest) = answer.split_once(' ').unwrap_or((&answer, ""));
    match word {
        "ok" => Ok(rest.to_owned()),
        "no" => bail!("{rest}"),
        _ => bail!("the run of process {pid} has ended"),
    }
}

/// The process of a run: of the number `pid`, or the only one.
///
/// # Errors
///
/// There is no such run, or there are several.
pub fn run_of(pid: Option<u32>) -> Result<u32> {
    // It asks for nothing.
    connect(pid).map(|(pid, _)| pid)
}

fn ask(stream: &mut UnixStream, command: &Command) -> io::Result<String> {
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    writeln!(stream, "{command}")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.trim_end().to_owned())
}

fn connect(pid: Option<u32>) -> Result<(u32, UnixStream)> {
    let mut runs = all(pid)?;
    match (runs.len(), pid) {
        (1, _) => Ok(runs.remove(0)),
        (0, Some(pid)) => bail!("process {pid} is no run of this user's that goes on"),
        (0, None) => bail!("no run goes on; start one by pmiscope run, in another terminal"),
        _ => {
            let pids = listed(runs.iter().map(|(number, _)| *number));
            bail!("several runs go on: say --pid {pids}")
        }
    }
}

/// The processes of all runs that go on, or of that of process `pid`.
///
/// # Errors
///
/// They cannot be looked for.
pub(super) fn runs(pid: Option<u32>) -> Result<Vec<u32>> {
    Ok(all(pid)?.into_iter().map(|(number, _)| number).collect())
}

/// Processes, as `--pid` has them.
pub(super) fn listed(pids: impl Iterator<Item = u32>) -> String {
    let mut pids: Vec<_> = pids.collect();
    pids.sort_unstable();
    let pids: Vec<_> = pids.iter().map(u32::to_string).collect();
    pids.join(" or --pid ")
}

fn all(pid: Option<u32>) -> Result<Vec<(u32, UnixStream)>> {
    search(|path| {
        let number = path
            .file_stem()
            .and_then(|stem| stem.to_str()?.parse().ok());
        let Some(number) = number.filter(|&number| pid.is_none_or(|pid| pid == number)) else {
            return Ok(None);
        };
        match UnixStream::connect(path) {
            Ok(stream) => return Ok(Some((number, stream))),
            // Its process was killed.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                let _ = fs::remove_file(path);
            }
            Err(_) => {}
        }
        Ok(None)
    })
}
