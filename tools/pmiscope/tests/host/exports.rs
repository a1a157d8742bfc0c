//! Exports, read by what others have written: the samples of each function are in all of them what
//! the report has.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Cursor, Read as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use flate2::read::GzDecoder;
use fxprof_processed_profile as fxprof;
use linux_perf_data::linux_perf_event_reader::EventRecord;
use linux_perf_data::{PerfFileReader, PerfFileRecord};
use pmiscope::internals::flame::unescape;
use pmiscope::symbols::{Symbols, build_id};
use pprof::protos::{self, Message as _};
use profiler::address::CodeAddress;
use profiler::format::Description;
use serde_json::Value;

use crate::command::{pmiscope, refused, stderr, stdout, text};
use crate::counts::whole as counted_profile;
use crate::fixture::{
    Seen, description, file, folder, kernel, profile, profile_of, profile_of_chains,
    profile_of_cores, profile_of_events, samples,
};
use crate::programs::Run;

/// The samples of a function by itself, and with what it has called.
type Shares = BTreeMap<String, (u64, u64)>;

pub const FORMS: [&str; 8] = [
    "folded",
    "csv",
    "callgrind",
    "speedscope",
    "pprof",
    "firefox",
    "perf",
    "perfetto",
];

/// Exports a profile.
pub fn export(profile: &Path, form: &str, more: &[&str]) -> PathBuf {
    let name = format!("{}.{form}", profile.file_name().unwrap().to_str().unwrap());
    let out = folder().join(name);
    let mut arguments = vec!["export", text(profile), "--format", form, "-o", text(&out)];
    arguments.extend(more);
    pmiscope(&arguments).success();
    out
}

/// What the report says of functions.
fn reported(profile: &Path, more: &[&str]) -> Shares {
    let mut arguments = vec!["report", text(profile), "--format", "json"];
    arguments.extend(more);
    let report: Value = serde_json::from_str(&stdout(&pmiscope(&arguments).success())).unwrap();
    let functions = report["functions"].as_array().unwrap().iter();
    let shares = functions.map(|it| {
        let [own, total] = ["self", "total"].map(|key| it[key].as_u64().unwrap());
        (it["name"].as_str().unwrap().to_owned(), (own, total))
    });
    shares.collect()
}

/// Returns true for functions, and for what stands where user code was left; false for what else stands for no
/// function, which not all forms have.
fn is_shared(name: &str) -> bool {
    let is_border = name == "[system call]" || name.ends_with(" from user code]");
    is_border || !name.starts_with('[')
}

/// Counts stacks, innermost function first. What stands for no function is left out.
#[derive(Default)]
struct Counting(Shares);

impl Counting {
    fn add<'a>(&mut self, stack: impl IntoIterator<Item = &'a str>, samples: u64) {
        let stack: Vec<_> = stack.into_iter().collect();
        self.0.entry(stack[0].to_owned()).or_default().0 += samples;
        for function in stack.into_iter().collect::<BTreeSet<_>>() {
            self.0.entry(function.to_owned()).or_default().1 += samples;
        }
    }

    fn finish(mut self) -> Shares {
        self.0.retain(|name, _| is_shared(name));
        self.0
    }
}

fn folded(path: &Path) -> Shares {
    let mut counting = Counting::default();
    for line in fs::read_to_string(path).unwrap().lines() {
        let (stack, samples) = line.rsplit_once(' ').unwrap();
        let stack: Vec<_> = stack.split(';').rev().map(unescape).collect();
        counting.add(stack.iter().map(|it| &**it), samples.parse().unwrap());
    }
    counting.finish()
}

fn csv(path: &Path) -> Shares {
    let mut table = csv::Reader::from_path(path).unwrap();
    let rows = table.deserialize();
    let rows = rows.map(|row| {
        let (name, _, _, own, total): (String, String, Option<u32>, u64, u64) = row.unwrap();
        (name, (own, total))
    });
    let mut shares: Shares = rows.collect();
    shares.retain(|name, _| is_shared(name));
    shares
}

