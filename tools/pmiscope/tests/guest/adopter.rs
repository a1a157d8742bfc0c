//! A kernel that is not ours (`tools/adopters/rust-smp`), profiled by the library as anybody
//! would: what is shown is what it executed.
//!
//! How many instructions each of its functions executes in a round is known by construction;
//! it prints that, and what it has measured a round to be. A round is a prime number of
//! instructions, so as many samples of a core see each of them once.

use std::collections::BTreeMap;

use assert_cmd::Command;
use pmiscope::profile::Outcome;
use serde_json::{Value, json};

use crate::ctl::Going;
use crate::fixture::{Guest, Run, built, start};
use crate::pmu::is_skipped;

/// Machines that all is tried on.
const CORES: [u64; 3] = [1, 4, 16];

/// One part in so many of all samples is what a share may be off. There is room in that for
/// a few samples of each core before its first round.
const TOLERANCE: u64 = 1000;

/// What each function calls, itself included, for those that call others.
const CALLS: [(&str, &[&str]); 2] = [
    ("outer", &["outer", "middle", "inner"]),
    ("middle", &["middle", "inner"]),
];

/// The kernel, below the directory of builds.
const KERNEL: &str = "../../adopters/x86_64-unknown-none/release/rust-smp";

/// What the kernel says that it executes in a round.
#[derive(PartialEq, Eq, Debug)]
struct Truth {
    /// Each function's own instructions.
    functions: BTreeMap<String, u64>,
    round: u64,
    /// The same, as the kernel has measured it.
    measured: u64,
}

impl Truth {
    /// From the kernel's log.
    #[track_caller]
    fn of_log(log: &str) -> Self {
        let lines = log.lines().filter_map(|line| line.strip_prefix("truth: "));
        let mut functions: BTreeMap<_, _> = lines
            .map(|line| {
                let (name, count) = line.trim_end().split_once(' ').expect("two words");
                (name.to_owned(), count.parse().expect("a number"))
            })
            .collect();
        let mut take = |name| functions.remove(name).unwrap_or_else(|| panic!("{log}"));
        let (round, measured) = (take("round"), take("measured"));
        Self {
            functions,
            round,
            measured,
        }
    }

    /// The instructions of these functions themselves.
    fn own(&self, functions: &[&str]) -> u64 {
        functions.iter().map(|&name| self.functions[name]).sum()
    }

    /// The instructions of a function and of what it calls.
    fn total(&self, function: &str) -> u64 {
        let calls = CALLS.iter().find(|(caller, _)| *caller == function);
        match (function, calls) {
            ("rounds", _) => self.round,
            ("parts", _) => self.round - self.own(&["rounds"]),
            (_, Some((_, called))) => self.own(called),
            (_, None) => self.own(&[function]),
        }
    }

    /// What of a report is farther off than [`TOLERANCE`], a line each. What is not said to be
    /// executed is to be in no sample, within the same.
    fn differences(&self, report: &Value) -> Vec<String> {
        let mut shown = Shown::of_report(report);
        let samples = report["samples"].as_u64().expect("a number");
        let mut differences = Vec::new();
        let mut compare = |what: String, shown: u64, executed: u64| {
            let off = (shown * self.round).abs_diff(executed * samples);
            if off * TOLERANCE > samples * self.round {
                let [shown, executed] = [percent(shown, samples), percent(executed, self.round)];
                differences.push(format!("{what}: {shown} shown, {executed} executed"));
            }
        };
        for name in self.functions.keys() {
            let (own, total) = shown.0.remove(name).unwrap_or_default();
            compare(format!("{name}, self"), own, self.own(&[name]));
            compare(format!("{name}, total"), total, self.total(name));
        }
        let rest = shown.0.values().map(|(own, _)| own).sum();
        compare("all else, self".into(), rest, 0);
        differences
    }
}

#[expect(clippy::cast_precision_loss, reason = "they are small")]
fn percent(part: u64, of: u64) -> String {
    format!("{:.2} %", 100.0 * part as f64 / of as f64)
}

/// The functions of a report, by the last word of their names: samples in themselves, and
/// with what they call.
struct Shown(BTreeMap<String, (u64, u64)>);

impl Shown {
    fn of_report(report: &Value) -> Self {
        let functions = report["functions"].as_array().expect("a list");
        let mut shown = BTreeMap::<_, (u64, u64)>::new();
        for function in functions {
            let name = function["name"].as_str().expect("a name");
            let name = name.rsplit("::").next().expect("a last word");
            let [own, total] = ["self", "total"].map(|it| function[it].as_u64().expect("a number"));
            let counts = shown.entry(name.to_owned()).or_default();
            counts.0 += own;
            counts.1 += total;
        }
        Self(shown)
    }
}

