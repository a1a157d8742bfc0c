//! Reports and flame graphs of a profile whose every sample is known.

use std::collections::BTreeSet;

use pmiscope::internals::Profile;
use pmiscope::internals::flame::{self, Root};
use pmiscope::internals::report::{self, Only, Options, Report, Selection, SortBy, Tally};
use pmiscope::profile::Mode;
use pmiscope::qemu::{Emulator, PmuModel};
use pmiscope::symbols::Symbols;
use profiler::format::{
    AimDescription, ChainEnd, ChainEntry, Clock, Description, Sample, State, Text,
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::command::{pmiscope, refused};
use crate::fixture::{Seen, description, kernel, profile, profile_of, profile_of_cores, samples};

/// The report on a profile of the tests' kernel.
pub fn report_on(profile: &Profile, selection: Selection, options: Options) -> Report {
    let mut symbols = Symbols::new(&kernel().elf).unwrap();
    let tally = Tally::with_costs(profile, symbols.callers(), selection).unwrap();
    Report::new(profile, &tally, &mut symbols, options).unwrap()
}

fn report_of(bytes: Vec<u8>, options: Options) -> Report {
    let profile = Profile::read(bytes).unwrap();
    report_on(&profile, Selection::default(), options)
}

/// The folded stacks of a profile of the tests' kernel.
fn folded(profile: &Profile, root: Option<Root>) -> Vec<String> {
    stacks(profile, root).lines()
}

fn stacks(profile: &Profile, root: Option<Root>) -> flame::Stacks {
    let mut symbols = Symbols::new(&kernel().elf).unwrap();
    let tally = Tally::with_costs(profile, symbols.callers(), Selection::default()).unwrap();
    flame::Stacks::new(profile, &tally, &mut symbols, root).unwrap()
}

fn json_of(options: Options) -> Value {
    let report = report_of(profile(), options);
    serde_json::from_str(&report::json(&report).unwrap()).unwrap()
}

#[test]
fn a_report_says_how_many_samples_were_aimed() {
    let [mut first, _] = samples();
    first[1].event = Sample::AIMED;
    for (ends, shown) in [([3, 20], "3..20"), ([7, 8], "7")] {
        let stub = kernel().at("stub");
        let run = Description {
            cores: 1,
            aim: AimDescription {
                address: stub,
                first: ends[0],
                end: ends[1],
            },
            ..description()
        };
        let report = report_of(profile_of(&run, &first), Options::default());
        let json: Value = serde_json::from_str(&report::json(&report).unwrap()).unwrap();
        let address = format!("{:#x}", stub.0);
        assert_eq!(
            json["aimed"],
            json!({"samples": 1, "address": address, "start": ends[0], "end": ends[1]})
        );
        let text = report::text(&report, SortBy::default());
        let line =
            format!("\naimed       1 of the samples: {shown} instructions behind {address}\n");
        assert!(text.contains(&line), "{text}");
    }
    assert_eq!(json_of(Options::default()).get("aimed"), None);
}

#[test]
fn json_has_the_promised_keys_with_the_right_numbers() {
    let json = json_of(Options::default());
    assert_eq!(json["source"], "apic-timer");
    assert_eq!(json["mode"], "deterministic");
    // The first sample of each core does not count.
    assert_eq!(
        json["period"],
        json!({"requested": 100, "min": 90, "median": 100, "max": 101})
    );
    assert_eq!(json["samples"], 6);
    assert_eq!(json["lost"], 2);
    assert_eq!(json["unclaimed"], 2);
    assert_eq!(
        json["handler_instructions"],
        json!({"median": 300, "max": 310})
    );
    let cores = json["cores"].as_array().unwrap();
    assert_eq!(cores.len(), 2);
    for (key, values) in [
        ("id", [0, 1]),
        ("apic_id", [0, 4]),
        ("samples", [3, 3]),
        ("lost", [0, 2]),
    ] {
        assert_eq!([&cores[0][key], &cores[1][key]], values, "{key}");
    }
    assert_eq!(
        json["chain_ends"],
        json!({"complete": 5, "frame pointer below the frame": 1})
    );
    assert_eq!(json["interrupts_off"], 2);
    assert_eq!(json["idle"], 2);
    assert_eq!(
        json["tasks"],
        json!([
            {"name": "hash", "samples": 3},
            {"name": "idle", "samples": 2},
            {"name": "task 7", "samples": 1},
        ])
    );
    assert_eq!(json["incomplete"], Value::Null);
    assert_eq!(json["outcome"], "finished");
}

#[test]
fn the_promised_keys_come_first_and_in_order() {
    let text = report::json(&report_of(profile(), Options::default())).unwrap();
    let keys: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("  \"")?.split_once('"'))
        .map(|(key, _)| key)
        .collect();
    assert_eq!(
        keys[..12],
        [
            "build_id",
            "source",
            "mode",
            "period",
            "samples",
            "lost",
            "unclaimed",
            "sample_hash",
            "handler_instructions",
            "cores",
            "chain_ends",
            "functions"
        ]
    );
    assert!(keys[12..].contains(&"fast_samples"), "{keys:?}");
}

