//! From an overflow interrupt to a record in the ring, and back.
//!
//! Nothing here allocates, locks, logs or can fault, and every loop has a bound:
//! this code runs on top of anything, code that holds every lock included.
//!
//! # What a period counts
//!
//! The source is re-armed as the handler's last step, so a period counts what
//! the interrupted code executes and nothing of the handler, however long that
//! takes. Between the reading of the clock beside the re-arming and the next one
//! in the entry lie, apart from the interrupted code, only the exit and the entry
//! themselves. They are calibrated at start and taken off
//! ([`super::calibration`]).

use core::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering::Relaxed};

use profiler::address::{CodeAddress, StackAddress};
use profiler::format::sample::Chain;
use profiler::format::{Delivery, Sample, State};
use profiler::shared::CoreCounters;
use profiler::unwind::{self, Registers};
use x86_64::registers::rflags::RFlags;

use super::aim::{self, CoreAim};
use super::counting::CoreCounting;
use super::source::pmu::CorePmu;
use super::source::{self, Source, step};
use super::walk::Walkable;
use super::{Phase, Run, calibration, counted, phase, run};
use crate::cpu::{self, CoreBlock, apic};
use crate::memory::stacks::{SLOT, StackKind};
use crate::smp;
use crate::time;
use crate::trap::{TrapFrame, vector};

/// What a core knows of its own sampling. Written by that core, in its handler
/// or before its source is armed.
#[derive(Default)]
pub struct CoreState {
    /// The time stamp counter beside the last re-arming.
    pub(super) armed_at: AtomicU64,
    /// The time stamp counter at the last entry.
    pub(super) entered: AtomicU64,
    /// Ticks of the time stamp counter that the last handler spent waiting for
    /// the core's turn.
    pub(super) waited: AtomicU64,
    /// Overflows taken so far.
    pub(super) sequence: AtomicU64,
    /// Overflows to take.
    pub(super) quota: AtomicU64,
    /// The source is armed, and its next interrupt is an overflow.
    pub(super) armed: AtomicBool,
    /// A handler has claimed an overflow and not armed the source again.
    pub(super) handling: AtomicBool,
    /// The source has fired, and was armed anew for an aim before its overflow was
    /// accounted for.
    pub(super) owed: AtomicBool,
    /// For the source `ipi`: another core asked for a sample.
    pub(super) asked: AtomicBool,
    /// What the core works on: an index into the run's task names.
    pub(super) task: AtomicU16,
    /// The core waits for its turn, and a maskable overflow is its watchdog's.
    pub(super) parked: AtomicBool,
    /// The watchdog has interrupted the wait.
    pub(super) barked: AtomicBool,
    /// What it knows of the run's aim.
    pub(super) aim: CoreAim,
    /// Overflows that came while calibrating.
    pub(super) trials: AtomicU64,
    /// Its performance counters.
    pub(super) pmu: CorePmu,
    /// What it counts, where events are counted.
    pub(super) counting: CoreCounting,
}

/// How the handler ends.
pub(super) enum Next {
    /// Re-arm the source with this count and go back.
    Arm(u32),
    /// Let the source go on as if nothing had been, and go back.
    GoOn,
    /// Go back.
    Return,
}

/// An overflow that is to be recorded.
#[derive(Clone, Copy)]
pub(super) struct Taken {
    /// Its number on this core.
    pub sequence: u64,
    /// Whose it is.
    pub event: u8,
    /// What the interrupted code ran since the one before.
    pub period: u64,
}

/// An NMI. It may be an overflow, or nobody's.
#[inline]
pub fn nmi(frame: &mut TrapFrame, core: &'static CoreBlock, entered: u64) {
    let next = taken(frame, core, entered, Delivery::Nmi);
    resume(core, next);
}

/// The sampling interrupt, where overflows come as maskable interrupts.
pub fn irq(frame: &mut TrapFrame) {
    let entered = time::ticks();
    let core = cpu::current();
    apic::registers().end_of_interrupt();
    if core.sampling.parked.load(Relaxed) {
        core.sampling.barked.store(true, Relaxed);
        return;
    }
    let next = taken(frame, core, entered, Delivery::Irq);
    resume(core, next);
}

/// The debug exception: a step, where overflows are the trap flag's, or an aim.
pub fn debug(frame: &mut TrapFrame) {
    let entered = time::ticks();
    let core = cpu::current();
    smp::stop_if_asked();
    if aim::is_hit() {
        // Perhaps in the middle of another handler, which goes on as if nothing were.
        if let Some(count) = aim_hit(frame, core) {
            aim::begin(core);
            arm(core, count);
        }
    } else {
        let next = taken(frame, core, entered, Delivery::Nmi);
        resume(core, next);
    }
}

