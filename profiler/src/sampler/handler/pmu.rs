//! An interrupt of the performance counters, and the records of what has overflowed.
//!
//! The handler stops the counters before anything else and starts them as its last step:
//! what they count on the way in and out is then the same each time, and calibrated
//! ([`crate::sampler::source::pmu`]). So nothing of the handler is in the events of the
//! code that it interrupts.
//!
//! | the interrupt | what the handler does |
//! |---|---|
//! | came while the driver was at work | it is unclaimed: the outer handler sees the overflow |
//! | is of another delivery than overflows | it is unclaimed; the counters resume |
//! | finds a command of the first core | the command is run |
//! | came in a trial | the trial notes what was counted |
//! | is a check's | what was counted is noted; the counters resume |
//! | came for no counter | it is unclaimed; the counters resume |
//! | came for a counter, and no event is due | it is late or early; the counters resume |
//! | came when they were stopped for good, for what was on its way | nobody else is asked |
//! | came for events that are due | a sample of each |

use core::sync::atomic::Ordering::Relaxed;

use super::{Context, HandlerExit, Overflow};
use crate::pmu::driver::{Cause, Interrupt, Overflows, Place};
use crate::sampler::halt;
use crate::sampler::per_core::Output;
use crate::sampler::run::Run;
use crate::sampler::source::pmu::{CommandOutcome, Pmu};
use crate::sampler::target::Target;
use crate::sync::CoreLocal as _;

