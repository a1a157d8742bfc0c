//! A machine of which only its serial port leads out.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use pmiscope::internals::qemu::{Choice, Qemu, has_lab};

use serde_json::json;

use crate::elsewhere::{image_with, variable};
use crate::fixture::{Slot, built, folder};
use crate::real::{Real, of_kernel};
use crate::records;
use crate::screen::Picture;

/// As `pmiscope run` has it on two cores, with rings that hold all samples.
const MEMORY: &str = "83968K";
const LIMIT: Duration = Duration::from_secs(120);

/// A guest that sends what it has sampled, with its memory in a file.
struct Guest {
    child: Child,
    ram: PathBuf,
    _slot: Slot,
}

/// What is run, and on what.
struct Machine {
    qemu: PathBuf,
    kernel: PathBuf,
    memory: &'static str,
}

impl Machine {
    /// Our kernel on the stock QEMU.
    fn ours() -> Self {
        Self {
            qemu: "qemu-system-x86_64".into(),
            kernel: built("kernel"),
            memory: MEMORY,
        }
    }
}

impl Guest {
    /// Our kernel, with these words for QEMU's serial ports.
    fn start(name: &str, settings: &str, serial: &str) -> Self {
        let settings = format!("{settings} ring=8388608 send=serial");
        Self::start_on(&Machine::ours(), name, &settings, serial)
    }

    fn start_on(machine: &Machine, name: &str, settings: &str, serial: &str) -> Self {
        let _slot = Slot::take();
        let ram = folder().join(format!("{name}.ram"));
        let backend = "memory-backend-file,id=ram,share=on";
        let line = format!(
            "-machine q35,memory-backend=ram -smp 2 -accel tcg,thread=single \
             -icount shift=0,sleep=off -cpu max,-x2apic -m {memory} \
             -object {backend},size={memory},mem-path={} \
             -global hpet.msi=on -global hpet.timers=3 -display none -nodefaults -no-reboot \
             {serial} -device isa-debug-exit,iobase=0xf4,iosize=1 -kernel {} -initrd {}",
            ram.display(),
            built("loader").display(),
            machine.kernel.display(),
            memory = machine.memory,
        );
        let child = Command::new(&machine.qemu)
            .args(line.split_ascii_whitespace())
            .args(["-append", settings])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("QEMU starts");
        Self { child, ram, _slot }
    }

    /// Waits for its end.
    fn ended_with(&mut self, status: i32) {
        let started = Instant::now();
        let ended = loop {
            if let Some(ended) = self.child.try_wait().unwrap() {
                break ended;
            }
            assert!(started.elapsed() < LIMIT, "the guest does not end");
            std::thread::sleep(Duration::from_millis(20));
        };
        assert_eq!(ended.code(), Some(status));
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.ram);
    }
}

/// A profile that a subcommand makes of a file, and what it said.
fn profile(command: &[&str], input: &Path, name: &str) -> (Output, PathBuf) {
    profile_of(&built("kernel"), command, input, name)
}

fn profile_of(kernel: &Path, command: &[&str], input: &Path, name: &str) -> (Output, PathBuf) {
    let profile = folder().join(format!("{name}.pmi"));
    let output = Command::new(env!("CARGO_BIN_EXE_pmiscope"))
        .args(command)
        .arg(input)
        .arg("--kernel")
        .arg(kernel)
        .arg("-o")
        .arg(&profile)
        .output()
        .expect("the tool starts");
    (output, profile)
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Asserts that both files of one run give the same profile; returns its number of records.
fn assert_same(ram: &Path, wire: &Path, name: &str) -> usize {
    assert_same_of(&built("kernel"), ram, wire, name)
}

fn assert_same_of(kernel: &Path, ram: &Path, wire: &Path, name: &str) -> usize {
    let once = ["attach", "--once", "--ram"];
    let (drained, of_memory) = profile_of(kernel, &once, ram, &format!("{name}-ram"));
    assert_eq!(drained.status.code(), Some(0), "{}", said(&drained));
    let (imported, of_wire) = profile_of(kernel, &["import"], wire, name);
    assert_eq!(imported.status.code(), Some(0), "{}", said(&imported));
    let records = [records::in_file(&of_memory), records::in_file(&of_wire)];
    assert!(records[0] == records[1], "they differ");
    records[0].iter().map(Vec::len).sum()
}

#[test]
fn what_comes_by_the_serial_port_is_what_is_in_memory() {
    let log = folder().join("wire-serial.log");
    let settings = "source=auto delivery=nmi period=1000 workload=mix samples=5000";
    let mut guest = Guest::start("wire", settings, &format!("-serial file:{}", log.display()));
    guest.ended_with(33);
    assert_eq!(assert_same(&guest.ram, &log, "wire"), 5000);
    let bytes = fs::read(&log).unwrap();
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.contains("wire: ") && text.contains(" blocks sent, 0 again"));

    assert_damaged_is_the_same(&guest.ram, &bytes, "wire", 5000);
    assert_cut_is_a_part(&bytes, "wire");
}

