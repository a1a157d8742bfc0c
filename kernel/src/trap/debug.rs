//! The entries of #DB, #DF and #MC.

use profiler::entry::TrapFrame;

use super::dispatch::{dispatch, end_of_trap_call};

profiler::switched_entries! { handler: on_switched_trap }

/// What the entries call.
#[unsafe(link_section = ".pmiscope.calls")]
extern "C" fn on_switched_trap(frame: &mut TrapFrame) {
    dispatch(frame);
    end_of_trap_call();
}
