//! A thread of a process: from a task's start to user mode, back, and to its end.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use kernel_core::process::call::KILLED;
use spin::mutex::SpinMutex;
use x86_64::VirtAddr;
use x86_64::instructions::interrupts;

use super::error::Error;
use super::one::Process;
use super::registers::Registers;
use super::{isolation, running, served, table};
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

/// What a thread becomes, once it has left user mode.
pub(super) struct Next {
    pub(super) process: Arc<Process>,
    pub(super) start: Start,
}

/// A thread of a process.
pub(super) struct Thread {
    pub(super) process: Arc<Process>,
    pub(super) registers: Registers,
    start: Start,
    is_over: AtomicBool,
    /// It is in an upcall, so that there is none in that.
    is_in_upcall: AtomicBool,
    /// What it goes on with in user mode, other than what it has left.
    elsewhere: SpinMutex<Option<TrapFrame>>,
    /// What it becomes behind user mode.
    next: SpinMutex<Option<Box<Next>>>,
}

/// What walks ask of a thread's process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// The root of its page tables: that of user mode.
    pub(super) root: u64,
    /// The number by which samples know it.
    pub(super) number: u16,
}

/// The highest number by which samples can know a process: the bits of a [`Place`] below those of a
/// root's address.
pub(super) const MOST_NUMBER: u64 = 0xfff;

/// The [`Place`] of each task's process, by the numbers of tasks, as one word that a walk reads at any
/// instruction; 0: it is no process's.
static PLACES: [AtomicU64; MAX_TASKS] = [const { AtomicU64::new(0) }; MAX_TASKS];

/// What walks ask of the process that this task is a thread of.
#[inline]
pub(super) fn place_of(number: u16) -> Option<Place> {
    let place = PLACES.get(usize::from(number))?.load(Ordering::Acquire);
    (place != 0).then_some(Place {
        root: place & !MOST_NUMBER,
        // Of twelve bits.
        #[allow(clippy::cast_possible_truncation)]
        number: (place & MOST_NUMBER) as u16,
    })
}

/// From now on walks find this process's memory where the running task has come from user mode.
fn set_place(process: Option<&Process>) {
    let place = process.map_or(0, |process| {
        let number = u64::from(process.number).min(MOST_NUMBER);
        process.space.user_root().start_address().as_u64() | number
    });
    interrupts::without_interrupts(|| {
        let core = cpu::current();
        if let Some(number) = task::running_on(core) {
            PLACES[usize::from(number)].store(place, Ordering::Release);
            running::note(core, Some(number));
        }
    });
}

/// Starts a thread on `core`.
pub(super) fn start(
    process: Arc<Process>,
    start: Start,
    core: &'static CoreBlock,
) -> Result<u64, Error> {
    let (pid, name) = (process.pid, process.task_name);
    let thread = Box::new(Thread::new(process, start));
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
    let mut thread = unsafe { Box::from_raw(thread) };
    let pid = thread.process.pid;
    let id = task::current();
    if let Some(id) = id {
        table::add_thread(pid, id);
    }
    loop {
        in_user_mode(&thread);
        let next = thread.next.lock().take();
        let Some(next) = next else {
            break;
        };
        // With it goes the memory of the program before.
        let Next { process, start } = *next;
        *thread = Thread::new(process, start);
    }
    let status = thread.process.status();
    let is_last = table::remove_thread(pid, id);
    // The process's memory, if it was the last one.
    drop(thread);
    if is_last {
        table::finish(pid, status);
    }
}

/// Runs a thread's user code, as long as it lasts.
fn in_user_mode(thread: &Thread) {
    set_place(Some(&thread.process));
    served::set(Some(&thread.process));
    let Start { pc, sp, argument } = thread.start;
    let word = ptr::from_ref(thread).expose_provenance() as u64;
    let has_run = isolation::with_stack(&thread.process, || {
        interrupts::without_interrupts(|| {
            let mut frame = user::first_frame(pc, sp, argument);
            loop {
                user::enter(&frame, word);
                match thread.elsewhere.lock().take() {
                    Some(elsewhere) if !thread.is_over() => frame = elsewhere,
                    _ => break,
                }
            }
            thread.registers.forget();
        });
    });
    if !has_run {
        log::warn!("{}: no memory for a thread's page tables", thread.process);
        thread.process.end(KILLED);
    }
    served::set(None);
    set_place(None);
    space::leave();
}

impl Thread {
    fn new(process: Arc<Process>, start: Start) -> Self {
        Self {
            process,
            registers: Registers::new(),
            start,
            is_over: AtomicBool::new(false),
            is_in_upcall: AtomicBool::new(false),
            elsewhere: SpinMutex::new(None),
            next: SpinMutex::new(None),
        }
    }

    /// The thread whose frame this is: the running one, which is there as long as what runs for it.
    pub(super) fn of<'thread>(frame: &TrapFrame) -> &'thread Self {
        let thread: *const Self = VirtAddr::new(user::thread_word(frame)).as_ptr();
        // SAFETY: what `run` has given to `enter`, which has not returned: there is the frame.
        unsafe { &*thread }
    }

    /// Lets it end on its way back to user mode.
    pub(super) fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    /// Lets it become another program on its way back to user mode.
    pub(super) fn become_next(&self, next: Box<Next>) {
        *self.next.lock() = Some(next);
        self.end();
    }

    /// Lets it go on with `frame`, of its user code, on its way back to user mode. The frame that it has
    /// come with is never written for that: a walk that reads it meanwhile would find a program that is at
    /// one place with the stack of another.
    pub(super) fn go_on_with(&self, frame: TrapFrame) {
        *self.elsewhere.lock() = Some(frame);
    }

    /// It does not go back to where it has left user mode.
    pub(super) fn goes_elsewhere(&self) -> bool {
        self.is_over() || self.elsewhere.lock().is_some()
    }

    pub(super) fn set_in_upcall(&self, is_in_upcall: bool) {
        self.is_in_upcall.store(is_in_upcall, Ordering::Relaxed);
    }

    pub(super) fn is_in_upcall(&self) -> bool {
        self.is_in_upcall.load(Ordering::Relaxed)
    }

    /// It does not go back to user mode.
    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed) || self.process.is_ending()
    }
}
