//! Layers: an exception in a task, an interrupt in its handler, and work in each.
//!
//! The walk has to cross both to tell who is below: a chain of [`in_interrupt`] goes
//! on in [`in_exception`], and that in [`unit`]. With an aim at the NMI's handler
//! there is one layer more.

use core::arch::asm;
use core::hint::black_box;

use x86_64::instructions::interrupts;

use super::scratch::{Scratch, scramble};
use crate::cpu::apic::{self, Destination, Message};
use crate::trap::vector::OVERFLOW_EXCEPTION as EXCEPTION;
use crate::trap::{self, TrapFrame};

/// What interrupts the handler of the exception.
const VECTOR: u8 = 0x44;

/// Registers what handles it.
pub(super) fn start() {
    trap::register(EXCEPTION, on_exception);
    trap::register(VECTOR, on_interrupt);
}

/// A unit of work.
pub fn unit(scratch: &mut Scratch) {
    for step in 0..16 {
        let work = churn(scratch.seed() ^ step, 20);
        // SAFETY: the vector's handler returns, with all registers as they were.
        unsafe { asm!("int {}", const EXCEPTION) };
        black_box(work);
    }
}

/// The handler of [`EXCEPTION`].
fn on_exception(frame: &mut TrapFrame) {
    in_exception(frame.rsp);
}

#[inline(never)]
fn in_exception(seed: u64) {
    let before = churn(seed, 40);
    // SAFETY: `start` registered the vector before any core was started.
    unsafe { apic::registers().send(Message::Fixed(VECTOR), Destination::This) };
    // Here it comes.
    interrupts::enable();
    let after = churn(before, 20);
    interrupts::disable();
    black_box(after);
}

/// The handler of [`VECTOR`].
fn on_interrupt(frame: &mut TrapFrame) {
    apic::registers().end_of_interrupt();
    in_interrupt(frame.rip);
}

#[inline(never)]
fn in_interrupt(seed: u64) {
    black_box(churn(seed, 60));
}

/// So many steps of work, of some fifteen instructions each.
#[inline(never)]
fn churn(seed: u64, steps: u32) -> u64 {
    (0..steps).fold(seed, |state, step| {
        black_box(scramble(state).rotate_left(step))
    })
}
