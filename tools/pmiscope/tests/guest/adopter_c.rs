//! A kernel in C (`tools/adopters/c-limine`), profiled by the static library and the header,
//! as gcc compiles it and, where there is one, clang: what is shown is what it executed.
//!
//! Nearly all that a function executes is a loop of known length; the few instructions around
//! it are the compiler's, and counted in the ELF. A period of a prime number of instructions
//! sees each instruction of a round once in as many samples as a round has instructions.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use assert_cmd::Command;
use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _};
use pmiscope::profile::Outcome;
use serde_json::{Value, json};

use crate::fixture::{Guest, Run, Slot, built, folder, start};
use crate::pmu::is_skipped;

/// Machines that all is tried on.
const CORES: [u64; 3] = [1, 4, 16];

/// Instructions from one sample to the next: a prime, so it has no divisor in common with a
/// round, which is not a multiple of it.
const PERIOD: u64 = 1009;

/// Functions of a round, how often each is called in it, and the steps of its loop.
const LOOPS: [(&str, u64, u64); 4] = [
    ("hash", 1, 700),
    ("inner", 2, 450),
    ("outer", 1, 300),
    ("masked", 1, 250),
];

/// The kernels that `tools/adopters/build.sh` has made: clang's only where there is a clang.
fn kernels() -> Vec<PathBuf> {
    kernels_named("c-limine")
}

/// The same kernels, with all callbacks and calls of all functions.
fn kernels_with_all() -> Vec<PathBuf> {
    kernels_named("c-limine-all")
}

fn kernels_named(name: &str) -> Vec<PathBuf> {
    let clang = built("loader").with_file_name("../../adopters/c-limine/clang/c-limine");
    let compilers: &[&str] = if clang.is_file() {
        &["gcc", "clang"]
    } else {
        eprintln!("c-limine by clang: skipped, `make adopters` found no clang");
        &["gcc"]
    };
    let path = |compiler| built(&format!("../../adopters/c-limine/{compiler}/{name}"));
    compilers.iter().map(path).collect()
}

/// The same kernels without call-frame information, as one of a template is: its linker script
/// discards `.eh_frame`, and gcc then makes no other.
fn kernels_without_call_frames() -> Vec<PathBuf> {
    static MADE: OnceLock<Vec<PathBuf>> = OnceLock::new();
    MADE.get_or_init(strip_call_frames).clone()
}

fn strip_call_frames() -> Vec<PathBuf> {
    let strip = |kernel: PathBuf| {
        let compiler = kernel.parent().and_then(Path::file_name).unwrap();
        let path = folder().join(format!("{}-without-frames", compiler.display()));
        let done = std::process::Command::new("objcopy")
            .args(["-R", ".eh_frame", "-R", ".debug_frame"])
            .args([&kernel, &path])
            .status();
        assert!(done.expect("objcopy, which comes with ld").success());
        let file = std::fs::read(&path).unwrap();
        let file = object::File::parse(&*file).unwrap();
        for section in [".eh_frame", ".debug_frame"] {
            assert!(file.section_by_name(section).is_none(), "{section}");
        }
        path
    };
    kernels().into_iter().map(strip).collect()
}

/// The functions of a kernel's round, each with its own instructions in it.
fn functions_of_round(kernel: &Path) -> BTreeMap<&'static str, u64> {
    let file = std::fs::read(kernel).unwrap();
    let file = object::File::parse(&*file).unwrap();
    let own = |&(name, calls, steps)| {
        let code = instructions(&file, name);
        (name, calls * executed(&code, steps))
    };
    LOOPS.iter().map(own).collect()
}

/// The instructions of a function.
fn instructions(file: &object::File<'_>, name: &str) -> Vec<Instruction> {
    let symbol = file.symbol_by_name(name).expect("the function is there");
    let text = file.section_by_name(".text").expect("a text");
    let code = text.data_range(symbol.address(), symbol.size()).unwrap();
    let code = code.expect("the function is in the text");
    let options = DecoderOptions::NONE;
    Decoder::with_ip(64, code, symbol.address(), options)
        .into_iter()
        .collect()
}

