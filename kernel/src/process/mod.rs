//! Processes: programs in user mode, each with memory of its own.
//!
//! A process's threads are tasks of the kernel ([`crate::task`]): each has a task's stack for the
//! kernel, at whose top lies the frame of its user code ([`crate::trap::user`]). They run until they
//! give the core up by a call; there is no time slice.
//!
//! A process ends when it asks for that, when its last thread ends, or by a fault. Its other threads
//! find that out on their next way back to user mode: blocked ones are woken for it, cores that may
//! run one are interrupted. The last one out gives the memory back, and only then the parent is
//! told.
//!
//! * `one`: a process. `table`: all of them, by number; who waits for which to end.
//! * `spawn`, `thread`: the start of a process, and of a thread; that one's end.
//! * `leave`: the last step on the way to user mode. `registers`: those of floating point and vectors.
//! * `calls`, `exec`, `futex`, `messages`, `upcall`: what programs ask for. `fault`: what becomes of exceptions in user mode.
//! * `running`: who wants to know which one a core runs. `served`: which one a core serves that has failed.
//! * `isolation`: page tables of user mode without the kernel.
//! * `memory`: where walks find a process's memory. `announce`: by which number samples know it.

mod announce;
mod calls;
mod error;
mod exec;
mod fault;
mod futex;
mod isolation;
mod leave;
mod memory;
mod messages;
mod one;
mod pid;
mod registers;
mod running;
mod served;
mod spawn;
mod table;
mod thread;
mod upcall;

use core::sync::atomic::{AtomicU32, Ordering};

use profiler::hw::tsc::Deadline;
use x86_64::instructions::interrupts;

use crate::cpu;
use crate::smp;
use crate::task;
use crate::trap::last_words;
use crate::trap::user::{self, Users};

pub use announce::set_announce;
pub use error::Error;
pub use isolation::{isolate, look_always};
pub use memory::memory_of_task;
use pid::Pid;
pub use running::set_on_change;

/// Cores that can run processes.
static READY: AtomicU32 = AtomicU32::new(0);

/// Lets all cores run processes: called on the first one, the others are idle. Without it all is as
/// if there were none.
///
/// # Panics
///
/// If another core does not come in time.
pub fn start() {
    user::set_users(Users {
        call: calls::on_call,
        exception: fault::on_exception,
        leave: leave::on_leave,
    });
    memory::start();
    isolation::begin();
    last_words::on_last_words(served::show);
    task::set_before_switch(registers::save);
    enable();
    isolation::start();
    smp::give_others(enable);
    let is_ready = || READY.load(Ordering::Acquire) == cpu::count();
    let came = Deadline::after(smp::TIMEOUT_TICKS).wait_for(is_ready);
    assert!(came, "a core does not get ready for processes");
}

/// Lets the running core run processes.
fn enable() {
    interrupts::without_interrupts(user::enable);
    READY.fetch_add(1, Ordering::Release);
}

/// Runs a program on the running core, from a task of the kernel's, and waits until it has ended.
/// Samples call it by the name with number `task_name`. Returns its status.
///
/// # Errors
///
/// It cannot be run.
pub fn run(program: &str, task_name: u16) -> Result<u64, Error> {
    let program = spawn::Wanted {
        name: program,
        argument: 0,
        task_name,
    };
    let pid = spawn::spawn(&program, Pid::KERNEL, cpu::current())?;
    table::wait(Pid::KERNEL, pid, || false).ok_or(Error::NotFound)
}

/// Returns true if there is a program with this name.
#[must_use]
pub fn has_program(name: &str) -> bool {
    spawn::find(name).is_some()
}
