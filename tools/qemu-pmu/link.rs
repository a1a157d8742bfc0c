//! Links a freestanding program beside this file by its own script.

use std::env;

fn main() {
    println!("cargo:rerun-if-changed=../link.rs");
    println!("cargo:rerun-if-changed=linker.ld");
    if env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("none") {
        return;
    }
    let directory = env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    println!("cargo:rustc-link-arg-bins=-T{directory}/linker.ld");
    println!("cargo:rustc-link-arg-bins=-zmax-page-size=0x1000");
}
