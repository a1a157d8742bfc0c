//! Profiles of runs that count: tables, JSON, and what the command refuses.

use pmiscope::internals::Profile;
use pmiscope::internals::counts::{Counts, Selection, json, text};
use pmiscope::internals::report::Only;
use pmiscope::profile::{Head, Outcome, OverheadEnd, RunEnd, Writer};
use pmiscope::qemu::PmuModel;
use profiler::format::count::Reading;
use profiler::format::region::OverheadCounters;
use profiler::format::{Clock, Count, Description, EventDescription, Source, Text};
use serde_json::{Value, json};

use crate::command::{pmiscope, refused, stdout, text as path_text};
use crate::fixture::{description, file, host, kernel, run_end};

/// A run of two cores: an event of each kind of count.
fn counting() -> Description {
    counting_of(&[
        "cycles",
        "instructions",
        "branches",
        "branch-misses",
        "cache-misses:k",
        "slots",
        "cpu/event=0xc4,umask=0x20/u",
    ])
}

fn counting_of(names: &[&str]) -> Description {
    let mut run = Description {
        source: Source::Pmu,
        turns: false,
        clock: Clock::Instructions,
        period: 0,
        samples: 0,
        reason: Text::new("pmu: asked for by name (Intel version 2, 2+3 counters)"),
        command_line: Text::new("source=auto take=counts workload=mix samples=1 units=1200"),
        event_count: u8::try_from(names.len()).unwrap(),
        ..description()
    };
    for (row, name) in run.event_table.iter_mut().zip(names) {
        *row = EventDescription {
            name: Text::new(name),
            ..EventDescription::EMPTY
        };
    }
    run
}

const fn count(event: u8, count: u64, running: u64) -> Count {
    Count {
        event,
        is_supported: true,
        process: None,
        reading: Reading {
            count,
            enabled: 5000,
            running,
        },
    }
}

const fn unsupported(event: u8) -> Count {
    Count {
        is_supported: false,
        ..count(event, 0, 0)
    }
}

/// The second core ran for longer, and lacks `branches`.
fn counts() -> [Vec<Count>; 2] {
    let first = vec![
        count(0, 2_000_000, 5000),
        count(1, 1_500_000, 5000),
        count(2, 100_000, 2500),
        count(3, 5000, 2500),
        count(4, 0, 2500),
        // What it says beside is not believed.
        Count {
            is_supported: false,
            ..count(5, 3, 2500)
        },
        count(6, 0, 0),
    ];
    let mut second = vec![
        count(0, 1_000_000, 5000),
        count(1, 1_000_000, 5000),
        unsupported(2),
        count(3, 1000, 1250),
        count(4, 7, 5000),
        unsupported(5),
        count(6, 0, 0),
    ];
    for count in &mut second {
        count.reading.enabled = 1_234_567;
        count.reading.running *= 1_234_567;
        count.reading.running /= 5000;
    }
    [first, second]
}

fn profile_of(run: &Description, counts: &[Vec<Count>], end: Option<&RunEnd>) -> Vec<u8> {
    let host = host();
    let head = Head {
        description: run,
        host: &host,
        kernel: &kernel().elf,
    };
    let mut writer = Writer::new(Vec::new(), &head).unwrap();
    for (core, counts) in (0..).zip(counts) {
        for count in counts {
            writer.record(core, &count.encode()).unwrap();
        }
        // A kind of a later version.
        writer.record(core, &[0xfe04, 1]).unwrap();
    }
    let end = end.expect("a test with an end");
    writer.finish(end).unwrap()
}

fn ended(counts: &[Vec<Count>]) -> RunEnd {
    let mut end = run_end();
    for (core, counts) in end.cores.iter_mut().zip(counts) {
        core.stored = counts.len() as u64;
        core.lost = 0;
        // Ten interrupts that may each cost 4 cycles more, and nine that may cost 2.
        let (interrupts, spread) = if core.apic_id == 0 { (10, 4) } else { (9, 2) };
        core.taken = interrupts;
        let row = OverheadCounters::default();
        row.calibrate(30, 30, spread, 0);
        core.overheads = vec![OverheadEnd(row.load())];
    }
    end
}

