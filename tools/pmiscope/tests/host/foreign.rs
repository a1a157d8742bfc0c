//! What other profilers have recorded.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use flate2::read::GzDecoder;
use profiler::format::ChainEntry;
use serde_json::{Value, json};

use crate::command::{pmiscope, refused, report, stderr, stdout, text};
use crate::fixture::{
    Seen, description, file, folder, kernel, other_kernel, profile, profile_of, profile_of_events,
};

/// The profile of an import with these options.
fn imported(options: &[&str], says: &str) -> PathBuf {
    let output = folder().join("imported.pmi");
    let words = [&["import"][..], options, &["-o", text(&output)]].concat();
    let assert = pmiscope(&words).success();
    assert!(stderr(&assert).contains(says), "{}", stderr(&assert));
    output
}

/// Each function, with its samples by itself and in all.
fn functions(path: &Path) -> Vec<(String, u64, u64)> {
    let report = stdout(&pmiscope(&["report", text(path), "--format", "json"]));
    let report: Value = serde_json::from_str(&report).unwrap();
    let rows = report["functions"].as_array().unwrap();
    let row = |row: &Value| {
        let number = |key: &str| row[key].as_u64().unwrap();
        (
            row["name"].as_str().unwrap().to_owned(),
            number("self"),
            number("total"),
        )
    };
    let mut rows: Vec<_> = rows.iter().map(row).collect();
    rows.sort();
    rows
}

fn row(name: &str, own: u64, total: u64) -> (String, u64, u64) {
    (name.to_owned(), own, total)
}

#[test]
fn folded_stacks_become_a_profile() {
    let deep: Vec<_> = (0..100).map(|level| format!("f{level}")).collect();
    let stacks = format!(
        "# a comment\nmain;parse file;read_[k] 3\n\nmain;work 5\nmain;parse file;read_[k] 4\nmain;work;work 1\nidle\t7\nmain;none 0\n{} 2\n",
        deep.join(";")
    );
    let stacks = file("stacks.txt", stacks.as_bytes());
    let path = imported(&["--folded", text(&stacks)], "profile      ");
    let mut expected = vec![
        row("main", 0, 13),
        row("parse file", 0, 7),
        row("read_[k]", 7, 7),
        row("work", 6, 6),
        row("idle", 7, 7),
    ];
    expected.extend(deep[..99].iter().map(|name| row(name, 0, 2)));
    expected.push(row("f99", 2, 2));
    expected.sort();
    assert_eq!(functions(&path), expected);
    let report = stdout(&pmiscope(&["report", text(&path)]).success());
    assert!(
        report.starts_with("imported    folded stacks\nsamples     22, 0 lost\n"),
        "{report}"
    );
    let picture = fs::read_to_string(path.with_extension("svg")).unwrap();
    assert!(picture.contains("parse file"));
    // It is what was read, in the order of the stacks.
    let exported = stdout(&pmiscope(&[
        "export",
        text(&path),
        "--format",
        "folded",
        "-o",
        "-",
    ]));
    let mut lines: Vec<_> = exported
        .lines()
        .filter(|line| !line.starts_with("f0;"))
        .collect();
    lines.sort_unstable();
    assert_eq!(lines.len(), 4, "{exported}");
    assert_eq!(
        (lines[0], lines[2], lines[3]),
        ("idle 7", "main;work 5", "main;work;work 1")
    );
}

#[test]
fn our_own_folded_stacks_come_back() {
    let original = file("original.pmi", &profile());
    let export = |path: &Path| {
        let words = ["export", text(path), "--format", "folded", "-o", "-"];
        stdout(&pmiscope(&words))
    };
    let stacks = file("own.txt", export(&original).as_bytes());
    let path = imported(&["--folded", text(&stacks)], "");
    let sorted = |text: String| {
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(export(&path)), sorted(export(&original)));
}

