//! Runs of the guest, each made once, and the figures that are taken from them.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use pmiscope::internals::Profile;
use pmiscope::internals::units::grouped;
use serde_json::Value;
use tempfile::TempDir;

use crate::{Measured, cost, perf_data, program, support};

/// What interrupts, and on which QEMU: of several words for the command line.
pub struct Source {
    qemu: &'static str,
    words: &'static [&'static str],
}

pub const TIMER: Source = Source {
    qemu: "stock",
    words: &["--source", "apic-timer"],
};
pub const COUNTERS: Source = Source {
    qemu: "lab",
    words: &["--source", "pmu", "--pmu", "intel-v5"],
};

/// The same timer on each QEMU.
pub const STOCK: Source = TIMER;
pub const LAB: Source = Source {
    qemu: "lab",
    ..TIMER
};

pub const MILLION: &str = "1000000";
pub const TEN_MILLION: &str = "10000000";

/// Samples of runs that need no more: their medians do not change with it.
const SOME: &str = "40000";

/// How often the programs that are compared are run, the first time included.
const ROUNDS: usize = 3;

/// Commands of perf. `--no-inline`: it would start a program for each address.
pub const PERF_REPORT: &[&str] = &["report", "-g", "--stdio", "--no-inline"];
pub const PERF_SCRIPT: &[&str] = &["script", "--no-inline"];

/// A run that was made.
#[derive(Clone)]
struct Run {
    path: PathBuf,
    report: Value,
}

/// The runs so far, by their command lines.
pub struct Runs {
    folder: TempDir,
    made: HashMap<String, Run>,
}

impl Runs {
    pub fn new() -> Self {
        Self {
            folder: tempfile::tempdir().expect("a folder for the profiles"),
            made: HashMap::new(),
        }
    }

    fn run(&mut self, source: &Source, words: &[&str]) -> Run {
        let words = [source.words, words].concat();
        let key = format!("{} {}", source.qemu, words.join(" "));
        if let Some(run) = self.made.get(&key) {
            return run.clone();
        }
        let path = self.folder.path().join(format!("{}.pmi", self.made.len()));
        let report = support::run(source.qemu, &words, &path);
        let run = Run { path, report };
        self.made.insert(key, run.clone());
        run
    }

    /// The mix on so many cores.
    fn mix(&mut self, source: &Source, cores: &str, samples: &str) -> Run {
        self.run(source, &["--smp", cores, "--samples", samples])
    }

    /// Of a recursion, whose stacks have all depths.
    pub fn cost_by_depth(&mut self, source: &Source, to_reach: [f64; 2]) -> Measured {
        let words = ["--smp", "1", "--samples", SOME, "--workload", "recursion"];
        let line = cost::by_depth(&self.run(source, &words).profile());
        let at_8 = line.fixed + 8.0 * line.per_frame;
        let [fixed, per_frame] = [line.fixed, line.per_frame];
        // As they are shown.
        let is_reached = fixed < to_reach[0] + 0.5 && per_frame < to_reach[1] + 0.05;
        let shown = format!("{fixed:.0} + {per_frame:.1} ({at_8:.0} at 8 frames)");
        Measured::judged(shown, is_reached)
    }

    /// How much more a sample costs that is counted in place. The table is too small: what is in the
    /// ring says what the handlers before have cost, which most have counted.
    pub fn cost_of_chains(&mut self, source: &Source, most: [f64; 2]) -> Measured {
        let words = ["--smp", "1", "--samples", SOME, "--workload", "heap"];
        let samples = self.run(source, &words).profile();
        let keep = ["--keep", "chains", "--table", "64K", "--ring", "64M"];
        let chains = self.run(source, &[&words[..], &keep].concat()).profile();
        let usual = cost::by_depth(&samples);
        let line = cost::of_counted(&samples, &chains);
        let [fixed, per_frame] = [line.fixed - usual.fixed, line.per_frame - usual.per_frame];
        // As they are shown.
        let is_reached = fixed < most[0] + 0.5 && per_frame < most[1] + 0.05;
        let shown = format!(
            "{fixed:+.0} {per_frame:+.1}: {:.0} + {:.1}",
            line.fixed, line.per_frame
        );
        Measured::judged(shown, is_reached)
    }

    /// All events count each instruction, so they overflow together. The second one costs what a
    /// handler for several does more as well.
    pub fn further_event(&mut self, to_reach: u64) -> Measured {
        let events = ["instructions", "cycles", "ref-cycles"];
        let [one, two, three] = [1, 2, 3].map(|count| {
            let events = events[..count].join(",");
            let words = ["--smp", "1", "--samples", SOME, "--event", &events];
            let words = [&words[..], &["--workload", "arithmetic"]].concat();
            cost::of_overflow(&self.run(&COUNTERS, &words).profile())
        });
        let more = [two.saturating_sub(one), three.saturating_sub(two)];
        let [second, third] = more.map(grouped);
        let is_reached = more.iter().all(|&it| it <= to_reach);
        Measured::judged(format!("{second}, each more {third}"), is_reached)
    }

    pub fn medians(&mut self, cores: &str, to_reach: [u64; 2]) -> Measured {
        let medians = [&TIMER, &COUNTERS].map(|source| {
            let run = self.mix(source, cores, SOME);
            run.number("/handler_instructions/median")
        });
        let is_reached = medians.iter().zip(to_reach).all(|(&it, most)| it <= most);
        Measured::judged(medians.map(grouped).join(" / "), is_reached)
    }

