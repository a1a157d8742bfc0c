//! Who runs on a core, who waits, and how one gives way to the other.

use alloc::vec::Vec;
use core::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering,
};
use core::{mem, ptr};

use profiler::format::Text;
use x86_64::instructions::interrupts;

use crate::cpu::apic::{self, Destination, Message};
use crate::cpu::{self, CoreBlock};
use crate::memory::stacks;
use crate::sync::Lock;
use crate::trap::{self, TrapFrame};
use crate::{sampling, time, workload};

use super::ready::Ready;
use super::{idle, switch, syscall};

/// The most tasks at a time: one for the workload of each core, and as many more.
pub const MAX_TASKS: usize = 512;

/// The first number that no task can have.
#[allow(clippy::cast_possible_truncation)] // some hundred
const NUMBERS_END: u16 = MAX_TASKS as u16;

/// The vector that tells a core that it has a task to run.
const RESCHEDULE_VECTOR: u8 = 0x43;

/// Registers the handlers of what tasks need.
pub fn start() {
    trap::register(RESCHEDULE_VECTOR, on_reschedule);
    trap::register(syscall::VECTOR, syscall::on_system_call);
}

/// What a task runs. It gets the number that it was spawned with.
pub type Entry = fn(u64);

/// Where a task is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
enum State {
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
    state: AtomicU8,
    /// It was woken, and has not blocked since.
    woken: AtomicBool,
    /// How often the number was used before.
    generation: AtomicU32,
    /// The core that it runs on, or is to run on next.
    home: AtomicU32,
    /// What samples call it: an index into the run's task names.
    name: AtomicU16,
    /// An [`Entry`].
    entry: AtomicPtr<()>,
    argument: AtomicU64,
}

static TASKS: [Task; MAX_TASKS] = [const { Task::new() }; MAX_TASKS];

/// The numbers that can be had: those of ended tasks, then those whose stacks were
/// not made yet.
struct Numbers {
    free: Vec<u16>,
    /// Stacks that were made, or tried to.
    made: u16,
}

static NUMBERS: Lock<Numbers> = Lock::new(Numbers {
    free: Vec::new(),
    made: 0,
});

/// Names a task, for good: its number is used again, but not with this generation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TaskId {
    number: u16,
    generation: u32,
}

impl TaskId {
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

/// What a core knows of its tasks. But for the queue it is that core's alone.
pub struct CoreTasks {
    /// The number of the task that runs, or [`NONE`].
    current: AtomicU16,
    /// The task that gave the core up just now, or [`NONE`].
    previous: AtomicU16,
    /// What that one wants.
    wish: AtomicU8,
    /// Until when, if it sleeps, as the time stamp counter says.
    wake_at: AtomicU64,
    ready: Lock<Ready>,
    /// The core runs tasks.
    runs: AtomicBool,
    /// The idle loop's stack pointer while a task runs, where idling keeps its
    /// stack.
    pub(super) idle_sp: AtomicU64,
}

const NONE: u16 = u16::MAX;

/// What a task gives the core up for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
enum Wish {
    /// To be run again, here or where its home now is.
    Yield,
    /// To be woken.
    Block,
    /// To be run again after a while.
    Sleep,
    /// To be forgotten.
    Exit,
}

impl Wish {
    const ALL: [Self; 4] = [Self::Yield, Self::Block, Self::Sleep, Self::Exit];
}

impl CoreTasks {
    /// No task.
    #[must_use]
    pub fn new() -> Self {
        Self {
            current: AtomicU16::new(NONE),
            previous: AtomicU16::new(NONE),
            wish: AtomicU8::new(0),
            wake_at: AtomicU64::new(0),
            runs: AtomicBool::new(false),
            ready: Lock::new(Ready::with_room(MAX_TASKS)),
            idle_sp: AtomicU64::new(0),
        }
    }

    /// The core runs tasks, from now on.
    pub(super) fn set_running(&self) {
        self.runs.store(true, Ordering::Release);
    }

    /// Whether tasks that are sent to the core will be run.
    #[must_use]
    pub fn are_run(&self) -> bool {
        self.runs.load(Ordering::Acquire)
    }

    fn current(&self) -> Option<u16> {
        Some(self.current.load(Ordering::Relaxed)).filter(|&number| number != NONE)
    }

    /// The next task that is ready, with sleepers whose time has come.
    pub(super) fn next(&self) -> Option<u16> {
        self.ready.with(|ready| ready.next(time::ticks()))
    }

