//! Lets the linker scripts of kernels find `pmiscope.ld`, which is beside this file; and tells
//! the library whether it is built without optimization, which no `cfg` says.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-link-search={}", env!("CARGO_MANIFEST_DIR"));
    println!("cargo::rustc-check-cfg=cfg(pmiscope_unoptimized)");
    let is = |name, value| env::var(name).is_ok_and(|it| it == value);
    if is("OPT_LEVEL", "0") && is("CARGO_CFG_TARGET_OS", "none") {
        println!("cargo::rustc-cfg=pmiscope_unoptimized");
    }
}
