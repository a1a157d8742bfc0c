//! A way into the kernel as a system call has it: a software interrupt, then the
//! dispatcher, then the scheduler, all on the caller's stack.
//!
//! There is no user mode. It is here for the depth of the path: a task that yields
//! through it leaves an interrupt's frame on its stack, which the walk has to
//! cross, and comes back through the interrupt's exit.

use core::arch::asm;

use super::scheduler;
use crate::trap::TrapFrame;

/// The vector of system calls.
pub(super) const VECTOR: u8 = 0x80;

/// What can be asked for, by the number in `rax`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u64)]
pub enum Call {
    /// [`super::yield_now`].
    Yield = 0,
    /// [`super::block`].
    Block = 1,
    /// [`super::sleep`], for as many ticks as the argument in `rdi` says.
    Sleep = 2,
}

/// What a caller finds in `rax` if there is no such call.
pub const NO_SUCH_CALL: u64 = u64::MAX;

/// Asks for `call`.
#[inline(never)]
pub fn system_call(call: Call, argument: u64) {
    // SAFETY: the gate's handler comes back with all registers but `rax` as they were.
    unsafe {
        asm!(
            "int {vector}",
            vector = const VECTOR,
            inout("rax") call as u64 => _,
            in("rdi") argument,
        );
    };
}

/// The handler of [`VECTOR`].
pub(super) fn on_system_call(frame: &mut TrapFrame) {
    const YIELD: u64 = Call::Yield as u64;
    const BLOCK: u64 = Call::Block as u64;
    const SLEEP: u64 = Call::Sleep as u64;
    let (call, argument) = (frame.rax, frame.rdi);
    frame.rax = 0;
    match call {
        YIELD => scheduler::yield_now(),
        BLOCK => scheduler::block(),
        SLEEP => scheduler::sleep(argument),
        _ => frame.rax = NO_SUCH_CALL,
    }
}