    pub(super) fn has_sleepers(&self) -> bool {
        self.ready.with(|ready| ready.has_sleepers())
    }
}

impl Default for CoreTasks {
    fn default() -> Self {
        Self::new()
    }
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
            entry: AtomicPtr::new(ptr::null_mut()),
            argument: AtomicU64::new(0),
        }
    }

    fn becomes(&self, from: State, to: State) -> bool {
        let (from, to) = (from as u8, to as u8);
        let exchanged = self
            .state
            .compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst);
        exchanged.is_ok()
    }

    fn entry(&self) -> Option<Entry> {
        let entry = self.entry.load(Ordering::Acquire);
        // SAFETY: null, which is `None`, or what `spawn` stored.
        unsafe { mem::transmute::<*mut (), Option<Entry>>(entry) }
    }
}

pub(super) fn task(number: u16) -> &'static Task {
    &TASKS[usize::from(number)]
}

/// Makes a task that runs `entry(argument)` on `core`. Samples call it by the name
/// with number `name`. None if there are too many, or no memory for a stack.
pub fn spawn(name: u16, core: &'static CoreBlock, entry: Entry, argument: u64) -> Option<TaskId> {
    let number = NUMBERS.with(Numbers::take)?;
    let task = task(number);
    task.woken.store(false, Ordering::Relaxed);
    task.home.store(core.index, Ordering::Relaxed);
    task.name.store(name, Ordering::Relaxed);
    task.entry.store(entry as *mut (), Ordering::Relaxed);
    task.argument.store(argument, Ordering::Relaxed);
    let sp = switch::prepare(&stacks::of_task(number));
    task.sp.store(sp.as_u64(), Ordering::Relaxed);
    let generation = task.generation.load(Ordering::Relaxed);
    task.state.store(State::Runnable as u8, Ordering::Release);
    make_ready(number);
    Some(TaskId { number, generation })
}

/// Makes stacks for so many tasks, so that spawning them takes the same time
/// wherever memory is found. Fewer if there is no memory.
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
    fn take(&mut self) -> Option<u16> {
        self.free.pop().or_else(|| self.make())
    }

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

    fn give_back(&mut self, number: u16) {
        self.free.push(number);
    }
}

/// The running task. None in the idle loop, and before there are tasks.
#[must_use]
pub fn current() -> Option<TaskId> {
    let number = cpu::current().tasks.current()?;
    let generation = task(number).generation.load(Ordering::Relaxed);
    Some(TaskId { number, generation })
}

/// Lets the other tasks of this core run.
pub fn yield_now() {
    give_up(Wish::Yield);
}

/// Goes on on another core.
pub fn move_to(core: &CoreBlock) {
    interrupts::without_interrupts(|| {
        if let Some(number) = cpu::current().tasks.current() {
            task(number).home.store(core.index, Ordering::Relaxed);
        }
        give_up(Wish::Yield);
    });
}

/// Waits to be woken; not at all if the task was woken since it last blocked. It may
/// come back without (a wake of the task that had its number before, just ended), so
/// whoever waits for something looks again.
pub fn block() {
    give_up(Wish::Block);
}

/// Waits for so many ticks of the time stamp counter. Where nothing else interrupts
/// the core, it looks at the clock; where it is sampled, it halts from sample to
/// sample, so that a sleep ends with one.
pub fn sleep(ticks: u64) {
    interrupts::without_interrupts(|| {
        let wake_at = time::ticks().saturating_add(ticks);
        let tasks = &cpu::current().tasks;
        tasks.wake_at.store(wake_at, Ordering::Relaxed);
        give_up(Wish::Sleep);
    });
}

/// Ends the running task.
pub fn exit() -> ! {
    give_up(Wish::Exit);
    unreachable!("a task that has ended was run")
}

/// Ends the wait of a task, now or the next one. One that has ended is not there
/// any more.
pub fn wake(id: TaskId) {
    let woken = task(id.number);
    if woken.generation.load(Ordering::Acquire) != id.generation {
        return;
    }
    woken.woken.store(true, Ordering::SeqCst);
    if woken.becomes(State::Blocked, State::Runnable) {
        make_ready(id.number);
    }
}

