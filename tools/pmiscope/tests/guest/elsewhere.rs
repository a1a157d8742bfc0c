//! What needs something that not every machine has: each test says what, and is
//! run by naming it.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use profiler::format::{ChainEntry, Clock};
use serde_json::Value;

use crate::fixture::{Run, Samples, Seen, built, folder, run, sample, start, tool};

/// The value of an environment variable that a test cannot do without.
#[track_caller]
pub fn variable(name: &str) -> OsString {
    env::var_os(name).unwrap_or_else(|| panic!("this test needs the variable {name}"))
}

/// An image of the kernel with the stock Limine in `LIMINE_DIR`.
fn image(name: &str) -> PathBuf {
    image_of(&built("kernel"), name)
}

/// The same with another command line.
pub fn image_with(command_line: &str, name: &str) -> PathBuf {
    let usual = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../limine.cfg");
    let usual = std::fs::read_to_string(usual).unwrap();
    let (before, _) = usual.split_once("CMDLINE=").unwrap();
    let config = folder().join(format!("{name}.cfg"));
    std::fs::write(&config, format!("{before}CMDLINE={command_line}\n")).unwrap();
    image_by(&built("kernel"), name, Some(&config))
}

/// The same of another kernel.
pub fn image_of(kernel: &Path, name: &str) -> PathBuf {
    image_by(kernel, name, None)
}

fn image_by(kernel: &Path, name: &str, config: Option<&Path>) -> PathBuf {
    image_by_with(kernel, name, config, &[])
}

/// The same with modules, which takes a configuration that is named.
fn image_by_with(kernel: &Path, name: &str, config: Option<&Path>, modules: &[PathBuf]) -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../iso.sh");
    let image = folder().join(name);
    let made = Command::new(script)
        .arg(variable("LIMINE_DIR"))
        .args([kernel, &image])
        .args(config)
        .args(modules)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "{said}");
    image
}

fn boot(image: &Path, arguments: &str, more: &[OsString]) -> Samples {
    let files = ["--kernel".into(), built("kernel").into_os_string()];
    let iso = ["--disc".into(), image.as_os_str().to_owned()];
    let more = [&files[..], &iso[..], more].concat();
    let run: Run = start(arguments, &more).ended_with(0);
    let samples = run.samples();
    let bootloader = samples.description.bootloader.as_str();
    assert!(bootloader.starts_with("Limine "), "booted by {bootloader}");
    samples
}

/// What a boot loader has no part in: not where things lie in memory.
fn code(samples: &Samples, core: usize) -> impl Iterator<Item = impl PartialEq + std::fmt::Debug> {
    samples.of(core).map(|seen: Seen| {
        let Seen {
            task,
            state,
            period,
            pc,
            mut chain,
            end,
            ..
        } = seen;
        for entry in &mut chain {
            if let ChainEntry::Crossing { stack_top, .. } = entry {
                *stack_top = [0; 2];
            }
        }
        (task, state, period, pc, chain, end)
    })
}

#[test]
#[ignore = "needs LIMINE_DIR, an unpacked binary release of Limine 7 or 8, and xorriso"]
fn stock_limine_gives_the_profile_that_the_loader_gives() {
    let limine = boot(&image("bios.iso"), "--smp 4", &[]);
    limine.assert_whole(4, 20_000);
    limine.assert_exact(1000);
    let loader = sample("--smp 4 --samples 20000");
    for core in 0..4 {
        let differ = code(&limine, core).zip(code(&loader, core));
        let differ = differ
            .enumerate()
            .find(|(_, (limine, loader))| limine != loader);
        assert!(differ.is_none(), "core {core}: {differ:x?}");
    }
}

#[test]
#[ignore = "needs LIMINE_DIR, as above"]
fn stock_limine_brings_modules() {
    let config = folder().join("modules.cfg");
    let lines = "TIMEOUT=0\nSERIAL=yes\n\n:pmiscope\nPROTOCOL=limine\n\
        KERNEL_PATH=boot:///boot/kernel\nCMDLINE=test=space-programs";
    std::fs::write(&config, lines).unwrap();
    let modules = ["first-module", "second-module"].map(|name| folder().join(name));
    for (module, content) in modules.iter().zip(["#!/bin/sh\n", "\x7fELF"]) {
        std::fs::write(module, content).unwrap();
    }
    let image = image_by_with(&built("kernel"), "modules.iso", Some(&config), &modules);
    let disc = ["--disc".into(), image.into_os_string()];
    start("--smp 2 --mode realtime --verbose", &disc).saying(&[
        "module: first-module, 10 bytes, ``",
        "module: second-module, 4 bytes, ``",
        "program first-module: refused: no ELF file: give a program",
        "program second-module: refused: not for x86-64: build it for this machine",
        "bytes are free before and after",
    ]);
}