/// By valgrind's own reader, which does not list what has nothing.
fn callgrind(path: &Path) -> Shares {
    let mut shares = Shares::new();
    for is_total in [false, true] {
        let inclusive = format!("--inclusive={}", if is_total { "yes" } else { "no" });
        let read = Command::new("callgrind_annotate")
            .args([&inclusive, "--threshold=100", "--auto=no"])
            .arg(path)
            .output()
            .expect("callgrind_annotate: make setup-test installs it");
        let said = String::from_utf8(read.stdout).unwrap();
        assert!(
            read.status.success(),
            "{}",
            String::from_utf8_lossy(&read.stderr)
        );
        let (_, table) = said.split_once("file:function").expect(&said);
        for line in table.lines() {
            let Some((samples, behind)) = line.trim().split_once(" (") else {
                continue;
            };
            let (_, function) = behind.split_once("%) ").unwrap();
            let samples: u64 = samples.replace(',', "").parse().unwrap();
            // Files have no colon.
            let (_, name) = function.trim().split_once(':').unwrap();
            let name = name.trim_end_matches(" [").to_owned();
            let share = shares.entry(name).or_default();
            *(if is_total { &mut share.1 } else { &mut share.0 }) += samples;
        }
    }
    shares.retain(|name, _| is_shared(name));
    shares
}

fn speedscope(path: &Path) -> Shares {
    let file: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let frames = file["shared"]["frames"].as_array().unwrap();
    let name = |frame: &Value| {
        let frame = usize::try_from(frame.as_u64().unwrap()).unwrap();
        frames[frame]["name"].as_str().unwrap()
    };
    let mut counting = Counting::default();
    for profile in file["profiles"].as_array().unwrap() {
        let samples = profile["samples"].as_array().unwrap();
        let weights = profile["weights"].as_array().unwrap();
        assert_eq!(samples.len(), weights.len());
        for (stack, weight) in samples.iter().zip(weights) {
            let stack = stack.as_array().unwrap().iter().rev().map(name);
            counting.add(stack, weight.as_u64().unwrap());
        }
    }
    counting.finish()
}

fn pprof_of(path: &Path) -> protos::Profile {
    let mut bytes = Vec::new();
    let file = fs::File::open(path).unwrap();
    GzDecoder::new(file).read_to_end(&mut bytes).unwrap();
    protos::Profile::decode(&*bytes).unwrap()
}

/// By the messages of a published crate; of all values of a sample.
fn pprof(path: &Path) -> Shares {
    let profile = pprof_of(path);
    let text = |number: i64| &*profile.string_table[usize::try_from(number).unwrap()];
    let name = |id: u64| {
        let function = profile.function.iter().find(|it| it.id == id).unwrap();
        text(function.name)
    };
    let mut counting = Counting::default();
    for sample in &profile.sample {
        assert_eq!(sample.value.len(), profile.sample_type.len());
        let locations = sample.location_id.iter().map(|&id| {
            let location = profile.location.iter().find(|it| it.id == id);
            location.expect("a location of this id")
        });
        let lines = locations.flat_map(|location| &location.line);
        let samples = sample.value.iter().sum::<i64>().try_into().unwrap();
        counting.add(lines.map(|line| name(line.function_id)), samples);
    }
    counting.finish()
}

fn indexes(column: &Value) -> Vec<Option<usize>> {
    let column = column.as_array().unwrap().iter();
    let index = |it: &Value| it.as_u64().map(|it| usize::try_from(it).unwrap());
    column.map(index).collect()
}

fn firefox(path: &Path) -> Shares {
    let profile: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let mut counting = Counting::default();
    for thread in profile["threads"].as_array().unwrap() {
        let column = |table: &str, name: &str| indexes(&thread[table][name]);
        let [prefixes, frames] = ["prefix", "frame"].map(|name| column("stackTable", name));
        let funcs = column("frameTable", "func");
        let names = column("funcTable", "name");
        let name = |stack: usize| {
            let func = funcs[frames[stack].unwrap()].unwrap();
            thread["stringArray"][names[func].unwrap()]
                .as_str()
                .unwrap()
        };
        let [stacks, weights] = ["stack", "weight"].map(|name| column("samples", name));
        for (stack, weight) in stacks.into_iter().zip(weights) {
            let rows = std::iter::successors(stack, |&row| prefixes[row]);
            counting.add(rows.map(name), weight.unwrap() as u64);
        }
    }
    counting.finish()
}

/// A sample of perf.data: its event, its thread, the core, its period, addresses from the innermost out.
#[derive(Debug)]
struct PerfSample {
    event: usize,
    thread: i32,
    core: u32,
    period: u64,
    addresses: Vec<u64>,
}

