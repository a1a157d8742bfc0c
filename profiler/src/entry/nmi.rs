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
//! processor pushed to the place where the NMI is handled. From then on an NMI in
//! the NMI handler is an interrupt like any other.
//!
//! # Where an NMI is handled
//!
//! A core's *trap stacks* are the landing, the handler stack of NMIs, and the stacks
//! that the processor switches to for #DB, #DF and #MC. They lie side by side, so one
//! comparison tells whether the interrupted stack pointer is on any of them.
//!
//! | the interrupted stack pointer is on | the NMI is handled                         |
//! |-------------------------------------|--------------------------------------------|
//! | no trap stack, or it is a user's    | at the top of the handler stack            |
//! | the handler stack                   | right below the interrupted stack pointer  |
//! | that of #DB, #DF or #MC             | the same, breakpoints off (`nmi_aside`)    |
//! | the landing                         | never: the first NMI is lost, the run ends |
//!
//! A user's program may set its stack pointer to an address of a trap stack. In user mode the code
//! segment says that it is on none; right behind `syscall`, and right before `sysret`, the address
//! of the instruction does ([`set_user_stack_code`]).
//!
//! No flag says how deep we are, so there is no instruction at which such a flag is
//! wrong. The place is free, and stays untouched until its NMI returns, because:
//!
//! 1. *Below the interrupted stack pointer its stack is free*, as at any interrupt.
//! 2. *The top of the handler stack is taken only if no trap stack is in use.* What a
//!    trap stack is in use for ends on that stack, and what interrupts it runs on a trap
//!    stack as well: nothing but the last return leads off them.
//! 3. *#DB does not come while its stack is in use*, at whose top it would start. Code
//!    that runs on the stack of #DB, #DF or #MC, or interrupts such code, has breakpoints
//!    off, but for the entries of those three and `nmi_aside`, in which there are
//!    none (`is_landing`, [`super::switched::code`]). The processor has cleared the trap
//!    flag.
//! 4. *#DF and #MC never return*, so what a second one overwrites is needed no more.
//!
//! | nested, the outermost first          | stack of the last | why nothing is overwritten                     |
//! |--------------------------------------|-------------------|------------------------------------------------|
//! | NMI, NMI                             | handler           | 1                                              |
//! | NMI, #DB                             | #DB               | 3: it was not in use                           |
//! | #DB, NMI                             | #DB               | 1; the handler stack was not in use and is not |
//! | NMI, #DB, NMI                        | #DB               | 1; nothing touches the first NMI's frames      |
//! | NMI, #DB, NMI, NMI                   | #DB               | 1                                              |
//! | #DB in its first instructions, NMI   | #DB               | 1, 3: breakpoints are off until it is back     |
//! | #DB in its last instructions, NMI    | #DB               | the same                                       |
//! | #DB, NMI in its last instructions, NMI | #DB             | the same: this one finds #DB's stack in use    |
//! | #DB, NMI, #DB                        | -                 | 3: does not come                               |
//! | any of these, #MC                    | #MC               | it was not in use, or 4                        |
//! | any of these, #MC, NMI               | #MC               | 1, 3                                           |
//! | any of these, #MC, #DB               | -                 | 3: does not come                               |
//! | any of these, #DF, and NMI           | #DF               | as #MC                                         |
//! | NMI on its landing, #DB              | -                 | aims there are refused, the trap flag is clear |
//! | NMI on its landing, #MC              | #MC               | 4: an `iret` back would let NMIs in            |
//! | NMI on its landing, NMI              | -                 | it is: `nmi_on_landing` ends the run           |
//!
//! The last line takes firmware whose handler of an SMI has an `iret` (SDM vol. 3, "NMI
//! Handling While in SMM"), or a handler of #MC that returns to a landing. It is found at
//! each instruction of the landing: the stack pointer leaves it when all words are copied,
//! and not before. `nmi_on_landing` is an invalid opcode, which ends a run with a message
//! ([`interrupted_landing`]).
//!
//! CR2 is kept over the handler, but for the fast one ([`super::fast`]), in which nothing can
//! be survived. Nothing in either can fault; but an exception that it
//! meets all the same, and that is survived, must not change what a page fault's
//! handler that was interrupted is about to read.
//!
//! The GS base is not needed: the landing's top word is the core's block.
//!
//! # What it costs
//!
//! The code from the entry to the reading of the time stamp counter has no branch but the one to
//! `nmi_aside`, and from the arming of the source to the `iret` there are the same instructions,
//! whichever handler it was ([`super::fast`]): under instruction counting, what an NMI costs
//! beside its handler is a constant that can be calibrated. `nmi_aside` reads the time stamp
//! counter after as many instructions as the entry does.
//!
//! Before the fast handler the entry saves what a call may change. The others are in the frame
//! before the handler that is not fast is called.

