//! What has come by a serial line, which the tests damage themselves.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::ptr::NonNull;
use std::sync::atomic::Ordering;
use std::time::Duration;

use assert_cmd::assert::Assert;
use memmap2::{MmapOptions, MmapRaw};
use pmiscope::internals::import::{Arrived, Image, ImageError};
use profiler::address::{CodeAddress, StackAddress};
use profiler::format::region::{Region, RegionLayout, RunState};
use profiler::format::sample::{Chain, MAX_WORDS};
use profiler::format::wire::{FRAME_BYTES, Kind, Port, Scanner, Sender};
use profiler::format::{ChainEnd, ChainEntry, Description, Sample, State};
use proptest::collection::vec;
use proptest::prelude::*;
use rustix::fs::{CWD, Mode, mkfifoat};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::tcgetattr;

use crate::command::{pmiscope, refused, stderr, text, wait_until};
use crate::fixture::{description, file, folder, kernel, other_kernel};
use crate::records;

/// The records of a core, by its number.
type Records = Vec<Vec<Vec<u64>>>;

fn import(name: &str, input: &Path) -> (Assert, PathBuf) {
    import_with(name, input, &[])
}

struct Wire(Vec<u8>);

impl Port for Wire {
    fn send(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
    }

    fn receive(&mut self) -> Option<u8> {
        None
    }
}

/// What a kernel sends of a run with so many samples on each of two cores.
fn sent(run: &Description, samples: u32) -> Vec<u8> {
    let layout = RegionLayout {
        cores: run.cores,
        ring_words: run.ring_words,
    };
    let bytes = layout.bytes().unwrap();
    let memory = MmapRaw::from(MmapOptions::new().len(bytes).map_anon().unwrap());
    let start = NonNull::new(memory.as_mut_ptr()).unwrap();
    let start = NonNull::slice_from_raw_parts(start, bytes);
    // SAFETY: the mapping outlives the region's last use here; nothing else uses it.
    let region = unsafe { Region::create(start, run) };
    for core in 0..run.cores {
        // SAFETY: one thread.
        let writer = unsafe { region.writer(core) };
        for sequence in 0..samples {
            let (sample, mut chain) = sample(core, sequence);
            writer.write_sample(&sample, &mut chain).unwrap();
        }
        let counters = region.counters(core);
        counters.stored.store(samples.into(), Ordering::Relaxed);
        counters.taken.store(samples.into(), Ordering::Relaxed);
    }
    region.set_state(RunState::Finished);
    let mut wire = Wire(b"Booting\r\n".to_vec());
    Sender::new().send(&region, &mut wire);
    wire.0.extend(b"[INFO core0] sampling: done\r\n");
    wire.0
}

fn sample(core: u32, sequence: u32) -> (Sample<'static>, Chain) {
    let start = kernel().at("in_hash").0;
    let mut chain = Chain::new();
    for caller in 0..sequence % 5 {
        let address = CodeAddress(start + 1 + u64::from(caller + core));
        chain.push(ChainEntry::Return(address)).unwrap();
    }
    let number = u64::from(sequence);
    let sample = Sample {
        sequence,
        // A wide one each 40.
        handler_cost: if sequence.is_multiple_of(40) {
            1 << 17
        } else {
            300
        },
        event: 0,
        task: 1,
        state: State(State::NMI | State::CALLER_KNOWN),
        time: number * 100 + u64::from(core),
        period: 100 + number % 7,
        sp: StackAddress(0xffff_c000_0010_0000 - number % 50 * 8),
        stack_top: [0, 0],
        pc: CodeAddress(start + number % 3),
        exact: None,
        end: ChainEnd::Complete,
        chain_words: &[],
    };
    (sample, chain)
}

/// The records that such a run has.
fn expected(samples: u32) -> Records {
    let record = |core, sequence| {
        let (sample, mut chain) = sample(core, sequence);
        chain.record(&sample).to_vec()
    };
    let of_core = |core| {
        (0..samples)
            .map(|sequence| record(core, sequence))
            .collect()
    };
    (0..2).map(of_core).collect()
}

/// A ring that holds a thousand samples.
fn run() -> Description {
    Description {
        samples: 2000,
        ring_words: 1 << 13,
        ..description()
    }
}

/// Damages each 50th byte.
fn damaged(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for byte in bytes.iter_mut().skip(7).step_by(50) {
        *byte ^= 0xff;
    }
    bytes
}

