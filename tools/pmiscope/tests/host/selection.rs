//! Samples are chosen in one way for all views: each option by itself and with others, on a profile
//! whose every sample is known.

use pmiscope::profile::{Head, Writer};
use profiler::format::{Description, Text};
use serde_json::Value;

use crate::command::{pmiscope, refused, stdout, text};
use crate::fixture::{
    Seen, description, file, host, kernel, profile, profile_of, profile_of_chains,
    profile_of_events, run_end, samples,
};

/// What each of these options leaves of the six samples.
const CHOSEN: [(&str, u64); 36] = [
    ("", 6),
    ("--core 0", 3),
    ("--core 1", 3),
    ("--core 0,1", 6),
    ("--core 0-1", 6),
    ("--core 1 --core 0", 6),
    ("--core|0, 1", 6),
    ("--task hash", 3),
    ("--task hash,idle", 5),
    ("--task|idle,task 7", 3),
    ("--task idle --task hash", 5),
    ("--task|task 7", 1),
    ("--thread 2", 2),
    ("--thread 2 --thread 7", 3),
    ("--thread 2,7", 3),
    ("--thread| 2 , 7", 3),
    ("--task|hash , idle", 5),
    ("--thread 1-6", 5),
    // Times are 0, 1000 and 2000 on the first core, 0, 1000 and 4000 on the second.
    ("--time ,1us", 2),
    ("--time 1us,", 4),
    ("--time 1000t,2001t", 3),
    ("--time 50%-100%", 1),
    ("--privilege kernel", 6),
    ("--interrupts-off", 2),
    ("--idle out", 4),
    ("--idle only", 2),
    ("--filter hash", 3),
    ("--filter hash --filter innermost$", 2),
    ("--exclude hash --ignore stub", 1),
    ("--filter interrupt.0x40", 2),
    ("--focus|[interrupt 0x40]", 2),
    ("--focus|[cut: frame pointer below the frame]", 1),
    ("--filter cut:", 1),
    ("--exclude cut:", 5),
    ("--focus kernel::workload::hash::run", 3),
    ("--core 1 --task|task 7 --time 3us,", 1),
];

/// The words of an option: a blank within a word stands behind a `|`.
fn words(options: &str) -> Vec<&str> {
    let words = options.split(" --").enumerate();
    let words = words.flat_map(|(place, option)| {
        let start = if place == 0 { 0 } else { 2 };
        let whole = &options[options.find(option).unwrap() - start..];
        let whole = &whole[..option.len() + start];
        match whole.split_once('|') {
            Some((name, value)) => vec![name, value],
            None => whole.split_whitespace().collect(),
        }
    });
    words.filter(|word| !word.is_empty()).collect()
}

fn json(arguments: &[&str]) -> Value {
    let shown = pmiscope(&[arguments, &["--format", "json"]].concat()).success();
    serde_json::from_str(&stdout(&shown)).unwrap()
}

fn sum<'a>(numbers: impl Iterator<Item = &'a Value>) -> u64 {
    numbers.map(|it| it.as_u64().unwrap()).sum()
}

#[test]
fn each_option_leaves_the_same_samples_to_all_views() {
    let path = file("selection.pmi", &profile());
    let path = text(&path);
    for (options, expected) in CHOSEN {
        let chosen = words(options);
        let with = |first: &[&'static str]| -> Vec<&str> {
            let first = first.iter().copied();
            first.chain([path]).chain(chosen.iter().copied()).collect()
        };
        let cores = json(&with(&["report", "--by", "core"]));
        assert_eq!(cores["samples"], expected, "{options}: {cores}");
        let rows = cores["rows"].as_array().unwrap().iter();
        assert_eq!(
            sum(rows.map(|row| &row["events"][0]["self"])),
            expected,
            "{options}"
        );
        let folded = pmiscope(&with(&["export", "--format", "folded", "-o", "-"])).success();
        let folded = stdout(&folded);
        let counts = folded.lines().map(|line| line.rsplit_once(' ').unwrap().1);
        let counts = counts.map(|count| count.parse::<u64>().unwrap());
        assert_eq!(counts.sum::<u64>(), expected, "{options}: {folded}");
        let tree = json(&with(&["report", "--tree"]));
        let roots = tree["roots"].as_array().unwrap().iter();
        assert_eq!(sum(roots.map(|root| &root["total"])), expected, "{options}");
        if !options.contains("--focus") {
            let report = json(&with(&["report"]));
            assert_eq!(report["samples"], expected, "{options}");
            let tasks = report["tasks"].as_array().unwrap().iter();
            assert_eq!(
                sum(tasks.map(|task| &task["samples"])),
                expected,
                "{options}"
            );
            // What was lost was lost, whatever is chosen.
            let cores = report["cores"].as_array().unwrap();
            assert_eq!(
                sum(cores.iter().map(|core| &core["lost"])),
                if options == "--core 0" { 0 } else { 2 }
            );
        }
        if expected > 0 {
            for form in [
                "firefox",
                "perf",
                "pprof",
                "callgrind",
                "csv",
                "speedscope",
                "perfetto",
            ] {
                let whole = with(&["export", "-o", "/dev/null", "--format"]);
                let mut words = whole.clone();
                words.insert(4, form);
                pmiscope(&words).success();
            }
        }
    }
}

