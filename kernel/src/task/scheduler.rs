//! Who runs on a core, who waits, and how one gives way to the other.

use core::sync::atomic::Ordering;

use spin::Once;
use x86_64::instructions::interrupts;

use super::core_tasks::{SwitchReason, make_ready, tasks_of};
use super::table::{self, Entry, State, TaskId, task};
use super::{idle, switch};
use crate::cpu::accounts::{self, Account};
use crate::cpu::{self, CoreBlock};
use crate::memory::stacks;
use profiler::hw::tsc;

/// Makes a task that runs `entry(argument)` on `core`. Samples call it by the name
/// with number `name`. `None` if there are too many, or no memory for a stack.
pub fn spawn(name: u16, core: &'static CoreBlock, entry: Entry, argument: u64) -> Option<TaskId> {
    let number = table::take_number()?;
    let task = task(number);
    task.woken.store(false, Ordering::Relaxed);
    task.home.store(core.index, Ordering::Relaxed);
    task.name.store(name, Ordering::Relaxed);
    let account = Account::of_task(name).to_bits();
    task.account.store(account, Ordering::Relaxed);
    task.entry.store(entry as *mut (), Ordering::Relaxed);
    task.argument.store(argument, Ordering::Relaxed);
    let sp = switch::prepare(&stacks::of_task(number), first);
    task.sp.store(sp.as_u64(), Ordering::Relaxed);
    let id = TaskId::of(number);
    task.state.store(State::Runnable as u8, Ordering::Release);
    make_ready(number);
    Some(id)
}

/// The running task. `None` in the idle loop, and before there are tasks.
#[must_use]
pub fn current() -> Option<TaskId> {
    tasks_of(cpu::current()).current().map(TaskId::of)
}

/// Lets the other tasks of this core run.
pub fn yield_now() {
    switch_away(SwitchReason::Yield);
}

/// Continues on another core.
pub fn move_to(core: &CoreBlock) {
    interrupts::without_interrupts(|| {
        if let Some(number) = tasks_of(cpu::current()).current() {
            task(number).home.store(core.index, Ordering::Relaxed);
        }
        switch_away(SwitchReason::Yield);
    });
}

/// Waits to be woken; not at all if the task was woken since it last blocked. It may
/// come back without (a wake of the task that had its number before, just ended), so
/// whoever waits for something looks again.
pub fn block() {
    switch_away(SwitchReason::Block);
}

/// Waits for `ticks` ticks of the time stamp counter. Where nothing else interrupts
/// the core, it looks at the clock; where it is sampled, it halts from sample to
/// sample, so that a sleep ends with one.
pub fn sleep(ticks: u64) {
    interrupts::without_interrupts(|| {
        let wake_at = tsc::ticks().saturating_add(ticks);
        tasks_of(cpu::current()).set_wake_at(wake_at);
        switch_away(SwitchReason::Sleep);
    });
}

/// Ends the running task.
fn exit() -> ! {
    switch_away(SwitchReason::Exit);
    unreachable!("a task that has ended was run")
}

/// Ends the wait of a task, now or the next one. Does nothing if it has ended.
pub fn wake(id: TaskId) {
    let woken = task(id.number);
    if woken.generation.load(Ordering::Acquire) != id.generation {
        return;
    }
    woken.woken.store(true, Ordering::SeqCst);
    if woken.change_state(State::Blocked, State::Runnable) {
        make_ready(id.number);
    }
}

/// Called when a task is about to give its core up, on the core, with interrupts off.
static BEFORE_SWITCH: Once<fn()> = Once::new();

/// Has this called whenever a task is about to give its core up, with interrupts off: for what it has in
/// registers that a switch does not keep.
pub fn set_before_switch(action: fn()) {
    BEFORE_SWITCH.call_once(|| action);
}

/// The running task gives the core up. Returns when it has it again, or another.
fn switch_away(reason: SwitchReason) {
    interrupts::without_interrupts(|| {
        let core = cpu::current();
        let tasks = tasks_of(core);
        let Some(number) = tasks.current() else {
            return;
        };
        let me = task(number);
        if reason == SwitchReason::Block && me.woken.swap(false, Ordering::SeqCst) {
            return;
        }
        let next = tasks.next();
        let stays = me.home.load(Ordering::Relaxed) == core.index;
        if next.is_none() && reason == SwitchReason::Yield && stays {
            return;
        }
        if let Some(before_switch) = BEFORE_SWITCH.get() {
            before_switch();
        }
        tasks.begin_switch(number, reason);
        if let Some(next) = next {
            tasks.set_current(next);
            switch::to_task(&me.sp, &task(next).sp);
        } else {
            tasks.set_idle();
            idle::enter(core, (reason != SwitchReason::Exit).then_some(&me.sp));
        }
        // On another core, maybe.
        tasks_of(cpu::current()).finish_switch();
        if reason == SwitchReason::Block {
            // Those that came up to here are one. A swap: what was written before any of
            // them is seen from here on.
            me.woken.swap(false, Ordering::SeqCst);
        }
    });
}

/// What every task runs first, from the root of its stack, interrupts off.
extern "C" fn first() -> ! {
    let tasks = tasks_of(cpu::current());
    tasks.finish_switch();
    interrupts::enable();
    if let Some(number) = tasks.current() {
        let me = task(number);
        if let Some(entry) = me.entry() {
            entry(me.argument.load(Ordering::Relaxed));
        }
    }
    exit()
}

/// Sets the name of the running task, for its samples.
pub fn set_name(name: u16) {
    interrupts::without_interrupts(|| {
        let tasks = tasks_of(cpu::current());
        if let Some(number) = tasks.current() {
            task(number).name.store(name, Ordering::Relaxed);
        }
        tasks.set_name(name);
        accounts::change(Account::of_task(name));
    });
}