#[test]
fn what_has_come_is_the_profile_of_the_run() {
    let wire = sent(&run(), 1000);
    for (name, bytes, says) in [
        ("import-whole", wire.clone(), " 0 damaged bytes mended"),
        ("import-damaged", damaged(&wire), " damaged bytes mended"),
    ] {
        let (ended, profile) = import(name, &file("whole.log", &bytes));
        let said = stderr(&ended.code(0));
        assert!(said.contains(says), "{said}");
        assert_eq!(records::in_file(&profile), expected(1000));
    }
}

#[test]
fn what_is_missing_is_named() {
    let wire = sent(&run(), 1000);
    // Half of the frames: those of the second core are missing.
    let bytes = &wire[..wire.len() / 2];
    let (ended, profile) = import("import-cut", &file("cut.log", bytes));
    let said = stderr(&ended.code(3));
    for part in [
        "a part of the run is missing: ",
        "blocks did not arrive: ",
        "pmiscope: core 1 lacks ",
        " of 1,000 records",
    ] {
        assert!(said.contains(part), "{said}");
    }
    let (found, expected) = (records::in_file(&profile), expected(1000));
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found[..], expected[..found.len()]);
    }
    assert!(found[0].len() > 500, "{}", found[0].len());
    // Whoever reads it later is told as well.
    let report = pmiscope(&["report", text(&profile)]).code(3);
    let said = String::from_utf8_lossy(&report.get_output().stdout).into_owned() + &stderr(&report);
    assert!(said.contains("a part of the run is missing"), "{said}");
}

#[test]
fn where_nothing_can_be_read_one_line_says_why() {
    let none = file("none.log", b"[INFO core0] booting\n");
    refused(
        import("import-none", &none).0,
        1,
        &["no frame of a region", "send=serial"],
    );
    let wire = sent(&run(), 1000);
    // Neither of the two frames that say what the run is.
    let mut without = wire.clone();
    let last = without.len() - 3 * FRAME_BYTES - 29;
    for (at, byte) in without.iter_mut().enumerate() {
        if at < 9 + FRAME_BYTES || at > last - 4 * FRAME_BYTES {
            *byte = 0;
        }
    }
    let says = ["what says what the run is did not arrive"];
    refused(
        import("import-headless", &file("headless.log", &without)).0,
        1,
        &says,
    );
    let mut other = run();
    other.build_id = pmiscope::symbols::build_id(&other_kernel().elf).unwrap().0;
    let wire = sent(&other, 10);
    let (ended, _) = import("import-other", &file("other.log", &wire));
    let said = stderr(&ended.code(1));
    assert!(said.contains("has build-id"), "{said}");
}

#[test]
fn of_two_runs_the_last_one_is_taken() {
    let first = sent(&run(), 1000);
    let last = sent(&run(), 900);
    let both = file("both.log", &[first, last].concat());
    let (ended, profile) = import("import-both", &both);
    let said = stderr(&ended.code(0));
    assert!(said.contains("1 run before the last one in"), "{said}");
    assert_eq!(records::in_file(&profile), expected(900));
}

fn import_with(name: &str, input: &Path, more: &[&str]) -> (Assert, PathBuf) {
    let output = folder().join(format!("{name}.pmi"));
    let kernel = text(&kernel().path);
    let words = ["import", text(input), "--kernel", kernel];
    let words = [&words[..], &["-o", text(&output)], more].concat();
    (pmiscope(&words), output)
}

#[test]
fn of_several_runs_the_one_that_is_named_is_taken() {
    let (first, last) = (sent(&run(), 1000), sent(&run(), 900));
    // Of the last one there is one frame alone, which is not the header page.
    let part = &last[9 + FRAME_BYTES..9 + 2 * FRAME_BYTES];
    let both = file("runs.log", &[&first[..], part].concat());
    let says = ["did not arrive", "; there are 2 runs: --run takes another"];
    refused(import("import-runs", &both).0, 1, &says);
    let (ended, profile) = import_with("import-run-1", &both, &["--run", "1"]);
    ended.code(0);
    assert_eq!(records::in_file(&profile), expected(1000));
    let says = ["has 2 runs: --run takes 1 to 2"];
    refused(
        import_with("import-run-3", &both, &["--run", "3"]).0,
        1,
        &says,
    );
}

#[test]
fn of_runs_before_the_last_one_nothing_is_kept() {
    let (first, last) = (sent(&run(), 1000), sent(&run(), 900));
    let mut arrived = Arrived::default();
    arrived.add(&first);
    let blocks = arrived.kept().unwrap().here.len();
    assert!(blocks > 20);
    arrived.add(&last[..9 + 2 * FRAME_BYTES]);
    assert_eq!((arrived.runs(), arrived.kept().unwrap().here.len()), (2, 2));
    // What comes late of a run that was left.
    arrived.add(&first);
    assert_eq!((arrived.runs(), arrived.kept().unwrap().here.len()), (2, 2));
}

