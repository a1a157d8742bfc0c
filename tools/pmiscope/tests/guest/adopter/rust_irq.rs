//! The kernel in Rust in the shape of the Limine template (`tools/adopters/rust-irq`): one core,
//! by maskable interrupts, on the boot loader's stack.

use super::kernel::Kernel;
use super::round::assert_shares_of_one_core;

#[test]
fn shares_are_what_was_executed() {
    assert_shares_of_one_core(&Kernel::rust("rust-irq"), "--delivery irq");
}

/// It has no gate for NMIs: they are refused, or end in the kernel's exception handlers.
#[test]
fn it_cannot_be_sampled_by_nmi() {
    let run = Kernel::rust("rust-irq").attempt("--source apic-timer --smp 1 --samples 1000");
    run.ended_with(4).saying(&["segment not present"]);
}