#[test]
fn what_is_no_folded_stack_is_said_with_its_line() {
    for (stacks, says) in [
        ("main;work 5\nmain\n", "line 2: no count behind a blank"),
        ("main;work x\n", "line 1: `x` is no count of samples"),
        ("main;work 1.5\n", "line 1: `1.5` is no count of samples"),
        (" 5\n", "line 1: no stack before the count"),
        ("# nothing\n", "it has no stack"),
        (
            "a 18446744073709551615\nb 1\n",
            "line 1: more samples than a profile has room for",
        ),
        (
            "a 4611686018427387903\nb 1\n",
            "line 2: more samples than a profile has room for",
        ),
        (
            "main 1\na;b 5 7\n",
            "line 2: two counts, `5 7`, as of two profiles",
        ),
    ] {
        let path = file("wrong.txt", stacks.as_bytes());
        let output = folder().join("never.pmi");
        let assert = pmiscope(&["import", "--folded", text(&path), "-o", text(&output)]);
        refused(assert, 1, &[text(&path), says]);
        assert!(!output.exists());
    }
}

#[test]
fn as_many_samples_are_imported_as_can_be_shown() {
    let stacks = file("many.txt", b"a 4611686018427387902\nb 1\n");
    let path = imported(&["--folded", text(&stacks)], "profile      ");
    let all = (1 << 62) - 2;
    assert_eq!(functions(&path), [row("a", all, all), row("b", 1, 1)]);
}

#[test]
fn a_name_may_begin_with_the_sign_of_comments() {
    let stacks = "# of ruby\n#<Class:Shop>#buy;#pay 3\n#\n";
    let stacks = file("signs.txt", stacks.as_bytes());
    let says = "pmiscope: note: 2 lines that # begins: taken as no stack\n";
    let path = imported(&["--folded", text(&stacks)], says);
    assert_eq!(
        functions(&path),
        [row("#<Class:Shop>#buy", 0, 3), row("#pay", 3, 3)]
    );
}

/// With these bytes on the standard input, which is a pipe.
fn piped(bytes: &[u8], arguments: &[&str]) -> assert_cmd::assert::Assert {
    assert_cmd::Command::new(env!("CARGO_BIN_EXE_pmiscope"))
        .args(arguments)
        .write_stdin(bytes)
        .timeout(std::time::Duration::from_secs(60))
        .assert()
}

#[test]
fn what_comes_by_a_pipe_is_read() {
    let expected = [row("main", 1, 3), row("work", 2, 2)];
    for name in ["-", "/dev/stdin"] {
        let output = folder().join("piped.pmi");
        let words = ["import", "--folded", name, "-o", text(&output)];
        piped(b"main 1\nmain;work 2\n", &words).success();
        assert_eq!(functions(&output), expected, "{name}");
        refused(
            piped(b"", &words),
            1,
            &["cannot read /dev/stdin", "nothing came by the pipe"],
        );
        refused(
            piped(b"main\n", &words),
            1,
            &["/dev/stdin: line 1: no count"],
        );
        let written = fs::read(&output).unwrap();
        let report = piped(&written, &["report", name]).success();
        assert!(stdout(&report).starts_with("imported    folded stacks\n"));
    }
    let linux = Recorded::default();
    let output = folder().join("piped-perf.pmi");
    let words = ["import", "--perf", "-", "-o", text(&output)];
    piped(&linux.bytes(), &words).success();
    assert_eq!(functions(&output), functions_of_linux());
}

#[test]
fn a_stream_of_perf_is_read_as_its_file_is() {
    let linux = Recorded::default();
    let path = file("stream.data", &linux.stream());
    let output = imported(&["--perf", text(&path)], "pmiscope: profile ");
    assert_eq!(functions(&output), functions_of_linux());
    let whole = linux.stream();
    let cut = file("cut-stream.data", &whole[..whole.len() - 9]);
    let never = folder().join("never.pmi");
    let assert = pmiscope(&["import", "--perf", text(&cut), "-o", text(&never)]);
    refused(assert, 1, &["it is cut off or damaged: it ends too early"]);
    assert!(!never.exists());
}

