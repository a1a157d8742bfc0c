//! Kernels to look around in, for the tests of the monitor.

use core::hint::black_box;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use x86_64::instructions::{hlt, interrupts};

use super::Test;
use crate::cpu::{self, stop};
use crate::smp;

pub(super) const TESTS: &[Test] = &[
    ("fault-elsewhere", fault_elsewhere),
    ("panic-left-behind", panic_left_behind),
    ("all-deaf", all_deaf),
    ("count", count),
];

/// Cores that are where they are to be.
static ARRIVED: AtomicU32 = AtomicU32::new(0);

fn wait_for(cores: u32) {
    while ARRIVED.load(Ordering::Acquire) < cores {
        core::hint::spin_loop();
    }
}

/// The last core faults deep in calls, while core 1 loops with interrupts off, and all others as
/// they are.
fn fault_elsewhere() {
    smp::give_others(|| {
        if cpu::current_index() + 1 == cpu::count() {
            wait_for(cpu::count() - 2);
            black_box(faulting_outer());
        } else if cpu::current_index() == 1 {
            interrupts::disable();
        }
        black_box(looping());
    });
    loop {
        hlt();
    }
}

/// The last core panics. The run ends well once the others go on.
fn panic_left_behind() {
    let last = cpu::cores().last().expect("there is a first core");
    smp::give(last, || panic!("this panic was asked for"));
    while !stop::has_told(last) {
        core::hint::spin_loop();
    }
}

#[inline(never)]
fn faulting_outer() -> u64 {
    black_box(faulting_middle()) + 1
}

#[inline(never)]
fn faulting_middle() -> u64 {
    black_box(faulting_inner()) + 1
}

/// What the test finds on the stack.
#[inline(never)]
fn faulting_inner() -> u64 {
    let words = black_box([0x1122_3344_5566_7788_u64, 0x99aa_bbcc_ddee_ff00]);
    super::page_fault();
    black_box(&words)[0]
}

#[inline(never)]
fn looping() -> u32 {
    ARRIVED.fetch_add(1, Ordering::AcqRel);
    wait_for(u32::MAX);
    black_box(1)
}

/// All cores loop with interrupts off.
fn all_deaf() {
    smp::give_others(|| {
        interrupts::disable();
        black_box(looping());
    });
    interrupts::disable();
    wait_for(cpu::count() - 1);
    log::info!("all are deaf");
    black_box(looping());
}

/// All cores count, until each has counted to a number that takes a while, and none has missed one.
fn count() {
    /// Some seconds under an emulator.
    const LAST: u64 = 200_000_000;
    static DONE: AtomicU32 = AtomicU32::new(0);
    static SUM: AtomicU64 = AtomicU64::new(0);
    fn count() {
        let counted = (0..LAST).fold(0, |counted, _| black_box(counted + 1));
        SUM.fetch_add(counted, Ordering::AcqRel);
        DONE.fetch_add(1, Ordering::AcqRel);
    }
    smp::give_others(count);
    log::info!("all count");
    count();
    while DONE.load(Ordering::Acquire) < cpu::count() {
        core::hint::spin_loop();
    }
    let expected = LAST * u64::from(cpu::count());
    assert_eq!(
        SUM.load(Ordering::Acquire),
        expected,
        "what all have counted"
    );
}
