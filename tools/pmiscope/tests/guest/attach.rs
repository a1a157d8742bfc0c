//! A guest that somebody else has started: here the test, with QEMU's own command line.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use pmiscope::internals::Profile;
use pmiscope::internals::qemu::{Choice, Qemu};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::fixture::{Slot, built, folder, run};
use crate::pmu::is_skipped;

/// What both this test's QEMU and that of `pmiscope run` are told.
const SETTINGS: &str = "source=auto delivery=nmi period=1000 workload=mix";
/// What a guest is told that does not end: fewer samples, which take time to show.
const ENDLESS: &str = "source=auto delivery=nmi period=20000 workload=mix samples=1000000000";
/// The samples of a run that ends by itself.
const SAMPLES: u64 = 5_000;
/// As `pmiscope run` sizes it for that many on two cores: it holds them all.
const RING: u64 = 8 << 20;
/// As `pmiscope run` sizes it for such rings.
const MEMORY: &str = "83968K";
const LIMIT: Duration = Duration::from_secs(60);

/// A QEMU of the test's.
pub(crate) struct Guest {
    child: Child,
    pub(crate) ram: PathBuf,
    /// What comes by its serial port.
    pub(crate) serial: PathBuf,
    monitor: PathBuf,
    _slot: Slot,
}

impl Guest {
    /// A guest that takes as many samples as that of `pmiscope run`, and ends.
    fn ending(name: &str) -> Self {
        Self::start(name, &format!("{SETTINGS} samples={SAMPLES}"))
    }

    pub(crate) fn endless(name: &str) -> Self {
        Self::start(name, ENDLESS)
    }

    /// The same by performance counters.
    fn counting(name: &str) -> Self {
        let qemu = Qemu::find(&Choice::Lab).unwrap_or_else(|problem| panic!("{problem}"));
        let settings = "source=pmu period=20000 workload=mix samples=1000000000";
        Self::start_on(&qemu.program, "max,-x2apic,x-pmu=intel-v5", name, settings)
    }

    /// On the stock QEMU.
    pub(crate) fn start(name: &str, settings: &str) -> Self {
        Self::start_on(
            Path::new("qemu-system-x86_64"),
            "max,-x2apic",
            name,
            settings,
        )
    }

