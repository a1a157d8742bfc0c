//! The command as its users meet it: what it refuses, and in which words.
//!
//! Runs are against a QEMU that is a shell script: it answers `--version`, and
//! "boots" by copying a memory image with rings in it to the guest's memory.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Stdio};
use std::time::{Duration, Instant};

use assert_cmd::Command;
use assert_cmd::assert::Assert;
use pmiscope::internals::Profile;
use rustix::process::{Pid, Signal, kill_process};

use crate::fixture::{
    file, folder, header_page, image, kernel, kernel_with_short_note, kernel_without_note,
    kernel_without_sampler, other_kernel, profile, refusing_image,
};

pub fn pmiscope(arguments: &[&str]) -> Assert {
    Command::new(env!("CARGO_BIN_EXE_pmiscope"))
        .args(arguments)
        .timeout(Duration::from_secs(60))
        .assert()
}

/// The command, which hears SIGHUP: where these tests were started by nohup it would leave it ignored,
/// as all that they start.
pub fn hearing_hangups() -> Process {
    let mut command = Process::new("env");
    command.args(["--default-signal=HUP", env!("CARGO_BIN_EXE_pmiscope")]);
    command
}

pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

pub fn stdout(assert: &Assert) -> String {
    String::from_utf8(assert.get_output().stdout.clone()).unwrap()
}

/// The report of a profile as JSON, with these words behind.
pub fn report(words: &[&str]) -> serde_json::Value {
    let shown = pmiscope(&[&["report", "--format", "json"], words].concat()).success();
    serde_json::from_str(&stdout(&shown)).unwrap()
}

pub fn stderr(assert: &Assert) -> String {
    String::from_utf8(assert.get_output().stderr.clone()).unwrap()
}

/// That the command failed with this status and one line, which says this.
pub fn refused(assert: Assert, status: i32, says: &[&str]) {
    let assert = assert.code(status);
    let said = stderr(&assert);
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.starts_with("pmiscope: "), "{said}");
    for part in says {
        assert!(said.contains(part), "`{part}` is not in: {said}");
    }
    assert_eq!(stdout(&assert), "");
}

/// Arguments of a run that has a kernel, whatever else.
pub fn run(more: &[&str]) -> Assert {
    let kernel = text(&kernel().path);
    let mut arguments = vec!["run", "--kernel", kernel, "--loader", kernel];
    arguments.extend(more);
    pmiscope(&arguments)
}

