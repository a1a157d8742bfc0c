//! Groups, trees, callers and callees: on a profile whose every sample is known.

use std::path::PathBuf;
use std::sync::OnceLock;

use profiler::format::description::MAX_TASKS;
use profiler::format::{Description, Text};
use serde_json::{Value, json};

use crate::command::{pmiscope, refused, stdout, text};
use crate::fixture::{
    Seen, description, file, folder, kernel, profile, profile_of, profile_of_cores,
    profile_of_events, profile_of_later_event,
};

const HASH: &str = "kernel::workload::hash::run";
const UNNAMED: &str = "0xffffffff8fff0000";

fn shown(arguments: &[&str]) -> String {
    stdout(&pmiscope(arguments).success())
}

fn report(arguments: &[&str]) -> Value {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    let path = PATH.get_or_init(|| file("views.pmi", &profile()));
    let whole = [&["report", text(path), "--format", "json"], arguments].concat();
    serde_json::from_str(&shown(&whole)).unwrap()
}

/// The rows of a report: the names, `self` and `total` of its only event.
fn rows(keys: &[&str], more: &[&str]) -> Vec<Value> {
    let by = keys.join(",");
    let report = report(&[&["--by", &by], more].concat());
    let rows = report["rows"].as_array().unwrap().iter();
    rows.map(|row| {
        let names = keys.iter().map(|key| row[key].clone());
        let event = &row["events"][0];
        let mut all: Vec<Value> = names.collect();
        all.push(event["self"].clone());
        all.extend(event.get("total").cloned());
        Value::from(all)
    })
    .collect()
}

#[test]
fn functions_are_grouped_as_the_report_has_them() {
    let expected = [
        json!(["innermost", 2, 2]),
        json!(["stub", 2, 2]),
        json!([HASH, 1, 3]),
        json!([UNNAMED, 1, 1]),
        json!(["idle", 0, 5]),
        json!(["middle", 0, 3]),
        json!(["never_returns", 0, 2]),
    ];
    assert_eq!(rows(&["function"], &[]), expected);
    let first = rows(&["function"], &["--sort", "total", "--top", "2"]);
    assert_eq!(first, [json!(["idle", 0, 5]), json!([HASH, 1, 3])]);
}

#[test]
fn samples_are_grouped_by_what_they_were_taken_of() {
    assert_eq!(rows(&["core"], &[]), [json!([0, 3]), json!([1, 3])]);
    let tasks = [json!(["hash", 3]), json!(["idle", 2]), json!(["task 7", 1])];
    assert_eq!(rows(&["task"], &[]), tasks);
    let threads = [
        json!(["1 hash", 3]),
        json!(["2 idle", 2]),
        json!(["7 task 7", 1]),
    ];
    assert_eq!(rows(&["thread"], &[]), threads);
    assert_eq!(rows(&["event"], &[]), [json!(["instructions", 6])]);
    let both = rows(&["core", "function"], &["--filter", "idle", "--top", "4"]);
    let expected = [
        json!([0, "innermost", 2, 2]),
        json!([1, "stub", 2, 2]),
        json!([0, HASH, 1, 3]),
        json!([0, "idle", 0, 3]),
    ];
    assert_eq!(both, expected);
}

#[test]
fn what_a_profile_does_not_say_is_nothing_to_group_by() {
    let run = Description {
        tasks: [Text::EMPTY; MAX_TASKS],
        cores: 1,
        ..description()
    };
    let seen = |task| Seen {
        task,
        ..Seen::new(0, kernel().at("stub"), &[])
    };
    let whole = file("unsaid.pmi", &profile());
    let nameless = file("unsaid-tasks.pmi", &profile_of(&run, &[seen(0), seen(0)]));
    let numbered = file("numbered-tasks.pmi", &profile_of(&run, &[seen(0), seen(3)]));
    let stacks = file("unsaid.folded", b"main;work 5\nmain 1\n");
    let folded = folder().join("unsaid-folded.pmi");
    pmiscope(&["import", "--folded", text(&stacks), "-o", text(&folded)]).success();
    const NO_PROCESS: &str = "the profile has no processes: no sample is of a user's program";
    const NO_TASK: &str = "the profile does not say which tasks ran";
    const NO_LOCK: &str = "the run does not say which locks are held (--append locks=on)";
    for (path, by, says) in [
        (&whole, "process", NO_PROCESS),
        (&whole, "function,program", NO_PROCESS),
        (&whole, "lock", NO_LOCK),
        (&nameless, "task", NO_TASK),
        (&nameless, "thread", NO_TASK),
        (&folded, "task", NO_TASK),
        (&folded, "core", "do not say on which core each was"),
        (&folded, "event", "do not say of which event each is"),
        (&folded, "file", "says of no sample in which file it was"),
    ] {
        let key = by.rsplit(',').next().unwrap();
        let says = [&*format!("--by {key}: "), says];
        refused(pmiscope(&["report", text(path), "--by", by]), 1, &says);
    }
    for by in ["core", "task"] {
        for command in [&["flamegraph"][..], &["export", "--format=folded"]] {
            let words = [command, &[text(&folded), "-o", "-", "--by", by]].concat();
            refused(pmiscope(&words), 1, &[&format!("--by {by}: ")]);
        }
    }
    let shown = shown(&["report", text(&numbered), "--by", "thread"]);
    assert!(
        shown.contains("\n 50.00%  40.55%            1  3 task 3\n"),
        "{shown}"
    );
}