/// What a published crate reads.
struct PerfData {
    events: Vec<String>,
    tasks: BTreeMap<i32, String>,
    samples: Vec<PerfSample>,
    build_id: Vec<u8>,
}

fn perf_data(path: &Path) -> PerfData {
    let file = Cursor::new(fs::read(path).unwrap());
    let PerfFileReader {
        mut perf_file,
        mut record_iter,
    } = PerfFileReader::parse_file(file).unwrap();
    let events = perf_file.event_attributes().iter();
    let events = events.map(|it| it.name().unwrap().to_owned()).collect();
    let mut ids = perf_file.build_ids().unwrap().into_values();
    let mut data = PerfData {
        events,
        tasks: BTreeMap::new(),
        samples: Vec::new(),
        build_id: ids.next().expect("the kernel").build_id,
    };
    let mut before = 0;
    while let Some(record) = record_iter.next_record(&mut perf_file).unwrap() {
        let PerfFileRecord::EventRecord { attr_index, record } = record else {
            continue;
        };
        match record.parse().unwrap() {
            EventRecord::Comm(command) => {
                let name = String::from_utf8(command.name.as_slice().to_vec()).unwrap();
                data.tasks.insert(command.tid, name);
            }
            EventRecord::Sample(sample) => {
                let time = sample.timestamp.unwrap();
                assert!(before <= time, "samples are in order");
                before = time;
                let chain = sample.callchain.unwrap();
                let addresses = (1..chain.len()).map(|at| chain.get(at).unwrap());
                let addresses: Vec<_> = addresses.collect();
                assert_eq!(chain.get(0), Some(-128_i64 as u64), "of the kernel");
                assert_eq!(addresses.first(), sample.ip.as_ref());
                data.samples.push(PerfSample {
                    event: attr_index,
                    thread: sample.tid.unwrap(),
                    core: sample.cpu.unwrap(),
                    period: sample.period.unwrap(),
                    addresses,
                });
            }
            _ => {}
        }
    }
    data
}

/// By its addresses, looked up in the kernel; a sample for each `period`.
fn perf(path: &Path, period: impl Fn(&PerfSample) -> u64) -> Shares {
    let mut symbols = Symbols::new(&kernel().elf).unwrap();
    let mut counting = Counting::default();
    for sample in perf_data(path).samples {
        let addresses = sample.addresses.iter().map(|&it| CodeAddress(it));
        symbols.resolve(addresses.clone());
        let frames = addresses.flat_map(|address| symbols.frames(address));
        let names = frames.map(|frame| &*symbols.function(frame.function).name);
        assert_eq!(sample.period % period(&sample), 0);
        counting.add(names, sample.period / period(&sample));
    }
    counting.finish()
}

/// That all forms have the same samples of each function as the report.
fn assert_equal(profile: &Path, more: &[&str], period: impl Fn(&PerfSample) -> u64) {
    let expected = reported(profile, more);
    assert!(!expected.is_empty());
    let of = |form: &str| export(profile, form, more);
    assert_eq!(folded(&of("folded")), expected, "folded");
    assert_eq!(csv(&of("csv")), expected, "csv");
    assert_eq!(callgrind(&of("callgrind")), expected, "callgrind");
    assert_eq!(speedscope(&of("speedscope")), expected, "speedscope");
    assert_eq!(pprof(&of("pprof")), expected, "pprof");
    assert_eq!(firefox(&of("firefox")), expected, "firefox");
    assert_eq!(perf(&of("perf"), period), expected, "perf");
    assert_eq!(perfetto(&of("perfetto")), expected, "perfetto");
}

#[test]
fn all_forms_have_the_samples_of_the_report() {
    let path = file("exported.pmi", &profile());
    assert_equal(&path, &[], |_| 100);
}

#[test]
fn all_forms_have_the_samples_of_several_events_and_of_one() {
    let path = file("exported-events.pmi", &profile_of_events());
    // The second event's is longer than was asked for, and an aimed overflow has none.
    assert_equal(&path, &[], |sample| [100, 50, 1][sample.event]);
    assert_equal(&path, &["--event", "1"], |_| 50);
    let data = perf_data(&export(&path, "perf", &[]));
    assert_eq!(
        data.events,
        ["cycles:k", "cpu/event=0xc4,umask=0x20/u", "aimed"]
    );
    let profile = pprof_of(&export(&path, "pprof", &[]));
    assert_eq!(profile.sample_type.len(), 3);
}