/// What all samples are judged by says nothing of those that were chosen.
#[test]
fn chosen_samples_at_one_instruction_are_no_warning() {
    let run = Description {
        cores: 1,
        ..description()
    };
    let seen = (0..300).map(|sequence| {
        let place = ["in_innermost", "stub", "in_hash"][sequence as usize % 3];
        Seen::new(sequence, kernel().at(place), &[])
    });
    let path = file(
        "one-place.pmi",
        &profile_of(&run, &seen.collect::<Vec<_>>()),
    );
    for options in [&[][..], &["--filter", "stub"]] {
        let assert = pmiscope(&[&["report", text(&path)], options].concat()).success();
        assert_eq!(crate::command::stderr(&assert), "", "{options:?}");
    }
}

#[test]
fn a_report_says_what_was_asked_for() {
    let path = file("said.pmi", &profile());
    let asked = [
        "--core",
        "1",
        "--task",
        "idle",
        "--idle",
        "only",
        "--exclude",
        "ha(sh)?",
    ];
    let shown = stdout(&pmiscope(&[&["report", text(&path)], &asked[..]].concat()).success());
    let line =
        "2, 2 lost, 1 interrupt unclaimed (core 1, task idle, halted, without /ha(sh)?/ only)";
    assert!(shown.contains(line), "{shown}");
}

#[test]
fn what_a_profile_has_not_is_refused_in_one_line() {
    let path = file("refused.pmi", &profile());
    let path = text(&path);
    for (options, status, says) in [
        (
            &["--task", "hush"][..],
            1,
            "--task hush: the run names no such task, but hash, idle",
        ),
        (
            &["--lock", "heap"],
            1,
            "the run does not say which locks are held",
        ),
        (&["--time", "5s"], 2, "must be FROM,TO"),
        (&["--time", "2s,1s"], 2, "there is nothing between the two"),
        (
            &["--time", "10%-20"],
            2,
            "20 has no unit beside a percentage: must be FROM,TO such as 1.2s,1.4s or 10%-20%",
        ),
        (
            &["--filter", "-x"],
            2,
            "tip: to pass '-x' as a value, say --filter=-x\n",
        ),
        (&["--core", "-1"], 2, "numbers and ranges between commas"),
        (&["--thread", "-1"], 2, "numbers and ranges between commas"),
        (
            &["--filter", "a("],
            2,
            "no regular expression: unclosed group",
        ),
        (&["--core", "2"], 1, "there is no core 2"),
        (&["--core", "0,1-3"], 1, "there is no core 3"),
        (&["--core", "1-0"], 2, "1 to 0 is no range: say 0-1"),
        (&["--core", "0,"], 2, "numbers and ranges between commas"),
        (
            &["--task", "hash,hush"],
            1,
            "--task hush: the run names no such task",
        ),
        (
            &["--process", "init,spawn"],
            1,
            "--process init: the profile has no such program",
        ),
        (&["--event", "cycles"], 1, "the profile has no events"),
        (&["--callers"], 2, "--focus <FUNCTION>"),
        (&["--by", "core", "--tree"], 2, "cannot be used with"),
    ] {
        let arguments = [&["report", path], options].concat();
        refused(pmiscope(&arguments), status, &[says]);
    }
    let none = ["--task", "idle", "--core", "0"];
    let picture = [&["flamegraph", path, "-o", "-"], &none[..]].concat();
    refused(
        pmiscope(&picture),
        1,
        &["the selection has no samples (core 0, task idle)"],
    );
    let export = [&["export", path, "--format", "perf", "-o", "-"], &none[..]].concat();
    refused(
        pmiscope(&export),
        1,
        &["the selection has no samples (core 0, task idle)"],
    );
}

#[test]
fn locks_and_events_are_chosen_by_name() {
    let mut run = description();
    for (number, name) in ["", "hash", "idle", "lock: heap", "lock: log"]
        .iter()
        .enumerate()
    {
        run.tasks[number] = Text::new(name);
    }
    let run = Description { cores: 1, ..run };
    let pc = kernel().at("in_hash");
    // Task 1 holds `log`, then `heap`; task 2 holds none.
    let tasks = [32 + 3 + 1, 32 + 1, 32 + 1, 2];
    let seen = (0..).zip(tasks).map(|(sequence, task)| Seen {
        task,
        ..Seen::new(sequence, pc, &[])
    });
    let path = file("locks.pmi", &profile_of(&run, &seen.collect::<Vec<_>>()));
    let path = text(&path);
    for (options, expected) in [
        (&["--lock", "heap"][..], 2),
        (&["--lock", "log"], 1),
        (&["--lock", "log,heap"], 3),
        (&["--task", "hash"], 3),
    ] {
        let report = json(&[&["report", path], options].concat());
        assert_eq!(report["samples"], expected, "{options:?}");
    }
    let by_lock = json(&["report", path, "--by", "lock,task"]);
    let rows = by_lock["rows"].as_array().unwrap().iter();
    let rows: Vec<_> = rows
        .map(|row| serde_json::json!([row["lock"], row["task"], row["events"][0]["self"]]))
        .collect();
    let expected = serde_json::json!([
        ["heap", "hash", 2],
        ["(none)", "idle", 1],
        ["log", "hash", 1]
    ]);
    assert_eq!(Value::from(rows), expected);
    refused(
        pmiscope(&["report", path, "--lock", "hoop"]),
        1,
        &["--lock hoop: the run has no such lock, but heap, log"],
    );
    let events = file("chosen-event.pmi", &profile_of_events());
    let second = json(&["report", text(&events), "--event", "1", "--by", "task"]);
    assert_eq!(second["samples"], 2);
}

