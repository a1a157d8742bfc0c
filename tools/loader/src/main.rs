//! The order in which a kernel is started; the library says what this is about.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod firmware;
#[cfg(target_os = "none")]
mod given;
#[cfg(target_os = "none")]
mod machine;
#[cfg(target_os = "none")]
mod start;
#[cfg(target_os = "none")]
use start::first_core;

/// On the host there is nothing to load.
#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("loader: build it for the target x86_64-unknown-none; QEMU runs it by -kernel");
}
