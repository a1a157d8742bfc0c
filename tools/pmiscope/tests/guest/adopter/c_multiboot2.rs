//! The kernel in C that GRUB boots by Multiboot 2 (`tools/adopters/c-multiboot2`), as gcc
//! compiles it and, where there is one, clang. Its settings are on the image.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::json;

use super::kernel::{Boot, Kernel};
use super::round::assert_exact;
use super::round_c::{MACHINES, assert_is, expected, told};
use super::verified;
use crate::fixture::folder;

pub fn kernels() -> Vec<Kernel> {
    Kernel::c("c-multiboot2", "c-multiboot2")
}

/// The same, booted from an image by GRUB, with this command line.
pub fn by_grub(kernel: &Kernel, name: &str, command_line: &str) -> Kernel {
    let root = folder().join(format!("{name}.root"));
    let grub = root.join("boot/grub");
    fs::create_dir_all(&grub).unwrap();
    fs::copy(&kernel.path, root.join("boot/kernel")).unwrap();
    let menu =
        format!("set timeout=0\nmenuentry kernel {{ multiboot2 /boot/kernel {command_line}\n}}\n");
    fs::write(grub.join("grub.cfg"), menu).unwrap();
    let image = folder().join(format!("{name}.iso"));
    make_image(&root, &image);
    kernel.by(Boot::Image(image))
}

fn make_image(root: &PathBuf, image: &PathBuf) {
    let made = Command::new("grub-mkrescue")
        .arg("-o")
        .args([image, root])
        .output();
    let made = made.unwrap_or_else(|error| {
        panic!("grub-mkrescue: {error}: `tools/setup.sh test` installs it")
    });
    let said = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "{said}");
}

#[test]
fn shares_are_what_was_executed() {
    // The second compiler's is verified below.
    for (number, kernel) in kernels().iter().enumerate().take(1) {
        let probe = by_grub(kernel, &format!("round-{number}"), "samples=1");
        let round = told(&probe.profile("--smp 1").said(), "truth: round ");
        for (cores, period) in MACHINES {
            let settings = format!("source=apic-timer period={period} samples={round}");
            let image = format!("shares-{number}-{cores}");
            let run = by_grub(kernel, &image, &settings).profile(&format!("--smp {cores}"));
            let report = run.report();
            let what = format!("{}: {cores} cores: {settings}", kernel.name());
            run.saying(&[&format!("command line `{settings}`")]);
            assert_exact(&report, &what, round, period);
            assert_eq!(report["chain_ends"], json!({"complete": round}), "{what}");
            let mut expected = expected(kernel, 1, round);
            expected.insert("kmain".into(), (0, round));
            assert_is(&report, &expected, period, &what);
        }
    }
}

#[test]
fn chains_are_true_at_each_instruction() {
    for (number, kernel) in kernels().iter().enumerate() {
        let settings = "source=apic-timer period=1 samples=15000";
        let kernel = by_grub(kernel, &format!("verify-{number}"), settings);
        verified::assert_true(&kernel, 1, 15_000, "4M");
    }
}