/// The instructions that a function executes whose only branch closes a loop.
fn executed(code: &[Instruction], steps: u64) -> u64 {
    let is_branch = |it: &&Instruction| it.flow_control() == FlowControl::ConditionalBranch;
    let branches: Vec<_> = code.iter().filter(is_branch).collect();
    let [branch] = branches[..] else {
        panic!("one branch, not {}", branches.len());
    };
    let looped = branch.near_branch_target()..=branch.ip();
    let looped = code.iter().filter(|it| looped.contains(&it.ip())).count() as u64;
    code.len() as u64 + looped * (steps - 1)
}

#[test]
fn a_loop_of_known_length_is_counted() {
    // mov ecx, 3; 1: dec ecx; jnz 1b; ret
    let code = [0xb9, 3, 0, 0, 0, 0xff, 0xc9, 0x75, 0xfc, 0xc3];
    let code: Vec<_> = Decoder::with_ip(64, &code, 0x1000, DecoderOptions::NONE)
        .into_iter()
        .collect();
    assert_eq!(executed(&code, 3), 1 + 3 * 2 + 1);
}

/// The number that the kernel says behind these words.
#[track_caller]
fn told(log: &str, words: &str) -> u64 {
    let line = log.lines().find_map(|line| line.strip_prefix(words));
    let number = line.unwrap_or_else(|| panic!("no `{words}` in {log}"));
    number.trim().parse().expect("a number")
}

/// Profiles a kernel, which is to succeed.
#[track_caller]
fn profile(kernel: &Path, arguments: &str) -> Run {
    let arguments = format!("--verbose --memory 256M {arguments}");
    let files = [
        "--kernel".into(),
        kernel.into(),
        "--loader".into(),
        built("loader").into_os_string(),
    ];
    start(&arguments, &files).ended_with(0)
}

/// The instructions of a round of this kernel, which it measures.
fn round_of(kernel: &Path) -> u64 {
    let guest = Guest::boot_kernel(kernel.to_path_buf(), 1, 256, "samples=1");
    told(&guest.log, "truth: round ")
}

/// The samples that each function is to have in itself, and with what it calls.
fn expected(kernel: &Path, cores: u64, round: u64) -> BTreeMap<String, (u64, u64)> {
    let own = functions_of_round(kernel);
    let rest = round - own.values().sum::<u64>();
    // Three calls with their arguments, a count and a branch.
    assert!((8..=12).contains(&rest), "{rest} instructions of the loop");
    let mut shares: BTreeMap<String, (u64, u64)> = own
        .iter()
        .map(|(&name, &own)| (name.to_owned(), (cores * own, cores * own)))
        .collect();
    shares.get_mut("outer").unwrap().1 += cores * own["inner"];
    shares.insert("rounds".into(), (cores * rest, cores * round));
    shares.insert("workload_run".into(), (0, cores * round));
    shares.insert("first_core".into(), (0, round));
    if cores > 1 {
        shares.insert("other_core".into(), (0, (cores - 1) * round));
    }
    shares
}

fn shown(report: &Value) -> BTreeMap<String, (u64, u64)> {
    let functions = report["functions"].as_array().expect("a list");
    let of_function = |function: &Value| {
        let name = function["name"].as_str().expect("a name").to_owned();
        let [own, total] = ["self", "total"].map(|it| function[it].as_u64().expect("a number"));
        (name, (own, total))
    };
    functions.iter().map(of_function).collect()
}

