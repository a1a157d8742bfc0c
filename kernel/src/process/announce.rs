//! Numbers by which samples know processes, where somebody keeps them.

use core::sync::atomic::{AtomicU16, Ordering};

use profiler::format::process::Process;
use spin::Once;
use x86_64::instructions::interrupts;

use super::pid::Pid;
use super::thread::MOST_NUMBER;
use crate::boot;
use crate::cpu::{self, CoreBlock};

/// Lets readers of samples know a process; called on the core. Returns false if that cannot be.
pub type Announce = fn(&CoreBlock, Process) -> bool;

static ANNOUNCE: Once<Announce> = Once::new();

/// Has each process announced that is started from now on.
pub fn set_announce(announce: Announce) {
    ANNOUNCE.call_once(|| announce);
}

/// The number by which samples know a process of a program, whose own it is where nobody keeps those of
/// processes, or has room for one more.
pub(super) fn number_for(pid: Pid, program: u16) -> u16 {
    let Some(announce) = ANNOUNCE.get() else {
        return program;
    };
    let announced = next().map(|number| Process {
        number,
        program,
        pid: pid.0,
    });
    let is_known =
        |process: &Process| interrupts::without_interrupts(|| announce(cpu::current(), *process));
    let announced = announced.filter(is_known);
    announced.map_or(program, |process| process.number)
}

/// A number that no module has, and no process before.
fn next() -> Option<u16> {
    /// How many there were.
    static GIVEN: AtomicU16 = AtomicU16::new(0);
    let modules = u16::try_from(boot::info().modules().count()).ok()?;
    let given = GIVEN.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |given| {
        let is_left = u64::from(modules) + u64::from(given) < MOST_NUMBER;
        is_left.then_some(given + 1)
    });
    given.ok().map(|given| modules + given + 1)
}
