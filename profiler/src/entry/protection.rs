//! The entry of #GP, for kernels whose own handler of it ends them.
//!
//! The sampler tries registers that may not be there, and the processor's refusal is an answer
//! ([`crate::hw::msr`]). Such a fault goes on behind the access, here; any other in the kernel's
//! handler, as if it had come there.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::assembly;

/// The kernel's handler.
static OTHERS: AtomicU64 = AtomicU64::new(0);

assembly!(
    r#"
    .balign 16
    .type pmiscope_protection_entry, @function
    .global pmiscope_protection_entry
pmiscope_protection_entry:
    TRAP_CFI 48
    RULE INTERRUPTED, 1, {protection}
    pushq %rax
    .cfi_adjust_cfa_offset 8
    RULE INTERRUPTED, 2, {protection}
    leaq pmiscope_rdmsr_access(%rip), %rax
    cmpq %rax, 16(%rsp)
    je pmiscope_protection_refused
    leaq pmiscope_wrmsr_access(%rip), %rax
    cmpq %rax, 16(%rsp)
    je pmiscope_protection_refused
    leaq pmiscope_rdpmc_access(%rip), %rax
    cmpq %rax, 16(%rsp)
    je pmiscope_protection_refused
    popq %rax
    .cfi_adjust_cfa_offset -8
    RULE INTERRUPTED, 1, {protection}
    jmpq *{others}(%rip)
pmiscope_protection_refused:
    .cfi_adjust_cfa_offset 8
    RULE INTERRUPTED, 2, {protection}
    leaq pmiscope_msr_refused(%rip), %rax
    movq %rax, 16(%rsp)
    popq %rax
    .cfi_adjust_cfa_offset -8
    RULE INTERRUPTED, 1, {protection}
    addq $8, %rsp
    .cfi_adjust_cfa_offset -8
    RULE INTERRUPTED, 0, {protection}
    iretq
    .cfi_endproc
    .size pmiscope_protection_entry, . - pmiscope_protection_entry
    "#,
    protection = const super::vector::PROTECTION,
    others = sym OTHERS,
    options(att_syntax),
);

unsafe extern "C" {
    fn pmiscope_protection_entry();
}

/// Returns the address of an entry for the gate of #GP, an interrupt gate, from which a fault that
/// is not the sampler's goes on at `handler`: what the gate had, with the same registers and the same
/// stack.
///
/// ```no_run
/// use profiler::entry::protection;
///
/// # fn set_gate(vector: u8, entry: u64) {}
/// # fn on_protection_entry() {}
/// let kernels = (on_protection_entry as *const ()).addr() as u64;
/// set_gate(13, protection::entry_before(kernels));
/// ```
#[must_use]
pub fn entry_before(handler: u64) -> u64 {
    OTHERS.store(handler, Ordering::Relaxed);
    (pmiscope_protection_entry as *const ()).addr() as u64
}