#[test]
fn the_samples_of_the_fast_handler_are_those_of_the_cores_that_are_counted() {
    let profile = Profile::read(profile()).unwrap();
    let of_core = |core: u32| Selection {
        cores: core.into(),
        ..Selection::default()
    };
    let of_event = Selection {
        events: 0.into(),
        ..Selection::default()
    };
    for (selection, fast, said) in [
        (Selection::default(), json!(3), "; 50.0% the fast way"),
        (of_core(0), json!(2), "; 66.7% the fast way"),
        (of_core(1), json!(1), "; 33.3% the fast way"),
        (of_event, Value::Null, "at most 310\n"),
    ] {
        let report = report_on(&profile, selection.clone(), Options::default());
        let text = report::text(&report, SortBy::Own);
        assert!(text.contains(said), "{selection:?}: {text}");
        let json: Value = serde_json::from_str(&report::json(&report).unwrap()).unwrap();
        assert_eq!(json["fast_samples"], fast, "{selection:?}");
    }
}

#[test]
fn only_a_run_without_the_slow_way_is_all_fast() {
    for (fast, said) in [
        (999_999, "; 99.9% the fast way\n"),
        (1_000_000, "; 100.0% the fast way\n"),
    ] {
        let mut report = report_of(profile(), Options::default());
        report.totals.samples = 1_000_000;
        report.fast_samples = Some(fast);
        let text = report::text(&report, SortBy::Own);
        assert!(text.contains(said), "{fast}: {text}");
    }
}

/// Name, self and total of each function.
fn functions(options: Options) -> Vec<(String, u64, u64)> {
    let rows = report_of(profile(), options).functions;
    rows.into_iter()
        .map(|row| (row.name, row.own, row.total))
        .collect()
}

fn row(name: &str, own: u64, total: u64) -> (String, u64, u64) {
    (name.into(), own, total)
}

#[test]
fn a_function_counts_once_a_sample_however_often_it_is_on_the_stack() {
    let expected = [
        row("innermost", 2, 2),
        row("stub", 2, 2),
        row("kernel::workload::hash::run", 1, 3),
        row("0xffffffff8fff0000", 1, 1),
        row("idle", 0, 5),
        row("middle", 0, 3),
        row("never_returns", 0, 2),
    ];
    assert_eq!(functions(Options::default()), expected);
    let by_total = Options {
        sort: SortBy::Total,
        top: Some(2),
    };
    assert_eq!(
        functions(by_total),
        [row("idle", 0, 5), row("kernel::workload::hash::run", 1, 3)]
    );
}

#[test]
fn inlined_functions_are_marked() {
    let report = report_of(profile(), Options::default());
    let inlined: Vec<_> = report
        .functions
        .iter()
        .filter(|row| row.inlined)
        .map(|row| row.name.as_str())
        .collect();
    assert_eq!(inlined, ["innermost", "middle"]);
}

#[test]
fn one_core_alone_is_counted_and_the_hash_stays() {
    let all = json_of(Options::default());
    let selection = Selection {
        cores: 1.into(),
        ..Selection::default()
    };
    let profile = Profile::read(profile()).unwrap();
    let second = report_on(&profile, selection, Options::default());
    let second: Value = serde_json::from_str(&report::json(&second).unwrap()).unwrap();
    assert_eq!(second["samples"], 3);
    assert_eq!(second["cores"].as_array().unwrap().len(), 1);
    assert_eq!(second["cores"][0]["id"], 1);
    assert_eq!(second["sample_hash"], all["sample_hash"]);
    assert_eq!(second["functions"][0]["name"], "stub");
}

