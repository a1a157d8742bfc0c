//! Programs that do what programs must not, and those that leave nothing as it was: the kernel
//! goes on, and has all its memory back.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::cpu;
use crate::memory::frames;
use crate::process;
use crate::task;
use crate::workload::processes;
use crate::workload::scratch::Scratch;

/// Rounds in which the kernel's own tables may still grow.
const FIRST_ROUNDS: u64 = 2;

/// Children of a process that end by faults, each by another one: the program looks whether it is
/// the right one.
pub(super) fn faults(scratch: &mut Scratch) {
    run("process-faults", scratch);
}

/// Flags and stack pointers that the kernel must not believe.
pub(super) fn registers(scratch: &mut Scratch) {
    run("process-registers", scratch);
}

/// Registers of floating point and vectors.
pub(super) fn vectors(scratch: &mut Scratch) {
    run("process-vectors", scratch);
}

/// Memory that is used behind its being unmapped.
pub(super) fn stale(scratch: &mut Scratch) {
    run("process-stale", scratch);
}

/// Children that several threads wait for, and those that nobody waits for.
pub(super) fn children(scratch: &mut Scratch) {
    run("process-children", scratch);
}

/// Tests that are not sampled.
pub(super) const TESTS: &[(&str, fn())] = &[("process-fails-kernel", fails_kernel)];

/// A panic in the kernel in a process's call, which is named in the last words.
fn fails_kernel() {
    process::start();
    process::set_announce(|_, process| {
        assert!(process.pid == 1, "this panic was asked for");
        false
    });
    let parent = |_| {
        let _ = process::run("process-spawn", 0);
    };
    let task = task::spawn(0, cpu::current(), parent, 0);
    task.expect("there is memory for a task");
    task::run(cpu::current())
}

fn run(program: &'static str, scratch: &Scratch) {
    static FREE: AtomicU64 = AtomicU64::new(0);
    process::look_always();
    processes::run((program, 0));
    if cpu::count() > 1 {
        // Others may have processes.
        return;
    }
    let free = frames::free_bytes();
    if scratch.round <= FIRST_ROUNDS {
        FREE.store(free, Ordering::Relaxed);
    } else {
        assert_eq!(free, FREE.load(Ordering::Relaxed), "free memory");
        log::info!("all memory of processes is free again");
    }
}
