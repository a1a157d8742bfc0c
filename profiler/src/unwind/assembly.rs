//! What the walk over stacks has to know of assembly.
//!
//! Compiled code keeps its caller by a frame pointer. Assembly that enters
//! and leaves interrupts, switches stacks and starts them has instructions
//! at which the frame pointer is another code's. It says so itself, where it is
//! written: the macro `RULE` notes in a table how the caller is kept from that
//! place on, and [`rule`] looks there.
//!
//! All such assembly, a kernel's and this library's, is in one section,
//! `.pmiscope.assembly`, which the linker script places (`pmiscope.ld`), and the table's
//! entries are made in the order of the code, so the table is sorted ([`is_sorted`]).
//!
//! A kernel may have some of its assembly in pages of its own: in the section
//! `.pmiscope.assembly.border`, which its linker script places behind all other assembly, with
//! `RULES_OF_BORDER` set to 1 meanwhile. Their rules are in `.pmiscope.rules.border` then, which is
//! placed behind the others as well.
//!
//! A walk asks most often for the rules that have no operands: the root's, once in each
//! complete chain. For those there is a byte for each byte of the assembly ([`make_map`]), so
//! that no table is searched in a handler.
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
//! * `RULE SYSCALL`: SYSCALL's entry, or the exit by SYSRET. The user's program counter is in `rcx`,
//!   its stack pointer in `rsp`, its frame pointer in `rbp`.
//! * `RULE SYSCALL_SAVED`: the same, but `rsp` is the kernel's, and the user's stack pointer in the
//!   core's word for that ([`super::Target::user_sp`]).
//! * `RULE SYSCALL_PUSHED, words`: the same, but it lies `words` words above the stack pointer.
//!   Once the entry has pushed the five words that an interrupt would have pushed, it is
//!   `RULE INTERRUPTED, words, BY_SYSCALL`, and without a vector from where it has pushed
//!   `BY_SYSCALL` in the vector's place.
//! * `TRAP_CFI`, `TRAP_PUSH`, `TRAP_POP`, `TRAP_PUSH_ALL` and `TRAP_POP_ALL`, for the
//!   entries of interrupts in AT&T syntax: what the processor has pushed, and
//!   registers above it, with their call-frame information and their rule.

use core::slice;
use core::sync::atomic::{AtomicU8, Ordering};

use super::{Rule, UserSp};
use crate::address::{CodeAddress, CodeRange};
use crate::linked::code_between;

/// The numbers that the macro `RULE` puts into the table.
mod kind {
    pub(super) const FRAME: u8 = 0;
    pub(super) const INTERRUPTED: u8 = 1;
    pub(super) const TRAP_FRAME: u8 = 2;
    pub(super) const SAVED: u8 = 3;
    pub(super) const ROOT: u8 = 4;
    pub(super) const SYSCALL: u8 = 5;
    pub(super) const SYSCALL_SAVED: u8 = 6;
    pub(super) const SYSCALL_PUSHED: u8 = 7;
}

/// Assembly: `global_asm!` in the section that [`crate::unwind::assembly::rule`] knows,
/// with the macro `RULE`.
///
/// ```no_run,standalone_crate
/// #[unsafe(no_mangle)]
/// extern "C" fn kernel_main() -> ! {
///     loop {}
/// }
///
/// // Where a boot loader enters: the root of the first stack.
/// profiler::assembly!(
///     r#"
///     .global kernel_entry
///     .type kernel_entry, @function
/// kernel_entry:
///     RULE ROOT
///     xorl %ebp, %ebp
///     call {main}
///     ud2
///     .size kernel_entry, . - kernel_entry
///     "#,
///     main = sym kernel_main,
///     options(att_syntax),
/// );
/// # fn main() {}
/// ```
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
    .set SYSCALL, 5
    .set SYSCALL_SAVED, 6
    .set SYSCALL_PUSHED, 7
    .set BY_SYSCALL, 256
    .set RULES_OF_BORDER, 0
    .macro RULE kind, words=0, vector=-1
