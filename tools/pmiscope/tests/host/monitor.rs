//! `pmiscope monitor` and `run --monitor`, with a script as QEMU, and with this test as the guest that has
//! its serial port on a socket.

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use pmiscope::internals::Profile;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::command::{VERSION, hearing_hangups, pmiscope, qemu, refused, text, wait_until};
use crate::fixture::{folder, kernel};

/// Says where its socket and its log are to be, samples, and goes on until it is told to end.
const GUEST: &str = r#"for word; do
    case $word in
    socket,id=serial*) socket=${word##*path=}; socket=${socket%%,logfile=*}; log=${word##*logfile=} ;;
    esac
done
echo "$*" >"$0.words"; boot; echo "[INFO core0] from the file" >"$log"
echo "$socket" >"$0.tmp"; mv "$0.tmp" "$0.socket"
while [ ! -e "$0.end" ]; do sleep 0.05; done"#;

/// A run of such a guest, whose sockets are in a folder of its own.
struct Run {
    tool: Child,
    script: PathBuf,
    output: PathBuf,
    sockets: Arc<TempDir>,
}

/// A folder for sockets, whose names are short.
fn sockets() -> Arc<TempDir> {
    Arc::new(tempfile::tempdir_in("/tmp").unwrap())
}

/// The command, with its sockets in this folder.
fn tool(sockets: &TempDir) -> Command {
    let mut command = hearing_hangups();
    command
        .env("XDG_RUNTIME_DIR", sockets.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

impl Run {
    fn start(name: &str, more: &[&str]) -> Self {
        Self::start_in(sockets(), name, more)
    }

    fn start_in(sockets: Arc<TempDir>, name: &str, more: &[&str]) -> Self {
        let script = qemu(&format!("{name}.sh"), VERSION, GUEST);
        for left in ["end", "socket"] {
            let _ = fs::remove_file(script.with_extension(format!("sh.{left}")));
        }
        let output = folder().join(format!("{name}.pmi"));
        let kernel = text(&kernel().path);
        let tool = tool(&sockets)
            .args(["run", "--kernel", kernel, "--loader", kernel])
            .args(["--qemu", text(&script), "-o", text(&output)])
            .args(more)
            .spawn()
            .unwrap();
        Self {
            tool,
            script,
            output,
            sockets,
        }
    }

    fn of_script(&self, ending: &str) -> PathBuf {
        self.script.with_extension(format!("sh.{ending}"))
    }

    /// Where QEMU is to make the socket.
    fn socket(&self) -> PathBuf {
        wait_until(|| self.of_script("socket").exists());
        let path = fs::read_to_string(self.of_script("socket")).unwrap();
        PathBuf::from(path.trim_end())
    }

    /// Its input has ended, so others may connect.
    fn let_go(&mut self) {
        drop(self.tool.stdin.take());
    }

    /// Lets the guest end.
    fn end(mut self) -> Output {
        self.let_go();
        fs::write(self.of_script("end"), "").unwrap();
        let tool = std::mem::replace(&mut self.tool, Command::new("true").spawn().unwrap());
        tool.wait_with_output().unwrap()
    }
}

impl Drop for Run {
    /// A test that fails leaves no tool behind.
    fn drop(&mut self) {
        let _ = fs::write(self.of_script("end"), "");
        let _ = self.tool.kill();
        let _ = self.tool.wait();
    }
}

/// The guest's side of a client that comes in time.
fn accept(listener: &UnixListener) -> UnixStream {
    listener.set_nonblocking(true).unwrap();
    let started = Instant::now();
    loop {
        if let Ok((stream, _)) = listener.accept() {
            stream.set_nonblocking(false).unwrap();
            stream
                .set_read_timeout(Some(Duration::from_secs(30)))
                .unwrap();
            return stream;
        }
        assert!(started.elapsed() < Duration::from_secs(30), "nobody comes");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Reads so many bytes from the other side.
fn read(stream: &mut UnixStream, count: usize) -> String {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

fn said(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// `pmiscope monitor`, which has typed nothing yet.
fn monitor(sockets: &TempDir, more: &[&str]) -> (Child, ChildStdin) {
    let mut child = tool(sockets).arg("monitor").args(more).spawn().unwrap();
    let stdin = child.stdin.take().unwrap();
    (child, stdin)
}

#[test]
fn what_is_typed_goes_to_the_guest_and_what_it_writes_is_shown() {
    let mut run = Run::start("monitor-own", &["--monitor"]);
    let socket = run.socket();
    let words = fs::read_to_string(run.of_script("words")).unwrap();
    assert!(words.trim_end().ends_with(" monitor=on"), "{words}");
    let listener = UnixListener::bind(&socket).unwrap();
    let mut guest = accept(&listener);
    guest.write_all(b"\r\npmiscope> ").unwrap();
    let typed = "prof top\r\x1d\x03";
    let stdin = run.tool.stdin.as_mut().unwrap();
    stdin.write_all(typed.as_bytes()).unwrap();
    assert_eq!(read(&mut guest, typed.len()), typed, "^] is no terminal's");
    guest.write_all(b"0 samples\x1b[K\r\n").unwrap();
    wait_until(|| {
        let part = crate::command::part_of(&run.output);
        part.is_some_and(|part| crate::command::has_samples(&part))
    });
    drop(guest);
    let output = run.end();
    let shown = said(&output.stdout);
    assert!(
        shown.starts_with("\r\npmiscope> 0 samples\x1b[K\r\nkernel "),
        "{shown}"
    );
    // Nothing of the run's own came between.
    let errors = said(&output.stderr);
    assert!(!errors.contains(" a second, "), "{errors}");
    assert!(errors.starts_with("pmiscope: the guest reset"), "{errors}");
    assert!(errors.contains("[INFO core0] from the file"), "{errors}");
}

/// A kernel that boots drops what comes.
#[test]
fn what_is_typed_before_the_first_prompt_waits_for_it() {
    let mut run = Run::start("monitor-ahead", &["--monitor=start"]);
    let listener = UnixListener::bind(run.socket()).unwrap();
    let mut guest = accept(&listener);
    let typed = "cores\rresume\r";
    let stdin = run.tool.stdin.as_mut().unwrap();
    stdin.write_all(typed.as_bytes()).unwrap();
    run.let_go();
    let timeout = |milliseconds| Some(Duration::from_millis(milliseconds));
    guest.set_read_timeout(timeout(300)).unwrap();
    // A signal may end the read.
    let early = loop {
        match guest.read(&mut [0]).map_err(|error| error.kind()) {
            Err(ErrorKind::Interrupted) => {}
            early => break early,
        }
    };
    assert_eq!(early, Err(ErrorKind::WouldBlock));
    guest.set_read_timeout(timeout(30_000)).unwrap();
    guest
        .write_all(b"monitor: core 0, before the run\r\npmiscope> ")
        .unwrap();
    assert_eq!(read(&mut guest, typed.len()), typed);
    drop(guest);
    run.end();
}

#[test]
fn a_script_drives_a_run_that_has_let_go() {
    let mut run = Run::start("monitor-script", &["--monitor"]);
    let listener = UnixListener::bind(run.socket()).unwrap();
    run.let_go();
    // The run's own console, which a script without a word has.
    let first = accept(&listener);
    let sockets = run.sockets.clone();
    let (early, _stdin) = monitor(&sockets, &[]);
    let output = early.wait_with_output().unwrap();
    let pid = run.tool.id();
    assert_eq!(
        (output.status.code(), said(&output.stderr)),
        (
            Some(1),
            format!("pmiscope: somebody is connected to the monitor of process {pid} already\n")
        )
    );
    // Until it has been silent for a while.
    let mut gone = first;
    assert_eq!(gone.read(&mut [0]).unwrap(), 0);
    let (client, mut stdin) = monitor(&sockets, &["--pid", &pid.to_string()]);
    let mut guest = accept(&listener);
    stdin.write_all(b"prof\n").unwrap();
    assert_eq!(read(&mut guest, 5), "prof\n");
    guest.write_all(b"source hpet\r\n").unwrap();
    let started = Instant::now();
    drop(stdin);
    let output = client.wait_with_output().unwrap();
    assert_eq!(said(&output.stdout), "source hpet\r\n");
    assert_eq!(
        (output.status.code(), said(&output.stderr)),
        (Some(0), String::new())
    );
    let waited = started.elapsed();
    assert!(
        (1..20).contains(&waited.as_secs()),
        "it has waited for {waited:?}"
    );
    // A guest that ends.
    let (client, _stdin) = monitor(&sockets, &[]);
    drop(accept(&listener));
    let output = client.wait_with_output().unwrap();
    let line = format!("pmiscope: the guest of process {pid} has ended\n");
    assert_eq!(
        (output.status.code(), said(&output.stderr)),
        (Some(0), line)
    );
    // A signal.
    let (client, _stdin) = monitor(&sockets, &[]);
    let _guest = accept(&listener);
    kill_process(Pid::from_child(&client), Signal::TERM).unwrap();
    let output = client.wait_with_output().unwrap();
    assert_eq!(
        (output.status.code(), said(&output.stderr)),
        (Some(130), String::new())
    );
    let profile = run.output.clone();
    let socket = run.socket();
    run.end();
    assert!(Profile::read(fs::read(profile).unwrap()).unwrap().records() > 0);
    assert!(!socket.exists() && !socket.with_extension("lock").exists());
}

#[test]
fn a_terminal_is_raw_and_is_as_it_was_on_every_way_out() {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use rustix::termios::{LocalModes, tcgetattr};
    let mut run = Run::start("monitor-terminal", &["--monitor"]);
    let listener = UnixListener::bind(run.socket()).unwrap();
    run.let_go();
    drop(accept(&listener));
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let open = || {
        let mut options = fs::OpenOptions::new();
        options.read(true).write(true);
        options.open(name.to_str().unwrap()).unwrap()
    };
    let terminal = open();
    let mut keys = fs::File::from(master);
    let is_raw = || {
        !tcgetattr(&terminal)
            .unwrap()
            .local_modes
            .contains(LocalModes::ICANON)
    };
    assert!(!is_raw());
    for way in ["escape", "closed", "SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"] {
        let mut client = tool(&run.sockets)
            .arg("monitor")
            .stdin(Stdio::from(open()))
            .spawn()
            .unwrap();
        let mut guest = accept(&listener);
        wait_until(is_raw);
        keys.write_all(b"a\x03\r").unwrap();
        assert_eq!(
            read(&mut guest, 3),
            "a\x03\r",
            "{way}: each key is the guest's"
        );
        let signal = |signal| kill_process(Pid::from_child(&client), signal).unwrap();
        match way {
            "escape" => {
                keys.write_all(b"resume\r\x1d").unwrap();
                assert_eq!(read(&mut guest, 7), "resume\r", "what was typed before it");
            }
            "closed" => drop(guest),
            "SIGINT" => signal(Signal::INT),
            "SIGTERM" => signal(Signal::TERM),
            "SIGHUP" => signal(Signal::HUP),
            _ => signal(Signal::QUIT),
        }
        let status = client.wait().unwrap().code();
        let expected = if way.starts_with("SIG") { 130 } else { 0 };
        assert_eq!(status, Some(expected), "{way}");
        assert!(!is_raw(), "{way}");
    }
    run.end();
}

#[test]
fn what_cannot_be_connected_is_said_in_a_line() {
    let sockets = sockets();
    let refuses = |sockets: &TempDir, more: &[&str], says: &str| {
        let (client, _stdin) = monitor(sockets, more);
        let output = client.wait_with_output().unwrap();
        let line = format!("pmiscope: {says}\n");
        assert_eq!(
            (output.status.code(), said(&output.stderr)),
            (Some(1), line)
        );
    };
    let other = "process 1 is no run of this user's that goes on: name one that pmiscope run --monitor has started";
    refuses(&sockets, &["--pid", "1"], other);

    let plain = Run::start_in(sockets.clone(), "monitor-plain", &["--timeout", "100"]);
    let pid = plain.tool.id();
    wait_until(|| sockets.path().join(format!("pmiscope/{pid}.sock")).exists());
    let no_monitor =
        format!("the run of process {pid} has no monitor: start it by pmiscope run --monitor");
    refuses(&sockets, &["--pid", &pid.to_string()], &no_monitor);

    let runs = ["monitor-two-a", "monitor-two-b"]
        .map(|name| Run::start_in(sockets.clone(), name, &["--monitor"]));
    let listeners: Vec<_> = runs
        .iter()
        .map(|run| UnixListener::bind(run.socket()).unwrap())
        .collect();
    let mut runs = runs;
    for (run, listener) in runs.iter_mut().zip(&listeners) {
        run.let_go();
        let mut guest = accept(listener);
        assert_eq!(guest.read_to_end(&mut Vec::new()).unwrap(), 0);
    }
    let mut pids = [runs[0].tool.id(), runs[1].tool.id()];
    pids.sort_unstable();
    let [first, second] = pids;
    let several = format!("several runs have a monitor: say --pid {first} or --pid {second}");
    refuses(&sockets, &[], &several);
}

#[test]
fn a_socket_of_a_run_that_was_killed_is_none() {
    let sockets = sockets();
    let directory = sockets.path().join("pmiscope");
    // The tool makes the directory as its own.
    Run::start_in(sockets.clone(), "monitor-dead", &["--monitor"]).end();
    let socket = directory.join("serial-4711.sock");
    drop(UnixListener::bind(&socket).unwrap());
    let (client, _stdin) = monitor(&sockets, &[]);
    let output = client.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    // Other runs of this user may go on.
    let errors = said(&output.stderr);
    assert!(errors.contains("pmiscope run --monitor"), "{errors}");
    assert!(!socket.exists());
}

#[test]
fn json_is_not_mixed_with_what_a_guest_writes() {
    refused(
        crate::command::run(&["--monitor", "--format", "json"]),
        2,
        &["leave out --format", "pmiscope report --format json"],
    );
    refused(pmiscope(&["monitor", "--pid", "x"]), 2, &["--pid"]);
}
