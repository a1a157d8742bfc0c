//! What a core knows of its tasks: which one runs, which are ready, and what the one
//! wants that gave the core up.

use core::mem::offset_of;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU64, Ordering};

use kernel_core::postmortem;
use kernel_core::ready::Ready;

use super::table::{self, MAX_TASKS, State, task};
use crate::cpu::accounts::{self, Account};
use crate::cpu::apic::{self, Destination, Message};
use crate::cpu::per_core::per_core;
use crate::cpu::{self, CoreBlock};
use crate::sync::{Lock, lock_class};
use profiler::hw::tsc;
use spin::Once;

/// The vector that tells a core that it has a task to run.
pub(super) const RESCHEDULE_VECTOR: u8 = 0x43;

/// The number of the name of what is no task: starting and idling.
const NO_TASK: u8 = 0;

/// What a core knows of its tasks. But for the queue it is that core's alone.
pub(super) struct CoreTasks {
    /// The number of the task that runs, or [`NONE`].
    current: AtomicU16,
    /// What samples call what runs.
    name: AtomicU8,
    /// The task that gave the core up just now, or [`NONE`].
    previous: AtomicU16,
    /// What that one wants: a [`SwitchReason`].
    reason: AtomicU8,
    /// Until when, if it sleeps, as the time stamp counter says.
    wake_at: AtomicU64,
    ready: Lock<Ready>,
    /// The core runs tasks.
    runs: AtomicBool,
    /// The idle loop's stack pointer while a task runs, where idling keeps its
    /// stack.
    pub(super) idle_sp: AtomicU64,
}

const NONE: u16 = postmortem::NO_TASK;

per_core! {
    /// What each core knows of its tasks.
    static TASKS: CoreTasks = CoreTasks {
        current: AtomicU16::new(NONE),
        name: AtomicU8::new(NO_TASK),
        previous: AtomicU16::new(NONE),
        reason: AtomicU8::new(0),
        wake_at: AtomicU64::new(0),
        ready: Lock::new(lock_class!("ready tasks"), Ready::new()),
        runs: AtomicBool::new(false),
        idle_sp: AtomicU64::new(0),
    };
}

/// What a task gives the core up for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum SwitchReason {
    /// To be run again, here or where its home now is.
    Yield,
    /// To be woken.
    Block,
    /// To be run again after a while.
    Sleep,
    /// To be forgotten.
    Exit,
}

impl SwitchReason {
    const ALL: [Self; 4] = [Self::Yield, Self::Block, Self::Sleep, Self::Exit];
}

/// Makes room in all queues: none allocates from then on.
pub(super) fn reserve() {
    for core in cpu::cores() {
        tasks_of(core).ready.with(|ready| ready.reserve(MAX_TASKS));
    }
}

/// Where the tool finds which task a core of a dead kernel ran.
pub(super) fn place_of_current() -> u64 {
    TASKS.in_template() + offset_of!(CoreTasks, current) as u64
}

/// The tasks of `core`.
pub(super) fn tasks_of(core: &CoreBlock) -> &'static CoreTasks {
    TASKS.get(core)
}

/// Returns true if tasks that are sent to `core` will be run.
#[must_use]
pub fn runs_tasks(core: &CoreBlock) -> bool {
    tasks_of(core).runs.load(Ordering::Acquire)
}

/// What samples call what `core` runs: a number of a name. One load.
#[must_use]
#[inline]
pub fn current_name(core: &CoreBlock) -> u16 {
    TASKS.get(core).name.load(Ordering::Relaxed).into()
}

/// Where that is.
#[must_use]
pub fn name_word(core: &CoreBlock) -> &'static AtomicU8 {
    &TASKS.get(core).name
}

/// Sets what samples call what the running core does. Returns what they called it.
pub fn swap_name(name: u8) -> u8 {
    TASKS.current().name.swap(name, Ordering::Relaxed)
}

impl CoreTasks {
    /// The core runs tasks, from now on.
    pub(super) fn set_running(&self) {
        self.runs.store(true, Ordering::Release);
    }

