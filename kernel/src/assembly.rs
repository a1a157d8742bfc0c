//! What the walk over stacks has to know of the kernel's own assembly.
//!
//! Compiled code keeps its caller by a frame pointer. The assembly here enters
//! and leaves interrupts, switches stacks and starts them, so it has instructions
//! at which the frame pointer is another code's. It says so itself, where it is
//! written: the macro `RULE` notes in a table how the caller is kept from that
//! place on, and [`rule`] looks there.
//!
//! All assembly of the kernel is in one section, `.text.assembly`, and the table's
//! entries are made in the order of the code, so the table is sorted
//! ([`assert_sorted`]).
//!
//! The macros, for [`assembly!`](crate::assembly):
//!
//! * `RULE FRAME`: by the frame pointer, or as the call-frame information says,
//!   which the host has: not more than one word above the return address.
//! * `RULE INTERRUPTED, words[, vector]`: what the processor pushed lies `words`
//!   words above the stack pointer; without a vector the stub has pushed it.
//! * `RULE TRAP_FRAME`: the frame pointer leads to a trap frame.
//! * `RULE SAVED, words`: the stack was switched; the frame pointer that is of this
//!   one lies `words` words above the stack pointer, its return address behind it.
//! * `RULE ROOT`: there is no caller.
//! * `TRAP_CFI`, `TRAP_PUSH`, `TRAP_POP`, `TRAP_PUSH_ALL` and `TRAP_POP_ALL`, for the
//!   entries of interrupts in AT&T syntax: what the processor has pushed, and
//!   registers above it, with their call-frame information and their rule.

use core::slice;

use profiler::address::{CodeAddress, CodeRange};
use profiler::unwind::Rule;
use x86_64::VirtAddr;

/// The numbers that the macro `RULE` puts into the table.
mod kind {
    pub(super) const FRAME: u8 = 0;
    pub(super) const INTERRUPTED: u8 = 1;
    pub(super) const TRAP_FRAME: u8 = 2;
    pub(super) const SAVED: u8 = 3;
    pub(super) const ROOT: u8 = 4;
}

/// Assembly of the kernel: `global_asm!` in the section that [`rule`] knows, with
/// the macro `RULE`.
#[macro_export]
macro_rules! assembly {
    ($code:literal, $($operand:tt)*) => {
        ::core::arch::global_asm!(
            r#"
    .ifndef RULES_ARE_DEFINED
    .set RULES_ARE_DEFINED, 1
    .set FRAME, 0
    .set INTERRUPTED, 1
    .set TRAP_FRAME, 2
    .set SAVED, 3
    .set ROOT, 4
    .macro RULE kind, words=0, vector=-1
777:
    .pushsection .rodata.rules, "a", @progbits
    .quad 777b
    .byte \kind
    .byte \words
    .short \vector
    .long 0
    .popsection
    .endm

    # Where the processor left the interrupted registers, from the frame's end.
    .macro TRAP_CFI cfa
    .cfi_startproc simple
    .cfi_signal_frame
    .cfi_def_cfa %rsp, \cfa
    .cfi_offset %rip, -40
    .cfi_offset %rsp, -16
    .endm

    # `depth` counts the words above which the interrupted rip lies.
    .macro TRAP_PUSH register
    pushq %\register
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %\register, 0
    .set depth, depth + 1
    RULE INTERRUPTED, depth
    .endm

    .macro TRAP_POP register
    popq %\register
    .cfi_adjust_cfa_offset -8
    .cfi_restore %\register
    .set depth, depth - 1
    RULE INTERRUPTED, depth
    .endm

    # The registers of a trap frame, above what its stub has pushed.
    .macro TRAP_PUSH_ALL
    TRAP_PUSH r15
    TRAP_PUSH r14
    TRAP_PUSH r13
    TRAP_PUSH r12
    TRAP_PUSH r11
    TRAP_PUSH r10
    TRAP_PUSH r9
    TRAP_PUSH r8
    TRAP_PUSH rdi
    TRAP_PUSH rsi
    TRAP_PUSH rdx
    TRAP_PUSH rcx
    TRAP_PUSH rbx
    TRAP_PUSH rax
    TRAP_PUSH rbp
    .endm

    # The same back, and what the stub has pushed off.
    .macro TRAP_POP_ALL
    TRAP_POP rbp
    TRAP_POP rax
    TRAP_POP rbx
    TRAP_POP rcx
    TRAP_POP rdx
    TRAP_POP rsi
    TRAP_POP rdi
    TRAP_POP r8
    TRAP_POP r9
    TRAP_POP r10
    TRAP_POP r11
    TRAP_POP r12
    TRAP_POP r13
    TRAP_POP r14
    TRAP_POP r15
    addq $16, %rsp
    .cfi_adjust_cfa_offset -16
    .endm
    .endif
    .section .text.assembly, "ax", @progbits
            "#,
            $code,
            ".text",
            $($operand)*
        );
    };
}

/// An entry of the table: from `address` on, up to the next entry's.
#[repr(C)]
struct Entry {
    address: u64,
    kind: u8,
    words: u8,
    /// -1: where the stub has pushed it.
    vector: i16,
    padding: u32,
}

unsafe extern "C" {
    static __assembly_start: u8;
    static __assembly_end: u8;
    static __rules_start: Entry;
    static __rules_end: Entry;
}

/// The assembly.
#[inline]
fn code() -> CodeRange {
    CodeRange {
        start: CodeAddress((&raw const __assembly_start).addr() as u64),
        end: CodeAddress((&raw const __assembly_end).addr() as u64),
    }
}

#[inline]
fn table() -> &'static [Entry] {
    let start = &raw const __rules_start;
    let bytes = (&raw const __rules_end).addr() - start.addr();
    // SAFETY: the linker script puts both symbols around the entries that the macro
    // made, which are never written.
    unsafe { slice::from_raw_parts(start, bytes / size_of::<Entry>()) }
}

/// Returns true if the instruction at `address` is the assembly's.
#[must_use]
#[inline]
pub fn contains(address: CodeAddress) -> bool {
    code().contains(address)
}

/// How the assembly keeps its caller while the instruction at `address` has not been
/// executed: by a binary search in a table of fixed size.
#[must_use]
#[inline]
pub fn rule(address: CodeAddress) -> Rule {
    let after = table().partition_point(|entry| entry.address <= address.0);
    let Some(entry) = table()[..after].last() else {
        return Rule::FramePointer;
    };
    let words = entry.words.into();
    match entry.kind {
        kind::INTERRUPTED => Rule::Interrupted {
            words,
            vector: u8::try_from(entry.vector).ok(),
        },
        kind::TRAP_FRAME => Rule::TrapFrame,
        kind::SAVED => Rule::Saved { words },
        kind::ROOT => Rule::Root,
        kind::FRAME.. => Rule::FramePointer,
    }
}

/// Checks that the table can be searched.
///
/// # Panics
///
/// If it is not sorted, or names code that is not in the section: the macro was
/// used outside [`assembly!`](crate::assembly).
pub fn assert_sorted() {
    let addresses = || table().iter().map(|entry| entry.address);
    let outside = addresses().find(|&address| !code().contains(CodeAddress(address)));
    assert_eq!(
        outside.map(VirtAddr::new_truncate),
        None,
        "a rule for code outside the assembly"
    );
    assert!(
        addresses().is_sorted(),
        "the rules of the assembly are not in the order of the code"
    );
}