#[test]
fn counted_stacks_are_no_packet_each() {
    let stacks = file("most.txt", b"a;b 10000001");
    let path = imported(&["--folded", text(&stacks)], "");
    let out = folder().join("most.perfetto");
    let words = [
        "export",
        text(&path),
        "--format",
        "perfetto",
        "-o",
        text(&out),
    ];
    let said = stderr(&pmiscope(&words).code(1));
    let line = "stacks were counted, 10,000,001 samples, and this form has a packet for each, at most 10,000,000: choose fewer, or take a form that has weights";
    assert!(said.contains(line), "{said}");
    assert!(!out.exists());
}

/// A perf.data as Linux writes it, of two processes of `dd` and a thread of the kernel's.
#[derive(Clone, Copy)]
struct Recorded {
    has_chains: bool,
    has_frequency: bool,
}

impl Default for Recorded {
    fn default() -> Self {
        Self {
            has_chains: true,
            has_frequency: false,
        }
    }
}

const KERNEL: u64 = 0xffff_ffff_8100_0000;
const IN_KERNEL: u64 = -128_i64 as u64;
const IN_USER: u64 = -512_i64 as u64;
/// Of each sample: the process, and its chain.
const SAMPLES: [(u32, &[u64]); 5] = [
    (7, &[IN_USER, 0x40_0100, 0x40_0200]),
    (7, &[IN_KERNEL, KERNEL, KERNEL + 5, IN_USER, 0x40_0100]),
    // The program's part was not recorded.
    (7, &[IN_KERNEL, KERNEL]),
    (8, &[IN_KERNEL, KERNEL, IN_USER, 0x40_0300]),
    (9, &[IN_KERNEL, KERNEL]),
];

fn functions_of_linux() -> Vec<(String, u64, u64)> {
    vec![
        row("[dd]", 1, 3),
        row("[kernel]", 4, 4),
        row("[unknown]", 0, 1),
    ]
}

const ATTRIBUTE: u32 = 112;

/// What perf says of an event: of `instructions`, every 1000.
pub fn attribute(sample_type: u64, flags: u64) -> Vec<u8> {
    let mut attribute = [1_u32, ATTRIBUTE].map(u32::to_le_bytes).concat();
    attribute.extend(
        [0, 1000, sample_type, 0, flags]
            .map(u64::to_le_bytes)
            .concat(),
    );
    attribute.resize(ATTRIBUTE as usize, 0);
    attribute
}

/// A file of one event.
pub fn perf_file(attribute: Vec<u8>, records: Vec<u8>) -> Vec<u8> {
    const HEADER: u64 = 104;
    let of_file = attribute.len() as u64 + 16;
    let data = HEADER + of_file;
    let mut all = b"PERFILE2".to_vec();
    let sections = [HEADER, of_file, data, records.len() as u64, 0, 0];
    let header = [HEADER, of_file].into_iter().chain(sections).chain([0; 4]);
    all.extend(header.flat_map(u64::to_le_bytes));
    all.extend(attribute);
    all.extend([0; 16]);
    all.extend(records);
    all
}

/// A record.
pub fn record(kind: u32, misc: u16, body: &[u8]) -> Vec<u8> {
    let size = u16::try_from(body.len() + 8).unwrap();
    let head = [misc, size].map(u16::to_le_bytes).concat();
    [&kind.to_le_bytes()[..], &head, body].concat()
}

impl Recorded {
    fn attribute(self) -> Vec<u8> {
        // Of a sample: IP, TID, TIME, CPU; the chain.
        let sample_type = 1 | 1 << 1 | 1 << 2 | 1 << 7 | u64::from(self.has_chains) << 5;
        let flags = u64::from(self.has_frequency) << 10;
        attribute(sample_type, flags)
    }

    fn records(self) -> Vec<u8> {
        let mut all = Vec::new();
        let mut add = |kind, misc, body: Vec<u8>| all.extend(record(kind, misc, &body));
        let who = |pid: u32| [pid, pid].map(u32::to_le_bytes).concat();
        for (pid, name) in [
            (7, b"dd\0\0\0\0\0\0"),
            (8, b"dd\0\0\0\0\0\0"),
            (9, b"kworker\0"),
        ] {
            add(3, 0, [&who(pid)[..], name].concat());
            if name.starts_with(b"dd") {
                let place = [0x40_0000, 0x1000, 0].map(u64::to_le_bytes).concat();
                add(
                    1,
                    2,
                    [&who(pid)[..], &place, b"/nowhere/at/dd\0\0"].concat(),
                );
            }
        }
        for (time, (pid, chain)) in (5_000_u64..).zip(SAMPLES) {
            let misc = if chain[0] == IN_USER { 2 } else { 1 };
            let mut body = chain[1].to_le_bytes().to_vec();
            body.extend(who(pid));
            body.extend([time, 0].map(u64::to_le_bytes).concat());
            if self.has_chains {
                body.extend((chain.len() as u64).to_le_bytes());
                body.extend(chain.iter().flat_map(|word| word.to_le_bytes()));
            }
            add(9, misc, body);
        }
        all
    }

