//! QEMU as a process, whatever is called so, and the tool as one that is stopped, killed and
//! not listened to.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use assert_cmd::Command;
use pmiscope::internals::Profile;
use rustix::process::{Pid, Signal, kill_process};

use crate::command::{
    VERSION, executable, has_samples, hearing_hangups, part_of, pmiscope, qemu, refused, stderr,
    text, wait_until,
};
use crate::fixture::{file, folder, kernel};

/// A shell that waits for what it has started: a process in the group, one outside of it, and
/// one in a group of its own that has closed all files but the mark.
const FAMILY: &str = r#"echo $$ >"$0.pids"
sleep 600 & echo $! >>"$0.pids"
setsid sleep 600 & echo $! >>"$0.pids"
setsid sleep 600 <&- >&- 2>&- & echo $! >>"$0.pids"
boot; echo >>"$0.pids"; wait"#;

/// A run that goes on, and the processes that its QEMU has started.
struct Run {
    tool: Child,
    output: PathBuf,
    family: Vec<u32>,
}

/// The words of a run on this QEMU.
fn words(qemu: &Path, output: &Path) -> Vec<String> {
    let kernel = text(&kernel().path);
    let words = ["run", "--kernel", kernel, "--loader", kernel];
    let files = ["--qemu", text(qemu), "-o", text(output)];
    words
        .iter()
        .chain(&files)
        .map(ToString::to_string)
        .collect()
}

impl Run {
    fn start(name: &str, does: &str, more: &[&str]) -> Self {
        Self::start_by(hearing_hangups(), name, does, more)
    }

    /// As above, by a command that has the tool's words behind its own.
    fn start_by(mut command: Process, name: &str, does: &str, more: &[&str]) -> Self {
        let qemu = qemu(&format!("{name}.sh"), VERSION, does);
        let output = folder().join(format!("{name}.pmi"));
        let pids = qemu.with_extension("sh.pids");
        let _ = fs::remove_file(&pids);
        let said = |name: &str| File::create(output.with_extension(name)).unwrap();
        command
            .args(words(&qemu, &output))
            .args(more)
            .stdout(said("out"))
            .stderr(said("err"));
        let mut run = Self {
            tool: command.spawn().unwrap(),
            output: output.clone(),
            family: Vec::new(),
        };
        let has_samples = || part_of(&output).is_some_and(|part| has_samples(&part));
        wait_until(|| {
            has_samples() && fs::read_to_string(&pids).is_ok_and(|pids| pids.ends_with("\n\n"))
        });
        let pids = fs::read_to_string(&pids).unwrap();
        let family = pids.lines().filter(|line| !line.is_empty());
        run.family = family.map(|pid| pid.parse().unwrap()).collect();
        run
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.tool), signal).unwrap();
    }

    fn end(&mut self) -> ExitStatus {
        self.tool.wait().unwrap()
    }

    fn said(&self) -> String {
        fs::read_to_string(self.output.with_extension("err")).unwrap()
    }

    fn report(&self) -> String {
        fs::read_to_string(self.output.with_extension("out")).unwrap()
    }
}

impl Drop for Run {
    /// A test that fails leaves no tool behind.
    fn drop(&mut self) {
        let _ = self.tool.kill();
        let _ = self.tool.wait();
    }
}

/// The state of a process, as proc(5) has it; `None` if it is gone, or only waited for.
fn state(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let state = stat.rsplit_once(") ")?.1.chars().next()?;
    (state != 'Z' && state != 'X').then_some(state)
}

