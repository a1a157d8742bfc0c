//! From an interrupt of the performance counters to the records of what has overflowed.
//!
//! It stops the counters before anything else and starts them as its last step: what
//! they count on the way in and out is then the same each time, and calibrated
//! ([`super::source::pmu`]). So nothing of the handler is in the events of the code
//! that it interrupts.

use core::sync::atomic::Ordering::Relaxed;

use profiler::format::Delivery;
use profiler::pmu::driver::{Cause, Interrupt, Overflows};

use super::overflow::{self, Next, Taken};
use super::source::pmu::Pmu;
use super::{Phase, Run, control, phase, run};
use crate::cpu::CoreBlock;
use crate::trap::TrapFrame;

/// An NMI, or the sampling interrupt. It may be the counters', what the core asks its
/// own handler for, or nobody's.
pub(super) fn interrupt(
    frame: &mut TrapFrame,
    core: &'static CoreBlock,
    entered: u64,
    delivery: Delivery,
    pmu: &Pmu,
) -> Next {
    let entry = pmu.enter(core, delivery);
    if entry == Interrupt::Busy {
        // The handler that it interrupts sees what it comes for.
        return unclaimed(frame, core, Next::Return);
    }
    if delivery != pmu.delivery() {
        // Somebody else's NMI. What is due comes as a maskable interrupt.
        let next = match (entry, phase()) {
            (Interrupt::Stopped(..), Phase::Probing | Phase::Sampling) => Next::GoOn,
            // Not started, or the run is over.
            _ => Next::Return,
        };
        return unclaimed(frame, core, next);
    }
    if let Some(starts) = pmu.obey(core) {
        if let (Interrupt::Stopped(overflows, _), Phase::Sampling, Some(run)) =
            (entry, phase(), run())
        {
            // What came together with what is asked for is no sample any more.
            let missed = &run.ring(core).counters.missed;
            missed.fetch_add(overflows.iter().count() as u64, Relaxed);
        }
        if !starts {
            return Next::Return;
        }
        // What went by since the last sample is no handler's time.
        core.sampling.entered.store(entered, Relaxed);
        return Next::Arm(0);
    }
    let Interrupt::Stopped(overflows, cause) = entry else {
        return unclaimed(frame, core, Next::Return);
    };
    match (phase(), run()) {
        (Phase::Probing, _) => {
            pmu.note_trial(core, entered, overflows);
            Next::Arm(0)
        }
        (Phase::Sampling, Some(_)) if cause == Cause::Other => unclaimed(frame, core, Next::GoOn),
        (Phase::Sampling, Some(run)) => {
            let counters = run.ring(core).counters;
            overflow::note(frame, core, counters);
            if overflows.is_empty() {
                let why = match cause {
                    Cause::Late => &counters.late,
                    _ => &counters.early,
                };
                why.fetch_add(1, Relaxed);
                return Next::GoOn;
            }
            sample(frame, core, entered, delivery, (pmu, overflows), run)
        }
        // The run is over: they stand still from here on.
        _ => unclaimed(frame, core, Next::Return),
    }
}

/// An interrupt that no overflow came of.
fn unclaimed(frame: &TrapFrame, core: &CoreBlock, next: Next) -> Next {
    match (phase(), run()) {
        (Phase::Sampling, Some(run)) => {
            let counters = run.ring(core).counters;
            overflow::note(frame, core, counters);
            counters.unclaimed.fetch_add(1, Relaxed);
        }
        _ => _ = core.unclaimed_nmis.fetch_add(1, Relaxed),
    }
    next
}

/// Records a sample of each event that has overflowed: the same place, once for each.
fn sample(
    frame: &mut TrapFrame,
    core: &'static CoreBlock,
    entered: u64,
    delivery: Delivery,
    (pmu, overflows): (&Pmu, Overflows),
    run: &'static Run,
) -> Next {
    let state = &core.sampling;
    let first = run.control.first_event();
    let missed = &run.ring(core).counters.missed;
    for event in overflows.iter() {
        let overflow = pmu.overflow(core, event);
        if overflow.missed != 0 {
            missed.fetch_add(overflow.missed, Relaxed);
        }
        let taken = Taken {
            sequence: state.sequence.fetch_add(1, Relaxed),
            // Its place among 16.
            event: first + event.to_le_bytes()[0],
            period: overflow.ran,
        };
        overflow::record(frame, core, entered, delivery, taken, run);
    }
    state.entered.store(entered, Relaxed);
    control::look(core, run);
    if overflow::is_last(core) {
        pmu.disarm(core);
        super::leave(frame, core, run);
        return Next::Return;
    }
    Next::Arm(0)
}
