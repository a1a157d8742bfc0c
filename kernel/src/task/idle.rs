//! Idling: what a core does that has no task.
//!
//! A task that gives its core up to nobody gets here from deep down: a system
//! call, the scheduler, a switch. The idle loop does not go on where it was before.
//! It throws the stack away and starts again at its top: interrupts off, the frame
//! pointer zeroed, then the stack pointer set, in one piece of assembly
//! ([`super::switch`]). So it has nothing to save, and cannot grow.
//!
//! Without the feature `idle-stack-reset` it is saved and resumed like a task.

use core::sync::atomic::AtomicU64;

use x86_64::instructions::interrupts;

use super::scheduler::{finish, set_current, task};
use super::switch;
use crate::cpu::{self, CoreBlock};
use crate::sampling;

/// Runs the tasks of the running core, for ever. They may be there already or come
/// later. What is on the core's stack is thrown away.
pub fn run(core: &'static CoreBlock) -> ! {
    interrupts::disable();
    core.tasks.set_running();
    crate::boot::entry::restart_stack(core, main)
}

/// Leaves the running task, saved in `save` if it is to come back, for the idle
/// loop. Interrupts are off. Returns when the task is resumed.
pub(super) fn enter(core: &'static CoreBlock, save: Option<&AtomicU64>) {
    let Some(save) = save else {
        // Nothing is to be resumed: the stack may be another task's in no time.
        leave_for_good(core)
    };
    if cfg!(feature = "idle-stack-reset") {
        switch::to_core_stack(core, save, main);
    } else {
        switch::to_task(save, &core.tasks.idle_sp);
    }
}

fn leave_for_good(core: &'static CoreBlock) -> ! {
    #[cfg(not(feature = "idle-stack-reset"))]
    {
        // What is written there is never read.
        let nowhere = AtomicU64::new(0);
        switch::to_task(&nowhere, &core.tasks.idle_sp);
    }
    crate::boot::entry::restart_stack(core, main)
}

/// At the top of the core's stack, interrupts off.
extern "C" fn main(core: &'static CoreBlock) -> ! {
    loop {
        finish(core);
        match core.tasks.next() {
            Some(next) => {
                set_current(core, next);
                #[cfg(feature = "idle-stack-reset")]
                switch::resume(&task(next).sp);
                #[cfg(not(feature = "idle-stack-reset"))]
                {
                    switch::to_task(&core.tasks.idle_sp, &task(next).sp);
                    super::scheduler::set_idle(core);
                }
            }
            None => wait(core),
        }
    }
}

/// Waits for a task to be ready, or for any other interrupt. Interrupts are off
/// before and after.
fn wait(core: &CoreBlock) {
    // No timer of its own wakes a sleeper: a sample does, or the loop looks again.
    if core.tasks.has_sleepers() && !sampling::is_armed(core) {
        interrupts::enable();
        core::hint::spin_loop();
    } else {
        // Halts only if no interrupt came since the queue was looked at.
        cpu::idle::wait();
    }
    interrupts::disable();
}
