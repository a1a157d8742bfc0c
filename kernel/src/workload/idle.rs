//! Idling: a core that has nothing to do but, now and then, a little.
//!
//! A profile has almost all samples in the halt below [`unit()`], marked as halted
//! in their state, and one or two in a hundred in [`keep_house`]. At a shorter
//! period that has more: a halt ends with the core's next sample, if not with an
//! interrupt that the core sent itself, which the halt lets in at once.

use core::hint::black_box;

use x86_64::instructions::interrupts;

use super::scratch::{Scratch, scramble};
use crate::cpu;
use crate::cpu::apic::{self, Destination, Message};
use crate::trap::{self, TrapFrame};

/// Halts in a unit.
const HALTS: u32 = 2;

/// Rounds from one nudge to the next.
const NUDGED: u64 = 32;

/// What a core wakes itself with.
const VECTOR: u8 = 0x42;

/// Registers what handles it.
pub(super) fn start() {
    trap::register(VECTOR, on_nudge);
}

/// A unit of work.
pub fn unit(scratch: &mut Scratch) {
    for _ in 0..HALTS {
        interrupts::disable();
        cpu::idle::wait();
    }
    if scratch.round.is_multiple_of(NUDGED) {
        // Off, so that the interrupt ends the halt and does not come before it.
        interrupts::disable();
        nudge();
        cpu::idle::wait();
        keep_house(scratch.seed());
    }
}

/// The core's little work: more than a period of 1000 instructions, or the next
/// sample would always come in the halt behind it.
#[inline(never)]
fn keep_house(seed: u64) {
    black_box((0..100).fold(seed, |seed, _| black_box(scramble(seed))));
}

/// Interrupts this core.
fn nudge() {
    // SAFETY: `start` registered the vector before any core was started.
    unsafe { apic::registers().send(Message::Fixed(VECTOR), Destination::This) };
}

/// The handler of [`VECTOR`]: that it came is all.
fn on_nudge(_: &mut TrapFrame) {
    apic::registers().end_of_interrupt();
}