#[test]
fn a_log_without_a_frame_says_why_if_it_does() {
    let log = b"[INFO core0] booting\r\n[ERROR core0] sampling: no source works\x1b[2J\r\n[INFO core0] x\n";
    let said = ["its log says: [ERROR core0] sampling: no source works\\u{1b}[2J"];
    refused(import("import-error", &file("error.log", log)).0, 1, &said);
}

/// At each byte of a capture at which it may be cut: what has arrived whole is read, and what has
/// not is missing.
#[test]
fn cut_at_any_byte_what_is_whole_is_read_and_what_is_not_is_named() {
    const SAMPLES: u32 = 120;
    let bytes = sent(&run(), SAMPLES);
    let expected = expected(SAMPLES);
    let mut arrived = Arrived::default();
    let (mut unread, mut parts) = (0, 0);
    for (cut, byte) in (1..).zip(&bytes) {
        arrived.add(&[*byte]);
        let Some(blocks) = arrived.kept() else {
            assert!(cut < 9 + FRAME_BYTES, "a whole frame is not found");
            continue;
        };
        // All frames before the cut, of which the pages come twice at the end.
        let whole = (cut - 9) / FRAME_BYTES;
        assert_eq!(blocks.here.len(), whole.min(blocks.of as usize), "at {cut}");
        let image = match Image::new(blocks) {
            Ok(image) => image,
            Err(ImageError::NoHeader) => {
                unread = cut;
                continue;
            }
            Err(other) => panic!("at {cut}: {other}"),
        };
        let (region, _) = image.memory.open(0).unwrap();
        let found = in_region(&region);
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!(found[..], expected[..found.len()], "at {cut}");
        }
        assert_eq!(image.missing.is_nothing(), found == expected, "at {cut}");
        parts += u32::from(found != expected);
    }
    // Without the header page, which is some frames, nothing is read; with it, all else is.
    assert!(unread < 5 * FRAME_BYTES, "{unread}");
    assert!(parts > 5000, "{parts}");
}

/// The tool, importing by itself.
fn start(name: &str, input: &Path, more: &[&str]) -> (Child, PathBuf) {
    let output = folder().join(format!("{name}.pmi"));
    let child = Command::new(env!("CARGO_BIN_EXE_pmiscope"))
        .args(["import", text(input), "--kernel", text(&kernel().path)])
        .args(["-o", text(&output)])
        .args(more)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    (child, output)
}

fn ended(child: Child) -> (Option<i32>, String) {
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), said)
}

#[test]
fn a_pipe_without_an_end_is_read_until_the_user_wants_one() {
    let pipe = folder().join("pipe");
    let _ = fs::remove_file(&pipe);
    mkfifoat(CWD, &pipe, Mode::from_raw_mode(0o600)).unwrap();
    // Whoever writes waits for a reader, and would be ended by one that goes away.
    let (mut child, profile) = start("import-pipe", &pipe, &[]);
    let mut writer = fs::OpenOptions::new().write(true).open(&pipe).unwrap();
    writer.write_all(&sent(&run(), 1000)).unwrap();
    writer.write_all(b"still here\n").unwrap();
    std::thread::sleep(Duration::from_secs(1));
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let mut waits = 0;
    while child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(100));
        waits += 1;
        if waits > 300 {
            child.kill().unwrap();
            panic!("it does not end");
        }
    }
    let (status, said) = ended(child);
    assert_eq!(status, Some(0), "{said}");
    assert_eq!(records::in_file(&profile), expected(1000));
}

#[test]
fn a_port_is_set_up_and_left_as_it_was() {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
    let ours = openpt(flags).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let port = ptsname(&ours, Vec::new()).unwrap().into_string().unwrap();
    let port = Path::new(&port);
    // As long as it is open, it is as it was set.
    let other = fs::File::open(port).unwrap();
    let before = tcgetattr(&ours).unwrap().output_speed();
    assert_ne!(before, 9600);

    other.lock().unwrap();
    let (status, said) = ended(start("import-locked", port, &[]).0);
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("another program has the port"), "{said}");
    other.unlock().unwrap();

    let (child, profile) = start("import-port", port, &["--speed", "9600"]);
    wait_until(|| tcgetattr(&ours).unwrap().output_speed() == 9600);
    let mut ours = fs::File::from(ours);
    let bytes = sent(&run(), 1000);
    let mut reader = ours.try_clone().unwrap();
    let answer = std::thread::spawn(move || {
        let mut answer = vec![0; FRAME_BYTES];
        reader.read_exact(&mut answer).unwrap();
        let mut scanner = Scanner::new();
        let frame = answer.iter().find_map(|&byte| scanner.push(byte));
        frame.map(|frame| frame.part.kind)
    });
    ours.write_all(&bytes).unwrap();
    let (status, said) = ended(child);
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("9600 baud"), "{said}");
    assert_eq!(records::in_file(&profile), expected(1000));
    assert_eq!(answer.join().unwrap(), Some(Kind::Done));
    assert_eq!(tcgetattr(&other).unwrap().output_speed(), before);
}

