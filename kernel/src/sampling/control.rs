//! Starting, stopping and changing a run while it goes on: asked for by the host,
//! through the header page, or by kernel code. For runs by performance counters.
//!
//! All of it is done by the first core, in a maskable interrupt: it plans, which
//! allocates, and measures, for which its own counters have to be free. It asks the other
//! cores by the sampling interrupt, in whose handler each starts and stops its own.
//!
//! * While sampling, the first core's samples look whether there is a request.
//! * While paused, its timer does.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use profiler::contract::mailbox::{Mailbox, MailboxText, Request};
use profiler::contract::settings::Settings;
use profiler::format::Text;
use profiler::format::event::NewEvent;
use profiler::format::region::RunState;
use profiler::pmu::event::EventList;

use super::source::pmu::{Jitter, PATIENCE, Pmu, plan_all};
use super::source::{Source, Unavailable};
use super::{Phase, Run, run, set_phase};
use crate::cpu::apic::{self, Destination, Message};
use crate::cpu::{self, CoreBlock, tick};
use crate::sync::Lock;
use crate::time::Deadline;
use crate::trap::{TrapFrame, vector};

/// What can be changed of a run.
pub struct Control {
    paused: AtomicBool,
    events: Lock<EventList>,
    /// Of events that have none of their own.
    period: AtomicU64,
    jitter: Jitter,
    /// The number of the first event that is counted now.
    first_event: AtomicU8,
    /// How many are.
    event_count: AtomicU8,
}

/// Why something could not be done, in a line.
pub type Refusal = Box<MailboxText>;

fn refuse(why: fmt::Arguments<'_>) -> Refusal {
    Box::new(Text::formatted(why))
}

impl Control {
    pub(super) fn new(
        events: EventList,
        event_count: u8,
        period: u64,
        settings: &Settings<'_>,
    ) -> Self {
        Self {
            paused: AtomicBool::new(false),
            events: Lock::new(events),
            period: AtomicU64::new(period),
            jitter: Jitter {
                percent: settings.jitter,
                seed: settings.seed,
            },
            first_event: AtomicU8::new(0),
            event_count: AtomicU8::new(event_count),
        }
    }

    /// The number of the first event that is counted now.
    #[inline]
    pub(super) fn first_event(&self) -> u8 {
        self.first_event.load(Ordering::Relaxed)
    }
}

/// Goes on sampling on all cores.
///
/// # Errors
///
/// The run has no counters, or a core does not answer.
pub fn start() -> Result<(), Refusal> {
    let (run, pmu) = counters()?;
    start_all(run, &pmu)
}

/// Stops the counters of all cores, which are then as they were before the run.
///
/// # Errors
///
/// The run has no counters, or a core does not answer.
pub fn stop() -> Result<(), Refusal> {
    let (run, pmu) = counters()?;
    stop_all(run, &pmu)
}

/// Samples every so many events from now on, those that have no period of their own.
///
/// # Errors
///
/// As [`set_events`].
pub fn set_period(period: u64) -> Result<(), Refusal> {
    let (run, pmu) = counters()?;
    let events = run.control.events.with(|events| *events);
    change(run, &pmu, events, period)
}

/// Counts and samples these events from now on.
///
/// # Errors
///
/// The run has no counters, a core cannot count them, or does not answer. It goes on as
/// before, on the cores that do.
pub fn set_events(events: EventList) -> Result<(), Refusal> {
    let (run, pmu) = counters()?;
    let period = run.control.period.load(Ordering::Relaxed);
    change(run, &pmu, events, period)
}

/// Lets the running core, if it is the first, look for a request as soon as it has
/// interrupts on. For its NMI handler.
#[inline]
pub(super) fn look(core: &CoreBlock, run: &Run) {
    if core.index == 0 && Mailbox::new(run.shared.mailbox()).has_request() {
        // SAFETY: `trap::start` registered the vector.
        unsafe { apic::registers().send(Message::Fixed(vector::CONTROL), Destination::This) };
    }
}

/// The handler of [`vector::CONTROL`].
pub fn on_control(_: &mut TrapFrame) {
    apic::registers().end_of_interrupt();
    answer();
}

/// The handler of [`vector::TICK`]: on a core that halts, that it came is all.
pub fn on_tick(_: &mut TrapFrame) {
    apic::registers().end_of_interrupt();
    if cpu::current().index == 0 {
        answer();
    }
}

/// Does what the host asks for, if it does.
fn answer() {
    let Some(run) = run() else {
        return;
    };
    let requests = Mailbox::new(run.shared.mailbox());
    let Some((number, request)) = requests.take() else {
        return;
    };
    let outcome = match request {
        Ok(Request::Start) => start(),
        Ok(Request::Stop) => stop(),
        Ok(Request::Period(period)) => set_period(period),
        Ok(Request::Events(events)) => set_events(events),
        Err(problem) => Err(refuse(format_args!("{problem}"))),
    };
    requests.reply(
        number,
        outcome.as_ref().copied().map_err(|reason| &**reason),
    );
}

