//! Locks that are waited for, and cores that hang, for the tests of what the kernel tells of them.

use core::fmt;
use core::hint;
use core::sync::atomic::{AtomicBool, Ordering};

use kernel_core::monitor::{Arguments, Command};
use profiler::hw::tsc::Deadline;

use crate::cpu::{self, CoreBlock};
use crate::smp;
use crate::sync::{self, Lock, lock_class};
use crate::watch;
use crate::workload::arithmetic;
use crate::workload::scratch::Scratch;

pub(super) const TESTS: &[(&str, fn())] = &[("locks", locks)];

static OUTER: Lock<u64> = Lock::new(lock_class!("outer test lock"), 0);
static INNER: Lock<u64> = Lock::new(lock_class!("test lock"), 0);

static IS_HELD: AtomicBool = AtomicBool::new(false);
static MAY_END: AtomicBool = AtomicBool::new(false);

/// Shows a command's output in the log.
struct Shown(&'static str);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = self.0.split(' ');
        let name = words.next().unwrap_or_default();
        let arguments = Arguments::new(self.0.get(name.len()..).unwrap_or_default());
        let is_it = |command: &&Command| command.name == name;
        let Some(command) = watch::COMMANDS.iter().find(is_it) else {
            return write!(f, "no command `{name}`");
        };
        writeln!(f, "{}", self.0)?;
        match (command.run)(arguments, f) {
            Ok(()) => f.write_str("-- end --"),
            Err(problem) => write!(f, "{problem}"),
        }
    }
}

/// The last core but one holds two locks, the last one waits for the inner one.
fn locks() {
    let [.., holder, waiter] = cpu::cores() else {
        panic!("this test takes two cores");
    };
    smp::give(holder, hold_both);
    wait_for(&IS_HELD);
    if waiter.index != 0 {
        smp::give(waiter, take_inner);
        while sync::awaited_by(waiter).is_none() {
            hint::spin_loop();
        }
    }
    log::info!("{}", Shown("locks"));
    log::info!("{}", Shown("locks 1"));
    MAY_END.store(true, Ordering::Release);
    while sync::awaited_by(waiter).is_some() || sync::held_by(holder).next().is_some() {
        hint::spin_loop();
    }
    log::info!("{}", Shown("locks"));
}

fn wait_for(flag: &AtomicBool) {
    while !flag.load(Ordering::Acquire) {
        hint::spin_loop();
    }
}

#[inline(never)]
fn hold_both() {
    OUTER.with(|count| {
        *count += 1;
        hold_inner();
    });
}

#[inline(never)]
fn hold_inner() {
    INNER.with(|_| {
        IS_HELD.store(true, Ordering::Release);
        wait_for(&MAY_END);
    });
}

#[inline(never)]
fn take_inner() {
    INNER.with(|count| *count += 1);
}

/// Ticks for which a lock is held once another core waits for it, and both hang, in a run whose
/// instructions are counted: 8 ms.
const HANG_TICKS: u64 = 8_000_000;

/// The last core but one holds a lock for a while, and the last one, which may be behind, waits for
/// it.
pub(super) fn hang_on_lock(scratch: &mut Scratch, half_way: u64) {
    arithmetic::unit(scratch);
    if scratch.round != half_way {
        return;
    }
    match &cpu::cores()[scratch.core as usize..] {
        [_holder, waiter] => hold_for_long(waiter),
        [_waiter] => {
            wait_for(&IS_HELD);
            take_for_a_moment();
        }
        _ => {}
    }
}

#[inline(never)]
fn hold_for_long(waiter: &CoreBlock) {
    INNER.with(|_| {
        IS_HELD.store(true, Ordering::Release);
        while sync::awaited_by(waiter).is_none() {
            hint::spin_loop();
        }
        Deadline::after(HANG_TICKS).wait();
    });
}

#[inline(never)]
fn take_for_a_moment() {
    INNER.with(|count| *count += 1);
}
