//! A machine as a person has it: what the kernel does there that the tool does not ask for. QEMU
//! is started by hand, and spoken to by QMP.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::tcgetattr;
use serde_json::{Value, json};

use crate::fixture::{Slot, built};
use crate::folder::folder;

/// Booting takes seconds; a machine that is busy with other tests, longer.
const LIMIT: Duration = Duration::from_secs(120);

/// A guest that nobody collects from. It ends with this.
pub struct Real {
    qemu: Child,
    input: ChildStdin,
    /// What QEMU says by QMP: answers and events.
    said: Receiver<Value>,
    events: Vec<Value>,
    /// What the first serial port has got.
    pub log: PathBuf,
    _slot: Slot,
}

impl Real {
    /// Boots the kernel with this command line, on two cores, with more of QEMU's words.
    pub fn boot(command_line: &str, more: &[&str]) -> Self {
        let mut qemu = Self::qemu(Path::new("qemu-system-x86_64"));
        qemu.args("-machine q35 -smp 2 -m 96 -cpu max,-x2apic".split(' '))
            .args("-accel tcg,thread=single -icount shift=0,sleep=off".split(' '))
            .arg("-kernel")
            .arg(built("loader"))
            .arg("-initrd")
            .arg(built("kernel"))
            .args(["-append", command_line])
            .args(more);
        Self::start(qemu)
    }

    /// This QEMU, with the words that all such machines have.
    pub fn qemu(program: &Path) -> Command {
        let mut qemu = Command::new(program);
        qemu.args("-display none -nodefaults -no-reboot -qmp stdio".split(' '))
            .args("-device isa-debug-exit,iobase=0xf4,iosize=1".split(' '))
            .arg("-serial")
            .arg(format!("file:{}", Self::log().display()));
        qemu
    }

    fn log() -> PathBuf {
        folder().join("log")
    }

    /// Starts what [`Self::qemu`] has made.
    pub fn start(mut qemu: Command) -> Self {
        let slot = Slot::take();
        let log = Self::log();
        let _ = fs::remove_file(&log);
        let mut qemu = qemu
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("QEMU starts");
        let output = BufReader::new(qemu.stdout.take().unwrap());
        let (send, said) = channel();
        thread::spawn(move || {
            let lines = output.lines().map_while(Result::ok);
            let values = lines.filter_map(|line| serde_json::from_str(&line).ok());
            values.for_each(|value| drop(send.send(value)));
        });
        let mut guest = Self {
            input: qemu.stdin.take().unwrap(),
            qemu,
            said,
            events: Vec::new(),
            log,
            _slot: slot,
        };
        guest.ask("qmp_capabilities", json!({}));
        guest
    }

    /// Lets QEMU do something.
    pub fn ask(&mut self, command: &str, arguments: Value) {
        let asked = json!({ "execute": command, "arguments": arguments });
        writeln!(self.input, "{asked}").unwrap();
        loop {
            let said = self.said.recv_timeout(LIMIT).expect("an answer by QMP");
            if said.get("return").is_some() {
                return;
            }
            assert_eq!(said.get("error"), None, "{command}");
            self.events.push(said);
        }
    }

