//! Entries and exits where a program's page tables have nothing of the kernel but these
//! ([`crate::memory::space::isolation`]).
//!
//! What comes from user mode by a stub, and by `syscall`, loads the kernel's page tables itself, and
//! the program's on the way back ([`super::user`]). Here are the gates before the entries of the
//! sampler's library: of NMIs, #DB, #DF, #MC, and of overflows. What they interrupt may be the kernel
//! with a program's tables loaded, in the ways over the border: so they look at CR3 itself, and note in
//! the upper half of the code segment's word, which the processor does not look at, that it was a
//! program's. The way back ([`profiler::entry::returns`]) looks there. So whatever nests, each finds
//! the tables again that it had.
//!
//! | | page tables | stack |
//! |---|---|---|
//! | a gate up to its jump | what was interrupted had; the kernel's from its write of CR3 on | the entry's own, or the one interrupted: in both |
//! | a way back | the kernel's; from its write of CR3 on what was interrupted had | the same, and the NMI handlers' |
//!
//! All take as many instructions whatever they find: what an interrupt costs is calibrated.

use profiler::address::{CodeAddress, CodeRange};
use profiler::assembly;
use profiler::entry::returns::{self, Returns};
use profiler::entry::vector as entries;
use spin::Once;
use x86_64::VirtAddr;

use super::{GATES, vector, walk};
use crate::memory::space::isolation::{self, USER_ROOT};

/// Programs are isolated.
#[must_use]
pub fn is_on() -> bool {
    isolation::is_on()
}

/// By vector: the gate before an entry that is no stub.
static ISOLATED: [Once<VirtAddr>; 256] = [const { Once::new() }; 256];

/// Says where `vector`, whose gate leads to code of its own ([`super::set_gate`]), goes first if
/// programs are isolated: code in the border's pages, for what is interrupted in user mode as well.
pub fn set_gate(vector: u8, entry: VirtAddr) {
    ISOLATED[usize::from(vector)].call_once(|| entry);
}

/// Where a gate leads to.
///
/// # Panics
///
/// If the vector has an entry of its own, and no gate before it.
pub(super) fn gate(vector: u8) -> VirtAddr {
    let number = usize::from(vector);
    let isolated = ISOLATED[number].get().copied();
    isolated.unwrap_or_else(|| {
        let is_stubs = GATES[number].get().is_none();
        assert!(
            is_stubs,
            "vector {vector:#x} has no gate for isolated programs"
        );
        walk::isolated_stubs_start() + u64::from(vector) * kernel_core::stub::STUB_BYTES
    })
}

/// Isolates programs from now on: before any runs, and before sampling starts.
pub fn start() {
    let at = |label: *const u8| label.addr() as u64;
    for (vector, gate) in [
        (vector::NMI, &raw const isolated_nmi),
        (vector::DEBUG, &raw const isolated_debug),
        (vector::DOUBLE_FAULT, &raw const isolated_double_fault),
        (vector::MACHINE_CHECK, &raw const isolated_machine_check),
        (entries::OVERFLOW, &raw const isolated_overflow),
    ] {
        set_gate(vector, VirtAddr::from_ptr(gate));
    }
    returns::set(&Returns {
        nmi: at(&raw const isolated_return_nmi),
        aside: at(&raw const isolated_return_aside),
        overflow: at(&raw const isolated_return_overflow),
        debug: at(&raw const isolated_return_debug),
        no_breakpoints: CodeRange {
            start: CodeAddress(at(&raw const isolated_nmi)),
            end: CodeAddress(at(&raw const isolated_overflow)),
        },
    });
}

unsafe extern "C" {
    static isolated_nmi: u8;
    static isolated_debug: u8;
    static isolated_double_fault: u8;
    static isolated_machine_check: u8;
    static isolated_overflow: u8;
    static isolated_return_nmi: u8;
    static isolated_return_aside: u8;
    static isolated_return_overflow: u8;
    static isolated_return_debug: u8;
}

assembly!(
    r#"
    .pushsection .pmiscope.assembly.border, "ax", @progbits
    .set RULES_OF_BORDER, 1

    # Before an entry of which the processor, or a stub, has pushed so many words beside the five of
    # each trap.
    .macro ISOLATED_GATE name, vector, pushed, entry
    .balign 16
    .global isolated_\name
    .type isolated_\name, @function
isolated_\name:
    TRAP_CFI 40+8*\pushed
    RULE INTERRUPTED, \pushed, \vector
    pushq %rax
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %rax, 0
    RULE INTERRUPTED, 1+\pushed, \vector
    movq %cr3, %rax
    btrq ${user_bit}, %rax
    jnc 1f
    movq %rax, %cr3
    movl ${user_root}, 20+8*\pushed(%rsp)
    jmp 2f
1:
    .rept 3
    nop
    .endr
2:
    popq %rax
    .cfi_adjust_cfa_offset -8
    .cfi_restore %rax
    RULE INTERRUPTED, \pushed, \vector
    jmp \entry
    .cfi_endproc
    .size isolated_\name, . - isolated_\name
    .endm

    # In place of `iretq`, with the kernel's page tables.
    .macro ISOLATED_RETURN name, vector
    .balign 16
    .global isolated_return_\name
    .type isolated_return_\name, @function
isolated_return_\name:
    TRAP_CFI 40
    RULE INTERRUPTED, 0, \vector
    pushq %rax
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %rax, 0
    RULE INTERRUPTED, 1, \vector
    movl 20(%rsp), %eax
    testl %eax, %eax
    jz 1f
    movq %cr3, %rax
    orq ${user_root}, %rax
    movq %rax, %cr3
    jmp 2f
1:
    .rept 4
    nop
    .endr
2:
    popq %rax
    .cfi_adjust_cfa_offset -8
    .cfi_restore %rax
    RULE INTERRUPTED, 0, \vector
    iretq
    .cfi_endproc
    .size isolated_return_\name, . - isolated_return_\name
    .endm

    # From here to the overflows' gate there must be no breakpoint.
    ISOLATED_GATE nmi, {nmi}, 0, nmi_entry
    ISOLATED_GATE debug, {debug}, 0, debug_entry
    ISOLATED_GATE double_fault, {double_fault}, 1, double_fault_entry
    ISOLATED_GATE machine_check, {machine_check}, 0, machine_check_entry
    ISOLATED_RETURN aside, {nmi}
    ISOLATED_RETURN debug, {debug}

    ISOLATED_GATE overflow, {overflow}, 0, pmiscope_overflow_entry
    ISOLATED_RETURN nmi, {nmi}
    ISOLATED_RETURN overflow, {overflow}

    .set RULES_OF_BORDER, 0
    .popsection
    "#,
    user_root = const USER_ROOT,
    user_bit = const USER_ROOT.trailing_zeros(),
    nmi = const entries::NMI,
    debug = const entries::DEBUG,
    double_fault = const entries::DOUBLE_FAULT,
    machine_check = const entries::MACHINE_CHECK,
    overflow = const entries::OVERFLOW,
    options(att_syntax),
);
