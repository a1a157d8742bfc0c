//! Entries of interrupts: what comes before a handler of the sampler.
//!
//! * [`nmi`]: the entry of NMIs, with two stacks, as a macro.
//! * [`switched`]: those of the other traps that have stacks of their own.
//!
//! A kernel that has entries of its own may keep them; it then says what its trap frames
//! look like ([`super::Target::trap_frame_layout`]), and by rules what its assembly does
//! ([`crate::assembly!`]). NMIs need such an entry as that in [`nmi`]: one exception in
//! their handler lets the next one in.

pub mod nmi;
pub mod switched;

use crate::unwind::TrapFrameLayout;

/// The interrupted code's registers, as the entry stubs push them.
///
/// `rbp` comes first: while a handler runs, the frame pointer points here, so
/// what looks like a saved frame pointer is the interrupted code's own.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
#[expect(missing_docs, reason = "the registers' names say what they are")]
pub struct TrapFrame {
    pub rbp: u64,
    pub rax: u64,
    pub rbx: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    pub r8: u64,
    pub r9: u64,
    pub r10: u64,
    pub r11: u64,
    pub r12: u64,
    pub r13: u64,
    pub r14: u64,
    pub r15: u64,
    /// Which gate was taken.
    pub vector: u64,
    /// What the processor pushed, or 0 for vectors that have none.
    pub error_code: u64,
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
}

const WORD: usize = 8;

impl TrapFrame {
    /// Where the walk finds what, in words from the frame's start.
    pub const LAYOUT: TrapFrameLayout = {
        use core::mem::offset_of;
        TrapFrameLayout {
            fp: (offset_of!(Self, rbp) / WORD) as u64,
            vector: Some((offset_of!(Self, vector) / WORD) as u64),
            pc: (offset_of!(Self, rip) / WORD) as u64,
            sp: (offset_of!(Self, rsp) / WORD) as u64,
            words: (size_of::<Self>() / WORD) as u64,
        }
    };
}
