//! Starting, stopping and changing a run while it goes on: asked for by the host,
//! through the region's header page, or by kernel code. For runs by performance counters.
//!
//! All of it is done by the first core, in a maskable interrupt: it plans and measures,
//! for which its own counters have to be free. It asks the other
//! cores by the sampling interrupt, in whose handler each starts and stops its own.
//!
//! * While sampling, the first core's samples look whether there is a request.
//! * While paused, the kernel calls [`Sampler::poll`].

use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};

use super::Sampler;
use super::per_core::Core;
use super::phase::Phase;
use super::run::Run;
use super::source::pmu::{ANSWER_TIMEOUT_TICKS, Measured, Pmu};
use super::source::{Source, SourceError};
use super::target::Target;
use crate::contract::mailbox::{MailboxText, Request};
use crate::format::Text;
use crate::format::event::NewEvent;
use crate::hw::tsc::Deadline;
use crate::pmu::event::EventList;

/// Why something could not be done, in a line.
pub type Refusal = MailboxText;

fn refuse(reason: fmt::Arguments<'_>) -> Refusal {
    Text::formatted(reason)
}

/// The right to change the run, and to be on the sampler's own stack, which one has at a
/// time: an interrupt may come while a task does it.
pub(super) struct Turn<'a>(&'a AtomicBool);

