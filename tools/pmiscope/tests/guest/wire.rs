//! A machine of which only its serial port leads out.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use pmiscope::internals::Profile;

use crate::fixture::{self, Slot, built, folder};

/// As `pmiscope run` has it on two cores, with rings that hold all samples.
const MEMORY: &str = "83968K";
const LIMIT: Duration = Duration::from_secs(120);

/// A guest that sends what it has sampled, with its memory in a file.
struct Guest {
    child: Child,
    ram: PathBuf,
    _slot: Slot,
}

impl Guest {
    fn start(name: &str, settings: &str, serial: &str) -> Self {
        let _slot = Slot::take();
        let ram = folder().join(format!("{name}.ram"));
        let backend = "memory-backend-file,id=ram,share=on";
        let line = format!(
            "-machine q35,memory-backend=ram -smp 2 -accel tcg,thread=single \
             -icount shift=0,sleep=off -cpu max,-x2apic -m {MEMORY} \
             -object {backend},size={MEMORY},mem-path={} \
             -global hpet.msi=on -global hpet.timers=3 -display none -nodefaults -no-reboot \
             -serial {serial} -device isa-debug-exit,iobase=0xf4,iosize=1 -kernel {} -initrd {}",
            ram.display(),
            built("loader").display(),
            built("kernel").display(),
        );
        let child = Command::new("qemu-system-x86_64")
            .args(line.split_ascii_whitespace())
            .arg("-append")
            .arg(format!("{settings} ring=8388608 send=serial"))
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
    let profile = folder().join(format!("{name}.pmi"));
    let output = Command::new(env!("CARGO_BIN_EXE_pmiscope"))
        .args(command)
        .arg(input)
        .arg("--kernel")
        .arg(built("kernel"))
        .arg("-o")
        .arg(&profile)
        .output()
        .expect("the tool starts");
    (output, profile)
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// All records of a profile, by core.
fn records(profile: &Path) -> Vec<Vec<Vec<u64>>> {
    fixture::records(&Profile::read(fs::read(profile).unwrap()).unwrap())
}

/// Asserts that both files of one run give the same profile; returns its number of records.
fn assert_same(ram: &Path, wire: &Path, name: &str) -> usize {
    let (drained, of_memory) = profile(&["attach", "--once", "--ram"], ram, &format!("{name}-ram"));
    assert_eq!(drained.status.code(), Some(0), "{}", said(&drained));
    let (imported, of_wire) = profile(&["import"], wire, name);
    assert_eq!(imported.status.code(), Some(0), "{}", said(&imported));
    let records = [records(&of_memory), records(&of_wire)];
    assert!(records[0] == records[1], "they differ");
    records[0].iter().map(Vec::len).sum()
}

#[test]
fn what_comes_by_the_serial_port_is_what_is_in_memory() {
    let log = folder().join("wire-serial.log");
    let settings = "source=auto delivery=nmi period=1000 workload=mix samples=5000";
    let mut guest = Guest::start("wire", settings, &format!("file:{}", log.display()));
    guest.ended_with(33);
    assert_eq!(assert_same(&guest.ram, &log, "wire"), 5000);
    let bytes = fs::read(&log).unwrap();
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.contains("wire: ") && text.contains(" blocks sent, 0 again"));

    // Each 50th byte is damaged.
    let mut damaged = bytes.clone();
    damaged
        .iter_mut()
        .step_by(50)
        .for_each(|byte| *byte ^= 0xff);
    let damaged_log = folder().join("wire-damaged.log");
    fs::write(&damaged_log, damaged).unwrap();
    assert_eq!(assert_same(&guest.ram, &damaged_log, "wire-damaged"), 5000);

    // Cut in the middle of the samples.
    let cut_log = folder().join("wire-cut.log");
    fs::write(&cut_log, &bytes[..bytes.len() / 2]).unwrap();
    let (cut, part) = profile(&["import"], &cut_log, "wire-cut");
    assert_eq!(cut.status.code(), Some(3), "{}", said(&cut));
    assert!(
        said(&cut).contains("blocks did not arrive: "),
        "{}",
        said(&cut)
    );
    let whole = records(&folder().join("wire.pmi"));
    for (part, whole) in records(&part).iter().zip(&whole) {
        assert_eq!(part[..], whole[..part.len()]);
    }
}

#[test]
fn a_run_that_ends_by_a_panic_is_sent_as_well() {
    let log = folder().join("wire-failed.log");
    let settings = "source=auto delivery=nmi period=1000 samples=1000000 test=panic-midway";
    let mut guest = Guest::start("wire-failed", settings, &format!("file:{}", log.display()));
    guest.ended_with(37);
    let (imported, profile) = profile(&["import"], &log, "wire-failed");
    assert_eq!(imported.status.code(), Some(4), "{}", said(&imported));
    assert!(records(&profile).iter().map(Vec::len).sum::<usize>() > 0);
}

#[test]
fn by_a_port_all_arrives_and_both_sides_know() {
    let settings = "source=auto delivery=nmi period=1000 workload=mix samples=3000";
    let mut guest = Guest::start("wire-pty", settings, "pty");
    let out: File = File::from(std::os::fd::OwnedFd::from(
        guest.child.stdout.take().unwrap(),
    ));
    let mut lines = BufReader::new(out).lines().map(|line| line.unwrap());
    let line = lines
        .find(|line| line.contains("/dev/pts/"))
        .expect("QEMU names the port");
    let port = line
        .split_whitespace()
        .find(|word| word.starts_with("/dev/"))
        .unwrap();
    let (imported, profile) = profile(&["import", "--timeout", "30"], Path::new(port), "wire-pty");
    assert_eq!(imported.status.code(), Some(0), "{}", said(&imported));
    assert_eq!(records(&profile).iter().map(Vec::len).sum::<usize>(), 3000);
    guest.ended_with(33);
}