use core::sync::atomic::{AtomicU64, Ordering};

use super::TrapFrame;
use crate::address::{CodeAddress, CodeRange};

/// The bytes of a stack that an NMI must find free, or it is only counted: more than the
/// handler ever uses. It takes 1.6 KiB, and 4 KiB in a kernel without optimization, in which
/// the parts of it that depend on the kernel are compiled.
pub const ROOM: usize = 6144;

/// Where the entry finds what, for [`nmi_entry!`](crate::nmi_entry): offsets into the
/// core's block, whose address is the landing's top word, and sizes.
///
/// ```
/// use profiler::entry::nmi::NmiLayout;
/// use profiler::entry::stacks;
///
/// // That of the library's own stacks.
/// const LAYOUT: NmiLayout = stacks::LAYOUT;
/// assert_eq!(LAYOUT.slot_bytes % LAYOUT.stack_bytes, 0);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct NmiLayout {
    /// The block's word that has the lowest address of the landing.
    pub landing_low: usize,
    /// The bytes of the landing.
    pub landing_bytes: u64,
    /// The block's word that has the lowest address of the handler stack.
    pub handlers_low: usize,
    /// The block's word that has the first address past the handler stack.
    pub handlers_high: usize,
    /// The bytes of the handler stack.
    pub handlers_bytes: u64,
    /// From the lowest address of the landing to the end of the last trap stack. What lies
    /// between belongs to nothing else.
    pub trap_stacks_bytes: u64,
    /// The bytes of address space from one trap stack's upper end to the next one's; a
    /// power of two that divides these ends, unless it is `stack_bytes`.
    pub slot_bytes: u64,
    /// The bytes of the stacks of #DB, #DF and #MC.
    pub stack_bytes: u64,
    /// The block's word in which NMIs are counted that there was no room for.
    pub no_room: usize,
    /// The block's [`FastWord`](super::fast::FastWord).
    pub fast: usize,
}

