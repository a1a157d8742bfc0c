//! Profiles of runs by performance counters: samples of several events.

use pmiscope::internals::Profile;
use pmiscope::internals::flame;
use pmiscope::internals::report::{
    self, Cost, CounterTotals, Counters, Options, Report, Selection, SortBy,
};
use pmiscope::profile::OverheadEnd;
use pmiscope::symbols::Symbols;
use profiler::format::region::{Overhead, OverheadCounters};
use profiler::format::{Clock, Delivery, Description, Sample, Text};
use profiler::pmu::detect::CoreKind;
use serde_json::{Value, json};

use crate::command::{pmiscope, refused, stdout, text};
use crate::fixture::{
    Seen, description, file, kernel, profile, profile_in_one_block, profile_of, profile_of_cores,
    profile_of_event_numbered, profile_of_events, profile_of_later_event, samples, two_events,
};
use crate::report::report_on;

fn report_of(event: Option<u8>) -> Report {
    let profile = Profile::read(profile_of_events()).unwrap();
    report_on(
        &profile,
        Selection {
            events: event.into_iter().collect(),
            ..Selection::default()
        },
        Options::default(),
    )
}

fn json_of(event: Option<u8>) -> Value {
    serde_json::from_str(&report::json(&report_of(event)).unwrap()).unwrap()
}

#[track_caller]
fn says(report: &Report, part: &str) {
    let text = report::text(report, SortBy::Own);
    assert!(text.contains(part), "`{part}` is not in:\n{text}");
}

#[test]
fn each_event_has_its_samples_and_periods() {
    let json = json_of(None);
    // An event's first sample on a core has no period, and an aimed one is no event's.
    assert_eq!(
        json["events"],
        json!([
            {
                "index": 0,
                "name": "cycles:k",
                "samples": 3,
                "period": {"requested": 100, "min": 100, "median": 100, "max": 100},
                "period_set": 100,
                "period_floor": 50,
            },
            {
                "index": 1,
                "name": "cpu/event=0xc4,umask=0x20/u",
                "samples": 2,
                "period": {"requested": 10, "min": 101, "median": 101, "max": 101},
                "period_set": 50,
                "period_floor": 50,
            },
        ])
    );
    assert_eq!(json["samples"], 6);
    assert_eq!(
        json["period"],
        json!({"requested": 100, "min": null, "median": null, "max": null})
    );
    assert_eq!(json.get("only_event"), None);
}

