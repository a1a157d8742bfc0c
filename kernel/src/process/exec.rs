//! Another program in a process's place.

use alloc::boxed::Box;
use alloc::sync::Arc;

use super::error::Error;
use super::messages;
use super::spawn::{self, Wanted};
use super::thread::{Next, Thread};

/// Has the thread, the only one of its process, leave user mode and begin another program in the same
/// process, with memory of its own.
pub(super) fn exec(thread: &Thread, name: &str, argument: u64) -> Result<(), Error> {
    let process = &thread.process;
    let wanted = Wanted {
        name,
        argument,
        task_name: process.task_name,
    };
    let (process, start) = spawn::make(&wanted, process.pid)?;
    messages::set_handler(thread, 0);
    thread.become_next(Box::new(Next {
        process: Arc::new(process),
        start,
    }));
    Ok(())
}
