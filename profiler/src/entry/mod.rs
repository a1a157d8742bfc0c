//! Entries of interrupts: what comes before a handler.
//!
//! * [`nmi`]: the entry of NMIs, with two stacks, as a macro.
//! * [`switched`]: those of the other traps that have stacks of their own.
//! * [`vectors`]: those of interrupts that stay on the stack that they interrupt.
//! * [`overflow`]: that of maskable interrupts that are overflows.
//! * [`fast`]: what is tried first there, and how it ends.
//! * [`protection`]: that of #GP, before the kernel's own.
//! * [`returns`]: how they end, where a kernel has more to do than `iretq`.
//! * [`stacks`]: stacks for the first two, for kernels that have none.
//!
//! A kernel that has entries of its own may keep them; it then says what its trap frames
//! look like ([`Target::trap_frame_layout`](crate::sampler::Target::trap_frame_layout)), and
//! by rules what its assembly does ([`crate::assembly!`]). NMIs need such an entry as that
//! in [`nmi`]: one exception in their handler lets the next one in.
//!
//! # Entries of the kernel's own
//!
//! ```
//! use profiler::sampler::{Interrupted, Sampler, Target};
//!
//! /// What the kernel's entries push, and the processor.
//! #[repr(C)]
//! struct Registers {
//!     rbp: u64,
//!     others: [u64; 14],
//!     vector: u64,
//!     error_code: u64,
//!     rip: u64,
//!     cs: u64,
//!     rflags: u64,
//!     rsp: u64,
//!     ss: u64,
//! }
//!
//! /// Called for the sampler's vectors, `profiler::sampler::vector::HANDLED`.
//! fn on_interrupt(
//!     sampler: &'static Sampler<impl Target>,
//!     core: u32,
//!     registers: &mut Registers,
//! ) {
//!     let Registers { rip, rsp, rbp, rflags, cs, .. } = *registers;
//!     let mut interrupted = Interrupted::new(rip, rsp, rbp, rflags);
//!     interrupted.privilege = cs as u8 & 3;
//!     sampler.on_interrupt(core, registers.vector, &mut interrupted);
//!     registers.rflags = interrupted.flags;
//! }
//! ```

pub mod fast;
pub mod nmi;
pub mod overflow;
pub mod protection;
pub mod returns;
pub mod stacks;
pub mod switched;
pub mod vector;
pub mod vectors;

use core::fmt;

use crate::address::CodeAddress;
use crate::unwind::TrapFrameLayout;

/// Why there cannot be a breakpoint at an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoBreakpoint {
    /// It is in the entry of debug exceptions.
    DebugEntry,
    /// It is where an NMI has just landed, or a gate of the kernel's before that
    /// ([`returns`]).
    Landing,
}

/// Makes sure that there can be a breakpoint at `address`, whether the kernel has
/// [`nmi_entry!`](crate::nmi_entry) and [`switched_entries!`](crate::switched_entries) or not.
///
/// # Errors
///
/// [`NoBreakpoint`] says why there cannot.
pub fn check_breakpoint(address: CodeAddress) -> Result<(), NoBreakpoint> {
    if switched::code().contains(address) {
        Err(NoBreakpoint::DebugEntry)
    } else if nmi::is_landing(address) || returns::is_without_breakpoints(address) {
        Err(NoBreakpoint::Landing)
    } else {
        Ok(())
    }
}

/// The interrupted code's registers, as the entry stubs push them.
///
/// `rbp` comes first: while a handler runs, the frame pointer points here, so
/// what looks like a saved frame pointer is the interrupted code's own.
///
/// ```
/// use profiler::entry::TrapFrame;
/// use profiler::sampler::Interrupted;
///
/// extern "C" fn on_trap(frame: &mut TrapFrame) {
///     let interrupted = Interrupted::from(&*frame);
///     assert_eq!(interrupted.registers.pc.0, frame.rip);
/// }
/// ```
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
    /// What the processor pushed, in the lower half; of vectors that have none, what the entry
    /// tells the sampler ([`fast`]).
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

    /// Where `rcx` is, likewise.
    pub const RCX: u64 = (core::mem::offset_of!(Self, rcx) / WORD) as u64;
}

impl fmt::Display for TrapFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = [
            [("rip", self.rip), ("rsp", self.rsp), ("rbp", self.rbp)],
            [("rax", self.rax), ("rbx", self.rbx), ("rcx", self.rcx)],
            [("rdx", self.rdx), ("rsi", self.rsi), ("rdi", self.rdi)],
            [("r8 ", self.r8), ("r9 ", self.r9), ("r10", self.r10)],
            [("r11", self.r11), ("r12", self.r12), ("r13", self.r13)],
            [("r14", self.r14), ("r15", self.r15), ("rfl", self.rflags)],
        ];
        for row in rows {
            for (name, value) in row {
                write!(f, "  {name} {value:016x}")?;
            }
            f.write_str("\n")?;
        }
        let Self {
            cs, ss, error_code, ..
        } = self;
        // Above it may be what a kernel's gate has noted ([`returns`]).
        let cs = cs & 0xffff;
        write!(f, "  cs {cs:#x}  ss {ss:#x}  error code {error_code:#x}")
    }
}

/// Comes last in what an entry calls, so that the compiler does not jump to
/// the function called before: the walk knows these functions by their addresses.
#[inline(always)]
pub fn end_of_call() {
    // SAFETY: does nothing.
    unsafe { core::arch::asm!("", options(nomem, nostack, preserves_flags)) };
}