/// Where user code was left is a frame in all forms; perf has the mark of the other context there.
#[test]
fn borders_of_user_code_are_in_all_forms() {
    let path = Run::new("borders").profile("borders.pmi");
    let expected = folded(&export(&path, "folded", &[]));
    let names = ["[system call]", "[exception 0x0e from user code]"];
    assert_eq!(names.map(|name| expected[name]), [(0, 1); 2]);
    for (name, share) in reported(&path, &[]) {
        assert_eq!(expected[&name], share, "{name}");
    }
    let of = |form: &str| export(&path, form, &[]);
    assert_eq!(csv(&of("csv")), expected, "csv");
    assert_eq!(callgrind(&of("callgrind")), expected, "callgrind");
    assert_eq!(speedscope(&of("speedscope")), expected, "speedscope");
    assert_eq!(pprof(&of("pprof")), expected, "pprof");
    assert_eq!(firefox(&of("firefox")), expected, "firefox");
    assert_eq!(perfetto(&of("perfetto")), expected, "perfetto");
    let chains = perf_chains(&of("perf"));
    let counts = |words: &[u64]| {
        let [kernel, user] = [-128_i64, -512]
            .map(|context| words.iter().filter(|&&word| word == context as u64).count());
        (words[0] == -512_i64 as u64, kernel, user)
    };
    let marks: Vec<_> = chains.iter().map(|words| counts(words)).collect();
    let (user, kernel) = ((true, 0, 1), (false, 1, 1));
    assert_eq!(marks, [user, user, user, kernel, kernel, user]);
    // As the program has it.
    assert_eq!(chains[5][1..], [0x40_1234]);
}

/// The chains of perf.data, marks of contexts included.
fn perf_chains(path: &Path) -> Vec<Vec<u64>> {
    let file = Cursor::new(fs::read(path).unwrap());
    let PerfFileReader {
        mut perf_file,
        mut record_iter,
    } = PerfFileReader::parse_file(file).unwrap();
    let mut chains = Vec::new();
    while let Some(record) = record_iter.next_record(&mut perf_file).unwrap() {
        if let PerfFileRecord::EventRecord { record, .. } = record
            && let EventRecord::Sample(sample) = record.parse().unwrap()
        {
            let chain = sample.callchain.unwrap();
            chains.push((0..chain.len()).map(|at| chain.get(at).unwrap()).collect());
        }
    }
    chains
}

/// A sample of a function that calls itself, twice over.
fn recursive() -> Seen {
    let kernel = kernel();
    let [hash, idle] = ["in_hash", "in_idle"].map(|name| kernel.return_to(name));
    Seen::new(
        0,
        kernel.at("in_innermost"),
        &[hash, idle, hash, hash, idle],
    )
}

#[test]
fn a_function_that_calls_itself_is_counted_once() {
    let run = Description {
        cores: 1,
        ..description()
    };
    let again = Seen {
        sequence: 1,
        ..recursive()
    };
    let path = file("recursive.pmi", &profile_of(&run, &[recursive(), again]));
    assert_equal(&path, &[], |_| 100);
}

#[test]
fn one_sample_and_one_core_of_two_are_exported() {
    let one = file(
        "one-core.pmi",
        &profile_of_cores(&description(), &[&[], &[recursive()]]),
    );
    assert_equal(&one, &[], |_| 100);
    let file: Value =
        serde_json::from_slice(&fs::read(export(&one, "firefox", &[])).unwrap()).unwrap();
    let threads = file["threads"].as_array().unwrap();
    assert_eq!(threads.len(), 1);
    assert_eq!(threads[0]["name"], "core 1");
}

#[test]
fn a_profile_without_samples_is_refused_but_by_folded_stacks() {
    let empty = file("empty-export.pmi", &profile_of_cores(&description(), &[]));
    for form in FORMS {
        let out = folder().join("empty-export");
        let arguments = ["export", text(&empty), "--format", form, "-o", text(&out)];
        if form == "folded" {
            pmiscope(&arguments).success();
            fs::remove_file(out).unwrap();
            continue;
        }
        refused(pmiscope(&arguments), 1, &["no samples to export"]);
        assert!(!out.exists(), "{form}");
    }
}

