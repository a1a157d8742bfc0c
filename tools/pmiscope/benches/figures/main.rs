//! The figures that pmiscope is to have, each as it is measured now.
//!
//! Instructions are counted, of runs that repeat exactly. Times belong to this machine; those
//! that are compared are taken in turns, and only their ratio means something elsewhere.
//!
//! An argument behind `--` selects the figures whose names contain it:
//! `make bench ARGS="-- timer"`.

mod cost;
mod perf_data;
mod program;
mod runs;
#[path = "../support/mod.rs"]
mod support;

use runs::{LAB, Runs, STOCK};

/// A row of the table.
struct Figure {
    name: &'static str,
    to_reach: &'static str,
    measure: fn(&mut Runs) -> Measured,
}

/// What was measured, and whether that is what was to be reached.
pub struct Measured {
    shown: String,
    /// `None` if nothing else was asked for than what it is, or if it could not be measured.
    is_reached: Option<bool>,
}

impl Measured {
    /// Something that was to reach something.
    pub fn judged(shown: String, is_reached: bool) -> Self {
        Self {
            shown,
            is_reached: Some(is_reached),
        }
    }

    /// Something that is not judged.
    pub fn shown(shown: impl Into<String>) -> Self {
        Self {
            shown: shown.into(),
            is_reached: None,
        }
    }
}

const FIGURES: [Figure; 20] = [
    Figure {
        name: "timer, fixed + per frame, instructions",
        to_reach: "160 + 12.5",
        measure: |runs| runs.cost_by_depth(&runs::TIMER, [160.0, 12.5]),
    },
    Figure {
        name: "counters, one event, fixed + per frame",
        to_reach: "205 + 12.5",
        measure: |runs| runs.cost_by_depth(&runs::COUNTERS, [205.0, 12.5]),
    },
    Figure {
        name: "timer, chains counted in place: more than that",
        to_reach: "40 + 2",
        measure: |runs| runs.cost_of_chains(&runs::TIMER, [40.0, 2.0]),
    },
    Figure {
        name: "counters, chains counted in place: more than that",
        to_reach: "40 + 2",
        measure: |runs| runs.cost_of_chains(&runs::COUNTERS, [40.0, 2.0]),
    },
    Figure {
        name: "each further event in the same handler",
        to_reach: "60",
        measure: |runs| runs.further_event(60),
    },
    Figure {
        name: "mix, median, 1 core, timer / counters",
        to_reach: "260 / 275",
        measure: |runs| runs.medians("1", [260, 275]),
    },
    Figure {
        name: "mix, median, 4 cores, timer / counters",
        to_reach: "260 / 275",
        measure: |runs| runs.medians("4", [260, 275]),
    },
    Figure {
        name: "share of the mix on the fast path, timer / counters",
        to_reach: "98 %",
        measure: |runs| runs.fast_shares(98.0),
    },
    Figure {
        name: "ring bytes a sample, mix, timer / counters",
        to_reach: "62",
        measure: |runs| runs.ring_bytes(62.0),
    },
    Figure {
        name: "collecting, 4 cores, period 1,000, lab",
        to_reach: "99,000 a second, none lost",
        measure: |runs| runs.collecting(&LAB, "4", ["100000", "500000"], Some(99_000)),
    },
    Figure {
        name: "collecting, 4 cores, period 1,000, stock",
        to_reach: "99,000 a second, none lost",
        measure: |runs| runs.collecting(&STOCK, "4", ["100000", "500000"], Some(99_000)),
    },
    Figure {
        name: "collecting, 64 cores, deterministic, lab",
        to_reach: "5,000 a second",
        measure: |runs| runs.collecting(&LAB, "64", ["6400", "64000"], Some(5_000)),
    },
    Figure {
        name: "collecting, 64 cores, deterministic, stock",
        to_reach: "what it allows",
        measure: |runs| runs.collecting(&STOCK, "64", ["640", "6400"], None),
    },
    Figure {
        name: "collecting, 255 cores, deterministic, lab",
        to_reach: "1,000 a second",
        measure: |runs| runs.collecting(&LAB, "255", ["2550", "25500"], Some(1_000)),
    },
    Figure {
        name: "collecting, 255 cores, deterministic, stock",
        to_reach: "what it allows",
        measure: |runs| runs.collecting(&STOCK, "255", ["255", "765"], None),
    },
    Figure {
        name: "file bytes a sample, mix, 1 M samples, stock / lab",
        to_reach: "8",
        measure: |runs| runs.file_bytes(8.0),
    },
    Figure {
        name: "report of 1 M samples, time and peak memory",
        to_reach: "0.05 s, 40 MB",
        measure: |runs| runs.report(runs::MILLION, 0.055, 40.0),
    },
    Figure {
        name: "the same samples by perf report -g, to report",
        to_reach: "30 times as long",
        measure: |runs| runs.perf(runs::PERF_REPORT, 30.0),
    },
    Figure {
        name: "the same samples by perf script, to report",
        to_reach: "50 times as long",
        measure: |runs| runs.perf(runs::PERF_SCRIPT, 50.0),
    },
    Figure {
        name: "report of 10 M samples, time and peak memory",
        to_reach: "0.35 s, 150 MB",
        measure: |runs| runs.report(runs::TEN_MILLION, 0.355, 150.0),
    },
];

fn main() {
    if !support::is_bench() {
        return;
    }
    let words: Vec<String> = std::env::args().skip(1).collect();
    let wanted: Vec<&String> = words.iter().filter(|word| !word.starts_with('-')).collect();
    let mut runs = Runs::new();
    println!(
        "figures: instructions of the guest are exact; times are processor time of this machine;"
    );
    println!(
        "rates are a clock's, and in brackets is the processor time of QEMU and pmiscope for a sample;"
    );
    println!("what a sample costs Linux's perf beside ours: make bench-perf\n");
    support::row(["", "measured", "to reach", ""]);
    support::row(support::RULES);
    for figure in FIGURES {
        if wanted.is_empty() || wanted.iter().any(|word| figure.name.contains(*word)) {
            let Measured { shown, is_reached } = (figure.measure)(&mut runs);
            let verdict = is_reached.map_or("", support::verdict);
            support::row([figure.name, &shown, figure.to_reach, verdict]);
        }
    }
}