    /// Starts the kernel that was built on two cores.
    fn start_on(qemu: &Path, processor: &str, name: &str, settings: &str) -> Self {
        let ram = folder().join(format!("{name}.ram"));
        let serial = folder().join(format!("{name}.serial"));
        // A short path: that of a socket has a limit.
        let monitor = std::env::temp_dir().join(format!("pmiscope-{}-{name}", std::process::id()));
        let _slot = Slot::take();
        let shown = |path: &Path| path.to_str().unwrap().to_owned();
        let backend = "memory-backend-file,id=ram,share=on";
        let line = format!(
            "-machine q35,memory-backend=ram -smp 2 -accel tcg,thread=single \
             -icount shift=0,sleep=off -cpu {processor} -m {MEMORY} \
             -object {backend},size={MEMORY},mem-path={} \
             -global hpet.msi=on -global hpet.timers=3 -display none -nodefaults -no-reboot \
             -chardev file,id=serial,path={} -serial chardev:serial \
             -device isa-debug-exit,iobase=0xf4,iosize=1 -qmp unix:{},server=on,wait=off \
             -kernel {} -initrd {}",
            shown(&ram),
            shown(&serial),
            shown(&monitor),
            shown(&built("loader")),
            shown(&built("kernel")),
        );
        let child = Process::new(qemu)
            .args(line.split_ascii_whitespace())
            .arg("-append")
            .arg(format!("{settings} ring={RING}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("QEMU starts");
        Self {
            child,
            ram,
            serial,
            monitor,
            _slot,
        }
    }

    /// Waits for the run's end; the guest then ends QEMU.
    fn ended(mut self) -> PathBuf {
        let status = self.child.wait().expect("QEMU was started");
        assert_eq!(status.code(), Some(33), "the run's end");
        self.ram.clone()
    }

    /// Waits until QEMU has ended. Returns its status.
    pub(crate) fn status(&mut self) -> Option<i32> {
        self.child.wait().expect("QEMU was started").code()
    }

    /// Waits until a line of its log has this in it.
    pub(crate) fn has_said(&self, text: &str) {
        wait_for(text, || {
            let log = fs::read(&self.serial).unwrap_or_default();
            String::from_utf8_lossy(&log).contains(text).then_some(())
        });
    }

    /// Kills QEMU, with whatever it does.
    pub(crate) fn kill(&mut self) {
        self.signal(Signal::KILL);
        assert_eq!(self.status(), None, "killed");
    }

    /// Makes an ELF core of it, with the registers of its processors.
    pub(crate) fn dump(&self, core: &Path) {
        let to = format!("file:{}", core.display());
        let arguments = json!({"paging": false, "protocol": to});
        self.ask("dump-guest-memory", &arguments);
    }

    fn signal(&self, signal: Signal) {
        kill(&self.child, signal);
    }

    /// Executes a command of QEMU's monitor.
    fn ask(&self, command: &str, arguments: &Value) {
        let (mut stream, mut lines) = wait_for("the monitor", || {
            let stream = UnixStream::connect(&self.monitor).ok()?;
            Some((stream.try_clone().unwrap(), BufReader::new(stream).lines()))
        });
        let greeting = lines.next().expect("a greeting").expect("a line");
        assert!(greeting.contains("QMP"), "{greeting}");
        for request in [
            json!({"execute": "qmp_capabilities"}),
            json!({"execute": command, "arguments": arguments}),
        ] {
            writeln!(stream, "{request}").unwrap();
            let mut answers = lines.by_ref().map(|line| line.expect("a line"));
            let answer = answers.find(|line| !line.contains("\"event\""));
            let answer = answer.expect("an answer");
            assert!(answer.contains("\"return\""), "{request}: {answer}");
        }
    }

    /// Waits until it has taken samples that nobody has read.
    pub(crate) fn sampling(&self) {
        // The header page of the region, and a ring's head behind it.
        wait_for("a sample", || {
            (ring_heads(&self.ram) > 30_000).then_some(())
        });
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // It may have ended, or be stopped.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.monitor);
        let _ = fs::remove_file(&self.serial);
        let _ = fs::remove_file(&self.ram);
    }
}

/// Units in all rings so far, as the table in docs/region.md has them: the header page, then
/// for each core a page of control, whose first word is the head, and the records.
fn ring_heads(ram: &Path) -> u64 {
    let bytes = fs::read(ram).unwrap_or_default();
    let magic = profiler::format::region::MAGIC;
    let region = bytes.chunks(4096).position(|page| page.starts_with(&magic));
    let Some(region) = region.map(|page| page * 4096) else {
        return 0;
    };
    let ring = 4096 + usize::try_from(RING).unwrap();
    let head = |core: usize| {
        let at = region + 4096 + core * ring;
        let word = bytes
            .get(at..at + 8)
            .map_or([0; 8], |word| word.try_into().unwrap());
        u64::from_le_bytes(word)
    };
    head(0) + head(1)
}

fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < LIMIT, "{what} does not come");
        thread::sleep(Duration::from_millis(10));
    }
}