    pub(super) fn current(&self) -> Option<u16> {
        Some(self.current.load(Ordering::Relaxed)).filter(|&number| number != NONE)
    }

    /// The next task that is ready, with sleepers whose time has come.
    pub(super) fn next(&'static self) -> Option<u16> {
        self.ready.with(|ready| ready.next(tsc::ticks()))
    }

    pub(super) fn has_sleepers(&'static self) -> bool {
        self.ready.with(|ready| ready.has_sleepers())
    }

    /// The task with this number runs.
    pub(super) fn set_current(&self, number: u16) {
        self.current.store(number, Ordering::Relaxed);
        let task = task(number);
        self.set_name(task.name.load(Ordering::Relaxed));
        let account = task.account.load(Ordering::Relaxed);
        accounts::change(Account::from_bits(account));
        on_switch(Some(number));
    }

    /// No task runs.
    pub(super) fn set_idle(&self) {
        self.current.store(NONE, Ordering::Relaxed);
        self.set_name(NO_TASK.into());
        accounts::change(Account::of_task(NO_TASK.into()));
        on_switch(None);
    }

    /// Sets what samples call what runs.
    pub(super) fn set_name(&self, name: u16) {
        let name = u8::try_from(name).expect("there are no more names than a byte can number");
        self.name.store(name, Ordering::Relaxed);
    }

    /// Sets until when the running task sleeps.
    pub(super) fn set_wake_at(&self, wake_at: u64) {
        self.wake_at.store(wake_at, Ordering::Relaxed);
    }

    /// Notes that the running task, `number`, is about to give the core up.
    pub(super) fn begin_switch(&self, number: u16, reason: SwitchReason) {
        let account = accounts::current().to_bits();
        task(number).account.store(account, Ordering::Relaxed);
        self.previous.store(number, Ordering::Relaxed);
        self.reason.store(reason as u8, Ordering::Relaxed);
    }

    /// Carries out what the task wants that gave this core up, now that its stack is at
    /// rest. The first thing that whatever was switched to does.
    pub(super) fn finish_switch(&'static self) {
        let number = self.previous.swap(NONE, Ordering::Relaxed);
        if number == NONE {
            return;
        }
        let previous = task(number);
        match SwitchReason::ALL[usize::from(self.reason.load(Ordering::Relaxed))] {
            SwitchReason::Yield => make_ready(number),
            SwitchReason::Block => {
                previous.state.store(State::Blocked as u8, Ordering::SeqCst);
                // Woken between its look and now: nothing else makes it ready.
                if previous.woken.load(Ordering::SeqCst)
                    && previous.change_state(State::Blocked, State::Runnable)
                {
                    make_ready(number);
                }
            }
            SwitchReason::Sleep => {
                let wake_at = self.wake_at.load(Ordering::Relaxed);
                self.ready.with(|ready| ready.sleep(number, wake_at));
            }
            SwitchReason::Exit => {
                previous.state.store(State::Free as u8, Ordering::Release);
                previous.generation.fetch_add(1, Ordering::AcqRel);
                table::give_back_number(number);
            }
        }
    }
}

/// Puts a task into the queue of its home.
pub(super) fn make_ready(number: u16) {
    let home = cpu::core(task(number).home.load(Ordering::Relaxed));
    tasks_of(home).ready.with(|ready| ready.push(number));
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

/// What is called when a core runs another task, with its number, or none.
static ON_SWITCH: Once<fn(&CoreBlock, Option<u16>)> = Once::new();

/// Has this called whenever a core is about to run another task, with that one's number, or none: on the
/// core, with interrupts off.
pub fn set_on_switch(action: fn(&CoreBlock, Option<u16>)) {
    ON_SWITCH.call_once(|| action);
}

/// The running core is about to run this task.
fn on_switch(next: Option<u16>) {
    if let Some(on_switch) = ON_SWITCH.get() {
        on_switch(cpu::current(), next);
    }
}