#[test]
fn code_is_grouped_by_lines_files_and_addresses() {
    let files = rows(&["file"], &[]);
    // What nobody knows has no file; assembly has the one of the code before it, as addr2line says.
    assert_eq!(files, [json!(["fixture.c", 5, 5]), json!(["??", 1, 1])]);
    let source = include_str!("fixture.c");
    let line = |label: &str| {
        let at = source
            .lines()
            .position(|line| line.contains(&format!("LABEL({label})")));
        format!("fixture.c:{}", at.unwrap() + 1)
    };
    let lines = rows(&["line"], &[]);
    let has = |row: Value| assert!(lines.contains(&row), "{row} is not in {lines:?}");
    has(json!([line("in_innermost"), 2, 2]));
    has(json!([line("in_hash"), 1, 1]));
    has(json!([line("in_never_returns"), 0, 2]));
    has(json!([format!("?? {UNNAMED}"), 1, 1]));
    let addresses = rows(&["address", "function"], &["--top", "2"]);
    let address = |name| format!("{:#x}", kernel().at(name).0);
    let expected = [
        json!([address("in_innermost"), "innermost", 2, 2]),
        json!([address("stub"), "stub", 2, 2]),
    ];
    assert_eq!(addresses, expected);
    // An address alone says little.
    let alone = report(&["--by", "address"]);
    assert_eq!(alone["by"], json!(["address", "function"]));
}

#[test]
fn events_stand_side_by_side() {
    let path = file("side.pmi", &profile_of_events());
    let arguments = [
        "report",
        text(&path),
        "--by",
        "function",
        "--format",
        "json",
    ];
    let report: Value = serde_json::from_str(&shown(&arguments)).unwrap();
    let events = json!([
        {"name": "cycles:k", "samples": 3},
        {"name": "cpu/event=0xc4,umask=0x20/u", "samples": 2},
        {"name": "aimed", "samples": 1},
    ]);
    assert_eq!(report["events"], events);
    let row = |name: &str| {
        let rows = report["rows"].as_array().unwrap().iter();
        let mut rows = rows.filter(|row| row["function"] == name);
        let events = rows.next().unwrap()["events"].as_array().unwrap().clone();
        let counts = events.iter().map(|it| json!([it["self"], it["total"]]));
        Value::from(counts.collect::<Vec<_>>())
    };
    assert_eq!(row("innermost"), json!([[1, 1], [0, 0], [1, 1]]));
    assert_eq!(row("stub"), json!([[1, 1], [1, 1], [0, 0]]));
    assert_eq!(row("idle"), json!([[0, 3], [0, 1], [0, 1]]));
    let text_of = shown(&["report", text(&path), "--by", "task"]);
    let line = "  66.67%  36.54    0.00%  32.88  100.00%  39.67  hash";
    assert!(text_of.contains(line), "{text_of}");
}