#[test]
fn one_event_alone_is_counted() {
    let [all, second] = [None, Some(1)].map(json_of);
    assert_eq!(second["samples"], 2);
    assert_eq!(second["only_event"], "cpu/event=0xc4,umask=0x20/u");
    assert_eq!(second["events"], json!([all["events"][1]]));
    assert_eq!(second["period"], all["events"][1]["period"]);
    assert_eq!(second["sample_hash"], all["sample_hash"]);
    assert_eq!(second["lost"], all["lost"]);
    let aimed = json_of(Some(Sample::AIMED));
    assert_eq!(
        (&aimed["samples"], &aimed["only_event"]),
        (&json!(1), &json!("aimed"))
    );
    let names = second["functions"].as_array().unwrap().iter();
    let names: Vec<_> = names.map(|row| row["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"never_returns") && !names.contains(&"middle"));
}

/// Self is counted where the op was that was sampled; callers are those of the code that
/// was interrupted.
#[test]
fn an_exact_address_is_what_executed() {
    let kernel = kernel();
    let mut description = Description {
        cores: 1,
        event_count: 1,
        ..two_events()
    };
    description.event_table[0].name = Text::new("ibs_op/cnt_ctl=1/");
    let root = kernel.return_to("in_idle");
    let interrupted = |sequence, exact: Option<&str>| Seen {
        exact: exact.map(|name| kernel.at(name)),
        ..Seen::new(sequence, kernel.at("in_hash"), &[root])
    };
    let seen = [
        interrupted(0, Some("in_innermost")),
        interrupted(1, Some("in_never_returns")),
        interrupted(2, None),
    ];
    let profile = Profile::read(profile_of(&description, &seen)).unwrap();
    let report = report_on(&profile, Selection::default(), Options::default());
    let json: Value = serde_json::from_str(&report::json(&report).unwrap()).unwrap();
    let shares = |name: &str| {
        let mut rows = json["functions"].as_array().unwrap().iter();
        let row = rows.find(|row| row["name"].as_str().unwrap().contains(name));
        row.map(|row| {
            (
                row["self"].as_u64().unwrap(),
                row["total"].as_u64().unwrap(),
            )
        })
    };
    assert_eq!(shares("innermost"), Some((1, 1)), "in the same function");
    assert_eq!(shares("never_returns"), Some((1, 1)), "in another");
    assert_eq!(shares("hash"), Some((1, 3)), "what was interrupted");
    assert_eq!(shares("idle"), Some((0, 3)), "what called it");
    assert_eq!(json["events"][0]["exact"], 2);
    assert_eq!(json["exact_elsewhere"], 1);
    assert_eq!(json["addresses"], "sampled-ops");
    let text = report::text(&report, SortBy::Own);
    let words: Vec<_> = text.split_whitespace().collect();
    let said = "without skid; 1 sample without one; 1 sample interrupted in another function";
    assert!(words.join(" ").contains(said), "{text}");
    // Two that differ in nothing else are not one.
    let symbols = Symbols::new(&kernel.elf).unwrap();
    let tally =
        report::Tally::with_costs(&profile, symbols.callers(), Selection::default()).unwrap();
    assert_eq!(tally.stacks().count(), 3);
}

/// What other events' samples take of a core's sequence numbers is no gap.
#[test]
fn samples_of_other_events_are_not_lost() {
    let [first, _] = samples();
    let description = Description {
        cores: 1,
        ..two_events()
    };
    let seen = |seen: &Seen| Seen {
        event: u8::from(seen.sequence == 1),
        ..seen.clone()
    };
    let first: Vec<_> = first.iter().map(seen).collect();
    let profile = Profile::read(profile_of(&description, &first)).unwrap();
    let symbols = Symbols::new(&kernel().elf).unwrap();
    let selection = Selection {
        events: 1.into(),
        ..Selection::default()
    };
    let tally = report::Tally::with_costs(&profile, symbols.callers(), selection).unwrap();
    assert_eq!((tally.samples(), tally.cores[0].gaps), (1, 0));
}

#[test]
fn the_text_says_of_each_event_what_was_asked_for_and_achieved() {
    let text = report::text(&report_of(None), SortBy::Own);
    for part in [
        "source      pmu as NMI",
        "event 0     cycles:k: 3 samples, 50.00%\n",
        "            100 requested; achieved: minimum 100, median 100, maximum 100\n",
        "event 1     cpu/event=0xc4,umask=0x20/u: 2 samples, 33.33%\n",
        "            10 requested, 50 set: no shorter one makes progress here; achieved: minimum 101,",
        "handler     300 ns a sample",
        "samples     6, 2 lost, 2 interrupts unclaimed\n",
    ] {
        assert!(text.contains(part), "`{part}` is not in:\n{text}");
    }
    assert!(!text.contains("\nperiod ") && !text.contains("\nprogress "));
    assert!(text.lines().all(|line| line.chars().count() <= 100));
    let second = report::text(&report_of(Some(1)), SortBy::Own);
    assert!(!second.contains("event 0") && second.contains("event 1"));
    assert!(
        second.contains("2 interrupts unclaimed (cpu/event=0xc4,umask=0x20/u only)"),
        "{second}"
    );
}

/// A profile of six interrupts of two cores, three of them samples of `cycles:k`, on which an
/// interrupt cost 30 at rest, 31 where all were at it, and what the checks of each core say, each
/// twenty times.
fn profile_with_checks(checks: [&[u64]; 2], spread: u64) -> Profile {
    let mut profile = Profile::read(profile_of_events()).unwrap();
    let end = profile.end.as_mut().unwrap();
    for (core, checks) in end.cores.iter_mut().zip(checks) {
        let row = OverheadCounters::default();
        row.calibrate(30, 31, spread, 0);
        let many = checks.iter().cycle().take(20 * checks.len());
        many.for_each(|&check| row.add_check(check));
        core.overheads = vec![OverheadEnd(row.load())];
        core.checks = 20 * checks.len() as u64;
        [core.late, core.early, core.unclaimed] = [0; 3];
        core.smis = Some(3);
    }
    profile
}

fn report_with_checks(checks: [&[u64]; 2]) -> Report {
    report_whole(&profile_with_checks(checks, 1))
}

fn report_whole(profile: &Profile) -> Report {
    report_on(profile, Selection::default(), Options::default())
}

#[test]
fn what_a_period_is_known_to_within_is_said() {
    let mut profile = profile_with_checks([&[31, 31, 32], &[30]], 1);
    // One more on each than was of use: less than one in twenty.
    let cores = &mut profile.end.as_mut().unwrap().cores;
    cores.iter_mut().for_each(|core| core.checks += 1);
    let report = report_whole(&profile);
    // The first core has three interrupts to two samples, one of them between these.
    for part in [
        "            100 requested; achieved: minimum 100, median 100, maximum 100, each ±4\n",
        "            overhead: 30 at rest, 31 with all cores busy, 31 while running (80 checks, 30 to 32):\n            periods are known to within ±4 each, ±3 in the mean\n",
        "2 checks of the overhead",
        "6 SMIs",
    ] {
        says(&report, part);
    }
    assert!(report.end.warnings.is_empty(), "{:?}", report.end.warnings);
    let json: Value = serde_json::from_str(&report::json(&report).unwrap()).unwrap();
    let running = json!({"checks": 80, "mean": 31, "min": 30, "max": 32});
    assert_eq!(
        json["events"][0]["overhead"],
        json!({"at_rest": 30, "busy": 31, "running": running})
    );
    assert_eq!(json["events"][0]["period"]["known_to_within"], 4);
    assert_eq!(json["events"][0]["period"]["mean_known_to_within"], 3);
    assert_eq!(json["counters"]["checks_lost"], 2);
    assert_eq!(json["counters"]["smis"], 6);
}

/// Where it is not known, it is not exact.
#[test]
fn periods_are_exact_only_where_they_were_checked() {
    let exact = profile_with_checks([&[31, 31], &[31]], 0);
    let report = report_whole(&exact);
    says(
        &report,
        "(60 checks, 31 to 31):\n            periods are exact\n",
    );
    says(&report, "maximum 100\n");
    // Rounded to the nearest, the mean is 31.
    let nearly = profile_with_checks([&[31, 31, 31, 32], &[31]], 0);
    says(&report_whole(&nearly), "each ±2\n");
}

/// Where it is not known, that is said, with the reason.
#[test]
fn how_exact_periods_are_is_not_known_without_checks_or_where_many_are_lost() {
    let exact = profile_with_checks([&[31, 31], &[31]], 0);
    let begun = |mut profile: Profile, on_each: u64| {
        let cores = &mut profile.end.as_mut().unwrap().cores;
        cores.iter_mut().for_each(|core| core.checks = on_each);
        profile
    };
    let unchecked = || profile_with_checks([&[], &[]], 0);
    for (what, profile, why) in [
        (
            "none was begun",
            unchecked(),
            "not checked while running: too few samples",
        ),
        (
            "nothing is said, as in versions before",
            Profile::read(profile_of_events()).unwrap(),
            "the profile does not say what interrupts cost",
        ),
        (
            "all were lost",
            begun(unchecked(), 2),
            "2 of 2 checks while running disturbed, or far above what is taken off",
        ),
        (
            "every other one was lost, as the dear ones are",
            begun(profile_with_checks([&[31], &[31]], 0), 40),
            "20 of 40 checks while running disturbed, or far above what is taken off",
        ),
        (
            "more than one in twenty was",
            begun(profile_with_checks([&[31], &[31]], 0), 22),
            "2 of 22 checks while running disturbed, or far above what is taken off",
        ),
        (
            "the end is missing",
            {
                let mut profile = profile_with_checks([&[31], &[31]], 0);
                profile.end = None;
                profile
            },
            "the profile's end is missing",
        ),
        (
            "too many events",
            {
                let mut profile = Profile::read(profile_of_event_numbered(33)).unwrap();
                let cores = &mut profile.end.as_mut().unwrap().cores;
                cores[0].overheads = exact.end.unwrap().cores[0].overheads.clone();
                profile
            },
            "what interrupts cost is kept of 32 events",
        ),
    ] {
        let report = report_whole(&profile);
        let said = report::text(&report, SortBy::Own).replace("\n           ", "");
        let expected = format!("how exact periods are is not known ({why})");
        assert!(said.contains(&expected), "{what}:\n{said}");
        assert!(!said.contains("periods are exact"), "{what}:\n{said}");
        let period = report.sampling.events[0].period;
        assert_eq!(period.known_to_within, None, "{what}");
    }
    // The second core has samples, and what interrupts cost there is not known.
    let one = profile_with_checks([&[31], &[]], 0);
    says(
        &report_whole(&one),
        "periods are exact, but of 1 core, not checked\n",
    );
}

/// In the mean an event's period has two interrupts in it, and one of them has seven.
#[test]
fn what_each_period_is_known_to_within_is_by_the_one_with_most_interrupts() {
    let description = Description {
        cores: 1,
        ..two_events()
    };
    let events = [1, 1, 1, 0, 0, 0, 0, 0, 0, 1, 1, 1];
    let seen: Vec<_> = (0..)
        .zip(events)
        .map(|(sequence, event)| Seen {
            event,
            ..Seen::new(sequence, kernel().at("in_hash"), &[])
        })
        .collect();
    let apart = profile_of(&description, &seen);
    let together = profile_in_one_block(&description, &seen);
    for file in [apart, together] {
        assert_known_by_the_most(Profile::read(file).unwrap());
    }
}

/// Asserts that of such a profile, whose overheads are within ±1 of what is taken off.
#[track_caller]
fn assert_known_by_the_most(mut profile: Profile) {
    let row = OverheadCounters::default();
    row.calibrate(31, 31, 0, 0);
    row.add_check(30);
    row.add_check(32);
    let core = &mut profile.end.as_mut().unwrap().cores[0];
    core.overheads = vec![OverheadEnd(row.load()); 2];
    [core.taken, core.stored, core.lost] = [12, 12, 0];
    [core.late, core.early, core.unclaimed] = [0; 3];
    core.checks = 2;
    let known = |profile: &Profile, only: Option<u8>| {
        let selection = Selection {
            events: only.into_iter().collect(),
            ..Selection::default()
        };
        let report = report_on(profile, selection, Options::default());
        report
            .sampling
            .events
            .last()
            .unwrap()
            .period
            .known_to_within
    };
    for only in [None, Some(1)] {
        assert_eq!(known(&profile, only), Some(7), "{only:?}");
    }
    // Where those were that made no sample is not known.
    let core = &mut profile.end.as_mut().unwrap().cores[0];
    [core.late, core.early, core.unclaimed] = [2, 3, 4];
    assert_eq!(known(&profile, None), Some(16));
}

/// A core that has taken its share is not measured again when `ctl` sets other events.
#[test]
fn a_core_that_took_no_part_is_in_no_mean() {
    let [first, mut second] = samples();
    second.iter_mut().for_each(|seen| seen.event = 1);
    let file = profile_of_cores(&two_events(), &[&first, &second]);
    let mut profile = Profile::read(file).unwrap();
    let with_checks = profile_with_checks([&[31], &[31]], 0).end.unwrap();
    let end = profile.end.as_mut().unwrap();
    end.cores[0].overheads = with_checks.cores[0].overheads.clone();
    end.cores[0].checks = with_checks.cores[0].checks;
    end.cores[1].overheads = vec![OverheadEnd::default()];
    says(
        &report_whole(&profile),
        "overhead: 30 at rest, 31 with all cores busy, 31 while running (20 checks,",
    );
}

/// What an event of one kind of core is on the other kind is no zero.
#[test]
fn an_event_that_a_core_does_not_count_has_no_overhead_there() {
    let mut description = two_events();
    description.event_table[0].name = Text::new("cpu_core/cycles/k");
    let [first, mut second] = samples();
    second.iter_mut().for_each(|seen| seen.event = 1);
    let file = profile_of_cores(&description, &[&first, &second]);
    let mut profile = Profile::read(file).unwrap();
    let end = profile.end.as_mut().unwrap();
    let with_checks = profile_with_checks([&[31], &[31]], 0).end.unwrap();
    end.cores[0].overheads = with_checks.cores[0].overheads.clone();
    end.cores[0].checks = with_checks.cores[0].checks;
    end.cores[0].kind = CoreKind::Core.number().into();
    end.cores[1].kind = CoreKind::Atom.number().into();
    end.cores[1].overheads = vec![OverheadEnd::default()];
    let report = report_whole(&profile);
    says(
        &report,
        "overhead: 30 at rest, 31 with all cores busy, 31 while running (20 checks,",
    );
    says(&report, "cores 0 cpu_core, 1 cpu_atom\n");
    let json: Value = serde_json::from_str(&report::json(&report).unwrap()).unwrap();
    assert_eq!(json["cores"][0]["kind"], "cpu_core");
    assert_eq!(json["cores"][1]["kind"], "cpu_atom");
    assert_eq!(json["events"][0]["overhead"]["busy"], 31);
}

/// Numbers that no run has, of a file that is damaged.
#[test]
fn numbers_that_are_too_large_are_no_end_of_the_report() {
    let mut profile = profile_with_checks([&[u64::MAX], &[0]], u64::MAX);
    let end = profile.end.as_mut().unwrap();
    let row = OverheadEnd(Overhead {
        rest: u64::MAX,
        busy: u64::MAX,
        spread: u64::MAX,
        since: 0,
        checks: u64::MAX,
        sum: u64::MAX,
        min: 0,
        max: u64::MAX,
    });
    for core in &mut end.cores {
        core.overheads.push(row);
        core.overheads
            .push(OverheadEnd(Overhead { since: 1, ..row.0 }));
        [core.taken, core.stored, core.lost] = [u64::MAX; 3];
        [core.late, core.early, core.missed] = [u64::MAX; 3];
        [core.unclaimed, core.checks] = [u64::MAX; 2];
        core.smis = Some(u64::MAX);
    }
    let report = report_whole(&profile);
    let json = report::json(&report).unwrap();
    assert!(json.contains("18446744073709551615"), "{json}");
    says(&report, "each ±18,446,744,073,709,551,615");
}

/// It would be said that 100 were achieved, and the code got 76.
#[test]
fn where_interrupts_cost_more_than_was_measured_it_is_said_what_the_code_got() {
    let report = report_with_checks([&[31], &[39, 39]]);
    says(&report, "minimum 100, median 100, maximum 100, each ±9\n");
    let [warning] = &report.end.warnings[..] else {
        panic!("{:?}", report.end.warnings);
    };
    assert!(
        warning.contains("an interrupt of core 1 cost 39 while it ran, and 30 to 31 before"),
        "{warning}"
    );
    assert!(
        warning.contains("where 100 were achieved, the interrupted code got about 76;"),
        "{warning}"
    );
    let cheaper = report_with_checks([&[23], &[31]]);
    let warnings = cheaper.end.warnings;
    assert!(
        warnings[0].contains("the interrupted code got about 112;"),
        "{warnings:?}"
    );
}

#[test]
fn an_event_that_came_later_is_known_by_its_record() {
    let profile = Profile::read(profile_of_later_event()).unwrap();
    assert_eq!(profile.incomplete(), None);
    let names: Vec<_> = profile.events().iter().map(|it| it.name.as_str()).collect();
    assert_eq!(
        names,
        ["cycles:k", "cpu/event=0xc4,umask=0x20/u", "instructions:u"]
    );
    let report = report_on(&profile, Selection::default(), Options::default());
    // Its record is no sample, and none that cannot be read.
    assert_eq!(report.end.incomplete, None);
    let samples: Vec<_> = report
        .sampling
        .events
        .iter()
        .map(|event| event.samples)
        .collect();
    assert_eq!(samples, [1, 0, 2]);
    says(
        &report,
        "            7 requested, 9 set: no shorter one makes progress here",
    );
    assert_eq!(report::find_event(&profile, "instructions:u").unwrap(), 2);
}

#[test]
fn interrupts_of_counters_that_made_no_sample_are_accounted_for() {
    assert_eq!(
        json_of(None)["counters"],
        json!({ "late": 4, "early": 0, "missed": 2, "smis": null })
    );
    let mut report = report_of(None);
    says(
        &report,
        "            2 overflows due too soon after another and missed, 4 interrupts for an overflow seen\n            before\nhash",
    );
    report.totals.counters = CounterTotals::Known(Counters {
        late: 0,
        early: 1,
        missed: 0,
        checks_lost: 0,
        smis: None,
    });
    says(
        &report,
        "unclaimed\n            1 interrupt before the event was due\nhash",
    );
    // Where overflows are a timer's there is no such thing.
    let profile = Profile::read(profile()).unwrap();
    let report = report_on(&profile, Selection::default(), Options::default());
    assert_eq!(report.totals.counters, CounterTotals::None);
}

/// Where one clock counts what all cores execute, and they do not wait for each other,
/// the most that a handler took is theirs.
#[test]
fn what_others_executed_is_not_the_most_that_a_handler_took() {
    let [mut first, _] = samples();
    first[2].handler_cost = 310;
    let report_of = |change: fn(&mut Description)| {
        let mut description = Description {
            clock: Clock::Instructions,
            ..two_events()
        };
        change(&mut description);
        let profile = Profile::read(profile_of(&description, &first)).unwrap();
        report_on(&profile, Selection::default(), Options::default())
    };
    let cost = |max| Some(Cost { median: 300, max });
    let shared = report_of(|_| {});
    assert_eq!(shared.totals.handler_instructions, cost(None));
    says(
        &shared,
        "handler     300 instructions a sample (median; other cores' may be among them); 100.0% the fast way\n",
    );
    let json: Value = serde_json::from_str(&report::json(&shared).unwrap()).unwrap();
    assert_eq!(json["handler_ticks"], json!({ "median": 300, "max": null }));
    for (what, change) in [
        ("one core", (|run| run.cores = 1) as fn(&mut Description)),
        ("cores in turn", |run| run.turns = true),
        ("clocks of time", |run| run.clock = Clock::Time),
    ] {
        let report = report_of(change);
        assert_eq!(report.sampling.handler_ticks, cost(Some(310)), "{what}");
        let text = report::text(&report, SortBy::Own);
        assert!(
            text.contains("a sample (median), at most 310"),
            "{what}:\n{text}"
        );
    }
}

#[test]
fn maskable_interrupts_are_said_to_see_some_code_late() {
    let description = Description {
        delivery: Delivery::Irq,
        ..description()
    };
    let [first, _] = samples();
    let profile = Profile::read(profile_of(&description, &first)).unwrap();
    let report = report_on(&profile, Selection::default(), Options::default());
    let text = report::text(&report, SortBy::Own);
    let bias = "(code with interrupts off is not seen: its samples come where they are on again)";
    assert!(text.contains(bias), "{text}");
    let with_nmis = report::text(&report_of(None), SortBy::Own);
    assert!(
        !with_nmis.contains("interrupts off is not seen"),
        "{with_nmis}"
    );
}

#[test]
fn a_run_without_events_says_nothing_of_them() {
    let path = file("no-events.pmi", &profile());
    let said = stdout(&pmiscope(&["report", text(&path)]).success());
    let json = stdout(&pmiscope(&["report", text(&path), "--format", "json"]).success());
    assert!(
        !said.contains("event") && !json.contains("event"),
        "{said}{json}"
    );
    refused(
        pmiscope(&["report", text(&path), "--event", "0"]),
        1,
        &["--event 0: the profile has no events: its samples are by the source apic-timer"],
    );
}

#[test]
fn an_event_is_found_by_name_or_number() {
    let path = file("events.pmi", &profile_of_events());
    let export = |event: &str| {
        let arguments = ["export", text(&path), "--format", "folded", "-o", "-"];
        stdout(&pmiscope(&[&arguments[..], &["--event", event]].concat()).success())
    };
    let by_number = export("1");
    assert_eq!(by_number.lines().count(), 2, "{by_number}");
    for name in [
        "cpu/event=0xc4,umask=0x20/u",
        "r20c4:u",
        "cpu/umask=32,event=196/u",
    ] {
        assert_eq!(export(name), by_number, "{name}");
    }
    assert_eq!(export("cpu-cycles:k"), export("0"));
    assert_ne!(export("0"), by_number);
    for event in ["cycles", "2", "256", "cycels:k"] {
        refused(
            pmiscope(&["report", text(&path), "--event", event]),
            1,
            &[
                &format!("--event {event}: the profile has no such event"),
                "it has 0 cycles:k, 1 cpu/event=0xc4,umask=0x20/u",
            ],
        );
    }
    let mut twice = two_events();
    twice.event_table[1].name = Text::new("cycles:k");
    let path = file("twice.pmi", &profile_of(&twice, &[]));
    refused(
        pmiscope(&["report", text(&path), "--event", "cycles:k"]),
        1,
        &["has 2 events of that name: say 0 or 1"],
    );
}

#[test]
fn the_flame_graph_says_which_event_it_is_of() {
    let profile = Profile::read(profile_of_events()).unwrap();
    let mut symbols = Symbols::new(&kernel().elf).unwrap();
    for (event, says) in [
        (
            None,
            "pmu every 100 cycles:k or 50 cpu/event=0xc4,umask=0x20/u",
        ),
        (Some(0), "3 samples on 2 cores · pmu every 100 cycles:k ·"),
    ] {
        let selection = Selection {
            events: event.into_iter().collect(),
            ..Selection::default()
        };
        let tally = report::Tally::with_costs(&profile, symbols.callers(), selection).unwrap();
        let stacks = flame::Stacks::new(&profile, &tally, &mut symbols, None).unwrap();
        let mut picture = Vec::new();
        flame::draw(
            &profile,
            &stacks,
            &event.into_iter().collect(),
            &mut picture,
        )
        .unwrap();
        let picture = String::from_utf8(picture).unwrap();
        assert!(picture.contains(says), "{says}");
    }
}
