//! The entries of interrupts that stay on the stack that they interrupt.

/// Defines entries of `count` vectors from `first` on, once in a kernel: see
/// [`crate::entry::vectors`].
///
/// ```no_run,standalone_crate
/// use profiler::entry::{TrapFrame, end_of_call, vectors};
///
/// #[unsafe(link_section = ".pmiscope.calls")]
/// extern "C" fn on_interrupt(frame: &mut TrapFrame) {
///     // …
///     end_of_call();
/// }
///
/// profiler::vector_entries! { handler: on_interrupt, first: 0xf0, count: 7 }
///
/// fn gate_of_0xf2() -> u64 {
///     vectors::entry(2)
/// }
/// # fn main() {}
/// ```
///
/// The handler is an `extern "C" fn(&mut TrapFrame)` in the section `.pmiscope.calls`,
/// which calls nothing as its last step by a jump. None of the vectors has an error code.
#[macro_export]
macro_rules! vector_entries {
    (handler: $handler:path, first: $first:expr, count: $count:expr) => {
        $crate::assembly!(
            r#"
            .balign 16
            .global pmiscope_vector_entries
            .type pmiscope_vector_entries, @function
        pmiscope_vector_entries:
            .set vector, {first}
            .rept {count}
            .balign 16
            TRAP_CFI 40
            RULE INTERRUPTED, 0, vector
            pushq $0
            .cfi_adjust_cfa_offset 8
            RULE INTERRUPTED, 1, vector
            pushq $vector
            .cfi_adjust_cfa_offset 8
            RULE INTERRUPTED, 2
            jmp pmiscope_vector_common
            .cfi_endproc
            .set vector, vector + 1
            .endr
            .size pmiscope_vector_entries, . - pmiscope_vector_entries

            .balign 16
            .type pmiscope_vector_common, @function
        pmiscope_vector_common:
            TRAP_CFI 56
            .set depth, 2
            RULE INTERRUPTED, depth
            TRAP_PUSH_ALL
            cld
            movq %rsp, %rdi
            movq %rsp, %rbp
            RULE TRAP_FRAME
            call {handler}
            TRAP_POP_ALL
            RULE INTERRUPTED, 0
            iretq
            .cfi_endproc
            .size pmiscope_vector_common, . - pmiscope_vector_common
            "#,
            first = const $first,
            count = const $count,
            handler = sym $handler,
            options(att_syntax),
        );
    };
}

unsafe extern "C" {
    // What the macro defines.
    static pmiscope_vector_entries: u8;
}

/// The bytes from one entry to the next.
const ENTRY_BYTES: u64 = 16;

/// The address of the entry with this number, from 0 on, for its gate.
#[must_use]
pub fn entry(number: u8) -> u64 {
    (&raw const pmiscope_vector_entries).addr() as u64 + u64::from(number) * ENTRY_BYTES
}
