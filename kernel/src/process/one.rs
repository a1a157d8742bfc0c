//! A process.

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
    /// The number by which samples know its program.
    pub(super) program: u16,
    /// What samples call its threads: the number of a name.
    pub(super) task_name: u16,
    pub(super) space: Space,
    is_ending: AtomicBool,
    status: AtomicU64,
}

impl Process {
    /// One without threads, which runs the program with this number.
    pub(super) fn new(
        pid: Pid,
        (name, program): (&str, u16),
        task_name: u16,
        space: Space,
    ) -> Self {
        Self {
            pid,
            name: Text::of(&name),
            program,
            task_name,
            space,
            is_ending: AtomicBool::new(false),
            status: AtomicU64::new(0),
        }
    }

    /// What its parent is to get.
    pub(super) fn status(&self) -> u64 {
        self.status.load(Ordering::Acquire)
    }

    /// Ends it, if it is not ending: all its threads leave user mode as soon as they can.
    pub(super) fn end(&self, status: u64) {
        if self.is_ending.swap(true, Ordering::SeqCst) {
            return;
        }
        self.status.store(status, Ordering::Release);
        table::rouse(self.pid);
    }

    pub(super) fn is_ending(&self) -> bool {
        self.is_ending.load(Ordering::SeqCst)
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} ({})", self.pid.0, self.name.as_str())
    }
}
