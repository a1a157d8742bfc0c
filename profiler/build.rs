//! Lets the linker scripts of kernels find `pmiscope.ld`, which is beside this file.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-link-search={}", env!("CARGO_MANIFEST_DIR"));
}