/// A run that has counted by process: of two cores that have run the programs 1 and 2, and none.
fn by_process(lost: bool) -> Vec<u8> {
    let mut run = counting_of(&["instructions:u", "instructions:k"]);
    let words = "source=auto take=counts workload=mix samples=1 units=1 per=process";
    run.command_line = Text::new(words);
    let part = |process: u16, event: u8, of_event: u64| Count {
        process: Some(process),
        ..count(event, of_event, 5000)
    };
    let mut counts = [
        vec![count(0, 700, 5000), count(1, 90, 5000)],
        vec![count(0, 30, 5000), count(1, 4, 5000)],
    ];
    // In several parts, and on both cores.
    counts[0].extend([part(1, 0, 300), part(1, 0, 400), part(1, 1, 20)]);
    counts[0].extend([part(0, 1, 63), part(2, 1, 7)]);
    counts[1].extend([part(1, 0, 10), part(2, 0, 20), part(2, 1, 4)]);
    if lost {
        counts[0].pop();
    }
    profile_of(&run, &counts, Some(&ended(&counts)))
}

#[test]
fn each_process_has_its_counts_and_they_add_up() {
    let path = file("counts-by-process.pmi", &by_process(false));
    let shown = stdout(&pmiscope(&["report", path_text(&path)]).success());
    let rows = "
by process                      instructions:u    instructions:k
program 1                                  710                20
program 2                                   20                11
(no process)                     <not counted>                63
";
    assert!(shown.ends_with(rows), "{shown}");
    let report = pmiscope(&["report", path_text(&path), "--format", "json"]);
    let report: Value = serde_json::from_str(&stdout(&report.success())).unwrap();
    let processes = report["processes"].as_array().unwrap();
    assert_eq!(processes.len(), 3);
    assert_eq!(processes[0]["name"], "program 1");
    assert_eq!(processes[0]["events"][0]["name"], "instructions:u");
    assert_eq!(processes[0]["events"][0]["count"], 710);
    assert_eq!(processes[0]["events"][0]["status"], "exact");
    assert_eq!(processes[2]["name"], Value::Null);
}

#[test]
fn counts_of_processes_that_do_not_add_up_are_said() {
    let path = file("counts-that-lack.pmi", &by_process(true));
    let output = pmiscope(&["report", path_text(&path)]).code(3);
    let said = String::from_utf8_lossy(&output.get_output().stderr).into_owned();
    let says = "of 90 instructions:k on core 0 they have 83";
    assert!(said.contains(says), "{said}");
}

pub fn whole() -> Vec<u8> {
    let counts = counts();
    profile_of(&counting(), &counts, Some(&ended(&counts)))
}

fn table(selection: Selection) -> String {
    let profile = Profile::read(whole()).unwrap();
    let counts = Counts::new(&profile, &selection);
    let shown = text(&counts, selection.per_core);
    assert!(shown.lines().all(|line| line.chars().count() <= 100));
    let build_id = format!("build-id {}\n", counts.run.build_id);
    shown.replace(&build_id, "build-id ID\n")
}

fn json_of(selection: Selection) -> Value {
    let profile = Profile::read(whole()).unwrap();
    let counts = Counts::new(&profile, &selection);
    serde_json::from_str(&json(&counts).unwrap()).unwrap()
}

