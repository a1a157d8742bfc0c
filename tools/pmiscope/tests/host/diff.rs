//! Two profiles of different builds, of which each sample is known.

use pmiscope::symbols::build_id;
use profiler::format::{Description, State, Text};
use serde_json::{Value, json};

use crate::command::{pmiscope, refused, stderr, stdout, text};
use crate::fixture::{
    Kernel, Seen, description, file, folder, kernel, other_kernel, profile, profile_of,
    profile_of_cores, profile_of_events, profile_of_kernel, profile_of_later_event, samples,
    two_events,
};

/// A profile of a kernel in which this often `innermost` and `stub` were executing.
fn profile_with(name: &str, kernel: &Kernel, innermost: u32, stub: u32) -> std::path::PathBuf {
    let run = Description {
        cores: 1,
        build_id: build_id(&kernel.elf).unwrap().0,
        ..description()
    };
    let seen = (0..innermost + stub).map(|sequence| {
        let place = if sequence < innermost {
            "in_innermost"
        } else {
            "stub"
        };
        Seen {
            state: State::NMI | State::INTERRUPTS_ON,
            ..Seen::new(sequence, kernel.at(place), &[kernel.return_to("in_idle")])
        }
    });
    let samples: Vec<_> = seen.collect();
    file(name, &profile_of_kernel(&kernel.elf, &run, &[&samples]))
}

fn diff(arguments: &[&str]) -> Value {
    let shown = pmiscope(&[&["diff", "--format", "json"], arguments].concat()).success();
    serde_json::from_str(&stdout(&shown)).unwrap()
}

fn is_near(value: &Value, expected: f64) {
    let value = value.as_f64().unwrap();
    assert!((value - expected).abs() < 1e-3, "{value}, not {expected}");
}

#[test]
fn functions_of_different_builds_are_matched_by_their_names() {
    let before = profile_with("diff-before.pmi", kernel(), 8, 12);
    let after = profile_with("diff-after.pmi", other_kernel(), 24, 6);
    let [before, after] = [&before, &after].map(|it| text(it));
    let all = diff(&[before, after]);
    assert_eq!(
        [&all["before"]["samples"], &all["after"]["samples"]],
        [20, 30]
    );
    assert_ne!(all["before"]["build_id"], all["after"]["build_id"]);
    assert_eq!(all["functions_in_all"], 5);
    let row = |name: &str| {
        let rows = all["functions"].as_array().unwrap().iter();
        let mut rows = rows.filter(|row| row["name"] == json!([name]));
        rows.next().unwrap_or_else(|| panic!("no {name}: {all}"))
    };
    for (name, counts, delta, is_significant) in [
        ("innermost", [8, 24, 8, 24], 40.0, true),
        ("stub", [12, 6, 12, 6], -40.0, true),
        ("middle", [0, 0, 8, 24], 0.0, false),
        ("idle", [0, 0, 20, 30], 0.0, false),
    ] {
        let row = row(name);
        let keys = ["before_self", "after_self", "before_total", "after_total"];
        assert_eq!(keys.map(|key| &row[key]), counts, "{name}");
        is_near(&row["delta"], delta);
        assert_eq!(row["is_significant"], is_significant, "{name}");
    }
    // By the definition of Fisher's test: of a table of so few samples.
    is_near(&row("innermost")["chance"], 0.006_485);
    let stack = &all["stacks"][0];
    assert_eq!(
        stack["name"],
        json!(["idle", "kernel::workload::hash::run", "middle", "innermost"])
    );
    assert_eq!([&stack["before_self"], &stack["after_self"]], [8, 24]);
    let by_total = diff(&[before, after, "--sort", "total", "--top", "1"]);
    assert_eq!(by_total["functions"].as_array().unwrap().len(), 1);
    assert_eq!(by_total["functions_in_all"], 5);
    let chosen = diff(&[before, after, "--exclude", "stub"]);
    assert_eq!(chosen["after"]["samples"], 24);
}

