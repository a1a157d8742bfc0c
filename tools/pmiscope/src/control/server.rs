//! The side of `pmiscope run`.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use profiler::format::Source;
use profiler::shared::control::Control;

use super::{Command, directory};

/// How long the kernel may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a client may take to say what it wants.
const CLIENT_PATIENCE: Duration = Duration::from_millis(200);

/// A run's ear. It is heard as long as this lives.
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
    waiting: Option<Waiting>,
}

/// A client whose request the kernel has not answered.
struct Waiting {
    client: UnixStream,
    number: u32,
    since: Instant,
}

impl Server {
    /// Listens for this process.
    ///
    /// # Errors
    ///
    /// There is no place for the socket.
    pub fn new() -> io::Result<Self> {
        let path = directory()?.join(format!("{}.sock", std::process::id()));
        // An earlier process of the number may have been killed.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        listener.set_nonblocking(true)?;
        Ok(Self {
            listener,
            path,
            waiting: None,
        })
    }

    /// Takes what clients want and hands on what the kernel answers. `run` is there as
    /// soon as the guest samples; `status` says how it stands.
    pub fn serve(&mut self, run: Option<(Source, &Control)>, status: impl Fn() -> String) {
        if let Some(waiting) = &self.waiting {
            let answer = run.and_then(|(_, control)| control.answer(waiting.number));
            let said = match answer {
                Some(Ok(())) => "ok".to_owned(),
                Some(Err(reason)) => format!("no {}", reason.as_str()),
                None if waiting.since.elapsed() < PATIENCE => return,
                None => {
                    "no the kernel does not answer: its first core may have interrupts off".into()
                }
            };
            if let Some(waiting) = self.waiting.take() {
                reply(waiting.client, &said);
            }
        }
        // Without a client: nothing to do. With a broken one: it sees that itself.
        let Ok((client, _)) = self.listener.accept() else {
            return;
        };
        let Ok(line) = read_line(&client) else {
            return;
        };
        let request = match (Command::parse(&line), run) {
            (None, _) => return reply(client, "no no such command"),
            (Some(Command::Status), _) => return reply(client, &format!("ok {}", status())),
            (Some(_), None) => return reply(client, "no the guest has not begun to sample yet"),
            (Some(Command::Request(request)), Some((source, control))) => {
                if source != Source::Pmu {
                    let said = format!(
                        "no it samples by {source}; only runs by the source pmu can be controlled"
                    );
                    return reply(client, &said);
                }
                control.request(&request)
            }
        };
        match request {
            Ok(number) => {
                let since = Instant::now();
                self.waiting = Some(Waiting {
                    client,
                    number,
                    since,
                });
            }
            Err(_) => reply(
                client,
                "no that list of events is too long: at most 240 characters",
            ),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // What is left is found to be dead by the next client.
        let _ = fs::remove_file(&self.path);
    }
}

fn read_line(client: &UnixStream) -> io::Result<String> {
    client.set_nonblocking(false)?;
    client.set_read_timeout(Some(CLIENT_PATIENCE))?;
    client.set_write_timeout(Some(CLIENT_PATIENCE))?;
    let mut line = String::new();
    BufReader::new(client).read_line(&mut line)?;
    Ok(line.trim_end().to_owned())
}

/// Says it to a client, which may be gone.
fn reply(mut client: UnixStream, said: &str) {
    let _ = writeln!(client, "{said}");
}
