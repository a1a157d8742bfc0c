//! `list` and `doctor`, on a QEMU that is a shell script: it "boots" by writing a
//! survey to the guest's log.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use assert_cmd::assert::Assert;
use serde_json::Value;

use crate::command::{VERSION, pmiscope, qemu, refused, stderr, stdout, text};
use crate::fixture::{file, folder, kernel};

/// A machine with counters, of which firmware has one.
const COUNTERS: &[&str] = &[
    "processor vendor=GenuineIntel family=6 model=158 hypervisor=KVMKVMKVM: Intel Core",
    "machine cores=2 apic=x2apic tsc=invariant",
    "hpet timers=3 messages=3 period=10000000",
    "pmu core=0 interface=intel-4 counters=0xf+0x7 busy=0x1+0x0 dead=0x0+0x0 bits=48+48 raw=0xffff",
    "event core=0 name=cycles counters=0xe+0x2",
    "event core=0 name=slots none: this processor does not have the event",
    "pmu core=1 interface=intel-4 counters=0xf+0x7 busy=0x1+0x0 dead=0x0+0x0 bits=48+48 raw=0xffff",
    "event core=1 name=cycles counters=0xe+0x2",
    "event core=1 name=slots none: this processor does not have the event",
    "clock tick=time reference=hpet within=500",
    "source name=pmu delivery=nmi works",
    "source name=apic-timer delivery=nmi none: the timer does not keep the NMI delivery mode",
    "source name=pmu delivery=irq works",
    "source name=apic-timer delivery=irq works",
    "auto delivery=nmi source=pmu",
    "auto delivery=irq source=pmu",
    "end",
];

/// A machine with nothing.
const NOTHING: &[&str] = &[
    "machine cores=1 apic=xapic tsc=variable",
    "hpet none: no such table",
    "pmu core=0 none: CPUID announces no counters",
    "clock tick=ticks: nothing says how long they are",
    "source name=pmu delivery=nmi none: CPUID announces no counters",
    "auto delivery=nmi none",
    "auto delivery=irq none",
    "end",
];

/// A QEMU whose guest writes these lines of a survey, and then does that. It makes no
/// machine with KVM.
fn surveying(name: &str, lines: &[&str], then: &str) -> PathBuf {
    let mut log = "[INFO core0] pmiscope kernel\n".to_owned();
    for line in lines {
        writeln!(log, "[INFO core0] survey: {line}").unwrap();
    }
    let log = file(&format!("{name}.log"), log.as_bytes());
    let does = format!(
        r#"case "$*" in *kvm*) echo "qemu: no KVM in a script" >&2; exit 1 ;; esac
cat {} >"$serial"; {then}"#,
        log.display()
    );
    qemu(&format!("{name}.sh"), VERSION, &does)
}

fn on(qemu: &Path, command: &str, more: &[&str]) -> Assert {
    let kernel = text(&kernel().path);
    let mut arguments = vec![command, "--kernel", kernel, "--loader", kernel];
    arguments.extend(["--qemu", text(qemu)]);
    arguments.extend(more);
    pmiscope(&arguments)
}

/// That each of these is there, however it is broken into lines.
#[track_caller]
fn says(said: &str, parts: &[&str]) {
    let flat = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in parts {
        assert!(
            flat(said).contains(&flat(part)),
            "`{part}` is not in:\n{said}"
        );
    }
}

