//! The kernel in C for all cores, by Limine (`tools/adopters/c-limine`), as gcc compiles it and,
//! where there is one, clang.

use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use assert_cmd::Command;
use object::Object as _;
use pmiscope::profile::Outcome;
use serde_json::{Value, json};

use super::kernel::{Boot, Kernel};
use super::round::{assert_exact, shown};
use super::round_c::{MACHINES, PERIODS, assert_is, expected, told};
use super::verified;
use crate::fixture::{Guest, Run, Slot, built, folder};
use crate::pmu::{is_skipped, lab_with};

const PERIOD: u64 = PERIODS[0];

fn kernels() -> Vec<Kernel> {
    Kernel::c("c-limine", "c-limine")
}

/// The same kernels, with all callbacks and calls of all functions.
fn kernels_with_all() -> Vec<Kernel> {
    Kernel::c("c-limine", "c-limine-all")
}

/// The same kernels without call-frame information, as one of a template is: its linker script
/// discards `.eh_frame`, and gcc then makes no other.
fn kernels_without_call_frames() -> Vec<Kernel> {
    static MADE: OnceLock<Vec<Kernel>> = OnceLock::new();
    let made = || kernels().into_iter().map(without_call_frames).collect();
    MADE.get_or_init(made).clone()
}

fn without_call_frames(kernel: Kernel) -> Kernel {
    let name = kernel.name().replace('/', "-");
    let path = folder().join(format!("{name}-without-frames"));
    let done = std::process::Command::new("objcopy")
        .args(["-R", ".eh_frame", "-R", ".debug_frame"])
        .args([&kernel.path, &path])
        .status();
    assert!(done.expect("objcopy, which comes with ld").success());
    let stripped = Kernel { path, ..kernel };
    let file = stripped.file();
    let file = object::File::parse(&*file).unwrap();
    for section in [".eh_frame", ".debug_frame"] {
        assert!(file.section_by_name(section).is_none(), "{section}");
    }
    stripped
}

/// The instructions of a round of this kernel, which it measures.
fn round_of(kernel: &Kernel) -> u64 {
    let guest = Guest::boot_kernel(kernel.path.clone(), 1, 256, "samples=1");
    told(&guest.log, "truth: round ")
}

/// Asserts that a profile is what was executed: each instruction of a round once on each core,
/// under its callers up to the root.
#[track_caller]
fn assert_shares(kernels: Vec<Kernel>, machines: &[(u64, u64)], source: &str, arguments: &str) {
    for (number, kernel) in kernels.into_iter().enumerate() {
        let round = round_of(&kernel);
        // Of the second compiler's, one is enough.
        let machines = &machines[..if number == 0 { machines.len() } else { 1 }];
        for &(cores, period) in machines {
            assert_ne!(round % period, 0, "else some instructions are never seen");
            let samples = cores * round;
            let what = format!(
                "{arguments} --source {source} --smp {cores} --period {period} --samples {samples}"
            );
            let report = kernel.profile(&what).report();
            let what = format!("{}: {what}", kernel.name());
            assert_exact(&report, &what, samples, period);
            assert_eq!(report["callers_doubtful"], 0, "{what}");
            assert_eq!(report.get("warnings"), None, "{what}");
            assert_eq!(report["chain_ends"], json!({"complete": samples}), "{what}");
            let mut expected = expected(&kernel, cores, round);
            expected.insert("first_core".into(), (0, round));
            if cores > 1 {
                expected.insert("other_core".into(), (0, (cores - 1) * round));
            }
            assert_is(&report, &expected, period, &what);
        }
    }
}

#[test]
fn shares_by_the_timer_are_what_was_executed() {
    assert_shares(kernels(), &MACHINES, "apic-timer", "");
}

#[test]
fn shares_without_call_frame_information_are_what_was_executed() {
    let kernels = kernels_without_call_frames();
    assert_shares(kernels, &[(2, PERIOD)], "apic-timer", "");
}

#[test]
fn shares_by_counters_are_what_was_executed() {
    if is_skipped() {
        return;
    }
    let arguments = "--pmu intel-v5 --event instructions";
    assert_shares(kernels(), &MACHINES, "pmu", arguments);
}

#[test]
fn chains_are_true_at_each_instruction() {
    for kernel in kernels() {
        for (cores, samples) in [(1, 15_000), (4, 60_000)] {
            verified::assert_true(&kernel, cores, samples, "2M");
        }
    }
}

#[test]
fn chains_without_call_frame_information_are_true_at_each_instruction() {
    for kernel in kernels_without_call_frames() {
        let verified = verified::verify(&kernel, 2, 30_000, "2M");
        assert_eq!(verified["exact"], 30_000, "{verified:#}");
        let lacks = &verified["lacks"];
        assert_eq!(lacks["call_frames"], true, "{verified:#}");
        assert_eq!(lacks["callers_undecided"], 0, "{verified:#}");
    }
}

/// Its chains are what the top of the stack shows.
#[test]
fn a_kernel_without_frame_pointers_is_said_and_fails() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let out = folder().join("c-limine-without-frame-pointers");
    let made = std::process::Command::new("make")
        .arg("-sC")
        .arg(root.join("tools/adopters/c-limine"))
        .arg(format!("OUT={}", out.display()))
        .arg(format!("LIBRARY={}", built("libpmiscope.a").display()))
        .arg("MORE=-fomit-frame-pointer")
        .status();
    assert!(made.expect("make").success());
    let kernel = Kernel {
        path: out.join("c-limine"),
        boot: Boot::Loader,
    };
    let run = kernel.attempt("--source apic-timer --smp 1 --period 1009 --samples 3000");
    run.ended_with(3).saying(&[
        "100.00% of the chains end before the root of their stack",
        "compile all of the kernel with frame pointers",
    ]);
}

