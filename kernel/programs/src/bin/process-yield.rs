//! A storm of yields between two threads of a process, by `syscall` and by `int 0x80`, from
//! shallow and from deep stacks.

#![no_std]
#![no_main]

use core::sync::atomic::Ordering;

use programs::{Futex, descend, mix, start_thread, yield_by_interrupt, yield_now};

programs::program!(main);

static ENDED: Futex = Futex(core::sync::atomic::AtomicU32::new(0));

fn main(_: u64) -> u64 {
    if start_thread(other, 7).is_err() {
        return 1;
    }
    storm(1);
    while ENDED.0.load(Ordering::Acquire) == 0 {
        ENDED.wait(0);
    }
    0
}

extern "C" fn other(seed: u64) {
    storm(seed);
    ENDED.set_and_wake(1, 1);
}

fn storm(seed: u64) {
    for round in 0..16 {
        let depth = (round % 8) as u32;
        descend(depth, by_call);
        let _ = mix(seed, 20 + depth);
        descend(depth, by_interrupt);
    }
}

fn by_call() -> u64 {
    yield_now();
    1
}

fn by_interrupt() -> u64 {
    yield_by_interrupt();
    2
}