#[test]
fn a_list_says_what_counts_each_event() {
    let qemu = surveying("list", COUNTERS, "exit 33");
    let assert = on(&qemu, "list", &[]).success();
    assert_eq!(stderr(&assert), "");
    says(
        &stdout(&assert),
        &[
            "processor                 Intel Core, GenuineIntel family 0x6 model 0x9e, under KVMKVMKVM",
            "PMU of cores 0-1 Intel version 4, counters 0-3 of 48 bits, fixed 0-2 of 48 bits; free: 1-3, fixed 0-2; in use by firmware or a hypervisor: 0",
            "cycles                    1-3, fixed 1",
            "slots                     not here: this processor does not have the event",
            "cpu/event=N,umask=N/      1-3; event up to 0xff, umask up to 0xff",
            "pmu as NMI                works; auto takes it",
            "apic-timer as NMI         not here: the timer does not keep the NMI delivery mode",
            "apic-timer as IRQ         works",
        ],
    );
    let assert = on(&qemu, "list", &["--json"]).success();
    let list: Value = serde_json::from_str(&stdout(&assert)).unwrap();
    assert_eq!(list["events"][0]["name"], "cycles");
    assert_eq!(list["events"][0]["counters"][0]["found"]["fixed"][0], 1);
    assert_eq!(list["pmus"][0]["cores"][1], 1);
    assert_eq!(list["incomplete"], Value::Null);
}

#[test]
fn a_list_that_is_not_whole_is_none() {
    let hung = surveying("list-hung", &COUNTERS[..5], "exec sleep 1000");
    refused(
        on(&hung, "list", &["--timeout", "1"]),
        6,
        &["no list", "no line of the log for 1 s", "pmiscope doctor"],
    );
    let old = r#"echo '[ERROR core0] command line: `take=survey`: no' >"$serial"; exit 35"#;
    refused(
        on(&qemu("list-old.sh", VERSION, old), "list", &[]),
        5,
        &["no list", "`take=survey`: no"],
    );
    let other = surveying("list-other", &["weather fine", "end"], "exit 33");
    refused(
        on(&other, "list", &[]),
        1,
        &["`survey: weather fine` is no line of a survey"],
    );
}

/// Whether there is no KVM, or none that may be opened, or none that this QEMU can.
#[test]
fn the_mode_kvm_is_refused_with_what_to_do_where_it_cannot_be() {
    let qemu = surveying("no-kvm", COUNTERS, "exit 33");
    for command in ["run", "list"] {
        let refused = on(&qemu, command, &["--mode", "kvm"]).code(1);
        let said = stderr(&refused);
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.starts_with("pmiscope: --mode kvm: "), "{said}");
        assert!(said.contains("/dev/kvm"), "{said}");
        assert!(said.matches(": ").count() >= 3, "no remedy: {said}");
    }
}

#[test]
fn a_doctor_says_what_is_well_and_what_to_change() {
    let qemu = surveying("doctor", COUNTERS, "exit 33");
    let assert = on(&qemu, "doctor", &["--smp", "2", "--mode", "realtime"]).success();
    assert_eq!(stderr(&assert), "");
    let said = stdout(&assert);
    says(
        &said,
        &[
            "ok       x2apic      QEMU 9.9.1 emulates x2APIC; --mode realtime uses it",
            "ok       kernel      the kernel boots, 2 cores, --mode realtime",
            "ok       apic        x2APIC: interrupts are controlled by MSRs",
            "note     clock       the time stamp counter, in nanoseconds, measured by the HPET, to within 500 ppm; CPUID promises a constant rate -> --mode deterministic counts instructions, and a run repeats exactly",
            "ok       hpet        3 timers, 3 with messages to cores; 2 cores",
            "note     pmu         cores 0-1: Intel version 4, counters 0-3 of 48 bits, fixed 0-2 of 48 bits; free: 1-3, fixed 0-2; in use by firmware or a hypervisor: 0 -> switch off the firmware's own use of performance counters",
            "ok       source      pmu works as NMI and as IRQ",
            "note     source      apic-timer works as IRQ; not as NMI: the timer does not keep the NMI delivery mode -> only an emulated APIC's timer",
            "ok       auto        takes pmu as NMI; with --delivery irq it takes pmu",
        ],
    );
    assert!(
        said.ends_with("\nsampling is possible; the notes say what could be better\n"),
        "{said}"
    );
    if Path::new("/dev/kvm").exists() {
        assert!(said.contains("\nnote     kvm "), "{said}");
    }
    let json = on(&qemu, "doctor", &["--json"]).success();
    let json: Value = serde_json::from_str(&stdout(&json)).unwrap();
    assert_eq!(json["possible"], true);
    assert_eq!(json["findings"][0]["topic"], "qemu");
    assert_eq!(json["findings"][0]["verdict"], "ok");
    assert_eq!(json["survey"]["auto"]["nmi"], "pmu");
}

