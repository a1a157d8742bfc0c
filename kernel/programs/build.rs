//! Links programs by their own script: where they lie, and what may be written.

use std::env;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=program.ld");
    let directory = env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    for argument in [
        format!("-T{directory}/program.ld"),
        // A profile names the programs that it is of by this hash of the whole file.
        "--build-id=sha1".into(),
        "-zmax-page-size=0x1000".into(),
        "-znognustack".into(),
    ] {
        println!("cargo:rustc-link-arg-bins={argument}");
    }
}
