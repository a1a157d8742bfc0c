//! What a run before a reset has left in memory, and what the next boot makes of it.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use profiler::format::region::{MAGIC, PAGE};
use serde_json::{Value, json};

use crate::fixture::{Slot, built, folder, run};
use crate::records;

/// As `pmiscope run` has it on two cores, with rings that hold all samples.
const MEMORY: &str = "83968K";
const RING: usize = 8 << 20;
const LIMIT: Duration = Duration::from_secs(120);
const SETTINGS: &str = "source=auto delivery=nmi period=1000 workload=mix";
/// Where the fields are that are damaged, in a region.
const VERSION: usize = 16;
const CORES: usize = 24 + 20;
const RING_WORDS: usize = 24 + 28;

/// A machine whose memory is in a file, which keeps what was in it as over a reset.
struct Machine {
    name: &'static str,
    ram: PathBuf,
}

impl Machine {
    fn new(name: &'static str) -> Self {
        let ram = folder().join(format!("kept-{name}.ram"));
        Self { name, ram }
    }

    /// Another machine, with the same in its memory.
    fn copy(&self, name: &'static str) -> Self {
        let copy = Self::new(name);
        fs::copy(&self.ram, &copy.ram).unwrap();
        copy
    }

    fn log_path(&self) -> PathBuf {
        folder().join(format!("kept-{}.log", self.name))
    }

    fn monitor_path(&self) -> PathBuf {
        let name = format!("pmiscope-{}-{}", std::process::id(), self.name);
        std::env::temp_dir().join(name)
    }

    /// Boots it. A reset boots it again.
    fn boot(&self, settings: &str, serial: &str) -> Guest<'_> {
        let slot = Slot::take();
        let line = format!(
            "-machine q35,memory-backend=ram -smp 2 -accel tcg,thread=single \
             -icount shift=0,sleep=off -cpu max,-x2apic -m {MEMORY} \
             -object memory-backend-file,id=ram,share=on,size={MEMORY},mem-path={} \
             -global hpet.msi=on -global hpet.timers=3 -display none -nodefaults \
             -serial {serial} -device isa-debug-exit,iobase=0xf4,iosize=1 \
             -qmp unix:{},server=on,wait=off -kernel {} -initrd {}",
            self.ram.display(),
            self.monitor_path().display(),
            built("loader").display(),
            built("kernel").display(),
        );
        let child = Command::new("qemu-system-x86_64")
            .args(line.split_ascii_whitespace())
            .arg("-append")
            .arg(if settings.contains("ring=") {
                settings.into()
            } else {
                format!("{settings} ring={RING}")
            })
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("QEMU starts");
        Guest {
            child,
            machine: self,
            _slot: slot,
        }
    }

    /// Boots it, to its end; the log.
    #[track_caller]
    fn booted(&self, settings: &str) -> String {
        let log = self.log_path();
        let mut guest = self.boot(settings, &format!("file:{}", log.display()));
        let status = guest.ended();
        let log = lines_of(&log);
        assert_eq!(status, Some(33), "{log}");
        log
    }

    /// The addresses of all regions.
    fn regions(&self) -> Vec<usize> {
        let bytes = fs::read(&self.ram).unwrap();
        let pages = bytes.chunks(PAGE).enumerate();
        let regions = pages.filter(|(_, page)| page.starts_with(&MAGIC));
        regions.map(|(number, _)| number * PAGE).collect()
    }

    /// Writes over its memory.
    fn put(&self, at: usize, bytes: &[u8]) {
        let file = File::options().write(true).open(&self.ram).unwrap();
        file.write_all_at(bytes, at as u64).unwrap();
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.ram);
        let _ = fs::remove_file(self.monitor_path());
    }
}

struct Guest<'a> {
    child: Child,
    machine: &'a Machine,
    _slot: Slot,
}