#[test]
fn the_table_has_counts_ratios_and_what_is_not_known() {
    let expected = "\
kernel      build-id ID
booted by   fixture 1.0
machine     QEMU 7.2.22, deterministic (counted instructions; cores in turn), 2 cores online
workload    mix, 1,200 units a core
counters    pmu (Intel version 2, 2+3 counters)
elapsed     1,234,567 instructions of all cores
overhead    interrupts of the count itself are taken off, to within what they varied by before (±)
run         finished

               count  event
           3,000,000  cycles                       ±64
           2,500,000  instructions                 0.83 instructions per cycle
             200,000  branches                     (scaled, ran 50.0% of the time)
                        (on 1 of 2 cores)
              14,000  branch-misses                (scaled, ran 25.1% of the time)
                   7  cache-misses:k               (scaled, ran 99.8% of the time)
     <not supported>  slots
       <not counted>  cpu/event=0xc4,umask=0x20/u
";
    assert_eq!(table(Selection::default()), expected);
}

#[test]
fn a_kernel_need_not_say_who_has_booted_it() {
    let counts = counts();
    let run = Description {
        bootloader: Text::EMPTY,
        ..counting()
    };
    let profile = profile_of(&run, &counts, Some(&ended(&counts)));
    let counts = Counts::new(&Profile::read(profile).unwrap(), &Selection::default());
    let shown = text(&counts, false);
    assert!(!shown.contains("booted by"), "{shown}");
}

#[test]
fn the_counters_of_the_machine_are_said() {
    let mut counts = Counts::new(&Profile::read(whole()).unwrap(), &Selection::default());
    assert_eq!(counts.machine.pmu, None);
    counts.machine.pmu = Some(PmuModel::IntelV5);
    let shown = text(&counts, false);
    assert!(shown.contains("QEMU 7.2.22 (PMU intel-v5), "), "{shown}");
}

#[test]
fn each_core_has_a_line() {
    let selection = Selection {
        per_core: true,
        ..Selection::default()
    };
    let (_, lines) = table(selection)
        .split_once("\n\n")
        .map(|(head, rest)| (head.to_owned(), rest.to_owned()))
        .unwrap();
    let expected = "\
core                count  event
   0            2,000,000  cycles                       ±44
   1            1,000,000  cycles                       ±20
 all            3,000,000  cycles                       ±64
   0            1,500,000  instructions
   1            1,000,000  instructions
 all            2,500,000  instructions                 0.83 instructions per cycle
   0              200,000  branches                     (scaled, ran 50.0% of the time)
   1      <not supported>  branches
 all              200,000  branches                     (scaled, ran 50.0% of the time)
                             (on 1 of 2 cores)
   0               10,000  branch-misses                (scaled, ran 50.0% of the time)
   1                4,000  branch-misses                (scaled, ran 25.0% of the time)
 all               14,000  branch-misses                (scaled, ran 25.1% of the time)
   0                    0  cache-misses:k               (scaled, ran 50.0% of the time)
   1                    7  cache-misses:k
 all                    7  cache-misses:k               (scaled, ran 99.8% of the time)
   0      <not supported>  slots
   1      <not supported>  slots
 all      <not supported>  slots
   0        <not counted>  cpu/event=0xc4,umask=0x20/u
   1        <not counted>  cpu/event=0xc4,umask=0x20/u
 all        <not counted>  cpu/event=0xc4,umask=0x20/u
";
    assert_eq!(lines, expected);
}

/// Where both events were counted on the same cores, and only there.
#[test]
fn ratios_need_both_events_on_the_same_cores() {
    let names = |selection| {
        let json = json_of(selection);
        let ratios = json["ratios"].as_array().unwrap().clone();
        let names = ratios.iter().map(|ratio| ratio["name"].clone());
        names.collect::<Vec<_>>()
    };
    let of_core = |core| Selection {
        cores: Only::from(core),
        ..Selection::default()
    };
    assert_eq!(names(Selection::default()), ["instructions per cycle"]);
    assert_eq!(
        names(of_core(0)),
        ["instructions per cycle", "of all branches"]
    );
    assert_eq!(names(of_core(1)), ["instructions per cycle"]);
    assert!(table(of_core(0)).contains(
        "\n              10,000  branch-misses                5.00% of all branches\n                        (scaled, ran 50.0% of the time)\n"
    ));
    assert!(table(of_core(1)).contains("\ncounts      core 1 only\n"));
}

