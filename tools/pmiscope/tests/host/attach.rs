//! Files that hold a guest's memory, live or dead, which the tests make themselves.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, Stdio};
use std::ptr::NonNull;
use std::thread;
use std::time::{Duration, Instant};

use assert_cmd::assert::Assert;
use memmap2::{MmapOptions, MmapRaw};
use pmiscope::internals::Profile;
use profiler::format::region::{MAGIC, PAGE, Region, RegionLayout, RunState};
use profiler::format::{Description, Text};

use crate::command::{pmiscope, refused, stderr, text};
use crate::fixture::{Seen, description, file, folder, kernel};

const RUN: usize = 16 * PAGE;
/// Where a ring's head and tail are, behind the start of its region: a page of header, then
/// the ring's own, with the writer's words on the first cache line, the reader's on the second.
const HEAD: usize = PAGE;
const TAIL: usize = PAGE + 64;

/// Attaches by these arguments beside the kernel and the profile, which is named by the test.
fn attach(name: &str, arguments: &[&str]) -> (Assert, PathBuf) {
    let output = folder().join(format!("{name}.pmi"));
    let mut words = vec![
        "attach",
        "--kernel",
        text(&kernel().path),
        "-o",
        text(&output),
    ];
    words.extend(arguments);
    (pmiscope(&words), output)
}

/// The records of each core in a profile.
fn records(profile: &Path) -> [u64; 2] {
    let profile = Profile::read(fs::read(profile).unwrap()).unwrap();
    [0, 1].map(|core| profile.records_of_core(core))
}

/// A region in the state, with so many samples on each core that were written, and read.
fn region(description: &Description, state: RunState, [written, read]: [u32; 2]) -> Vec<u8> {
    let Description {
        cores, ring_words, ..
    } = *description;
    let bytes = RegionLayout { cores, ring_words }.bytes().unwrap();
    let memory = MmapRaw::from(MmapOptions::new().len(bytes).map_anon().unwrap());
    let start = NonNull::new(memory.as_mut_ptr()).unwrap();
    let start = NonNull::slice_from_raw_parts(start, bytes);
    // SAFETY: the mapping outlives the region's last use here; nothing else uses it.
    let region = unsafe { Region::create(start, description) };
    for core in 0..cores {
        // SAFETY: one thread.
        let writer = unsafe { region.writer(core) };
        for sequence in 0..written {
            let record = Seen::new(sequence, kernel().at("in_hash"), &[]).record();
            writer.write(&record).unwrap();
        }
        let counters = region.counters(core);
        counters
            .stored
            .store(written.into(), std::sync::atomic::Ordering::Relaxed);
        let mut reader = region.reader(core);
        for _ in 0..read {
            let mut record = [0; profiler::format::sample::MAX_WORDS];
            reader.read(&mut record).unwrap().expect("a record");
        }
    }
    region.set_state(state);
    // SAFETY: `region` is not used from here on.
    unsafe { std::slice::from_raw_parts(memory.as_ptr(), bytes) }.to_vec()
}

/// A guest's memory with these regions, each behind a hole of 16 pages.
fn memory(regions: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for region in regions {
        bytes.extend([0; RUN]);
        bytes.extend(region);
    }
    bytes
}

fn finished() -> Vec<u8> {
    region(&description(), RunState::Finished, [3, 0])
}