    fn bytes(self) -> Vec<u8> {
        perf_file(self.attribute(), self.records())
    }

    /// The same as it goes into a pipe: the attribute is a record (`PERF_RECORD_HEADER_ATTR`).
    fn stream(self) -> Vec<u8> {
        let attribute = self.attribute();
        let mut all = b"PERFILE2".to_vec();
        all.extend(16_u64.to_le_bytes());
        all.extend(64_u32.to_le_bytes());
        let size = u16::try_from(attribute.len() + 8).unwrap();
        all.extend([0, size].map(u16::to_le_bytes).concat());
        all.extend(attribute);
        all.extend(self.records());
        all
    }

    /// The profile that it becomes.
    fn imported(self, name: &str) -> PathBuf {
        let path = file(&format!("{name}.data"), &self.bytes());
        let output = folder().join(format!("{name}.pmi"));
        let words = ["import", "--perf", text(&path), "-o", text(&output)];
        pmiscope(&words).success();
        output
    }
}

#[test]
fn samples_of_the_kernel_are_of_the_process_that_it_serves() {
    let path = Recorded::default().imported("processes");
    let path = text(&path);
    assert_eq!(
        report(&[path])["processes"],
        json!([
            {"name": "dd", "pid": 7, "samples": 3, "user": 1, "kernel": 2},
            {"name": "dd", "pid": 8, "samples": 1, "user": 0, "kernel": 1},
        ])
    );
    for (chosen, samples) in [("dd", 4), ("7", 3), ("8", 1)] {
        assert_eq!(
            report(&[path, "--process", chosen])["samples"],
            samples,
            "{chosen}"
        );
    }
    let words = ["export", path, "--format", "folded", "-o", "-"];
    let folded = stdout(&pmiscope(&words).success());
    let mut lines: Vec<_> = folded.lines().collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "[cut: user registers unknown];[unknown];[from user code];[kernel] 1",
            "[dd];[dd] 1",
            "[dd];[from user code];[kernel] 1",
            "[dd];[from user code];[kernel];[kernel] 1",
            "[kernel] 1",
        ]
    );
}

#[test]
fn chains_that_were_not_recorded_are_not_complete() {
    let whole = report(&[text(&Recorded::default().imported("whole"))]);
    let expected = json!({"complete": 4, "user registers unknown": 1});
    assert_eq!(whole["chain_ends"], expected);
    let warnings = whole["warnings"].to_string();
    assert!(
        warnings.contains("1 sample without the program's callers"),
        "{warnings}"
    );
    let without = Recorded {
        has_chains: false,
        ..Recorded::default()
    };
    let path = without.imported("without");
    let flat = report(&[text(&path)]);
    assert_eq!(
        flat["chain_ends"],
        json!({"complete": 0, "unknown stack": 5})
    );
    let warnings = flat["warnings"].to_string();
    assert!(
        warnings.contains("5 samples without a chain of calls"),
        "{warnings}"
    );
    // The process is known all the same.
    assert_eq!(flat["processes"][0]["samples"], 3);
}

