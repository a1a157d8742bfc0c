//! Notes which sources of the lab emulator this tool belongs to, so that it takes what
//! was built from them and nothing older; and in which directory it is built, where the kernel of
//! a tool is that `cargo install` has put elsewhere.

use std::path::Path;
use std::process::Command;

/// The emulator's folder, from this package.
const SOURCES: &str = "../qemu-pmu";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed={SOURCES}");
    let script = format!("{SOURCES}/build.sh");
    let output = Command::new(&script)
        .arg("hash")
        .output()
        .unwrap_or_else(|error| panic!("{script} hash: {error}"));
    let hash = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{script} hash failed");
    println!("cargo:rustc-env=LAB_QEMU_HASH={}", hash.trim());
    println!("cargo:rustc-env=BUILD_DIRECTORY={}", build_directory());
}

/// The build directory: `OUT_DIR` is `PROFILE/build/PACKAGE/out` in it. Where cargo builds for a
/// named target it is that target's.
fn build_directory() -> String {
    let out = std::env::var("OUT_DIR").expect("cargo sets it");
    let directory = Path::new(&out).ancestors().nth(4);
    directory.unwrap_or(Path::new("")).display().to_string()
}