#[test]
fn a_profile_that_was_cut_is_exported_as_far_as_it_goes() {
    let whole = profile();
    let cut = file("cut-export.pmi", &whole[..whole.len() - 300]);
    let out = folder().join("cut-export");
    for form in FORMS {
        let arguments = ["export", text(&cut), "--format", form, "-o", text(&out)];
        let assert = pmiscope(&arguments).code(3);
        assert!(stderr(&assert).contains("is incomplete"), "{form}");
        assert!(fs::metadata(&out).unwrap().len() > 0, "{form}");
    }
}

#[test]
fn chains_without_order_are_exported_with_their_counts() {
    let [first, second] = samples();
    let first: Vec<_> = first.into_iter().zip(3_000..).collect();
    let second: Vec<_> = second.into_iter().zip(1..).collect();
    let path = file("kept-chains.pmi", &profile_of_chains([&first, &second]));
    assert_equal(&path, &[], |_| 100);
    let out = folder().join("kept-chains");
    for form in FORMS {
        let arguments = ["export", text(&path), "--format", form, "-o", text(&out)];
        let said = stderr(&pmiscope(&arguments).success());
        let has_times = ["perf", "firefox", "perfetto", "speedscope"].contains(&form);
        assert_eq!(
            said.contains("times in the export are made up"),
            has_times,
            "{form}: {said}"
        );
    }
}

#[test]
fn counts_are_no_samples_to_export() {
    let path = file("counts-export.pmi", &counted_profile());
    for form in FORMS {
        let arguments = ["export", text(&path), "--format", form, "-o-"];
        refused(
            pmiscope(&arguments),
            1,
            &["counts of events and no samples"],
        );
    }
}

#[test]
fn what_perf_needs_is_beside_its_file_and_in_the_command() {
    let path = file("for-perf.pmi", &profile());
    let out = folder().join("for perf");
    let arguments = ["export", text(&path), "--format=perf", "-o", text(&out)];
    let beside = folder().join("for perf.vmlinux");
    for _ in 0..2 {
        let said = stderr(&pmiscope(&arguments).success());
        let expected = format!(
            "pmiscope: perf report -i '{}' --demangle-kernel --vmlinux '{}'\n",
            out.display(),
            beside.display()
        );
        assert_eq!(said, expected);
        assert_eq!(fs::read(&beside).unwrap(), kernel().elf);
    }
    fs::write(&beside, "somebody's").unwrap();
    refused(pmiscope(&arguments), 1, &["remove it"]);
    let elf = text(&kernel().path);
    let said = stderr(&pmiscope(&[&arguments[..], &["--elf", elf]].concat()).success());
    assert!(said.contains(&format!("--vmlinux {elf}")), "{said}");
    assert_eq!(fs::read(&beside).unwrap(), b"somebody's");
}

#[test]
fn perf_data_has_tasks_cores_and_whose_code_it_is() {
    let path = file("tasks.pmi", &profile());
    let data = perf_data(&export(&path, "perf", &[]));
    assert_eq!(data.events, ["instructions"]);
    assert_eq!(data.build_id, build_id(&kernel().elf).unwrap().0);
    let tasks = [(2, "hash"), (3, "idle"), (8, "task 7")];
    let tasks = tasks.map(|(thread, name)| (thread, name.to_owned()));
    assert_eq!(data.tasks, BTreeMap::from(tasks));
    let mut seen: Vec<_> = data.samples.iter().map(|it| (it.core, it.thread)).collect();
    seen.sort_unstable();
    assert_eq!(seen, [(0, 2), (0, 2), (0, 2), (1, 3), (1, 3), (1, 8)]);
}

/// What stock perf prints.
fn stock_perf(arguments: &[&str]) -> String {
    let said = Command::new("perf")
        .args(arguments)
        .output()
        .expect("perf: make setup-test installs it");
    let text = String::from_utf8(said.stdout).unwrap();
    assert!(
        said.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&said.stderr)
    );
    text
}

