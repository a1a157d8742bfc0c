//! Links the kernels by their own script.

fn main() {
    println!("cargo:rerun-if-changed=linker.ld");
    let directory = env!("CARGO_MANIFEST_DIR");
    println!("cargo:rustc-link-arg=-T{directory}/linker.ld");
    println!("cargo:rustc-link-arg=-zmax-page-size=0x1000");
    println!("cargo:rustc-link-arg=--build-id=sha1");
    println!("cargo:rustc-link-arg=-L{directory}/../../../profiler");
}
