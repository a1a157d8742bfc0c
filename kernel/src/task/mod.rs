//! Tasks: threads of the kernel, each with a stack of its own.
//!
//! Each core has a queue of tasks that are ready and runs them one after the
//! other, each until it gives the core up: there is no time slice. A task may
//! yield, block until another wakes it, sleep, move to another
//! core, and end. A core that has no task is idle (`idle`): it throws away the
//! stack that it was on.
//!
//! What a task wants when it gives the core up is carried out *behind* the switch,
//! by whatever runs next on that core. Until then its stack is in
//! use, and no other core may run it.
//!
//! Tasks are numbered, and their stacks lie by their numbers. A number is used
//! again once its task has ended; a `TaskId` is not.
//!
//! * `scheduler`: who runs, who waits.
//! * [`ready`]: a core's queue.
//! * `switch`: from one stack to another.
//! * `idle`: what a core does that has no task.
//! * `syscall`: the scheduler at the end of a deep path.

pub mod ready;

#[cfg(target_os = "none")]
mod idle;
#[cfg(target_os = "none")]
mod scheduler;
#[cfg(target_os = "none")]
mod switch;
#[cfg(target_os = "none")]
pub mod syscall;

#[cfg(target_os = "none")]
pub use idle::run;
#[cfg(target_os = "none")]
pub use scheduler::{
    CoreTasks, MAX_TASKS, TaskId, block, current, exit, make_stacks, move_to, name_of, set_name,
    sleep, spawn, start, wake, yield_now,
};