#[test]
fn the_hash_is_what_its_definition_says() {
    let mut hash = Sha256::new();
    for (number, samples) in (0..).zip(samples()) {
        let mut of_core = Sha256::new();
        for seen in &samples {
            let record = seen.record();
            let [head, numbers, time, period, sp, .., pc] = record[..8] else {
                unreachable!("a sample has as many");
            };
            let [end, state, event] = [16, 24, 32].map(|shift| head >> shift & 0xff);
            // None of these samples has a return address on top of its stack, nor an exact one.
            let chain = &record[8..];
            let mut of_stack = Sha256::new();
            let fixed = [state | end << 8, chain.len() as u64, pc, 0, 0, 0];
            for word in fixed.iter().chain(chain) {
                of_stack.update(word.to_le_bytes());
            }
            for word in [numbers, event | head >> 48 << 16, time, period, sp] {
                of_core.update(word.to_le_bytes());
            }
            of_core.update(&of_stack.finalize()[..16]);
        }
        hash.update(u64::to_le_bytes(number));
        hash.update((samples.len() as u64).to_le_bytes());
        hash.update(of_core.finalize());
    }
    let hash: String = hash.finalize()[..16]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(json_of(Options::default())["sample_hash"], hash);
}

#[test]
fn without_an_end_losses_are_what_the_sequence_numbers_say() {
    let whole = profile();
    let end = whole
        .windows(4)
        .rposition(|window| window == b"\x93PMI")
        .unwrap();
    let report = report_of(whole[..end].to_vec(), Options::default());
    let lost: Vec<_> = report.cores.iter().map(|core| core.lost).collect();
    assert_eq!(lost, [0, 2]);
    assert_eq!(report.totals.unclaimed, None);
    assert!(
        report
            .end
            .incomplete
            .unwrap()
            .contains("the end is missing")
    );
}

#[test]
fn the_text_says_it_all_in_100_columns() {
    let report = report_of(profile(), Options::default());
    let text = report::text(&report, SortBy::Own);
    for part in [
        "QEMU 7.2.22, deterministic",
        "2 cores online",
        "fixture 1.0",
        "apic-timer as NMI",
        "no PMU here",
        "100 instructions requested; achieved: minimum 90, median 100, maximum 101",
        "300 instructions a sample (median), at most 310; 50.0% the fast way",
        "the workload ran 100 instructions between samples, the handler 300",
        "6, 2 lost, 2 interrupts unclaimed",
        "83.33%            5  complete",
        "16.67%            1  frame pointer below the frame",
        "50.00%            3  hash",
        "33.33%            2  (interrupts off)",
        "33.33%   33.33%  i innermost",
        "fixture.c:11",
        report.identity.build_id.as_deref().unwrap(),
        report.totals.sample_hash.as_deref().unwrap(),
    ] {
        assert!(text.contains(part), "`{part}` is not in:\n{text}");
    }
    for line in text.lines() {
        assert!(
            line.chars().count() <= 100 && line == line.trim_end(),
            "{line}"
        );
    }
}

#[test]
fn the_text_does_not_say_who_booted_a_kernel_that_does_not() {
    let mut report = report_of(profile(), Options::default());
    assert!(report::text(&report, SortBy::Own).contains("\nbooted by   fixture 1.0\n"));
    report.machine.bootloader.clear();
    assert!(!report::text(&report, SortBy::Own).contains("booted by"));
}

#[test]
fn the_text_says_what_another_machine_would_show() {
    let says = |change: &dyn Fn(&mut Report), part: &str| {
        let mut report = report_of(profile(), Options::default());
        report.sampling.interrupts.source_reason =
            "pmu: no PMU here; apic-timer: the first that works".into();
        change(&mut report);
        report::text(&report, SortBy::Own).contains(part)
    };
    let hint = "`make qemu-pmu`";
    assert!(says(&|_| {}, hint));
    // Not where it would not help, or was not missed.
    for change in [
        |report: &mut Report| report.machine.emulator = Some(Emulator::Lab),
        |report: &mut Report| report.machine.emulator = Some(Emulator::Other),
        |report: &mut Report| report.identity.mode = Some(Mode::Realtime),
        |report: &mut Report| report.identity.source = Some("pmu"),
        |report: &mut Report| {
            report.sampling.interrupts.source_reason = "hpet: asked for by name".into()
        },
    ] {
        assert!(!says(&change, hint));
    }
    let bias = "code with interrupts off is not seen";
    assert!(!says(&|_| {}, bias));
    assert!(says(
        &|report| report.sampling.interrupts.delivery = Some("irq"),
        bias
    ));
    let v5 = |report: &mut Report| report.machine.pmu = Some(PmuModel::IntelV5);
    assert!(says(&v5, "QEMU 7.2.22 (PMU intel-v5), deterministic"));
}

