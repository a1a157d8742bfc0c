//! A child that two threads wait for: both go on when it ends, and one has its status. Children that
//! nobody waits for: they are refused when there are too many.

#![no_std]
#![no_main]

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use programs::call::Refusal;
use programs::{Futex, Refused, spawn, start_thread, wait, yield_now};

programs::program!(main);

/// The arguments that children are started with.
const WAITED_FOR: u64 = 7;
const LEFT: u64 = 8;

/// More children than a process may have.
const MANY: usize = 100;

/// What the second thread's wait has come to, and whether it has.
static SECOND: AtomicU64 = AtomicU64::new(0);
static IS_DONE: Futex = Futex(AtomicU32::new(0));

fn main(argument: u64) -> u64 {
    match argument {
        0 => two_waiters() + too_many(),
        WAITED_FOR => {
            // Until both threads wait.
            (0..20).for_each(|_| yield_now());
            WAITED_FOR
        }
        other => other,
    }
}

/// Returns 0 if it was right.
fn two_waiters() -> u64 {
    let Ok(child) = spawn("process-children", WAITED_FOR) else {
        return 1;
    };
    if start_thread(second, child).is_err() {
        return 1;
    }
    let first = number(wait(child));
    while IS_DONE.0.load(Ordering::Acquire) == 0 {
        IS_DONE.wait(0);
    }
    let mut both = [first, SECOND.load(Ordering::Relaxed)];
    both.sort_unstable();
    u64::from(both != [WAITED_FOR, Refusal::NotFound as u64])
}

extern "C" fn second(child: u64) {
    SECOND.store(number(wait(child)), Ordering::Relaxed);
    IS_DONE.set_and_wake(1, 1);
}

fn number(result: Result<u64, Refused>) -> u64 {
    result.unwrap_or_else(|Refused(refusal)| refusal)
}

/// Returns 0 if one was refused, and one more is taken when one was waited for.
fn too_many() -> u64 {
    let mut first = None;
    let refused = (0..MANY).find_map(|_| match spawn("process-children", LEFT) {
        Ok(child) => {
            // It ends, and is not forgotten.
            yield_now();
            first.get_or_insert(child);
            None
        }
        Err(Refused(refusal)) => Some(refusal),
    });
    let status = first.map(wait);
    let next = spawn("process-children", LEFT).and_then(wait);
    let is_right = refused == Some(Refusal::TooMany as u64) && status == Some(Ok(LEFT));
    u64::from(!is_right || next != Ok(LEFT))
}
