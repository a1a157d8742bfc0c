//! Programs that do what programs must not, and those that leave nothing as it was: the kernel
//! goes on, and has all its memory back.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::cpu;
use crate::memory::frames;
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

fn run(program: &'static str, scratch: &Scratch) {
    static FREE: AtomicU64 = AtomicU64::new(0);
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