/// Both events are counted at the same levels, and as they happen.
#[test]
fn ratios_are_of_what_is_counted_alike() {
    let run = counting_of(&[
        "instructions:k",
        "cycles:u",
        "cycles",
        "instructions",
        "cycles:k",
        "cache-misses/edge/",
        "cache-references/edge/",
    ]);
    let counts = [(0..7).map(|event| count(event, 10, 5000)).collect(), vec![]];
    let profile = Profile::read(profile_of(&run, &counts, Some(&ended(&counts)))).unwrap();
    let ratios = Counts::new(&profile, &Selection::default()).ratios;
    let pairs: Vec<_> = ratios.iter().map(|ratio| (ratio.index, ratio.by)).collect();
    assert_eq!(pairs, [(0, 4), (3, 2)]);
}

#[test]
fn json_has_what_was_counted_and_what_that_means() {
    let json = json_of(Selection::default());
    for (key, value) in [
        ("mode", json!("deterministic")),
        ("workload", json!("mix")),
        ("units", json!(1200)),
        ("elapsed_ticks", json!(1_234_567)),
        ("clock", json!("instructions")),
        ("cores_online", json!(2)),
        ("only_core", json!(null)),
        ("outcome", json!("finished")),
        ("incomplete", json!(null)),
    ] {
        assert_eq!(json[key], value, "{key}");
    }
    assert_eq!(
        json["ratios"],
        json!([{
            "index": 1,
            "by": 0,
            "name": "instructions per cycle",
            "value": 2.5 / 3.0,
            "is_share": false,
        }])
    );
    assert_eq!(
        json["events"][2],
        json!({
            "index": 2,
            "name": "branches",
            "status": "scaled",
            "count": 200_000,
            "count_raw": 100_000,
            "enabled_ticks": 5000,
            "running_ticks": 2500,
            "known_to_within": 0,
            "cores_counted": 1,
            "cores": [
                {
                    "core": 0,
                    "status": "scaled",
                    "count": 200_000,
                    "count_raw": 100_000,
                    "enabled_ticks": 5000,
                    "running_ticks": 2500,
                    "known_to_within": 0,
                },
                {
                    "core": 1,
                    "status": "not-supported",
                    "count": null,
                    "count_raw": 0,
                    "enabled_ticks": 1_234_567,
                    "running_ticks": 0,
                    "known_to_within": null,
                },
            ],
        })
    );
    let statuses = json["events"].as_array().unwrap().iter();
    let statuses: Vec<_> = statuses.map(|event| event["status"].clone()).collect();
    assert_eq!(
        statuses,
        [
            "exact",
            "exact",
            "scaled",
            "scaled",
            "scaled",
            "not-supported",
            "not-counted"
        ]
    );
}

#[test]
fn a_report_on_counts_is_their_table() {
    let path = file("counts.pmi", &whole());
    let path = path_text(&path);
    let reported = stdout(&pmiscope(&["report", path]).success());
    assert!(reported.contains("\n           3,000,000  cycles                       ±64\n"));
    let one = ["--event", "cycles", "--core", "1", "--per-core"];
    let reported = stdout(&pmiscope(&[&["report", path], &one[..]].concat()).success());
    assert!(
        reported.ends_with(
            "event\n   1            1,000,000  cycles                ±20\n all            1,000,000  cycles                ±20\n"
        ),
        "{reported}"
    );
    let json = stdout(&pmiscope(&["report", path, "--format", "json"]).success());
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["events"][0]["count"], 3_000_000);
    refused(
        pmiscope(&["flamegraph", path, "-o", "-"]),
        1,
        &["the profile has no samples to draw"],
    );
}

