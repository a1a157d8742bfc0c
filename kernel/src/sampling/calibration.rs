//! What an overflow costs beside its handler, measured before it matters.
//!
//! * The *passage*: from the reading of the clock beside the re-arming to the
//!   last instruction of the exit, and from the first of the entry to the reading
//!   of the clock there. Two sampling interrupts are raised by software, one
//!   right behind the other: what the clock shows between them is the passage and
//!   the one `int` instruction.
//! * The *lead*: by how many of its counts the source fires late, counted from
//!   that same reading. One overflow is let happen in code that waits for it;
//!   the passage taken off, what the clock shows is what that code got.
//! * The *floor*: what interrupted code gets if the source is given no time.
//!
//! Under instruction counting each of these is one exact number. In real time
//! the least of several trials is taken.

use core::arch::asm;
use core::sync::atomic::Ordering::Relaxed;

use profiler::format::{Clock, Delivery};

use super::clock::RunClock;
use super::source::{Source, Unavailable, step};
use crate::cpu::{self, CoreBlock};
use crate::sampling::vector;
use crate::time::Deadline;

/// What is known of the way through an overflow.
#[derive(Clone, Copy, Debug)]
pub struct Calibration {
    /// Ticks of the time stamp counter that are neither the handler's nor the
    /// interrupted code's.
    pub passage: u64,
    /// Counts of the source to add to a period.
    pub lead: u64,
    /// The shortest period that progresses, in ticks of the run.
    pub floor: u64,
}

/// Trials where time makes them differ.
const TRIALS: u32 = 32;
/// How long an overflow may take to arrive, in ticks of the time stamp counter:
/// a tenth of a second or so.
const PATIENCE: u64 = 400_000_000;
/// A count that no trial waits for.
const NEVER: u64 = u32::MAX as u64;
/// The period of the trial that finds the lead, in ticks.
const TRIAL: u64 = 5000;

/// An overflow, real or raised by software, while calibrating; gives the count
/// to re-arm with, if any.
pub(super) fn overflow(core: &CoreBlock, entered: u64) -> Option<u32> {
    let state = &core.sampling;
    state.entered.store(entered, Relaxed);
    state.armed.store(false, Relaxed);
    state.trials.fetch_add(1, Relaxed);
    // Once only: the trial's own overflow must not start another.
    let count = state.quota.swap(0, Relaxed);
    u32::try_from(count).ok().filter(|&count| count != 0)
}

/// Whether an overflow arrives within the time once `provoke` has asked the
/// source for one.
///
/// # Errors
///
/// None did.
pub(super) fn arrival(provoke: impl FnOnce(&CoreBlock)) -> Result<(), Unavailable> {
    let core = cpu::current();
    let state = &core.sampling;
    let before = state.trials.load(Relaxed);
    provoke(core);
    let arrived = Deadline::after(PATIENCE).wait_for(|| state.trials.load(Relaxed) != before);
    arrived.then_some(()).ok_or(Unavailable::NoArrival)
}

/// Measures the way through an overflow on the running core.
///
/// # Errors
///
/// An overflow did not arrive.
pub(super) fn measure(
    source: &Source,
    delivery: Delivery,
    clock: &RunClock,
) -> Result<Calibration, Unavailable> {
    if let Source::Step = source {
        let passage = (0..TRIALS).map(|_| step_passage()).min().unwrap_or(0);
        return Ok(Calibration {
            passage,
            lead: 0,
            floor: 1,
        });
    }
    if let Source::Pmu(_) = source {
        // It measures that itself, beside its events.
        return Ok(Calibration {
            passage: 0,
            lead: 0,
            floor: 1,
        });
    }
    let passages = (0..TRIALS).map(|_| passage(source, delivery));
    let passage = passages.min().unwrap_or(0);
    if !source.is_one_shot() {
        // Another core's clock decides when.
        return Ok(Calibration {
            passage,
            lead: 0,
            floor: 1,
        });
    }
    match clock.clock {
        Clock::Instructions => {
            let got = trial(source.counts(TRIAL), delivery)?.saturating_sub(passage);
            Ok(Calibration {
                passage,
                lead: source.counts(TRIAL).saturating_sub(source.counts(got)),
                floor: 1,
            })
        }
        Clock::Time => {
            let mut floor = u64::MAX;
            for _ in 0..TRIALS {
                let got = trial(1, delivery)?.saturating_sub(passage);
                floor = floor.min(clock.ticks(got));
            }
            Ok(Calibration {
                passage,
                lead: source.counts(clock.ticks(passage)),
                floor: floor.max(1),
            })
        }
    }
}

/// Raises two sampling interrupts in a row; gives what lies between them, in
/// ticks of the time stamp counter.
fn passage(source: &Source, delivery: Delivery) -> u64 {
    let core = cpu::current();
    // The first one re-arms, the second does not.
    core.sampling.quota.store(NEVER, Relaxed);
    raise_two(delivery);
    source.disarm(core);
    // The second `int` itself.
    between(core).saturating_sub(1)
}

/// Raises a sampling interrupt by software.
pub(super) fn raise(delivery: Delivery) {
    match delivery {
        // SAFETY: the gate's handler returns. (`int 2` does not block NMIs.)
        Delivery::Nmi => unsafe { asm!("int 2") },
        // SAFETY: likewise; the handler's end of interrupt finds nothing to end.
        Delivery::Irq => unsafe { asm!("int {v}", v = const vector::SAMPLING) },
    }
}

/// Raises two, one right behind the other.
pub(super) fn raise_two(delivery: Delivery) {
    match delivery {
        // SAFETY: the gates' handlers return. (`int 2` does not block NMIs, and
        // none is due.)
        Delivery::Nmi => unsafe { asm!("int 2", "int 2") },
        // SAFETY: likewise; the handler's end of interrupt finds nothing to end.
        Delivery::Irq => unsafe {
            asm!("int {v}", "int {v}", v = const vector::SAMPLING);
        },
    }
}

/// The same, of two steps.
fn step_passage() -> u64 {
    let core = cpu::current();
    core.sampling.quota.store(NEVER, Relaxed);
    step::twice();
    // The instruction between them.
    between(core).saturating_sub(1)
}

/// From the last re-arming to the last entry, in ticks of the time stamp counter.
fn between(core: &CoreBlock) -> u64 {
    let state = &core.sampling;
    let armed_at = state.armed_at.load(Relaxed);
    state.entered.load(Relaxed).wrapping_sub(armed_at)
}

/// Lets the source overflow once, armed with `count` by the handler's own last
/// step; gives the ticks of the time stamp counter from there to the entry.
fn trial(count: u64, delivery: Delivery) -> Result<u64, Unavailable> {
    let core = cpu::current();
    let state = &core.sampling;
    let before = state.trials.load(Relaxed);
    state.quota.store(count, Relaxed);
    raise(delivery);
    let arrived = Deadline::after(PATIENCE).wait_for(|| state.trials.load(Relaxed) > before + 1);
    if !arrived {
        return Err(Unavailable::NoArrival);
    }
    Ok(between(core))
}