/// A program that claims to be QEMU; `does` is what it does when it is to boot,
/// with $memory and $serial set to the files. `firmware` leaves a trace of a guest, `boot` one
/// that samples.
pub fn qemu(name: &str, version: &str, does: &str) -> PathBuf {
    let script = format!(
        r#"#!/bin/sh
[ "$1" != --version ] || {{ echo "{version}"; exit; }}
for word; do
    case $word in
    memory-backend-file*) memory=${{word##*mem-path=}} ;;
    file,id=serial,path=*) serial=${{word##*path=}} ;;
    esac
done
firmware() {{ printf 1 | dd of="$memory" bs=1 seek=1000000 conv=notrunc status=none; }}
boot() {{
    # As a kernel does: last the page by which the tool knows that there are rings.
    for part in 'skip=65 seek=65' count=65; do
        dd if={image} of="$memory" bs=4096 $part conv=notrunc,sparse status=none
    done
}}
{does}
"#,
        image = image().display()
    );
    let source = file(&format!("{name}.source"), script.as_bytes());
    executable(&source, name)
}

/// A copy of a file as a program. Another process makes it: were it open for
/// writing here, a child that another test is just starting could have it still
/// open, and a program that is open for writing does not start.
pub fn executable(source: &Path, name: &str) -> PathBuf {
    let path = folder().join(name);
    let installed = Process::new("install")
        .args(["-D", "-m", "755"])
        .args([source, &path])
        .status();
    assert!(installed.unwrap().success());
    path
}

pub const VERSION: &str = "QEMU emulator version 9.9.1 (a script)";

/// A run on a QEMU that does this; the profile's path.
fn run_on(name: &str, does: &str, more: &[&str]) -> (Assert, PathBuf) {
    let qemu = qemu(&format!("{name}.sh"), VERSION, does);
    let output = folder().join(format!("{name}.pmi"));
    let mut arguments = vec!["--qemu", text(&qemu), "-o", text(&output)];
    arguments.extend(more);
    (run(&arguments), output)
}

#[test]
fn numbers_that_no_machine_has_are_refused() {
    refused(run(&["--smp", "0"]), 2, &["--smp", "0 is not in 1..=255"]);
    refused(
        run(&["--smp", "300"]),
        2,
        &["--smp", "300 is not in 1..=255"],
    );
    refused(run(&["--period", "0"]), 2, &["--period", "0 is not in 1.."]);
    refused(
        run(&["--samples", "0"]),
        2,
        &["--samples", "0 is not in 1.."],
    );
    refused(run(&["--source", "luck"]), 2, &["must be one of auto, pmu"]);
    refused(run(&["--fast"]), 2, &["unexpected argument '--fast'"]);
    refused(pmiscope(&["walk"]), 2, &["unrecognized subcommand 'walk'"]);
}

#[test]
fn words_of_options_are_not_appended() {
    for (words, word, option) in [
        ("watchdog=5 period=7", "`period=7`", "--period 7"),
        ("log=warn", "`log=warn`", "--log warn"),
        ("monitor=start", "`monitor=start`", "--monitor=start"),
        ("ring=65536", "`ring=65536`", "--ring SIZE"),
        ("aim=0x1:2", "`aim=0x1:2`", "--aim FUNCTION:N"),
    ] {
        let says = format!("{word}: an option says that: {option}\n");
        refused(run(&["--append", words]), 2, &["--append", &says]);
    }
    for (word, instead) in [
        ("units=5", "pmiscope stat counts events"),
        ("send=serial", "is read from the guest's memory"),
    ] {
        let says = format!("`{word}`: ");
        refused(run(&["--append", word]), 2, &[&says, instead]);
    }
    let says = "`watchdog=ü`: words are of ASCII characters";
    refused(run(&["--append", "watchdog=ü"]), 2, &[says]);
}

#[test]
fn events_are_refused_by_the_word() {
    refused(
        run(&["--event", "slots,branch-mises:k"]),
        2,
        &[
            "--event",
            "`branch-mises`: no such event; did you mean `branch-misses`?",
        ],
    );
    refused(
        run(&["--event", "cycles:k,slots", "--source", "hpet"]),
        2,
        &["--event cycles:k,slots: only the source pmu counts", "hpet"],
    );
    refused(
        run(&["--jitter", "5", "--source", "step"]),
        2,
        &["--jitter 5: only the source pmu", "--source is step"],
    );
}

#[test]
fn help_explains_itself() {
    let help = stdout(&pmiscope(&["--help"]).success());
    let commands = [
        "run",
        "stat",
        "report",
        "flamegraph",
        "export",
        "verify",
        "list",
        "doctor",
        "ctl",
    ];
    for word in commands.into_iter().chain(["Exit status:", "130"]) {
        assert!(help.contains(word), "`{word}` is not in:\n{help}");
    }
    for command in commands {
        let help = stdout(&pmiscope(&[command, "--help"]).success());
        assert!(help.contains("Example"), "{help}");
    }
}

#[test]
fn help_that_cannot_be_written_is_an_error() {
    for word in ["--help", "--version", "-h", "help"] {
        let mut command = Process::new(env!("CARGO_BIN_EXE_pmiscope"));
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let output = command.arg(word).stdout(full).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{word}: {said}");
        let line = "pmiscope: cannot write to the standard output: No space left";
        assert!(said.starts_with(line), "{word}: {said}");
        assert_eq!(said.lines().count(), 1, "{word}: {said}");
    }
}

#[test]
fn a_machine_without_qemu_is_told_how_to_get_it() {
    let kernel = text(&kernel().path);
    let assert = Command::new(env!("CARGO_BIN_EXE_pmiscope"))
        .args(["run", "--kernel", kernel, "--loader", kernel])
        .env("PATH", folder().join("nothing"))
        .env("XDG_CACHE_HOME", folder().join("nothing"))
        .assert();
    refused(
        assert,
        1,
        &["qemu-system-x86_64 is not in PATH", "apt-get install"],
    );
    refused(
        run(&["--qemu", "/no/qemu"]),
        1,
        &["/no/qemu cannot be started", "install"],
    );
    refused(
        run(&["--qemu", "/bin/true"]),
        1,
        &["does not answer as QEMU does"],
    );
}

#[test]
fn a_machine_without_the_lab_emulator_is_told_how_to_get_it() {
    let kernel = text(&kernel().path);
    for option in [["--qemu", "lab"], ["--pmu", "amd-v2"]] {
        let assert = Command::new(env!("CARGO_BIN_EXE_pmiscope"))
            .args(["run", "--kernel", kernel, "--loader", kernel])
            .args(option)
            .env("XDG_CACHE_HOME", folder().join("nothing"))
            .assert();
        refused(
            assert,
            1,
            &["the lab emulator is not built", "run `make qemu-pmu`"],
        );
    }
    let stock = run(&["--qemu", "stock", "--pmu", "amd-v2"]);
    refused(stock, 1, &["--pmu amd-v2: the stock QEMU has no"]);
    let realtime = run(&["--mode", "realtime", "--pmu", "amd-v2"]);
    refused(realtime, 1, &["--pmu amd-v2", "--mode realtime"]);
    refused(
        run(&["--pmu", "arm"]),
        2,
        &["invalid value 'arm' for '--pmu <MODEL>'"],
    );
}

#[test]
fn an_old_qemu_is_refused() {
    let old = qemu(
        "old.sh",
        "QEMU emulator version 5.2.0 (Debian 1:5.2)",
        "exit 33",
    );
    refused(
        run(&["--qemu", text(&old)]),
        1,
        &["is QEMU 5.2.0, which is too old", "7.2 or newer"],
    );
}

#[test]
fn without_room_for_the_guests_memory_the_places_are_named() {
    let qemu = qemu("room.sh", VERSION, "exit 33");
    refused(
        run(&["--qemu", text(&qemu), "--memory", "8192T"]),
        1,
        &[
            "no room for a file of 8 PiB",
            "/dev/shm has",
            "TMPDIR",
            "--memory",
        ],
    );
}

#[test]
fn kernels_that_are_none_are_refused() {
    let run = |kernel: &Path| pmiscope(&["run", "--kernel", text(kernel)]);
    refused(run(Path::new("/no/kernel")), 1, &["cannot read /no/kernel"]);
    refused(run(folder()), 1, &["it is a directory, not a file"]);
    let script = file("script", b"#!/bin/sh\n");
    refused(run(&script), 1, &["it is no ELF file but text"]);
    let disc = run_on("disc", "exit 33", &["--iso", "/no/image.iso"]).0;
    refused(disc, 2, &["--disc", "cannot be used with"]); // there is a --loader
}

#[test]
fn discs_that_the_machine_cannot_boot_are_refused_by_name() {
    let boot = |image: &Path, more: &[&str]| {
        let kernel = text(&kernel().path);
        let disc = ["run", "--kernel", kernel, "--disc", text(image)];
        pmiscope(&[&disc[..], more].concat())
    };
    let missing = boot(Path::new("/no/disc"), &[]);
    assert_eq!(
        stderr(&missing.code(1)),
        "pmiscope: /no/disc: cannot read the disc image: No such file or directory (os error 2)\n"
    );
    for other in [folder(), Path::new("/dev/zero")] {
        let line = format!(
            "pmiscope: {}: the disc image is not a file\n",
            other.display()
        );
        assert_eq!(stderr(&boot(other, &[]).code(1)), line);
    }
    refused(
        boot(&file("blank.img", &[0; 4096]), &[]),
        1,
        &["nothing boots from it"],
    );
    refused(
        boot(&file("q.img", b"QFI\xfb\0\0\0\x03"), &[]),
        1,
        &["a qcow2 image, not a raw"],
    );
    // With a --loader, which is there, and without.
    refused(
        run(&["--disc-as", "hd"]),
        2,
        &["--disc-as", "say --disc FILE"],
    );
    refused(
        run(&["--firmware", "x"]),
        2,
        &["--firmware", "say --disc FILE"],
    );
    refused(pmiscope(&["run", "--disc-as", "hd"]), 2, &["--disc <FILE>"]);
}

#[test]
fn words_behind_two_dashes_reach_qemu_unless_the_tool_sets_that_itself() {
    refused(
        run(&["--", "-m", "1G"]),
        2,
        &["-m: pmiscope makes the machine's memory: say --memory SIZE"],
    );
    let said = folder().join("words.said");
    let does = format!(r#"echo "$*" >{}; exit 1"#, said.display());
    let program = qemu("words.sh", VERSION, &does);
    let kernel = text(&kernel().path);
    for command in ["run", "stat", "list", "doctor"] {
        let files = [
            "--kernel",
            kernel,
            "--loader",
            kernel,
            "--qemu",
            text(&program),
        ];
        let words = ["--", "-device", "edu", "-serial", "null"];
        pmiscope(&[&[command][..], &files, &words].concat()).failure();
        let line = fs::read_to_string(&said).expect("QEMU was started");
        assert!(
            line.trim_end().ends_with(" -device edu -serial null"),
            "{command}: {line}"
        );
        fs::remove_file(&said).unwrap();
        let words = ["--", "-smp", "8"];
        pmiscope(&[&[command][..], &files, &words].concat()).failure();
        let started = fs::read_to_string(&said).unwrap_or_default();
        assert!(!started.contains("-smp 8"), "{command}: {started}");
    }
}

#[test]
fn a_kernel_without_a_usable_note_is_refused() {
    let run = |kernel: &Path| pmiscope(&["run", "--kernel", text(kernel)]);
    let says = [
        "it has no GNU build-id: link it with --build-id=sha1",
        "INCLUDE pmiscope.ld before a /DISCARD/ of .note*",
    ];
    refused(run(&kernel_without_note().path), 1, &says);
    let says = ["its GNU build-id has 16 bytes and not 20"];
    refused(run(&kernel_with_short_note().path), 1, &says);
}

#[test]
fn a_kernel_without_the_sampler_is_warned_of_and_not_waited_for() {
    let qemu = qemu(
        "without.sh",
        VERSION,
        r#"echo hello >"$serial"; exec sleep 600"#,
    );
    let kernel = text(&kernel_without_sampler().path);
    let run = [
        "run",
        "--kernel",
        kernel,
        "--loader",
        kernel,
        "--timeout",
        "1",
    ];
    let assert = pmiscope(&[&run[..], &["--qemu", text(&qemu)]].concat()).code(6);
    let said = stderr(&assert);
    for line in [
        "pmiscope: warning: the kernel's ELF does not contain the sampler, there may be no samples: link the library",
        "pmiscope: the kernel has not sampled and was ended: no sample and no line of the log for 1 s (--timeout); its ELF does not contain the sampler: link",
        "  hello",
        "pmiscope: no profile was written: the kernel has not sampled",
    ] {
        let is_line = said.lines().any(|said| said.starts_with(line));
        assert!(is_line, "`{line}`: {said}");
    }
    assert_eq!(said.lines().count(), 5, "{said}");
    let list = [
        "list",
        "--kernel",
        kernel,
        "--loader",
        kernel,
        "--timeout",
        "1",
    ];
    let list = pmiscope(&[&list[..], &["--qemu", text(&qemu)]].concat());
    refused(
        list,
        6,
        &["no list: ", "its ELF does not contain the sampler: link"],
    );
}

/// Arguments of a run from a disc whose boot loader has this configuration.
fn run_from_disc(name: &str, configuration: &str, does: &str, more: &[&str]) -> Assert {
    let mut disc = vec![0; 1 << 20];
    // A CD's volume begins so (ECMA-119, 8.1).
    disc[0x8001..0x8006].copy_from_slice(b"CD001");
    disc[0x9000..0x9000 + configuration.len()].copy_from_slice(configuration.as_bytes());
    let disc = file(&format!("{name}.iso"), &disc);
    let qemu = qemu(&format!("{name}.sh"), VERSION, does);
    let run = [
        "run",
        "--kernel",
        text(&kernel().path),
        "--iso",
        text(&disc),
    ];
    let output = folder().join(format!("{name}.pmi"));
    let output = ["-o", text(&output), "--qemu", text(&qemu)];
    pmiscope(&[&run[..], &output, more].concat())
}

#[test]
fn a_boot_menu_that_waits_is_warned_of_and_named() {
    const ENTRY: &str = "/one\n    protocol: limine\n    path: boot():/kernel\n";
    const WAITS: &str = "the boot menu on the disc waits (`timeout: 3`)";
    const AT_ONCE: &str = "set `timeout: 0` in limine.conf (`TIMEOUT=0` in limine.cfg)";
    const SET: &str =
        "set `timeout: 0` in limine.conf (`TIMEOUT=0` in limine.cfg), or take --mode realtime";
    let waits = format!("timeout: 3\n{ENTRY}");
    let at_once = format!("timeout: 0\n{ENTRY}");
    let hangs = "exec sleep 600";
    let silent = ["--timeout", "1"];
    let said = stderr(&run_from_disc("menu", &waits, hangs, &silent).code(6));
    let line = format!("pmiscope: warning: {WAITS}");
    assert!(said.starts_with(&line) && said.contains(SET), "{said}");
    let line = format!("no line of the log for 1 s (--timeout); {WAITS}");
    assert_eq!(said.matches(&line).count(), 1, "{said}");
    // It is none by the clock, nor in no time; a disc of which that is not known is named.
    let realtime = ["--timeout", "1", "--mode", "realtime"];
    for (name, configuration, more) in [
        ("menu-clock", &waits, &realtime[..]),
        ("menu-zero", &at_once, &silent),
        ("menu-none", &String::new(), &silent),
    ] {
        let said = stderr(&run_from_disc(name, configuration, hangs, more).code(6));
        assert!(!said.contains("warning"), "{name}: {said}");
        let set = if name == "menu-clock" { AT_ONCE } else { SET };
        let part = format!("if a boot menu waits on the disc, {set}\n");
        assert!(said.contains(&part), "{name}: {said}");
    }
    // Its countdown is heard, wherever its configuration is.
    let counts =
        r#"printf '\033[32mBooting automatically in 3, press any key' >"$serial"; exec sleep 600"#;
    let said = stderr(&run_from_disc("menu-heard", "", counts, &silent).code(6));
    assert!(
        said.contains(&format!("a boot menu waits on the disc: {SET}")),
        "{said}"
    );
    // And a kernel that is booted all the same is profiled.
    run_from_disc("menu-boots", &waits, "boot; exit 33", &[]).success();
}

/// What ends so that one can see that nothing more comes is not waited for: each within the
/// time that a guest has by default, and far from it.
#[test]
fn a_guest_at_its_end_that_does_not_leave_is_ended() {
    let header = |version: u32| {
        let file = file(&format!("header-{version}.image"), &header_page(version));
        format!(
            r#"dd if={} of="$memory" conv=notrunc status=none; echo one >"$serial""#,
            file.display()
        )
    };
    let panics = r#"printf 'my kernel: panicked at a.rs:1:2:\nout of luck\n' >"$serial""#;
    let refusing = refusing_image("stays.image", "no timer", false);
    let refuses = format!(
        r#"dd if={} of="$memory" bs=4096 conv=notrunc,sparse status=none"#,
        refusing.display()
    );
    for (name, does, status, says) in [
        (
            "stays-old",
            header(3),
            1,
            "the kernel's region cannot be read: the kernel writes version 3",
        ),
        (
            "stays-senseless",
            header(profiler::format::VERSION),
            1,
            "the kernel's region cannot be read: the run's description has no valid",
        ),
        (
            "stays-panicked",
            panics.into(),
            4,
            "the kernel panicked: panicked at a.rs:1:2: out of luck",
        ),
        (
            "stays-refused",
            refuses,
            5,
            "the kernel could not sample: no timer",
        ),
    ] {
        let started = Instant::now();
        let (assert, output) = run_on(name, &format!("{does}; exec sleep 600"), &[]);
        let said = stderr(&assert.code(status));
        assert!(said.contains(&format!("pmiscope: {says}")), "{said}");
        assert!(started.elapsed() < Duration::from_secs(30), "{name}");
        assert!(!output.exists(), "{name}: a profile of nothing");
    }
}

#[test]
fn a_tool_beside_no_kernel_says_how_to_build_one() {
    let tool = executable(
        Path::new(env!("CARGO_BIN_EXE_pmiscope")),
        "lonely/release/pmiscope",
    );
    let assert = Command::new(tool).arg("run").assert();
    refused(
        assert,
        1,
        &[
            "no kernel at",
            "lonely/x86_64-unknown-none/release/kernel",
            "make build",
        ],
    );
}

#[test]
fn a_run_reports_and_writes_profile_and_picture() {
    let (assert, output) = run_on("good", "boot; exit 33", &["--format", "json"]);
    let assert = assert.success();
    let report: serde_json::Value = serde_json::from_str(&stdout(&assert)).unwrap();
    assert_eq!(report["samples"], 6);
    assert_eq!(report["qemu"], "9.9.1");
    assert_eq!(report["outcome"], "finished");
    let said = stderr(&assert);
    assert!(
        said.contains(text(&output)) && said.contains("good.svg"),
        "{said}"
    );
    let picture = fs::read_to_string(output.with_extension("svg")).unwrap();
    assert!(picture.contains("kernel::workload::hash::run"));
    let profile = Profile::read(fs::read(output).unwrap()).unwrap();
    assert_eq!(profile.incomplete(), None);
}

#[test]
fn a_run_keeps_names_in_place_of_its_kernel_if_it_is_asked_to() {
    let (assert, output) = run_on("names", "boot; exit 33", &["--embed-symbols"]);
    let said = stderr(&assert.success());
    assert!(said.contains("names.pmi has names by address, "), "{said}");
    let profile = Profile::read(fs::read(&output).unwrap()).unwrap();
    assert!(profile.kernel.is_none());
    assert_eq!((profile.incomplete(), profile.records()), (None, 6));
    let (assert, whole) = run_on("whole", "boot; exit 33", &[]);
    assert.success();
    let report = |path: &Path| stdout(&pmiscope(&["report", text(path)]).success());
    assert_eq!(report(&output), report(&whole));
}

#[test]
fn top_without_a_terminal_says_what_to_do() {
    let kernel = text(&kernel().path);
    let words = ["top", "--kernel", kernel, "--loader", kernel];
    let says = "top: this is no terminal: pmiscope run reports without one";
    refused(pmiscope(&words), 1, &[says]);
    refused(
        pmiscope(&["top", "--monitor"]),
        1,
        &["--monitor needs the terminal as well"],
    );
}

#[test]
fn the_kernel_is_told_what_was_asked_for() {
    let does = r#"printf '%s\n' "$@" >"$0.words"; boot; exit 33"#;
    let (assert, output) = run_on(
        "words",
        does,
        &[
            "--smp",
            "3",
            "--period",
            "77",
            "--source",
            "hpet",
            "--delivery",
            "irq",
            "--workload",
            "hash",
            "--samples",
            "9",
            "--mode",
            "realtime",
        ],
    );
    // What it says that it took is something else.
    let said = stderr(&assert.code(3));
    for (option, taken) in [
        ("source hpet", "apic-timer"),
        ("delivery irq", "nmi"),
        ("period 77", "100"),
        ("samples 9", "6"),
        ("workload hash", "mix"),
    ] {
        let line = format!("warning: the kernel did not take --{option}, it took {taken}: ");
        assert_eq!(said.matches(&line).count(), 1, "{line}: {said}");
    }
    let words = fs::read_to_string(output.with_extension("sh.words")).unwrap();
    for line in [
        "source=hpet delivery=irq period=77 workload=hash samples=9 ring=262144",
        "tcg,thread=multi",
        "hpet.msi=on",
        "3",
    ] {
        assert!(
            words.lines().any(|word| word == line),
            "`{line}` is not in:\n{words}"
        );
    }
}

#[test]
fn a_kernel_that_panics_midway_leaves_its_samples_and_its_message() {
    let does = r#"boot
printf '[INFO core0] up\n[ERROR core1] panicked at kernel/src/x.rs:1:2:\nout of luck\n' >"$serial"
exit 37"#;
    let (assert, output) = run_on("panic", does, &[]);
    let assert = assert.code(4);
    let said = stderr(&assert);
    assert!(
        said.contains("the kernel panicked: panicked at kernel/src/x.rs:1:2: out of luck"),
        "{said}"
    );
    assert!(said.contains("[INFO core0] up"), "{said}");
    let report = stdout(&assert);
    assert!(
        report.contains("6, 2 lost") && report.contains("out of luck"),
        "{report}"
    );
    let again = pmiscope(&["report", text(&output)]).success();
    assert_eq!(stdout(&again), report);
}

#[test]
fn a_guest_that_hangs_midway_is_ended_and_its_samples_are_shown() {
    let started = Instant::now();
    let (assert, _) = run_on("hang", "boot; exec sleep 600", &["--timeout", "1"]);
    let assert = assert.code(6);
    assert!(started.elapsed() < Duration::from_secs(30));
    assert!(
        stderr(&assert)
            .contains("the guest hung and was ended: no sample and no line of the log for 1 s")
    );
    assert!(stdout(&assert).contains("6, 2 lost"));
}

#[test]
fn the_time_limit_holds_for_a_guest_that_is_busy() {
    let does = r#"boot; while :; do echo busy >>"$serial"; sleep 0.1; done"#;
    let (assert, _) = run_on("limit", does, &["--time-limit", "2", "--timeout", "60"]);
    let assert = assert.code(6);
    assert!(stderr(&assert).contains("ended at the time limit: 2 s"));
    assert!(stdout(&assert).contains("6, 2 lost"));
}

#[test]
fn what_ends_a_guest_early_has_a_status_and_a_reason() {
    let refusal =
        r#"echo '[ERROR core0] command line: `x=1`: no such setting' >"$serial"; exit 35"#;
    let too_short = r#"echo '[ERROR core0] period 5 is below 20' >"$serial"; exit 41"#;
    let loader = r#"echo 'loader: the kernel is no ELF file' >"$serial"; exit 65"#;
    for (name, does, status, says) in [
        (
            "refusal",
            refusal,
            5,
            "the kernel refused its command line: command line: `x=1`: no such setting",
        ),
        (
            "short",
            too_short,
            5,
            "the kernel could not sample: period 5 is below 20",
        ),
        (
            "loader",
            loader,
            4,
            "the loader could not load the kernel: the kernel is no ELF file",
        ),
        (
            "qemu",
            "echo 'qemu: no such machine' >&2; exit 1",
            4,
            "QEMU failed: exit status 1; qemu: no such machine",
        ),
        (
            "reset",
            "firmware; exit 0",
            4,
            "the guest reset or switched off the machine; it contains the sampler and has not started it",
        ),
        (
            "silent",
            "firmware; exit 33",
            1,
            "the guest ended without having sampled; it contains the sampler and has not started it",
        ),
    ] {
        let (assert, output) = run_on(name, does, &[]);
        let assert = assert.code(status);
        assert!(
            stderr(&assert).contains(says),
            "{name}: {}",
            stderr(&assert)
        );
        assert_eq!(stdout(&assert), "");
        assert!(!output.exists(), "{name}: a profile without samples");
    }
}

/// What a kernel says in its region goes before what its log says.
#[test]
fn a_refusal_is_read_from_the_region() {
    let reason = "no such source here: \u{b5}PMU";
    for (name, has_region) in [("refused-page", false), ("refused-region", true)] {
        let image = refusing_image(&format!("{name}.image"), reason, has_region);
        let does = format!(
            r#"dd if={} of="$memory" bs=4096 conv=notrunc,sparse status=none
echo '[ERROR core1] something else' >"$serial"; exit"#,
            image.display()
        );
        for (status, says) in [
            ("41", "the kernel could not sample: "),
            ("35", "the kernel refused its command line: "),
        ] {
            let (assert, output) = run_on(name, &format!("{does} {status}"), &[]);
            let said = stderr(&assert.code(5));
            assert!(said.contains(&format!("{says}{reason}")), "{said}");
            assert!(!output.exists(), "a profile without samples");
        }
        let qemu = qemu(&format!("{name}-list.sh"), VERSION, &format!("{does} 35"));
        let kernel = text(&kernel().path);
        let list = ["list", "--kernel", kernel, "--loader", kernel];
        let list = pmiscope(&[&list[..], &["--qemu", text(&qemu)]].concat());
        refused(list, 5, &["no list: the kernel refused", reason]);
    }
}

/// As above, after the tool has begun to read the region.
#[test]
fn a_refusal_that_comes_late_is_read_from_the_region() {
    let reason = "the counters do not count";
    let image = refusing_image("late.image", reason, true);
    let does = format!(
        r#"boot; sleep 0.5
dd if={} of="$memory" bs=4096 conv=notrunc,sparse status=none; exit 41"#,
        image.display()
    );
    let (assert, output) = run_on("late", &does, &[]);
    let said = stderr(&assert.code(5));
    let line = format!("pmiscope: the kernel could not sample: {reason}\n");
    assert!(said.contains(&line), "{said}");
    let end = Profile::read(fs::read(output).unwrap()).unwrap().end;
    assert_eq!(end.unwrap().message, reason);
}

#[test]
fn a_guest_with_another_kernel_is_refused() {
    let qemu = qemu("other.sh", VERSION, "boot; exec sleep 600");
    let other = text(&other_kernel().path);
    let output = folder().join("other.pmi");
    let assert = pmiscope(&[
        "run",
        "--kernel",
        other,
        "--loader",
        other,
        "--qemu",
        text(&qemu),
        "-o",
        text(&output),
    ]);
    let said = stderr(&assert.code(1));
    assert!(
        said.contains("another kernel ran")
            && said.contains("it has to copy that of its own .note.gnu.build-id"),
        "{said}"
    );
}

/// A running tool whose guest never ends, and the guest's process.
fn endless(name: &str) -> (std::process::Child, PathBuf, PathBuf) {
    let qemu = qemu(
        &format!("{name}.sh"),
        VERSION,
        r#"echo $$ >"$0.pid"; boot; exec sleep 600"#,
    );
    let output = folder().join(format!("{name}.pmi"));
    let kernel = text(&kernel().path);
    let tool = Process::new(env!("CARGO_BIN_EXE_pmiscope"))
        .args(["run", "--kernel", kernel, "--loader", kernel])
        .args(["--qemu", text(&qemu), "-o", text(&output)])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let samples = || part_of(&output).is_some_and(|part| has_samples(&part));
    wait_until(samples);
    let pid = fs::read_to_string(qemu.with_extension("sh.pid")).unwrap();
    (tool, output, Path::new("/proc").join(pid.trim()))
}

/// The file of a run that has not come to its end.
pub fn part_of(output: &Path) -> Option<PathBuf> {
    let name = text(output.file_name().unwrap().as_ref());
    let is_part = |path: &PathBuf| {
        let part = text(path.file_name().unwrap().as_ref());
        part.starts_with(&format!("{name}.")) && part.ends_with(".part")
    };
    let entries = fs::read_dir(output.parent().unwrap()).unwrap();
    let mut paths = entries.map(|entry| entry.unwrap().path());
    paths.find(is_part)
}

pub fn has_samples(path: &Path) -> bool {
    let profile = fs::read(path).ok().map(Profile::read);
    profile.is_some_and(|read| read.is_ok_and(|profile| profile.records() > 0))
}

pub fn wait_until(happened: impl Fn() -> bool) {
    let started = Instant::now();
    while !happened() {
        assert!(
            started.elapsed() < Duration::from_secs(30),
            "it never happened"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn signal(tool: &std::process::Child, signal: Signal) {
    let tool = i32::try_from(tool.id()).unwrap();
    kill_process(Pid::from_raw(tool).unwrap(), signal).unwrap();
}

#[test]
fn an_interrupted_run_keeps_its_samples_and_leaves_no_guest() {
    for (name, how) in [("int", Signal::INT), ("term", Signal::TERM)] {
        let (mut tool, output, guest) = endless(name);
        signal(&tool, how);
        assert_eq!(tool.wait().unwrap().code(), Some(130));
        assert!(!guest.exists());
        let profile = Profile::read(fs::read(output).unwrap()).unwrap();
        assert_eq!(
            profile.incomplete(),
            None,
            "its end says that it was interrupted"
        );
    }
}

#[test]
fn a_tool_that_is_killed_leaves_no_guest_and_a_profile() {
    let (mut tool, output, guest) = endless("kill");
    signal(&tool, Signal::KILL);
    tool.wait().unwrap();
    wait_until(|| !guest.exists());
    let part = part_of(&output).expect("what was sampled");
    refused(
        pmiscope(&["report", text(&output)]),
        1,
        &[&format!(
            "{} is of a run that has not come to its end",
            part.display()
        )],
    );
    let assert = pmiscope(&["report", text(&part)]).code(3);
    assert!(stderr(&assert).contains("is incomplete: the end is missing"));
    assert!(stdout(&assert).contains("6, 2 lost"));
}

#[test]
fn files_that_are_no_profiles_are_refused() {
    let script = file("script.pmi", b"#!/bin/sh\n");
    refused(
        pmiscope(&["report", text(&script)]),
        1,
        &["script.pmi: not a pmiscope profile"],
    );
    refused(
        pmiscope(&["report", "/no/profile"]),
        1,
        &["cannot read /no/profile"],
    );
    let empty = file("empty.pmi", b"");
    refused(
        pmiscope(&["report", text(&empty)]),
        1,
        &["not a pmiscope profile"],
    );
    let head = file("head.pmi", &profile()[..100]);
    refused(
        pmiscope(&["report", text(&head)]),
        1,
        &["nothing in it can be reported"],
    );
}

#[test]
fn a_profile_that_was_cut_is_reported_as_far_as_it_goes() {
    let whole = profile();
    let cut = file("cut.pmi", &whole[..whole.len() - 10]);
    let picture = folder().join("cut.svg");
    let assert = pmiscope(&["report", text(&cut)]).code(3);
    let said = stderr(&assert);
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("cut.pmi is incomplete: the last"), "{said}");
    assert!(stdout(&assert).contains("kernel::workload::hash::run"));
    pmiscope(&["flamegraph", text(&cut), "-o", text(&picture)]).code(3);
    assert!(fs::read_to_string(picture).unwrap().contains("<svg"));
}

/// It would take hours to look for anything there.
#[test]
fn a_profile_with_a_hole_at_its_end_is_reported_at_once() {
    let whole = profile();
    let long = file("long.pmi", &whole);
    let length = 1 << 40;
    let opened = fs::File::options().write(true).open(&long).unwrap();
    opened.set_len(length).unwrap();
    let assert = pmiscope(&["report", text(&long)]).code(3);
    let said = stderr(&assert);
    let begins = format!(
        "pmiscope: {} is incomplete: the last 1,099,511,",
        long.display()
    );
    assert!(said.starts_with(&begins), "{said}");
    let ends = format!(" bytes (from byte {} on) are no whole part\n", whole.len());
    assert!(said.ends_with(&ends), "{said}");
    assert!(stdout(&assert).contains("kernel::workload::hash::run"));
    // With anything behind the hole as well: it is not read.
    opened.write_all_at(b"x", length).unwrap();
    let assert = pmiscope(&["report", text(&long)]).code(3);
    assert!(stderr(&assert).starts_with(&begins), "{}", stderr(&assert));
}

#[test]
fn symbols_of_another_kernel_need_force() {
    let good = file("elf.pmi", &profile());
    let other = text(&other_kernel().path);
    refused(
        pmiscope(&["report", text(&good), "--elf", other]),
        1,
        &["has build-id", "names would be wrong", "--force"],
    );
    let forced = pmiscope(&["report", text(&good), "--elf", other, "--force"]).success();
    let own = pmiscope(&["report", text(&good), "--elf", text(&kernel().path)]).success();
    let plain = pmiscope(&["report", text(&good)]).success();
    assert!(stdout(&forced).contains("kernel::workload::hash::run"));
    assert_eq!(stdout(&own), stdout(&plain));
    refused(
        pmiscope(&["report", text(&good), "--elf", "/no/elf"]),
        1,
        &["cannot read /no/elf"],
    );
    refused(
        pmiscope(&[
            "export",
            text(&good),
            "--elf",
            text(&good),
            "--format",
            "folded",
            "-o",
            "-",
        ]),
        1,
        &["no ELF file but a profile"],
    );
}

#[test]
fn a_core_that_is_not_there_is_refused() {
    let good = file("cores.pmi", &profile());
    refused(
        pmiscope(&["report", text(&good), "--core", "2"]),
        1,
        &["there is no core 2", "cores 0 to 1"],
    );
}

#[test]
fn exports_go_where_they_are_told() {
    let good = file("export.pmi", &profile());
    let to_file = folder().join("folded.txt");
    pmiscope(&[
        "export",
        text(&good),
        "--format",
        "folded",
        "-o",
        text(&to_file),
    ])
    .success();
    let assert = pmiscope(&["export", text(&good), "--format", "folded", "-o", "-"]).success();
    assert_eq!(fs::read_to_string(&to_file).unwrap(), stdout(&assert));
    assert!(stdout(&assert).contains("idle;kernel::workload::hash::run;middle;innermost 2\n"));
    refused(
        pmiscope(&["flamegraph", text(&good), "-o", "/no/folder/x.svg"]),
        1,
        &["cannot write /no/folder/x.svg"],
    );
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let good = file("pipe.pmi", &profile());
    let mut tool = Process::new(env!("CARGO_BIN_EXE_pmiscope"))
        .args(["report", text(&good)])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    drop(tool.stdout.take());
    assert!(tool.wait().unwrap().success());
}

/// Whoever looks a message up in the guide finds it there as it is written.
#[test]
fn the_guide_has_the_messages_that_there_are() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = String::new();
    let mut folders = vec![root.join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                sources += &fs::read_to_string(path).unwrap();
            }
        }
    }
    let guide = fs::read_to_string(root.join("../../docs/guide.md")).unwrap();
    let (_, section) = guide
        .split_once("\n## If it does not work\n")
        .expect("the section");
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    let messages: Vec<_> = rows
        .flat_map(|row| row.split(" | ").next())
        .flat_map(|cell| cell.split('`').step_by(2))
        .collect();
    assert!(messages.len() > 15, "{messages:?}");
    for message in messages {
        for part in message.split('…') {
            assert!(sources.contains(part), "no `{part}` in the source");
        }
    }
}