/// Asserts that a capture each 50th byte of which is damaged has all that the memory has.
fn assert_damaged_is_the_same(ram: &Path, bytes: &[u8], name: &str, samples: usize) {
    let mut damaged = bytes.to_vec();
    let each = damaged.iter_mut().step_by(50);
    each.for_each(|byte| *byte ^= 0xff);
    let log = folder().join(format!("{name}-damaged.log"));
    fs::write(&log, damaged).unwrap();
    assert_eq!(assert_same(ram, &log, &format!("{name}-damaged")), samples);
}

/// Asserts that of a capture cut in its middle each core's first samples are there, and that what
/// is missing is named. The profile of all is there already.
fn assert_cut_is_a_part(bytes: &[u8], name: &str) {
    let log = folder().join(format!("{name}-cut.log"));
    fs::write(&log, &bytes[..bytes.len() / 2]).unwrap();
    let (cut, part) = profile(&["import"], &log, &format!("{name}-cut"));
    assert_eq!(cut.status.code(), Some(3), "{}", said(&cut));
    for says in ["blocks did not arrive: ", "pmiscope: core 1 lacks "] {
        assert!(said(&cut).contains(says), "{}", said(&cut));
    }
    let whole = records::in_file(&folder().join(format!("{name}.pmi")));
    for (part, whole) in records::in_file(&part).iter().zip(&whole) {
        assert_eq!(part[..], whole[..part.len()]);
    }
}

#[test]
fn a_run_that_ends_by_a_panic_is_sent_as_well() {
    let log = folder().join("wire-failed.log");
    let settings = "source=auto delivery=nmi period=1000 samples=1000000 test=panic-midway";
    let mut guest = Guest::start(
        "wire-failed",
        settings,
        &format!("-serial file:{}", log.display()),
    );
    guest.ended_with(37);
    let (imported, profile) = profile(&["import"], &log, "wire-failed");
    assert_eq!(imported.status.code(), Some(4), "{}", said(&imported));
    assert!(
        records::in_file(&profile)
            .iter()
            .map(Vec::len)
            .sum::<usize>()
            > 0
    );
}

/// The name of the port that QEMU has made.
fn port_of(guest: &mut Guest) -> String {
    let out = File::from(std::os::fd::OwnedFd::from(
        guest.child.stdout.take().unwrap(),
    ));
    let mut lines = BufReader::new(out).lines().map(|line| line.unwrap());
    let line = lines
        .find(|line| line.contains("/dev/pts/"))
        .expect("QEMU names the port");
    let mut words = line.split_whitespace();
    words.find(|word| word.starts_with("/dev/")).unwrap().into()
}

#[test]
fn by_a_port_all_arrives_and_both_sides_know() {
    let settings = "source=auto delivery=nmi period=1000 workload=mix samples=3000 serial=com2";
    let log = folder().join("wire-pty.log");
    // What the guest sends is in a file, too: the tool takes it from the port.
    let port = format!("pty,id=port,logfile={}", log.display());
    let serial = format!("-serial null -chardev {port} -serial chardev:port");
    let mut guest = Guest::start("wire-pty", settings, &serial);
    let port = port_of(&mut guest);
    let (imported, profile) = profile(&["import", "--timeout", "30"], Path::new(&port), "wire-pty");
    assert_eq!(imported.status.code(), Some(0), "{}", said(&imported));
    assert_eq!(
        records::in_file(&profile)
            .iter()
            .map(Vec::len)
            .sum::<usize>(),
        3000
    );
    guest.ended_with(33);
    let bytes = fs::read(&log).unwrap();
    let text = String::from_utf8_lossy(&bytes);
    assert!(
        text.contains(" blocks sent, 0 again; all has arrived"),
        "the kernel does not hear the other side: {}",
        text.lines().last().unwrap_or_default()
    );
}