#[test]
fn what_is_no_guests_memory_is_refused_by_name() {
    let says = |ram: &Path, part: &str| {
        refused(attach("attach-none", &["--ram", text(ram)]).0, 1, &[part]);
    };
    says(Path::new("/no/ram"), "No such file");
    says(folder(), "is a directory");
    says(Path::new("/dev/null"), "is no regular file");
    says(&file("empty.ram", b""), "the file is empty");
    says(
        &file("odd.ram", &[0; 5000]),
        "5,000 bytes are no multiple of a page (4096)",
    );
    says(&kernel().path, "is an ELF program, not a guest's memory");
    says(
        &file("zero.ram", &[0; 8192]),
        "no region was found in the memory",
    );
    for (magic, what) in [
        (&b"QFI\xfb\0\0\0\x03"[..], "is a qcow2 image"),
        (
            b"QEVM\0\0\0\x03",
            "is a saved state of QEMU's (migration or savevm)",
        ),
        (b"KDUMP   \x06", "is a compressed kdump"),
        (b"makedumpfile\0", "is a compressed kdump, flattened"),
        (b"\x93pmiscope/run\r\n\x1a", "is a profile"),
    ] {
        let mut bytes = vec![0; 8192];
        bytes[..magic.len()].copy_from_slice(magic);
        says(&file("other.ram", &bytes), what);
    }
    let ram = file("mine.ram", &memory(&[finished()]));
    let kernel = text(&kernel().path);
    let onto_itself = [
        "attach",
        "--ram",
        text(&ram),
        "--kernel",
        kernel,
        "-o",
        text(&ram),
    ];
    refused(pmiscope(&onto_itself), 1, &["is the guest's memory"]);
}

#[test]
fn a_dead_guests_file_is_read_and_not_written_to() {
    let bytes = memory(&[finished()]);
    let ram = file("dead.ram", &bytes);
    let mut permissions = fs::metadata(&ram).unwrap().permissions();
    permissions.set_readonly(true);
    fs::set_permissions(&ram, permissions).unwrap();
    let (ended, profile) = attach("attach-dead", &["--ram", text(&ram)]);
    let said = stderr(&ended.code(0));
    assert!(said.contains("no process that can be seen maps"), "{said}");
    assert_eq!(records(&profile), [3, 3]);
    assert!(fs::read(&ram).unwrap() == bytes, "it was written to");
}

/// What `import --memory` makes of this.
fn import(name: &str, place: &str) -> (Assert, PathBuf) {
    let output = folder().join(format!("{name}.pmi"));
    let kernel = text(&kernel().path);
    let words = ["import", "--memory", place, "--kernel", kernel, "-o"];
    (pmiscope(&[&words[..], &[text(&output)]].concat()), output)
}

#[test]
fn what_a_reset_has_left_is_imported_from_where_it_is() {
    let second = (2 * RUN + finished().len()) as u64;
    for (state, status, says) in [
        (RunState::Finished, 0, ""),
        (RunState::Starting, 4, "in the middle of the run"),
        (RunState::Sampling, 4, "in the middle of the run"),
        (RunState::Paused, 4, "in the middle of the run"),
        (RunState::Cut, 4, "in the middle of the run"),
        (RunState::Failed, 4, "by a panic or an exception"),
    ] {
        let here = region(&description(), state, [2, 0]);
        let ram = file("kept.ram", &memory(&[finished(), here]));
        let before = fs::read(&ram).unwrap();
        for place in [format!("{second:#x}"), second.to_string()] {
            let place = format!("{}@{place}", text(&ram));
            let (ended, profile) = import("import-kept", &place);
            let said = stderr(&ended.code(status));
            assert!(said.contains(says), "{state:?}: {said}");
            assert_eq!(records(&profile), [2, 2], "{state:?}");
        }
        assert!(fs::read(&ram).unwrap() == before, "it was written to");
    }
    // Without an address it is looked for.
    let ram = file("kept-one.ram", &memory(&[finished()]));
    let (ended, profile) = import("import-kept-one", text(&ram));
    ended.code(0);
    assert_eq!(records(&profile), [3, 3]);
}