impl<'a> Turn<'a> {
    pub(super) fn take(is_taken: &'a AtomicBool) -> Option<Self> {
        let was_taken = is_taken.swap(true, Ordering::Acquire);
        (!was_taken).then(|| Self(is_taken))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl<T: Target> Sampler<T> {
    /// Samples on all cores again, after [`Self::pause`].
    ///
    /// # Errors
    ///
    /// The run has no counters, a core does not answer, this is not the core with index 0,
    /// or it is changing the run already.
    pub fn resume(&'static self) -> Result<(), Refusal> {
        self.request(Request::Start)
    }

    /// Stops the counters of all cores, which are then as they were before the run.
    ///
    /// # Errors
    ///
    /// As [`Self::resume`].
    pub fn pause(&'static self) -> Result<(), Refusal> {
        self.request(Request::Stop)
    }

    /// Samples every `period` events from now on, those that have no period of their own.
    ///
    /// # Errors
    ///
    /// As [`Self::set_events`].
    pub fn set_period(&'static self, period: u64) -> Result<(), Refusal> {
        self.request(Request::Period(period))
    }

    /// Counts and samples these events from now on.
    ///
    /// # Errors
    ///
    /// As [`Self::resume`], or a core cannot count them: it runs as before, on the cores
    /// that do.
    pub fn set_events(&'static self, events: EventList) -> Result<(), Refusal> {
        self.request(Request::Events(events))
    }

    /// Does what the host asks for, if it does: on the core with index 0, in a maskable
    /// interrupt or in a task; on others nothing. `core` is the running core's index.
    pub fn poll(&'static self, core: u32) {
        let Some(run) = self.engine.run().filter(|_| core == 0) else {
            return;
        };
        // Whoever has the turn may have been interrupted: the host's request waits.
        let Ok(turn) = self.take_turn() else {
            return;
        };
        let Some((number, request)) = run.mailbox().take() else {
            return;
        };
        let outcome = match request {
            Ok(request) => self.perform(&turn, request),
            Err(problem) => Err(refuse(format_args!("{problem}"))),
        };
        run.mailbox().reply(number, outcome.as_ref().copied());
    }

    fn request(&'static self, request: Request) -> Result<(), Refusal> {
        self.counters()?;
        if self.running_core() != Some(0) {
            return Err(refuse(format_args!(
                "a run is changed on the first core, the one that started it"
            )));
        }
        let turn = self.take_turn()?;
        self.perform(&turn, request)
    }

    pub(super) fn take_turn(&self) -> Result<Turn<'_>, Refusal> {
        let turn = Turn::take(&self.engine.is_changing);
        turn.ok_or_else(|| refuse(format_args!("the run is being changed already")))
    }

    /// Whoever asks may be an interrupt on a stack that is nearly full.
    fn perform(&'static self, _: &Turn<'_>, request: Request) -> Result<(), Refusal> {
        match self.engine.own_stack.get() {
            // SAFETY: 1: a kernel's panics do not unwind. 2: whoever has the turn is on it.
            Some(stack) => unsafe { stack.run(|| self.perform_here(request)) },
            None => Err(refuse(format_args!("nothing is sampled"))),
        }
    }

    fn perform_here(&'static self, request: Request) -> Result<(), Refusal> {
        let (run, pmu) = self.counters()?;
        match request {
            Request::Start => self.start_all(&pmu),
            Request::Stop => self.stop_all(&pmu),
            Request::Period(period) => self.change(run, &pmu, run.control.events(), period),
            Request::Events(events) => {
                let period = run.control.period.load(Ordering::Relaxed);
                self.change(run, &pmu, events, period)
            }
        }
    }

    /// The run and its counters.
    fn counters(&self) -> Result<(&Run, Pmu), Refusal> {
        match self.engine.run().map(|run| (run, run.source)) {
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
    fn change(
        &'static self,
        run: &Run,
        pmu: &Pmu,
        events: EventList,
        period: u64,
    ) -> Result<(), Refusal> {
        let was_paused = self.engine.cores.phase() == Phase::Paused;
        let count = u8::try_from(events.as_slice().len()).unwrap_or(u8::MAX);
        let Some(first) = run.control.next_event(count) else {
            return Err(refuse(format_args!(
                "too many changes in one run: start another"
            )));
        };
        if let Err(refusal) = self.stop_all(pmu) {
            if !was_paused {
                // As before. The core that did not answer samples anyway.
                let _ = self.start_all(pmu);
            }
            return Err(refusal);
        }
        self.engine.set_phase(Phase::Measuring);
        // Those that have taken their last sample do not start again.
        let takes_part = |core: &Core| !core.share.is_taken();
        let jitter = run.control.jitter;
        let measured = pmu.measure(&self.engine.cores, takes_part, &events, period, jitter);
        self.engine.set_phase(Phase::Paused);
        if let Ok(measured) = &measured {
            self.announce_events(first, measured);
            run.control.change(events, period, first, count);
        }
        let started = if was_paused {
            Ok(())
        } else {
            self.start_all(pmu)
        };
        outcome_of_change(measured, started)
    }

    /// Writes the events that are counted from now on, with numbers from `first` on, to
    /// the first core's ring.
    fn announce_events(&self, first: u8, measured: &Measured) {
        let events = &measured.events[..measured.event_count.into()];
        for (number, &event) in (first..).zip(events) {
            // One that does not fit is counted as lost; the report has its number.
            if let Some(output) = self.engine.cores.first().output.get() {
                output.write(&NewEvent { number, event }.encode());
            }
        }
        for core in self.engine.cores.all() {
            if let Some(output) = core.output.get().filter(|_| !core.share.is_taken()) {
                let rows = output.overheads(first);
                let rows = &rows[..rows.len().min(events.len())];
                output.counters.note_costs(core, rows, output.writer.fast());
            }
        }
    }

    fn stop_all(&self, pmu: &Pmu) -> Result<(), Refusal> {
        let (first, others) = self.first_and_others();
        // Before anything is asked for: this core's last sample would end it here.
        // If it does not come, the core is missing below.
        let _ = pmu.stop(first);
        self.engine.set_phase(Phase::Paused);
        // The host may ask for more, and no sample comes to look for it.
        self.target.set_paused(true);
        // All: one that starts only now is to stop as well.
        others.iter().for_each(|core| pmu.ask_to_stop(core));
        self.await_answers(pmu, |core| core.pmu.is_running())
    }

    fn start_all(&self, pmu: &Pmu) -> Result<(), Refusal> {
        let (first, others) = self.first_and_others();
        self.engine.set_phase(Phase::Sampling);
        self.target.set_paused(false);
        let is_due = |core: &Core| !core.pmu.is_running() && !core.share.is_taken();
        for core in others.iter().filter(|core| is_due(core)) {
            pmu.ask_to_start(core);
        }
        if is_due(first) {
            // Likewise.
            let _ = pmu.start(first);
        }
        self.await_answers(pmu, is_due)
    }

    fn first_and_others(&self) -> (&'static Core, &'static [Core]) {
        self.engine
            .cores
            .all()
            .split_first()
            .expect("the sampler is started")
    }

    /// Waits until no core is `missing` any more that its processor has not refused. What
    /// one has not done by then it is not to do later.
    fn await_answers(&self, pmu: &Pmu, is_missing: impl Fn(&Core) -> bool) -> Result<(), Refusal> {
        let missing = || {
            self.engine
                .cores
                .all()
                .iter()
                .filter(|core| is_missing(core))
        };
        let silent = || missing().filter(|core| core.pmu.fault().is_none());
        let _ = Deadline::after(ANSWER_TIMEOUT_TICKS).wait_for(|| silent().next().is_none());
        for core in silent() {
            pmu.cancel(core);
        }
        let Some(core) = missing().next() else {
            return Ok(());
        };
        let index = core.index;
        Err(match core.pmu.fault() {
            Some(problem) => refuse(format_args!("core {index}: {problem}")),
            None => refuse(format_args!("{}", SourceError::NoAnswer { core: index })),
        })
    }
}

/// | measured | started | the outcome |
/// |---|---|---|
/// | yes | yes | the change is made |
/// | yes | no | it is made, and a core does not sample |
/// | no | yes | the run is as before |
/// | no | no | it is as before, and a core does not sample |
fn outcome_of_change(
    measured: Result<Measured, SourceError>,
    started: Result<(), Refusal>,
) -> Result<(), Refusal> {
    match (measured, started) {
        (Ok(_), Ok(())) => Ok(()),
        (Ok(_), Err(reason)) => Err(refuse(format_args!(
            "it is changed, but {}",
            reason.as_str()
        ))),
        (Err(problem), Ok(())) => Err(refuse(format_args!("{problem}"))),
        (Err(problem), Err(reason)) => Err(refuse(format_args!(
            "{problem}; it goes on as before, but {}",
            reason.as_str()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_has_the_turn() {
        let is_taken = AtomicBool::new(false);
        let turn = Turn::take(&is_taken);
        assert!(turn.is_some());
        assert!((0..2).all(|_| Turn::take(&is_taken).is_none()));
        drop(turn);
        assert!(Turn::take(&is_taken).is_some());
    }
}