#[test]
fn a_port_that_takes_nothing_does_not_hold_the_kernel() {
    // A short path: that of a socket has a limit.
    let socket = std::env::temp_dir().join(format!("pmiscope-{}-stuck", std::process::id()));
    let listener = UnixListener::bind(&socket).unwrap();
    // More than the socket holds, which nobody reads.
    let settings = "source=auto delivery=nmi period=1000 workload=mix samples=30000";
    let chardev = format!("socket,id=port,path={}", socket.display());
    let serial = format!("-chardev {chardev} -serial chardev:port");
    let mut guest = Guest::start("wire-stuck", settings, &serial);
    let _unread = listener.accept().unwrap();
    guest.ended_with(33);
    fs::remove_file(&socket).unwrap();
}

#[test]
fn counts_come_by_wire_as_they_are_in_memory() {
    if crate::pmu::is_skipped() {
        return;
    }
    let lab = Machine {
        qemu: Qemu::find(&Choice::Lab).unwrap().program,
        ..Machine::ours()
    };
    let log = folder().join("wire-counts.log");
    let settings = "source=pmu take=counts event=instructions,cycles units=30 workload=mix";
    let settings = format!("{settings} ring=65536 send=serial");
    let pmu = "-global max-x86_64-cpu.x-pmu=intel-v5";
    let serial = format!("{pmu} -serial file:{}", log.display());
    let mut guest = Guest::start_on(&lab, "wire-counts", &settings, &serial);
    guest.ended_with(33);
    // Two events on two cores.
    assert_eq!(assert_same(&guest.ram, &log, "wire-counts"), 4);
}

#[test]
fn a_list_says_that_nothing_is_sent() {
    let log = folder().join("wire-survey.log");
    let serial = format!("-serial file:{}", log.display());
    let mut guest = Guest::start("wire-survey", "take=survey", &serial);
    guest.ended_with(33);
    let says = "wire: nothing is sent: take=survey has no samples, the lines below are all";
    let text = fs::read_to_string(&log).unwrap();
    assert!(text.contains(says), "{text}");
    let (imported, _) = profile(&["import"], &log, "wire-survey");
    assert_eq!(imported.status.code(), Some(1), "{}", said(&imported));
    assert!(said(&imported).contains(says), "{}", said(&imported));
}

#[test]
fn a_kernel_in_c_sends_by_a_port_of_its_own() {
    let kernel = built("../../adopters/c-limine/gcc/c-limine-all");
    let machine = Machine {
        kernel: kernel.clone(),
        memory: "256M",
        ..Machine::ours()
    };
    let log = folder().join("wire-c.log");
    let serial = format!("-serial file:{}", log.display());
    let settings = "period=1009 samples=2000 ring=2097152 workload=wire";
    let mut guest = Guest::start_on(&machine, "wire-c", settings, &serial);
    guest.ended_with(33);
    assert_eq!(assert_same_of(&kernel, &guest.ram, &log, "wire-c"), 2000);
    let log = fs::read(&log).unwrap();
    let log = String::from_utf8_lossy(&log);
    // The first line behind a frame has no line before it.
    let number = |name: &str| -> u64 {
        let (_, rest) = log
            .split_once(name)
            .unwrap_or_else(|| panic!("no `{name}`"));
        rest.lines().next().unwrap_or_default().parse().unwrap()
    };
    // NOT_STARTED: without a port, and before there is a run.
    assert_eq!(number("send without a port: "), 1);
    assert_eq!(number("send of nothing: "), 1);
    assert_eq!((number("sent: "), number("confirmed: ")), (0, 0));
    assert!(number("blocks: ") > 20);
    // What the header asks for.
    let stack = number("stack of send: ");
    assert!((1 << 10..=12 << 10).contains(&stack), "{stack} bytes");
}