#[test]
fn where_nothing_is_kept_one_line_says_why() {
    let ram = file("kept-none.ram", &memory(&[finished()]));
    let ram = text(&ram);
    let at = |place: &str, status, says: &str| {
        refused(import("import-none", place).0, status, &[says]);
    };
    at(&format!("{ram}@0"), 1, "no region begins at 0x0");
    at(&format!("{ram}@0x7fff000"), 1, "are not in it: it was cut");
    at(&format!("{ram}@4097"), 2, "begins at a multiple of 4096");
    at(&format!("{ram}@0xg"), 2, "`0xg` is no address");
    at("/no/ram@0x10000", 1, "/no/ram: No such file");
    at(text(folder()), 1, "--memory wants the file");
    // Devices, as /dev/mem is one: that has nothing, and that does not let it be read.
    at("/dev/zero", 1, "say by --memory /dev/zero@ADDRESS where");
    at("/dev/zero@0x10000", 1, "no region begins at 0x10000");
    at(
        "/dev/null@0x10000",
        1,
        "cannot read /dev/null at 0x10000: a Linux with CONFIG_STRICT_DEVMEM",
    );
    let mut words = vec!["import"];
    let said = stderr(&pmiscope(&words).code(2));
    assert!(said.contains("<FILE|TTY>"), "{said}");
    words.extend(["serial.log", "--memory", ram]);
    pmiscope(&words).code(2);
    // More than there is, by a header that was written over.
    let mut bytes = memory(&[finished()]);
    bytes[RUN + 24 + 20..][..4].copy_from_slice(&u32::MAX.to_le_bytes());
    let ram = file("kept-large.ram", &bytes);
    at(
        &format!("{}@{RUN}", text(&ram)),
        1,
        "does not hold all of the region",
    );
}

#[test]
fn how_a_dead_run_ended_is_in_the_exit_status() {
    for (state, status, says) in [
        (RunState::Sampling, 3, "the run had not finished"),
        (RunState::Starting, 3, "the run had not finished"),
        (RunState::Paused, 3, "the run had not finished"),
        (RunState::Failed, 4, "by a panic or an exception"),
        (RunState::Cut, 4, "reset or switched off the machine"),
    ] {
        let ram = file(
            "state.ram",
            &memory(&[region(&description(), state, [2, 0])]),
        );
        let (ended, profile) = attach("attach-state", &["--ram", text(&ram)]);
        let said = stderr(&ended.code(status));
        assert!(said.contains(says), "{state:?}: {said}");
        assert_eq!(records(&profile), [2, 2], "{state:?}");
    }
    // What was read before is not there, which is no success.
    let half = region(&description(), RunState::Finished, [3, 1]);
    let (ended, profile) = attach(
        "attach-half",
        &["--ram", text(&file("half.ram", &memory(&[half])))],
    );
    let said = stderr(&ended.code(3));
    assert!(said.contains("2 samples of the run missing"), "{said}");
    assert_eq!(records(&profile), [2, 2]);
    for (written, says) in [
        ([2, 2], "nothing left to read"),
        ([0, 0], "had not begun to sample"),
    ] {
        let region = region(&description(), RunState::Sampling, written);
        let ram = file("nothing.ram", &memory(&[region]));
        refused(
            attach("attach-nothing", &["--ram", text(&ram), "--once"]).0,
            1,
            &[says],
        );
    }
    // Nor is a region that the file ends in the middle of.
    let mut bytes = memory(&[finished()]);
    bytes.truncate(bytes.len() - PAGE);
    let ram = file("cut.ram", &bytes);
    let says = "does not hold all of the region at 0x10000";
    refused(
        attach("attach-cut", &["--ram", text(&ram), "--once"]).0,
        1,
        &[says],
    );
}