    pub fn fast_shares(&mut self, to_reach: f64) -> Measured {
        let shares = [&TIMER, &COUNTERS].map(|source| {
            let run = self.mix(source, "4", SOME);
            100.0 * ratio(run.number("/fast_samples"), run.number("/samples"))
        });
        let is_reached = shares.iter().all(|&share| share >= to_reach);
        Measured::judged(
            shares.map(|it| format!("{it:.1} %")).join(" / "),
            is_reached,
        )
    }

    pub fn ring_bytes(&mut self, to_reach: f64) -> Measured {
        let bytes = [&TIMER, &COUNTERS].map(|source| {
            let run = self.mix(source, "4", SOME);
            ratio(run.number("/ring_bytes"), run.number("/samples"))
        });
        let is_reached = bytes.iter().all(|&bytes| bytes < to_reach + 0.05);
        Measured::judged(bytes.map(|it| format!("{it:.1}")).join(" / "), is_reached)
    }

    /// Samples a second, by the difference of a long run and a short one: what booting takes is
    /// in both. Other programs that run now make it less, but not the processor time of each.
    pub fn collecting(
        &mut self,
        source: &Source,
        cores: &str,
        samples: [&str; 2],
        to_reach: Option<u64>,
    ) -> Measured {
        let path = self.folder.path().join("collecting.pmi");
        let runs = samples.map(|samples| {
            let words = ["--smp", cores, "--samples", samples, "--ring", "1M"];
            let words = [source.words, &words[..]].concat();
            let (started, before) = (Instant::now(), program::processor_seconds());
            let report = support::run(source.qemu, &words, &path);
            let worked = program::processor_seconds() - before;
            let path = path.clone();
            (
                Run { path, report },
                [started.elapsed().as_secs_f64(), worked],
            )
        });
        let [(short, of_short), (long, of_long)] = runs;
        let more = long.number("/samples") - short.number("/samples");
        let lost = short.number("/lost") + long.number("/lost");
        let [took, worked] = [0, 1].map(|it| (of_long[it] - of_short[it]) / ratio(more, 1));
        let a_second = rounded(1.0 / took);
        let shown = grouped(a_second);
        let shown = format!("{shown} a second ({:.0} µs), {lost} lost", worked * 1e6);
        match to_reach {
            Some(least) => Measured::judged(shown, a_second >= least && lost == 0),
            None => Measured::shown(shown),
        }
    }

    pub fn file_bytes(&mut self, to_reach: f64) -> Measured {
        let bytes = [&STOCK, &LAB].map(|source| {
            let run = self.mix(source, "4", MILLION);
            let bytes = fs::metadata(&run.path).expect("the profile").len();
            ratio(bytes, run.number("/samples"))
        });
        let is_reached = bytes.iter().all(|&bytes| bytes < to_reach + 0.05);
        Measured::judged(bytes.map(|it| format!("{it:.1}")).join(" / "), is_reached)
    }

    /// `seconds` and `megabytes` are to be reached.
    pub fn report(&mut self, samples: &str, seconds: f64, megabytes: f64) -> Measured {
        let run = self.mix(&TIMER, "4", samples);
        let [took] = program::times(ROUNDS, [run.report_command()]);
        let memory = program::peak_memory(&mut run.report_command());
        let memory = ratio(memory, 1_000_000);
        let took = took.as_secs_f64();
        let shown = format!("{took:.3} s, {memory:.0} MB");
        Measured::judged(shown, took < seconds && memory < megabytes + 0.5)
    }

    /// How long perf takes, and how much longer than our report.
    pub fn perf(&mut self, words: &[&str], to_reach: f64) -> Measured {
        if !program::exists("perf") {
            return Measured::shown("no perf: apt-get install linux-perf");
        }
        let run = self.mix(&TIMER, "4", MILLION);
        let file = self.folder.path().join("perf.data");
        let kernel = self.folder.path().join("vmlinux");
        if !file.exists() {
            let profile = run.profile();
            fs::write(&kernel, profile.kernel.as_deref().expect("a kernel")).expect("a file");
            let out = BufWriter::new(File::create(&file).expect("a file"));
            perf_data::write(&profile, out).expect("room for perf.data");
        }
        let mut perf = Command::new("perf");
        perf.args(words)
            .arg("--input")
            .arg(file)
            .arg("--vmlinux")
            .arg(kernel);
        // Nothing of this user's, so that no symbols of another kernel are found.
        perf.env("HOME", self.folder.path())
            .env("PERF_CONFIG", "/dev/null");
        let [own, perf] = program::times(ROUNDS, [run.report_command(), perf]);
        let [own, perf] = [own, perf].map(|took| took.as_secs_f64());
        let times = perf / own;
        let shown = format!("{perf:.2} s, {times:.1} times as long");
        Measured::judged(shown, times >= to_reach)
    }
}

impl Run {
    fn number(&self, pointer: &str) -> u64 {
        let value = self.report.pointer(pointer).and_then(Value::as_u64);
        value.unwrap_or_else(|| panic!("no number {pointer} in the report"))
    }

    fn profile(&self) -> Profile {
        let file = fs::read(&self.path).expect("the profile that was just written");
        Profile::read(file).expect("a profile")
    }

    fn report_command(&self) -> Command {
        let mut report = Command::new(env!("CARGO_BIN_EXE_pmiscope"));
        report.arg("report").arg(&self.path);
        report
    }
}

#[allow(clippy::cast_precision_loss)] // shown with few digits
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a rate
fn rounded(number: f64) -> u64 {
    number.max(0.0).round() as u64
}