/// The log of a kernel in what has come by its port, without what is sent there.
fn log_in(bytes: &[u8]) -> String {
    const FIRST: &[u8] = b"[INFO core0] pmiscope kernel, ";
    const LAST: &[u8] = b"[INFO core0] wire: ";
    let find = |part: &[u8]| bytes.windows(part.len()).position(|it| it == part);
    let (first, last) = (find(FIRST).unwrap(), find(LAST).unwrap());
    let sent = find(&[0xd5, 0x1a, 0xc3, 0x8e]).unwrap();
    let text = [&bytes[first..sent], &bytes[last..]].concat();
    of_kernel(&String::from_utf8(text).unwrap())
}

/// The pixels of a photograph, in a row and in a column.
fn size_of(photograph: &[u8]) -> [usize; 2] {
    let head = String::from_utf8_lossy(&photograph[..32]).into_owned();
    let mut numbers = head.split_ascii_whitespace().skip(1);
    [(); 2].map(|()| numbers.next().unwrap().parse().unwrap())
}

/// Asserts that the screen shows this.
fn assert_shows(guest: &mut Real, log: &str, status: &str) {
    let photograph = folder().join("wire-uefi.ppm");
    let start = Instant::now();
    // A line is on the port before it is on the screen.
    loop {
        guest.ask("screendump", json!({ "filename": photograph }));
        let seen = fs::read(&photograph).unwrap();
        if seen == Picture::sized(size_of(&seen), log, status).portable() {
            return;
        }
        let file = photograph.display();
        assert!(start.elapsed() < Duration::from_secs(10), "see {file}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// As a board has it that leads out by nothing else. With `XDG_CACHE_HOME` from
/// `tools/qemu-pmu/strict.sh`, its APICs are as strict as the manuals.
#[test]
#[ignore = "needs LIMINE_DIR, an unpacked binary release of Limine 7 or 8, and OVMF, the path of a UEFI firmware image"]
fn stock_limine_by_uefi_leads_out_by_its_port_and_its_screen() {
    check_by_uefi(Path::new("qemu-system-x86_64"), true);
    // Which is built without a way to photograph it.
    if has_lab() {
        check_by_uefi(&Qemu::find(&Choice::Lab).unwrap().program, false);
    }
}

fn check_by_uefi(qemu: &Path, has_photographs: bool) {
    const SAMPLES: usize = 5000;
    let line = format!("source=auto workload=mix samples={SAMPLES} ring=8388608 send=serial");
    let image = image_with(&format!("{line} at-end=stay"), "wire.iso");
    let ram = folder().join("wire-uefi.ram");
    let joined = |before: &str, path: &Path| {
        let mut word = OsString::from(before);
        word.push(path);
        word
    };
    let mut qemu = Real::qemu(qemu);
    qemu.args("-machine q35,hpet=off,memory-backend=ram -m 512M -smp 2".split(' '))
        .args("-accel tcg,thread=single -cpu max,-x2apic".split(' '))
        .arg("-object")
        .arg(joined(
            "memory-backend-file,id=ram,share=on,size=512M,mem-path=",
            &ram,
        ))
        .arg("-drive")
        .arg(joined(
            "if=pflash,format=raw,readonly=on,file=",
            Path::new(&variable("OVMF")),
        ))
        .arg("-cdrom")
        .arg(image);
    if has_photographs {
        qemu.args(["-device", "ramfb"]);
    }
    let mut guest = Real::start(qemu);
    let log = guest.log.clone();
    guest.wait_for(&log, "[INFO core0] wire: ");
    let bytes = fs::read(&log).unwrap();
    let log_of_kernel = log_in(&bytes);
    assert!(log_of_kernel.contains("no HPET: "), "{log_of_kernel}");

    if has_photographs {
        let status = format!("{SAMPLES} of {SAMPLES} samples, 0 lost");
        assert_shows(&mut guest, &log_of_kernel, &status);
    }
    drop(guest);

    assert_eq!(assert_same(&ram, &log, "wire-uefi"), SAMPLES);
    assert_damaged_is_the_same(&ram, &bytes, "wire-uefi", SAMPLES);
    assert_cut_is_a_part(&bytes, "wire-uefi");
    fs::remove_file(&ram).unwrap();
}
