//! Files that commands write: whole or not there, and never over something else.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, Output, Stdio};

use pmiscope::internals::Profile;
use pmiscope::profile::Outcome;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use crate::command::{
    VERSION, has_samples, part_of, pmiscope, qemu, refused, run, stderr, stdout, text, wait_until,
};
use crate::fixture::{file, folder, kernel, profile};

/// A run that ends well.
const FINISHES: &str = "boot; exit 33";
/// A guest that waits for a file beside the script, and ends as the first word of it says.
const WAITS: &str = r#"boot; until [ -s "$0.go" ]; do sleep 0.02; done; exit $(cat "$0.go")"#;

/// An empty folder of the test.
fn empty_folder(name: &str) -> PathBuf {
    let path = folder().join(name);
    fs::create_dir_all(&path).unwrap();
    path
}

/// The names of what is in a folder.
fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn pipe(name: &str) -> PathBuf {
    let path = folder().join(name);
    mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    path
}

/// A run that goes on, and has samples.
fn begin(qemu: &Path, output: &Path) -> Child {
    let kernel = text(&kernel().path);
    let shell = r#"trap "" XFSZ; exec "$0" "$@""#;
    let tool = Process::new("sh")
        .args(["-c", shell, env!("CARGO_BIN_EXE_pmiscope"), "run"])
        .args(["--kernel", kernel, "--loader", kernel])
        .args(["--qemu", text(qemu), "-o", text(output)])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_until(|| part_of(output).is_some_and(|part| has_samples(&part)));
    tool
}

/// Lets the guest of [`WAITS`] end so, and waits for the tool.
fn end(tool: Child, qemu: &Path, status: &str) -> (Output, String) {
    fs::write(qemu.with_extension("sh.go"), status).unwrap();
    let output = tool.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr.clone()).unwrap();
    (output, said)
}

#[test]
fn of_two_runs_into_one_file_neither_is_lost() {
    let output = empty_folder("two-runs").join("same.pmi");
    let waiting = qemu("two-runs.sh", VERSION, WAITS);
    let first = begin(&waiting, &output);
    // The second one begins and ends meanwhile.
    let panics =
        r#"echo '[ERROR core1] panicked at x.rs:1:2: out of luck' >"$serial"; boot; exit 37"#;
    let panicking = qemu("two-runs-second.sh", VERSION, panics);
    let second = run(&["--qemu", text(&panicking), "-o", text(&output)]).code(4);
    assert!(stdout(&second).contains("\nrun         the kernel panicked: "));
    let between = Profile::read(fs::read(&output).unwrap()).unwrap();
    assert_eq!(between.end.as_ref().unwrap().outcome, Outcome::Panic);
    assert_eq!(between.incomplete(), None);

    // What the second one has written stays, and what the first one has.
    let part = part_of(&output).unwrap();
    let (first, said) = end(first, &waiting, "33");
    assert_eq!(first.status.code(), Some(1), "{said}");
    let expected = format!(
        "pmiscope: cannot write the profile {}: another one was put there meanwhile, which is \
         kept; it is whole in {}, which pmiscope report reads\n",
        output.display(),
        part.display()
    );
    assert_eq!(said, expected);
    assert!(stdout(&pmiscope(&["report", text(&part)]).success()).contains("6, 2 lost"));
    let after = Profile::read(fs::read(&output).unwrap()).unwrap();
    assert_eq!(after.end.unwrap().outcome, Outcome::Panic);
}

