//! Messages between processes: words, taken by a thread that waits for them, or handed to the program by
//! an upcall.

use core::mem;

use kernel_core::process::call::Refusal;

use super::pid::Pid;
use super::table::{self, Inbox};
use super::thread::Thread;
use super::{fault, upcall};
use crate::task;
use crate::trap::{TrapFrame, vector};

/// The most messages that wait for a process to take them.
const MOST: usize = 16;

/// Sends a message.
pub(super) fn send(to: Pid, message: u64) -> Result<(), Refusal> {
    let sent = table::with_inbox(to, |inbox| {
        if inbox.messages.len() == MOST {
            return Err(Refusal::TooMany);
        }
        inbox.messages.push_back(message);
        Ok((mem::take(&mut inbox.receivers), inbox.handler != 0))
    });
    let (receivers, has_handler) = sent.ok_or(Refusal::NotFound)??;
    receivers.into_iter().for_each(task::wake);
    if has_handler {
        // One of its threads has to come back to user mode.
        table::rouse(to);
    }
    Ok(())
}

/// Waits for the next message to the thread's process. `None` if that is to end meanwhile.
pub(super) fn receive(thread: &Thread) -> Option<u64> {
    let process = &thread.process;
    let me = task::current();
    let take = |inbox: &mut Inbox| {
        let message = inbox.messages.pop_front();
        let waits = me.filter(|me| message.is_none() && !inbox.receivers.contains(me));
        inbox.receivers.extend(waits);
        message
    };
    loop {
        let message = table::with_inbox(process.pid, take)?;
        if message.is_some() || process.is_ending() {
            return message;
        }
        task::block();
    }
}

/// Has the thread's program called at an address for each message; 0: not any more.
pub(super) fn set_handler(thread: &Thread, handler: u64) {
    let process = &thread.process;
    process.set_handled(handler != 0);
    table::with_inbox(process.pid, |inbox| inbox.handler = handler);
}

/// Has the program handle a message, if there is one and it wants to, and is not about to do so already:
/// before `frame` is gone back to.
pub(super) fn deliver(thread: &Thread, frame: &TrapFrame) {
    if !thread.process.is_handled() || thread.is_in_upcall() {
        return;
    }
    let next = table::with_inbox(thread.process.pid, |inbox| {
        let message = inbox.messages.pop_front()?;
        Some((inbox.handler, message))
    });
    let Some(next) = next.flatten() else {
        return;
    };
    thread.set_in_upcall(true);
    if let Err(problem) = upcall::begin(thread, frame, next) {
        let reason = format_args!(": no room for an upcall: {problem}");
        fault::end(thread, frame, vector::PAGE_FAULT, reason);
    }
}