/// Profiles the kernel, which is to succeed. Its rings are in its image, which the machine's
/// memory has to have room for.
#[track_caller]
fn profile(arguments: &str) -> Run {
    attempt(arguments).ended_with(0)
}

/// Boots the kernel, which may refuse.
fn attempt(arguments: &str) -> Run {
    let arguments = format!("--verbose --memory 256M {arguments}");
    let files = [
        "--kernel".into(),
        built(KERNEL).into_os_string(),
        "--loader".into(),
        built("loader").into_os_string(),
    ];
    start(&arguments, &files)
}

/// Asserts that a run shows what was executed, on all machines and at both periods, with as
/// many samples as there are instructions in a round on each core.
#[track_caller]
fn assert_shares(source: &str, arguments: &str) {
    for cores in CORES {
        for period in [1000, 100] {
            let samples = cores * 8581;
            let arguments = format!(
                "{arguments} --source {source} --smp {cores} --period {period} --samples {samples}"
            );
            let run = profile(&arguments);
            let (report, truth) = (run.report(), Truth::of_log(&run.said()));
            assert_eq!(truth.measured, truth.round, "{arguments}");
            assert_eq!(samples, cores * truth.round, "each instruction once");
            assert_eq!(report["source"], source, "{arguments}");
            assert_eq!(report["samples"], samples, "{arguments}");
            assert_eq!(report["lost"], 0, "{arguments}");
            assert_eq!(report["cores"].as_array().unwrap().len() as u64, cores);
            let periods = &report["period"];
            for what in ["requested", "min", "median", "max"] {
                assert_eq!(periods[what], period, "{arguments}: {what} period");
            }
            let differences = truth.differences(&report);
            assert!(differences.is_empty(), "{arguments}: {differences:#?}");
        }
    }
}

#[test]
fn a_round_is_what_it_is_made_of() {
    for cores in CORES {
        let cores = u32::try_from(cores).unwrap();
        let guest = Guest::boot_kernel(built(KERNEL), cores, 256, "samples=100");
        let truth = Truth::of_log(&guest.log);
        assert_eq!(truth.functions.values().sum::<u64>(), truth.round);
        assert_eq!(truth.measured, truth.round, "by the time stamp counter");
        // The case that was wrong by a factor has shares like these.
        assert_eq!(truth.functions["checksum"], 5 + 4 * 72);
        assert_eq!(truth.functions["fibonacci"], 144 * 7 + 143 * 17);
        assert_eq!(truth.round, 8581);
    }
}

#[test]
fn the_truth_is_read_from_the_log() {
    let log = "rust-smp: here\ntruth: a 30\r\ntruth: b 70\ntruth: round 100\ntruth: measured 101\n";
    let functions = [("a".to_owned(), 30), ("b".to_owned(), 70)];
    let expected = Truth {
        functions: functions.into(),
        round: 100,
        measured: 101,
    };
    assert_eq!(Truth::of_log(log), expected);
}

/// A report of 1000 samples, with these functions: name, self, total.
fn report(functions: &[(&str, u64, u64)]) -> Value {
    let functions = functions
        .iter()
        .map(|(name, own, total)| json!({"name": name, "self": own, "total": total}));
    json!({"samples": 1000, "functions": functions.collect::<Vec<_>>()})
}

#[test]
fn shares_are_compared_with_the_truth() {
    let truth = Truth {
        functions: [
            ("rounds", 1),
            ("parts", 9),
            ("outer", 50),
            ("middle", 10),
            ("inner", 30),
        ]
        .map(|(name, count)| (name.to_owned(), count))
        .into(),
        round: 100,
        measured: 100,
    };
    let shown = |inner: u64, outer_total: u64, more: u64| {
        report(&[
            ("k::rounds", 10, 1000),
            ("k::parts", 90, 990),
            ("k::outer", 500, outer_total),
            ("k::middle", 100, 400),
            ("k::inner", inner, inner),
            ("k::start", more, more),
        ])
    };
    assert_eq!(truth.differences(&shown(300, 900, 0)), [""; 0]);
    assert_eq!(truth.differences(&shown(301, 899, 1)), [""; 0]);
    assert_eq!(
        truth.differences(&shown(302, 900, 0)),
        [
            "inner, self: 30.20 % shown, 30.00 % executed",
            "inner, total: 30.20 % shown, 30.00 % executed"
        ]
    );
    // Callers that were lost.
    assert_eq!(
        truth.differences(&shown(300, 500, 0)),
        ["outer, total: 50.00 % shown, 90.00 % executed"]
    );
    assert_eq!(
        truth.differences(&shown(300, 900, 2)),
        ["all else, self: 0.20 % shown, 0.00 % executed"]
    );
    // What is not shown at all.
    assert_eq!(
        truth.differences(&report(&[("rounds", 10, 1000), ("parts", 90, 990)])),
        [
            "inner, self: 0.00 % shown, 30.00 % executed",
            "inner, total: 0.00 % shown, 30.00 % executed",
            "middle, self: 0.00 % shown, 10.00 % executed",
            "middle, total: 0.00 % shown, 40.00 % executed",
            "outer, self: 0.00 % shown, 50.00 % executed",
            "outer, total: 0.00 % shown, 90.00 % executed"
        ]
    );
}

