//! What `make install` puts where programs are, and what of it is found again; `cargo pmiscope`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::fixture::folder;

const TOOL: &str = env!("CARGO_BIN_EXE_pmiscope");
const CARGO_TOOL: &str = env!("CARGO_BIN_EXE_cargo-pmiscope");

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The files below a folder, in order.
fn files_in(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let relative = path.strip_prefix(root).unwrap();
                found.push(relative.to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

/// The script with these arguments, and what it prints.
fn install(words: &[&Path]) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../install.sh");
    let mut command = Command::new(script);
    command.args(words).env_remove("DESTDIR").output().unwrap()
}

/// A build directory with the tools, and a kernel that is none.
fn build() -> PathBuf {
    let build = folder().join("target");
    let freestanding = build.join("x86_64-unknown-none/release");
    fs::create_dir_all(&freestanding).unwrap();
    fs::create_dir_all(build.join("release")).unwrap();
    fs::copy(TOOL, build.join("release/pmiscope")).unwrap();
    fs::copy(CARGO_TOOL, build.join("release/cargo-pmiscope")).unwrap();
    for name in ["kernel", "loader", "process-calls", "process-calls.d"] {
        fs::write(freestanding.join(name), "no ELF file").unwrap();
    }
    build
}

#[test]
fn what_is_installed_is_found_and_removed() {
    let prefix = folder().join("prefix");
    let installed = install(&[&build(), &prefix]);
    assert!(installed.status.success(), "{}", said(&installed));
    let pages = |name: &String| !name.starts_with("share/man/man1/pmiscope-");
    let all: Vec<_> = files_in(&prefix).into_iter().filter(pages).collect();
    let expected = [
        "bin/cargo-pmiscope",
        "bin/pmiscope",
        "lib/pmiscope/kernel",
        "lib/pmiscope/loader",
        "lib/pmiscope/process-calls",
        "share/bash-completion/completions/pmiscope",
        "share/fish/vendor_completions.d/pmiscope.fish",
        "share/man/man1/pmiscope.1",
        "share/zsh/site-functions/_pmiscope",
    ];
    assert_eq!(all, expected);
    let doctor = Command::new(prefix.join("bin/pmiscope"))
        .arg("run")
        .output()
        .unwrap();
    let kernel = prefix.join("lib/pmiscope/kernel");
    let says = format!("pmiscope: the kernel {}: ", kernel.display());
    assert!(said(&doctor).starts_with(&says), "{}", said(&doctor));
    let other = prefix.join("lib/pmiscope/mine");
    fs::write(&other, "").unwrap();
    let kept = install(&[Path::new("--remove"), &prefix]);
    assert!(
        said(&kept).contains("has files that are not pmiscope's"),
        "{}",
        said(&kept)
    );
    assert_eq!(files_in(&prefix), ["lib/pmiscope/mine"]);
    fs::remove_file(other).unwrap();
    let removed = install(&[Path::new("--remove"), &prefix]);
    assert!(removed.status.success(), "{}", said(&removed));
    assert!(files_in(&prefix).is_empty());
}

#[test]
fn what_cannot_be_installed_is_said_in_a_line() {
    let prefix = folder().join("prefix");
    let nothing = install(&[Path::new("/nowhere"), &prefix]);
    assert_eq!(nothing.status.code(), Some(1));
    assert_eq!(
        said(&nothing),
        "install: no /nowhere/release/pmiscope: run make build\n"
    );
    let relative = install(&[&build(), Path::new("prefix")]);
    assert_eq!(
        said(&relative),
        "install: PREFIX must be a whole path, and prefix is none\n"
    );
    assert!(!prefix.exists());
}

#[test]
fn bash_completes_subcommands_and_options() {
    let script = folder().join("completions");
    let completions = Command::new(TOOL)
        .args(["completions", "bash"])
        .output()
        .unwrap();
    assert!(completions.status.success());
    fs::write(&script, &completions.stdout).unwrap();
    let complete = |words: &str| {
        let count = words.split_whitespace().count();
        let line = format!(
            "source {}; COMP_WORDS=({words}); COMP_CWORD={}; _pmiscope pmiscope ${{COMP_WORDS[-1]}}; echo ${{COMPREPLY[@]}}",
            script.display(),
            count - 1
        );
        let bash = Command::new("bash").args(["-c", &line]).output().unwrap();
        stdout(&bash).trim().to_owned()
    };
    assert_eq!(complete("pmiscope rep"), "report");
    assert_eq!(complete("pmiscope ctl per"), "period");
    assert_eq!(complete("pmiscope report x.pmi --sor"), "--sort");
    // What users are not to call.
    assert_eq!(complete("pmiscope ward"), "");
    for shell in ["zsh", "fish"] {
        let script = Command::new(TOOL)
            .args(["completions", shell])
            .output()
            .unwrap();
        assert!(stdout(&script).contains("stress-boot") && !stdout(&script).contains("warden"));
    }
}

#[test]
fn each_subcommand_has_a_man_page() {
    let output = folder().join("man");
    let made = Command::new(TOOL)
        .arg("man")
        .arg("-o")
        .arg(&output)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", said(&made));
    let help = stdout(&Command::new(TOOL).arg("--help").output().unwrap());
    let commands = help
        .split("Commands:")
        .nth(1)
        .unwrap()
        .split("Options:")
        .next()
        .unwrap();
    // An indented word begins a subcommand, what it does goes on further right.
    let names = commands.lines().filter_map(|line| line.strip_prefix("  "));
    let names = names.filter(|line| !line.starts_with(' '));
    let names = names.filter_map(|line| line.split_whitespace().next());
    let mut expected: Vec<_> = names
        .filter(|&name| name != "help")
        .map(|name| format!("pmiscope-{name}.1"))
        .chain(
            ["event", "period", "start", "status", "stop"].map(|it| format!("pmiscope-ctl-{it}.1")),
        )
        .chain(["pmiscope.1".to_owned()])
        .collect();
    expected.sort();
    assert_eq!(files_in(&output), expected);
    let page = fs::read_to_string(output.join("pmiscope-run.1")).unwrap();
    assert!(
        page.starts_with(".ie") && page.contains(".TH pmiscope-run 1"),
        "{page}"
    );
    assert!(
        page.contains(r"\-\-period") && !page.contains(r"\-\-self\-test"),
        "{page}"
    );
    let nowhere = Command::new(TOOL)
        .args(["man", "-o", "/proc/none"])
        .output()
        .unwrap();
    assert_eq!(nowhere.status.code(), Some(1));
    assert!(said(&nowhere).starts_with("pmiscope: cannot write man pages to /proc/none: "));
}

/// A project with this in its Cargo.toml, and a tool that writes its arguments down.
fn project(settings: &str) -> (PathBuf, PathBuf) {
    let root = folder().join("project");
    fs::create_dir_all(root.join("src")).unwrap();
    let manifest = format!(
        "[package]\nname = \"small\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[workspace]\n{settings}"
    );
    fs::write(root.join("Cargo.toml"), manifest).unwrap();
    fs::write(root.join("src/main.rs"), "fn main() {}\n").unwrap();
    let tool = folder().join("tool");
    fs::write(&tool, "#!/bin/sh\nprintf '%s\\n' \"$@\"\nexit 3\n").unwrap();
    fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
    (root, tool)
}

fn cargo_pmiscope(project: &(PathBuf, PathBuf), words: &str) -> Output {
    let mut command = Command::new(CARGO_TOOL);
    command
        .arg("pmiscope")
        .args(words.split_whitespace())
        .current_dir(&project.0)
        .env("PMISCOPE", &project.1)
        .env("CARGO_TARGET_DIR", project.0.join("target"))
        .env_remove("CARGO_BUILD_TARGET");
    command.output().unwrap()
}

#[test]
fn cargo_builds_a_project_and_runs_it_with_its_options() {
    let project = project("[package.metadata.pmiscope]\nrun = [\"--smp\", \"2\", \"--verbose\"]\n");
    let output = cargo_pmiscope(&project, "run --release -- --smp 8");
    let target = project.0.join("target");
    let expected = format!(
        "run\n--kernel\n{0}/release/small\n--output\n{0}/small.pmi\n--verbose\n--smp\n8\n",
        target.display()
    );
    assert_eq!(stdout(&output), expected, "{}", said(&output));
    // That of the tool.
    assert_eq!(output.status.code(), Some(3));
    let runner = cargo_pmiscope(&project, "runner some/kernel.elf --samples 9 -o x.pmi");
    let expected = "run\n--kernel\nsome/kernel.elf\n--smp\n2\n--verbose\n--samples\n9\n-o\nx.pmi\n";
    assert_eq!(stdout(&runner), expected, "{}", said(&runner));
}

#[test]
fn a_project_that_builds_otherwise_names_its_kernel() {
    let project = project(
        "[package.metadata.pmiscope]\nbuild = [\"sh\", \"-c\", \"echo > made.elf\"]\nkernel = \"made.elf\"\n",
    );
    let output = cargo_pmiscope(&project, "run");
    let kernel = project.0.join("made.elf");
    assert!(
        stdout(&output).contains(kernel.to_str().unwrap()),
        "{}",
        said(&output)
    );
}

#[test]
fn what_is_wrong_with_a_project_is_said_in_a_line() {
    let project =
        project("[package.metadata.pmiscope]\nkernel = \"none.elf\"\nbuild = [\"true\"]\n");
    for (words, status, says) in [
        ("run", 1, "cargo pmiscope: kernel: there is no "),
        (
            "run -p other",
            1,
            "cargo pmiscope: -p other: the project has no such package, but small\n",
        ),
        (
            "run --fast",
            2,
            "cargo pmiscope: unexpected argument '--fast' found",
        ),
        ("", 2, "cargo pmiscope: "),
    ] {
        let output = cargo_pmiscope(&project, words);
        assert_eq!(
            output.status.code(),
            Some(status),
            "{words}: {}",
            said(&output)
        );
        assert!(
            said(&output).starts_with(says),
            "{words}: {}",
            said(&output)
        );
    }
    fs::write(project.0.join("src/main.rs"), "fn main() { wrong }\n").unwrap();
    fs::write(
        project.0.join("Cargo.toml"),
        "[package]\nname = \"small\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[workspace]\n",
    )
    .unwrap();
    let output = cargo_pmiscope(&project, "run");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said(&output).ends_with("cargo pmiscope: cargo build has failed: see above\n"),
        "{}",
        said(&output)
    );
    let elsewhere = (PathBuf::from("/"), project.1);
    let output = cargo_pmiscope(&elsewhere, "run");
    assert!(
        said(&output).ends_with("cargo pmiscope: cargo metadata has failed: see above\n"),
        "{}",
        said(&output)
    );
}
