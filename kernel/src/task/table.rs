//! All tasks, by their numbers.

use alloc::vec::Vec;
use core::mem::offset_of;
use core::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering,
};
use core::{mem, ptr};

use kernel_core::postmortem::{self, Tasks};

use crate::memory::stacks;
use crate::sync::{Lock, lock_class};

/// The most tasks at a time: one for the workload of each core, and as many more.
pub const MAX_TASKS: usize = 512;

/// The first number that no task can have.
#[allow(clippy::cast_possible_truncation)] // some hundred
const NUMBERS_END: u16 = MAX_TASKS as u16;

/// What a task runs. It gets the number that it was spawned with.
pub type Entry = fn(u64);

/// Where a task is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum State {
    /// The number is not in use.
    Free,
    /// In a queue, or running, or about to give its core up.
    Runnable,
    /// It waits to be woken, and its stack is at rest.
    Blocked,
}

/// A task, or the room for one.
pub(super) struct Task {
    /// Its stack pointer, while it does not run.
    pub(super) sp: AtomicU64,
    /// A [`State`].
    pub(super) state: AtomicU8,
    /// It was woken, and has not blocked since.
    pub(super) woken: AtomicBool,
    /// How often the number was used before.
    pub(super) generation: AtomicU32,
    /// The core that it runs on, or is to run on next.
    pub(super) home: AtomicU32,
    /// What samples call it: an index into the run's task names.
    pub(super) name: AtomicU16,
    /// While it does not run: the [`Account`](crate::cpu::accounts::Account) of what it did.
    pub(super) account: AtomicU16,
    /// An [`Entry`].
    pub(super) entry: AtomicPtr<()>,
    pub(super) argument: AtomicU64,
}

static TASKS: [Task; MAX_TASKS] = [const { Task::new() }; MAX_TASKS];

/// The task with this number, or the room for it.
pub(super) fn task(number: u16) -> &'static Task {
    &TASKS[usize::from(number)]
}

/// Where the tool finds the tasks in a dead kernel's memory.
pub(super) fn places() -> Tasks {
    let at = |offset: usize| offset as u64;
    Tasks {
        table: (&raw const TASKS).addr() as u64,
        count: MAX_TASKS as u64,
        stride: size_of::<Task>() as u64,
        sp: at(offset_of!(Task, sp)),
        state: at(offset_of!(Task, state)),
        name: at(offset_of!(Task, name)),
        home: at(offset_of!(Task, home)),
    }
}

const _: () = assert!(
    State::Free as u8 == postmortem::TASK_FREE && State::Blocked as u8 == postmortem::TASK_BLOCKED
);

/// What the task with this number is called; `None` if no task can have it.
pub(super) fn name_of(number: u16) -> Option<u16> {
    let task = TASKS.get(usize::from(number))?;
    Some(task.name.load(Ordering::Relaxed))
}

impl Task {
    const fn new() -> Self {
        Self {
            sp: AtomicU64::new(0),
            state: AtomicU8::new(State::Free as u8),
            woken: AtomicBool::new(false),
            generation: AtomicU32::new(0),
            home: AtomicU32::new(0),
            name: AtomicU16::new(0),
            account: AtomicU16::new(0),
            entry: AtomicPtr::new(ptr::null_mut()),
            argument: AtomicU64::new(0),
        }
    }

    /// Changes the state, if it is `from`. Returns true if it was.
    pub(super) fn change_state(&self, from: State, to: State) -> bool {
        let (from, to) = (from as u8, to as u8);
        let exchanged = self
            .state
            .compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst);
        exchanged.is_ok()
    }

    pub(super) fn entry(&self) -> Option<Entry> {
        let entry = self.entry.load(Ordering::Acquire);
        // SAFETY: null, which is `None`, or what `spawn` stored.
        unsafe { mem::transmute::<*mut (), Option<Entry>>(entry) }
    }
}

/// Names a task, for good: its number is used again, but not with this generation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TaskId {
    pub(super) number: u16,
    pub(super) generation: u32,
}

impl TaskId {
    /// Names the task that has this number now.
    pub(super) fn of(number: u16) -> Self {
        let generation = task(number).generation.load(Ordering::Relaxed);
        Self { number, generation }
    }

    /// As one number, for a task's argument.
    #[must_use]
    pub fn to_bits(self) -> u64 {
        u64::from(self.generation) << 16 | u64::from(self.number)
    }

    /// What [`Self::to_bits`] made a number of.
    #[must_use]
    #[allow(clippy::cast_possible_truncation)] // the fields are cut out
    pub fn from_bits(bits: u64) -> Self {
        Self {
            number: bits as u16,
            generation: (bits >> 16) as u32,
        }
    }
}

/// The numbers that can be had: those of ended tasks, then those whose stacks were
/// not made yet.
struct Numbers {
    free: Vec<u16>,
    /// Stacks that were made, or tried to.
    made: u16,
}

static NUMBERS: Lock<Numbers> = Lock::new(
    lock_class!("task numbers"),
    Numbers {
        free: Vec::new(),
        made: 0,
    },
);

/// Takes a number that no task has, with a stack. `None` if there are too many tasks,
/// or memory is used up.
pub(super) fn take_number() -> Option<u16> {
    NUMBERS.with(|numbers| numbers.free.pop().or_else(|| numbers.make()))
}

/// Frees the number of a task that has ended.
pub(super) fn give_back_number(number: u16) {
    NUMBERS.with(|numbers| numbers.free.push(number));
}

/// Makes stacks for `tasks` tasks, so that spawning them takes the same time wherever
/// memory is found. Fewer if there is no memory.
pub fn make_stacks(tasks: usize) {
    NUMBERS.with(|numbers| {
        // Giving a number back, behind a switch, then never allocates.
        numbers.free.reserve_exact(MAX_TASKS);
        let have = usize::from(numbers.made);
        // Those that are free were made before: the next ones are new.
        let made = (have..tasks.min(MAX_TASKS)).map_while(|_| numbers.make());
        let made: Vec<_> = made.collect();
        // The first one is to be used first.
        numbers.free.extend(made.into_iter().rev());
    });
}

impl Numbers {
    /// A number that was not used before, with a stack.
    fn make(&mut self) -> Option<u16> {
        let number = self.made;
        if number == NUMBERS_END {
            return None;
        }
        if stacks::create_for_task(number) {
            self.made += 1;
            return Some(number);
        }
        // Memory is used up, and this stack may have been made in part: it and those
        // behind it are never made, so that all below the last one are whole.
        self.made = NUMBERS_END;
        None
    }
}