#[test]
fn an_error_has_a_text_and_a_status() {
    for kernel in kernels() {
        Guest::boot_kernel(kernel.path, 2, 256, "samples=100 period=x").ended_with(
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
        let guest = Guest::boot_kernel(kernel.path, 2, 256, "period=1009 samples=3000");
        assert_lines(
            &guest.log,
            &[
                "gates: 11",
                "entry of none: 0",
                "gates: 11",
                "entry of one more: 0",
                "send of nothing: 1",
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

/// Planning takes 40 KiB, which a kernel's stack need not have.
#[test]
fn a_start_uses_little_of_the_kernels_stack() {
    for kernel in kernels_with_all() {
        for source in ["apic-timer", "auto"] {
            let line = format!("source={source} period=1009 samples=1000 workload=stack");
            let guest = Guest::boot_kernel(kernel.path.clone(), 2, 256, &line);
            let used = told(&guest.log, "stack of start: ");
            // What the painting leaves out is in it.
            assert!((512..4096).contains(&used), "{source}: {used} bytes");
            guest.ended_with(Outcome::Finished, &[]);
        }
    }
}

/// Else samples of one core would be shown as another's.
#[test]
fn a_list_that_is_not_the_cores_is_refused() {
    for (mistake, says) in [
        (
            "first-elsewhere",
            "begins with APIC id 1, and start was called on APIC id 0: list that one first 20",
        ),
        (
            "others-swapped",
            "in the list of cores: let each join with its place in the list 20",
        ),
        ("one-twice", "the list of cores has APIC id 1 twice 20"),
    ] {
        for kernel in kernels_with_all() {
            let line = format!("period=1009 samples=3000 workload={mistake}");
            let guest = Guest::boot_kernel(kernel.path, 3, 256, &line);
            guest.ended_with(Outcome::SamplingUnavailable, &[says]);
        }
    }
}

/// Its registers are not where the first core's are.
#[test]
fn a_core_whose_apic_is_in_another_mode_is_refused() {
    if is_skipped() {
        return;
    }
    let qemu = lab_with("with-x2apic", "-cpu max");
    for kernel in kernels_with_all() {
        let run = kernel.attempt(&format!("--qemu {qemu} --smp 3 --workload other-mode"));
        run.ended_with(5).saying(&[
            "is in xAPIC mode and the first core's in x2APIC mode: switch all to the same",
        ]);
    }
}

/// In x2APIC mode an APIC refuses, by #GP, the delivery mode that only QEMU's timers have.
#[test]
fn a_register_that_is_refused_does_not_end_the_kernel() {
    if is_skipped() {
        return;
    }
    let qemu = lab_with("refusing-x2apic", "-cpu max -global apic.x-strict=on");
    for kernel in kernels_with_all() {
        let arguments = "--smp 1 --source apic-timer --workload other-mode";
        let run = kernel.attempt(&format!("--qemu {qemu} {arguments}"));
        run.ended_with(5)
            .saying(&["apic-timer: the timer does not keep the NMI delivery mode"]);
    }
}

/// It has its tick by the timer of its APIC, whose gate ends it: after the run, after what was only
/// looked at, where there is none.
#[test]
fn the_kernels_own_tick_is_given_back() {
    let is_as_it_was = |run: &Run, what: &str| {
        let said = run.said();
        let tick = ["divided by: 3", "entry: 131136", "count: 1000000"];
        for word in tick.map(|word| format!("tick, {word}")) {
            assert!(said.contains(&word), "{what}: no {word}: {said}");
        }
    };
    const WARNING: &str =
        "warning: the kernel's own APIC timer stands still in the run (vector 0x40)";
    for kernel in kernels_with_all() {
        for delivery in ["nmi", "irq"] {
            let arguments = format!("--smp 1 --delivery {delivery} --samples 1000");
            let arguments = format!("{arguments} --period {PERIOD} --workload own-tick");
            let run = kernel.profile(&arguments);
            is_as_it_was(&run, delivery);
            let report = run.report();
            let reason = report["source_reason"].as_str().unwrap().to_owned();
            assert!(reason.contains(WARNING), "{reason}");
            assert_eq!(report["samples"], 1000, "{arguments}");
        }
        let refused = kernel.attempt("--smp 1 --source ipi --workload own-tick");
        let refused = refused
            .ended_with(5)
            .saying(&["there are apic-timer, step"]);
        is_as_it_was(&refused, "refused");
        // Without a tick nothing is said of one.
        let run = kernel.profile("--smp 1 --samples 1000");
        let report = run.report();
        let reason = report["source_reason"].as_str().unwrap();
        assert!(!reason.contains("warning"), "{reason}");
    }
}

#[test]
fn callbacks_are_asked() {
    for kernel in kernels_with_all() {
        let run = kernel.profile(&format!(
            "--source apic-timer --smp 2 --period {PERIOD} --samples 20000"
        ));
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
        let guest = Guest::boot_kernel(kernel.path, 2, 256, "take=survey");
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
        let run = kernel.profile(&format!(
            "--pmu intel-v5 --event instructions --smp 2 --period {PERIOD} --samples 20000"
        ));
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
            .arg(&kernel.path)
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