/// What a line can do to bytes.
#[derive(Clone, Debug)]
enum Damage {
    Changed(usize, u8),
    Lost(usize, usize),
    Noise(usize, Vec<u8>),
    Swapped(usize, usize),
    Twice(usize),
    Cut(usize),
}

fn damage(len: usize) -> impl Strategy<Value = Damage> {
    let frames = len / FRAME_BYTES;
    prop_oneof![
        6 => (0..len, 1..=255_u8).prop_map(|(at, by)| Damage::Changed(at, by)),
        3 => (0..len, 1..2000_usize).prop_map(|(at, count)| Damage::Lost(at, count)),
        3 => (0..len, vec(any::<u8>(), 1..900)).prop_map(|(at, noise)| Damage::Noise(at, noise)),
        2 => (0..frames, 0..frames).prop_map(|(a, b)| Damage::Swapped(a, b)),
        2 => (0..frames).prop_map(Damage::Twice),
        1 => (0..len).prop_map(Damage::Cut),
    ]
}

fn apply(damage: &Damage, bytes: &mut Vec<u8>) {
    let frame = |number: usize| number * FRAME_BYTES + 9..(number + 1) * FRAME_BYTES + 9;
    let len = bytes.len();
    match damage {
        Damage::Changed(at, by) => bytes.iter_mut().skip(*at).take(1).for_each(|it| *it ^= by),
        Damage::Lost(at, count) => drop(bytes.drain((*at).min(len)..(at + count).min(len))),
        Damage::Noise(at, noise) => {
            bytes.splice((*at).min(len)..(*at).min(len), noise.iter().copied());
        }
        Damage::Swapped(a, b) if frame(*a.max(b)).end <= len => {
            let [a, b] = [*a.min(b), *a.max(b)];
            for byte in 0..FRAME_BYTES {
                bytes.swap(frame(a).start + byte, frame(b).start + byte);
            }
        }
        Damage::Twice(number) if frame(*number).end <= len => {
            let copy = bytes[frame(*number)].to_vec();
            bytes.splice(frame(*number).end..frame(*number).end, copy);
        }
        Damage::Swapped(..) | Damage::Twice(_) => {}
        Damage::Cut(at) => bytes.truncate(*at),
    }
}

/// The records of a region that was made of what has arrived.
fn in_region(region: &Region<'_>) -> Records {
    let of_core = |core| {
        let mut reader = region.reader(core);
        let mut record = [0; MAX_WORDS];
        let mut records = Vec::new();
        while let Some(words) = reader.read(&mut record).expect("a ring of whole records") {
            records.push(record[..words].to_vec());
        }
        records
    };
    (0..region.cores()).map(of_core).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever happens to the bytes: what comes out is of the run, in its order, and what does
    /// not is missing.
    #[test]
    fn nothing_wrong_comes_out(damages in vec(damage(40_000), 0..40)) {
        let mut bytes = sent(&run(), 1000);
        let expected = expected(1000);
        damages.iter().for_each(|damage| apply(damage, &mut bytes));
        let mut arrived = Arrived::default();
        bytes.chunks(1000).for_each(|bytes| _ = arrived.add(bytes));
        prop_assert!(arrived.runs() <= 1);
        let Some(blocks) = arrived.kept() else {
            return Ok(());
        };
        let image = match Image::new(blocks) {
            Ok(image) => image,
            Err(ImageError::NoHeader) => {
                prop_assert!(!blocks.missing().is_empty());
                return Ok(());
            }
            Err(other) => panic!("{other}"),
        };
        let (region, _) = image.memory.open(0).unwrap();
        let found = in_region(&region);
        let mut lacks = false;
        for (found, expected) in found.iter().zip(&expected) {
            let mut rest = expected.iter();
            for record in found {
                prop_assert!(rest.any(|it| it == record), "{:?} is not of the run", record);
            }
            lacks |= found.len() < expected.len();
        }
        prop_assert_eq!(image.missing.is_nothing(), blocks.missing().is_empty());
        prop_assert!(!lacks || !image.missing.is_nothing());
    }
}
