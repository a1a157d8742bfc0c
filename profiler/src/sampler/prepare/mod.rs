//! Preparing a run, on the first core, while all others wait.
//!
//! The order matters:
//!
//! 1. *Set up*: the APIC, and the cores' states, before any other core can come.
//! 2. *Gather*: every core has come to [`Sampler::join`] and has probed its counters.
//!    They halt from then on, since under instruction counting everything that another
//!    core executes would be measured.
//! 3. *Find the clock*, and how far the cores' time stamp counters are apart.
//! 4. *Choose* a source: needs the clock, and each core's counters for the source `pmu`; and
//!    *calibrate* it: events are measured on all cores, then on each in turn. Of those that may
//!    be taken the first that passes both is.
//! 5. *Aim*, whose latency is in counts of that source; and *plan the period*.
//! 6. *Describe* the run, and make the region: all of what the host is told is known.
//! 7. *Begin*: the run, then the phase, which lets the other cores go.

mod aim;
mod asked;
mod begin;
mod calibrate;
mod choose;
mod clock;
mod describe;
mod gather;
mod join;
mod period;
mod set_up;

use super::Sampler;
use super::config::Config;
use super::counting::Counting;
use super::error::StartError;
use super::memory::Memory;
use super::own_stack::OWN_STACK_BYTES;
use super::phase::Phase;
use super::requests::Turn;
use super::run::Run;
use super::source::{apic_timer, pmu};
use super::target::Target;
use crate::contract::settings::{RunKind, Settings};
pub use join::NotStarted;

impl<T: Target> Sampler<T> {
    /// Starts a run as the command line says, on the first core; the other cores of
    /// `config` come to [`Self::join`], before or meanwhile. Interrupts are on from where the
    /// sources are tried. Returns when this core is sampled.
    ///
    /// Where the source is `ipi`, this core does nothing but interrupt the others, and
    /// does not return before its last sample.
    ///
    /// # Errors
    ///
    /// [`StartError`] says why there is no run. Cores that wait in [`Self::join`] return. A
    /// run that was started before goes on.
    pub fn start<'a>(
        &'static self,
        memory: Memory,
        config: &Config<'a>,
    ) -> Result<(), StartError<'a>> {
        self.refuse_second_start()?;
        let prepared = self.on_own_stack(&memory, |rest| self.prepare(rest, config));
        let run = prepared.map_err(|problem| {
            // Of two starts at once, the other one's run.
            if !matches!(problem, StartError::StartedBefore) {
                self.stop_source();
                self.engine.end();
                memory.refuse(&problem);
            }
            problem
        })?;
        self.release_others(run);
        self.begin(self.engine.cores.first(), run)
            .map_err(StartError::Pmu)
            .inspect_err(|_| self.fail())
    }

    /// Refuses to start once more, and leaves the run that there is as it is.
    pub(super) fn refuse_second_start<'a>(&self) -> Result<(), StartError<'a>> {
        if self.engine.cores.all().is_empty() {
            Ok(())
        } else {
            Err(StartError::StartedBefore)
        }
    }

    /// Does `work`, with what is left of the memory, on a stack at its end, the first time.
    pub(super) fn on_own_stack<'a, R>(
        &'static self,
        memory: &Memory,
        work: impl FnOnce(&Memory) -> Result<R, StartError<'a>>,
    ) -> Result<R, StartError<'a>> {
        let there = memory.len();
        if !memory.is_aligned() {
            return Err(StartError::MemoryMisaligned);
        }
        let (rest, stack) = memory.split_stack().ok_or(StartError::RegionTooSmall {
            needed: OWN_STACK_BYTES,
            there,
        })?;
        let turn = Turn::take(&self.engine.is_changing);
        let _turn = turn.ok_or(StartError::StartedBefore)?;
        if !self.engine.own_stack.set(stack) {
            return Err(StartError::StartedBefore);
        }
        // SAFETY: 1: a kernel's panics do not unwind. 2: whoever has the turn is on it.
        unsafe { stack.run(|| work(&rest)) }
    }

    /// Stops the source that was tried last, if any, on the running core, the first, and gives the
    /// timer of its APIC back.
    fn stop_source(&self) {
        let Some(first) = self.engine.cores.get(0) else {
            return;
        };
        if let Some(source) = self.engine.source() {
            source.stop(first);
        }
        apic_timer::give_back(first);
    }

    fn prepare<'a>(
        &'static self,
        memory: &Memory,
        config: &Config<'a>,
    ) -> Result<&'static Run, StartError<'a>> {
        let settings = &Settings::parse(config.command_line).map_err(StartError::CommandLine)?;
        if settings.kind == RunKind::Survey {
            return Err(StartError::ListNotCalled);
        }
        let memory = self.set_up(memory, config, settings.keep)?;
        let is_counting = settings.kind == RunKind::Counts;
        self.gather()?;
        if settings.source.may_be_pmu() || is_counting {
            // What is counted need not fit the counters at once.
            let asked = settings.events.filter(|_| !is_counting);
            self.probe_pmus(asked.unwrap_or(pmu::DEFAULT_EVENTS))?;
        }
        let clock = self.find_clock();
        self.engine.set_phase(Phase::Probing);
        let chosen = self.choose(settings, &clock)?;
        let source = chosen.source;
        let calibrated = self.aim(chosen, clock, settings)?;
        let counting = if is_counting {
            Some(Counting::prepare(
                self.engine.cores.all(),
                settings,
                &clock,
            )?)
        } else {
            None
        };
        let period = self.plan_period(&calibrated, counting.as_ref(), settings)?;
        source.stop(self.engine.cores.first());
        self.engine.set_phase(Phase::Off);
        let run = self.describe(&memory, config, settings, calibrated, counting, period)?;
        self.engine.set_run(run);
        self.engine.run().ok_or(StartError::StartedBefore)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampler::clock::Timers;
    use crate::sampler::per_core::tests::cores;
    use crate::sampler::target::tests::NoKernel;

    /// A sampler that was started on two cores.
    pub(super) fn started() -> &'static Sampler<NoKernel> {
        let sampler = Box::leak(Box::new(Sampler::new(NoKernel)));
        let cores = cores(&[0, 1]);
        assert!(sampler.engine.cores.set(cores, Timers::default()));
        sampler
    }

    #[test]
    fn a_sampler_is_started_once() {
        let again = started().refuse_second_start();
        assert!(matches!(again, Err(StartError::StartedBefore)));
        assert!(Sampler::new(NoKernel).refuse_second_start().is_ok());
    }
}
