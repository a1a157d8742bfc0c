//! Links programs by their own script: where they lie, and what may be written; and compiles what is in C.

use std::env;
use std::process::Command;

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
    if env::var("CARGO_CFG_TARGET_OS").is_ok_and(|system| system == "none") {
        let object = compile("c/process-c.c");
        println!("cargo:rustc-link-arg-bin=process-c={object}");
    }
}

/// Compiles a file in C, for a program that keeps frame pointers. Returns where the result is.
fn compile(source: &str) -> String {
    println!("cargo:rerun-if-changed={source}");
    println!("cargo:rerun-if-env-changed=CC");
    let compiler = env::var("CC").unwrap_or_else(|_| "cc".into());
    let object = env::var("OUT_DIR").expect("cargo sets it") + "/c.o";
    let mut command = Command::new(&compiler);
    command.args(["-std=c11", "-O2", "-g", "-Wall", "-Wextra", "-Werror"]);
    command.args(["-ffreestanding", "-fno-pic", "-fno-omit-frame-pointer"]);
    command.args(["-fno-stack-protector", "-fcf-protection=none"]);
    command.args(["-c", source, "-o", &object]);
    let status = command.status();
    let status = status.unwrap_or_else(|error| {
        panic!("cannot run the C compiler {compiler} ({error}): name one by the variable CC")
    });
    assert!(status.success(), "{compiler} cannot compile {source}");
    object
}