#[test]
fn what_may_be_by_chance_is_not_marked() {
    let before = profile_with("chance-before.pmi", kernel(), 8, 12);
    let after = profile_with("chance-after.pmi", kernel(), 12, 12);
    let [before, after] = [&before, &after].map(|it| text(it));
    let shown = stdout(&pmiscope(&["diff", before, after]).success());
    let line = "  40.00%   50.00%   +10.00%  27.10%   innermost";
    assert!(shown.contains(line), "{shown}");
    let hotter = profile_with("hotter.pmi", kernel(), 95, 5);
    let shown = stdout(&pmiscope(&["diff", before, text(&hotter)]).success());
    assert!(shown.contains("+55.00%  20.24% + innermost\n"), "{shown}");
    assert!(shown.contains("-55.00%  20.24% - stub\n"), "{shown}");
}

#[test]
fn a_profile_does_not_differ_from_itself() {
    let path = file("same.pmi", &profile());
    let all = diff(&[text(&path), text(&path)]);
    for row in [&all["functions"], &all["stacks"]] {
        let rows = row.as_array().unwrap();
        assert!(!rows.is_empty());
        let hottest: Vec<_> = rows.iter().map(|row| row["before_self"].as_u64()).collect();
        assert!(hottest.is_sorted_by(|a, b| a >= b), "{hottest:?}");
        for row in rows {
            assert_eq!(row["delta"], 0.0);
            assert_eq!(row["is_significant"], false);
        }
    }
}

#[test]
fn the_picture_shows_shares_as_if_both_had_as_many_samples() {
    let before = profile_with("picture-before.pmi", kernel(), 8, 12);
    let after = profile_with("picture-after.pmi", other_kernel(), 24, 6);
    let picture = folder().join("diff.svg");
    let both = [text(&before), text(&after), "-o", text(&picture)];
    let shown = stdout(&pmiscope(&[&["diff"], &both[..]].concat()).success());
    assert!(
        shown.contains("those whose self share differs most"),
        "{shown}"
    );
    let svg = std::fs::read_to_string(&picture).unwrap();
    assert!(
        svg.contains("innermost (24 samples, 80.00%; +40.00%)"),
        "{svg}"
    );
    assert!(svg.contains("stub (6 samples, 20.00%; -40.00%)"), "{svg}");
    assert!(svg.contains("20 samples before, 30 samples after"), "{svg}");
    let alone = pmiscope(&["diff", both[0], both[1], "-o", "-"]).success();
    assert!(
        stdout(&alone).starts_with("<?xml"),
        "nothing else is on the standard output"
    );
}

/// As perf does: what is of one profile alone is said.
#[test]
fn each_event_of_both_is_compared_by_itself() {
    let before = file("diff-two.pmi", &profile_of_events());
    let after = file("diff-later.pmi", &profile_of_later_event());
    let [before, after] = [&before, &after].map(|it| text(it));
    let shown = pmiscope(&["diff", "--format", "json", before, after]).success();
    let all: Value = serde_json::from_str(&stdout(&shown)).unwrap();
    let events = all["events"].as_array().unwrap();
    let [cycles] = &events[..] else {
        panic!("{all}")
    };
    assert_eq!(cycles["event"], "cycles:k");
    let samples = ["before", "after"].map(|side| cycles[side]["samples"].as_u64());
    assert_eq!(samples, [Some(3), Some(1)]);
    let rows = cycles["functions"].as_array().unwrap().iter();
    let mut innermost = rows.filter(|row| row["name"] == json!(["innermost"]));
    is_near(&innermost.next().unwrap()["delta"], 100.0 - 100.0 / 3.0);
    for (name, path) in [
        ("cpu/event=0xc4,umask=0x20/u", before),
        ("aimed", before),
        ("instructions:u", after),
    ] {
        let note = format!("note: {name} is of {path} alone, and is not compared\n");
        assert!(stderr(&shown).contains(&note), "{}", stderr(&shown));
    }
    let with_itself = pmiscope(&["diff", before, before]).success();
    let heads = stdout(&with_itself);
    let heads = heads.lines().filter(|line| line.starts_with("event "));
    let heads: Vec<_> = heads.map(|line| line[5..].trim()).collect();
    assert_eq!(heads, ["cycles:k", "cpu/event=0xc4,umask=0x20/u", "aimed"]);
    // Chosen from both, it is one of one event.
    let one = diff(&[before, after, "--event", "cycles:k"]);
    assert_eq!(one["functions"], cycles["functions"]);
    pmiscope(&["diff", before, after, "-o", "/dev/null"]).success();
}

