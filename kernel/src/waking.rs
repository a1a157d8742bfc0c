//! The interrupt by which the sampler wakes cores, where programs are isolated: one that comes late may
//! find a program, and is like any other interrupt then.

use profiler::sampler::vector;
use x86_64::VirtAddr;

use crate::cpu::apic;
use crate::trap::{self, TrapFrame};

profiler::assembly!(
    r#"
    .pushsection .pmiscope.assembly.border, "ax", @progbits
    .set RULES_OF_BORDER, 1
    .balign 16
    .global isolated_wake
    .type isolated_wake, @function
isolated_wake:
    TRAP_CFI 40
    RULE INTERRUPTED, 0, {wake}
    testb $3, 8(%rsp)
    jz pmiscope_wake_entry
    pushq $0
    .cfi_adjust_cfa_offset 8
    RULE INTERRUPTED, 1, {wake}
    pushq ${wake}
    .cfi_adjust_cfa_offset 8
    RULE INTERRUPTED, 2
    jmp isolated_user_trap_common
    .cfi_endproc
    .size isolated_wake, . - isolated_wake
    .set RULES_OF_BORDER, 0
    .popsection
    "#,
    wake = const vector::WAKE,
    options(att_syntax),
);

unsafe extern "C" {
    static isolated_wake: u8;
}

/// One that has found a program.
fn on_late(_: &mut TrapFrame) {
    apic::registers().end_of_interrupt();
}

/// Sets its gate in user mode. Before any core loads its gates.
pub fn set_up() {
    trap::isolation::set_gate(vector::WAKE, VirtAddr::from_ptr(&raw const isolated_wake));
    trap::register(vector::WAKE, on_late);
}