/// The run and its counters.
fn counters() -> Result<(&'static Run, Pmu), Refusal> {
    match run().map(|run| (run, run.source)) {
        Some((run, _)) if run.counting.is_some() => Err(refuse(format_args!(
            "a run that counts goes on as it began"
        ))),
        Some((run, Source::Pmu(pmu))) => Ok((run, pmu)),
        Some((_, other)) => Err(refuse(format_args!(
            "a run by {} goes on as it began: only counters can be controlled",
            other.kind()
        ))),
        None => Err(refuse(format_args!("nothing is sampled"))),
    }
}

/// Plans anew, with all counters stopped meanwhile.
fn change(run: &Run, pmu: &Pmu, events: EventList, period: u64) -> Result<(), Refusal> {
    let control = &run.control;
    let was_paused = control.paused.load(Ordering::Relaxed);
    let count = u8::try_from(events.as_slice().len()).unwrap_or(u8::MAX);
    let first = control.first_event() + control.event_count.load(Ordering::Relaxed);
    if first.checked_add(count).is_none_or(|end| end == u8::MAX) {
        return Err(refuse(format_args!(
            "too many changes in one run: start another"
        )));
    }
    if let Err(refusal) = stop_all(run, pmu) {
        if !was_paused {
            // As before. The core that did not answer goes on anyway.
            let _ = start_all(run, pmu);
        }
        return Err(refusal);
    }
    // Those that have taken their last sample do not start again.
    let goes_on = |core: &&CoreBlock| !super::overflow::is_last(core);
    let cores: Vec<_> = cpu::cores().iter().copied().filter(goes_on).collect();
    set_phase(Phase::Probing);
    let measured = plan_all(&cores, &events)
        .and_then(|plans| pmu.measure(&cores, plans, period, control.jitter));
    set_phase(Phase::Sampling);
    if let Ok(measured) = &measured {
        for (number, event) in (first..).zip(&measured.events[..count.into()]) {
            let event = NewEvent {
                number,
                event: *event,
            };
            let ring = run.ring(cpu::core(0));
            // One that does not fit is counted as lost; the report has its number.
            if ring.writer.write(&event.encode()).is_ok() {
                ring.counters.stored.fetch_add(1, Ordering::Relaxed);
            }
        }
        control.events.with(|kept| *kept = events);
        control.period.store(period, Ordering::Relaxed);
        control.first_event.store(first, Ordering::Relaxed);
        control.event_count.store(count, Ordering::Relaxed);
    }
    let started = match was_paused {
        true => Ok(()),
        false => start_all(run, pmu),
    };
    match (measured, started) {
        (Ok(_), Ok(())) => Ok(()),
        (Ok(_), Err(why)) => Err(refuse(format_args!("it is changed, but {}", why.as_str()))),
        (Err(problem), Ok(())) => Err(refuse(format_args!("{problem}"))),
        (Err(problem), Err(why)) => Err(refuse(format_args!(
            "{problem}; it goes on as before, but {}",
            why.as_str()
        ))),
    }
}

/// All cores but the first, which asks them.
fn others() -> impl Iterator<Item = &'static CoreBlock> {
    cpu::cores()[1..].iter().copied()
}

fn stop_all(run: &Run, pmu: &Pmu) -> Result<(), Refusal> {
    // Before anything is asked for: this core's last sample would end it here.
    pmu.stop(cpu::current());
    run.control.paused.store(true, Ordering::Relaxed);
    run.shared.set_state(RunState::Paused);
    // The host may ask for more, and no sample comes to look for it.
    tick::repeat();
    // All: one that starts only now is to stop as well.
    others().for_each(|core| pmu.ask_to_stop(core));
    answered(pmu, |core| pmu.is_running(core))
}

fn start_all(run: &Run, pmu: &Pmu) -> Result<(), Refusal> {
    run.control.paused.store(false, Ordering::Relaxed);
    run.shared.set_state(RunState::Sampling);
    tick::enable();
    let is_due = |core: &CoreBlock| !pmu.is_running(core) && !super::overflow::is_last(core);
    others()
        .filter(|core| is_due(core))
        .for_each(|core| pmu.ask_to_start(core));
    if is_due(cpu::current()) {
        pmu.start(cpu::current());
    }
    answered(pmu, is_due)
}

/// Waits until no core is `missing` any more that its processor has not refused. What one
/// has not done by then it is not to do later.
fn answered(pmu: &Pmu, is_missing: impl Fn(&CoreBlock) -> bool) -> Result<(), Refusal> {
    let missing = || cpu::cores().iter().filter(|core| is_missing(core));
    let refusal = |core: &CoreBlock| core.sampling.pmu.refusal();
    let silent = || missing().filter(|core| refusal(core).is_none());
    let _ = Deadline::after(PATIENCE).wait_for(|| silent().next().is_none());
    for core in silent() {
        pmu.ask_nothing(core);
    }
    let Some(core) = missing().next() else {
        return Ok(());
    };
    let index = core.index;
    Err(match refusal(core) {
        Some(problem) => refuse(format_args!("core {index}: {problem}")),
        None => refuse(format_args!("{}", Unavailable::NoAnswer { core: index })),
    })
}
