//! The side of `pmiscope run`.
//!
//! Clients are served between two looks at the rings, and never waited for: what a client
//! has sent is kept from look to look until it is a whole line.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::mem;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use profiler::contract::mailbox::{Answer, Mailbox};
use profiler::format::Source;

use super::{Command, in_first_possible};

/// How long the kernel may take to answer. It waits for its cores itself, up to three times
/// for 2.5 billion instructions if these are counted: some ten seconds each, or more where
/// much else runs.
const KERNEL_TIMEOUT: Duration = Duration::from_secs(120);
/// How long a client may take to send its command.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(5);
/// The most clients at a time. Others wait in the socket's queue.
const MAX_CLIENTS: usize = 16;
/// The most bytes of a line: longer than any command.
const MAX_LINE_BYTES: usize = 4096;

/// Listens for `pmiscope ctl` clients until dropped.
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
    /// Clients whose command is not complete, in the order in which they came.
    clients: Vec<Client>,
    /// The client whose request the kernel has not answered.
    waiting: Option<Waiting>,
}

/// A client whose command is not complete.
struct Client {
    stream: UnixStream,
    since: Instant,
    said: Vec<u8>,
}

/// A client whose request the kernel has not answered.
struct Waiting {
    stream: UnixStream,
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
        let name = format!("{}.sock", std::process::id());
        in_first_possible(|directory| Self::at(directory.join(&name)))
    }

    fn at(path: PathBuf) -> io::Result<Self> {
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
            clients: Vec::new(),
            waiting: None,
        })
    }

    /// Executes the clients' commands and passes on the kernel's answers. `run` is `None`
    /// until the guest samples; `status` describes its state.
    pub fn serve(&mut self, run: Option<(Source, Mailbox<'_>)>, status: impl Fn() -> String) {
        self.pass_answer(run);
        self.read_clients(Instant::now());
        for client in mem::take(&mut self.clients) {
            let waits = self.answer(client, run, &status);
            self.clients.extend(waits);
        }
    }

    /// Passes on the kernel's answer, or says that there is none in time.
    fn pass_answer(&mut self, run: Option<(Source, Mailbox<'_>)>) {
        let Some(waiting) = self.waiting.take() else {
            return;
        };
        let answer = run.and_then(|(_, mailbox)| mailbox.answer(waiting.number));
        let said = match answer {
            Some(Answer::Done) => "ok".to_owned(),
            Some(Answer::Refused(reason)) => format!("no {}", reason.as_str()),
            None if waiting.since.elapsed() < KERNEL_TIMEOUT => {
                self.waiting = Some(waiting);
                return;
            }
            None => "no the kernel does not answer: its first core may have interrupts off".into(),
        };
        reply(waiting.stream, &said);
    }

    /// Reads what clients have sent by `now`, and drops those that send nothing.
    fn read_clients(&mut self, now: Instant) {
        while self.clients.len() < MAX_CLIENTS
            && let Ok((stream, _)) = self.listener.accept()
        {
            if stream.set_nonblocking(true).is_ok() {
                self.clients.push(Client {
                    stream,
                    since: now,
                    said: Vec::new(),
                });
            }
        }
        self.clients.retain_mut(|client| client.receive(now));
    }

    /// Executes a client's command if it is complete. Returns a client that has to wait.
    fn answer(
        &mut self,
        client: Client,
        run: Option<(Source, Mailbox<'_>)>,
        status: impl Fn() -> String,
    ) -> Option<Client> {
        let Some(line) = client.line() else {
            return Some(client);
        };
        let said = match (Command::parse(&line), run) {
            (None, _) => {
                "no it knows no such command: use the pmiscope that it was started by".into()
            }
            (Some(Command::Status), _) => format!("ok {}", status()),
            (Some(_), None) => "no the guest has not begun to sample yet".into(),
            (Some(Command::Request(_)), Some((source, _))) if source != Source::Pmu => {
                format!("no it samples by {source}; only runs by the source pmu can be controlled")
            }
            // The kernel takes one at a time. The client of this one may be gone by then.
            (Some(Command::Request(_)), _) if self.waiting.is_some() => {
                "no it is busy with another request: ask again".into()
            }
            (Some(Command::Request(request)), Some((_, mailbox))) => {
                match mailbox.request(&request) {
                    Ok(number) => {
                        self.waiting = Some(Waiting {
                            stream: client.stream,
                            number,
                            since: Instant::now(),
                        });
                        return None;
                    }
                    Err(_) => "no that list of events is too long: at most 240 characters".into(),
                }
            }
        };
        reply(client.stream, &said);
        None
    }
}

impl Client {
    /// Reads what the client has sent by `now`. Returns true if it is worth waiting for.
    fn receive(&mut self, now: Instant) -> bool {
        if self.line().is_some() {
            return true;
        }
        let mut bytes = [0; MAX_LINE_BYTES];
        match self.stream.read(&mut bytes) {
            Ok(0) => false,
            Ok(count) => {
                self.said.extend(&bytes[..count]);
                true
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                now.duration_since(self.since) < CLIENT_TIMEOUT
            }
            Err(_) => false,
        }
    }

    /// The command, once it is a whole line or too long for one.
    fn line(&self) -> Option<String> {
        let end = self.said.iter().position(|&byte| byte == b'\n');
        let end = end.or((self.said.len() >= MAX_LINE_BYTES).then_some(MAX_LINE_BYTES))?;
        let line = String::from_utf8_lossy(&self.said[..end]);
        Some(line.trim_end().to_owned())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // What is left is found to be dead by the next client.
        let _ = fs::remove_file(&self.path);
    }
}

/// Sends an answer to a client, which may be gone.
fn reply(mut stream: UnixStream, said: &str) {
    let _ = writeln!(stream, "{said}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use profiler::contract::mailbox::{MailboxText, Request};
    use profiler::format::region::MailboxWords;
    use rustix::fs::{OFlags, fcntl_getfl};
    use tempfile::TempDir;

    /// A server, and where it listens.
    struct Run {
        server: Server,
        words: MailboxWords,
        _folder: TempDir,
    }

    impl Run {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            Self {
                server: Server::at(folder.path().join("run.sock")).unwrap(),
                words: MailboxWords::default(),
                _folder: folder,
            }
        }

        /// A client that has said this so far.
        fn client(&self, said: &str) -> UnixStream {
            let mut client = UnixStream::connect(&self.server.path).unwrap();
            client.set_nonblocking(true).unwrap();
            client.write_all(said.as_bytes()).unwrap();
            client
        }

        /// One look, as between two looks at the rings.
        fn serve(&mut self) {
            self.serve_by(Source::Pmu);
        }

        fn serve_by(&mut self, source: Source) {
            self.server
                .serve(Some((source, Mailbox::new(&self.words))), || {
                    "stands so".into()
                });
        }

        /// What the kernel is asked for, and that it does that.
        fn asked(&self) -> Option<Request> {
            let mailbox = Mailbox::new(&self.words);
            let (number, request) = mailbox.take()?;
            mailbox.reply(number, Ok(()));
            Some(request.unwrap())
        }
    }

    /// What a client has been told; `None` if nothing yet.
    fn told(mut client: &UnixStream) -> Option<String> {
        let mut bytes = [0; 200];
        match client.read(&mut bytes) {
            Ok(count) => Some(String::from_utf8_lossy(&bytes[..count]).into_owned()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) => panic!("{error}"),
        }
    }

    const STATUS: &str = "ok stands so\n";

    #[test]
    fn clients_that_say_nothing_delay_nobody() {
        let mut run = Run::new();
        let silent = run.client("");
        let slow = run.client("sta");
        let other = run.client("status\n");
        run.serve();
        assert_eq!(told(&other).as_deref(), Some(STATUS), "in the same look");
        assert_eq!((told(&silent), told(&slow)), (None, None));
        for client in &run.server.clients {
            let flags = fcntl_getfl(&client.stream).unwrap();
            assert!(flags.contains(OFlags::NONBLOCK), "a look would wait for it");
        }
        // What was said before is not forgotten.
        (&slow).write_all(b"tus\n").unwrap();
        (&silent).write_all(b"stop\n").unwrap();
        run.serve();
        assert_eq!(told(&slow).as_deref(), Some(STATUS));
        assert_eq!(run.asked(), Some(Request::Stop));
        run.serve();
        assert_eq!(told(&silent).as_deref(), Some("ok\n"));
    }

    #[test]
    fn there_is_an_end_of_waiting_for_those_that_say_nothing() {
        let mut run = Run::new();
        let silent = [(); MAX_CLIENTS].map(|()| run.client("st"));
        let other = run.client("status\n");
        let now = Instant::now();
        run.server.read_clients(now);
        let heard = run.server.clients.len();
        assert_eq!(heard, MAX_CLIENTS, "clients that are heard");
        // They have said something then. From there on they have not.
        run.server
            .read_clients(now + CLIENT_TIMEOUT - Duration::from_millis(1));
        assert_eq!(told(&silent[0]), None);
        run.server.read_clients(now + CLIENT_TIMEOUT);
        for client in &silent {
            assert_eq!(told(client).as_deref(), Some(""), "the end");
        }
        run.serve();
        assert_eq!(told(&other).as_deref(), Some(STATUS));
    }

    #[test]
    fn a_client_that_has_gone_leaves_its_place() {
        let mut run = Run::new();
        for said in ["", "stat", "status\n", "stop\n"] {
            drop(run.client(said));
        }
        run.serve();
        run.serve();
        assert_eq!(run.server.clients.len(), 0, "clients that are heard");
        // Its command was whole.
        assert_eq!(run.asked(), Some(Request::Stop));
    }

    #[test]
    fn requests_are_taken_one_by_one_and_a_look_at_the_run_at_once() {
        let mut run = Run::new();
        let [stop, period, status] =
            ["stop\n", "period 700\n", "status\n"].map(|it| run.client(it));
        run.serve();
        assert_eq!(told(&stop), None);
        assert_eq!(
            told(&period).as_deref(),
            Some("no it is busy with another request: ask again\n")
        );
        assert_eq!(told(&status).as_deref(), Some(STATUS));
        let status = run.client("status\n");
        run.serve();
        assert_eq!(
            told(&status).as_deref(),
            Some(STATUS),
            "while the kernel is asked"
        );
        let mailbox = Mailbox::new(&run.words);
        let (number, request) = mailbox.take().unwrap();
        assert_eq!(request, Ok(Request::Stop));
        let why = MailboxText::new("not now");
        mailbox.reply(number, Err(&why));
        run.serve();
        assert_eq!(told(&stop).as_deref(), Some("no not now\n"));
        let period = run.client("period 700\n");
        run.serve();
        assert_eq!(run.asked(), Some(Request::Period(700)));
        run.serve();
        assert_eq!(told(&period).as_deref(), Some("ok\n"));
        assert_eq!(run.asked(), None);
    }

    #[test]
    fn a_kernel_that_does_not_answer_is_given_up() {
        let mut run = Run::new();
        let stop = run.client("stop\n");
        run.serve();
        let waiting = run.server.waiting.as_mut().unwrap();
        waiting.since -= KERNEL_TIMEOUT;
        run.serve();
        assert_eq!(
            told(&stop).as_deref(),
            Some("no the kernel does not answer: its first core may have interrupts off\n")
        );
        // It takes the newest request only.
        let start = run.client("start\n");
        run.serve();
        assert_eq!(run.asked(), Some(Request::Start));
        run.serve();
        assert_eq!(told(&start).as_deref(), Some("ok\n"));
    }

    #[test]
    fn what_is_no_command_is_refused() {
        let mut run = Run::new();
        let long = "x".repeat(MAX_LINE_BYTES);
        for line in ["go\n", "\n", "period 0\n", "status now\n", &long] {
            let client = run.client(line);
            run.serve();
            assert_eq!(
                told(&client).as_deref(),
                Some("no it knows no such command: use the pmiscope that it was started by\n"),
                "{:.20}",
                line.trim_end()
            );
        }
        assert_eq!(run.asked(), None);
    }

    #[test]
    fn a_run_that_cannot_do_it_says_why() {
        let mut run = Run::new();
        let client = run.client("stop\n");
        run.server.serve(None, || unreachable!("not asked for"));
        let said = told(&client).unwrap();
        assert_eq!(said, "no the guest has not begun to sample yet\n");
        let client = run.client("stop\n");
        run.serve_by(Source::Hpet);
        assert_eq!(
            told(&client).unwrap(),
            "no it samples by hpet; only runs by the source pmu can be controlled\n"
        );
        assert_eq!(run.asked(), None);
    }
}