#[test]
fn nothing_that_qemu_has_started_outlives_the_tool_however_that_ends() {
    for (name, signal, ends, says) in [
        ("family-int", Signal::INT, Ok(130), "by the user"),
        ("family-term", Signal::TERM, Ok(130), "by SIGTERM"),
        ("family-hup", Signal::HUP, Ok(130), "by SIGHUP"),
        ("family-quit", Signal::QUIT, Ok(130), "by SIGQUIT"),
        ("family-kill", Signal::KILL, Err(9), ""),
        ("family-abort", Signal::ABORT, Err(6), ""),
    ] {
        let mut run = Run::start(name, FAMILY, &[]);
        assert_eq!(run.family.len(), 4, "{name}");
        run.signal(signal);
        let status = run.end();
        let found = status.code().ok_or_else(|| status.signal().unwrap());
        assert_eq!(found, ends, "{name}: {}", run.said());
        if ends.is_ok() {
            let line = format!("interrupted {says}\n");
            assert!(
                run.said().contains(&format!("pmiscope: {line}")),
                "{}",
                run.said()
            );
            assert!(run.report().contains(&line), "{}", run.report());
        }
        // A tool that ends by itself leaves none behind; after one that is killed, they go.
        if ends.is_err() {
            let family = run.family.clone();
            wait_until(|| family.iter().all(|&pid| state(pid).is_none()));
        }
        for &pid in &run.family {
            let is_gone = if ends.is_ok() {
                // Nor is one left for init to wait for.
                !Path::new(&format!("/proc/{pid}")).exists()
            } else {
                state(pid).is_none()
            };
            assert!(is_gone, "{name}: process {pid} of {:?}", run.family);
        }
        // A tool that is killed leaves what it has of it.
        let written = part_of(&run.output).unwrap_or_else(|| run.output.clone());
        let profile = Profile::read(fs::read(written).unwrap()).unwrap();
        assert_eq!(profile.records(), 6, "{name}");
        assert_eq!(profile.incomplete().is_none(), ends.is_ok(), "{name}");
        assert_eq!(run.report().contains("6, 2 lost"), ends.is_ok(), "{name}");
    }
}

/// `timeout` signals its child, and then the group that the child is in.
#[test]
fn one_wish_to_end_that_comes_twice_is_one() {
    let mut run = Run::start("twice", FAMILY, &[]);
    for signal in [Signal::TERM, Signal::TERM, Signal::INT, Signal::HUP] {
        run.signal(signal);
    }
    assert_eq!(run.end().code(), Some(130));
    assert!(run.report().contains("6, 2 lost"), "{}", run.said());
    let profile = Profile::read(fs::read(&run.output).unwrap()).unwrap();
    assert_eq!(profile.incomplete(), None);
}

#[test]
fn a_run_that_is_to_outlive_its_terminal_does() {
    let mut nohup = Process::new("/bin/sh");
    nohup.args([
        "-c",
        r#"trap '' HUP; exec "$0" "$@""#,
        env!("CARGO_BIN_EXE_pmiscope"),
    ]);
    let mut run = Run::start_by(nohup, "nohup", FAMILY, &[]);
    run.signal(Signal::HUP);
    // The first is seen no earlier than the second, the third only by a run that goes on.
    for _ in 0..2 {
        run.signal(Signal::TSTP);
        wait_until(|| state(run.tool.id()) == Some('T'));
        run.signal(Signal::CONT);
        wait_until(|| state(run.tool.id()) != Some('T'));
    }
    run.signal(Signal::INT);
    assert_eq!(run.end().code(), Some(130));
}