/// Asserts that a profile is what was executed: each instruction of a round once on each core,
/// under its callers up to the root.
#[track_caller]
fn assert_shares(kernels: Vec<PathBuf>, cores: &[u64], source: &str, arguments: &str) {
    for kernel in kernels {
        let round = round_of(&kernel);
        assert_ne!(round % PERIOD, 0, "else some instructions are never seen");
        for &cores in cores {
            let samples = cores * round;
            let what = format!(
                "{arguments} --source {source} --smp {cores} --period {PERIOD} --samples {samples}"
            );
            let report = profile(&kernel, &what).report();
            let what = format!("{}: {what}", kernel.display());
            assert_eq!(report["samples"], samples, "{what}");
            assert_eq!(report["lost"], 0, "{what}");
            assert_eq!(report["callers_doubtful"], 0, "{what}");
            assert_eq!(report.get("warnings"), None, "{what}");
            assert_eq!(report["chain_ends"], json!({"complete": samples}), "{what}");
            for of in ["min", "median", "max"] {
                assert_eq!(report["period"][of], PERIOD, "{what}: {of} period");
            }
            assert_eq!(shown(&report), expected(&kernel, cores, round), "{what}");
        }
    }
}

#[test]
fn shares_by_the_timer_are_what_was_executed() {
    assert_shares(kernels(), &CORES, "apic-timer", "");
}

#[test]
fn shares_without_call_frame_information_are_what_was_executed() {
    let kernels = kernels_without_call_frames();
    assert_shares(kernels, &[2], "apic-timer", "");
}

#[test]
fn shares_by_counters_are_what_was_executed() {
    if is_skipped() {
        return;
    }
    assert_shares(
        kernels(),
        &CORES,
        "pmu",
        "--pmu intel-v5 --event instructions",
    );
}

#[test]
fn chains_are_true_at_each_instruction() {
    assert_chains(kernels(), &[(1, 15_000), (4, 60_000)], &[]);
}

#[test]
fn chains_without_call_frame_information_are_true_at_each_instruction() {
    let lacks = [
        ("call_frames", true.into()),
        ("callers_undecided", 0.into()),
    ];
    assert_chains(kernels_without_call_frames(), &[(2, 30_000)], &lacks);
}

/// Asserts that all chains are the true ones on machines of so many cores, in so many samples,
/// though the kernel lacks this.
#[track_caller]
fn assert_chains(kernels: Vec<PathBuf>, machines: &[(u64, u64)], lacks: &[(&str, Value)]) {
    for kernel in kernels {
        for &(cores, samples) in machines {
            let what = format!(
                "--source apic-timer --smp {cores} --period 1 --samples {samples} --ring 2M"
            );
            let run = profile(&kernel, &what);
            let assert = Command::new(env!("CARGO_BIN_EXE_pmiscope"))
                .args(["verify", "--format", "json"])
                .arg(&run.profile)
                .assert();
            let output = assert.get_output();
            let said = String::from_utf8_lossy(&output.stderr);
            let what = format!("{}: {what}", kernel.display());
            assert!(output.status.success(), "{what}: {said}");
            let verified: Value = serde_json::from_slice(&output.stdout).unwrap();
            for (of, expected) in [
                ("instructions", samples),
                ("exact", samples),
                ("different", 0),
            ] {
                assert_eq!(verified[of], expected, "{what}: {of}");
            }
            for (of, expected) in lacks {
                assert_eq!(&verified["lacks"][of], expected, "{what}: {of}");
            }
        }
    }
}

#[test]
fn an_error_has_a_text_and_a_status() {
    for kernel in kernels() {
        Guest::boot_kernel(kernel, 2, 256, "samples=100 period=x").ended_with(
            Outcome::BadCommandLine,
            &[
                "2 cores online",
                "command line: `period=x`: must be a number",
            ],
        );
    }
}

/// Asserts that these lines are in a log, in this order, with nothing between them but what
/// the tool says meanwhile.
#[track_caller]
fn assert_lines(log: &str, expected: &[&str]) {
    let of_kernel = log.lines().filter(|line| !line.starts_with("pmiscope: "));
    let lines: Vec<_> = of_kernel.map(str::trim_end).collect();
    let is_there = lines.windows(expected.len()).any(|lines| lines == expected);
    assert!(is_there, "not {expected:#?} in {log}");
}