#[test]
fn of_several_regions_the_run_is_taken_and_the_others_are_named() {
    let other = Description {
        build_id: [7; 20],
        ..description()
    };
    let old = region(&description(), RunState::Finished, [1, 0]);
    let read = region(&description(), RunState::Failed, [1, 1]);
    let others = region(&other, RunState::Sampling, [1, 0]);
    let run = region(&description(), RunState::Sampling, [5, 0]);
    let ram = file(
        "several.ram",
        &memory(&[others.clone(), run, old.clone(), read.clone()]),
    );
    let (ended, profile) = attach("attach-several", &["--ram", text(&ram), "--once"]);
    let said = stderr(&ended.code(3));
    assert_eq!(records(&profile), [5, 5]);
    let left = said
        .lines()
        .filter(|line| line.contains("is left alone"))
        .count();
    assert_eq!(left, 3, "{said}");
    let other_id = "07".repeat(20);
    assert!(
        said.contains(&format!("(build-id {other_id}, sampling) is left alone")),
        "{said}"
    );
    // Without the run, the one that has ended.
    let ram = file("older.ram", &memory(&[read.clone(), others.clone(), old]));
    let (ended, profile) = attach("attach-older", &["--ram", text(&ram), "--once"]);
    ended.code(0);
    assert_eq!(records(&profile), [1, 1]);
    let ram = file("read.ram", &memory(&[read, others.clone()]));
    refused(
        attach("attach-read", &["--ram", text(&ram), "--once"]).0,
        1,
        &["nothing left to read"],
    );
    // Only that of another kernel.
    let ram = file("others.ram", &memory(&[others]));
    let (ended, _) = attach("attach-others", &["--ram", text(&ram), "--once"]);
    let said = stderr(&ended.code(1));
    assert!(
        said.contains(&format!(
            "the guest's has build-id {other_id} and --kernel "
        )),
        "{said}"
    );
}

#[test]
fn a_kernel_that_refuses_says_why() {
    let ram = crate::fixture::refusing_image("refusing.ram", "no clock here", true);
    refused(
        attach("attach-refusing", &["--ram", text(&ram)]).0,
        1,
        &["could not sample: no clock here"],
    );
}

/// An ELF core with these notes' name and these segments: address, bytes.
fn core(note: &str, segments: &[(u64, &[u8])]) -> Vec<u8> {
    let mut file = vec![0; 64];
    file[..20].copy_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x04\0\x3e\0");
    file[20] = 1;
    file[32] = 64;
    file[52..58].copy_from_slice(&[64, 0, 56, 0, u8::try_from(segments.len()).unwrap() + 1, 0]);
    let headers = file.len();
    // Offsets in the file are no multiples of a page, as in QEMU's.
    file.resize(headers + 56 * (segments.len() + 1), 0);
    let mut put = |number: usize, kind: u32, address: u64, bytes: &[u8]| {
        let header = headers + 56 * number;
        let offset = file.len() as u64;
        file[header..header + 4].copy_from_slice(&kind.to_le_bytes());
        for (at, word) in [(8, offset), (24, address), (32, bytes.len() as u64)] {
            file[header + at..header + at + 8].copy_from_slice(&word.to_le_bytes());
        }
        file.extend(bytes);
    };
    let mut notes = vec![
        u8::try_from(note.len()).unwrap() + 1,
        0,
        0,
        0,
        4,
        0,
        0,
        0,
        1,
        0,
        0,
        0,
    ];
    notes.extend(note.as_bytes());
    notes.push(0);
    notes.resize(notes.len().next_multiple_of(4), 0);
    notes.extend([0; 4]);
    put(0, 4, 0, &notes);
    for (number, (address, bytes)) in segments.iter().enumerate() {
        put(number + 1, 1, *address, bytes);
    }
    file
}

#[test]
fn a_region_may_lie_in_several_segments_of_a_dump() {
    const HIGH: u64 = 5 << 30;
    let region = region(&description(), RunState::Finished, [4, 0]);
    let (first, rest) = region.split_at(2 * PAGE);
    let (second, third) = rest.split_at(PAGE);
    let at = |pages: usize| HIGH + (pages * PAGE) as u64;
    let whole = [
        (at(3), third),
        (0, &[0; 9000][..]),
        (at(0), first),
        (at(2), second),
    ];
    let (ended, profile) = attach(
        "attach-dump",
        &["--ram", text(&file("dump", &core("QEMU", &whole)))],
    );
    ended.code(0);
    assert_eq!(records(&profile), [4, 4]);
    let gap = [(at(0), first), (at(3), third)];
    let says = "bytes from address 0x140002000 on are not in it";
    refused(
        attach(
            "attach-gap",
            &["--ram", text(&file("gap", &core("QEMU", &gap)))],
        )
        .0,
        1,
        &[says],
    );
    // A core that was cut: its header says more.
    let mut cut = core("QEMU", &[(at(0), &region)]);
    cut.truncate(cut.len() - 1);
    refused(
        attach("attach-cut", &["--ram", text(&file("cut", &cut))]).0,
        1,
        &["it was cut"],
    );
    let of_process = file("process.core", &core("CORE", &whole));
    refused(
        attach("attach-process", &["--ram", text(&of_process)]).0,
        1,
        &["is the core of a process"],
    );
    let mut short = core("QEMU", &whole);
    short[4] = 1;
    refused(
        attach("attach-short", &["--ram", text(&file("short", &short))]).0,
        1,
        &["not a 64-bit ELF file"],
    );
}