#[test]
fn times_have_their_units() {
    let mut report = report_of(profile(), Options::default());
    report.sampling.clock = "time";
    report.totals.period.requested = 1_000_000;
    let text = report::text(&report, SortBy::Own);
    assert!(
        text.contains("1.00 ms requested; achieved: minimum 90 ns, median 100 ns"),
        "{text}"
    );
    assert!(text.contains("300 ns a sample"), "{text}");
}

/// Of cores whose counters are not told apart, how far apart they may be.
#[test]
fn within_what_cores_agree_is_said() {
    let said = |within| {
        let run = Description {
            clock: Clock::Time,
            turns: false,
            tsc_difference: 0,
            tsc_within: within,
            ..description()
        };
        let [first, second] = samples();
        let file = profile_of_cores(&run, &[&first, &second]);
        let profile = Profile::read(file).unwrap();
        let report = report_on(&profile, Selection::default(), Options::default());
        let text = report::text(&report, SortBy::Own);
        let json: Value = serde_json::from_str(&report::json(&report).unwrap()).unwrap();
        let words: Vec<_> = text.split_whitespace().collect();
        (words.join(" "), json["tsc_within_ticks"].clone())
    };
    let (text, within) = said(900_000);
    let expected = "time stamp counters of cores agree to within 900 µs";
    assert!(text.contains(expected), "{text}");
    assert_eq!(within, 900_000);
    let (text, within) = said(0);
    assert!(!text.contains("time stamp counters"), "{text}");
    assert_eq!(within, Value::Null);
}

/// Nothing says how long a tick of the time stamp counter takes.
#[test]
fn a_run_in_ticks_says_so_wherever_it_has_a_number() {
    let run = Description {
        clock: Clock::Ticks,
        turns: false,
        tsc_difference: 70,
        tsc_within: 9,
        ..description()
    };
    let [first, second] = samples();
    let file = profile_of_cores(&run, &[&first, &second]);
    let mut profile = Profile::read(file.clone()).unwrap();
    profile.host.mode = Mode::Kvm;
    let report = report_on(&profile, Selection::default(), Options::default());
    let text = report::text(&report, SortBy::Own);
    for part in [
        "address     where the interrupt came: ",
        "clock       ticks of the time stamp counter: nothing says how long one takes; time stamp counters of\n",
        "            cores differ by up to 70 ticks: corrected to within 9 ticks\n",
        "period      100 ticks requested; achieved: minimum 90, median 100, maximum 101\n",
        "handler     300 ticks a sample (median), at most 310; 50.0% the fast way\n",
        "progress    the workload ran 100 ticks between samples, the handler 300\n",
    ] {
        assert!(text.contains(part), "`{part}` is not in:\n{text}");
    }
    assert!(!text.contains(" ns"), "{text}");
    let json: Value = serde_json::from_str(&report::json(&report).unwrap()).unwrap();
    for (key, value) in [
        ("clock", json!("ticks")),
        ("handler_instructions", Value::Null),
        ("handler_ticks", json!({"median": 300, "max": 310})),
        ("tsc_difference_ticks", json!(70)),
        ("addresses", json!("at-interrupt")),
    ] {
        assert_eq!(json[key], value, "{key}");
    }
    assert_eq!(json.get("clock_reference"), None);
    let mut picture = Vec::new();
    flame::draw(&profile, &stacks(&profile, None), &Only::All, &mut picture).unwrap();
    let picture = String::from_utf8(picture).unwrap();
    assert!(picture.contains("apic-timer every 100 ticks"));
    // What each sample is of is the same, and so is every command.
    let whole = Profile::read(profile_of_cores(&description(), &[&first, &second])).unwrap();
    assert_eq!(folded(&profile, None), folded(&whole, None));
    let path = crate::fixture::file("ticks.pmi", &file);
    let path = path.to_str().unwrap();
    // The host of this profile says that instructions were counted.
    for command in [
        &["report", path][..],
        &["flamegraph", path, "-o", "-"],
        &["export", path, "--format", "folded", "-o", "-"],
    ] {
        let ended = pmiscope(command).code(3);
        let said = String::from_utf8_lossy(&ended.get_output().stdout).into_owned();
        assert!(!said.contains("exact:") && !said.is_empty(), "{said}");
    }
    refused(
        pmiscope(&["verify", path]),
        1,
        &["its clock does not count instructions"],
    );
}

