//! The entry of non-maskable interrupts: at any instruction, on any stack, with
//! any GS base, an NMI included.
//!
//! The processor switches to a stack of its own for the NMI and pushes five
//! words at its top. It takes no further NMI until an `iret`; but *any* `iret`
//! does, that of an exception in the handler too. The next NMI would then push
//! its five words over those of the first, which could never return.
//!
//! So there are two stacks. On the first, the *landing*, an NMI stays for the few
//! instructions up to `nmi_landed`, in which nothing can trap; they copy what the
//! processor pushed to the second, the *handler stack*. Where there? At its top;
//! or, if the interrupted code was on the handler stack itself, below what that
//! has pushed. From then on an NMI in the NMI handler is an interrupt like any
//! other. No flag says how deep we are, so there is no instruction at which such
//! a flag is wrong.
//!
//! CR2 is kept over the handler. Nothing in it can fault; but an exception that it
//! meets all the same, and that is survived, must not change what a page fault's
//! handler that was interrupted is about to read.
//!
//! The GS base is not needed: the landing's top word is the core's block.
//!
//! The code from the entry to the call has no branch that depends on anything but
//! the room, and the code from the return to `iret` none but on CR2: under
//! instruction counting, what an NMI costs beside its handler is a constant that
//! can be calibrated.

use core::mem::{offset_of, size_of};

use profiler::address::CodeAddress;

use super::TrapFrame;
use crate::cpu::CoreBlock;
use crate::memory::stacks::{Stack, StackKind};
use profiler::assembly;

/// Bytes of the handler stack that an NMI must find free, or it is only counted:
/// more than the handler ever uses.
const ROOM: u64 = 4096;

const HANDLER_STACK: usize =
    offset_of!(CoreBlock, stacks) + StackKind::NmiHandler as usize * size_of::<Stack>();

unsafe extern "C" {
    /// The gate of the NMI.
    fn nmi_entry();
    static nmi_landed: u8;
    static nmi_call: u8;
    static nmi_no_room: u8;
    static nmi_entry_end: u8;
}

assembly!(
    r#"
    # On the landing: [rsp] rip, cs, rflags, rsp, ss, a free word, the block.
    .balign 16
    .global nmi_entry
    .type nmi_entry, @function
nmi_entry:
    TRAP_CFI 40
    .set depth, 0
    RULE INTERRUPTED, depth, {vector}
    TRAP_PUSH rax
    TRAP_PUSH rcx
    TRAP_PUSH rdx
    movq 72(%rsp), %rcx
    # The interrupted stack pointer if it is on the handler stack, else its top.
    movq 48(%rsp), %rax
    movq {stack_high}(%rcx), %rdx
    subq {stack_low}(%rcx), %rax
    cmpq ${stack_bytes}, %rax
    movq 48(%rsp), %rax
    cmovbe %rax, %rdx
    andq $-16, %rdx
    # Room for one more handler?
    leaq -{room}(%rdx), %rax
    cmpq {stack_low}(%rcx), %rax
    jb nmi_no_room
    movq %rsp, %rax
    movq %rdx, %rsp
    # The rule is not right for the next few instructions, and nobody asks: nothing
    # interrupts the landing.
    # From here the frame is on the handler stack, and rax points to the landing.
    .cfi_def_cfa %rax, 64
    pushq 56(%rax)
    pushq 48(%rax)
    pushq 40(%rax)
    pushq 32(%rax)
    pushq 24(%rax)
    pushq $0
    pushq $2
    pushq %r15
    pushq %r14
    pushq %r13
    pushq %r12
    pushq %r11
    pushq %r10
    pushq %r9
    pushq %r8
    pushq %rdi
    pushq %rsi
    pushq 0(%rax)
    pushq 8(%rax)
    pushq %rbx
    pushq 16(%rax)
    pushq %rbp
    # A frame like that of every other trap: see entry.rs.
    .cfi_def_cfa %rsp, {frame_bytes}
    .cfi_offset %r15, -64
    .cfi_offset %r14, -72
    .cfi_offset %r13, -80
    .cfi_offset %r12, -88
    .cfi_offset %r11, -96
    .cfi_offset %r10, -104
    .cfi_offset %r9, -112
    .cfi_offset %r8, -120
    .cfi_offset %rdi, -128
    .cfi_offset %rsi, -136
    .cfi_offset %rdx, -144
    .cfi_offset %rcx, -152
    .cfi_offset %rbx, -160
    .cfi_offset %rax, -168
    .cfi_offset %rbp, -176
    .global nmi_landed
nmi_landed:
    .set depth, 17
    RULE INTERRUPTED, depth
    cld
    movq %cr2, %rbx
    movq %rsp, %rdi
    movq %rcx, %rsi
    rdtsc
    shlq $32, %rdx
    orq %rax, %rdx
    movq %rsp, %rbp
    RULE TRAP_FRAME
    .global nmi_call
nmi_call:
    call {taken}
    # `rbx` is as it was. A write of CR2 waits for all before it, so only if need be.
    movq %cr2, %rax
    cmpq %rax, %rbx
    je nmi_leave
    movq %rbx, %cr2
nmi_leave:
    TRAP_POP_ALL
    RULE INTERRUPTED, 0
    iretq

    # Still on the landing: count it and go back. The increment is one instruction
    # on a word that only this core writes.
    .global nmi_no_room
nmi_no_room:
    .cfi_def_cfa %rsp, 64
    .cfi_offset %rax, -48
    .cfi_offset %rcx, -56
    .cfi_offset %rdx, -64
    .set depth, 3
    RULE INTERRUPTED, depth, {vector}
    incq {no_room}(%rcx)
    TRAP_POP rdx
    TRAP_POP rcx
    TRAP_POP rax
    iretq
    .cfi_endproc
    .size nmi_entry, . - nmi_entry
    .global nmi_entry_end
nmi_entry_end:
    "#,
    vector = const super::vector::NMI,
    stack_low = const HANDLER_STACK + offset_of!(Stack, low),
    stack_high = const HANDLER_STACK + offset_of!(Stack, high),
    stack_bytes = const StackKind::NmiHandler.bytes(),
    room = const ROOM,
    frame_bytes = const size_of::<TrapFrame>(),
    no_room = const offset_of!(CoreBlock, nmis_without_room),
    taken = sym super::kernel_nmi,
    options(att_syntax),
);

/// The gate of the NMI.
#[must_use]
pub fn entry() -> x86_64::VirtAddr {
    x86_64::VirtAddr::from_ptr(nmi_entry as *const ())
}

/// Whether the instruction is one of the landing. An exception there would let the
/// next NMI in, over the words that this one has pushed.
#[must_use]
pub fn is_landing(address: CodeAddress) -> bool {
    let at = |label: *const u8| CodeAddress(label.addr() as u64);
    let landing = CodeAddress(entry().as_u64())..at(&raw const nmi_landed);
    let no_room = at(&raw const nmi_no_room)..at(&raw const nmi_entry_end);
    landing.contains(&address) || no_room.contains(&address)
}

/// The call of the handler, in the entry.
#[must_use]
pub fn call() -> CodeAddress {
    CodeAddress((&raw const nmi_call).addr() as u64)
}