#[test]
fn stock_perf_names_the_kernels_functions() {
    let path = file("stock-perf.pmi", &profile());
    let out = export(&path, "perf", &[]);
    let input = ["-i", text(&out), "--vmlinux", text(&kernel().path)];
    let show = |words: &[&str]| stock_perf(&[&words[..1], &input, &words[1..]].concat());
    let report = show(&[
        "report",
        "--stdio",
        "--demangle-kernel",
        "--no-children",
        "-g",
        "none",
        "-n",
        "-F",
        "sample,sym",
        "--no-inline",
    ]);
    let rows = report.lines().filter(|line| line.contains("[k]"));
    let rows = rows.map(|line| {
        let (samples, name) = line.split_once("[k]").unwrap();
        (name.trim().to_owned(), samples.trim().parse().unwrap())
    });
    let rows: BTreeMap<String, u64> = rows.collect();
    let expected = [
        ("kernel::workload::hash::run", 2),
        // Labels are names to perf.
        ("in_hash", 1),
        ("stub", 2),
        ("0xffffffff8fff0000", 1),
    ];
    let expected = expected.map(|(name, samples)| (name.to_owned(), samples));
    assert_eq!(rows, BTreeMap::from(expected), "{report}");
    let script = show(&["script", "--no-inline"]);
    // The last instruction of `idle` is the call: behind it is `stub`. The label is before it.
    assert!(script.contains("in_idle+0x5"), "{script}");
    let annotated = show(&["annotate", "--stdio", "-s", "stub"]);
    assert!(annotated.contains("nop"), "{annotated}");
}

/// Every key of a value, with those of what is in it; of arrays those of the first element.
fn keys(value: &Value, at: &str, all: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                let at = format!("{at}.{key}");
                all.insert(at.clone());
                keys(value, &at, all);
            }
        }
        Value::Array(array) => {
            if let Some(first) = array.first() {
                keys(first, &format!("{at}[]"), all);
            }
        }
        _ => {}
    }
}

fn keys_of(value: &Value) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    keys(value, "", &mut all);
    // What markers have, and how they look, is each profile's own.
    all.retain(|key| !key.contains(".data[]") && !key.contains("markerSchema[]"));
    all
}

#[test]
fn the_firefox_profiler_finds_the_keys_of_a_published_writer() {
    let mut other = fxprof::Profile::new(
        "other",
        fxprof::ReferenceTimestamp::from_millis_since_unix_epoch(0.0),
        fxprof::SamplingInterval::from_millis(1),
    );
    let start = fxprof::Timestamp::from_millis_since_reference(0.0);
    let process = other.add_process("other", 1, start);
    let thread = other.add_thread(process, 1, start, false);
    other.add_initial_visible_thread(thread);
    other.add_initial_selected_thread(thread);
    let kernel = other.add_lib(fxprof::LibraryInfo {
        name: "kernel".into(),
        debug_name: "kernel".into(),
        path: "kernel".into(),
        code_id: Some("1".into()),
        debug_path: "kernel".into(),
        debug_id: fxprof::debugid::DebugId::nil(),
        arch: Some("x86_64".into()),
        symbol_table: None,
    });
    // Libraries without a frame are left out.
    other.add_lib_mapping(process, kernel, 0x1000, 0x2000, 0);
    let frame = fxprof::FrameInfo {
        frame: fxprof::Frame::InstructionPointer(0x1100),
        category_pair: fxprof::CategoryHandle::OTHER.into(),
        flags: fxprof::FrameFlags::empty(),
    };
    other.intern_frame(thread, frame);
    let other = keys_of(&serde_json::to_value(&other).unwrap());
    let path = file("firefox-keys.pmi", &profile());
    let own: Value =
        serde_json::from_slice(&fs::read(export(&path, "firefox", &[])).unwrap()).unwrap();
    assert_eq!(own["meta"]["preprocessedProfileVersion"], 55);
    let own = keys_of(&own);
    let missing: Vec<_> = other.difference(&own).collect();
    let more: Vec<_> = own.difference(&other).collect();
    assert_eq!((missing, more), (Vec::new(), Vec::new()));
}

#[test]
fn the_firefox_profiler_is_told_of_tasks_lost_samples_lines_and_inlined_calls() {
    let path = file("markers.pmi", &profile());
    let file: Value =
        serde_json::from_slice(&fs::read(export(&path, "firefox", &[])).unwrap()).unwrap();
    let thread = &file["threads"][1];
    let strings = &thread["stringArray"];
    let names = indexes(&thread["markers"]["name"]).into_iter();
    let names: Vec<_> = names
        .map(|it| strings[it.unwrap()].as_str().unwrap())
        .collect();
    assert_eq!(names, ["idle", "lost samples", "task 7"]);
    assert_eq!(thread["markers"]["data"][1]["samples"], 2);
    let frames = &file["threads"][0]["frameTable"];
    let depths = indexes(&frames["inlineDepth"]);
    assert_eq!(
        depths.iter().max(),
        Some(&Some(2)),
        "innermost in middle in hash"
    );
    let lines = indexes(&frames["line"]);
    assert!(lines.iter().any(Option::is_some), "{lines:?}");
}

