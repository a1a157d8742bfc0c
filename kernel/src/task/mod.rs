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
//! * `table`: all tasks, by number.
//! * `core_tasks`: what a core knows of its tasks.
//! * `scheduler`: who runs, who waits.
//! * [`kernel_core::ready`]: a core's queue.
//! * `switch`: from one stack to another.
//! * `idle`: what a core does that has no task. `look`: what is seen of tasks.
//! * `syscall`: the scheduler at the end of a deep path.

mod core_tasks;
mod idle;
mod look;
mod scheduler;
mod switch;
pub mod syscall;
mod table;

use kernel_core::postmortem::Tasks;
use profiler::format::Text;
use spin::Once;

use crate::cpu::apic;
use crate::memory::stacks;
use crate::trap;

pub use core_tasks::{current_name, name_word, runs_tasks, set_on_switch, swap_name};
pub use idle::{run, set_interrupt_source};
pub use look::{all, look, running_on};
pub use scheduler::{
    block, current, move_to, set_before_switch, set_name, sleep, spawn, wake, yield_now,
};
pub use table::{MAX_TASKS, TaskId, make_stacks};

/// The tasks that most workloads have on a core at a time.
pub const TYPICAL_PER_CORE: usize = 5;

/// What a name's number stands for.
pub type Names = fn(u16) -> &'static str;

static NAMES: Once<Names> = Once::new();

/// Prepares what tasks need; `names` are those that tasks are spawned with.
pub fn start(names: Names) {
    NAMES.call_once(|| names);
    core_tasks::reserve();
    stacks::set_task_names(name_of);
    // That it came is all: it ends a halt.
    trap::register(core_tasks::RESCHEDULE_VECTOR, |_| {
        apic::registers().end_of_interrupt();
    });
    trap::register(syscall::VECTOR, syscall::on_system_call);
}

/// Where the tool finds tasks in a dead kernel's memory: all of them, and the one that a core ran.
#[must_use]
pub fn places() -> (Tasks, u64) {
    (table::places(), core_tasks::place_of_current())
}

/// What the task with this number works on, for a message.
#[must_use]
pub fn name_of(number: u16) -> Text<32> {
    let name = table::name_of(number).zip(NAMES.get());
    Text::new(name.map_or("unknown", |(name, names)| names(name)))
}
