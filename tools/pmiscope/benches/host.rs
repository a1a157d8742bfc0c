//! What the host tool's steps from samples to a report take, what a sample takes in the file, and
//! what memory a report has.
//!
//! The times are the best of several rounds and belong to this machine. The
//! ratio of the two ways to look up addresses is taken within one process, and
//! can be compared between machines.

mod support;

use std::collections::HashSet;
use std::fs::{self, File};
use std::hint::black_box;
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use addr2line::Context;
use gimli::{Dwarf, EndianSlice, LittleEndian};
use object::{Object as _, ObjectSection as _};
use pmiscope::internals::Profile;
use pmiscope::internals::flame;
use pmiscope::internals::report::{Only, Options, Report, Selection, SortBy, Tally, text};
use pmiscope::internals::units::{duration, grouped, size};
use pmiscope::profile::{Head, Writer};
use pmiscope::symbols::Symbols;
use profiler::address::CodeAddress;
use profiler::format::Sample;

/// Samples of the run; and how often they are repeated for a larger profile.
const SAMPLES: u32 = 1_000_000;
const TIMES: u32 = 10;

/// The addresses that are looked up both ways: naively it takes long.
const ADDRESSES: usize = 200_000;

/// Samples between two flushes, about as many as a run takes in the time between them.
const FLUSH: usize = 32 << 10;

/// Of so many the fastest is shown: the others were disturbed.
const ROUNDS: usize = 5;

fn main() {
    if !support::is_bench() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder for the profiles");
    let path = folder.path().join("profile.pmi");
    support::run("stock", &["--samples", &SAMPLES.to_string()], &path);
    let file = fs::read(&path).expect("the profile that was just written");
    let profile = Profile::read(file.clone()).expect("a profile");
    let kernel = profile.kernel.as_deref().expect("a whole profile");
    let symbols = Symbols::new(kernel).expect("the kernel is an ELF file");
    let all = Samples::of(&profile);
    let count = all.samples.len();

    println!("host: a run of the mix; best of {ROUNDS}\n");
    commands("of a run", &path, kernel, count);
    println!();
    let write = best(|| all.write(&profile, kernel, Vec::new(), 1));
    row("write the samples", write, &rate(count, write));
    let read = best(|| Profile::read(file.clone()));
    row("open and check the file", read, &rate(count, read));
    let step = best(|| Tally::with_costs(&profile, symbols.callers(), Selection::default()));
    row("count its samples", step, &rate(count, step));
    let step = best(|| profile.for_each_sample(0, |sample| _ = black_box(sample)));
    let of_core = usize::try_from(profile.records_of_core(0)).expect("fewer");
    row("read all of a core's", step, &rate(of_core, step));
    row("all of a report, as text", best(|| report(&file)), "");
    row("all of a flame graph", best(|| draw(&profile, kernel)), "");

    let large = folder.path().join("large.pmi");
    let out = File::create(&large).expect("a file");
    all.write(&profile, kernel, out, TIMES);
    let times = TIMES as usize;
    let what = format!("the same {TIMES} times, later each");
    println!();
    commands(&what, &large, kernel, times * count);
    look_up(&profile, kernel);
}

/// What the commands take that show a profile, and the file.
#[allow(clippy::cast_precision_loss)] // shown with two decimals
fn commands(what: &str, path: &Path, kernel: &[u8], samples: usize) {
    let bytes = fs::metadata(path).expect("a file").len();
    let profile = Profile::read(fs::read(path).expect("a file")).expect("a profile");
    let without = Samples::default()
        .write(&profile, kernel, Vec::new(), 1)
        .len() as u64;
    println!(
        "{} samples {what}: {}, {:.2} bytes a sample, {:.2} without kernel and head",
        grouped(samples as u64),
        size(bytes),
        bytes as f64 / samples as f64,
        (bytes - without) as f64 / samples as f64,
    );
    let report = best(|| show("report", path, &[]));
    let memory = peak(path);
    row(
        "report",
        report,
        &format!("{}, {memory} at the peak", rate(samples, report)),
    );
    let folded = path.with_extension("folded");
    let folded = folded.to_str().expect("a name");
    let export = best(|| show("export", path, &["--format", "folded", "-o", folded]));
    row("export", export, &rate(samples, export));
}

