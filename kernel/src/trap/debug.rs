//! The entries of #DB, #DF and #MC.

use profiler::entry::TrapFrame;
use x86_64::VirtAddr;

use super::dispatch::{dispatch, end_of_trap_call};
use crate::cpu::msr::gs;
use crate::memory::stacks;

profiler::switched_entries! { handler: on_switched_trap, returns: true }

/// What the entries call.
#[unsafe(link_section = ".pmiscope.calls")]
extern "C" fn on_switched_trap(frame: &mut TrapFrame) {
    // It lies on a stack of the core's, and the GS base may be the user's.
    let swapped = gs::own(stacks::owner_of_trap_stack(VirtAddr::from_ptr(frame)));
    dispatch(frame);
    swapped.give_back();
    end_of_trap_call();
}
