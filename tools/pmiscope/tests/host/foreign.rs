//! What other profilers have recorded.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use flate2::read::GzDecoder;
use serde_json::Value;

use crate::command::{pmiscope, refused, stderr, stdout, text};
use crate::fixture::{file, folder, kernel, other_kernel, profile, profile_of_events};

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
            "line 2: more samples than a number has room for",
        ),
    ] {
        let path = file("wrong.txt", stacks.as_bytes());
        let output = folder().join("never.pmi");
        let assert = pmiscope(&["import", "--folded", text(&path), "-o", text(&output)]);
        refused(assert, 1, &[text(&path), says]);
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
        report.starts_with("imported    perf.data\nkernel      build-id "),
        "{report}"
    );
    assert!(report.contains("samples     6, 0 lost\n"), "{report}");
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
