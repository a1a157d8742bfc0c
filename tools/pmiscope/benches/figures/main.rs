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

use runs::Runs;

/// A row of the table.
struct Figure {
    name: &'static str,
    to_reach: &'static str,
    measure: fn(&mut Runs) -> String,
}

const FIGURES: [Figure; 18] = [
    Figure {
        name: "timer, fixed + per frame, instructions",
        to_reach: "160 + 12.5",
        measure: |runs| runs.cost_by_depth(&runs::TIMER),
    },
    Figure {
        name: "counters, one event, fixed + per frame",
        to_reach: "205 + 12.5",
        measure: |runs| runs.cost_by_depth(&runs::COUNTERS),
    },
    Figure {
        name: "each further event in the same handler",
        to_reach: "60",
        measure: Runs::further_event,
    },
    Figure {
        name: "mix, median, 1 core, timer / counters",
        to_reach: "260 / 275",
        measure: |runs| runs.medians("1"),
    },
    Figure {
        name: "mix, median, 4 cores, timer / counters",
        to_reach: "260 / 275",
        measure: |runs| runs.medians("4"),
    },
    Figure {
        name: "share of the mix on the fast path, timer / counters",
        to_reach: "98 %",
        measure: Runs::fast_shares,
    },
    Figure {
        name: "ring bytes a sample, mix, timer / counters",
        to_reach: "62",
        measure: Runs::ring_bytes,
    },
    Figure {
        name: "collecting, 4 cores, period 1,000, lab",
        to_reach: "99,000 a second, none lost",
        measure: |runs| runs.collecting("lab", "4", ["100000", "500000"]),
    },
    Figure {
        name: "collecting, 4 cores, period 1,000, stock",
        to_reach: "99,000 a second, none lost",
        measure: |runs| runs.collecting("stock", "4", ["100000", "500000"]),
    },
    Figure {
        name: "collecting, 64 cores, deterministic, lab",
        to_reach: "5,000 a second",
        measure: |runs| runs.collecting("lab", "64", ["6400", "64000"]),
    },
    Figure {
        name: "collecting, 64 cores, deterministic, stock",
        to_reach: "what it allows",
        measure: |runs| runs.collecting("stock", "64", ["640", "6400"]),
    },
    Figure {
        name: "collecting, 255 cores, deterministic, lab",
        to_reach: "1,000 a second",
        measure: |runs| runs.collecting("lab", "255", ["2550", "25500"]),
    },
    Figure {
        name: "collecting, 255 cores, deterministic, stock",
        to_reach: "what it allows",
        measure: |runs| runs.collecting("stock", "255", ["255", "765"]),
    },
    Figure {
        name: "file bytes a sample, mix, 1 M samples",
        to_reach: "8",
        measure: Runs::file_bytes,
    },
    Figure {
        name: "report of 1 M samples, time and peak memory",
        to_reach: "0.05 s, 40 MB",
        measure: |runs| runs.report(runs::MILLION),
    },
    Figure {
        name: "the same samples by perf report -g, to report",
        to_reach: "30 times as long",
        measure: |runs| runs.perf(runs::PERF_REPORT),
    },
    Figure {
        name: "the same samples by perf script, to report",
        to_reach: "50 times as long",
        measure: |runs| runs.perf(runs::PERF_SCRIPT),
    },
    Figure {
        name: "report of 10 M samples, time and peak memory",
        to_reach: "0.35 s, 150 MB",
        measure: |runs| runs.report(runs::TEN_MILLION),
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
        "figures: instructions of the guest are exact; times are this machine's (in brackets: processor time of each)\n"
    );
    row("", "measured", "to reach");
    row(&"-".repeat(52), &"-".repeat(36), &"-".repeat(26));
    for figure in FIGURES {
        if wanted.is_empty() || wanted.iter().any(|word| figure.name.contains(*word)) {
            row(figure.name, &(figure.measure)(&mut runs), figure.to_reach);
        }
    }
}

fn row(name: &str, measured: &str, to_reach: &str) {
    println!("| {name:<52} | {measured:<36} | {to_reach:<26} |");
}
