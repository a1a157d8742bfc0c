//! A round: what a kernel executes again and again; and whether a report shows it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::kernel::Kernel;

/// One part in so many of all samples is what a share may be off. There is room in that for
/// a few samples of each core before its first round.
pub const TOLERANCE: u64 = 1000;

/// What each function of the kernels in Rust calls, itself included, for those that call others.
const CALLS: [(&str, &[&str]); 2] = [
    ("outer", &["outer", "middle", "inner"]),
    ("middle", &["middle", "inner"]),
];

/// What is executed in a round.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Round {
    /// The instructions of each function itself, and with what it calls.
    pub functions: BTreeMap<String, (u64, u64)>,
    pub instructions: u64,
    /// The same, as the kernel has measured it.
    pub measured: u64,
}

impl Round {
    /// Of a kernel in Rust, from its log.
    #[track_caller]
    pub fn of_log(log: &str) -> Self {
        let lines = log.lines().filter_map(|line| line.strip_prefix("truth: "));
        let mut own: BTreeMap<_, _> = lines
            .map(|line| {
                let (name, count) = line.trim_end().split_once(' ').expect("two words");
                (name.to_owned(), count.parse::<u64>().expect("a number"))
            })
            .collect();
        let mut take = |name| own.remove(name).unwrap_or_else(|| panic!("{log}"));
        let (instructions, measured) = (take("round"), take("measured"));
        let total = |name: &str| {
            let calls = CALLS.iter().find(|(caller, _)| *caller == name);
            match (name, calls) {
                ("rounds", _) => instructions,
                ("parts", _) => instructions - own["rounds"],
                (_, Some((_, called))) => called.iter().map(|&called| own[called]).sum(),
                (_, None) => own[name],
            }
        };
        let functions = own.iter();
        let functions = functions.map(|(name, &own)| (name.clone(), (own, total(name))));
        Self {
            functions: functions.collect(),
            instructions,
            measured,
        }
    }

    /// What of a report is farther off than one part in `tolerance` of all, a line each. What is
    /// not said to be executed is to be in no sample, within the same.
    pub fn differences(&self, report: &Value, tolerance: u64) -> Vec<String> {
        let mut shown = shown(report);
        let samples = report["samples"].as_u64().expect("a number");
        let round = self.instructions;
        let mut differences = Vec::new();
        let mut compare = |what: String, shown: u64, executed: u64| {
            let off = (shown * round).abs_diff(executed * samples);
            if off * tolerance > samples * round {
                let [shown, executed] = [percent(shown, samples), percent(executed, round)];
                differences.push(format!("{what}: {shown} shown, {executed} executed"));
            }
        };
        for (name, &(own, total)) in &self.functions {
            let seen = shown.remove(name).unwrap_or_default();
            compare(format!("{name}, self"), seen.0, own);
            compare(format!("{name}, total"), seen.1, total);
        }
        let rest = shown.values().map(|(own, _)| own).sum();
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
#[track_caller]
pub fn shown(report: &Value) -> BTreeMap<String, (u64, u64)> {
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
    shown
}

/// Asserts that a run has taken all samples at exactly this period, and lost none.
#[track_caller]
pub fn assert_exact(report: &Value, what: &str, samples: u64, period: u64) {
    assert_eq!(report["samples"], samples, "{what}");
    assert_eq!(report["lost"], 0, "{what}");
    for of in ["requested", "min", "median", "max"] {
        assert_eq!(report["period"][of], period, "{what}: {of} period");
    }
}

/// Asserts that a kernel in Rust of one core is shown as it is, at both periods, on all
/// machines: each instruction of a round once, and every chain to its root.
#[track_caller]
pub fn assert_shares_of_one_core(kernel: &Kernel, arguments: &str) {
    for (cores, period) in [(1, 1000), (4, 100), (16, 1000)] {
        let samples = 7573;
        let arguments = format!(
            "--source apic-timer --smp {cores} --period {period} --samples {samples} --ring 8M \
             {arguments}"
        );
        let run = kernel.profile(&arguments);
        let (report, round) = (run.report(), Round::of_log(&run.said()));
        let what = format!("{}: {arguments}", kernel.name());
        assert_eq!(round.measured, round.instructions, "{what}");
        assert_eq!(round.instructions, samples, "{what}: each instruction once");
        assert_exact(&report, &what, samples, period);
        assert_eq!(report["cores"].as_array().unwrap().len(), 1, "{what}");
        assert_eq!(report["chain_ends"], json!({"complete": samples}), "{what}");
        let differences = round.differences(&report, TOLERANCE);
        assert!(differences.is_empty(), "{what}: {differences:#?}");
    }
}

#[test]
fn a_round_is_read_from_the_log() {
    let log = "rust-smp: here\ntruth: a 30\r\ntruth: b 70\ntruth: round 100\ntruth: measured 101\n";
    let expected = Round {
        functions: [("a", 30), ("b", 70)]
            .map(|(name, own)| (name.to_owned(), (own, own)))
            .into(),
        instructions: 100,
        measured: 101,
    };
    assert_eq!(Round::of_log(log), expected);
}

/// A report of 1000 samples, with these functions: name, self, total.
fn report(functions: &[(&str, u64, u64)]) -> Value {
    let functions = functions
        .iter()
        .map(|(name, own, total)| json!({"name": name, "self": own, "total": total}));
    json!({"samples": 1000, "functions": functions.collect::<Vec<_>>()})
}

#[test]
fn shares_are_compared_with_a_round() {
    let log = "truth: rounds 1\ntruth: parts 9\ntruth: outer 50\ntruth: middle 10\n\
               truth: inner 30\ntruth: round 100\ntruth: measured 100";
    let round = Round::of_log(log);
    let differences = |report| round.differences(&report, TOLERANCE);
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
    assert_eq!(differences(shown(300, 900, 0)), [""; 0]);
    assert_eq!(differences(shown(301, 899, 1)), [""; 0]);
    assert_eq!(
        differences(shown(302, 900, 0)),
        [
            "inner, self: 30.20 % shown, 30.00 % executed",
            "inner, total: 30.20 % shown, 30.00 % executed"
        ]
    );
    assert_eq!(round.differences(&shown(302, 900, 0), 500), [""; 0]);
    // Callers that were lost.
    assert_eq!(
        differences(shown(300, 500, 0)),
        ["outer, total: 50.00 % shown, 90.00 % executed"]
    );
    assert_eq!(
        differences(shown(300, 900, 2)),
        ["all else, self: 0.20 % shown, 0.00 % executed"]
    );
    // What is not shown at all.
    assert_eq!(
        differences(report(&[("rounds", 10, 1000), ("parts", 90, 990)])),
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
