//! Sections with interrupts off, each followed by the same work with them on.
//!
//! Samples by NMI find both halves alike: [`masked`] and [`open`] have half of
//! them each, those in `masked` marked in their state, and the self share lies on
//! the lines of [`churn`] and below, inlined into both. Samples by IRQ cannot
//! come while interrupts are off. What is due then comes at the instruction that
//! turns them on, so `masked` has all its samples in one place, and periods
//! stretch up to the length of a section. Since that is where the next period
//! starts, even the samples in `open` are all in one place. It is what a profiler
//! by maskable interrupts is blind to, in one picture.

use core::hint::black_box;

use x86_64::instructions::interrupts;

use super::scratch::{Scratch, scramble};

/// The instructions of a section are some fourteen times as many.
const STEPS: u32 = 100;

/// A unit of work.
pub fn unit(scratch: &mut Scratch) {
    let mut state = scratch.seed();
    for _ in 0..8 {
        state = masked(state);
        state = open(state);
    }
    black_box(state);
}

/// The work with interrupts off.
#[inline(never)]
fn masked(state: u64) -> u64 {
    interrupts::without_interrupts(|| churn(state))
}

/// The work with interrupts on.
#[inline(never)]
fn open(state: u64) -> u64 {
    churn(state)
}

#[inline]
fn churn(state: u64) -> u64 {
    (0..STEPS).fold(state, |state, _| black_box(scramble(state)))
}