/// Those that are chosen, wherever they are among all.
#[test]
fn some_of_the_events_stand_side_by_side() {
    let path = file("some-side.pmi", &profile_of_later_event());
    for (list, names, samples) in [
        ("0,2", ["cycles:k", "instructions:u"], [1, 2]),
        (
            "2,1",
            ["cpu/event=0xc4,umask=0x20/u", "instructions:u"],
            [0, 2],
        ),
    ] {
        let arguments = [
            "report",
            text(&path),
            "--format",
            "json",
            "--event",
            list,
            "--by",
            "core",
        ];
        let report: Value = serde_json::from_str(&shown(&arguments)).unwrap();
        let events: Vec<_> = names
            .iter()
            .zip(samples)
            .map(|(name, samples)| json!({"name": name, "samples": samples}))
            .collect();
        assert_eq!(report["events"], Value::from(events), "{list}");
        let rows = report["rows"][0]["events"].as_array().unwrap().iter();
        let rows: Vec<_> = rows.map(|row| row["self"].as_u64().unwrap()).collect();
        assert_eq!(rows, samples, "{list}");
    }
}

/// Samples of several events have no sum: each has a view, as perf shows them.
#[test]
fn trees_and_callers_are_of_each_event() {
    let path = file("each.pmi", &profile_of_events());
    let json_of = |view: &[&str]| -> Value {
        let whole = [&["report", text(&path), "--format", "json"], view].concat();
        serde_json::from_str(&shown(&whole)).unwrap()
    };
    let names = ["cycles:k", "cpu/event=0xc4,umask=0x20/u", "aimed"];
    for (view, key) in [
        (&["--tree"][..], "roots"),
        (&["--inverted"], "roots"),
        (&["--focus", "stub"], "functions"),
        (&["--focus", "innermost", "--callers"], "functions"),
    ] {
        let all = json_of(view);
        let events = all["events"].as_array().unwrap();
        let known: Vec<_> = events.iter().map(|it| it["event"].as_str()).collect();
        for of_event in events {
            // As if it had been asked for alone.
            let name = of_event["event"].as_str().unwrap();
            let mut alone = json_of(&[view, &["--event", name]].concat());
            assert_eq!(alone[key], of_event[key], "{view:?} {name}");
            alone["event"] = name.into();
            assert_eq!(&alone, of_event, "{view:?} {name}");
        }
        let expected = match key {
            "roots" => &names[..],
            _ if view.contains(&"stub") => &names[..2],
            _ => &["cycles:k", "aimed"],
        };
        assert_eq!(known.into_iter().flatten().collect::<Vec<_>>(), expected);
    }
    let samples = json_of(&["--tree"])["events"].clone();
    let samples = samples.as_array().unwrap().iter();
    let samples: Vec<_> = samples.map(|it| it["samples"].as_u64()).collect();
    assert_eq!(samples, [Some(3), Some(2), Some(1)]);
    let text_of = shown(&["report", text(&path), "--tree"]);
    let heads = text_of.lines().filter(|line| line.starts_with("event "));
    let heads: Vec<_> = heads.map(|line| line[5..].trim()).collect();
    assert_eq!(heads, names);
    let one = shown(&["report", text(&path), "--tree", "--event", "1"]);
    assert!(!one.contains("event  "), "{one}");
}

#[test]
fn shares_have_their_errors() {
    let functions = report(&["--by", "function"]);
    let event = &functions["rows"][0]["events"][0];
    assert_eq!(event["self_percent"].as_f64().map(f64::round), Some(33.0));
    let error = event["self_error"].as_f64().unwrap();
    // Wilson's interval of 2 of 6 at 95 %: 9.677 % to 70.001 %.
    assert!((error - 30.162).abs() < 0.001, "{error}");
    let path = file("errors.pmi", &profile());
    let text_of = shown(&["report", text(&path), "--by", "core"]);
    assert!(
        text_of.contains("\n 50.00%  31.24%            3  0\n"),
        "{text_of}"
    );
}