#[test]
fn what_an_imported_profile_does_not_say_is_null() {
    let by_frequency = Recorded {
        has_frequency: true,
        ..Recorded::default()
    };
    let path = by_frequency.imported("unknown");
    let report = report(&[text(&path)]);
    for key in [
        "build_id",
        "source",
        "mode",
        "qemu",
        "emulator",
        "delivery",
        "addresses",
    ] {
        assert!(report[key].is_null(), "{key}: {}", report[key]);
        assert!(report.get(key).is_some(), "{key}");
    }
    assert!(
        report["period"]["requested"].is_null(),
        "{}",
        report["period"]
    );
    assert!(report["events"][0]["period_set"].is_null());
    assert!(report["cores"][0]["apic_id"].is_null());
    let shown = stdout(&pmiscope(&["report", text(&path)]).success());
    assert!(shown.contains("no fixed period"), "{shown}");
    let by_period = Recorded::default().imported("by-period");
    assert_eq!(
        self::report(&[text(&by_period)])["period"]["requested"],
        1000
    );
}

#[test]
fn what_an_imported_profile_has_not_is_said_without_advice_that_leads_nowhere() {
    let stacks = file("plain.txt", b"main;work 5\n");
    let folded = imported(&["--folded", text(&stacks)], "");
    let path = text(&folded);
    let elf = text(&kernel().path);
    let alone = "the profile was imported: it has the names of functions, and no code or addresses";
    let times = "folded stacks were imported, which say how often there was each and not when";
    for (words, says) in [
        (&["timeline", path][..], times),
        (&["report", path, "--time", "1s,2s"], times),
        (&["annotate", path, "work"], alone),
        (&["verify", path], alone),
        (&["export", path, "--format", "perf", "-o", "-"], alone),
        (&["report", path, "--by", "address"], alone),
        (&["report", path, "--elf", elf], alone),
        (&["report", path, "--elf", elf, "--force"], alone),
    ] {
        let said = stderr(&pmiscope(words).code(1));
        assert!(said.contains(says), "{words:?}: {said}");
        for advice in ["--keep chains", "the kernel that ran by --elf"] {
            assert!(!said.contains(advice), "{words:?}: {said}");
        }
    }
    let shown = stdout(&pmiscope(&["diff", path, path]).success());
    assert!(shown.contains("samples, imported\n"), "{shown}");
    assert!(!shown.contains("build-id"), "{shown}");
}

#[test]
fn what_is_wrong_with_a_perf_data_is_said_once() {
    const SAYS: &str = "it is cut off or damaged: it ends too early";
    let whole = Recorded::default().bytes();
    let mut outside = whole.clone();
    // Where the records are.
    outside[40..48].copy_from_slice(&u64::MAX.to_le_bytes());
    for bytes in [&whole[..whole.len() - 9], &whole[..60], &outside] {
        let path = file("damaged.data", bytes);
        let output = folder().join("never.pmi");
        let assert = pmiscope(&["import", "--perf", text(&path), "-o", text(&output)]);
        let said = stderr(&assert);
        assert_eq!(said.matches(SAYS).count(), 1, "{said}");
        refused(assert, 1, &[text(&path)]);
        assert!(!output.exists());
    }
}

/// Our own perf.data, which perf reads as one of Linux.
fn perf_data(profile: &[u8]) -> PathBuf {
    let original = file("original.pmi", profile);
    let perf = folder().join("perf.data");
    pmiscope(&[
        "export",
        text(&original),
        "--format",
        "perf",
        "-o",
        text(&perf),
    ]);
    perf
}

#[test]
fn perf_data_has_the_names_of_the_kernel_that_it_is_of() {
    let perf = perf_data(&profile());
    let options = ["--perf", text(&perf), "--kernel", text(&kernel().path)];
    let path = imported(&options, "pmiscope: profile ");
    let own = |rows: Vec<(String, u64, u64)>| {
        // Code that is no function's.
        let rows = rows
            .into_iter()
            .filter(|(name, ..)| !name.starts_with(['0', '[']));
        let rows = rows
            .map(|(name, own, _)| (name, own))
            .filter(|&(_, own)| own > 0);
        rows.collect::<Vec<_>>()
    };
    let expected = [
        ("innermost", 2),
        ("kernel::workload::hash::run", 1),
        ("stub", 2),
    ];
    let expected = expected.map(|(name, own)| (name.to_owned(), own));
    assert_eq!(own(functions(&path)), expected);
    assert_eq!(own(functions(&folder().join("original.pmi"))), expected);
    let report = stdout(&pmiscope(&["report", text(&path)]).success());
    assert!(
        report.starts_with(concat!(
            "imported    perf.data of pmiscope ",
            env!("CARGO_PKG_VERSION"),
            "\nkernel      build-id "
        )),
        "{report}"
    );
    assert!(report.contains("samples     6, 0 lost\n"), "{report}");
}