/// Outputs that a run refuses before its guest starts, and what it says.
fn refused_outputs() -> Vec<(PathBuf, &'static str)> {
    let here = empty_folder("refused");
    let kernel = here.join("kernel.elf");
    fs::copy(&super::fixture::kernel().path, &kernel).unwrap();
    symlink(&kernel, here.join("link.pmi")).unwrap();
    fs::hard_link(&kernel, here.join("hard.pmi")).unwrap();
    fs::create_dir(here.join("folder.pmi")).unwrap();
    symlink(&here, here.join("around")).unwrap();
    symlink("loop.pmi", here.join("loop.pmi")).unwrap();
    fs::write(here.join("Cargo.toml"), "[package]\n").unwrap();
    fs::write(here.join("precious.svg"), "<svg>mine</svg>").unwrap();
    fs::create_dir(here.join("drawn.svg")).unwrap();
    symlink("itself.svg", here.join("itself.pmi")).unwrap();
    let is_kernel = "is the kernel, and would be written over: name another file";
    vec![
        (kernel, is_kernel),
        (here.join("link.pmi"), is_kernel),
        (here.join("hard.pmi"), is_kernel),
        (here.join("folder.pmi/../kernel.elf"), is_kernel),
        (here.join("around/around/kernel.elf"), is_kernel),
        (
            here.join("Cargo.toml"),
            "the file that is there is no profile, and is not written over",
        ),
        (here.join("folder.pmi"), "it is a folder"),
        (here.join("new.pmi/"), "it names no file"),
        (here.join("loop.pmi"), "symbolic link"),
        (here.join("missing/x.pmi"), "there is no folder"),
        (here.join("Cargo.toml/x.pmi"), "Not a directory"),
        (pipe("refused.pipe"), "it is no file but a pipe"),
        ("/dev/null".into(), "it is no file but a device"),
        ("/dev/full".into(), "it is no file but a device"),
        (
            "/proc/x.pmi".into(),
            "cannot write /proc/x.pmi: No such file or directory (os error 2)\n",
        ),
        ("-".into(), "-o -: the profile is a file"),
        ("..".into(), "it is a folder"),
        (here.join("x.svg"), "say -o "),
        (here.join("x.SVG"), "say -o "),
        (
            here.join("precious.pmi"),
            "its flame graph would be written over",
        ),
        (here.join("drawn.pmi"), "drawn.svg: it is a folder"),
        (
            here.join("itself.pmi"),
            "its flame graph would be the same file",
        ),
    ]
}

#[test]
fn what_cannot_be_written_is_refused_before_the_guest_starts() {
    let outputs = refused_outputs();
    let here = folder().join("refused");
    let kernel = here.join("kernel.elf");
    let before = names_in(&here);
    let content = |name: &str| fs::read(here.join(name)).unwrap();
    let [elf, toml, picture] = ["kernel.elf", "Cargo.toml", "precious.svg"].map(content);
    let qemu = qemu("refused.sh", VERSION, r#"touch "$0.started"; exit 33"#);
    for (output, says) in outputs {
        let assert = pmiscope(&[
            "run",
            "--kernel",
            text(&kernel),
            "--loader",
            text(&kernel),
            "--qemu",
            text(&qemu),
            "-o",
            text(&output),
        ]);
        refused(assert, 1, &[says]);
        assert!(!qemu.with_extension("sh.started").exists(), "{output:?}");
    }
    assert_eq!(names_in(&here), before, "no trace");
    assert!(content("kernel.elf") == elf);
    assert!(content("Cargo.toml") == toml && content("precious.svg") == picture);
}

#[test]
fn where_the_report_goes_no_profile_is_written() {
    let output = folder().join("both.pmi");
    let qemu = qemu("both.sh", VERSION, FINISHES);
    let kernel = text(&kernel().path);
    let tool = Process::new(env!("CARGO_BIN_EXE_pmiscope"))
        .args(["run", "--kernel", kernel, "--loader", kernel])
        .args(["--qemu", text(&qemu), "-o", text(&output)])
        .stdout(fs::File::create(&output).unwrap())
        .output()
        .unwrap();
    assert_eq!(tool.status.code(), Some(1));
    let said = String::from_utf8(tool.stderr).unwrap();
    assert!(said.contains("the standard output goes there"), "{said}");
    assert_eq!(fs::read(&output).unwrap(), b"");
}

#[test]
fn a_profile_is_written_where_links_lead_with_the_permissions_that_were() {
    let here = empty_folder("links");
    let (link, dangling, real) = (
        here.join("link.pmi"),
        here.join("dangling.pmi"),
        here.join("real.pmi"),
    );
    fs::write(&real, profile()).unwrap();
    fs::set_permissions(&real, fs::Permissions::from_mode(0o600)).unwrap();
    symlink("real.pmi", &link).unwrap();
    symlink("new.pmi", &dangling).unwrap();
    let qemu = qemu("links.sh", VERSION, FINISHES);
    for output in [&link, &dangling] {
        run(&["--qemu", text(&qemu), "-o", text(output)]).success();
    }
    assert_eq!(
        names_in(&here),
        [
            "dangling.pmi",
            "dangling.svg",
            "link.pmi",
            "link.svg",
            "new.pmi",
            "real.pmi"
        ]
    );
    assert!(link.is_symlink() && dangling.is_symlink());
    assert!(fs::read(&real).unwrap() != profile());
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&real), 0o600);
    // As any new file.
    let usual = here.join("usual");
    fs::write(&usual, "").unwrap();
    assert_eq!(mode(&here.join("new.pmi")), mode(&usual));
    assert_eq!(mode(&here.join("link.svg")), mode(&usual));
}