/// Defines the entry of NMIs, once in a kernel: see [`crate::entry::nmi`].
///
/// ```no_run,standalone_crate
/// use profiler::entry::stacks::{Block, LAYOUT};
/// use profiler::entry::{TrapFrame, end_of_call, nmi};
///
/// #[unsafe(link_section = ".pmiscope.calls")]
/// extern "C" fn on_nmi(frame: &mut TrapFrame, block: &'static Block, entry_tsc: u64) {
///     // …
///     end_of_call();
/// }
///
/// profiler::nmi_entry! { handler: on_nmi, layout: LAYOUT }
///
/// fn gate_of_nmis() -> u64 {
///     nmi::entry()
/// }
/// # fn main() {}
/// ```
///
/// `LAYOUT` is an [`NmiLayout`](crate::entry::nmi::NmiLayout). The handler is an
/// `extern "C" fn(&mut TrapFrame, &Block, u64)` in the section `.pmiscope.calls`, which
/// gets the interrupted registers, the core's block and the time stamp counter at the
/// entry, and calls nothing as its last step by a jump.
///
/// With `returns: true` behind the layout, the entry ends by the kernel's way back, if it has one
/// ([`crate::entry::returns`]).
#[macro_export]
macro_rules! nmi_entry {
    (handler: $handler:path, layout: $layout:expr) => {
        $crate::nmi_entry! { handler: $handler, layout: $layout, returns: false }
    };
    (handler: $handler:path, layout: $layout:expr, returns: $returns:literal) => {
        $crate::assembly!(
            r#"
            .macro NMI_RETURN way
            .if {returns}
            jmpq *{ways}+\way(%rip)
            .else
            iretq
            .endif
            .endm

            # From the landing, to which rsp points, to the place below rdx: a frame like that of
            # every other trap, see [`super::TrapFrame`]. The stack pointer stays on the landing,
            # by which a second NMI would see that it has come too early, until all is copied.
            # Leaves it at the landing's free word. (The rules are not right for the next few
            # instructions, and no walk asks: nothing interrupts the landing and goes on.)
            .macro NMI_COPY
            popq -144(%rdx)
            popq -152(%rdx)
            popq -168(%rdx)
            popq -40(%rdx)
            popq -32(%rdx)
            popq -24(%rdx)
            popq -16(%rdx)
            popq -8(%rdx)
            movq $2, -56(%rdx)
            movq %r9, -112(%rdx)
            movq %r8, -120(%rdx)
            movq %rdi, -128(%rdx)
            movq %rbp, -176(%rdx)
            .endm

            # To the copy: the next NMI may come.
            .macro NMI_LEAVE_LANDING
            leaq -{frame_bytes}(%rdx), %rsp
            FAST_CFI
            .endm

            # The other registers, and what the fast handler says, from rax; rcx is the block, which
            # rbx is then.
            .macro NMI_SAVE_REST
            TRAP_SAVE_REST
            movq %rax, 128(%rsp)
            movq {fast}(%rcx), %rdi
            movq {deferral}(%rdi), %rax
            orq %rax, 128(%rsp)
            # What an interrupted handler has left for its entry is not for this one.
            movq {rearm}(%rdi), %r14
            movq $0, {rearm}(%rdi)
            cld
            movq %rcx, %rbx
            movq %rsp, %rdi
            movq %rcx, %rsi
            movq %rsp, %rbp
            .endm

            # Back as the handler that is not fast has left it, the block in rbx.
            .macro NMI_REARM_OR back, leave
            movq {fast}(%rbx), %rdx
            movq {rearm}(%rdx), %rax
            movq %r14, {rearm}(%rdx)
            TRAP_RESTORE_REST
            testq %rax, %rax
            je \back
            jmpq *\leave(%rdx)
            .endm

            # On the landing, once it has pushed three registers.
            .macro NMI_CFI_LANDING
            .cfi_def_cfa %rsp, 64
            .cfi_offset %rax, -48
            .cfi_offset %rcx, -56
            .cfi_offset %rdx, -64
            .endm

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
            # The interrupted stack pointer if it is on a trap stack, else the handler stack's
            # top.
            movq {handlers_high}(%rcx), %rdx
            movq 48(%rsp), %rax
            subq {landing_low}(%rcx), %rax
            cmpq ${trap_stacks_bytes}, %rax
            cmovb 48(%rsp), %rdx
            # That of the user's program, which may have anything there, is on none.
            testb $3, 32(%rsp)
            cmovnzq {handlers_high}(%rcx), %rdx
            andq $-16, %rdx
            # On the handler stack, with room for one more handler?
            leaq -{room}(%rdx), %rax
            subq {handlers_low}(%rcx), %rax
            cmpq ${handlers_bytes} - {room}, %rax
            ja nmi_aside
        nmi_copy:
            NMI_COPY
            NMI_LEAVE_LANDING
            .global nmi_landed
        nmi_landed:
            .set depth, 17
            RULE INTERRUPTED, depth
            movq {fast}(%rcx), %rdi
            rdtsc
            shlq $32, %rdx
            orq %rax, %rdx
            movq %rsp, %rbp
            RULE TRAP_FRAME
            jmpq *{handler}(%rdi)

            # From the core's fast handler, the path in rdi.
            .global nmi_give_up
        nmi_give_up:
            movq {word}(%rdi), %rcx
            subq ${fast}, %rcx
            # From none, the block in rcx.
            .global nmi_unusual
        nmi_unusual:
            NMI_SAVE_REST
            movq %cr2, %r12
            .global nmi_call
        nmi_call:
            call {taken}
            # `r12` is as it was. A write of CR2 waits for all before it, so only if need be.
            movq %cr2, %rax
            cmpq %rax, %r12
            je nmi_back
            movq %r12, %cr2
        nmi_back:
            NMI_REARM_OR nmi_leave, {leave}

            .global nmi_leave
        nmi_leave:
            TRAP_RESTORE
            RULE INTERRUPTED, 0, {vector}
            NMI_RETURN {way_nmi}

            # From here to the end there must be no breakpoint.

            # Still on the landing: count it and go back. The increment is one instruction
            # on a word that only this core writes.
            .global nmi_no_room
        nmi_no_room:
            NMI_CFI_LANDING
            RULE INTERRUPTED, 3, {vector}
            incq {no_room}(%rcx)
            movq (%rsp), %rdx
            movq 8(%rsp), %rcx
            movq 16(%rsp), %rax
            addq $24, %rsp
            .cfi_adjust_cfa_offset -24
            .irp register, rax, rcx, rdx
            .cfi_restore %\register
            .endr
            RULE INTERRUPTED, 0, {vector}
            NMI_RETURN {way_aside}

            # What the NMI that was interrupted has pushed is overwritten: there is no way back.
            .global nmi_on_landing
        nmi_on_landing:
            NMI_CFI_LANDING
            RULE INTERRUPTED, 3, {vector}
            ud2

            # Still on the landing, for a place on the stack of #DB, #DF or #MC.
            .global nmi_aside
        nmi_aside:
            # The kernel's code with the stack pointer of a user's program: on no trap stack,
            # whatever it is.
            movq 24(%rsp), %rax
            subq {user_stack_code}(%rip), %rax
            cmpq 8+{user_stack_code}(%rip), %rax
            jb nmi_user_stack
            # Before the room is looked at: what is on the landing has no way back.
            movq 48(%rsp), %rax
            subq {landing_low}(%rcx), %rax
            cmpq ${landing_bytes}, %rax
            jb nmi_on_landing
            # The room, in a slot whose upper end is a stack.
            leaq -{room}(%rdx), %rax
            andl ${slot_bytes} - 1, %eax
            cmpl ${slot_bytes} - {stack_bytes}, %eax
            jb nmi_no_room
            pushq %rdx
            # As many instructions as from the entry to the `rdtsc` above.
            .rept 2
            nop
            .endr
            rdtsc
            shlq $32, %rdx
            orq %rax, %rdx
            # To the landing's free word.
            movq %rdx, 72(%rsp)
            popq %rdx
            NMI_COPY
            popq %rax
            NMI_LEAVE_LANDING
            .set depth, 17
            RULE INTERRUPTED, depth
            movq %rax, %rdx
            xorl %eax, %eax
            NMI_SAVE_REST
            RULE TRAP_FRAME
            movq %cr2, %r12
            movq %dr7, %r13
            movl $0x400, %eax
            movq %rax, %dr7
            call {taken}
            movq %cr2, %rax
            cmpq %rax, %r12
            je nmi_aside_back
            movq %r12, %cr2
        nmi_aside_back:
            # An NMI between here and the `iret` goes aside as well: this is not the handler
            # stack.
            movq %r13, %dr7
            movq 96(%rsp), %r13
            NMI_REARM_OR nmi_aside_leave, {leave_aside}
        nmi_aside_leave:
            TRAP_RESTORE
            RULE INTERRUPTED, 0, {vector}
            NMI_RETURN {way_aside}

        nmi_user_stack:
            NMI_CFI_LANDING
            RULE INTERRUPTED, 3, {vector}
            movq {handlers_high}(%rcx), %rdx
            andq $-16, %rdx
            jmp nmi_copy

            .cfi_endproc
            .size nmi_entry, . - nmi_entry
            .global nmi_entry_end
        nmi_entry_end:
            "#,
            vector = const $crate::entry::vector::NMI,
            handlers_high = const $layout.handlers_high,
            landing_low = const $layout.landing_low,
            landing_bytes = const $layout.landing_bytes,
            trap_stacks_bytes = const $layout.trap_stacks_bytes,
            handlers_low = const $layout.handlers_low,
            handlers_bytes = const $layout.handlers_bytes,
            slot_bytes = const $layout.slot_bytes,
            stack_bytes = const $layout.stack_bytes,
            room = const $crate::entry::nmi::ROOM,
            frame_bytes = const size_of::<$crate::entry::TrapFrame>(),
            no_room = const $layout.no_room,
            fast = const $layout.fast,
            handler = const $crate::entry::fast::ON_NMI,
            word = const $crate::entry::fast::WORD,
            leave = const $crate::entry::fast::LEAVE,
            leave_aside = const $crate::entry::fast::LEAVE_ASIDE,
            rearm = const $crate::entry::fast::REARM,
            deferral = const $crate::entry::fast::DEFERRAL,
            user_stack_code = sym $crate::entry::nmi::USER_STACK_CODE,
            returns = const $returns as u8,
            ways = sym $crate::entry::returns::WAYS,
            way_nmi = const $crate::entry::returns::NMI,
            way_aside = const $crate::entry::returns::ASIDE,
            taken = sym $handler,
            options(att_syntax),
        );
    };
}