#[test]
fn a_guest_is_halted_with_the_tool_and_not_blamed_for_that_time() {
    // It is silent for longer than that only while it is stopped.
    let does = format!(r#"(while :; do echo up >>"$serial"; sleep 0.1; done) & {FAMILY}"#);
    let mut run = Run::start("halt", &does, &["--timeout", "2"]);
    run.signal(Signal::TSTP);
    wait_until(|| state(run.tool.id()) == Some('T'));
    // One that executes stops at its next step into the kernel.
    wait_until(|| run.family.iter().all(|&pid| state(pid) == Some('T')));
    thread::sleep(Duration::from_millis(2500));
    run.signal(Signal::CONT);
    wait_until(|| run.family.iter().all(|&pid| state(pid) == Some('S')));
    run.signal(Signal::INT);
    assert_eq!(run.end().code(), Some(130), "{}", run.said());
}

#[test]
fn a_qemu_that_its_script_leaves_behind_is_named_and_ended() {
    for (name, is_qemu) in [
        ("qemu-system-xyz", true),
        ("qemu-kvm", true),
        ("qemu-nbd", false),
    ] {
        let sleeper = executable(Path::new("/bin/sleep"), name);
        let does = format!(
            r#"setsid {} 600 & echo $! >"$0.pid"; wait_for() {{ until [ "$(cat /proc/$!/comm)" = {name} ]; do :; done; }}; wait_for; exit 0"#,
            text(&sleeper)
        );
        let program = qemu(&format!("leaves-{name}.sh"), VERSION, &does);
        let words = words(&program, &folder().join("leaves.pmi"));
        let assert = pmiscope(&words.iter().map(String::as_str).collect::<Vec<_>>()).code(4);
        let said = stderr(&assert);
        let left = "QEMU failed: its program ended and left a QEMU running";
        assert_eq!(said.contains(left), is_qemu, "{name}: {said}");
        let pid = fs::read_to_string(program.with_extension("sh.pid")).unwrap();
        assert_eq!(state(pid.trim().parse().unwrap()), None, "{name}");
    }
}

/// What `run`, `list` and `doctor` say on a QEMU that does this, and with which status.
fn said_by_each(name: &str, does: &str) -> [(&'static str, i32, String); 3] {
    let program = qemu(&format!("{name}.sh"), VERSION, does);
    let kernel = text(&kernel().path);
    ["run", "list", "doctor"].map(|command| {
        let words = [
            command,
            "--kernel",
            kernel,
            "--loader",
            kernel,
            "--qemu",
            text(&program),
        ];
        let assert = pmiscope(&words);
        let output = assert.get_output();
        let said = [&output.stdout[..], &output.stderr[..]].concat();
        let said = String::from_utf8(said).unwrap();
        // Of findings, lines are broken.
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        (command, output.status.code().unwrap(), said)
    })
}

#[test]
fn all_that_qemu_says_at_its_end_is_shown() {
    for (name, does, says) in [
        (
            "two-lines",
            r"echo 'qemu: unsupported machine type' >&2; echo 'Use -machine help' >&2; exit 1",
            "exit status 1; qemu: unsupported machine type; Use -machine help",
        ),
        (
            "assertion",
            r"printf '**\nERROR:a.c:1:f: assertion failed: (\033[31mx)\nBail out! ERROR' >&2; kill -ABRT $$",
            "killed by signal 6 (it found an error in itself); ERROR:a.c:1:f: assertion failed: (x); Bail out! ERROR",
        ),
        (
            "out-of-memory",
            "kill -KILL $$",
            "killed by signal 9 (somebody killed it, or the system was out of memory: dmesg says so)",
        ),
        (
            "bus-error",
            "kill -BUS $$",
            "killed by signal 7 (a bus error; /",
        ),
        (
            "bus-error-in-script",
            "exit 135",
            "exit status 135, killed by signal 7 (a bus error; /",
        ),
    ] {
        for (command, status, said) in said_by_each(name, does) {
            let expected = if command == "doctor" { 1 } else { 4 };
            assert_eq!(status, expected, "{command}, {name}: {said}");
            assert!(said.contains(says), "{command}, {name}: {said}");
        }
    }
}

/// What a script says by its own status is not taken for what a guest has written.
#[test]
fn the_status_of_a_qemu_whose_guest_never_ran_is_its_own() {
    for (name, does, says) in [
        (
            "exec-nope",
            r#"exec qemu-nope "$@""#,
            &["exit status 127; ", "qemu-nope: not found"][..],
        ),
        (
            "call-nope",
            r#"qemu-nope "$@"; exit $?"#,
            &["exit status 127; ", "qemu-nope: not found"],
        ),
        (
            "nope-unsaid",
            r#"qemu-nope "$@" 2>/dev/null; exit $?"#,
            &["exit status 127 (the shell's, of a program that is not found)"],
        ),
        (
            "status-3",
            r"printf '\033[31mred\nqemu: bad\n' >&2; exit 3",
            &["exit status 3; red; qemu: bad"],
        ),
        (
            "wordless",
            "exit 1",
            &["exit status 1 before any guest ran, and not a word why"],
        ),
        (
            "as-if-done",
            "echo 'qemu: cannot set up guest memory: no room' >&2; exit 33",
            &["exit status 33; qemu: cannot set up guest memory: no room"],
        ),
        (
            "at-once",
            "exit 0",
            &["exit status 0 before any guest ran, and not a word why"],
        ),
    ] {
        for (command, status, said) in said_by_each(name, does) {
            let expected = if command == "doctor" { 1 } else { 4 };
            assert_eq!(status, expected, "{command}, {name}: {said}");
            for part in ["QEMU failed: "].iter().chain(says) {
                assert!(said.contains(part), "{command}, {name}: {said}");
            }
            assert!(!said.contains("to port 0xf4"), "{command}, {name}: {said}");
        }
    }
}

#[test]
fn what_qemu_has_said_is_shown_whatever_ended_its_guest() {
    for (name, does, status, says) in [
        (
            "said-logs",
            r#"echo hello >"$serial"; echo 'qemu: a word' >&2; exit 85"#,
            4,
            "it wrote 0x2a to port 0xf4",
        ),
        (
            "said-resets",
            "firmware; echo 'qemu: a word' >&2; exit 0",
            4,
            "the guest reset or switched off",
        ),
        (
            "said-done",
            "firmware; echo 'qemu: a word' >&2; exit 33",
            1,
            "the guest ended without having sampled",
        ),
        (
            "said-hangs",
            "echo 'qemu: a word' >&2; exec sleep 600",
            6,
            "the kernel has not sampled and was ended",
        ),
        (
            "said-hangs-midway",
            "boot; echo 'qemu: a word' >&2; exec sleep 600",
            6,
            "the guest hung and was ended",
        ),
        (
            "said-floods",
            r"echo 'qemu: a word' >&2; while :; do printf '\033[31mqemu: %s\n' $((n += 1)) >&2; done",
            6,
            "the kernel has not sampled and was ended",
        ),
    ] {
        let program = qemu(&format!("{name}.sh"), VERSION, does);
        let output = folder().join(format!("{name}.pmi"));
        let mut words = words(&program, &output);
        words.extend(["--timeout", "1"].map(String::from));
        let words = words.iter().map(String::as_str).collect::<Vec<_>>();
        let said = stderr(&pmiscope(&words).code(status));
        assert!(said.contains(says), "{name}: {said}");
        let line = "pmiscope: QEMU said: qemu: a word";
        let lines = said.lines().filter(|said| said.starts_with(line));
        assert_eq!(lines.count(), 1, "{name}: {said}");
        assert!(!said.contains('\x1b'), "{name}: {said}");
    }
    // A list is refused in one line.
    let hangs = "echo 'qemu: a word' >&2; exec sleep 600";
    let program = qemu("said-list.sh", VERSION, hangs);
    let kernel = text(&kernel().path);
    let list = [
        "list",
        "--kernel",
        kernel,
        "--loader",
        kernel,
        "--timeout",
        "1",
    ];
    let list = pmiscope(&[&list[..], &["--qemu", text(&program)]].concat());
    refused(list, 6, &["no list: ", "; QEMU said: qemu: a word"]);
}

/// It explains a kernel that never comes to sample, and nothing of one that does.
#[test]
fn what_the_loader_did_not_answer_is_said_of_a_kernel_that_has_not_sampled() {
    let list = r#"echo 'loader: not answered: x2APIC' >"$serial""#;
    for (name, does, status, is_said) in [
        ("unanswered", "exec sleep 600", 6, true),
        ("unanswered-reset", "firmware; exit 0", 4, true),
        ("unanswered-hang", "boot; exec sleep 600", 6, false),
        ("unanswered-kill", "boot; kill -KILL $$", 4, false),
    ] {
        let program = qemu(&format!("{name}.sh"), VERSION, &format!("{list}; {does}"));
        let output = folder().join(format!("{name}.pmi"));
        let mut words = words(&program, &output);
        words.extend(["--timeout", "1"].map(String::from));
        let words = words.iter().map(String::as_str).collect::<Vec<_>>();
        let said = stderr(&pmiscope(&words).code(status));
        let line = "the kernel asked for what the loader did not answer: x2APIC\n";
        assert_eq!(said.contains(line), is_said, "{name}: {said}");
    }
}

#[test]
fn what_is_no_qemu_is_said_to_be_what_it_is() {
    let install =
        |name: &str, content: &[u8]| executable(&file(&format!("{name}.source"), content), name);
    let mut foreign = fs::read("/bin/true").unwrap();
    foreign[18] = 0xb7; // EM_AARCH64
    let missing = install("missing", b"#!/no/such/interpreter\n");
    let other = install("foreign", &foreign);
    let endless = install("endless", b"#!/bin/sh\nyes\n");
    let broken = install("broken", b"#!/bin/sh\necho 'no libfoo.so' >&2; exit 127\n");
    let plain = file("plain", b"#!/bin/sh\n");
    for (program, says) in [
        (text(folder()), "cannot be started (it is a folder)"),
        (
            text(&plain),
            "cannot be started (it may not be executed; chmod +x",
        ),
        (
            text(&missing),
            "(it is a script by `#!/no/such/interpreter`, which is not there)",
        ),
        (
            text(&other),
            "(it is a program for another kind of machine)",
        ),
        (text(&endless), "--version does not come to an end"),
        (
            text(&broken),
            "does not answer as QEMU does (exit status: 127: no libfoo.so)",
        ),
        (
            "/bin/true",
            "does not answer as QEMU does (exit status: 0: true (GNU",
        ),
    ] {
        let kernel = text(&kernel().path);
        let run = pmiscope(&[
            "run", "--kernel", kernel, "--loader", kernel, "--qemu", program,
        ]);
        refused(run, 1, &[program, says, "apt-get install"]);
    }
}

/// A run of a guest that has samples, with these variables.
fn run_with(name: &str, variables: &[(&str, &Path)], program: &str) -> (i32, String) {
    let output = folder().join(format!("{name}.pmi"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_pmiscope"));
    command
        .args(words(Path::new(program), &output))
        .envs(variables.iter().copied())
        .timeout(Duration::from_secs(60));
    let assert = command.assert();
    (assert.get_output().status.code().unwrap(), stderr(&assert))
}

#[test]
fn what_in_path_is_no_program_is_passed_over() {
    let good = qemu("in-path.sh", VERSION, "boot; exit 33");
    let good = executable(&good, "path/good/qemu-system-x86_64");
    let path = folder().join("path");
    fs::create_dir_all(path.join("folder/qemu-system-x86_64")).unwrap();
    fs::create_dir_all(path.join("plain")).unwrap();
    fs::write(path.join("plain/qemu-system-x86_64"), "text").unwrap();
    let unusable = format!("{0}/none:{0}/folder:{0}/plain", path.display());
    let system = std::env::var("PATH").unwrap();
    let good = format!("{unusable}:{}:{system}", good.parent().unwrap().display());
    for program in ["stock", "qemu-system-x86_64"] {
        let (status, said) = run_with("path", &[("PATH", Path::new(&good))], program);
        assert_eq!(status, 0, "{program}: {said}");
        let (status, said) = run_with("path", &[("PATH", Path::new(&unusable))], program);
        assert_eq!(status, 1, "{program}: {said}");
        assert!(
            said.contains("no qemu-system-x86_64 in PATH can be executed (/"),
            "{said}"
        );
        assert!(said.contains("/folder/qemu-system-x86_64, /"), "{said}");
    }
}

#[test]
fn a_place_for_files_that_is_none_is_passed_over() {
    let program = qemu("places.sh", VERSION, "boot; exit 33");
    let odd = folder().join("a b,,c:d=e\nf");
    fs::create_dir_all(&odd).unwrap();
    let script = file("places", b"");
    for folder in ["/no/folder", "", text(&script), text(&odd)].map(Path::new) {
        let places = [
            ("TMPDIR", folder),
            ("XDG_RUNTIME_DIR", folder),
            ("HOME", folder),
        ];
        let (status, said) = run_with("places", &places, text(&program));
        assert_eq!(status, 0, "{}: {said}", folder.display());
        // The profile and the picture.
        assert_eq!(said.lines().count(), 2, "{}: {said}", folder.display());
    }
}

#[test]
fn limits_of_the_shell_are_errors_with_a_message() {
    let program = qemu("limits.sh", VERSION, "boot; exit 33");
    let output = folder().join("limits.pmi");
    for (limit, says) in [
        ("-f 100", "no file may be so large (`ulimit -f`)"),
        ("-n 8", "raise `ulimit -n`"),
    ] {
        let script = format!(r#"ulimit {limit}; exec "$0" "$@""#);
        let assert = Command::new("/bin/sh")
            .args(["-c", &script, env!("CARGO_BIN_EXE_pmiscope")])
            .args(words(&program, &output))
            .timeout(Duration::from_secs(60))
            .assert();
        refused(assert, 1, &[says]);
    }
}

/// The status of a run whose outputs are what the shell makes of this, and what it has said.
fn redirected(name: &str, redirection: &str) -> (ExitStatus, String) {
    let program = qemu(&format!("{name}.sh"), VERSION, "boot; exit 33");
    let output = folder().join(format!("{name}.pmi"));
    let script = format!(r#""$0" "$@" {redirection}"#);
    let output = Process::new("/bin/sh")
        .args(["-c", &script, env!("CARGO_BIN_EXE_pmiscope")])
        .args(words(&program, &output))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    (output.status, String::from_utf8(output.stderr).unwrap())
}

#[test]
fn messages_that_nobody_reads_end_nothing_and_a_report_that_nobody_can_read_is_an_error() {
    for (name, redirection, status, says) in [
        (
            "to-full",
            ">/dev/full",
            1,
            "pmiscope: cannot write the report: No space left",
        ),
        ("err-full", "2>/dev/full", 0, ""),
        ("err-closed", "2>&-", 0, ""),
        ("in-closed", "<&-", 0, ""),
        ("err-gone", "2>&1 >/dev/null | :", 0, ""),
    ] {
        let started = Instant::now();
        let (found, said) = redirected(name, redirection);
        assert_eq!(found.code(), Some(status), "{name}: {said}");
        assert!(said.contains(says), "{name}: {said}");
        assert!(started.elapsed() < Duration::from_secs(30), "{name}");
        // What could be saved is there, and is whole.
        let output = folder().join(format!("{name}.pmi"));
        let profile = Profile::read(fs::read(&output).unwrap()).unwrap();
        assert_eq!(profile.incomplete(), None, "{name}");
        assert!(output.with_extension("svg").exists(), "{name}");
    }
}

#[test]
fn a_warden_that_somebody_calls_by_hand_ends_nobody() {
    let held = file("held", b"");
    let open = || File::open(&held).unwrap();
    let mut stranger = Process::new("sleep")
        .arg("600")
        .stdin(open())
        .spawn()
        .unwrap();
    for input in [Stdio::null(), Stdio::piped()] {
        let mut warden = Process::new(env!("CARGO_BIN_EXE_pmiscope"));
        warden.args(["warden", "0"]).stdin(input).stdout(open());
        let warden = warden.stderr(Stdio::piped()).spawn().unwrap();
        let output = warden.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    // The first signal that ends a process is the one that it has ended by.
    kill_process(Pid::from_child(&stranger), Signal::TERM).unwrap();
    let ended = stranger.wait().unwrap();
    assert_eq!(ended.signal(), Some(Signal::TERM.as_raw()), "{ended}");
}

#[test]
fn a_tool_whose_parent_ignores_ends_of_children_sees_them() {
    let program = qemu("no-chld.sh", VERSION, "boot; exit 33");
    let output = folder().join("no-chld.pmi");
    let tool = Process::new("env")
        .args(["--ignore-signal=CHLD", env!("CARGO_BIN_EXE_pmiscope")])
        .args(words(&program, &output))
        .output()
        .unwrap();
    let said = String::from_utf8(tool.stderr).unwrap();
    assert_eq!(tool.status.code(), Some(0), "{said}");
}

/// It is about to write its report, to a pipe that is full.
#[test]
fn a_tool_whose_guest_has_ended_is_halted_as_any_other() {
    let program = qemu("halt-late.sh", VERSION, "boot; exit 33");
    let output = folder().join("halt-late.pmi");
    let (mut report, mut full) = std::io::pipe().unwrap();
    full.write_all(&[b'.'; 64 << 10]).unwrap();
    let mut tool = Process::new(env!("CARGO_BIN_EXE_pmiscope"));
    tool.args(words(&program, &output)).stdout(full);
    let mut child = tool.spawn().unwrap();
    drop(tool);
    wait_until(|| output.exists());
    kill_process(Pid::from_child(&child), Signal::TSTP).unwrap();
    wait_until(|| state(child.id()) == Some('T'));
    kill_process(Pid::from_child(&child), Signal::CONT).unwrap();
    let mut text = String::new();
    report.read_to_string(&mut text).unwrap();
    assert!(text.contains("6, 2 lost"), "{text}");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// The tool has to have a file open for each that it waits for.
#[test]
fn a_family_of_more_processes_than_the_tool_may_open_files_is_ended() {
    let does = r#"for i in $(seq 100); do setsid sleep 600 & echo $! >>"$0.pids"; done
boot; echo >>"$0.pids"; wait"#;
    let mut limited = Process::new("/bin/sh");
    let script = r#"ulimit -n 60; exec "$0" "$@""#;
    limited.args(["-c", script, env!("CARGO_BIN_EXE_pmiscope")]);
    let mut run = Run::start_by(limited, "many", does, &[]);
    assert_eq!(run.family.len(), 100);
    run.signal(Signal::INT);
    assert_eq!(run.end().code(), Some(130), "{}", run.said());
    let left: Vec<_> = run
        .family
        .iter()
        .filter(|&&pid| state(pid).is_some())
        .collect();
    assert_eq!(left, [&0; 0]);
}