#[test]
fn a_run_that_has_nothing_leaves_the_profile_that_was() {
    let here = empty_folder("nothing");
    let output = here.join("old.pmi");
    fs::write(&output, profile()).unwrap();
    let qemu = qemu("nothing.sh", VERSION, "exit 0");
    run(&["--qemu", text(&qemu), "-o", text(&output)]).code(4);
    assert!(fs::read(&output).unwrap() == profile());
    assert_eq!(names_in(&here), ["old.pmi"]);
}

#[test]
fn on_a_full_disc_what_was_sampled_is_kept() {
    let here = empty_folder("full");
    let output = here.join("full.pmi");
    fs::write(&output, profile()).unwrap();
    let qemu = qemu("full.sh", VERSION, WAITS);
    let tool = begin(&qemu, &output);
    let part = part_of(&output).unwrap();
    // As if the disc had no more room than for what is there.
    let size = fs::metadata(&part).unwrap().len();
    let pid = Pid::from_raw(i32::try_from(tool.id()).unwrap());
    let limit = Rlimit {
        current: Some(size),
        maximum: getrlimit(Resource::Fsize).maximum,
    };
    prlimit(pid, Resource::Fsize, limit).unwrap();
    let (tool, said) = end(tool, &qemu, "33");
    assert_eq!(tool.status.code(), Some(1), "{said}");
    assert_eq!(tool.stdout, b"");
    let expected = format!(
        "pmiscope: cannot write the profile {}: File too large (os error 27); \
         what was sampled until then is in {}, which pmiscope report reads\n",
        output.display(),
        part.display()
    );
    assert_eq!(said, expected);
    assert!(fs::read(&output).unwrap() == profile(), "what was there");
    let report = pmiscope(&["report", text(&part)]).code(3);
    assert!(stdout(&report).contains("6, 2 lost"));
}

#[test]
fn what_is_put_in_place_of_a_profile_meanwhile_is_kept_and_so_is_the_profile() {
    let output = empty_folder("meanwhile").join("run.pmi");
    let qemu = qemu("meanwhile.sh", VERSION, WAITS);
    let tool = begin(&qemu, &output);
    let part = part_of(&output).unwrap();
    fs::write(&output, "text").unwrap();
    let (tool, said) = end(tool, &qemu, "33");
    assert_eq!(tool.status.code(), Some(1), "{said}");
    let expected = format!(
        "pmiscope: cannot write the profile {}: another one was put there meanwhile, which is \
         kept; it is whole in {}, which pmiscope report reads\n",
        output.display(),
        part.display()
    );
    assert_eq!(said, expected);
    assert_eq!(fs::read_to_string(&output).unwrap(), "text");
    assert!(stdout(&pmiscope(&["report", text(&part)]).success()).contains("6, 2 lost"));
}

#[test]
fn each_profile_has_a_flame_graph_of_its_own() {
    let here = empty_folder("pictures");
    let qemu = qemu("pictures.sh", VERSION, FINISHES);
    for (name, picture) in [
        ("run.v1", "run.v1.svg"),
        ("run.v2", "run.v2.svg"),
        ("run.pmi", "run.svg"),
    ] {
        let output = here.join(name);
        // The second time, over the first one's.
        for _ in 0..2 {
            let said = stderr(&run(&["--qemu", text(&qemu), "-o", text(&output)]).success());
            let line = format!("pmiscope: flame graph  {}\n", here.join(picture).display());
            assert!(said.contains(&line), "{said}");
        }
    }
    let all = [
        "run.pmi",
        "run.svg",
        "run.v1",
        "run.v1.svg",
        "run.v2",
        "run.v2.svg",
    ];
    assert_eq!(names_in(&here), all);
    for (name, picture, other) in [
        ("run", "run.svg", "run.pmi"),
        ("run.PMI", "run.svg", "run.pmi"),
        ("run.v1.pmi", "run.v1.svg", "run.v1"),
    ] {
        let output = here.join(name);
        let says = format!(
            "{name}: its flame graph would be written over {}, which is that of the profile {}: name",
            here.join(picture).display(),
            here.join(other).display()
        );
        let more = ["--qemu", text(&qemu), "-o", text(&output)];
        refused(run(&more), 1, &[&says]);
    }
    assert_eq!(names_in(&here), all);
    // One that has no flame graph has none to lose.
    fs::remove_file(here.join("run.svg")).unwrap();
    let output = here.join("run");
    run(&["--qemu", text(&qemu), "-o", text(&output)]).success();
}