/// A profile of the samples of one event alone.
fn profile_of_event(name: &str, event: &str) -> std::path::PathBuf {
    let mut run = Description {
        cores: 1,
        event_count: 1,
        ..two_events()
    };
    run.event_table[0].name = Text::new(event);
    let [first, _] = samples();
    file(name, &profile_of(&run, &first))
}

#[test]
fn shares_of_different_events_are_not_compared_and_those_of_clocks_not_without_a_word() {
    let cycles = profile_of_event("diff-cycles.pmi", "cycles:k");
    let misses = profile_of_event("diff-misses.pmi", "branch-misses");
    let timer = file("diff-timer.pmi", &profile());
    let [cycles, misses, timer] = [&cycles, &misses, &timer].map(|it| text(it));
    let page = folder().join("diff-events.html");
    let _ = std::fs::remove_file(&page);
    let diff = |before, after| pmiscope(&["diff", before, after]);
    let html = |before, after| pmiscope(&["html", after, "--base", before, "-o", text(&page)]);
    let says = "the two have no event in common: ";
    refused(
        diff(cycles, misses),
        1,
        &[says, "has cycles:k, ", "has branch-misses"],
    );
    refused(
        html(cycles, misses),
        1,
        &["--base: ", says, "diff-misses.pmi has branch-misses"],
    );
    assert!(!page.exists());
    let by_index = ["diff", cycles, misses, "--event", "0"];
    refused(pmiscope(&by_index), 1, &[says]);
    for compared in [diff(timer, cycles), html(timer, cycles)] {
        let said = stderr(&compared.success());
        let note = "diff-timer.pmi are of instructions executed, those of ";
        assert!(
            said.contains(note) && said.contains(" of cycles:k: "),
            "{said}"
        );
    }
    for compared in [diff(cycles, cycles), html(timer, timer)] {
        assert!(!stderr(&compared.success()).contains("note: "));
    }
}

#[test]
fn what_cannot_be_compared_is_said() {
    let good = file("diff-good.pmi", &profile());
    let events = file("diff-events.pmi", &profile_of_events());
    let [good, events] = [&good, &events].map(|it| text(it));
    refused(pmiscope(&["diff", good]), 2, &["not provided: <AFTER>"]);
    refused(
        pmiscope(&["diff", good, "nowhere.pmi"]),
        1,
        &["cannot read nowhere.pmi"],
    );
    refused(
        pmiscope(&["diff", good, good, "-o", good]),
        1,
        &["the profile"],
    );
    refused(
        pmiscope(&["diff", good, events]),
        1,
        &[
            "the two have no event in common",
            "diff-good.pmi has none",
            "diff-events.pmi has cycles:k, cpu/event=0xc4,umask=0x20/u, aimed",
        ],
    );
    refused(
        pmiscope(&["diff", events, events, "-o", "-"]),
        1,
        &["a flame graph is of one event: say which by --event (cycles:k, "],
    );
    refused(
        pmiscope(&["diff", good, good, "--task", "idle", "--core", "0"]),
        1,
        &["diff-good.pmi: the selection has no samples (core 0, task idle)"],
    );
    let empty = profile_of_cores(&description(), &[&[], &[]]);
    let empty = file("diff-empty.pmi", &empty);
    let picture = ["diff", text(&empty), good, "-o", "-"];
    let said = stderr(&pmiscope(&picture).code(1));
    assert!(said.contains("there is nothing to draw"), "{said}");
}
