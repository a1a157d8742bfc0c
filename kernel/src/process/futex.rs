//! Words that threads wait at: only those who wait are known.

use alloc::vec::Vec;

use super::pid::Pid;
use super::thread::Thread;
use crate::memory::space;
use crate::sync::{Lock, lock_class};
use crate::task::{self, TaskId};

/// A thread that waits.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Waiter {
    pid: Pid,
    address: u64,
    id: TaskId,
}

static WAITERS: Lock<Vec<Waiter>> = Lock::new(lock_class!("futexes"), Vec::new());

/// Waits to be woken, if the word at `address` is `value`. Returns false if it is not.
pub(super) fn wait(thread: &Thread, address: u64, value: u32) -> Result<bool, space::Fault> {
    let Some(id) = task::current() else {
        return Ok(false);
    };
    let pid = thread.process.pid;
    let me = Waiter { pid, address, id };
    // First that, then the look: who changes the word wakes behind it.
    WAITERS.with(|waiters| waiters.push(me));
    let found = thread.process.space.load_u32(address);
    let is_so = matches!(found, Ok(found) if found == value);
    let waits = || WAITERS.with(|waiters| waiters.contains(&me));
    while is_so && waits() && !thread.process.is_ending() {
        task::block();
    }
    WAITERS.with(|waiters| waiters.retain(|it| *it != me));
    found.map(|_| is_so)
}

/// Wakes as many as `most` that wait at `address`. Returns how many.
pub(super) fn wake(thread: &Thread, address: u64, most: u64) -> u64 {
    let pid = thread.process.pid;
    let mut woken = 0;
    while woken < most {
        let next = WAITERS.with(|waiters| {
            let is_there = |it: &Waiter| it.pid == pid && it.address == address;
            let place = waiters.iter().position(is_there)?;
            Some(waiters.remove(place).id)
        });
        let Some(id) = next else {
            break;
        };
        task::wake(id);
        woken += 1;
    }
    woken
}