/// `pmiscope attach --live` that goes on.
struct Live {
    child: Child,
    ram: PathBuf,
    said: PathBuf,
    profile: PathBuf,
}

impl Live {
    fn start(name: &str, bytes: &[u8]) -> Self {
        let ram = file(&format!("{name}.ram"), bytes);
        let [said, profile] = ["said", "pmi"].map(|end| folder().join(format!("{name}.{end}")));
        let child = Process::new(env!("CARGO_BIN_EXE_pmiscope"))
            .args([
                "attach",
                "--live",
                "--ram",
                text(&ram),
                "-o",
                text(&profile),
            ])
            .args(["--kernel", text(&kernel().path)])
            .stdout(Stdio::null())
            .stderr(File::create(&said).unwrap())
            .spawn()
            .unwrap();
        Self {
            child,
            ram,
            said,
            profile,
        }
    }

    fn word(&self, at: usize) -> u64 {
        let mut word = [0; 8];
        let ram = File::open(&self.ram).unwrap();
        ram.read_exact_at(&mut word, at as u64).unwrap();
        u64::from_le_bytes(word)
    }

    fn write(&self, at: usize, bytes: &[u8]) {
        let ram = File::options().write(true).open(&self.ram).unwrap();
        ram.write_all_at(bytes, at as u64).unwrap();
    }

    /// Waits until all of the first core's ring is read.
    fn drained(&self) {
        let started = Instant::now();
        while self.word(RUN + TAIL) == 0 || self.word(RUN + TAIL) != self.word(RUN + HEAD) {
            assert!(
                started.elapsed() < Duration::from_secs(30),
                "the ring is not read"
            );
            thread::sleep(Duration::from_millis(5));
        }
    }

    #[track_caller]
    fn ended_with(mut self, status: i32, says: &str) -> PathBuf {
        let ended = self.child.wait().unwrap();
        let said = fs::read_to_string(&self.said).unwrap();
        assert_eq!(ended.code(), Some(status), "{said}");
        assert!(said.contains(says), "{said}");
        self.profile
    }
}

#[test]
fn a_live_file_is_read_in_place_until_its_run_ends() {
    let sampling = region(&description(), RunState::Sampling, [3, 0]);
    let live = Live::start("attach-live", &memory(std::slice::from_ref(&sampling)));
    live.drained();
    // The state, behind magic and version.
    live.write(RUN + 20, &[RunState::Finished as u8]);
    assert_eq!(records(&live.ended_with(0, "profile")), [3, 3]);

    // Nothing more comes.
    let ram = file("silent.ram", &memory(std::slice::from_ref(&sampling)));
    let (ended, profile) = attach(
        "attach-silent",
        &["--ram", text(&ram), "--live", "--timeout", "1"],
    );
    let said = stderr(&ended.code(6));
    assert!(
        said.contains("the guest fell silent: no sample for 1 s (--timeout)"),
        "{said}"
    );
    assert_eq!(records(&profile), [3, 3]);
    let (ended, _) = attach(
        "attach-silent",
        &["--ram", text(&ram), "--live", "--time-limit", "1"],
    );
    let said = stderr(&ended.code(6));
    assert!(said.contains("some of the run was read before"), "{said}");
    assert!(said.contains("ended at the time limit"), "{said}");

    // A region that is not there yet.
    let live = Live::start("attach-late", &vec![0; RUN + sampling.len()]);
    thread::sleep(Duration::from_millis(100));
    live.write(RUN + PAGE, &sampling[PAGE..]);
    live.write(RUN + 16, &sampling[16..PAGE]);
    live.write(RUN, &MAGIC);
    live.drained();
    live.write(RUN + 20, &[RunState::Failed as u8]);
    assert_eq!(
        records(&live.ended_with(4, "by a panic or an exception")),
        [3, 3]
    );

    let nothing = file("nothing.live", &[0; 8192]);
    let (ended, _) = attach(
        "attach-silent",
        &["--ram", text(&nothing), "--live", "--timeout", "1"],
    );
    let said = stderr(&ended.code(6));
    assert!(said.contains("no region was found in the memory"), "{said}");
}