777:
    .if RULES_OF_BORDER
    .pushsection .pmiscope.rules.border, "a", @progbits
    .else
    .pushsection .pmiscope.rules, "a", @progbits
    .endif
    # A distance, which is the same wherever a boot loader moves the kernel.
    .quad 777b - .
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

    # Where `rsp` is a frame in which there are only the registers that a fast handler may change.
    .macro FAST_CFI
    .cfi_def_cfa %rsp, 176
    .cfi_offset %rbp, -176
    .cfi_offset %rax, -168
    .cfi_offset %rcx, -152
    .cfi_offset %rdx, -144
    .cfi_offset %rdi, -128
    .cfi_offset %r8, -120
    .cfi_offset %r9, -112
    .endm

    # The others.
    .macro TRAP_SAVE_REST
    movq %rbx, 16(%rsp)
    .cfi_rel_offset %rbx, 16
    movq %rsi, 40(%rsp)
    .cfi_rel_offset %rsi, 40
    movq %r10, 72(%rsp)
    .cfi_rel_offset %r10, 72
    movq %r11, 80(%rsp)
    .cfi_rel_offset %r11, 80
    movq %r12, 88(%rsp)
    .cfi_rel_offset %r12, 88
    movq %r13, 96(%rsp)
    .cfi_rel_offset %r13, 96
    movq %r14, 104(%rsp)
    .cfi_rel_offset %r14, 104
    movq %r15, 112(%rsp)
    .cfi_rel_offset %r15, 112
    .endm

    # Those of them that a handler and its entry may have changed, back.
    .macro TRAP_RESTORE_REST
    movq 16(%rsp), %rbx
    movq 40(%rsp), %rsi
    movq 72(%rsp), %r10
    movq 80(%rsp), %r11
    movq 88(%rsp), %r12
    movq 104(%rsp), %r14
    .irp register, rbx, rsi, r10, r11, r12, r13, r14, r15
    .cfi_restore %\register
    .endr
    .endm

    # What a fast handler may have changed, back, and the stack as it was.
    .macro TRAP_RESTORE
    movq 8(%rsp), %rax
    movq 24(%rsp), %rcx
    movq 32(%rsp), %rdx
    movq 48(%rsp), %rdi
    movq 56(%rsp), %r8
    movq 64(%rsp), %r9
    movq (%rsp), %rbp
    RULE INTERRUPTED, 17
    addq $136, %rsp
    .cfi_adjust_cfa_offset -136
    .irp register, rbp, rax, rcx, rdx, rdi, r8, r9
    .cfi_restore %\register
    .endr
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
    .section .pmiscope.assembly, "ax", @progbits
            "#,
            $code,
            ".text",
            $($operand)*
        );
    };
}

/// An entry of the table: from its address on, up to the next entry's.
#[repr(C)]
struct Entry {
    /// From here to that address.
    distance: i64,
    kind: u8,
    words: u8,
    /// -1: where the stub has pushed it.
    vector: i16,
    padding: u32,
}

impl Entry {
    #[inline]
    fn address(&self) -> u64 {
        let here = (&raw const *self).addr() as u64;
        here.wrapping_add_signed(self.distance)
    }

    #[inline]
    fn rule(&self) -> Rule {
        rule_of(self.kind, self.words, self.vector)
    }
}

#[inline]
fn rule_of(kind: u8, words: u8, vector: i16) -> Rule {
    let words = words.into();
    match kind {
        kind::INTERRUPTED => Rule::Interrupted {
            words,
            vector: u16::try_from(vector).ok(),
        },
        kind::SYSCALL => Rule::SystemCall {
            sp: UserSp::Register,
        },
        kind::SYSCALL_SAVED => Rule::SystemCall { sp: UserSp::Saved },
        kind::SYSCALL_PUSHED => Rule::SystemCall {
            sp: UserSp::Pushed(words),
        },
        kind::TRAP_FRAME => Rule::TrapFrame,
        kind::SAVED => Rule::Saved { words },
        kind::ROOT => Rule::Root,
        kind::FRAME.. => Rule::FramePointer,
    }
}

/// Bytes of an entry of the table.
pub const ENTRY_BYTES: usize = size_of::<Entry>();

/// The entry that the bytes at `address` are, for whoever reads the table in a dead kernel's memory:
/// from which address on code keeps its caller so.
///
/// ```
/// use profiler::address::CodeAddress;
/// use profiler::unwind::Rule;
/// use profiler::unwind::assembly::entry_at;
///
/// let mut bytes = [0; 16];
/// bytes[..8].copy_from_slice(&(-0x100_i64).to_le_bytes());
/// bytes[8] = 4;
/// assert_eq!(entry_at(0x1000, &bytes), (CodeAddress(0xf00), Rule::Root));
/// ```
#[must_use]
pub fn entry_at(address: u64, bytes: &[u8; ENTRY_BYTES]) -> (CodeAddress, Rule) {
    let [d0, d1, d2, d3, d4, d5, d6, d7, kind, words, v0, v1, ..] = *bytes;
    let distance = i64::from_le_bytes([d0, d1, d2, d3, d4, d5, d6, d7]);
    let start = CodeAddress(address.wrapping_add_signed(distance));
    (start, rule_of(kind, words, i16::from_le_bytes([v0, v1])))
}

// The linker script's symbols: see `pmiscope.ld`.
unsafe extern "C" {
    static __pmiscope_assembly_start: u8;
    static __pmiscope_assembly_end: u8;
    static __pmiscope_calls_start: u8;
    static __pmiscope_calls_end: u8;
    static __pmiscope_rules_start: Entry;
    static __pmiscope_rules_end: Entry;
}