    /// Waits until a file has a line with this, and returns what it has.
    #[track_caller]
    pub fn wait_for(&mut self, file: &Path, part: &str) -> String {
        let mut end_of_wait = Instant::now() + LIMIT;
        let mut has_failed = false;
        loop {
            let text = fs::read(file).unwrap_or_default();
            let text = String::from_utf8_lossy(&text).into_owned();
            let end = text.find(part).map(|at| at + part.len());
            if end.is_some_and(|end| text[end..].contains('\n')) {
                return text;
            }
            // What ends a run may be many lines, and nothing comes behind it.
            if text.contains("[ERROR ") && !has_failed {
                has_failed = true;
                end_of_wait = Instant::now() + Duration::from_secs(10);
            }
            let is_over = Instant::now() > end_of_wait;
            assert!(!is_over, "no `{part}` in: {text}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until QEMU has ended: its status, and why the machine was shut down.
    #[track_caller]
    pub fn ended(mut self) -> (Option<i32>, Option<String>) {
        let status = self.qemu.wait().unwrap().code();
        while let Ok(said) = self.said.recv_timeout(LIMIT) {
            self.events.push(said);
        }
        let mut shut_down = self
            .events
            .iter()
            .filter(|said| said["event"] == "SHUTDOWN");
        let reason = shut_down.next().map(|said| &said["data"]["reason"]);
        (status, reason.and_then(Value::as_str).map(str::to_owned))
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

/// The lines of the kernel in a log, without the loader's.
pub fn of_kernel(log: &str) -> String {
    let lines = log.lines().filter(|line| !line.starts_with("loader: "));
    lines.map(|line| format!("{line}\n")).collect()
}

/// What a machine does at the end: the status of QEMU, and why it was shut down.
#[track_caller]
fn end(command_line: &str, says: &str) -> (Option<i32>, Option<String>) {
    let guest = Real::boot(command_line, &[]);
    let log = guest.log.clone();
    let ended = guest.ended();
    let log = fs::read_to_string(&log).unwrap();
    assert!(log.contains(says), "{command_line}: no `{says}` in: {log}");
    ended
}

#[test]
fn a_machine_is_switched_off_or_starts_again_at_the_end() {
    let done = "[INFO core0] sampling: done\n";
    let ended = |reason: &str| (Some(0), Some(reason.to_owned()));
    assert_eq!(end("samples=100 at-end=off", done), ended("guest-shutdown"));
    assert_eq!(end("at-end=reboot samples=100", done), ended("guest-reset"));
    // As told, whatever the end; QEMU's device is asked otherwise.
    let panicked = "this panic was asked for";
    assert_eq!(
        end("test=panic at-end=off", panicked),
        ended("guest-shutdown")
    );
    assert_eq!(end("test=panic", panicked).0, Some(37));
    let refused = "command line: `samples=0`: must be a number from 1";
    assert_eq!(
        end("samples=0 at-end=reboot", refused),
        ended("guest-reset")
    );
    let refused = "command line: `at-end=halt`: must be one of exit, stay, reboot, off";
    assert_eq!(end("at-end=halt samples=100", refused).0, Some(35));
}

#[test]
fn a_machine_stays_if_it_is_told_to() {
    let mut guest = Real::boot("samples=100 at-end=stay", &[]);
    let log = guest.log.clone();
    guest.wait_for(&log, "sampling: done");
    thread::sleep(Duration::from_millis(500));
    assert_eq!(guest.qemu.try_wait().unwrap(), None, "QEMU has ended");
}

/// Boots with this port, and asserts that the log is there from the first line to the last, and
/// not on the first port.
#[track_caller]
fn check_port(name: &str, words: &[&str]) {
    let other = folder().join("other");
    let chardev = format!("file,id=other,path={}", other.display());
    let line = format!("samples=100 serial={name} at-end=stay");
    let mut guest = Real::boot(&line, &[&["-chardev", &chardev], words].concat());
    let got = guest.wait_for(&other, "sampling: done");
    assert!(
        got.starts_with("[INFO core0] pmiscope kernel, build-id "),
        "{name}: {got}"
    );
    let first = fs::read_to_string(&guest.log).unwrap();
    assert_eq!(of_kernel(&first), "", "{name}: on the first port");
}

#[test]
fn the_log_goes_to_the_port_that_is_named() {
    let second = ["-serial", "chardev:other"];
    check_port("com2", &second);
    check_port("0x2f8", &second);
    check_port("pci", &["-device", "pci-serial,chardev=other"]);
    // Behind a bridge, which SeaBIOS has set up.
    let behind = [
        "-device",
        "pcie-root-port,id=root",
        "-device",
        "pcie-pci-bridge,id=legacy,bus=root",
    ];
    let behind = [
        &behind[..],
        &["-device", "pci-serial,chardev=other,bus=legacy,addr=5"],
    ]
    .concat();
    check_port("pci", &behind);
    // QEMU's machines have no such table.
    let structure = [1, 8, 0, 1, 0xf8, 0x02, 0, 0, 0, 0, 0, 0];
    let table = [&[0; 4][..], &structure, &[0; 28]].concat();
    let file = folder().join("spcr");
    fs::write(&file, table).unwrap();
    let table = format!("sig=SPCR,rev=2,data={}", file.display());
    check_port("spcr", &[&second[..], &["-acpitable", &table]].concat());
}

#[test]
fn a_port_that_is_not_there_is_said_on_the_first() {
    for (name, says) in [
        ("com2", "serial=0x2f8: nothing answers there"),
        ("pci", "serial=pci: there is no 16550"),
        ("spcr", "serial=spcr: there is no table `SPCR`"),
    ] {
        let line = format!("samples=100 serial={name}");
        let says = format!("[WARN core0] {says}; the log stays on the first port\n");
        assert_eq!(end(&line, &says).0, Some(33), "{name}");
    }
    let refused = "[ERROR core0] command line: `serial=lpt1`: must be com1 to com4, pci,";
    assert_eq!(end("serial=lpt1", refused).0, Some(35));
    // Where there is no port there is none to say it at.
    let guest = Real::boot("serial=none send=serial", &[]);
    assert_eq!(guest.ended().0, Some(35));
}

#[test]
fn a_port_has_the_speed_that_is_named() {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
    let ours = openpt(flags).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let port = ptsname(&ours, Vec::new()).unwrap().into_string().unwrap();
    let chardev = format!("serial,id=other,path={port}");
    let words = ["-chardev", &chardev, "-serial", "chardev:other"];
    for (name, speed) in [("com2", 115_200), ("com2,9600", 9600), ("0x2f8,300", 300)] {
        let line = format!("samples=100 at-end=stay serial={name}");
        let mut guest = Real::boot(&line, &words);
        let start = Instant::now();
        // QEMU sets it as the guest does.
        while tcgetattr(&ours).unwrap().output_speed() != speed {
            assert!(start.elapsed() < LIMIT, "{name}");
            assert_eq!(guest.qemu.try_wait().unwrap(), None, "QEMU has ended");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn without_a_port_nothing_is_written() {
    let guest = Real::boot("samples=100 serial=none", &[]);
    let log = guest.log.clone();
    assert_eq!(guest.ended().0, Some(33));
    assert_eq!(of_kernel(&fs::read_to_string(log).unwrap()), "");
}
