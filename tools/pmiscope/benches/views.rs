//! What each view and each export of ten million samples of the mix takes: processor time and memory.
//! Where Linux's perf shows the same, it does so of the same samples, which `export --format perf` has
//! written for it.
//!
//! `PMISCOPE_BENCH_PROFILE` names a profile to take in place of a new run. An argument behind `--`
//! selects the rows whose names contain it: `make bench ARGS="-- diff"`.

#[path = "figures/program.rs"]
mod program;
mod support;

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

const SAMPLES: &str = "10000000";
/// Of so many the fastest is shown: the others were disturbed. perf takes a minute: once.
const ROUNDS: usize = 3;

/// A function that is hot in the mix, for the views of one.
const FUNCTION: &str = "memcpy";

/// What stands for the profile, and for what is written.
const PROFILE: &str = "P";
const OUTPUT: &str = "OUT";

const VIEWS: [&str; 33] = [
    "report P",
    "report P --by function",
    "report P --by line",
    "report P --by file",
    "report P --by address",
    "report P --by core",
    "report P --by core,function",
    "report P --by task,file",
    "report P --by process",
    "report P --tree",
    "report P --inverted",
    "report P --focus memcpy",
    "report P --filter hash",
    "report P --task heap",
    "report P --core 0,2-3",
    "report P --time 10%-20%",
    "annotate P memcpy",
    "timeline P",
    "timeline P --focus memcpy",
    "diff P P",
    "diff P P -o OUT",
    "flamegraph P -o OUT",
    "flamegraph P --by core -o OUT",
    "html P -o OUT",
    "embed-symbols P -o OUT",
    "export P --format folded -o OUT",
    "export P --format csv -o OUT",
    "export P --format callgrind -o OUT",
    "export P --format pprof -o OUT",
    "export P --format speedscope -o OUT",
    "export P --format firefox -o OUT",
    "export P --format perfetto -o OUT",
    "export P --format perf -o OUT",
];

/// What perf does, what that is compared with, and how many times as long it is to take at the least.
const PERF: [(&str, &str, f64); 4] = [
    ("report -g --stdio --no-inline", "report P", 30.0),
    ("script --no-inline", "report P", 50.0),
    ("annotate --stdio", "annotate P memcpy", 10.0),
    ("diff", "diff P P", 10.0),
];

/// The profile, and a folder for what is made of it.
struct Bench {
    folder: TempDir,
    profile: PathBuf,
}

fn main() {
    if !support::is_bench() {
        return;
    }
    let words: Vec<String> = std::env::args().skip(1).collect();
    let wanted: Vec<_> = words.iter().filter(|word| !word.starts_with('-')).collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|it| name.contains(*it));
    let bench = Bench::new();
    println!(
        "views of ten million samples: processor time, the best of {ROUNDS}, and the most memory\n"
    );
    println!("| {:<40} | seconds | MiB  |", "view");
    println!("|---|---|---|");
    for view in VIEWS.into_iter().filter(|view| is_wanted(view)) {
        let [took] = program::times(ROUNDS, [bench.own(view)]);
        let memory = program::peak_memory(&mut bench.own(view)) >> 20;
        let name = format!("`{view}`");
        println!("| {name:<40} | {:>7.2} | {memory:>4} |", took.as_secs_f64());
    }
    println!();
    if !program::exists("perf") {
        println!("no perf to compare with: apt-get install linux-perf");
        return;
    }
    support::row(["perf of the same samples", "measured", "to reach", ""]);
    support::row(support::RULES);
    for (words, view, to_reach) in PERF {
        if is_wanted(words) {
            bench.compare(words, view, to_reach);
        }
    }
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder for the profiles");
        let given = std::env::var_os("PMISCOPE_BENCH_PROFILE").map(PathBuf::from);
        let profile = given.unwrap_or_else(|| {
            let path = folder.path().join("mix.pmi");
            let words = ["--source", "pmu", "--pmu", "intel-v5", "--smp", "4"];
            support::run(
                "lab",
                &[&words[..], &["--samples", SAMPLES]].concat(),
                &path,
            );
            path
        });
        Self { folder, profile }
    }

    /// The command that shows a view.
    fn own(&self, view: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pmiscope"));
        for word in view.split(' ') {
            match word {
                PROFILE => command.arg(&self.profile),
                OUTPUT => command.arg(self.written()),
                _ => command.arg(word),
            };
        }
        command
    }

    /// Not over another view's: what is not of the kind is not written over.
    fn written(&self) -> PathBuf {
        let path = self.folder.path().join("written");
        let _ = std::fs::remove_file(&path);
        path
    }

    /// The samples for perf, and the kernel's file.
    fn for_perf(&self) -> [PathBuf; 2] {
        let data = self.folder.path().join("perf.data");
        let kernel = self.folder.path().join("perf.data.vmlinux");
        if !data.exists() {
            let mut export = Command::new(env!("CARGO_BIN_EXE_pmiscope"));
            export.args(["export", "--format", "perf", "-o"]);
            let status = export.arg(&data).arg(&self.profile).status();
            assert!(status.is_ok_and(|it| it.success()), "{export:?}");
            // By what `perf diff` finds the kernel: it is not told.
            let mut add = self.perf();
            let status = add.args(["buildid-cache", "--add"]).arg(&kernel).status();
            assert!(status.is_ok_and(|it| it.success()), "{add:?}");
        }
        [data, kernel]
    }

    /// perf with nothing of this user's, so that no symbols of another kernel are found.
    fn perf(&self) -> Command {
        let mut perf = Command::new("perf");
        perf.env("HOME", self.folder.path());
        perf.env("PERF_CONFIG", "/dev/null");
        perf
    }

    fn perf_command(&self, words: &str) -> Command {
        let [data, kernel] = self.for_perf();
        let mut perf = self.perf();
        perf.args(words.split(' '));
        if words == "diff" {
            perf.arg(&data).arg(&data);
            return perf;
        }
        perf.arg("-i").arg(&data).arg("--vmlinux").arg(&kernel);
        if words.starts_with("annotate") {
            perf.args(["-s", FUNCTION]);
        }
        perf
    }

    fn compare(&self, words: &str, view: &str, to_reach: f64) {
        let [own] = program::times(ROUNDS, [self.own(view)]);
        let [perf] = program::times(1, [self.perf_command(words)]);
        let [own, perf] = [own, perf].map(|took: Duration| took.as_secs_f64());
        let times = perf / own;
        support::row([
            &format!(
                "perf {words}, to {}",
                view.split(' ').next().unwrap_or(view)
            ),
            &format!("{perf:.2} s, {times:.1} times as long"),
            &format!("{to_reach} times as long"),
            support::verdict(times >= to_reach),
        ]);
    }
}
