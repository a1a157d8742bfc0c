//! Idling: what a core does that has no task.
//!
//! A task that gives its core up while no other is ready gets here from deep down: a
//! system call, the scheduler, a switch. The idle loop does not continue where it was.
//! It throws the stack away and starts again at its top: interrupts off, the frame
//! pointer zeroed, then the stack pointer set, in one piece of assembly
//! ([`super::switch`]). So it has nothing to save, and cannot grow.
//!
//! Without the feature `idle-stack-reset` it is saved and resumed like a task.

use core::sync::atomic::AtomicU64;

use spin::Once;
use x86_64::instructions::interrupts;

use super::core_tasks::tasks_of;
use super::switch;
use super::table::task;
use crate::boot::entry;
use crate::cpu::{self, CoreBlock};

/// Returns true if an interrupt will come to this core, the running one.
pub type InterruptSource = fn(&CoreBlock) -> bool;

static INTERRUPT_SOURCE: Once<InterruptSource> = Once::new();

/// Says what ends a halt: while it returns true, idling halts though tasks sleep.
pub fn set_interrupt_source(source: InterruptSource) {
    INTERRUPT_SOURCE.call_once(|| source);
}

/// Runs the tasks of the running core, for ever. They may be there already or come
/// later. What is on the core's stack is thrown away.
pub fn run(core: &'static CoreBlock) -> ! {
    interrupts::disable();
    tasks_of(core).set_running();
    entry::restart_stack(core, main)
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
        switch::to_task(save, &tasks_of(core).idle_sp);
    }
}

fn leave_for_good(core: &'static CoreBlock) -> ! {
    #[cfg(not(feature = "idle-stack-reset"))]
    {
        // What is written there is never read.
        let nowhere = AtomicU64::new(0);
        switch::to_task(&nowhere, &tasks_of(core).idle_sp);
    }
    entry::restart_stack(core, main)
}

/// At the top of the core's stack, interrupts off.
extern "C" fn main(core: &'static CoreBlock) -> ! {
    let tasks = tasks_of(core);
    loop {
        tasks.finish_switch();
        match tasks.next() {
            Some(next) => {
                tasks.set_current(next);
                #[cfg(feature = "idle-stack-reset")]
                switch::resume(&task(next).sp);
                #[cfg(not(feature = "idle-stack-reset"))]
                {
                    switch::to_task(&tasks.idle_sp, &task(next).sp);
                    tasks.set_idle();
                }
            }
            None => wait(core),
        }
    }
}

/// Waits for a task to be ready, or for any other interrupt. Interrupts are off
/// before and after.
fn wait(core: &CoreBlock) {
    // No timer of its own wakes a sleeper: another's interrupt does, or the loop looks
    // again.
    let interrupt_comes = || INTERRUPT_SOURCE.get().is_some_and(|comes| comes(core));
    if tasks_of(core).has_sleepers() && !interrupt_comes() {
        interrupts::enable();
        core::hint::spin_loop();
    } else {
        // Halts only if no interrupt came since the queue was looked at.
        cpu::idle::wait();
    }
    interrupts::disable();
}