#[test]
fn a_file_has_one_reader_and_may_be_shortened_meanwhile() {
    let sampling = region(&description(), RunState::Sampling, [3, 0]);
    let live = Live::start("attach-shortened", &memory(&[sampling]));
    live.drained();
    for how in ["--live", "--once"] {
        let second = attach("attach-second", &["--ram", text(&live.ram), how]).0;
        refused(
            second,
            1,
            &["another pmiscope reads", "a ring has one reader"],
        );
    }
    let ram = File::options().write(true).open(&live.ram).unwrap();
    ram.set_len(PAGE as u64).unwrap();
    let profile = live.ended_with(3, "was shortened while it was read");
    assert_eq!(records(&profile), [3, 3]);
}

#[test]
fn a_second_boot_in_the_same_memory_is_no_part_of_the_profile() {
    let sampling = region(&description(), RunState::Sampling, [3, 0]);
    let live = Live::start("attach-again", &memory(&[sampling]));
    live.drained();
    let again = region(&description(), RunState::Sampling, [1, 0]);
    // As the kernel makes its region: the magic goes, the rings are cleared, the magic comes.
    live.write(RUN, &[0; 8]);
    live.write(RUN + 8, &again[8..]);
    live.write(RUN, &again[..8]);
    let profile = live.ended_with(3, "the guest has begun another run in the same memory");
    assert_eq!(records(&profile), [3, 3]);
}

#[test]
fn a_process_is_the_guests_if_it_maps_the_file() {
    let ram = file("mapped.ram", &memory(&[finished()]));
    let own = std::process::id().to_string();
    let (ended, _) = attach("attach-mapped", &["--ram", text(&ram), "--pid", &own]);
    refused(
        ended,
        1,
        &["does not map", "nor does any process that can be seen"],
    );
    let none = attach("attach-mapped", &["--ram", text(&ram), "--pid", "4194305"]).0;
    refused(none, 1, &["there is no process 4194305"]);
    let opened = File::options().read(true).write(true).open(&ram).unwrap();
    let _mapping = MmapOptions::new().map_raw(&opened).unwrap();
    // It is found by itself, and is no QEMU.
    let (ended, profile) = attach("attach-mapped", &["--ram", text(&ram)]);
    let said = stderr(&ended.code(0));
    assert!(
        said.contains(&format!("attached to process {own}")),
        "{said}"
    );
    assert!(said.contains("it is not called as QEMU is"), "{said}");
    assert_eq!(records(&profile), [3, 3]);
}

#[test]
fn text_of_a_description_is_not_trusted() {
    // More rings than any file has.
    let mut description = description();
    description.workload = Text::new("mix");
    let mut region = region(&description, RunState::Finished, [1, 0]);
    // The number of cores, and the words of a ring, behind the build-id: see docs/region.md.
    for at in 24..PAGE {
        if region[at..at + 4] == 2u32.to_le_bytes() {
            region[at + 3] = 0x7f;
            break;
        }
    }
    let ram = file("liar.ram", &memory(&[region]));
    let (ended, _) = attach("attach-liar", &["--ram", text(&ram), "--once"]);
    let said = stderr(&ended.code(1));
    assert_eq!(said.lines().count(), 1, "{said}");
}
