//! A storm of yields: tasks that do nothing but give the core up, in each way that
//! there is, are spawned, move to other cores and end.
//!
//! It is what once broke a profiler: each yield ends in a switch of stacks, and each
//! one that finds no other task in the idle loop, which throws its stack away. A
//! profile shows the scheduler, the switch, system calls with the scheduler below
//! their interrupt, and the idle loop, with complete chains at every instruction.
//!
//! A unit waits for no task that has to run on another core, as that one may have
//! stopped for good.

use core::hint::black_box;
use core::sync::atomic::{AtomicU32, Ordering};

use super::scratch::{Scratch, scramble};
use crate::cpu::per_core::per_core;
use crate::cpu::{self, CoreBlock};
use crate::task::syscall::{Call, system_call};
use crate::task::{self, TaskId};

/// Wanderers that a core may have under way: those that have reached a core which
/// has stopped never end.
const WANDERERS: u32 = 2;

/// Yields in which the wanderers of other cores leave: each stays for two or three.
const GUESTS: u32 = 4 * WANDERERS;

/// How long a sleep is, in ticks of the time stamp counter: some thousand.
const NAP: u64 = 5000;

per_core! {
    /// Wanderers that the core has sent out and that have not ended.
    static UNDER_WAY: AtomicU32 = AtomicU32::new(0);
}

/// A unit of work.
pub fn unit(scratch: &mut Scratch) {
    let core = cpu::current();
    send_wanderer(core);
    let Some(me) = task::current() else { return };
    // The core has another task now: the yields switch to and fro.
    let partner = task::spawn(task::current_name(core), core, partner, me.to_bits());
    for step in 0..4 {
        black_box(deeper(scratch.seed() % 8, step));
    }
    // Until the partner has had its say. It may have had it before: then not at all.
    if partner.is_some() {
        task::block();
    }
    // The idle loop, and back by the clock: once the tasks of other cores that are here
    // have gone on.
    if scratch.round.is_multiple_of(2) {
        (0..GUESTS).for_each(|_| task::yield_now());
        system_call(Call::Sleep, NAP);
    }
    task::yield_now();
}

/// Yields, `calls` calls deeper.
#[inline(never)]
fn deeper(calls: u64, step: u64) -> u64 {
    if calls > 0 {
        return black_box(deeper(calls - 1, step)) + 1;
    }
    if step.is_multiple_of(2) {
        task::yield_now();
    } else {
        system_call(Call::Yield, 0);
    }
    black_box(scramble(step))
}

/// What the other task does: yields a little, wakes the one that spawned it, and
/// ends.
fn partner(spawner: u64) {
    for step in 0..3 {
        black_box(deeper(2, step));
    }
    task::wake(TaskId::from_bits(spawner));
}

/// Sends a task around, if not too many are under way.
fn send_wanderer(core: &'static CoreBlock) {
    let under_way = UNDER_WAY.get(core);
    if under_way.load(Ordering::Relaxed) < WANDERERS {
        under_way.fetch_add(1, Ordering::Relaxed);
        if task::spawn(task::current_name(core), core, wander, core.index.into()).is_none() {
            under_way.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Goes to the next cores, and ends there.
fn wander(from: u64) {
    for hop in 1..=3 {
        let cores = cpu::cores();
        let here = cpu::current().index as usize;
        let next = cores[(here + hop) % cores.len()];
        // Not to one that does other things: with the source `ipi` the first core sends.
        if task::runs_tasks(next) {
            task::move_to(next);
        }
        black_box(deeper(1, hop as u64));
    }
    let home = usize::try_from(from).ok();
    if let Some(home) = home.and_then(|index| cpu::cores().get(index)) {
        UNDER_WAY.get(home).fetch_sub(1, Ordering::Relaxed);
    }
}