/// The instruction that was aimed at is about to be executed.
fn aim_hit(frame: &mut TrapFrame, core: &CoreBlock) -> Option<u32> {
    // It is executed this time, whatever comes of it.
    frame.rflags |= RFlags::RESUME_FLAG.bits();
    match (phase(), run().and_then(|run| run.aimed.as_ref())) {
        // The trial of the aim's own calibration.
        (Phase::Probing, _) => u32::try_from(core.sampling.quota.swap(0, Relaxed)).ok(),
        (Phase::Sampling, Some(aimed)) => {
            let state = &core.sampling;
            let count = aim::hit(core, aimed)?;
            let source = source::current()?;
            // The source is armed anew, and forgets that.
            if state.armed.load(Relaxed) && source.has_fired(core) {
                state.owed.store(true, Relaxed);
            }
            // No overflow of the period from here on: it would be taken for the aimed one.
            source.disarm(core);
            Some(count)
        }
        _ => None,
    }
}

/// The last step of the handler. What follows is the way back to the interrupted
/// code, the same instructions each time.
#[inline]
fn resume(core: &CoreBlock, next: Next) {
    let count = match next {
        Next::Arm(count) => {
            if aim::is_under_way(core) {
                drop_aimed(core);
            }
            core.sampling.handling.store(false, Relaxed);
            note_armed(core);
            count
        }
        Next::GoOn => 0,
        Next::Return => return,
    };
    if let Some(source) = source::current() {
        source.arm(core, count);
    }
}

/// Gives up the overflow that was aimed beyond the handler's end, while it would still
/// find the handler at work. Later it would come between the accounts of the arming and
/// the arming.
#[cold]
fn drop_aimed(core: &CoreBlock) {
    if let Some(source) = source::current() {
        source.disarm(core);
    }
    aim::forget(core);
}

/// Arms the source and notes when.
#[inline]
pub(super) fn arm(core: &CoreBlock, count: u32) {
    note_armed(core);
    if let Some(source) = source::current() {
        source.arm(core, count);
    }
}

#[inline]
fn note_armed(core: &CoreBlock) {
    core.sampling.armed.store(true, Relaxed);
    core.sampling.armed_at.store(time::ticks(), Relaxed);
}

fn taken(
    frame: &mut TrapFrame,
    core: &'static CoreBlock,
    entered: u64,
    delivery: Delivery,
) -> Next {
    if let Some(Source::Pmu(pmu)) = source::current() {
        return counted::interrupt(frame, core, entered, delivery, pmu);
    }
    match (phase(), run()) {
        (Phase::Probing, _) => {
            let found_at = &core.sampling.aim.found_at;
            found_at.store(frame.rip, Relaxed);
            calibration::overflow(core, entered).map_or(Next::Return, Next::Arm)
        }
        (Phase::Sampling, Some(run)) => sampled(frame, core, entered, delivery, run),
        _ => {
            core.unclaimed_nmis.fetch_add(1, Relaxed);
            Next::Return
        }
    }
}

/// Accounts for an interrupt of `core` in a run, of whatever it comes. Gives whether it
/// interrupts the handler of another one.
pub(super) fn note(frame: &TrapFrame, core: &CoreBlock, counters: &CoreCounters) -> bool {
    counters.taken.fetch_add(1, Relaxed);
    let handlers = core.stack(StackKind::NmiHandler);
    let above = frame.rsp.wrapping_sub(handlers.low.as_u64());
    let is_nested = above < NESTED_BYTES
        && (above < StackKind::NmiHandler.bytes() || is_handler_below(frame.rsp, core));
    if is_nested {
        counters.nested.fetch_add(1, Relaxed);
    }
    is_nested
}

/// From the lowest address of the NMIs' handler stack to the end of the last stack that
/// the processor switches to.
const NESTED_BYTES: u64 = StackKind::NmiHandler.bytes()
    + (StackKind::MachineCheck as u64 - StackKind::NmiHandler as u64) * SLOT;

/// Returns true if code on the stack of #DB, #DF or #MC interrupts an NMI's handler,
/// whatever is between.
///
/// An NMI's handler on such a stack itself is not seen. For that an NMI has to come twice
/// there, and nothing lets in the second, but `nmi::let_in`.
#[cold]
fn is_handler_below(mut sp: u64, core: &CoreBlock) -> bool {
    // Each stack is in use once.
    for _ in 0..StackKind::SWITCHED.len() {
        let on = |kind: &&StackKind| core.stack(**kind).holds(sp);
        match StackKind::SWITCHED.iter().find(on) {
            Some(&kind) => sp = core.stack(kind).interrupted_sp(),
            None => break,
        }
    }
    core.stack(StackKind::NmiHandler).holds(sp)
}

/// Whether `core` has taken its share of samples.
pub(super) fn is_last(core: &CoreBlock) -> bool {
    let state = &core.sampling;
    state.sequence.load(Relaxed) >= state.quota.load(Relaxed)
}