/// Runs a command on a profile.
fn show(command: &str, path: &Path, more: &[&str]) {
    let status = Command::new(env!("CARGO_BIN_EXE_pmiscope"))
        .arg(command)
        .arg(path)
        .args(more)
        .stdout(Stdio::null())
        .status()
        .expect("the command was built for this bench");
    assert!(status.success(), "{command} of {}", path.display());
}

/// The most memory that a report took.
fn peak(path: &Path) -> String {
    let mut report = Command::new(env!("CARGO_BIN_EXE_pmiscope"))
        .args(["report", "--format", "json"])
        .arg(path)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the command was built for this bench");
    let mut out = report.stdout.take().expect("it is piped");
    // All is made before the first byte, and the rest does not fit into the pipe.
    out.read_exact(&mut [0]).expect("a report");
    let status = fs::read_to_string(format!("/proc/{}/status", report.id())).expect("it waits");
    let mut lines = status.lines();
    let peak = lines.find_map(|line| line.strip_prefix("VmHWM:"));
    out.read_to_end(&mut Vec::new()).expect("a report");
    assert!(report.wait().expect("it ends").success());
    let kibibytes = peak.and_then(|it| it.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    size(1024 * kibibytes.expect("the peak"))
}

/// Looks up the addresses of whole samples as they come: each by itself, and as
/// the tool does it, each different one once.
fn look_up(profile: &Profile, kernel: &[u8]) {
    let mut addresses = Vec::new();
    let symbols = Symbols::new(kernel).expect("the kernel is an ELF file");
    let tally = Tally::with_costs(profile, symbols.callers(), Selection::default()).expect(WHOLE);
    // A stack that was seen twice is looked up twice.
    for stack in tally.stacks() {
        for _ in 0..stack.samples {
            addresses.extend(stack.addresses().chain(stack.outer.addresses()));
        }
    }
    // Evenly over the whole run.
    let step = (addresses.len() / ADDRESSES).max(1);
    let addresses: Vec<_> = addresses.into_iter().step_by(step).collect();
    let different = addresses.iter().collect::<HashSet<_>>().len();
    println!(
        "\nnames at {} addresses, {} different, the debug information parsed anew:",
        grouped(addresses.len() as u64),
        grouped(different as u64),
    );
    let each = best(|| naive(kernel, &addresses));
    let once = best(|| memoized(kernel, &addresses));
    let ratio = each.as_secs_f64() / once.as_secs_f64();
    row("each by itself", each, "");
    row(
        "each different one once",
        once,
        &format!("{ratio:.1} times as fast"),
    );
}

/// Demangled names of all frames, by addr2line, address by address.
fn naive(kernel: &[u8], addresses: &[CodeAddress]) -> usize {
    let elf = object::File::parse(kernel).expect("the kernel is an ELF file");
    let section = |id: gimli::SectionId| {
        let section = elf.section_by_name(id.name());
        let data = section.and_then(|section| section.data().ok());
        Ok::<_, gimli::Error>(EndianSlice::new(data.unwrap_or_default(), LittleEndian))
    };
    let dwarf = Dwarf::load(section).expect("sections");
    let context = Context::from_dwarf(dwarf).expect("debug information");
    let mut bytes = 0;
    for address in addresses {
        let frames = context.find_frames(address.0).skip_all_loads();
        let mut frames = frames.expect("debug information");
        while let Some(frame) = frames.next().expect("debug information") {
            let name = frame
                .function
                .as_ref()
                .and_then(|name| name.raw_name().ok());
            let name = name.unwrap_or_default();
            bytes += format!("{:#}", rustc_demangle::demangle(&name)).len();
        }
    }
    bytes
}

/// The same, and the files and lines of declaration, by the tool's own symbols.
fn memoized(kernel: &[u8], addresses: &[CodeAddress]) -> usize {
    let mut symbols = Symbols::new(kernel).expect("the kernel's symbols");
    symbols.resolve(addresses.iter().copied());
    let frames = addresses
        .iter()
        .flat_map(|&address| symbols.frames(address));
    frames
        .map(|frame| symbols.function(frame.function).name.len())
        .sum()
}

/// What a whole profile's steps do not do.
const WHOLE: &str = "a whole profile";

/// The samples of a profile, about in the order in which they came.
#[derive(Default)]
struct Samples {
    /// The core, the sample, and where its chain is.
    samples: Vec<(u32, Sample<'static>, std::ops::Range<usize>)>,
    chains: Vec<u64>,
}

impl Samples {
    fn of(profile: &Profile) -> Self {
        let mut all = Self::default();
        for core in 0..profile.cores() {
            let read = profile.for_each_sample(core, |sample| {
                let start = all.chains.len();
                all.chains.extend(sample.chain_words);
                let sample = Sample {
                    chain_words: &[],
                    ..*sample
                };
                all.samples.push((core, sample, start..all.chains.len()));
            });
            read.expect(WHOLE);
        }
        all.samples.sort_by_key(|(_, sample, _)| sample.time);
        all
    }

    /// Writes a profile of them, so many times, each behind the one before.
    fn write<W: std::io::Write>(&self, profile: &Profile, kernel: &[u8], out: W, times: u32) -> W {
        let head = Head {
            description: &profile.description,
            host: &profile.host,
            kernel,
        };
        let mut writer = Writer::new(out, &head).expect("room for it");
        let last = self.samples.last().map_or(0, |(_, sample, _)| sample.time);
        let most = self
            .samples
            .iter()
            .map(|(_, sample, _)| sample.sequence)
            .max();
        for time in 0..times {
            for (number, (core, sample, chain)) in self.samples.iter().enumerate() {
                let sample = Sample {
                    time: sample.time + u64::from(time) * (last + 1),
                    sequence: sample.sequence + time * (most.unwrap_or(0) + 1),
                    chain_words: &self.chains[chain.clone()],
                    ..*sample
                };
                writer.sample(*core, &sample).expect("room for it");
                if (number + 1) % FLUSH == 0 {
                    writer.flush().expect("room for it");
                }
            }
        }
        let mut end = profile.end.clone().expect(WHOLE);
        for core in &mut end.cores {
            core.stored = 0;
        }
        writer.finish(&end).expect("room for it")
    }
}

/// `pmiscope report`, from the file's bytes to the text.
fn report(file: &[u8]) -> String {
    let profile = Profile::read(file.to_vec()).expect("a profile");
    let kernel = profile.kernel.as_deref().expect("a whole profile");
    let mut symbols = Symbols::new(kernel).expect("the kernel's symbols");
    let tally = Tally::with_costs(&profile, symbols.callers(), Selection::default()).expect(WHOLE);
    let report = Report::new(&profile, &tally, &mut symbols, Options::default()).expect(WHOLE);
    text(&report, SortBy::default())
}

fn draw(profile: &Profile, kernel: &[u8]) -> Vec<u8> {
    let mut symbols = Symbols::new(kernel).expect("the kernel's symbols");
    let tally = Tally::with_costs(profile, symbols.callers(), Selection::default()).expect(WHOLE);
    let stacks = flame::Stacks::new(profile, &tally, &mut symbols, None).expect(WHOLE);
    let mut picture = Vec::new();
    flame::draw(profile, &stacks, &Only::All, &mut picture).expect("memory takes all");
    picture
}

/// The fastest of several rounds.
fn best<T>(mut step: impl FnMut() -> T) -> Duration {
    let rounds = (0..ROUNDS).map(|_| {
        let started = Instant::now();
        black_box(step());
        started.elapsed()
    });
    rounds.min().unwrap_or_default()
}

fn row(step: &str, took: Duration, remark: &str) {
    let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
    println!("{step:<28} {:>10}  {remark}", duration(nanoseconds));
}

#[allow(clippy::cast_precision_loss)] // shown without decimals
fn rate(samples: usize, took: Duration) -> String {
    let rate = samples as f64 / 1e6 / took.as_secs_f64();
    format!("{rate:>6.1} million samples a second")
}
