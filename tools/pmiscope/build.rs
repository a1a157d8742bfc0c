//! Notes which sources of the lab emulator this tool belongs to, so that it takes what
//! was built from them and nothing older.

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
}