/// Puts a task into the queue of its home.
fn make_ready(number: u16) {
    let home = cpu::core(task(number).home.load(Ordering::Relaxed));
    home.tasks.ready.with(|ready| ready.push(number));
    if home.index != cpu::current_index() {
        // SAFETY: `start` registered the vector before any core was started.
        unsafe {
            apic::registers().send(
                Message::Fixed(RESCHEDULE_VECTOR),
                Destination::Core(home.apic_id),
            );
        }
    }
}

/// The handler of [`RESCHEDULE_VECTOR`]: that it came is all. It ends a halt.
fn on_reschedule(_: &mut TrapFrame) {
    apic::registers().end_of_interrupt();
}

/// The running task gives the core up. Returns when it has it again, or another.
fn give_up(wish: Wish) {
    interrupts::without_interrupts(|| {
        let core = cpu::current();
        let Some(number) = core.tasks.current() else {
            return;
        };
        let me = task(number);
        if wish == Wish::Block && me.woken.swap(false, Ordering::SeqCst) {
            return;
        }
        let next = core.tasks.next();
        let stays = me.home.load(Ordering::Relaxed) == core.index;
        if next.is_none() && wish == Wish::Yield && stays {
            return;
        }
        core.tasks.previous.store(number, Ordering::Relaxed);
        core.tasks.wish.store(wish as u8, Ordering::Relaxed);
        match next {
            Some(next) => {
                set_current(core, next);
                switch::to_task(&me.sp, &task(next).sp);
            }
            None => {
                set_idle(core);
                idle::enter(core, (wish != Wish::Exit).then_some(&me.sp));
            }
        }
        // On another core, maybe.
        let core = cpu::current();
        finish(core);
        if wish == Wish::Block {
            // Those that came up to here are one. A swap: what was written before any of
            // them is seen from here on.
            me.woken.swap(false, Ordering::SeqCst);
        }
    });
}

pub(super) fn set_current(core: &CoreBlock, number: u16) {
    core.tasks.current.store(number, Ordering::Relaxed);
    sampling::set_task_of(core, task(number).name.load(Ordering::Relaxed));
}

pub(super) fn set_idle(core: &CoreBlock) {
    core.tasks.current.store(NONE, Ordering::Relaxed);
    sampling::set_task_of(core, workload::NO_TASK);
}

/// Carries out what the task wants that gave this core up, now that its stack is at
/// rest. The first thing that whatever was switched to does.
pub(super) fn finish(core: &CoreBlock) {
    let number = core.tasks.previous.swap(NONE, Ordering::Relaxed);
    if number == NONE {
        return;
    }
    let gone = task(number);
    match Wish::ALL[usize::from(core.tasks.wish.load(Ordering::Relaxed))] {
        Wish::Yield => make_ready(number),
        Wish::Block => {
            gone.state.store(State::Blocked as u8, Ordering::SeqCst);
            // Woken between its look and now: nobody else will.
            if gone.woken.load(Ordering::SeqCst) && gone.becomes(State::Blocked, State::Runnable) {
                make_ready(number);
            }
        }
        Wish::Sleep => {
            let wake_at = core.tasks.wake_at.load(Ordering::Relaxed);
            core.tasks.ready.with(|ready| ready.sleep(number, wake_at));
        }
        Wish::Exit => {
            gone.state.store(State::Free as u8, Ordering::Release);
            gone.generation.fetch_add(1, Ordering::AcqRel);
            NUMBERS.with(|numbers| numbers.give_back(number));
        }
    }
}

/// What every task runs first, from the root of its stack, interrupts off.
pub(super) extern "C" fn first() -> ! {
    let core = cpu::current();
    finish(core);
    interrupts::enable();
    if let Some(number) = core.tasks.current() {
        let me = task(number);
        if let Some(entry) = me.entry() {
            entry(me.argument.load(Ordering::Relaxed));
        }
    }
    exit()
}

/// Says what the running task works on, for its samples.
pub fn set_name(name: u16) {
    interrupts::without_interrupts(|| {
        let core = cpu::current();
        if let Some(number) = core.tasks.current() {
            task(number).name.store(name, Ordering::Relaxed);
        }
        sampling::set_task_of(core, name);
    });
}

/// What the task with this number works on, for a message.
#[must_use]
pub fn name_of(number: u16) -> Text<32> {
    let name = TASKS
        .get(usize::from(number))
        .map(|task| task.name.load(Ordering::Relaxed));
    Text::new(name.map_or("unknown", workload::task_name))
}
