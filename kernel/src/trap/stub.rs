//! The entry stubs: from the processor's trap to [`super::dispatch`](mod@super::dispatch) and back.
//!
//! Every vector has a stub of 16 bytes that makes all traps look alike (an error
//! code where the processor pushes none, then the vector) and goes to one common
//! path, which pushes the registers to form a [`TrapFrame`].
//!
//! For whoever walks the stack:
//! - `rbp` is pushed last and then set to the frame's address. Until that one
//!   instruction it is the interrupted code's frame pointer, so a walk that
//!   starts in the stub continues there; from then on it points to the
//!   [`TrapFrame`], whose first word is the interrupted frame pointer.
//! - The word above that one is not a return address. A walk knows the frame by
//!   the return address *into* the common path, whose rule is `TRAP_FRAME`, and
//!   hops to the registers in the frame. Before and after, it knows how far above
//!   the stack pointer the processor's words lie (see [`profiler::unwind::assembly`]).
//! - Call-frame information holds at every instruction. The frame is a signal
//!   frame: its return address is the interrupted instruction, not one past a
//!   call.
//!
//! The processor aligns the stack to 16 before it pushes (SDM vol. 3, 7.14.2);
//! 22 words later it is aligned still, as the ABI wants it at a call.

use core::mem::size_of;

use kernel_core::stub::STUB_BYTES;
use x86_64::VirtAddr;

use super::dispatch;
use super::walk::stubs;
use profiler::assembly;
use profiler::entry::TrapFrame;

const _: () = assert!(size_of::<TrapFrame>().is_multiple_of(16));

/// The entry stub of a vector.
#[must_use]
pub fn of(vector: u8) -> VirtAddr {
    stubs() + u64::from(vector) * STUB_BYTES
}

assembly!(
    r#"
    .balign 4096
    .global trap_stubs
    .type trap_stubs, @function
trap_stubs:
    .set vector, 0
    .rept 256
    .balign 16
    # As in `kernel_core::stub::has_error_code`.
    .if (vector == 8) || ((vector >= 10) && (vector <= 14)) || (vector == 17) || (vector == 21) || (vector == 29) || (vector == 30)
    TRAP_CFI 48
    .else
    TRAP_CFI 40
    pushq $0
    .cfi_adjust_cfa_offset 8
    .endif
    pushq $vector
    .cfi_adjust_cfa_offset 8
    jmp trap_common
    .cfi_endproc
    .set vector, vector + 1
    .endr
    .size trap_stubs, . - trap_stubs

    .balign 16
    .global trap_common
    .type trap_common, @function
trap_common:
    TRAP_CFI 56
    .set depth, 2
    RULE INTERRUPTED, depth
    TRAP_PUSH_ALL
    cld
    movq %rsp, %rdi
    movq %rsp, %rbp
    RULE TRAP_FRAME
    call {dispatch}
trap_leave:
    TRAP_POP_ALL
    RULE INTERRUPTED, 0
    iretq
    .cfi_endproc
    .size trap_common, . - trap_common
    "#,
    dispatch = sym dispatch::dispatch,
    options(att_syntax),
);