/// Of code that was interrupted at a function's first instruction too: before that is another function.
#[test]
fn an_export_of_ours_comes_back_with_its_totals() {
    let crossing = ChainEntry::Crossing {
        vector: 0x40,
        pc: kernel().at("idle"),
        caller_known: true,
        stack_top: [0; 2],
    };
    let seen = Seen::new(0, kernel().at("in_innermost"), &[crossing]);
    let perf = perf_data(&profile_of(&description(), &[seen]));
    let options = ["--perf", text(&perf), "--kernel", text(&kernel().path)];
    let path = imported(&options, "pmiscope: profile ");
    let expected = [
        row("idle", 0, 1),
        row("innermost", 1, 1),
        row("kernel::workload::hash::run", 0, 1),
        row("middle", 0, 1),
    ];
    assert_eq!(functions(&path), expected);
    assert_eq!(functions(&folder().join("original.pmi")), expected);
}

#[test]
fn perf_data_without_a_kernel_has_no_other_ones_names() {
    let perf = perf_data(&profile());
    let path = imported(
        &["--perf", text(&perf)],
        "without a name: give the kernel's unstripped file by --kernel",
    );
    assert_eq!(functions(&path), [row("[kernel]", 6, 6)]);
    let options = [
        "import",
        "--perf",
        text(&perf),
        "--kernel",
        text(&other_kernel().path),
    ];
    let output = folder().join("never.pmi");
    let words = [&options[..], &["-o", text(&output)]].concat();
    refused(
        pmiscope(&words),
        1,
        &["its names would be wrong; give that one"],
    );
    assert!(!output.exists());
}

/// What perf 6.1 of Debian's Linux 6.1 has recorded on the lab emulator, of a program without a file here: by
/// `perf record -B -g -c 20000 -e instructions /lab/linux-loop time recursion 60` in a script for
/// `tools/qemu-pmu/linux/boot.sh`, model intel-v5, one core.
#[test]
fn what_linux_has_recorded_by_counters_becomes_a_profile() {
    let mut recorded = Vec::new();
    let packed = &include_bytes!("recorded.data.gz")[..];
    GzDecoder::new(packed).read_to_end(&mut recorded).unwrap();
    let recorded = file("by-counters.data", &recorded);
    let says = "55 addresses of the kernel or its modules without a name: give the kernel's unstripped file by --kernel";
    let path = imported(&["--perf", text(&recorded)], says);
    let report = stdout(&pmiscope(&["report", text(&path), "--format", "json"]).success());
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!([&report["samples"], &report["lost"]], [199, 0]);
    let event = &report["events"][0];
    assert_eq!(
        (&event["name"], &event["samples"]),
        (&"instructions".into(), &199.into())
    );
    assert_eq!(event["period"]["requested"], 20_000);
    assert_eq!(report["processes"][0]["user"], 191);
    // Never those of the kernel that runs here, which perf shows.
    let expected = [
        row("[kernel]", 8, 8),
        row("[linux-loop]", 191, 195),
        row("[unknown]", 0, 4),
    ];
    assert_eq!(functions(&path), expected);
    // What is cut is refused, and leaves nothing behind.
    let whole = fs::read(&recorded).unwrap();
    for bytes in [0, 8, 104, 600, whole.len() / 2] {
        let cut = file("by-counters.cut", &whole[..bytes]);
        let output = folder().join("never.pmi");
        let assert = pmiscope(&["import", "--perf", text(&cut), "-o", text(&output)]);
        refused(assert, 1, &[text(&cut)]);
        assert!(!output.exists(), "{bytes}");
    }
}