#[test]
fn functions_of_the_header_do_what_it_says() {
    const REFUSAL: &str =
        "a run by apic-timer goes on as it began: only counters can be controlled 2";
    for kernel in kernels_with_all() {
        let guest = Guest::boot_kernel(kernel, 2, 256, "period=1009 samples=3000");
        assert_lines(
            &guest.log,
            &[
                "gates: 11",
                "entry of none: 0",
                "gates: 11",
                "entry of one more: 0",
                "memory is not aligned to 4096 20",
                "memory",
                "no callbacks 20",
                "no callback stack_of 20",
                "more cores than PMISCOPE_MAX_CORES 20",
                "the workload is not UTF-8 20",
                "set up core 64: 0",
                "its stacks: 3",
                "not a fault of the sampler: 0",
                "source before: 0",
                "too many cores: 0",
                "too small a ring: 0",
                "room is enough: 1",
                "begin: by instructions, source 2",
                REFUSAL,
                REFUSAL,
                REFUSAL,
                "source: 2",
                "will interrupt: 1",
                "finished",
            ],
        );
        guest.ended_with(Outcome::Finished, &[]);
    }
}

#[test]
fn callbacks_are_asked() {
    for kernel in kernels_with_all() {
        let run = profile(
            &kernel,
            &format!("--source apic-timer --smp 2 --period {PERIOD} --samples 20000"),
        );
        let report = run.report();
        let tasks = ["one", "two"].map(|name| json!({"name": name, "samples": 10_000}));
        assert_eq!(report["tasks"], json!(tasks));
        assert_eq!(report["bootloader"], "a boot loader");
        assert_eq!(report["workload"], "what runs");
        let shown = shown(&report);
        assert_eq!(report["idle"], shown["rounds"].0, "samples in its own code");
        assert!(shown["rounds"].0 > 10, "{shown:?}");
    }
}

#[test]
fn what_the_machine_has_is_listed() {
    for kernel in kernels_with_all() {
        let guest = Guest::boot_kernel(kernel, 2, 256, "take=survey");
        assert_lines(
            &guest.log,
            &[
                "survey: auto delivery=irq source=apic-timer",
                "survey: end",
                "list: 0",
            ],
        );
        let parts = [
            "survey: machine cores=2 ",
            "survey: source name=apic-timer delivery=nmi works",
        ];
        guest.ended_with(Outcome::Finished, &parts);
    }
}

#[test]
fn counters_are_paused_and_resumed() {
    if is_skipped() {
        return;
    }
    for kernel in kernels_with_all() {
        let run = profile(
            &kernel,
            &format!(
                "--pmu intel-v5 --event instructions --smp 2 --period {PERIOD} --samples 20000"
            ),
        );
        assert_lines(
            &run.said(),
            &[
                "begin: by instructions, source 1",
                "paused: 1",
                " 0",
                "paused: 0",
                " 0",
                "paused: 1",
                "paused: 0",
                " 0",
                "source: 1",
            ],
        );
        let report = run.report();
        let events = report["events"].as_array().expect("a list");
        let periods = events.iter().map(|event| &event["period"]["requested"]);
        assert_eq!(periods.collect::<Vec<_>>(), [PERIOD, 2003]);
    }
}

#[test]
fn units_are_counted() {
    if is_skipped() {
        return;
    }
    for kernel in kernels_with_all() {
        let round = round_of(&kernel);
        let _slot = Slot::take();
        let assert = Command::new(env!("CARGO_BIN_EXE_pmiscope"))
            .args([
                "stat", "--format", "json", "--memory", "256M", "--units", "50",
            ])
            .args([
                "--pmu",
                "intel-v5",
                "--event",
                "instructions",
                "--smp",
                "1",
                "--loader",
            ])
            .arg(built("loader"))
            .timeout(Duration::from_secs(120))
            .arg("--kernel")
            .arg(&kernel)
            .assert();
        let assert = assert.success();
        let report: Value = serde_json::from_slice(&assert.get_output().stdout).unwrap();
        assert_eq!(report["units"], 50);
        let counted = report["events"][0]["count"].as_u64().expect("a number");
        // And what comes before the first round and after the last one.
        let rest = counted.checked_sub(50 * round).expect("all rounds");
        assert!(rest < 40, "{rest} instructions beside them");
    }
}
