//! What the host tool's steps from records to a report take, on a profile of a
//! real run.
//!
//! The times are the best of several rounds and belong to this machine. The
//! ratio of the two ways to look up addresses is taken within one process, and
//! can be compared between machines.

mod support;

use std::collections::HashSet;
use std::fs;
use std::hint::black_box;
use std::time::{Duration, Instant};

use addr2line::Context;
use gimli::{Dwarf, EndianSlice, LittleEndian};
use object::{Object as _, ObjectSection as _};
use pmiscope::internals::Profile;
use pmiscope::internals::flame;
use pmiscope::internals::report::{Options, Report, Selection, SortBy, Tally, text};
use pmiscope::internals::units::{duration, grouped, size};
use pmiscope::profile::{Head, Writer};
use pmiscope::symbols::Symbols;
use profiler::address::CodeAddress;

const SAMPLES: &str = "200000";

/// The addresses that are looked up both ways: naively it takes long.
const ADDRESSES: usize = 200_000;

/// Words of a chunk, about as many as the collector gathers.
const CHUNK_WORDS: usize = 64 << 10;

/// Of so many the fastest is shown: the others were disturbed.
const ROUNDS: usize = 5;

fn main() {
    if !support::is_bench() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder for the profile");
    let path = folder.path().join("profile.pmi");
    support::run("stock", &["--samples", SAMPLES], &path);
    let file = fs::read(&path).expect("the profile that was just written");
    let profile = Profile::read(file.clone()).expect("a profile");
    let kernel = profile.kernel.as_deref().expect("a whole profile");
    let symbols = Symbols::new(kernel).expect("the kernel is an ELF file");
    let chunks = chunks(&profile);
    let raw = 8 * chunks.iter().map(|(_, words)| words.len()).sum::<usize>();

    println!(
        "host: a profile of {SAMPLES} samples, {} of records in a file of {}; best of {ROUNDS}\n",
        size(raw as u64),
        size(file.len() as u64)
    );
    let write = best(|| write(&profile, kernel, &chunks));
    row("write the profile", write, &rate(raw, write));
    let read = best(|| Profile::read(file.clone()));
    row("read and check it", read, &rate(raw, read));
    let count = best(|| Tally::new(&profile, symbols.callers(), Selection::default()));
    row("hash and count its samples", count, &rate(raw, count));
    let report = best(|| report(&file));
    row("all of a report, as text", report, "");
    let draw = best(|| draw(&profile, kernel));
    row("all of a flame graph", draw, "");
    look_up(&profile, kernel);
}

/// Looks up the addresses of whole samples as they come: each by itself, and as
/// the tool does it, each different one once.
fn look_up(profile: &Profile, kernel: &[u8]) {
    let mut addresses = Vec::new();
    let symbols = Symbols::new(kernel).expect("the kernel is an ELF file");
    let tally = Tally::new(profile, symbols.callers(), Selection::default());
    // A stack that was seen twice is looked up twice.
    for stack in &tally.stacks {
        for _ in 0..stack.samples {
            addresses.extend(stack.addresses());
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

/// The records of each core, cut as the collector cuts them.
fn chunks(profile: &Profile) -> Vec<(u32, Vec<u64>)> {
    let mut chunks = Vec::new();
    for core in 0..profile.cores() {
        let mut words = Vec::new();
        profile.for_each_record(core, |record| {
            words.extend_from_slice(record);
            if words.len() >= CHUNK_WORDS {
                chunks.push((core, std::mem::take(&mut words)));
            }
        });
        chunks.push((core, words));
    }
    chunks
}

fn write(profile: &Profile, kernel: &[u8], chunks: &[(u32, Vec<u64>)]) -> Vec<u8> {
    let head = Head {
        description: &profile.description,
        host: &profile.host,
        kernel,
    };
    let mut writer = Writer::new(Vec::new(), &head).expect("memory takes all");
    for (core, words) in chunks {
        writer.samples(*core, words).expect("memory takes all");
    }
    let end = profile.end.as_ref().expect("a whole profile");
    writer.finish(end).expect("memory takes all")
}

/// `pmiscope report`, from the file's bytes to the text.
fn report(file: &[u8]) -> String {
    let profile = Profile::read(file.to_vec()).expect("a profile");
    let kernel = profile.kernel.as_deref().expect("a whole profile");
    let mut symbols = Symbols::new(kernel).expect("the kernel's symbols");
    let tally = Tally::new(&profile, symbols.callers(), Selection::default());
    let report = Report::new(&profile, &tally, &mut symbols, Options::default());
    text(&report, SortBy::default())
}

fn draw(profile: &Profile, kernel: &[u8]) -> Vec<u8> {
    let mut symbols = Symbols::new(kernel).expect("the kernel's symbols");
    let tally = Tally::new(profile, symbols.callers(), Selection::default());
    let stacks = flame::Stacks::new(profile, &tally, &mut symbols, None);
    let mut picture = Vec::new();
    flame::draw(profile, &stacks, None, &mut picture).expect("memory takes all");
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
fn rate(bytes: usize, took: Duration) -> String {
    format!(
        "{:>6.0} MB/s of records",
        bytes as f64 / 1e6 / took.as_secs_f64()
    )
}
