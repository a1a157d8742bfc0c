//! The way back to user mode.

use kernel_core::process::USER;

use super::thread::Thread;
use super::{fault, messages};
use crate::trap::TrapFrame;
use crate::trap::user;

/// The last step before user code goes on.
pub(super) fn on_leave(frame: &mut TrapFrame) {
    let thread = Thread::of(frame);
    if !thread.goes_elsewhere() {
        messages::deliver(thread, frame);
    }
    // Neither `sysretq` nor `iretq` is to find an address that is none.
    if frame.rip >= USER.end && !thread.goes_elsewhere() {
        fault::end_at_no_address(thread, frame, frame.rip);
    }
    if thread.goes_elsewhere() {
        user::leave(frame)
    }
    thread.registers.load();
    thread.process.space.activate();
}
