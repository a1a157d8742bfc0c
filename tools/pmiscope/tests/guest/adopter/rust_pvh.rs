//! The kernel that QEMU starts by itself (`tools/adopters/rust-pvh`): no boot loader, and its
//! text below 2 GiB.

use super::kernel::{Boot, Kernel};
use super::round::assert_shares_of_one_core;
use super::verified;

fn kernel() -> Kernel {
    Kernel::rust("rust-pvh").by(Boot::Direct)
}

#[test]
fn shares_are_what_was_executed() {
    assert_shares_of_one_core(&kernel(), "");
}

#[test]
fn chains_are_true_at_each_instruction() {
    for cores in [1, 16] {
        verified::assert_true(&kernel(), cores, 16_000, "8M");
    }
}

/// It is booted by a loader that is named, which cannot.
#[test]
fn it_is_no_kernel_for_the_loader() {
    let run = kernel().by(Boot::Loader).attempt("--smp 1").ended_with(4);
    run.saying(&["the loader could not load the kernel"]);
}
