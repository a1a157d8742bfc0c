//! What programs of pmiscope's kernel do in user mode, of the parts that they are made of, so that a
//! program is sampled here by perf as there by the kernel.

use crate::linux;
use crate::workload::scratch::Scratch;
use work::{descend, mix};

#[path = "../../../../kernel/programs/src/work.rs"]
mod work;

/// What `process-arithmetic` does.
pub fn arithmetic(_: &mut Scratch) {
    let mut value = 1;
    for _ in 0..8 {
        value = part(value, 200);
        value = part(value, 400);
        value = part(value, 1000);
    }
}

#[inline(never)]
fn part(seed: u64, rounds: u32) -> u64 {
    mix(seed, rounds) ^ u64::from(rounds)
}

/// What `process-recursion` does: a system call below up to forty frames.
pub fn recursion(_: &mut Scratch) {
    for depth in 0..40 {
        descend(depth, bottom);
    }
}

fn bottom() -> u64 {
    mix(3, 10).wrapping_add(linux::nothing())
}

/// What `process-calls` does: system calls that do nothing.
pub fn calls(_: &mut Scratch) {
    for _ in 0..300 {
        linux::nothing();
    }
}