/// A program that `perf record` samples: nearly all of the time in `inner`, which `outer` calls.
const SPINNING: &str = r#"
#include <time.h>
volatile unsigned long turns;
__attribute__((noinline)) void inner(void) {
    for (int i = 0; i < 100000; i++) turns++;
}
__attribute__((noinline)) void outer(void) { inner(); turns++; }
int main(void) {
    for (clock_t end = clock() + CLOCKS_PER_SEC / 4; clock() < end;) outer();
    return 0;
}
"#;

/// What Linux's perf has recorded itself, by a clock, which needs no counters. It is made here: such a file
/// has names of the machine in it.
#[test]
fn what_linux_has_recorded_becomes_a_profile() {
    let source = file("spinning.c", SPINNING.as_bytes());
    let program = folder().join("spinning");
    let cc = Command::new("cc")
        .arg("-O0")
        .arg(&source)
        .arg("-o")
        .arg(&program)
        .status();
    assert!(cc.expect("cc, which Rust links with").success());
    let recorded = folder().join("recorded.data");
    let mut perf = Command::new("perf");
    perf.args(["record", "-q", "-g", "-e", "cpu-clock:u", "-F", "997", "-o"]);
    let perf = perf.arg(&recorded).arg("--").arg(&program).output();
    match perf {
        Ok(output) if output.status.success() => {}
        // Not installed, or not allowed (perf_event_paranoid).
        _ => return eprintln!("perf cannot record here: nothing to import"),
    }
    let path = imported(&["--perf", text(&recorded)], "pmiscope: profile ");
    let report = stdout(&pmiscope(&["report", text(&path), "--format", "json"]).success());
    let report: Value = serde_json::from_str(&report).unwrap();
    let all = report["samples"].as_u64().unwrap();
    assert!(all > 50, "{all} samples of a quarter of a second");
    // As many as perf itself reads.
    let mut script = Command::new("perf");
    let script = script
        .args(["script", "-F", "time", "-i"])
        .arg(&recorded)
        .output();
    let script = String::from_utf8(script.unwrap().stdout).unwrap();
    assert_eq!(all, script.lines().count() as u64, "{script}");
    let functions = functions(&path);
    let of = |name: &str| {
        let mut found = functions
            .iter()
            .filter(|(it, ..)| it.split(' ').next() == Some(name));
        let (_, own, total) = found
            .next()
            .unwrap_or_else(|| panic!("no {name}: {functions:?}"));
        (*own, *total)
    };
    let (inner, outer, main) = (of("inner"), of("outer"), of("main"));
    assert!(inner.0 * 10 > all * 8, "{inner:?} of {all}");
    // In the first and last instructions of `inner` its caller is not seen.
    assert!(
        outer.1 * 10 > all * 8 && outer.1 >= outer.0,
        "{outer:?} of {all}"
    );
    assert!(main.1 * 10 > all * 8, "{main:?} of {all}");
    for view in [
        &["report", "--tree"][..],
        &["report", "--focus", "inner"],
        &["timeline"],
        &["export", "--format", "folded", "-o", "-"],
    ] {
        let words = [&view[..1], &[text(&path)], &view[1..]].concat();
        pmiscope(&words).success();
    }
}

#[test]
fn events_of_perf_data_stay_apart() {
    let perf = perf_data(&profile_of_events());
    let path = imported(
        &["--perf", text(&perf), "--kernel", text(&kernel().path)],
        "",
    );
    let report = stdout(&pmiscope(&["report", text(&path), "--format", "json"]));
    let report: Value = serde_json::from_str(&report).unwrap();
    let rows = report["events"].as_array().unwrap();
    let samples: Vec<_> = rows
        .iter()
        .map(|row| row["samples"].as_u64().unwrap())
        .collect();
    // The last one is of an event that the run has not described.
    assert_eq!(samples, [3, 2, 1]);
}

#[test]
fn what_is_no_perf_data_is_said() {
    for (bytes, says) in [
        (&b"nothing"[..], "no perf.data that can be read"),
        (&profile(), "no perf.data that can be read"),
    ] {
        let path = file("wrong.data", bytes);
        let output = folder().join("never.pmi");
        let assert = pmiscope(&["import", "--perf", text(&path), "-o", text(&output)]);
        refused(assert, 1, &[says]);
        assert!(!output.exists());
    }
}