#[test]
fn a_tree_has_all_calls_from_either_end() {
    let tree = report(&["--tree", "--core", "0"]);
    let node = |name: &str, total: u64, own: u64, children: Value| json!({"function": name, "total": total, "self": own, "children": children});
    let innermost = node("innermost", 2, 2, json!([]));
    let last = node(HASH, 1, 1, json!([]));
    let recursive = node(HASH, 1, 0, json!([last]));
    let middle = node("middle", 3, 0, json!([innermost, recursive]));
    let hash = node(HASH, 3, 0, json!([middle]));
    assert_eq!(tree["roots"], json!([node("idle", 3, 0, json!([hash]))]));
    let inverted = report(&["--inverted", "--core", "0", "--filter", "innermost"]);
    let root = node("idle", 2, 2, json!([]));
    let hash = node(HASH, 2, 0, json!([root]));
    let middle = node("middle", 2, 0, json!([hash]));
    assert_eq!(
        inverted["roots"],
        json!([node("innermost", 2, 0, json!([middle]))])
    );
    let cut = report(&["--tree", "--core", "0", "--percent-limit", "50"]);
    assert!(!cut.to_string().contains(r#""total":1"#), "{cut}");
}

#[test]
fn a_tree_stands_in_lines() {
    let path = file("tree.pmi", &profile());
    let text_of = shown(&["report", text(&path), "--tree", "--core", "0"]);
    let expected = format!(
        "  total       ±     self      samples
100.00%  28.07%    0.00%            3  idle
100.00%  28.07%    0.00%            3  {HASH}
100.00%  28.07%    0.00%            3  middle
 66.67%  36.54%   66.67%            2  ├─innermost
 33.33%  36.54%    0.00%            1  └─{HASH}
 33.33%  36.54%   33.33%            1    {HASH}
"
    );
    assert!(text_of.ends_with(&expected), "{text_of}");
    let few = shown(&["report", text(&path), "--tree", "--core", "0", "--top", "4"]);
    assert!(
        few.ends_with("├─innermost\n(1 function and what is below them left out)\n"),
        "{few}"
    );
}

#[test]
fn callers_and_callees_stand_around_a_function() {
    let focus = report(&["--focus", HASH]);
    assert_eq!(focus["samples"], 3);
    let expected = json!([{
        "function": HASH,
        "self": 1,
        "total": 3,
        "callers": [
            {"function": "idle", "samples": 3},
            {"function": HASH, "samples": 1},
            {"function": "middle", "samples": 1},
        ],
        "callees": [
            {"function": "middle", "samples": 3},
            {"function": HASH, "samples": 1},
        ],
    }]);
    assert_eq!(focus["functions"], expected);
    // Of no whole name: what matches.
    let both = report(&["--focus", "^(stub|0x)"]);
    let functions = both["functions"].as_array().unwrap().iter();
    let functions: Vec<_> = functions.map(|it| &it["function"]).collect();
    assert_eq!(functions, ["stub", UNNAMED]);
    assert_eq!(
        both["functions"][1]["callers"],
        json!([{"function": "(no caller)", "samples": 1}])
    );
    assert_eq!(
        both["functions"][0]["callers"],
        json!([
            {"function": "[interrupt 0x40]", "samples": 2},
            {"function": "stub", "samples": 2},
        ])
    );
    let path = file("focus.pmi", &profile());
    let callers = shown(&["report", text(&path), "--focus", "innermost", "--callers"]);
    assert!(
        callers.contains("100.00%  32.88%            2    middle\n"),
        "{callers}"
    );
    assert!(!callers.contains("callees"), "{callers}");
}

#[test]
fn a_neighbour_counts_once_a_sample_however_often_it_is_there() {
    let in_hash = kernel().return_to("in_hash");
    let chain = [in_hash, in_hash, in_hash, kernel().return_to("in_idle")];
    let deep = Seen::new(0, kernel().at("in_hash"), &chain);
    let run = Description {
        cores: 1,
        ..description()
    };
    let path = file("deep.pmi", &profile_of(&run, &[deep]));
    let focus = shown(&["report", text(&path), "--focus", HASH, "--format", "json"]);
    let focus: Value = serde_json::from_str(&focus).unwrap();
    let expected = json!([{
        "function": HASH,
        "self": 1,
        "total": 1,
        "callers": [{"function": "idle", "samples": 1}, {"function": HASH, "samples": 1}],
        "callees": [{"function": HASH, "samples": 1}],
    }]);
    let mut found = focus["functions"].clone();
    // Equal ones are in the order of their names.
    found[0]["callers"]
        .as_array_mut()
        .unwrap()
        .sort_by_key(|it| it["function"] == HASH);
    assert_eq!(found, expected);
}

#[test]
fn views_of_no_samples_say_so() {
    let path = file("none.pmi", &profile_of_cores(&description(), &[&[], &[]]));
    for (view, says) in [
        (&["--by", "function"][..], "no groups: no samples\n"),
        (&["--by", "core,line"], "no groups: no samples\n"),
        (&["--tree"], "no calls: no samples\n"),
        (&["--focus", "x"], "no function: no samples\n"),
    ] {
        let assert = pmiscope(&[&["report", text(&path)], view].concat());
        assert!(
            stdout(&assert).ends_with(says),
            "{view:?}: {}",
            stdout(&assert)
        );
    }
}