/// The assembly.
#[inline]
fn code() -> CodeRange {
    code_between(
        &raw const __pmiscope_assembly_start,
        &raw const __pmiscope_assembly_end,
    )
}

/// Where are the assembly, the functions that entry stubs call, and the table of rules.
#[must_use]
pub fn places() -> [CodeRange; 3] {
    let rules = code_between(
        (&raw const __pmiscope_rules_start).cast(),
        (&raw const __pmiscope_rules_end).cast(),
    );
    [code(), calls(), rules]
}

#[inline]
fn calls() -> CodeRange {
    code_between(
        &raw const __pmiscope_calls_start,
        &raw const __pmiscope_calls_end,
    )
}

/// The first address of the assembly.
#[must_use]
#[inline]
pub fn start() -> CodeAddress {
    code().start
}

/// Returns true if the instruction at `address` is of a function in the section
/// `.pmiscope.calls`: those that entry stubs call.
#[must_use]
#[inline]
pub fn is_called_by_stub(address: CodeAddress) -> bool {
    calls().contains(address)
}

/// Returns true if the instruction at `address` is of the assembly: [`rule`] may differ
/// from [`Rule::FramePointer`] there alone.
#[must_use]
#[inline]
pub fn contains(address: CodeAddress) -> bool {
    code().contains(address)
}

#[inline]
fn table() -> &'static [Entry] {
    let start = &raw const __pmiscope_rules_start;
    let bytes = (&raw const __pmiscope_rules_end).addr() - start.addr();
    // SAFETY: the linker script puts both symbols around the entries that the macro
    // made, which nobody writes.
    unsafe { slice::from_raw_parts(start, bytes / size_of::<Entry>()) }
}

/// How code keeps its caller while the instruction at `address` has not been
/// executed.
#[must_use]
#[inline]
pub fn rule(address: CodeAddress) -> Rule {
    if contains(address) {
        rule_of_assembly(address)
    } else {
        Rule::FramePointer
    }
}

/// The bytes of assembly that have a byte in the map. Rules of what lies behind are searched.
const MAP_BYTES: usize = 24 << 10;

/// In the map: one more than the kind of a rule without operands; 0: search.
const SEARCH: u8 = 0;

/// By the distance from the assembly's start.
static MAP: [AtomicU8; MAP_BYTES] = [const { AtomicU8::new(SEARCH) }; MAP_BYTES];

/// Makes the map of rules, so that [`rule_of_assembly`] need not search. To be called once the
/// table is known to be sorted ([`is_sorted`]), as often as one likes.
pub fn make_map() {
    let ends = table().iter().skip(1).map(Entry::address);
    for (entry, end) in table().iter().zip(ends.chain([code().end.0])) {
        let kind = match entry.rule() {
            Rule::FramePointer => kind::FRAME + 1,
            Rule::TrapFrame => kind::TRAP_FRAME + 1,
            Rule::Root => kind::ROOT + 1,
            Rule::Interrupted { .. } | Rule::Saved { .. } | Rule::SystemCall { .. } => SEARCH,
        };
        for byte in (entry.address()..end).filter_map(|address| map_at(CodeAddress(address))) {
            byte.store(kind, Ordering::Relaxed);
        }
    }
}

/// The byte of an address in the assembly.
#[inline]
fn map_at(address: CodeAddress) -> Option<&'static AtomicU8> {
    let place = address.0.wrapping_sub(code().start.0);
    MAP.get(usize::try_from(place).ok()?)
}

/// The same as [`rule`], of an address in the assembly.
#[must_use]
#[inline]
pub fn rule_of_assembly(address: CodeAddress) -> Rule {
    const FRAME: u8 = kind::FRAME + 1;
    const TRAP_FRAME: u8 = kind::TRAP_FRAME + 1;
    const ROOT: u8 = kind::ROOT + 1;
    match map_at(address).map_or(SEARCH, |byte| byte.load(Ordering::Relaxed)) {
        FRAME => Rule::FramePointer,
        TRAP_FRAME => Rule::TrapFrame,
        ROOT => Rule::Root,
        _ => search(address),
    }
}

/// The same: a binary search in a table of fixed size.
#[cold]
fn search(address: CodeAddress) -> Rule {
    let after = table().partition_point(|entry| entry.address() <= address.0);
    let Some(entry) = table()[..after].last() else {
        return Rule::FramePointer;
    };
    entry.rule()
}

/// Returns true if the table can be searched: it is sorted, and names no code outside the
/// assembly, as it would if the macro were used outside [`assembly!`](crate::assembly).
#[must_use]
pub fn is_sorted() -> bool {
    let addresses = || table().iter().map(Entry::address);
    addresses().is_sorted() && addresses().all(|address| contains(CodeAddress(address)))
}