#[test]
#[ignore = "needs LIMINE_DIR, as above, with its utility `limine` built"]
fn stock_limine_on_a_hard_disk_gives_the_profile_of_a_cd() {
    let image = image("disk.iso");
    let disk = boot(&image, "--smp 4 --disc-as hd", &[]);
    disk.assert_whole(4, 20_000);
    disk.assert_exact(1000);
    let cd = boot(&image, "--smp 4", &[]);
    for core in 0..4 {
        let differ = code(&disk, core).zip(code(&cd, core)).enumerate();
        let differ = differ.into_iter().find(|(_, (disk, cd))| disk != cd);
        assert!(differ.is_none(), "core {core}: {differ:x?}");
    }
    let realtime = boot(&image, "--smp 4 --mode realtime --disc-as hd", &[]);
    assert_eq!(realtime.description.clock, Clock::Time);
}

#[test]
#[ignore = "needs LIMINE_DIR, as above, and OVMF, the path of a UEFI firmware image"]
fn stock_limine_boots_by_uefi() {
    let firmware = ["--firmware".into(), variable("OVMF")];
    let arguments = "--smp 4 --mode realtime";
    let samples = boot(&image("uefi.iso"), arguments, &firmware);
    assert_eq!(samples.description.clock, Clock::Time);
    for (core, counters) in samples.counters.iter().enumerate() {
        assert_eq!(counters.stored + counters.lost, 5000, "core {core}");
    }
}

#[test]
#[ignore = "needs PMISCOPE_QEMU_NEWER, the path of a QEMU newer than the one in PATH"]
fn a_newer_qemu_gives_the_same_samples() {
    let newer = variable("PMISCOPE_QEMU_NEWER");
    let newer = newer.to_str().expect("a path in UTF-8");
    for arguments in ["--smp 4 --period 1000", "--smp 2 --period 1"] {
        let arguments = format!("{arguments} --samples 4000");
        let theirs = run(&format!("{arguments} --qemu {newer}")).ended_with(0);
        let ours = run(&arguments).ended_with(0);
        let version = |run: &Run| run.report()["qemu"].as_str().unwrap().to_owned();
        assert_ne!(version(&theirs), version(&ours), "the same QEMU twice");
        theirs.samples().assert_same(&ours.samples());
    }
}

/// A QEMU with an emulated PMU of this model.
fn qemu_with(model: &str) -> PathBuf {
    let qemu = variable("PMISCOPE_QEMU_PMU");
    let qemu = Path::new(&qemu).display();
    let script = format!(
        r#"#!/bin/sh
case "$*" in *icount*) set -- "$@" -global max-x86_64-cpu.x-pmu={model} ;; esac
exec {qemu} "$@"
"#
    );
    let source = folder().join(format!("{model}.source"));
    std::fs::write(&source, script).unwrap();
    // A program that is open for writing, in a child of another test, does not start.
    let program = folder().join(model);
    let installed = Command::new("install")
        .args(["-m", "755"])
        .args([&source, &program])
        .status();
    assert!(installed.unwrap().success());
    program
}

#[test]
#[ignore = "needs PMISCOPE_QEMU_PMU, the path of a QEMU by tools/qemu-pmu/build.sh"]
fn an_emulated_pmu_is_found_and_taken() {
    for (model, interface, counters, event, can) in [
        (
            "intel-v2",
            "Intel version 2",
            (2, 3),
            "instructions",
            [2, 1],
        ),
        ("intel-v5", "Intel version 5", (8, 4), "slots", [8, 1]),
        (
            "amd-legacy",
            "AMD, four counters",
            (4, 0),
            "instructions",
            [4, 0],
        ),
        ("amd-v2", "AMD PerfMonV2", (6, 0), "instructions", [6, 0]),
    ] {
        let arguments = format!("--json --smp 2 --qemu {}", qemu_with(model).display());
        let (status, list) = tool("list", &arguments);
        assert_eq!(status, Some(0), "{model}: {list}");
        let list: Value = serde_json::from_str(&list).unwrap();
        let count = |set: &Value, kind: &str| set[kind].as_array().unwrap().len();
        let pmu = &list["pmus"][0];
        assert_eq!(pmu["cores"].as_array().unwrap().len(), 2, "{model}");
        assert_eq!(pmu["found"]["interface"], interface);
        let free = &pmu["found"]["free"];
        let (general, fixed) = counters;
        assert_eq!(
            (count(free, "general"), count(free, "fixed")),
            (general, fixed)
        );
        let events = list["events"].as_array().unwrap().iter();
        let event = events.into_iter().find(|one| one["name"] == event).unwrap();
        let able = &event["counters"][0]["found"];
        assert_eq!(
            [count(able, "general"), count(able, "fixed")],
            can,
            "{model}"
        );
        // Both, one after the other, and the sources behind it as well.
        for (nmi, name) in [
            (true, "pmu"),
            (true, "apic-timer"),
            (false, "pmu"),
            (false, "hpet"),
        ] {
            let delivery = if nmi { "nmi" } else { "irq" };
            let tried = list["sources"].as_array().unwrap().iter();
            let mut tried = tried.filter(|tried| tried["delivery"] == delivery);
            let tried = tried.find(|tried| tried["name"] == name).unwrap();
            assert_eq!(tried["works"], true, "{model}: {tried}");
        }
        assert_eq!(list["auto"]["nmi"], "pmu", "{model}");
        assert_eq!(list["auto"]["irq"], "pmu", "{model}");
    }
}