/// Where the kernel's code has the stack pointer of a user's program, and how many bytes that is.
#[doc(hidden)]
pub static USER_STACK_CODE: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];

/// Says at which instructions the kernel's code has the stack pointer of a user's program, which
/// may be anything, an address of a trap stack too: where `syscall` leads to, up to the switch of
/// stacks, and from the switch back to `sysret`. No NMI's handler is interrupted there, and none
/// of #DB, #DF or #MC. A kernel whose programs enter it in other ways has no such code.
///
/// ```no_run
/// use profiler::address::{CodeAddress, CodeRange};
/// use profiler::entry::nmi;
///
/// # let (start, end) = (0, 0);
/// // Before a program runs.
/// nmi::set_user_stack_code(CodeRange { start: CodeAddress(start), end: CodeAddress(end) });
/// ```
pub fn set_user_stack_code(code: CodeRange) {
    let [start, bytes] = &USER_STACK_CODE;
    bytes.store(0, Ordering::Relaxed);
    start.store(code.start.0, Ordering::Relaxed);
    bytes.store(code.end.0.wrapping_sub(code.start.0), Ordering::Relaxed);
}

/// Returns true if the stack pointer of what was interrupted is that of a user's program, and says
/// nothing of the kernel's stacks: in user mode, and where [`set_user_stack_code`] says so.
#[must_use]
#[inline]
pub fn has_user_stack(frame: &TrapFrame) -> bool {
    let [start, bytes] = &USER_STACK_CODE;
    let from_start = frame.rip.wrapping_sub(start.load(Ordering::Relaxed));
    frame.cs & 3 != 0 || from_start < bytes.load(Ordering::Relaxed)
}