impl<T: Target> Context<'_, T> {
    /// An NMI, or the sampling interrupt. Returns how the handler ends, and whether the
    /// interrupt is counted in the run.
    #[inline]
    pub(super) fn on_pmu_interrupt(&mut self, pmu: &Pmu) -> (HandlerExit, bool) {
        let core = self.core;
        let interrupt = if self.interrupted.handover.claimed.is_some() {
            // The fast handler has found that.
            Interrupt::Stopped(core.pmu.unrecorded(), Cause::Counter)
        } else {
            pmu.on_interrupt(core, self.delivery, self.place())
        };
        if interrupt == Interrupt::Busy {
            return self.unclaimed(HandlerExit::Done);
        }
        if self.delivery != pmu.delivery() {
            return self.foreign(interrupt);
        }
        if core.pmu.has_command()
            && let Some(exit) = self.run_command(pmu, interrupt)
        {
            return (exit, true);
        }
        let Interrupt::Stopped(overflows, cause) = interrupt else {
            let (exit, is_counted) = self.unclaimed(HandlerExit::Done);
            // Ours, though there is nothing to do any more.
            return (exit, is_counted || interrupt == Interrupt::OffLate);
        };
        match (
            self.engine.cores.phase(),
            self.engine.run(),
            core.output.get(),
        ) {
            // Paused as well: a core samples until it has its command to stop.
            (phase, Some(run), Some(output)) if phase.is_run() => {
                (self.on_sampling(pmu, overflows, cause, run, output), true)
            }
            (phase, ..) if phase.is_trial() => {
                pmu.record_trial(core, self.entry_tsc, overflows);
                (HandlerExit::Rearm(0), true)
            }
            // The run is over: they stand still from here on.
            _ => self.unclaimed(HandlerExit::Done),
        }
    }

    /// Somebody else's NMI: what is due comes as a maskable interrupt.
    #[cold]
    fn foreign(&self, interrupt: Interrupt) -> (HandlerExit, bool) {
        let phase = self.engine.cores.phase();
        let is_counting =
            matches!(interrupt, Interrupt::Stopped(..)) && (phase.is_run() || phase.is_trial());
        // Else not started, or the run is over.
        let exit = if is_counting {
            HandlerExit::Resume
        } else {
            HandlerExit::Done
        };
        self.unclaimed(exit)
    }

    fn unclaimed(&self, exit: HandlerExit) -> (HandlerExit, bool) {
        (exit, self.count_unclaimed())
    }

    /// Executes the core's pending command, if any.
    #[cold]
    #[inline(never)]
    fn run_command(&self, pmu: &Pmu, interrupt: Interrupt) -> Option<HandlerExit> {
        let core = self.core;
        let outcome = pmu.run_command(core);
        if outcome == CommandOutcome::None {
            return None;
        }
        if let (Interrupt::Stopped(overflows, _), Some(output)) = (interrupt, core.output.get())
            && self.engine.cores.phase().is_run()
        {
            // What came together with the command is no sample any more.
            let missed = overflows.iter().count() as u64;
            output.counters.missed.add_local(missed);
        }
        if outcome == CommandOutcome::Stopped {
            return Some(HandlerExit::Done);
        }
        // What went by since the last sample is no handler's time.
        core.timing.entry_tsc.store(self.entry_tsc, Relaxed);
        Some(HandlerExit::Rearm(0))
    }

    #[inline]
    fn on_sampling(
        &mut self,
        pmu: &Pmu,
        overflows: Overflows,
        cause: Cause,
        run: &'static Run,
        output: &'static Output,
    ) -> HandlerExit {
        let counters = output.counters;
        if cause == Cause::Check {
            // It is none that anything else made, and no sample.
            let rows = output.overheads(run.control.first_event());
            pmu.record_check(self.core, counters, rows);
            return HandlerExit::Resume;
        }
        if !overflows.is_empty() {
            self.count_interrupt(counters);
            return self.on_pmu_overflows(pmu, overflows, run, output);
        }
        let counter = match cause {
            Cause::Counter => &counters.early,
            Cause::Late => &counters.late,
            Cause::Other | Cause::Check => {
                self.count_without_overflow(counters);
                return HandlerExit::Resume;
            }
        };
        self.count_interrupt(counters);
        counter.add_local(1);
        HandlerExit::Resume
    }

    /// Records a sample of each event that has overflowed: the same place, once for each.
    fn on_pmu_overflows(
        &mut self,
        pmu: &Pmu,
        overflows: Overflows,
        run: &'static Run,
        output: &'static Output,
    ) -> HandlerExit {
        let core = self.core;
        let first = run.control.first_event();
        let mut claimed = self.interrupted.handover.claimed;
        for event in overflows.iter() {
            // Of several that are due together, the last ones may be more than the share.
            if claimed.is_none() && core.share.is_taken() {
                break;
            }
            let overflow = pmu.overflow(core, event);
            if overflow.missed != 0 {
                output.counters.missed.add_local(overflow.missed);
            }
            let overflow = Overflow {
                sequence: claimed.take().map_or_else(|| core.share.take(), u64::from),
                // Its place among 16.
                event: first + event.to_le_bytes()[0],
                period: overflow.ran,
                exact: pmu.exact_address(core, event),
            };
            self.record(overflow, run, output);
        }
        run.look_for_request(core);
        if core.share.is_taken() {
            pmu.disarm(core);
            core.pmu.count_smis(output.counters);
            self.finish_share(run);
            return HandlerExit::Done;
        }
        let checking = pmu.check_if_due(core, output, first, || self.resumes_at());
        // What a check takes is no handler's time.
        let entry_tsc = self.entry_tsc.wrapping_add(checking);
        core.timing.entry_tsc.store(entry_tsc, Relaxed);
        core.timing.turn_wait_ticks.store(0, Relaxed);
        pmu.allow_fast(core, first);
        HandlerExit::Rearm(0)
    }

    /// Where the interrupted code resumes, which may be behind a `hlt`.
    pub(super) fn resumes_at(&self) -> Place {
        let mut place = self.place();
        if self.skips_halt() {
            place.pc = halt::behind(self.interrupted).0;
        }
        place
    }

    /// What was interrupted.
    #[inline]
    fn place(&self) -> Place {
        let registers = self.interrupted.registers;
        Place {
            pc: registers.pc.0,
            sp: registers.sp.0,
        }
    }
}