/// One sample a core, of which nothing was measured.
#[test]
fn a_run_in_ticks_may_be_without_any_period() {
    let run = Description {
        clock: Clock::Ticks,
        cores: 1,
        period: 0,
        period_floor: 0,
        overhead: 0,
        ..description()
    };
    for seen in [&[][..], &[Seen::new(0, kernel().at("in_hash"), &[])]] {
        let mut profile = Profile::read(profile_of(&run, seen)).unwrap();
        profile.host.mode = Mode::Realtime;
        let report = report_on(&profile, Selection::default(), Options::default());
        let text = report::text(&report, SortBy::Own);
        assert!(text.contains("period      0 ticks requested\n"), "{text}");
        assert!(
            text.contains("address     the head of a block of QEMU's"),
            "{text}"
        );
        assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
        report::json(&report).unwrap();
    }
}

#[test]
fn many_cores_and_long_names_stay_in_100_columns() {
    let mut report = report_of(profile(), Options::default());
    let mut core = report.cores[0].clone();
    (core.samples, core.lost) = (12_345_678, 1_234_567);
    report.cores = (0..255)
        .map(|id| report::Core { id, ..core.clone() })
        .collect();
    report.functions[0].name = "very::long::".repeat(20);
    report.functions[1].file = Some("a/long/folder".repeat(20));
    let text = report::text(&report, SortBy::Own);
    for line in text.lines() {
        assert!(line.chars().count() <= 100, "{line}");
    }
    let shown = (0..255).filter(|id| text.split_whitespace().any(|word| word == id.to_string()));
    assert_eq!(shown.count(), 255);
}

#[test]
fn folded_stacks_are_outermost_first() {
    let profile = Profile::read(profile()).unwrap();
    let hash = "kernel::workload::hash::run";
    let crossed = "idle;never_returns;[interrupt 0x40];stub;stub";
    assert_eq!(
        folded(&profile, None),
        [
            "0xffffffff8fff0000 1".to_owned(),
            format!("[cut: frame pointer below the frame];{crossed} 1"),
            format!("idle;{hash};middle;innermost 2"),
            format!("idle;{hash};middle;{hash};{hash} 1"),
            format!("{crossed} 1"),
        ]
    );
    let by_core = folded(&profile, Some(Root::Core));
    assert!(
        by_core.contains(&format!("core 1;{crossed} 1")),
        "{by_core:?}"
    );
    let by_task = folded(&profile, Some(Root::Task));
    assert!(
        by_task.contains(&format!("idle;{crossed} 1")),
        "{by_task:?}"
    );
    assert!(
        by_task.contains(&"task 7;0xffffffff8fff0000 1".to_owned()),
        "{by_task:?}"
    );
}

/// A function without a frame has its caller on top of the stack.
#[test]
fn callers_on_top_of_the_stack_are_shown_and_counted() {
    let kernel = kernel();
    let one_core = Description {
        cores: 1,
        ..description()
    };
    let address = |entry| match entry {
        ChainEntry::Return(address) => address.0,
        ChainEntry::Crossing { .. } | ChainEntry::Border { .. } => unreachable!(),
    };
    let at = |sequence, caller, chain: &[ChainEntry]| Seen {
        stack_top: [caller, 0],
        ..Seen::new(sequence, kernel.at("in_hash"), chain)
    };
    let idle = kernel.return_to("in_idle");
    let to_stub = address(kernel.return_to("stub"));
    let mut known = at(2, to_stub, &[idle]);
    known.state |= State::CALLER_KNOWN;
    let samples = [
        at(0, to_stub, &[idle]),
        // What else is on the stack makes no other stack.
        Seen {
            stack_top: [to_stub, 3],
            ..at(1, to_stub, &[idle])
        },
        known,
        at(3, 1, &[idle]),
        Seen {
            end: ChainEnd::FrameNull,
            ..at(4, address(kernel.return_to("in_root")), &[])
        },
    ];
    let bytes = profile_of(&one_core, &samples);
    let profile = Profile::read(bytes.clone()).unwrap();
    assert_eq!(
        folded(&profile, None),
        [
            "idle;kernel::workload::hash::run 2",
            "idle;stub;kernel::workload::hash::run 2",
            "root;kernel::workload::hash::run 1",
        ]
    );
    let report = report_of(bytes, Options::default());
    assert_eq!(report.shares.callers_from_stack_top, 3);
    assert_eq!(report.shares.callers_doubtful, 1);
    assert_eq!(report.chain_ends, [("complete", 5)]);
    let text = report::text(&report, SortBy::Own);
    for line in [
        "60.00%            3  (caller from the top of the stack)",
        "20.00%            1  (caller doubtful)",
    ] {
        assert!(text.contains(line), "`{line}` is not in:\n{text}");
    }
}

