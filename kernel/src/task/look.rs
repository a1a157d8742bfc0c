//! What can be seen of tasks from outside, without a lock: while all is at rest.

use core::sync::atomic::Ordering;

use profiler::address::{CodeAddress, StackAddress};
use profiler::unwind::Registers;

use super::core_tasks::tasks_of;
use super::switch;
use super::table::{MAX_TASKS, State, task};
use crate::cpu::{self, CoreBlock};

/// A task, as it is seen.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Its number.
    pub number: u16,
    /// What it does: `runs`, `ready`, `blocked`.
    pub state: &'static str,
    /// The core that it runs on, or is to run on next.
    pub home: u32,
    /// Where it goes on; `None` while it runs.
    pub at: Option<Registers>,
}

/// The number of the task that `core` runs, if it runs one.
#[must_use]
pub fn running_on(core: &CoreBlock) -> Option<u16> {
    tasks_of(core).current()
}

/// The task with this number, if there is one.
#[must_use]
pub fn look(number: u16) -> Option<Seen> {
    if usize::from(number) >= MAX_TASKS {
        return None;
    }
    let seen = task(number);
    let state = seen.state.load(Ordering::Acquire);
    if state == State::Free as u8 {
        return None;
    }
    let mut cores = cpu::cores().iter();
    let runner = cores.find(|core| running_on(core) == Some(number));
    let waits = if state == State::Blocked as u8 {
        "blocked"
    } else {
        "ready"
    };
    let sp = seen.sp.load(Ordering::Acquire);
    Some(Seen {
        number,
        state: if runner.is_some() { "runs" } else { waits },
        home: runner.map_or(seen.home.load(Ordering::Relaxed), |core| core.index),
        at: runner.is_none().then_some(Registers {
            pc: CodeAddress(switch::resumed_at()),
            sp: StackAddress(sp),
            fp: StackAddress(0),
        }),
    })
}

/// All tasks, by their numbers.
pub fn all() -> impl Iterator<Item = Seen> {
    (0..u16::MAX).take(MAX_TASKS).filter_map(look)
}
