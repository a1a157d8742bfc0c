//! The entries of #DB, #DF and #MC: traps that have stacks of their own.
//!
//! They share no code with the entries of other traps. A breakpoint stops the core
//! wherever it is met, in the handler of #DB too, and the second exception would
//! start at the top of the same stack. So breakpoints are off from the first
//! instructions here to the last, and there can be one anywhere but here and where an
//! NMI has not left its landing: in the other entries, in the dispatcher, in what arms
//! the source. The same holds for #DF and #MC, which may interrupt the entry of #DB; and
//! an NMI that finds one of these stacks in use sees to it itself: see [`super::nmi`].

use crate::address::{CodeAddress, CodeRange};

/// Defines the entries of #DB, #DF and #MC, once in a kernel: see
/// [`crate::entry::switched`].
///
/// ```no_run,standalone_crate
/// use profiler::entry::{TrapFrame, end_of_call, switched, vector};
///
/// #[unsafe(link_section = ".pmiscope.calls")]
/// extern "C" fn on_trap(frame: &mut TrapFrame) {
///     assert_eq!(frame.vector, vector::DEBUG.into(), "\n{frame}");
///     // …
///     end_of_call();
/// }
///
/// profiler::switched_entries! { handler: on_trap }
///
/// fn gate_of_debug_exceptions() -> u64 {
///     switched::debug()
/// }
/// # fn main() {}
/// ```
///
/// The handler is an `extern "C" fn(&mut TrapFrame)` in the section `.pmiscope.calls`,
/// which calls nothing as its last step by a jump, and returns from #DB alone. `returns: true` behind
/// it is as in [`nmi_entry!`](crate::nmi_entry).
#[macro_export]
macro_rules! switched_entries {
    (handler: $handler:path) => {
        $crate::switched_entries! { handler: $handler, returns: false }
    };
    (handler: $handler:path, returns: $returns:literal) => {
        $crate::assembly!(
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
            .if {returns}
            jmpq *{ways}+{way}(%rip)
            .else
            iretq
            .endif
            .cfi_endproc
            .size debug_entry, . - debug_entry
            .global switched_entries_end
        switched_entries_end:
            "#,
            debug = const $crate::entry::vector::DEBUG,
            double_fault = const $crate::entry::vector::DOUBLE_FAULT,
            machine_check = const $crate::entry::vector::MACHINE_CHECK,
            returns = const $returns as u8,
            ways = sym $crate::entry::returns::WAYS,
            way = const $crate::entry::returns::DEBUG,
            taken = sym $handler,
            options(att_syntax),
        );
    };
}

// What the macro defines.
unsafe extern "C" {
    fn debug_entry();
    fn double_fault_entry();
    fn machine_check_entry();
    static switched_entries_end: u8;
}

/// The address of the entry of #DB, for its gate.
#[must_use]
pub fn debug() -> u64 {
    (debug_entry as *const ()).addr() as u64
}

/// The same of #DF.
#[must_use]
pub fn double_fault() -> u64 {
    (double_fault_entry as *const ()).addr() as u64
}

/// The same of #MC.
#[must_use]
pub fn machine_check() -> u64 {
    (machine_check_entry as *const ()).addr() as u64
}

/// The code in which there must be no breakpoint.
#[must_use]
pub fn code() -> CodeRange {
    CodeRange {
        start: CodeAddress(double_fault()),
        end: CodeAddress((&raw const switched_entries_end).addr() as u64),
    }
}