#[test]
fn shares_by_the_timer_are_what_was_executed() {
    assert_shares("apic-timer", "");
}

/// Its first core starts the sampler with interrupts off; and which core an interrupt has
/// come to is searched, which takes longer for some than for others.
#[test]
fn periods_are_exact_by_irq() {
    for cores in CORES {
        let samples = cores * 1000;
        let arguments = format!("--delivery irq --smp {cores} --period 1000 --samples {samples}");
        let report = profile(&format!("--source apic-timer {arguments}")).report();
        assert_eq!(report["samples"], samples, "{arguments}");
        assert_eq!(report["lost"], 0, "{arguments}");
        for what in ["min", "median"] {
            assert_eq!(report["period"][what], 1000, "{arguments}: {what} period");
        }
    }
}

/// It says nothing of breakpoints itself: the entries that it has are the library's.
#[test]
fn aims_at_the_landing_are_refused() {
    let run = attempt("--source apic-timer --smp 1 --aim nmi_entry:0..5").ended_with(5);
    run.saying(&["no NMI can come where one has just landed"]);
}

/// Its glue only starts runs.
#[test]
fn a_survey_that_nobody_makes_is_refused() {
    let guest = Guest::boot_kernel(built(KERNEL), 2, 256, "take=survey");
    guest.ended_with(Outcome::SamplingUnavailable, &["this kernel only samples"]);
}

#[test]
fn shares_by_counters_are_what_was_executed() {
    if is_skipped() {
        return;
    }
    assert_shares("pmu", "--pmu intel-v5 --event instructions");
}

#[test]
fn chains_are_true_at_each_instruction() {
    // A round and more on each core, and as much as a ring has room for.
    for (cores, samples) in [(1, 20_000), (4, 60_000), (16, 160_000)] {
        let run = profile(&format!(
            "--source apic-timer --smp {cores} --period 1 --samples {samples} --ring 4M"
        ));
        let assert = Command::new(env!("CARGO_BIN_EXE_pmiscope"))
            .args(["verify", "--format", "json"])
            .arg(&run.profile)
            .assert();
        let output = assert.get_output();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{cores} cores: {said}");
        let verified: Value = serde_json::from_slice(&output.stdout).unwrap();
        for (what, expected) in [
            ("instructions", samples),
            ("exact", samples),
            ("different", 0),
        ] {
            assert_eq!(verified[what], expected, "{cores} cores: {what}");
        }
        assert_eq!(verified["assumed"]["starts"], cores, "{cores} cores");
        assert_eq!(verified["assumed"]["instructions_lost"], 0, "{cores} cores");
    }
}

#[test]
fn the_period_is_changed_while_it_runs() {
    if is_skipped() {
        return;
    }
    let [kernel, loader] = [KERNEL, "loader"].map(built);
    let (kernel, loader) = (kernel.display(), loader.display());
    let run = Going::endless(
        "ctl-adopter",
        &format!(
            "--kernel {kernel} --loader {loader} --memory 256M --ring 4M --smp 4 \
             --pmu intel-v5 --event instructions --period 1000"
        ),
    );
    run.does("period 700");
    run.go_on(1000);
    let report = run.end();
    let events = report["events"].as_array().unwrap().iter();
    let periods = events.map(|event| {
        assert!(event["samples"].as_u64() > Some(0), "{event:#}");
        let [min, max] = ["min", "max"].map(|what| event["period"][what].as_u64().unwrap());
        assert_eq!(min, max, "{event:#}");
        min
    });
    // What is lost depends on how fast this machine is.
    assert_eq!(periods.collect::<Vec<_>>(), [1000, 700]);
}