/// Several events are chosen as `run` takes them: commas between slashes are an event's own.
#[test]
fn several_events_and_cores_are_chosen_and_said() {
    const OTHER: &str = "cpu/event=0xc4,umask=0x20/u";
    let path = file("chosen-events.pmi", &profile_of_events());
    let path = text(&path);
    let both = format!("{OTHER},cycles:k");
    for list in [&*both, "0,1", "cpu-cycles:k,1"] {
        let report = json(&["report", path, "--event", list]);
        assert_eq!(report["samples"], 5, "{list}: without the aimed one");
        assert_eq!(
            report["only_events"],
            serde_json::json!(["cycles:k", OTHER])
        );
        assert_eq!(report.get("only_event"), None);
        let sides = json(&["report", path, "--event", list, "--by", "core"]);
        assert_eq!(
            sides["events"],
            serde_json::json!([{"name": "cycles:k", "samples": 3}, {"name": OTHER, "samples": 2}])
        );
    }
    let one = json(&["report", path, "--event", OTHER, "--core", "0-1"]);
    assert_eq!(one["samples"], 2);
    assert_eq!(one["only_event"], OTHER);
    assert_eq!(one["only_core"], Value::Null);
    assert_eq!(one["only_cores"], serde_json::json!([0, 1]));
    let said = stdout(&pmiscope(&["report", path, "--event", &both, "--core", "0-1"]).success());
    let line = format!("(cores 0-1, cycles:k, {OTHER}\n");
    assert!(said.contains(&line), "{said}");
    refused(
        pmiscope(&["report", path, "--event", "cycles:k,slots"]),
        1,
        &["--event slots: the profile has no such event"],
    );
    for form in ["perf", "pprof", "firefox", "perfetto"] {
        pmiscope(&[
            "export",
            path,
            "--event",
            &both,
            "--format",
            form,
            "-o",
            "/dev/null",
        ])
        .success();
    }
}

/// Those that are not asked for may lie between them.
#[test]
fn a_timeline_has_the_cores_that_are_asked_for() {
    let mut run = description();
    run.cores = 3;
    let seen = [Seen::new(0, kernel().at("in_hash"), &[])];
    let mut end = run_end();
    end.cores.push(end.cores[0].clone());
    let host = host();
    let head = Head {
        description: &run,
        host: &host,
        kernel: &kernel().elf,
    };
    let mut writer = Writer::new(Vec::new(), &head).unwrap();
    for core in 0..3 {
        writer.record(core, &seen[0].record()).unwrap();
        end.cores[core as usize].stored = 1;
    }
    let path = file("apart.pmi", &writer.finish(&end).unwrap());
    let timeline = json(&["timeline", text(&path), "--core", "0,2"]);
    let cores = timeline["cores"].as_array().unwrap().iter();
    let of_cores = cores.map(|core| {
        let samples = core["samples"].as_array().unwrap();
        (core["core"].as_u64().unwrap(), sum(samples.iter()))
    });
    assert_eq!(of_cores.collect::<Vec<_>>(), [(0, 1), (2, 1)]);
}

#[test]
fn a_run_that_kept_chains_has_no_times_to_choose_by() {
    let [first, second] = samples();
    let chains = [(first[0].clone(), 30), (second[0].clone(), 5)];
    let profile = profile_of_chains([&chains[..1], &chains[1..]]);
    let path = file("chosen-chains.pmi", &profile);
    let path = text(&path);
    for (options, expected) in [
        (&["--task", "hash"][..], 30),
        (&["--idle", "only"], 5),
        (&["--filter", "stub"], 5),
        (&["--core", "0"], 30),
    ] {
        let report = json(&[&["report", path], options].concat());
        assert_eq!(report["samples"], expected, "{options:?}");
        let by = json(&[&["report", path, "--by", "task"], options].concat());
        assert_eq!(by["rows"][0]["events"][0]["self"], expected, "{options:?}");
    }
    let says = ["the run kept chains and not when they were"];
    refused(pmiscope(&["report", path, "--time", "1s,2s"]), 1, &says);
    refused(pmiscope(&["timeline", path]), 1, &says);
}
