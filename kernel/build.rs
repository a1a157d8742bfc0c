//! Links the kernel by its own script: where it lies, and what may be written.

use std::env;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=linker.ld");
    let directory = env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    for argument in [
        format!("-T{directory}/linker.ld"),
        // A profile names the kernel that it is of by this hash of the whole file.
        "--build-id=sha1".into(),
        // Segments start on pages of 4 KiB; the default of lld is the same, said here
        // because the page tables rely on it.
        "-zmax-page-size=0x1000".into(),
    ] {
        println!("cargo:rustc-link-arg-bins={argument}");
    }
}