#[test]
fn a_doctor_names_what_makes_sampling_impossible() {
    let assert = on(
        &surveying("doctor-nothing", NOTHING, "exit 33"),
        "doctor",
        &[],
    );
    let said = stdout(&assert.code(1));
    says(
        &said,
        &[
            "note     clock       the time stamp counter, in its ticks: nothing says how long they are; CPUID promises no constant rate -> give the machine an HPET",
            "note     hpet        none: no such table",
            "note     pmu         none on core 0: CPUID announces no counters",
            "note     source      pmu does not work: CPUID announces no counters",
            "PROBLEM  auto        no source works",
            "sampling is not possible: no source works",
        ],
    );
}

#[test]
fn a_doctor_without_qemu_says_the_rest() {
    let kernel = text(&kernel().path);
    let missing = Command::new(env!("CARGO_BIN_EXE_pmiscope"))
        .args([
            "doctor", "--qemu", "stock", "--kernel", kernel, "--loader", kernel,
        ])
        .env("PATH", folder().join("nothing"))
        .assert();
    let said = stdout(&missing.code(1));
    says(
        &said,
        &[
            "PROBLEM  qemu        qemu-system-x86_64 is not in PATH -> install QEMU 7.2 or newer (Debian and Ubuntu: apt-get install",
            "sampling is not possible: qemu-system-x86_64 is not in PATH",
        ],
    );
    for topic in [" processor ", " kvm "] {
        assert!(said.contains(topic), "{topic} in {said}");
    }
    let old = qemu(
        "doctor-old.sh",
        "QEMU emulator version 5.2.0 (Debian 1:5.2)",
        "exit 33",
    );
    let said = stdout(&on(&old, "doctor", &[]).code(1));
    assert!(said.contains("is QEMU 5.2.0, which is too old"), "{said}");
    assert!(said.contains("-> install QEMU 7.2"), "{said}");
}

#[test]
fn a_doctor_whose_guest_fails_says_what_there_was() {
    let panics = "echo '[ERROR core1] panicked at a.rs:1:2: no' >>\"$serial\"; exit 37";
    let qemu = surveying("doctor-panic", &COUNTERS[..4], panics);
    let said = stdout(&on(&qemu, "doctor", &[]).code(1));
    says(
        &said,
        &[
            "PROBLEM  kernel      the kernel has not surveyed the machine: the kernel panicked: panicked",
            "ok       apic        x2APIC: interrupts are controlled by MSRs",
            "the guest's log ends with:",
            "  [ERROR core1] panicked at a.rs:1:2: no",
        ],
    );
    let last = said.lines().last().unwrap();
    assert!(last.contains("sampling is not possible"), "{said}");

    let hung = surveying("doctor-hung", &COUNTERS[..5], "exec sleep 1000");
    let said = stdout(&on(&hung, "doctor", &["--timeout", "1"]).code(1));
    assert!(said.contains("no line of the log for 1 s"), "{said}");
}

#[test]
fn a_doctor_without_a_kernel_says_how_to_build_one() {
    let qemu = surveying("doctor-kernel", COUNTERS, "exit 33");
    let arguments = ["doctor", "--kernel", "/no/kernel", "--qemu", text(&qemu)];
    let said = stdout(&pmiscope(&arguments).code(1));
    assert!(
        said.contains("PROBLEM  kernel      cannot read /no/kernel"),
        "{said}"
    );
    assert!(said.contains("ok       qemu        QEMU 9.9.1"), "{said}");
}