#[test]
fn the_flame_graph_is_a_picture_of_them() {
    let profile = Profile::read(profile()).unwrap();
    let stacks = stacks(&profile, None);
    let draw = || {
        let mut picture = Vec::new();
        flame::draw(&profile, &stacks, &Only::All, &mut picture).unwrap();
        String::from_utf8(picture).unwrap()
    };
    let picture = draw();
    assert!(
        picture.contains("<svg")
            && picture.contains("kernel::workload::hash::run (3 samples, 50.00%)")
    );
    assert!(picture.contains("6 samples on 2 cores"));
    assert_eq!(picture, draw(), "the same profile gives the same picture");
}

#[test]
fn a_task_may_have_any_number() {
    let description = Description {
        cores: 1,
        ..description()
    };
    let seen = [(0, 300), (1, u16::MAX)].map(|(sequence, task)| Seen {
        task,
        ..Seen::new(sequence, kernel().at("in_hash"), &[])
    });
    let profile = Profile::read(profile_of(&description, &seen)).unwrap();
    let report = report_on(&profile, Selection::default(), Options::default());
    let mut names: Vec<_> = report.shares.tasks.iter().map(|task| &*task.name).collect();
    names.sort_unstable();
    assert_eq!(names, ["task 300", "task 65535"]);
}

#[test]
fn samples_of_tasks_that_hold_locks_have_both_names() {
    let mut description = Description {
        cores: 1,
        ..description()
    };
    // The tasks 0 to 2, then the locks: 32 + 3 × lock + task is of both.
    for (number, name) in (0..).zip(["kernel", "hash", "idle", "lock: heap", "lock: frames"]) {
        description.tasks[number] = Text::new(name);
    }
    let tasks = [1, 1, 33, 36, 36, 36, 2, 35, 3];
    let pc = kernel().at("in_hash");
    let seen: Vec<_> = (0..)
        .zip(tasks)
        .map(|(sequence, task)| Seen {
            task,
            ..Seen::new(sequence, pc, &[])
        })
        .collect();
    let profile = Profile::read(profile_of(&description, &seen)).unwrap();
    let report = report_on(&profile, Selection::default(), Options::default());
    let json: Value = serde_json::from_str(&report::json(&report).unwrap()).unwrap();
    assert_eq!(
        json["tasks"],
        json!([
            {"name": "hash", "samples": 6},
            {"name": "idle", "samples": 1},
            // Of a lock alone it is not known which task holds it.
            {"name": "lock: heap", "samples": 1},
            {"name": "kernel", "samples": 1},
        ])
    );
    assert_eq!(
        json["locks"],
        json!([{"name": "frames", "samples": 4}, {"name": "heap", "samples": 2}])
    );
    let text = report::text(&report, SortBy::Own);
    let shown =
        "\n      share      samples  locks that were held\n     44.44%            4  frames\n";
    assert!(text.contains(shown), "{text}");
    let roots: BTreeSet<_> = folded(&profile, Some(Root::Task))
        .iter()
        .map(|line| line.split(';').next().unwrap().to_owned())
        .collect();
    let expected = ["hash", "idle", "kernel", "lock: heap"];
    assert!(roots.iter().eq(expected), "{roots:?}");

    // A kernel without such names may number its tasks as it likes.
    description.tasks[3] = Text::new("locksmith");
    description.tasks[4] = Text::EMPTY;
    let profile = Profile::read(profile_of(&description, &seen)).unwrap();
    let report = report_on(&profile, Selection::default(), Options::default());
    assert!(report.shares.locks.is_empty());
    assert!(
        report
            .shares
            .tasks
            .iter()
            .any(|task| task.name == "task 36")
    );
    assert!(!report::text(&report, SortBy::Own).contains("locks that were"));
}