impl Guest<'_> {
    /// Waits for its end; the status.
    fn ended(&mut self) -> Option<i32> {
        let started = Instant::now();
        loop {
            if let Some(ended) = self.child.try_wait().unwrap() {
                return ended.code();
            }
            assert!(started.elapsed() < LIMIT, "the guest does not end");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until it has taken some samples.
    fn sampling(&self) {
        let started = Instant::now();
        while !self.machine.ram.exists() || self.head() < 30_000 {
            assert!(started.elapsed() < LIMIT, "it does not sample");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// The units in the ring of core 1.
    fn head(&self) -> u64 {
        let Some(&region) = self.machine.regions().first() else {
            return 0;
        };
        let mut head = [0; 8];
        let at = region + PAGE + PAGE + RING;
        let file = File::open(&self.machine.ram).unwrap();
        file.read_exact_at(&mut head, at as u64).unwrap();
        u64::from_le_bytes(head)
    }

    /// Executes commands of QEMU's monitor.
    fn ask(&self, commands: &[&str]) {
        let mut stream = UnixStream::connect(self.machine.monitor_path()).unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        lines.next().expect("a greeting").expect("a line");
        for command in [&["qmp_capabilities"], commands].concat() {
            writeln!(stream, "{}", json!({"execute": command})).unwrap();
            let mut answers = lines.by_ref().map(|line| line.expect("a line"));
            let answer = answers.find(|line| !line.contains("\"event\""));
            let answer = answer.expect("an answer");
            assert!(answer.contains("\"return\""), "{command}: {answer}");
        }
    }
}

impl Drop for Guest<'_> {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a subcommand makes of memory or of what came by a line.
struct Made {
    output: Output,
    profile: PathBuf,
}

impl Made {
    fn by(name: &str, words: &[&str]) -> Self {
        let profile = folder().join(format!("kept-{name}.pmi"));
        let output = Command::new(env!("CARGO_BIN_EXE_pmiscope"))
            .args(words)
            .args(["--format", "json", "--kernel"])
            .arg(built("kernel"))
            .arg("-o")
            .arg(&profile)
            .output()
            .expect("the tool starts");
        Self { output, profile }
    }

    fn of_memory(name: &str, ram: &Path, address: Option<usize>) -> Self {
        let place = address.map_or(String::new(), |address| format!("@{address:#x}"));
        let place = format!("{}{place}", ram.display());
        Self::by(name, &["import", "--memory", &place])
    }

    fn of_line(name: &str, log: &Path, more: &[&str]) -> Self {
        Self::by(name, &[&["import", log.to_str().unwrap()], more].concat())
    }

    fn said(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }

    /// Asserts how it ended; the records of each core.
    #[track_caller]
    fn records(&self, status: i32) -> Vec<Vec<Vec<u64>>> {
        let said = self.said();
        assert_eq!(self.output.status.code(), Some(status), "{said}");
        records::in_file(&self.profile)
    }

    #[track_caller]
    fn assert_cut(&self) {
        let said = self.said();
        let says = "the guest reset or switched off the machine: in the middle of the run";
        assert!(said.contains(says), "{said}");
        let report: Value = serde_json::from_slice(&self.output.stdout).unwrap();
        assert_eq!(report["outcome"], "reset");
        assert_eq!(report["incomplete"], Value::Null);
        assert_eq!(report["lost"], 0);
    }
}

fn count(records: &[Vec<Vec<u64>>]) -> usize {
    records.iter().map(Vec::len).sum()
}

/// The lines of a log, without what was sent between them.
fn lines_of(log: &Path) -> String {
    let log = fs::read(log).unwrap();
    let log = String::from_utf8_lossy(&log);
    let lines = log.lines().filter_map(|line| {
        let at = ["[INFO core", "[WARN core", "[ERROR core"].map(|level| line.find(level));
        at.into_iter().flatten().min().map(|at| &line[at..])
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Where the log says that a run is.
#[track_caller]
fn address_in(log: &str, line: &str) -> usize {
    let rest = log.split_once(line).unwrap_or_else(|| panic!("{log}")).1;
    let digits = rest.split(|it: char| !it.is_ascii_hexdigit()).next();
    usize::from_str_radix(digits.unwrap(), 16).unwrap()
}

/// The line of the log that has this, and no other has.
#[track_caller]
fn only_line<'a>(log: &'a str, part: &str) -> &'a str {
    let lines: Vec<_> = log.lines().filter(|line| line.contains(part)).collect();
    let [line] = lines[..] else {
        panic!("{part}: {lines:?}: {log}");
    };
    line
}

#[test]
fn what_was_sampled_before_a_triple_fault_is_sent_by_the_next_boot() {
    let test = "--self-test triple-fault-midway --period 1000 --samples 1000000";
    let expected = run(&format!("--smp 2 --ring {}K {test}", RING >> 10));
    let expected = expected.ended_with(4).samples().cores;
    assert!(count(&expected) > 1000, "{}", count(&expected));

    let machine = Machine::new("triple");
    let settings = "source=auto delivery=nmi period=1000 samples=1000000";
    let log = machine.booted(&format!("{settings} test=triple-fault-midway kept=send"));
    let line = only_line(&log, " samples of a run before");
    let count = count(&expected);
    let says = format!("kept: {count} samples of a run before the reset, which was cut, at 0x");
    let address = address_in(&log, &says);
    assert!(line.ends_with("; now sent"), "{line}");
    assert!(log.contains("kept: no new run: kept=send"), "{log}");

    let by_wire = Made::of_line("triple-wire", &machine.log_path(), &[]);
    let in_place = Made::of_memory("triple-at", &machine.ram, Some(address));
    let found = Made::of_memory("triple-found", &machine.ram, None);
    for made in [by_wire, in_place, found] {
        assert!(made.records(4) == expected, "{}", made.said());
        made.assert_cut();
    }
}

/// What a report has of chains that were counted.
fn counted(report: &[u8]) -> [Value; 4] {
    let report: Value = serde_json::from_slice(report).unwrap();
    ["samples", "sample_hash", "functions", "tasks"].map(|key| report[key].clone())
}

#[test]
fn chains_that_were_counted_before_a_triple_fault_are_sent_by_the_next_boot() {
    let test = "--self-test triple-fault-midway --period 1000 --samples 1000000 --keep chains";
    let run = run(&format!("--smp 2 --ring {}K {test}", RING >> 10)).ended_with(4);
    let report = Command::new(env!("CARGO_BIN_EXE_pmiscope"))
        .args(["report", "--format", "json"])
        .arg(&run.profile)
        .output()
        .expect("the tool starts");
    let expected = counted(&report.stdout);
    assert!(expected[0].as_u64() > Some(1000), "{}", expected[0]);

    let machine = Machine::new("chains");
    let settings = "source=auto delivery=nmi period=1000 samples=1000000 keep=chains";
    let log = machine.booted(&format!("{settings} test=triple-fault-midway kept=send"));
    let says = format!("kept: {} samples of a run before", expected[0]);
    assert!(log.contains(&says), "{log}");
    let by_wire = Made::of_line("chains-wire", &machine.log_path(), &[]);
    let in_place = Made::of_memory("chains-memory", &machine.ram, None);
    let ram = machine.ram.to_str().unwrap();
    let attached = Made::by("chains-attach", &["attach", "--once", "--ram", ram]);
    for made in [by_wire, in_place, attached] {
        assert_eq!(made.output.status.code(), Some(4), "{}", made.said());
        assert!(counted(&made.output.stdout) == expected, "{}", made.said());
        made.assert_cut();
    }
}

#[test]
fn what_was_sampled_before_a_reset_is_sent_by_the_next_boot() {
    let machine = Machine::new("reset");
    let log = machine.log_path();
    let settings = "source=auto delivery=nmi period=20000 workload=mix samples=1000000000";
    let serial = format!("file:{}", log.display());
    let mut guest = machine.boot(&format!("{settings} kept=send"), &serial);
    guest.sampling();
    guest.ask(&["stop"]);
    let copy = machine.copy("reset-copy");
    guest.ask(&["system_reset", "cont"]);
    assert_eq!(guest.ended(), Some(33));

    let ram = copy.ram.to_str().unwrap();
    let drained = Made::by("reset-drained", &["attach", "--once", "--ram", ram]).records(3);
    assert!(count(&drained) > 1000, "{}", count(&drained));
    let said = lines_of(&log);
    let says = format!(
        "kept: {} samples of a run before the reset, which was cut, at 0x",
        count(&drained)
    );
    let address = address_in(&said, &says);
    let by_wire = Made::of_line("reset-wire", &log, &[]);
    let in_place = Made::of_memory("reset-at", &machine.ram, Some(address));
    // As the reset has found it: no other boot has said that it was cut.
    let before = Made::of_memory("reset-before", &copy.ram, Some(address));
    for made in [by_wire, in_place, before] {
        assert!(made.records(4) == drained, "{}", made.said());
        made.assert_cut();
    }
}

#[test]
fn a_run_that_is_kept_stays_until_it_is_dropped() {
    let machine = Machine::new("stays");
    let log = machine.booted(&format!("{SETTINGS} samples=3000"));
    assert!(!log.contains("kept: "), "{log}");
    let first = address_in(&log, " KiB at 0x");
    let expected = Made::of_memory("stays-first", &machine.ram, Some(first)).records(0);
    assert_eq!(count(&expected), 3000);

    // Another run has other memory, and a file has both.
    let log = machine.booted(&format!("{SETTINGS} samples=2000 send=serial"));
    let says = "kept: 3000 samples of a run before the reset, which had finished, at 0x";
    assert_eq!(address_in(&log, says), first);
    let second = address_in(&log, " KiB at 0x");
    assert_ne!(second, first);
    let of_first = Made::of_memory("stays-again", &machine.ram, Some(first));
    assert!(of_first.records(0) == expected);
    let path = machine.log_path();
    let of_first = Made::of_line("stays-sent", &path, &["--run", "1"]);
    assert!(of_first.records(0) == expected);
    let of_second = Made::of_line("stays-sent-2", &path, &["--run", "2"]).records(0);
    assert_eq!(count(&of_second), 2000);
    assert!(Made::of_memory("stays-second", &machine.ram, Some(second)).records(0) == of_second);
    let third = Made::of_line("stays-sent-3", &path, &["--run", "3"]);
    assert_eq!(third.output.status.code(), Some(1));
    assert!(
        third.said().contains("has 2 runs: --run takes 1 to 2"),
        "{}",
        third.said()
    );

    // No room for a larger one, as long as they are kept.
    let path = folder().join("kept-full.log");
    let serial = format!("file:{}", path.display());
    let mut full = machine.boot(&format!("{SETTINGS} samples=9 ring=16777216"), &serial);
    assert_eq!(full.ended(), Some(41));
    drop(full);
    let log = lines_of(&path);
    let says = "runs that are kept have memory that this one lacks: kept=drop gives it back";
    assert!(log.contains(says), "{log}");

    let log = machine.booted(&format!("{SETTINGS} samples=500 kept=drop"));
    assert!(
        only_line(&log, "kept: ").ends_with("kept: 2 runs forgotten: kept=drop"),
        "{log}"
    );
    assert_eq!(address_in(&log, " KiB at 0x"), first);
}

/// Boots it with somebody who listens at its port; what has come.
#[track_caller]
fn listened(machine: &Machine, name: &str, settings: &str) -> Vec<Vec<Vec<u64>>> {
    let mut guest = machine.boot(settings, "pty");
    let out = guest.child.stdout.take().unwrap();
    let mut lines = BufReader::new(out).lines().map(|line| line.unwrap());
    let line = lines.find(|line| line.contains("/dev/pts/")).unwrap();
    let mut words = line.split_whitespace();
    let port = words.find(|word| word.starts_with("/dev/")).unwrap();
    let made = Made::by(name, &["import", "--timeout", "60", port]);
    let records = made.records(0);
    assert_eq!(guest.ended(), Some(33), "{}", made.said());
    records
}

#[test]
fn what_has_arrived_is_kept_no_longer() {
    let machine = Machine::new("arrived");
    let log = machine.booted(&format!("{SETTINGS} samples=1500"));
    let place = address_in(&log, " KiB at 0x");
    let expected = Made::of_memory("arrived", &machine.ram, Some(place)).records(0);
    let sent = listened(&machine, "arrived-kept", &format!("{SETTINGS} kept=send"));
    assert!(sent == expected);
    assert!(!machine.regions().contains(&place), "it is still there");

    // A run of this boot stays a region, for a reader in the host.
    let settings = format!("{SETTINGS} samples=300 send=serial");
    let sent = listened(&machine, "arrived-own", &settings);
    assert_eq!(count(&sent), 300);
    assert!(Made::of_memory("arrived-there", &machine.ram, Some(place)).records(0) == sent);
    let log = machine.booted(&format!("{SETTINGS} samples=100"));
    assert!(!log.contains("kept: "), "{log}");
    assert_eq!(address_in(&log, " KiB at 0x"), place);
}

#[test]
fn what_is_damaged_is_refused_in_a_line_and_the_next_run_is_taken() {
    let whole = Machine::new("whole");
    whole.booted(&format!("{SETTINGS} samples=1000"));
    let [region] = whole.regions()[..] else {
        panic!("{:?}", whole.regions());
    };
    let heads = [0, 1].map(|core| region + PAGE + core * (PAGE + RING));
    let says = format!("kept: what looks like a run at {region:#x} is damaged, and is not kept: ");
    let wild: &[u8] = &u64::MAX.to_le_bytes();
    for (places, reason) in [
        (
            vec![(region + VERSION, &[99_u8][..])],
            "the kernel writes version 99",
        ),
        (vec![(region + CORES, &[0xff; 4])], "the rings need"),
        (vec![(region + RING_WORDS, &[3])], "ring"),
        (
            vec![(heads[0], wild), (heads[1], wild)],
            "nothing in its rings can be read",
        ),
    ] {
        let machine = whole.copy("damaged");
        for (at, bytes) in places {
            machine.put(at, bytes);
        }
        let log = machine.booted(&format!("{SETTINGS} samples=100"));
        let line = only_line(&log, "kept: ");
        let (_, rest) = line.split_once(&says).unwrap_or_else(|| panic!("{line}"));
        assert!(rest.contains(reason), "{line}");
        // Nothing is left of it in the way of the new run.
        assert_eq!(address_in(&log, " KiB at 0x"), region);
    }
    // Of one ring nothing can be read, and all of the other.
    let machine = whole.copy("damaged");
    machine.put(heads[1], wild);
    let log = machine.booted(&format!("{SETTINGS} kept=send"));
    let line = only_line(&log, "kept: 500 samples of a run before the reset");
    assert!(line.ends_with(", a ring damaged; now sent"), "{line}");
    let made = Made::of_line("damaged-ring", &machine.log_path(), &[]);
    let sent = made.records(3);
    assert_eq!([sent[0].len(), sent[1].len()], [500, 0], "{}", made.said());
    // Whatever it is that is there.
    for seed in 1..=3_u64 {
        let machine = whole.copy("damaged");
        let mut random = seed;
        for _ in 0..64 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let [page, place] =
                [random >> 32 & 1, random >> 40].map(|it| usize::try_from(it).unwrap());
            let at = region + page * PAGE + (16 + place % (PAGE - 24)) / 8 * 8;
            machine.put(at, &random.to_le_bytes());
        }
        machine.booted(&format!("{SETTINGS} samples=100 send=serial"));
    }
}