#[test]
fn names_from_outside_end_no_line_and_no_text() {
    let mut run = description();
    run.tasks[1] = profiler::format::Text::new("a\"b\\\n</script>\x1b[m,;");
    let [first, _] = samples();
    let path = file("hostile-export.pmi", &profile_of_cores(&run, &[&first]));
    assert_equal(&path, &[], |_| 100);
    for form in ["speedscope", "firefox", "callgrind", "csv"] {
        let exported = fs::read_to_string(export(&path, form, &[])).unwrap();
        let is_unsafe = |c: char| c.is_control() && c != '\n';
        assert!(!exported.contains(is_unsafe), "{form}");
    }
}

#[test]
fn roots_are_for_folded_stacks() {
    let path = file("rooted.pmi", &profile());
    let arguments = ["export", text(&path), "--format=csv", "-o-", "--by=core"];
    refused(pmiscope(&arguments), 2, &["--by is for --format folded"]);
}

/// Perfetto's trace, read by its schema: field numbers of trace_packet.proto, profile_common.proto and
/// interned_data.proto.
fn perfetto(path: &Path) -> Shares {
    let bytes = fs::read(path).unwrap();
    let mut names = BTreeMap::new();
    let mut frames = BTreeMap::new();
    let mut stacks: BTreeMap<(u64, u64), Vec<u64>> = BTreeMap::new();
    let mut counting = Counting::default();
    for packet in Fields::of(&bytes).bytes(1) {
        let packet = Fields::of(packet);
        let sequence = packet.number(10);
        for data in packet.bytes(12).map(Fields::of) {
            for name in data.bytes(5).map(Fields::of) {
                let text = name.bytes(2).next().unwrap();
                names.insert(name.number(1), String::from_utf8(text.to_vec()).unwrap());
            }
            for frame in data.bytes(6).map(Fields::of) {
                frames.insert(frame.number(1), frame.number(2));
            }
            for stack in data.bytes(7).map(Fields::of) {
                stacks.insert((sequence, stack.number(1)), stack.numbers(2).collect());
            }
        }
        for sample in packet.bytes(66).map(Fields::of) {
            let stack = &stacks[&(sequence, sample.number(4))];
            let stack = stack.iter().rev().map(|frame| &*names[&frames[frame]]);
            counting.add(stack, 1);
        }
    }
    counting.finish()
}

/// The fields of a message of protocol buffers.
pub struct Fields<'a>(Vec<(u64, Field<'a>)>);

pub enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Fields<'a> {
    pub fn of(mut message: &'a [u8]) -> Self {
        let mut all = Vec::new();
        while !message.is_empty() {
            let key = varint(&mut message);
            let field = match key & 7 {
                0 => Field::Number(varint(&mut message)),
                2 => {
                    let length = usize::try_from(varint(&mut message)).unwrap();
                    let (bytes, rest) = message.split_at(length);
                    message = rest;
                    Field::Bytes(bytes)
                }
                kind => panic!("a field of kind {kind}"),
            };
            all.push((key >> 3, field));
        }
        Self(all)
    }

    pub fn bytes(&self, wanted: u64) -> impl Iterator<Item = &'a [u8]> {
        self.0
            .iter()
            .filter_map(move |(number, field)| match field {
                Field::Bytes(bytes) if *number == wanted => Some(*bytes),
                _ => None,
            })
    }

    pub fn numbers(&self, wanted: u64) -> impl Iterator<Item = u64> {
        self.0
            .iter()
            .filter_map(move |(number, field)| match field {
                Field::Number(it) if *number == wanted => Some(*it),
                _ => None,
            })
    }

    pub fn number(&self, wanted: u64) -> u64 {
        self.numbers(wanted).next().unwrap()
    }
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut number = 0;
    for shift in (0..).step_by(7) {
        let (first, rest) = bytes.split_first().unwrap();
        *bytes = rest;
        number |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            break;
        }
    }
    number
}
