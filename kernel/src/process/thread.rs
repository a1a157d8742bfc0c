//! A thread of a process: from a task's start to user mode, back, and to its end.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use x86_64::VirtAddr;
use x86_64::instructions::interrupts;

use super::error::Error;
use super::one::Process;
use super::table;
use crate::cpu::{self, CoreBlock};
use crate::memory::space;
use crate::task::{self, MAX_TASKS};
use crate::trap::TrapFrame;
use crate::trap::user;

/// Where a thread begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Start {
    pub(super) pc: u64,
    pub(super) sp: u64,
    pub(super) argument: u64,
}

/// A thread of a process.
pub(super) struct Thread {
    pub(super) process: Arc<Process>,
    start: Start,
    is_over: AtomicBool,
}

/// What walks ask of a thread's process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// The root of its page tables.
    pub(super) root: u64,
    /// The number of its program.
    pub(super) program: u16,
}

/// The bits of a [`Place`] that are the program's number: below those of a root's address.
const PROGRAM: u64 = 0xfff;

/// The [`Place`] of each task's process, by the numbers of tasks, as one word that a walk reads at any
/// instruction; 0: it is no process's.
static PLACES: [AtomicU64; MAX_TASKS] = [const { AtomicU64::new(0) }; MAX_TASKS];

/// What walks ask of the process that this task is a thread of.
#[inline]
pub(super) fn place_of(number: u16) -> Option<Place> {
    let place = PLACES.get(usize::from(number))?.load(Ordering::Acquire);
    (place != 0).then_some(Place {
        root: place & !PROGRAM,
        // Of twelve bits.
        #[allow(clippy::cast_possible_truncation)]
        program: (place & PROGRAM) as u16,
    })
}

/// From now on walks find this process's memory where the running task has come from user mode.
fn set_place(process: Option<&Process>) {
    let place = process.map_or(0, |process| {
        let program = u64::from(process.program).min(PROGRAM);
        process.space.root().start_address().as_u64() | program
    });
    if let Some(number) = task::running_on(cpu::current()) {
        PLACES[usize::from(number)].store(place, Ordering::Release);
    }
}

/// Starts a thread on `core`.
pub(super) fn start(
    process: Arc<Process>,
    start: Start,
    core: &'static CoreBlock,
) -> Result<u64, Error> {
    let (pid, name) = (process.pid, process.task_name);
    let thread = Box::new(Thread {
        process,
        start,
        is_over: AtomicBool::new(false),
    });
    table::count_thread(pid);
    let argument = Box::into_raw(thread);
    match task::spawn(name, core, run, argument.expose_provenance() as u64) {
        Some(id) => Ok(id.to_bits()),
        None => {
            // SAFETY: no task has got it.
            drop(unsafe { Box::from_raw(argument) });
            table::remove_thread(pid, None);
            Err(Error::TooMany)
        }
    }
}

/// What a thread's task runs: user code, until that is over.
fn run(thread: u64) {
    let thread: *mut Thread = VirtAddr::new(thread).as_mut_ptr();
    // SAFETY: `start` has made it for this task alone.
    let thread = unsafe { Box::from_raw(thread) };
    let pid = thread.process.pid;
    let id = task::current();
    if let Some(id) = id {
        table::add_thread(pid, id);
    }
    set_place(Some(&thread.process));
    let Start { pc, sp, argument } = thread.start;
    let word = ptr::from_ref(&*thread).expose_provenance() as u64;
    interrupts::without_interrupts(|| {
        user::enter(&user::first_frame(pc, sp, argument), word);
    });
    set_place(None);
    space::leave();
    let status = thread.process.status();
    let is_last = table::remove_thread(pid, id);
    // The process's memory, if it was the last one.
    drop(thread);
    if is_last {
        table::finish(pid, status);
    }
}

impl Thread {
    /// The thread whose frame this is.
    pub(super) fn of(frame: &TrapFrame) -> &Self {
        let thread: *const Self = VirtAddr::new(user::thread_word(frame)).as_ptr();
        // SAFETY: what `run` has given to `enter`, which has not returned: there is the frame.
        unsafe { &*thread }
    }

    /// Lets it end on its way back to user mode.
    pub(super) fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    /// It does not go back to user mode.
    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed) || self.process.is_ending()
    }
}
