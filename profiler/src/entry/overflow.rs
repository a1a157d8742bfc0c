//! The entry of the maskable interrupts that are overflows: it tries the fast handler first.

/// Defines the entry of the sampler's vector of overflows, once in a kernel: see
/// [`crate::entry::overflow`].
///
/// ```no_run,standalone_crate
/// use profiler::entry::{TrapFrame, end_of_call, overflow};
///
/// #[unsafe(link_section = ".pmiscope.calls")]
/// extern "C" fn on_overflow(frame: &mut TrapFrame, entry_tsc: u64) {
///     // …
///     end_of_call();
/// }
///
/// profiler::overflow_entry! { handler: on_overflow, vector: profiler::sampler::vector::OVERFLOW }
///
/// fn gate_of_overflows() -> u64 {
///     overflow::entry()
/// }
/// # fn main() {}
/// ```
///
/// The handler is an `extern "C" fn(&mut TrapFrame, u64)` in the section `.pmiscope.calls`, which
/// gets the interrupted registers and the time stamp counter at the entry, and calls nothing as
/// its last step by a jump. It is called for what the fast one leaves ([`crate::entry::fast`]).
/// `returns: true` behind the vector is as in [`nmi_entry!`](crate::nmi_entry).
#[macro_export]
macro_rules! overflow_entry {
    (handler: $handler:path, vector: $vector:expr) => {
        $crate::overflow_entry! { handler: $handler, vector: $vector, returns: false }
    };
    (handler: $handler:path, vector: $vector:expr, returns: $returns:literal) => {
        $crate::assembly!(
            r#"
            .balign 16
            .global pmiscope_overflow_entry
            .type pmiscope_overflow_entry, @function
        pmiscope_overflow_entry:
            TRAP_CFI 40
            RULE INTERRUPTED, 0, {vector}
            subq $136, %rsp
            .cfi_adjust_cfa_offset 136
            RULE INTERRUPTED, 17, {vector}
            movq %rax, 8(%rsp)
            movq %rcx, 24(%rsp)
            movq %rdx, 32(%rsp)
            movq %rdi, 48(%rsp)
            movq %r8, 56(%rsp)
            movq %r9, 64(%rsp)
            movq %rbp, (%rsp)
            FAST_CFI
            movq ${vector}, 120(%rsp)
            # The core by its APIC id.
            movq {registers}(%rip), %rdi
            cmpq $1, %rdi
            je 4f
            movl {id}(%rdi), %eax
            shrl $24, %eax
        2:
            leaq {paths}(%rip), %rdi
            movq (%rdi,%rax,8), %rdi
            testq %rdi, %rdi
            je 5f
        3:
            rdtsc
            shlq $32, %rdx
            orq %rax, %rdx
            movq %rsp, %rbp
            RULE TRAP_FRAME
            jmpq *{fast}(%rdi)

            RULE INTERRUPTED, 17, {vector}
        4:
            movl ${id_msr}, %ecx
            rdmsr
            cmpl ${cores}, %eax
            jb 2b
        5:
            leaq {none}(%rip), %rdi
            jmp 3b

            RULE TRAP_FRAME
            .global pmiscope_overflow_give_up
        pmiscope_overflow_give_up:
            TRAP_SAVE_REST
            orq {deferral}(%rdi), %rax
            movq %rax, 128(%rsp)
            # What an interrupted handler has left for its entry is not for this one.
            movq {rearm}(%rdi), %r14
            movq $0, {rearm}(%rdi)
            cld
            movq %rdi, %rbx
            movq %rsp, %rdi
            movq %rdx, %rsi
            call {handler}
            movq %rbx, %rdx
            movq {rearm}(%rdx), %rax
            movq %r14, {rearm}(%rdx)
            TRAP_RESTORE_REST
            testq %rax, %rax
            je 7f
            jmpq *{leave}(%rdx)
        7:
            TRAP_RESTORE
            RULE INTERRUPTED, 0, {vector}
            .if {returns}
            jmpq *{ways}+{way}(%rip)
            .else
            iretq
            .endif
            .cfi_endproc
            .size pmiscope_overflow_entry, . - pmiscope_overflow_entry
            "#,
            vector = const $vector,
            registers = sym $crate::hw::apic::REGISTERS,
            id = const $crate::hw::apic::Register::Id as u16,
            id_msr = const 0x800 + ($crate::hw::apic::Register::Id as u32 >> 4),
            paths = sym $crate::entry::fast::BY_APIC_ID,
            cores = const $crate::entry::fast::MOST_CORES,
            none = sym $crate::entry::fast::NONE,
            fast = const $crate::entry::fast::ON_IRQ,
            leave = const $crate::entry::fast::LEAVE,
            rearm = const $crate::entry::fast::REARM,
            deferral = const $crate::entry::fast::DEFERRAL,
            returns = const $returns as u8,
            ways = sym $crate::entry::returns::WAYS,
            way = const $crate::entry::returns::OVERFLOWS,
            handler = sym $handler,
            options(att_syntax),
        );
    };
}

unsafe extern "C" {
    // What the macro defines.
    fn pmiscope_overflow_entry();
}

/// The address of the entry, for the gate of overflows.
#[must_use]
pub fn entry() -> u64 {
    (pmiscope_overflow_entry as *const ()).addr() as u64
}