fn kill(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// `pmiscope attach` that runs.
struct Attached {
    child: Option<Child>,
    profile: PathBuf,
    said: PathBuf,
}

impl Attached {
    fn start(name: &str, ram: &Path, more: &[&str]) -> Self {
        let profile = folder().join(format!("attach-{name}.pmi"));
        let said = folder().join(format!("attach-{name}.said"));
        let child = Process::new(env!("CARGO_BIN_EXE_pmiscope"))
            .args(["attach", "--format", "json", "--ram"])
            .arg(ram)
            .arg("--kernel")
            .arg(built("kernel"))
            .arg("-o")
            .arg(&profile)
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(&said).unwrap())
            .spawn()
            .expect("the tool starts");
        Self {
            child: Some(child),
            profile,
            said,
        }
    }

    fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    fn interrupt(&self) {
        kill(self.child.as_ref().expect("it runs"), Signal::INT);
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.said).unwrap()
    }

    /// Waits until it has said this.
    #[track_caller]
    fn saying(&self, part: &str) {
        wait_for(part, || self.said().contains(part).then_some(()));
    }

    fn ctl(&self, command: &str) -> String {
        let output = Process::new(env!("CARGO_BIN_EXE_pmiscope"))
            .args(["ctl", "--pid", &self.pid().to_string()])
            .args(command.split_ascii_whitespace())
            .output()
            .expect("the tool starts");
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    }

    /// The samples that were taken so far, as `ctl status` says.
    fn samples(&self) -> u64 {
        let status = self.ctl("status");
        let count = status
            .split("; ")
            .nth(1)
            .and_then(|it| it.split(' ').next());
        count.map_or(0, |count| count.replace(',', "").parse().unwrap_or(0))
    }

    /// Waits for so many samples more.
    fn go_on(&self, more: u64) {
        let before = self.samples();
        wait_for("a sample", || {
            (self.samples() >= before + more).then_some(())
        });
    }

    /// Waits for its end with this status; its report, and what it said.
    #[track_caller]
    fn ended_with(mut self, status: i32) -> (Value, String) {
        let child = self.child.take().expect("it runs");
        let output: Output = child.wait_with_output().expect("it ends");
        let said = self.said();
        assert_eq!(output.status.code(), Some(status), "{said}");
        (
            serde_json::from_slice(&output.stdout).unwrap_or(Value::Null),
            said,
        )
    }

    /// The records that are in its profile, all cores together.
    fn records(path: &Path) -> u64 {
        Profile::read(fs::read(path).expect("a profile"))
            .unwrap()
            .records()
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Attaches to the end.
#[track_caller]
fn attach(name: &str, ram: &Path, more: &[&str], status: i32) -> (Value, String) {
    Attached::start(name, ram, more).ended_with(status)
}

/// The hash of the run that `pmiscope run` makes of the same guest.
fn hash_of_run() -> Value {
    let run = run(&format!(
        "--smp 2 --period 1000 --samples {SAMPLES} --ring {}K",
        RING >> 10
    ));
    run.ended_with(0).report()["sample_hash"].clone()
}

#[track_caller]
fn assert_whole(report: &Value) {
    assert_eq!(report["samples"], SAMPLES, "{report:#}");
    assert_eq!(report["lost"], 0);
    assert_eq!(report["outcome"], "finished");
    assert_eq!(report["incomplete"], Value::Null);
}

#[test]
fn a_guest_is_followed_from_its_start_and_read_when_dead_as_a_run() {
    let expected = hash_of_run();
    let guest = Guest::ending("start");
    let pid = guest.child.id().to_string();
    wait_for("the file", || {
        fs::metadata(&guest.ram).ok().filter(|it| it.len() > 0)
    });
    let attached = Attached::start("start", &guest.ram, &["--pid", &pid]);
    attached.saying("attached to process");
    let (report, _) = attached.ended_with(0);
    assert_whole(&report);
    assert_eq!(report["sample_hash"], expected, "live");
    assert_eq!(report["mode"], "deterministic");

    // Its rings are read.
    let (_, said) = attach("again", &guest.ram, &["--once"], 1);
    assert!(said.contains("has nothing left to read"), "{said}");
    drop(guest);

    let guest = Guest::ending("dead");
    let kept = folder().join("dead.kept");
    wait_for("the file", || fs::hard_link(&guest.ram, &kept).ok());
    guest.ended();
    let before = fs::read(&kept).unwrap();
    // Twice: nothing is marked as read.
    for name in ["dead", "dead-again"] {
        let (report, said) = attach(name, &kept, &[], 0);
        assert!(said.contains("no process that can be seen maps"), "{said}");
        assert_whole(&report);
        assert_eq!(report["sample_hash"], expected, "dead");
    }
    assert!(
        fs::read(&kept).unwrap() == before,
        "a dead guest's file was written to"
    );
}

#[test]
fn a_guest_is_attached_to_half_way_stopped_and_killed() {
    let guest = Guest::endless("half");
    guest.sampling();
    let attached = Attached::start("half", &guest.ram, &[]);
    attached.saying(&format!("attached to process {}", guest.child.id()));
    attached.go_on(1000);
    // A second reader.
    let (_, said) = attach("second", &guest.ram, &[], 1);
    assert!(said.contains("another pmiscope reads"), "{said}");
    let (_, said) = attach("second-once", &guest.ram, &["--once"], 1);
    assert!(said.contains("another pmiscope reads"), "{said}");
    // A timer's run takes no requests, attached to or not.
    let said = attached.ctl("stop");
    assert!(
        said.contains("only runs by the source pmu can be controlled"),
        "{said}"
    );

    guest.signal(Signal::STOP);
    attached.saying("is stopped by a signal: waiting for it to go on");
    guest.signal(Signal::CONT);
    attached.saying("goes on");
    attached.go_on(1000);
    guest.ask("stop", &json!({}));
    attached.saying("stands still (stopped by QMP");
    let stopped = attached.samples();
    guest.ask("cont", &json!({}));
    wait_for("a sample", || (attached.samples() > stopped).then_some(()));

    // ^C: the guest goes on, and what it takes from then on is the next one's.
    attached.interrupt();
    let first = attached.profile.clone();
    let (report, said) = attached.ended_with(130);
    assert_eq!(report["outcome"], "interrupted", "{said}");
    assert_eq!(report["lost"], 0);
    assert_eq!(
        report["incomplete"],
        Value::Null,
        "from the first sample on"
    );
    let of_first = Attached::records(&first);
    assert_eq!(report["samples"], of_first);

    let attached = Attached::start("next", &guest.ram, &[]);
    attached.saying("some of the run was read before");
    attached.go_on(1000);
    guest.signal(Signal::KILL);
    let second = attached.profile.clone();
    let (report, said) = attached.ended_with(4);
    assert!(said.contains("QEMU failed: process"), "{said}");
    assert!(said.contains("ended before the run did"), "{said}");
    assert_eq!(report["outcome"], "qemu-failed");
    let missing = format!("{} samples of the run missing", grouped(of_first));
    assert_eq!(report["incomplete"], Value::String(missing));
    // Together, each core's sequence has no gap.
    assert_joined(&[&first, &second], &report["lost"]);
}

fn grouped(number: u64) -> String {
    pmiscope::internals::units::grouped(number)
}

/// Asserts that the profiles have all samples of a run, in order, but for so many that did
/// not fit into the rings.
#[track_caller]
fn assert_joined(profiles: &[&Path], lost: &Value) {
    let mut missing = 0;
    for core in 0..2 {
        let mut next = 0;
        for path in profiles {
            let profile = Profile::read(fs::read(path).unwrap()).unwrap();
            let taken = profile.for_each_sample(core, |sample| {
                assert!(sample.sequence >= next, "core {core}: {next} again");
                missing += sample.sequence - next;
                next = sample.sequence + 1;
            });
            taken.unwrap();
        }
        assert!(next > 1000, "core {core}");
    }
    assert_eq!(*lost, missing, "lost samples");
}

#[test]
fn a_guest_that_is_attached_to_can_be_controlled() {
    if is_skipped() {
        return;
    }
    let guest = Guest::counting("counting");
    guest.sampling();
    let attached = Attached::start("counting", &guest.ram, &[]);
    wait_for("a sample", || (attached.samples() > 0).then_some(()));
    assert_eq!(attached.ctl("stop"), "");
    let stopped = || attached.ctl("status").starts_with("stopped; ");
    wait_for("the stop", || stopped().then_some(()));
    assert_eq!(attached.ctl("period 30000"), "");
    assert_eq!(attached.ctl("start"), "");
    attached.go_on(100);
    attached.interrupt();
    let (report, _) = attached.ended_with(130);
    let events = report["events"].as_array().expect("events");
    for (event, period) in events.iter().zip([20_000, 30_000]) {
        for key in ["requested", "min", "median", "max"] {
            assert_eq!(event["period"][key], period, "{key}: {event:#}");
        }
        // The first may have had too few samples for a check.
        let known = event["period"].get("known_to_within");
        assert!(known.is_none_or(|within| *within == 0), "{event:#}");
        let was_checked = !event["overhead"]["running"].is_null();
        assert_eq!(known.is_some(), was_checked, "{event:#}");
    }
    assert_eq!(events.len(), 2);
}

#[test]
fn a_dump_has_what_the_rings_had_and_is_read_without_its_guest() {
    let guest = Guest::endless("dump");
    guest.sampling();
    guest.ask("stop", &json!({}));
    let dumps = ["elf", "kdump-zlib"].map(|format| {
        let path = folder().join(format!("dump.{format}"));
        let file = format!("file:{}", path.display());
        let arguments = json!({"paging": false, "protocol": file, "format": format});
        guest.ask("dump-guest-memory", &arguments);
        path
    });
    // The same from the file itself, which is not marked as read.
    let (of_file, _) = attach("once", &guest.ram, &["--once"], 3);
    drop(guest);

    let (report, said) = attach("dump", &dumps[0], &[], 3);
    assert!(
        said.contains("the run had not finished: these are the samples"),
        "{said}"
    );
    assert_eq!(report["outcome"], "unfinished");
    assert_eq!(report["incomplete"], Value::Null);
    assert!(report["samples"].as_u64() > Some(1000), "{report:#}");
    for what in ["samples", "sample_hash", "lost"] {
        assert_eq!(report[what], of_file[what], "{what}");
    }
    let (_, said) = attach("kdump", &dumps[1], &[], 1);
    assert!(said.contains("is a compressed kdump"), "{said}");
    assert!(said.contains("take an ELF core instead"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    let (_, said) = attach("dump-pid", &dumps[0], &["--pid", "1"], 1);
    assert!(
        said.contains("is a dump, which no guest writes to"),
        "{said}"
    );
    for dump in dumps {
        fs::remove_file(dump).unwrap();
    }
}

#[test]
fn a_file_that_is_shortened_meanwhile_ends_the_profile_and_not_the_tool() {
    let guest = Guest::endless("short");
    guest.sampling();
    let attached = Attached::start("short", &guest.ram, &[]);
    attached.go_on(1000);
    let profile = attached.profile.clone();
    fs::File::options()
        .write(true)
        .open(&guest.ram)
        .and_then(|file| file.set_len(4096))
        .unwrap();
    let (report, said) = attached.ended_with(3);
    assert!(said.contains("was shortened while it was read"), "{said}");
    assert_eq!(report["outcome"], "unfinished");
    let samples = report["samples"].as_u64().unwrap();
    assert!(samples > 1000, "{report:#}");
    assert_eq!(Attached::records(&profile), samples);
    // No zeros in the place of samples.
    assert_joined(&[&profile], &json!(0));
}

#[test]
fn a_process_that_is_not_the_guests_is_refused_by_name() {
    let guest = Guest::endless("wrong");
    guest.sampling();
    let own = std::process::id().to_string();
    let (_, said) = attach("wrong", &guest.ram, &["--pid", &own], 1);
    let does = format!(": process {} (qemu-system-x86) does", guest.child.id());
    assert!(
        said.contains("does not map") && said.contains(&does),
        "{said}"
    );
    // Another kernel's file.
    let loader = built("loader");
    let (_, said) = attach(
        "other",
        &guest.ram,
        &["--kernel", loader.to_str().unwrap()],
        2,
    );
    assert!(said.contains("--kernel"), "{said}");
}
