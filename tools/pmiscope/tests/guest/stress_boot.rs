//! Storms of boots: that they boot, that they see what is wrong, and that it can be had again.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Output;
use std::time::Duration;

use assert_cmd::Command;

use crate::fixture::{Slot, built, folder};

/// With this seed the first boots have four cores at most.
const SEED: &str = "58";

fn stress_boot(arguments: &str) -> Output {
    let _slot = Slot::take();
    Command::new(env!("CARGO_BIN_EXE_pmiscope"))
        .arg("stress-boot")
        .arg("--kernel")
        .arg(built("kernel"))
        .arg("--loader")
        .arg(built("loader"))
        .arg("--output")
        .arg(folder().join("kept"))
        .args(["--seed", SEED, "--times", "5"])
        .args(arguments.split_ascii_whitespace())
        .timeout(Duration::from_secs(300))
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The files that are kept of boots.
fn kept() -> Vec<String> {
    let files = fs::read_dir(folder().join("kept")).unwrap();
    let mut names: Vec<_> = files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn five_boots_end_as_is_expected_of_them() {
    let output = stress_boot("");
    let (summary, said) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{said}");
    let first = summary.lines().next().unwrap();
    assert!(first.starts_with("boots        5: "), "{summary}");
    assert!(first.ends_with(" 0 not as expected"), "{summary}");
    assert!(!first.contains(": 0 sampled"), "{summary}");
    assert!(summary.contains("not covered  stock Limine"), "{summary}");
    assert_eq!(kept(), [""; 0], "of boots that are right nothing is kept");
}

#[test]
fn a_boot_that_fails_is_named_and_can_be_had_again() {
    // It answers as QEMU does, and boots nothing.
    let script = folder().join("broken-qemu");
    let text_of_script = "#!/bin/sh\n[ \"$1\" != --version ] || exec echo QEMU emulator version 10.0.0\n\
                          echo it is broken >&2\nexit 1\n";
    fs::write(&script, text_of_script).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let broken = format!("--qemu {}", script.display());
    let output = stress_boot(&broken);
    let (summary, said) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{summary}{said}");
    let line = said
        .lines()
        .find(|line| line.starts_with("pmiscope: boot "));
    let line = line.unwrap_or_else(|| panic!("{said}"));
    assert!(
        line.contains(&format!(" of seed {SEED} failed: exit status 4: ")),
        "{line}"
    );
    assert!(line.contains("it is broken"), "{line}");
    let number = line.split(' ').nth(2).unwrap();
    assert!(kept().contains(&format!("{number}.log")), "{:?}", kept());
    let failed = summary.lines().last().unwrap();
    assert!(failed.starts_with("failed       boots "), "{summary}");
    // The command, by itself, and the boot, by its number.
    let command = said
        .lines()
        .find(|line| line.starts_with("  pmiscope run "))
        .unwrap();
    let again = stress_boot(&format!("{broken} --only {number}"));
    assert_eq!(again.status.code(), Some(1));
    assert!(
        text(&again.stderr).lines().any(|line| line == command),
        "{command}"
    );
    let alone = Command::new(env!("CARGO_BIN_EXE_pmiscope"))
        .args(["run", "-o"])
        .arg(folder().join("again.pmi"))
        // As the words for QEMU are the last ones, the output comes first.
        .args(command.split_ascii_whitespace().skip(2))
        .output()
        .unwrap();
    assert_eq!(alone.status.code(), Some(4), "{}", text(&alone.stderr));
}

#[test]
fn without_boots_the_commands_are_shown() {
    let shown = |arguments: &str| {
        let output = stress_boot(&format!("--dry-run {arguments}"));
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let all = shown("");
    assert_eq!(all.lines().count(), 10, "{all}");
    assert_eq!(all, shown(""));
    let third: Vec<_> = all.lines().skip(6).take(2).collect();
    assert_eq!(shown("--only 3").lines().collect::<Vec<_>>(), third);
    let output = stress_boot("--only 5");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        text(&output.stderr),
        "pmiscope: --only 5: the boots are 0 to 4: raise --times\n"
    );
}
