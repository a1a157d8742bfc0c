//! The entry of debug exceptions: steps, and aims at an instruction.
//!
//! It shares no code with the entries of other traps. A breakpoint stops the core
//! wherever it is met, in this exception's own handler too, and the second
//! exception would start at the top of the same stack. So breakpoints are off from
//! the first instructions here to the last, and there can be one anywhere but
//! here and on the NMI's landing: in the other entries, in the dispatcher, in what
//! arms the source.

use profiler::address::{CodeAddress, CodeRange};
use x86_64::VirtAddr;

use super::TrapFrame;
use profiler::assembly;

unsafe extern "C" {
    /// The gate of #DB.
    fn debug_entry();
    static debug_entry_end: u8;
}

assembly!(
    r#"
    .balign 16
    .global debug_entry
    .type debug_entry, @function
debug_entry:
    TRAP_CFI 40
    .set depth, 2
    RULE INTERRUPTED, 0, {vector}
    pushq $0
    .cfi_adjust_cfa_offset 8
    RULE INTERRUPTED, 1, {vector}
    pushq ${vector}
    .cfi_adjust_cfa_offset 8
    RULE INTERRUPTED, depth
    TRAP_PUSH_ALL
    cld
    # DR7: is a breakpoint on? (SDM vol. 3, 19.2.4: bit 10 is always set.)
    movq %dr7, %rbx
    testb $0xff, %bl
    jz debug_call
    movl $0x400, %eax
    movq %rax, %dr7
debug_call:
    movq %rsp, %rdi
    movq %rsp, %rbp
    RULE TRAP_FRAME
    call {taken}
    testb $0xff, %bl
    jz debug_leave
    movq %rbx, %dr7
debug_leave:
    TRAP_POP_ALL
    RULE INTERRUPTED, 0, {vector}
    iretq
    .cfi_endproc
    .size debug_entry, . - debug_entry
    .global debug_entry_end
debug_entry_end:
    "#,
    vector = const super::vector::DEBUG,
    taken = sym taken,
    options(att_syntax),
);

/// The gate of #DB.
#[must_use]
pub fn entry() -> VirtAddr {
    VirtAddr::from_ptr(debug_entry as *const ())
}

/// The code in which there must be no breakpoint.
#[must_use]
pub fn code() -> CodeRange {
    CodeRange {
        start: CodeAddress(entry().as_u64()),
        end: CodeAddress((&raw const debug_entry_end).addr() as u64),
    }
}

/// What the entry calls.
#[unsafe(link_section = ".pmiscope.calls")]
extern "C" fn taken(frame: &mut TrapFrame) {
    super::dispatch(frame);
    super::end_of_trap_call();
}