fn sampled(
    frame: &mut TrapFrame,
    core: &'static CoreBlock,
    entered: u64,
    delivery: Delivery,
    run: &'static Run,
) -> Next {
    let state = &core.sampling;
    let counters = run.ring(core).counters;
    let is_nested = note(frame, core, counters);
    // An NMI that another core sent does not come as this run's overflows do, though
    // one may be due.
    let is_step = frame.vector == vector::DEBUG.into();
    let comes_right = delivery == run.delivery && is_step == matches!(run.source, Source::Step);
    let has_fired = comes_right && state.armed.load(Relaxed) && run.source.has_fired(core);
    // Two are due where an aim came before the overflow of its handler was claimed, and
    // two interrupts come: whichever is first takes the one that the source shows, and
    // the other what is owed.
    if !has_fired && !state.owed.swap(false, Relaxed) {
        counters.unclaimed.fetch_add(1, Relaxed);
        // What this took is not the interrupted code's. The source goes on counting,
        // so its overflow comes early by that much, and the record will say so. Not
        // if a handler was interrupted: its sample's period is over.
        if state.armed.load(Relaxed) && !state.handling.load(Relaxed) {
            let taken = time::ticks() - entered + run.calibration.passage;
            state.armed_at.fetch_add(taken, Relaxed);
        }
        return Next::Return;
    }
    if has_fired {
        state.armed.store(false, Relaxed);
    }
    // If the handler that was interrupted will arm the source still, it is for that
    // one to do, and to hand on the turn: a source that is armed from in here would
    // fire before the outer handler has got anywhere.
    let is_within_another = state.handling.swap(true, Relaxed);
    let sequence = state.sequence.fetch_add(1, Relaxed);
    let event = match has_fired && aim::take(core, is_nested) {
        true => Sample::AIMED,
        false => 0,
    };
    // Saturating: an overflow in this handler has armed the source behind our back.
    let between = entered.saturating_sub(state.armed_at.load(Relaxed));
    let own = between.saturating_sub(run.calibration.passage);
    let period = run.clock.ticks(own);
    let sample = Taken {
        sequence,
        event,
        period,
    };
    record(frame, core, entered, delivery, sample, run);
    if is_within_another {
        return Next::Return;
    }

    state.entered.store(entered, Relaxed);
    let done = time::ticks();
    if is_last(core) {
        step::end(frame);
        super::leave(frame, core, run);
        return Next::Return;
    }
    match (&run.turns, delivery) {
        (Some(turns), Delivery::Nmi) => turns.next(core),
        (Some(turns), Delivery::Irq) => {
            turns.next_or_take(core, || run.source.arm(core, run.patience));
        }
        (None, _) => {}
    }
    state.waited.store(time::ticks() - done, Relaxed);
    Next::Arm(run.count)
}

/// Walks the stack and writes the sample.
pub(super) fn record(
    frame: &TrapFrame,
    core: &'static CoreBlock,
    entered: u64,
    delivery: Delivery,
    taken: Taken,
    run: &Run,
) {
    let Taken {
        sequence,
        event,
        period,
    } = taken;
    let state = &core.sampling;
    let interrupted = Registers {
        pc: CodeAddress(frame.rip),
        sp: StackAddress(frame.rsp),
        fp: StackAddress(frame.rbp),
    };
    let walkable = Walkable::new(core);
    let mut chain = Chain::new();
    let end = unwind::walk(interrupted, &walkable, &mut chain);

    let armed_at = state.armed_at.load(Relaxed);
    let handler_cost = match sequence {
        0 => 0,
        _ => {
            let before = armed_at.saturating_sub(state.entered.load(Relaxed));
            let own = before.saturating_sub(state.waited.load(Relaxed));
            run.clock.ticks(own + run.calibration.passage)
        }
    };
    let mut processor = processor_state(frame, delivery);
    if unwind::is_caller_known(interrupted.pc, &walkable) {
        processor.0 |= State::CALLER_KNOWN;
    }
    // Counts that are cut to their fields: a sequence number wraps, and a handler
    // that takes 2³² ticks is not to be had.
    #[allow(clippy::cast_possible_truncation)]
    let sample = Sample {
        sequence: sequence as u32,
        handler_cost: handler_cost as u32,
        event,
        task: state.task.load(Relaxed),
        state: processor,
        time: run
            .clock
            .ticks(entered.wrapping_sub(run.began.load(Relaxed))),
        period,
        sp: interrupted.sp,
        stack_top: unwind::stack_top(interrupted.sp, &walkable),
        pc: interrupted.pc,
        end,
        // Those of `chain`, where they stand.
        chain_words: &[],
    };
    let ring = run.ring(core);
    // A loss is counted in the ring.
    if ring.writer.write(chain.record(&sample)).is_ok() {
        ring.counters.stored.fetch_add(1, Relaxed);
    }
}

fn processor_state(frame: &TrapFrame, delivery: Delivery) -> State {
    // The low two bits of a code selector are the privilege level.
    let mut state = frame.cs.to_le_bytes()[0] & State::RING;
    if frame.rflags & RFlags::INTERRUPT_FLAG.bits() != 0 {
        state |= State::INTERRUPTS_ON;
    }
    if delivery == Delivery::Nmi && frame.vector == vector::NMI.into() {
        state |= State::NMI;
    }
    if cpu::idle::is_halted_at(frame.rip) {
        state |= State::IDLE;
    }
    State(state)
}