/// A run that ended before its last core was done.
#[test]
fn counts_that_are_missing_are_not_zero() {
    let [first, _] = counts();
    let there = [first, Vec::new()];
    let end = RunEnd {
        outcome: Outcome::Hung,
        message: "no line".into(),
        ..ended(&there)
    };
    let profile = Profile::read(profile_of(&counting(), &there, Some(&end))).unwrap();
    let shown = text(&Counts::new(&profile, &Selection::default()), true);
    for part in [
        "\nrun         the guest hung and was ended: no line\n",
        "\n   1        <not counted>  cycles\n",
        "\n all            2,000,000  cycles                       ±44  (on 1 of 2 cores)\n",
        // The second core might have it.
        "\n all        <not counted>  slots\n",
    ] {
        assert!(shown.contains(part), "`{part}` is not in:\n{shown}");
    }
    let nothing = profile_of(&counting(), &[vec![], vec![]], Some(&ended(&[])));
    let profile = Profile::read(nothing).unwrap();
    let shown = text(&Counts::new(&profile, &Selection::default()), false);
    assert!(!shown.contains("elapsed") && shown.contains("       <not counted>  cycles\n"));
}

#[test]
fn a_count_says_what_it_is_known_to_within() {
    let counts = counts();
    let shown = |change: fn(&mut RunEnd)| {
        let mut end = ended(&counts);
        change(&mut end);
        let profile = Profile::read(profile_of(&counting(), &counts, Some(&end))).unwrap();
        let counts = Counts::new(&profile, &Selection::default());
        (text(&counts, false), counts.events[0].all.known_to_within)
    };
    let (text, known) = shown(|end| end.cores.iter_mut().for_each(|it| it.overheads.clear()));
    assert_eq!(known, Some(0));
    assert!(
        text.contains("taken off, which cost the same each time\n"),
        "{text}"
    );
    // One core has 4 for each of 10 interrupts and the end, the other 2 for its end alone.
    let (_, known) = shown(|end| end.cores[1].taken = 0);
    assert_eq!(known, Some(46));
    // As in profiles of older versions.
    let (text, known) = shown(|end| {
        end.cores[1].taken = 0;
        end.cores[1].overheads.clear();
    });
    assert_eq!(known, None);
    assert!(text.contains("is wrong is not known\n"), "{text}");
}

#[test]
fn counts_of_a_machine_without_a_clock_are_in_ticks() {
    let counts = counts();
    let run = Description {
        clock: Clock::Ticks,
        ..counting()
    };
    let profile = Profile::read(profile_of(&run, &counts, Some(&ended(&counts)))).unwrap();
    let counts = Counts::new(&profile, &Selection::default());
    let shown = text(&counts, false);
    for part in [
        "\nclock       ticks of the time stamp counter: nothing says how long one takes\n",
        "\nelapsed     1,234,567 ticks of the time stamp counter\n",
        "branches                     (scaled, ran 50.0% of the time)\n",
    ] {
        assert!(shown.contains(part), "`{part}` is not in:\n{shown}");
    }
    let json: Value = serde_json::from_str(&json(&counts).unwrap()).unwrap();
    assert_eq!(json["clock"], "ticks");
    assert_eq!(json["elapsed_ticks"], 1_234_567);
    assert_eq!(json.get("clock_reference"), None);
}

#[test]
fn stat_refuses_by_the_word() {
    let stat = |more: &[&str]| pmiscope(&[&["stat"], more].concat());
    refused(stat(&["--units", "0"]), 2, &["--units", "0 is not in 1.."]);
    refused(
        stat(&["--event", "cycels"]),
        2,
        &["`cycels`: no such event; did you mean `cycles`?"],
    );
    refused(
        stat(&["--json", "--format", "text"]),
        2,
        &["--json", "cannot be used with", "--format"],
    );
    refused(stat(&["--samples", "5"]), 2, &["unexpected argument"]);
}
