//! The kernels by stock Limine, where it is theirs, with KASLR and without: that moves only
//! kernels that are position independent, as `tools/adopters/build.sh pie` builds them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::json;

use super::kernel::{Boot, Kernel};
use super::round::{Round, TOLERANCE, assert_exact, shown};
use crate::elsewhere::variable;
use crate::fixture::{built, folder};

/// One of those in Rust as it is built to be moved.
fn movable(name: &str) -> Kernel {
    let path = format!("../../adopters/pie/x86_64-unknown-none/release/{name}");
    Kernel {
        path: built(&path),
        boot: Boot::Loader,
    }
}

/// The kernel, by the Limine in `LIMINE_DIR`, with this command line.
fn by_limine(kernel: &Kernel, name: &str, command_line: &str, kaslr: &str) -> Kernel {
    let config = folder().join(format!("{name}.cfg"));
    let menu = format!(
        "TIMEOUT=0\n\n:kernel\nPROTOCOL=limine\nKERNEL_PATH=boot:///boot/kernel\n\
         KASLR={kaslr}\nCMDLINE={command_line}\n"
    );
    std::fs::write(&config, menu).unwrap();
    let image: PathBuf = folder().join(format!("{name}.iso"));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../iso.sh");
    let made = Command::new(script)
        .arg(variable("LIMINE_DIR"))
        .args([&kernel.path, &image, &config])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "{said}");
    kernel.by(Boot::Image(image))
}

/// Images that were made.
static IMAGES: AtomicU32 = AtomicU32::new(0);

/// Asserts that a kernel is shown as it is on this number of cores, by names.
#[track_caller]
fn assert_shown(kernel: &Kernel, name: &str, cores: u64, options: &str, kaslr: &str) {
    let round = if name == "rust-smp" { 8581 } else { 7573 };
    // Of the second, only the first core is used.
    let samples = if name == "rust-smp" {
        cores * round
    } else {
        round
    };
    let settings = format!("source=apic-timer period=1000 samples={samples} {options}");
    let image = format!("limine-{}", IMAGES.fetch_add(1, Ordering::Relaxed));
    let kernel = by_limine(kernel, &image, &settings, kaslr);
    let run = kernel.profile(&format!("--smp {cores}"));
    let (report, round) = (run.report(), Round::of_log(&run.said()));
    let what = format!("{}: {cores} cores, KASLR {kaslr}", kernel.name());
    let is_moved = report["text_moved_by"] != "0x0";
    assert!(is_moved || kaslr == "no", "{what}");
    assert_exact(&report, &what, samples, 1000);
    assert_eq!(report["chain_ends"], json!({"complete": samples}), "{what}");
    let differences = round.differences(&report, TOLERANCE);
    assert!(differences.is_empty(), "{what}: {differences:#?}");
}

/// By the loader: names, chains and periods are as if they had not been moved, and an aim
/// follows.
#[test]
fn kernels_that_the_loader_moves_have_their_names() {
    for (name, options, round) in [
        ("rust-smp", "--smp 4", 8581),
        ("rust-irq", "--delivery irq --smp 1", 7573),
    ] {
        let cores = if name == "rust-smp" { 4 } else { 1 };
        let samples = cores * round;
        let what =
            format!("--kaslr=7 --source apic-timer {options} --period 1000 --samples {samples}");
        let run = movable(name).profile(&what);
        let (report, round) = (run.report(), Round::of_log(&run.said()));
        let moved = report["text_moved_by"].as_str().expect("a distance");
        assert_ne!(moved, "0x0", "{what}");
        assert_exact(&report, &what, samples, 1000);
        assert_eq!(report["chain_ends"], json!({"complete": samples}), "{what}");
        let differences = round.differences(&report, TOLERANCE);
        assert!(differences.is_empty(), "{what}: {differences:#?}");
    }
    let aimed = movable("rust-smp");
    let aim = "--kaslr=7 --source apic-timer --smp 1 --samples 3000 --aim fibonacci:0..3";
    aimed.profile(aim);
}

#[test]
#[ignore = "needs LIMINE_DIR, an unpacked binary release of Limine 7 or 8, and xorriso"]
fn stock_limine_boots_the_kernels() {
    for cores in super::CORES {
        assert_shown(&Kernel::rust("rust-smp"), "rust-smp", cores, "", "no");
        let irq = "delivery=irq";
        assert_shown(&Kernel::rust("rust-irq"), "rust-irq", cores, irq, "no");
    }
}

/// Of the others, every chain comes to the root, below which all of the work is.
#[test]
#[ignore = "needs LIMINE_DIR, as above"]
fn stock_limine_boots_the_other_kernels() {
    let mut kernels = vec![(Kernel::rust("rust-tasks"), 1)];
    let c = Kernel::c("c-limine", "c-limine");
    kernels.extend(c.into_iter().map(|kernel| (kernel, 4)));
    for (number, (kernel, cores)) in kernels.into_iter().enumerate() {
        let samples = cores * 5000;
        let settings = format!("source=apic-timer period=1009 samples={samples}");
        let kernel = by_limine(&kernel, &format!("other-{number}"), &settings, "no");
        let report = kernel.profile(&format!("--smp {cores}")).report();
        let what = format!("{}: {report:#}", kernel.name());
        assert_exact(&report, &kernel.name(), samples, 1009);
        let whole = report["chain_ends"]["complete"].as_u64().unwrap();
        assert!(whole * 100 >= samples * 99, "{what}");
        let rounds = shown(&report)["rounds"].1;
        assert!(rounds * 100 >= samples * 99, "{what}");
    }
}

#[test]
#[ignore = "needs LIMINE_DIR, as above, and `tools/adopters/build.sh pie`"]
fn stock_limine_moves_the_kernels() {
    for kaslr in ["no", "yes"] {
        for cores in super::CORES {
            assert_shown(&movable("rust-smp"), "rust-smp", cores, "", kaslr);
            let irq = "delivery=irq";
            assert_shown(&movable("rust-irq"), "rust-irq", cores, irq, kaslr);
        }
    }
}
