//! All processes, by number: those that have threads, and those that have ended and are to be waited
//! for. What a lock is held for here is short, and nothing is woken meanwhile.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem;

use kernel_core::process::call::KILLED;

use super::one::Ending;
use super::pid::Pid;
use crate::cpu;
use crate::smp;
use crate::sync::{Lock, lock_class};
use crate::task::{self, TaskId};

/// What others know of a process.
struct Record {
    pid: Pid,
    /// `None`: it has ended, and nobody will ask.
    parent: Option<Pid>,
    /// Threads that have not ended, those included that have not begun.
    count: u32,
    /// Those that have begun.
    threads: Vec<TaskId>,
    /// Once it has ended.
    status: Option<u64>,
    /// Who waits for that: threads of the parent.
    waiters: Vec<TaskId>,
    ending: Arc<Ending>,
    inbox: Inbox,
}

/// The messages to a process.
#[derive(Default)]
pub(super) struct Inbox {
    /// The oldest first.
    pub(super) messages: VecDeque<u64>,
    /// Who waits for one.
    pub(super) receivers: Vec<TaskId>,
    /// The address in its program that is called for each; 0: none.
    pub(super) handler: u64,
}

/// The children that a program may have at a time, with those that have ended and that it has not
/// waited for: their records are to have an end.
const MAX_CHILDREN: usize = 64;

struct Table {
    records: Vec<Record>,
    last: u32,
}

static TABLE: Lock<Table> = Lock::new(
    lock_class!("processes"),
    Table {
        records: Vec::new(),
        last: 0,
    },
);

impl Table {
    fn of(&mut self, pid: Pid) -> Option<&mut Record> {
        self.records.iter_mut().find(|record| record.pid == pid)
    }
}

/// Adds a process without threads. Returns its number; `None` if its parent, a program's, has too
/// many already.
pub(super) fn add(parent: Pid) -> Option<Pid> {
    TABLE.with(|table| {
        let is_sibling = |record: &&Record| record.parent == Some(parent);
        let siblings = table.records.iter().filter(is_sibling).count();
        if parent != Pid::KERNEL && siblings >= MAX_CHILDREN {
            return None;
        }
        // Numbers come again after 4 billion processes: not the kernel's, and none that is in use.
        let pid = loop {
            table.last = table.last.wrapping_add(1).max(1);
            let pid = Pid(table.last);
            if table.of(pid).is_none() {
                break pid;
            }
        };
        table.records.push(Record {
            pid,
            parent: Some(parent),
            count: 0,
            threads: Vec::new(),
            status: None,
            waiters: Vec::new(),
            ending: Arc::default(),
            inbox: Inbox::default(),
        });
        Some(pid)
    })
}

/// Takes a process out that has never had a thread.
pub(super) fn forget(pid: Pid) {
    TABLE.with(|table| table.records.retain(|record| record.pid != pid));
}

/// How a process ends, while it has not.
pub(super) fn ending_of(pid: Pid) -> Option<Arc<Ending>> {
    TABLE.with(|table| Some(Arc::clone(&table.of(pid)?.ending)))
}

/// Returns true if a process has more than one thread.
pub(super) fn has_several_threads(pid: Pid) -> bool {
    TABLE.with(|table| table.of(pid).is_some_and(|record| record.count > 1))
}

/// Runs `action` on the messages to a process that has not ended; `None` if there is none.
pub(super) fn with_inbox<R>(pid: Pid, action: impl FnOnce(&mut Inbox) -> R) -> Option<R> {
    TABLE.with(|table| {
        let record = table.of(pid).filter(|record| record.status.is_none())?;
        Some(action(&mut record.inbox))
    })
}

/// Ends a child. Returns false if there is no such one that has not ended.
pub(super) fn kill(parent: Pid, pid: Pid) -> bool {
    let ending = TABLE.with(|table| {
        let record = table.of(pid).filter(|it| it.parent == Some(parent))?;
        record.status.is_none().then(|| Arc::clone(&record.ending))
    });
    if ending.as_ref().is_some_and(|ending| ending.begin(KILLED)) {
        rouse(pid);
    }
    ending.is_some()
}

/// A thread will begin.
pub(super) fn count_thread(pid: Pid) {
    TABLE.with(|table| {
        if let Some(record) = table.of(pid) {
            record.count += 1;
        }
    });
}

/// A thread has begun.
pub(super) fn add_thread(pid: Pid, id: TaskId) {
    TABLE.with(|table| {
        if let Some(record) = table.of(pid) {
            record.threads.push(id);
        }
    });
}

/// A thread has ended, or will not begin. Returns true if it was the last one.
pub(super) fn remove_thread(pid: Pid, id: Option<TaskId>) -> bool {
    TABLE.with(|table| {
        let Some(record) = table.of(pid) else {
            return false;
        };
        record.threads.retain(|&each| Some(each) != id);
        record.count -= 1;
        record.count == 0
    })
}

/// A process has ended, and its memory is free.
pub(super) fn finish(pid: Pid, status: u64) {
    let waiters = TABLE.with(|table| {
        for child in &mut table.records {
            if child.parent == Some(pid) {
                child.parent = None;
            }
        }
        table
            .records
            .retain(|record| record.parent.is_some() || record.status.is_none());
        let record = table.of(pid)?;
        if record.parent.is_none() {
            table.records.retain(|record| record.pid != pid);
            return None;
        }
        record.status = Some(status);
        Some(mem::take(&mut record.waiters))
    });
    waiters.into_iter().flatten().for_each(task::wake);
}

/// What became of a look at a child.
enum Child {
    /// There is none with that number.
    None,
    /// It has not ended.
    Runs,
    /// It has ended with this status, and is forgotten.
    Ended(u64),
}

/// Waits until a child has ended. Returns its status; `None` if there is no such child, if another
/// thread that waits for it has its status, or if `gives_up` says so.
pub(super) fn wait(parent: Pid, pid: Pid, gives_up: impl Fn() -> bool) -> Option<u64> {
    let me = task::current();
    loop {
        let child = TABLE.with(|table| {
            let Some(record) = table.of(pid).filter(|it| it.parent == Some(parent)) else {
                return Child::None;
            };
            match record.status {
                None => {
                    record.waiters.retain(|&each| Some(each) != me);
                    record.waiters.extend(me);
                    Child::Runs
                }
                Some(status) => {
                    table.records.retain(|record| record.pid != pid);
                    Child::Ended(status)
                }
            }
        });
        match child {
            Child::None => return None,
            Child::Ended(status) => return Some(status),
            Child::Runs if gives_up() => return None,
            Child::Runs => task::block(),
        }
    }
}

/// Has all threads of a process look whether it is ending: wakes those that wait, and interrupts
/// other cores, one of which may run one in user mode.
pub(super) fn rouse(pid: Pid) {
    let me = task::current();
    let mut others = Vec::new();
    TABLE.with(|table| {
        if let Some(record) = table.of(pid) {
            others.extend(record.threads.iter().copied().filter(|&it| Some(it) != me));
        }
    });
    if others.is_empty() {
        return;
    }
    others.into_iter().for_each(task::wake);
    let index = cpu::current_index();
    let cores = cpu::cores().iter().filter(|core| core.index != index);
    cores.for_each(|core| smp::call(core));
}
