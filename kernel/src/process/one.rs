//! A process.

use alloc::sync::Arc;
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use profiler::format::Text;

use super::pid::Pid;
use super::table;
use crate::memory::space::Space;

/// A process, while it has threads.
pub(super) struct Process {
    pub(super) pid: Pid,
    /// Its program's.
    name: Text<32>,
    /// By which samples know it.
    pub(super) number: u16,
    /// What samples call its threads: the number of a name.
    pub(super) task_name: u16,
    pub(super) space: Space,
    ending: Arc<Ending>,
    /// Its program is called for messages.
    is_handled: AtomicBool,
}

/// How a process ends; who may end it has it too.
#[derive(Default)]
pub(super) struct Ending {
    has_begun: AtomicBool,
    status: AtomicU64,
}

impl Ending {
    /// The process is to end with this status. Returns false if it is ending already.
    pub(super) fn begin(&self, status: u64) -> bool {
        if self.has_begun.swap(true, Ordering::SeqCst) {
            return false;
        }
        self.status.store(status, Ordering::Release);
        true
    }
}

impl Process {
    /// One without threads, which runs the program with this name, and which samples know by this
    /// number.
    pub(super) fn new(
        pid: Pid,
        (name, number): (&str, u16),
        task_name: u16,
        space: Space,
        ending: Arc<Ending>,
    ) -> Self {
        Self {
            pid,
            name: Text::of(&name),
            number,
            task_name,
            space,
            ending,
            is_handled: AtomicBool::new(false),
        }
    }

    /// What its parent is to get.
    pub(super) fn status(&self) -> u64 {
        self.ending.status.load(Ordering::Acquire)
    }

    /// Ends it, if it is not ending: all its threads leave user mode as soon as they can.
    pub(super) fn end(&self, status: u64) {
        if self.ending.begin(status) {
            table::rouse(self.pid);
        }
    }

    pub(super) fn is_ending(&self) -> bool {
        self.ending.has_begun.load(Ordering::SeqCst)
    }

    /// Its program is called for messages, or is not any more.
    pub(super) fn set_handled(&self, is_handled: bool) {
        self.is_handled.store(is_handled, Ordering::Relaxed);
    }

    pub(super) fn is_handled(&self) -> bool {
        self.is_handled.load(Ordering::Relaxed)
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} ({})", self.pid.0, self.name.as_str())
    }
}