// What the macro defines.
unsafe extern "C" {
    fn nmi_entry();
    static nmi_landed: u8;
    static nmi_call: u8;
    static nmi_no_room: u8;
    static nmi_on_landing: u8;
    static nmi_entry_end: u8;
}

/// The address of the entry, for the gate of NMIs.
#[must_use]
pub fn entry() -> u64 {
    (nmi_entry as *const ()).addr() as u64
}

/// Returns true if the instruction is one of the landing, where an exception would let the
/// next NMI in, over the words that this one has pushed; or of an NMI in a window, where
/// a debug exception would start over the frame of another one.
#[must_use]
pub(crate) fn is_landing(address: CodeAddress) -> bool {
    let at = |label: *const u8| CodeAddress(label.addr() as u64);
    let landing = CodeAddress(entry())..at(&raw const nmi_landed);
    let aside = at(&raw const nmi_no_room)..at(&raw const nmi_entry_end);
    landing.contains(&address) || aside.contains(&address) || super::fast::is_aside(address)
}

/// Returns true if an invalid opcode at `pc` says that an NMI has interrupted another one on
/// its landing: the first one's way back is overwritten. For messages.
///
/// ```no_run,standalone_crate
/// # use profiler::entry::{TrapFrame, nmi, stacks::{Block, LAYOUT}};
/// # extern "C" fn on_nmi(_: &mut TrapFrame, _: &'static Block, _: u64) {}
/// # profiler::nmi_entry! { handler: on_nmi, layout: LAYOUT }
/// fn on_invalid_opcode(pc: u64) -> ! {
///     if nmi::interrupted_landing(pc) {
///         panic!("an NMI came while NMIs are blocked: firmware let it in");
///     }
///     panic!("invalid opcode at {pc:#x}");
/// }
/// # fn main() {}
/// ```
#[must_use]
pub fn interrupted_landing(pc: u64) -> bool {
    (&raw const nmi_on_landing).addr() as u64 == pc
}

/// The call of the handler, in the entry.
#[must_use]
pub fn call() -> CodeAddress {
    CodeAddress((&raw const nmi_call).addr() as u64)
}
