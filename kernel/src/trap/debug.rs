//! The entries of #DB, #DF and #MC: traps that have stacks of their own.
//!
//! They share no code with the entries of other traps. A breakpoint stops the core
//! wherever it is met, in the handler of #DB too, and the second exception would
//! start at the top of the same stack. So breakpoints are off from the first
//! instructions here to the last, and there can be one anywhere but here and where an
//! NMI has not left its landing: in the other entries, in the dispatcher, in what arms
//! the source. The same holds for #DF and #MC, which may interrupt the entry of #DB; and
//! an NMI that finds one of these stacks in use sees to it itself: see [`super::nmi`].

use profiler::address::{CodeAddress, CodeRange};
use x86_64::VirtAddr;

use super::{TrapFrame, vector};
use crate::assembly;

unsafe extern "C" {
    /// The gate of #DB.
    fn debug_entry();
    /// The gate of #DF.
    fn double_fault_entry();
    /// The gate of #MC.
    fn machine_check_entry();
    static switched_entries_end: u8;
}

assembly!(
    r#"
    .balign 16
    .global double_fault_entry
    .type double_fault_entry, @function
double_fault_entry:
    TRAP_CFI 48
    RULE INTERRUPTED, 1, {double_fault}
    pushq ${double_fault}
    .cfi_adjust_cfa_offset 8
    RULE INTERRUPTED, 2
    jmp switched_common
    .cfi_endproc
    .size double_fault_entry, . - double_fault_entry

    .balign 16
    .global machine_check_entry
    .type machine_check_entry, @function
machine_check_entry:
    TRAP_CFI 40
    RULE INTERRUPTED, 0, {machine_check}
    pushq $0
    .cfi_adjust_cfa_offset 8
    RULE INTERRUPTED, 1, {machine_check}
    pushq ${machine_check}
    .cfi_adjust_cfa_offset 8
    RULE INTERRUPTED, 2
    jmp switched_common
    .cfi_endproc
    .size machine_check_entry, . - machine_check_entry

    .balign 16
    .global debug_entry
    .type debug_entry, @function
debug_entry:
    TRAP_CFI 40
    RULE INTERRUPTED, 0, {debug}
    pushq $0
    .cfi_adjust_cfa_offset 8
    RULE INTERRUPTED, 1, {debug}
    pushq ${debug}
    .cfi_adjust_cfa_offset 8
switched_common:
    .set depth, 2
    RULE INTERRUPTED, depth
    TRAP_PUSH_ALL
    cld
    # DR7: is a breakpoint on? (SDM vol. 3, 19.2.4: bit 10 is always set.)
    movq %dr7, %rbx
    testb $0xff, %bl
    jz switched_call
    movl $0x400, %eax
    movq %rax, %dr7
switched_call:
    movq %rsp, %rdi
    movq %rsp, %rbp
    RULE TRAP_FRAME
    call {taken}
    # Only #DB returns.
    testb $0xff, %bl
    jz switched_leave
    movq %rbx, %dr7
switched_leave:
    TRAP_POP_ALL
    RULE INTERRUPTED, 0, {debug}
    iretq
    .cfi_endproc
    .size debug_entry, . - debug_entry
    .global switched_entries_end
switched_entries_end:
    "#,
    debug = const vector::DEBUG,
    double_fault = const vector::DOUBLE_FAULT,
    machine_check = const vector::MACHINE_CHECK,
    taken = sym taken,
    options(att_syntax),
);

/// The gate of `vector`, if it is one of these traps.
#[must_use]
pub fn entry(vector: u8) -> Option<VirtAddr> {
    let entry = match vector {
        vector::DEBUG => debug_entry,
        vector::DOUBLE_FAULT => double_fault_entry,
        vector::MACHINE_CHECK => machine_check_entry,
        _ => return None,
    };
    Some(VirtAddr::from_ptr(entry as *const ()))
}

/// The code in which there must be no breakpoint.
#[must_use]
pub fn code() -> CodeRange {
    CodeRange {
        start: CodeAddress((double_fault_entry as *const ()).addr() as u64),
        end: CodeAddress((&raw const switched_entries_end).addr() as u64),
    }
}

/// What the entries call.
#[unsafe(link_section = ".text.trap_calls")]
extern "C" fn taken(frame: &mut TrapFrame) {
    super::dispatch(frame);
    super::end_of_trap_call();
}