#[test]
fn an_export_is_not_written_over_what_it_is_made_of() {
    let here = empty_folder("exports");
    let [own, other, elf] = ["own.pmi", "other.pmi", "kernel"].map(|name| here.join(name));
    fs::write(&own, profile()).unwrap();
    fs::write(&other, profile()).unwrap();
    fs::copy(&kernel().path, &elf).unwrap();
    symlink("own.pmi", here.join("link")).unwrap();
    fs::hard_link(&own, here.join("hard")).unwrap();
    let before = names_in(&here);
    for (output, says) in [
        (own.clone(), "is the profile, and would be written over"),
        (
            here.join("link"),
            "is the profile, and would be written over",
        ),
        (
            here.join("hard"),
            "is the profile, and would be written over",
        ),
        (elf.clone(), "is the ELF file, and would be written over"),
        (other, "is a profile, and would be written over"),
        (here.clone(), "it is a folder"),
        (here.join("missing/x"), "there is no folder"),
    ] {
        for command in [&["flamegraph"][..], &["export", "--format=folded"]] {
            let more = [text(&own), "--elf", text(&elf), "-o", text(&output)];
            let assert = pmiscope(&[command, &more].concat());
            refused(assert, 1, &[says]);
        }
    }
    let over_elf = ["export", "--format=folded", text(&own), "-o", text(&elf)];
    refused(
        pmiscope(&over_elf),
        1,
        &["is an ELF file, and would be written over"],
    );
    assert_eq!(names_in(&here), before);
    assert!(fs::read(&own).unwrap() == profile());
    assert!(fs::read(&elf).unwrap() == kernel().elf);
}

#[test]
fn an_export_goes_to_whatever_takes_bytes() {
    let path = file("streams.pmi", &profile());
    let export = |output: &str| pmiscope(&["export", "--format=folded", text(&path), "-o", output]);
    let folded = stdout(&export("-").success());
    assert_eq!(stdout(&export("/dev/stdout").success()), folded);
    assert_eq!(stdout(&export("/dev/null").success()), "");
    refused(
        export("/dev/full"),
        1,
        &["cannot write /dev/full: No space left"],
    );
    let pipe = pipe("streams.pipe");
    let reading = std::thread::spawn({
        let pipe = pipe.clone();
        move || fs::read_to_string(pipe).unwrap()
    });
    export(text(&pipe)).success();
    assert_eq!(reading.join().unwrap(), folded);

    // An old file stays if there is nothing better, and is replaced if there is.
    let old = file("streams.svg", b"old");
    let head = profile();
    let kernel_ends = head
        .windows(4)
        .enumerate()
        .filter(|it| it.1 == b"\x93PMI")
        .nth(2);
    let empty = file("streams-empty.pmi", &head[..kernel_ends.unwrap().0]);
    let draw = |profile: &Path| pmiscope(&["flamegraph", text(profile), "-o", text(&old)]);
    let said = stderr(&draw(&empty).code(1));
    assert!(
        said.contains("the profile has no samples to draw"),
        "{said}"
    );
    assert_eq!(fs::read(&old).unwrap(), b"old");
    draw(&path).success();
    assert!(fs::read_to_string(&old).unwrap().ends_with("</svg>"));
}

#[test]
fn a_reader_that_has_seen_enough_of_an_export_is_no_error() {
    let path = file("closed.pmi", &profile());
    let mut tool = Process::new(env!("CARGO_BIN_EXE_pmiscope"))
        .args(["export", "--format=folded", text(&path), "-o", "-"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(tool.stdout.take());
    let output = tool.wait_with_output().unwrap();
    assert_eq!(
        (output.status.code(), &output.stderr[..]),
        (Some(0), &b""[..])
    );
}

#[test]
fn a_file_that_is_larger_than_memory_is_read_as_far_as_it_goes() {
    for (name, content, exit, says) in [
        ("hollow", &b""[..], 1, "hollow: not a pmiscope profile"),
        (
            "huge",
            &profile(),
            3,
            "huge is incomplete: the last 8,796,093,0",
        ),
    ] {
        let path = file(name, content);
        let all = fs::OpenOptions::new().write(true).open(&path).unwrap();
        // Behind a hole, which alone would not be read.
        all.write_all_at(b"x", (8 << 40) - 1).unwrap();
        let script = r#"ulimit -v 8000000; exec "$0" report "$1""#;
        let assert = assert_cmd::Command::new("/bin/sh")
            .args(["-c", script, env!("CARGO_BIN_EXE_pmiscope"), text(&path)])
            .assert()
            .code(exit);
        assert!(stderr(&assert).contains(says), "{}", stderr(&assert));
    }
}

#[test]
fn what_has_no_end_is_no_profile() {
    refused(
        pmiscope(&["report", "/dev/zero"]),
        1,
        &["/dev/zero: not a pmiscope profile"],
    );
    refused(
        pmiscope(&["report", "/dev"]),
        1,
        &["cannot read /dev: Is a directory"],
    );
}
