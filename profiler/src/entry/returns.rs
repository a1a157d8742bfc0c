//! What the entries of traps end with, where a kernel has more to do than `iretq`.
//!
//! A kernel whose programs have page tables without the kernel has gates of its own before the
//! entries of this library, which load the kernel's page tables, and has to load the program's again
//! when all else is done: behind the arming of the source, with all registers as they were. So
//! entries that are made with `returns: true` end by a jump to the kernel's way back, and by `iretq`
//! as long as there is none. What the gate has found it may note in the upper half of the word that
//! has the code segment, which no processor looks at: that goes with the frame wherever it is copied.
//!
//! From the arming of the source to the way back there are the same instructions whichever handler
//! it was, and the way back itself is to take as many whatever it finds: they are calibrated. Fast
//! handlers in assembly end by themselves, so those in Rust are used then.

use core::mem::offset_of;
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering::Relaxed};

use super::vector;
use crate::address::{CodeAddress, CodeRange};
use crate::assembly;

/// The ways back of a kernel. Each is assembly that is jumped to where `rsp` leads to what the
/// processor has pushed, all other registers are those of what was interrupted, and an NMI may come at
/// any instruction.
///
/// ```no_run
/// use profiler::address::{CodeAddress, CodeRange};
/// use profiler::entry::returns::{self, Returns};
///
/// # let (nmi, aside, overflow, debug, start, end) = (0, 0, 0, 0, 0, 0);
/// // Before sampling starts.
/// returns::set(&Returns {
///     nmi,
///     aside,
///     overflow,
///     debug,
///     no_breakpoints: CodeRange { start: CodeAddress(start), end: CodeAddress(end) },
/// });
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Returns {
    /// From an NMI.
    pub nmi: u64,
    /// From an NMI on the stack of #DB, #DF or #MC, or for which there was no room.
    pub aside: u64,
    /// From an overflow that is a maskable interrupt.
    pub overflow: u64,
    /// From #DB.
    pub debug: u64,
    /// Where the kernel's gates of NMIs, #DB, #DF and #MC lie, and the ways back `aside` and `debug`:
    /// a breakpoint there would be met on a stack at whose top it starts.
    pub no_breakpoints: CodeRange,
}

/// Where entries jump to.
#[doc(hidden)]
#[derive(Debug)]
#[repr(C)]
pub struct Ways {
    nmi: AtomicPtr<()>,
    aside: AtomicPtr<()>,
    overflow: AtomicPtr<()>,
    debug: AtomicPtr<()>,
}

/// Where the entries find what.
pub const NMI: usize = offset_of!(Ways, nmi);
/// See above.
pub const ASIDE: usize = offset_of!(Ways, aside);
/// See above.
pub const OVERFLOWS: usize = offset_of!(Ways, overflow);
/// See above.
pub const DEBUG: usize = offset_of!(Ways, debug);

/// Those of a kernel that has none: `iretq`.
#[doc(hidden)]
pub static WAYS: Ways = Ways {
    nmi: AtomicPtr::new((pmiscope_return_nmi as *const ()).cast_mut()),
    aside: AtomicPtr::new((pmiscope_return_nmi as *const ()).cast_mut()),
    overflow: AtomicPtr::new((pmiscope_return_overflow as *const ()).cast_mut()),
    debug: AtomicPtr::new((pmiscope_return_debug as *const ()).cast_mut()),
};

/// Where there must be no breakpoint: the start, and how many bytes; 0: there are no ways back.
static NO_BREAKPOINTS: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];

/// Says how entries return: before sampling starts, and before a gate leads to code that needs it.
pub fn set(returns: &Returns) {
    for (way, address) in [
        (&WAYS.nmi, returns.nmi),
        (&WAYS.aside, returns.aside),
        (&WAYS.overflow, returns.overflow),
        (&WAYS.debug, returns.debug),
    ] {
        #[allow(clippy::cast_possible_truncation)] // of 64 bits
        let code = core::ptr::without_provenance_mut(address as usize);
        way.store(code, Relaxed);
    }
    let CodeRange { start, end } = returns.no_breakpoints;
    let [first, bytes] = &NO_BREAKPOINTS;
    first.store(start.0, Relaxed);
    bytes.store(end.0.wrapping_sub(start.0), Relaxed);
}

/// Returns true if the kernel has ways back.
pub(crate) fn are_set() -> bool {
    NO_BREAKPOINTS[1].load(Relaxed) != 0
}

/// Returns true if the instruction is of the kernel's where there must be no breakpoint.
pub(crate) fn is_without_breakpoints(address: CodeAddress) -> bool {
    let [first, bytes] = &NO_BREAKPOINTS;
    address.0.wrapping_sub(first.load(Relaxed)) < bytes.load(Relaxed)
}

unsafe extern "C" {
    fn pmiscope_return_nmi();
    fn pmiscope_return_overflow();
    fn pmiscope_return_debug();
}

assembly!(
    r#"
    .macro RETURN name, vector
    .balign 16
    .global pmiscope_return_\name
    .type pmiscope_return_\name, @function
pmiscope_return_\name:
    TRAP_CFI 40
    RULE INTERRUPTED, 0, \vector
    iretq
    .cfi_endproc
    .size pmiscope_return_\name, . - pmiscope_return_\name
    .endm
    RETURN nmi, {nmi}
    RETURN overflow, {overflow}
    RETURN debug, {debug}
    "#,
    nmi = const vector::NMI,
    overflow = const vector::OVERFLOW,
    debug = const vector::DEBUG,
    options(att_syntax),
);
