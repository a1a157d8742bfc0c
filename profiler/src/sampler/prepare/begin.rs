//! The run begins: on the first core, then on those that it lets go.

use core::sync::atomic::Ordering::Relaxed;

use crate::format;
use crate::hw::{control, debug, tsc};
use crate::sampler::Sampler;
use crate::sampler::handler::fast;
use crate::sampler::per_core::Core;
use crate::sampler::phase::Phase;
use crate::sampler::run::Run;
use crate::sampler::source::{Source, SourceError};
use crate::sampler::target::Target;
use crate::sampler::wait;

impl<T: Target> Sampler<T> {
    /// The run begins: the other cores may leave [`Self::join`].
    pub(super) fn release_others(&'static self, run: &'static Run) {
        let phase = if run.counting.is_some() {
            Phase::Counting
        } else {
            Phase::Sampling
        };
        // First: a core that is awake samples from the phase on.
        run.timing.start_tsc.store(tsc::ticks(), Relaxed);
        self.engine.set_phase(phase);
        if run.round_robin.is_none() {
            let others = self.engine.cores.all().iter().skip(1);
            others.for_each(wait::wake);
        }
    }

    /// Arms the source of the running core, `core`.
    ///
    /// # Errors
    ///
    /// The processor refuses what the counters are programmed with: the run is over.
    // Not inlined, so that what follows is the same code whatever the source is.
    #[inline(never)]
    pub(super) fn begin(
        &'static self,
        core: &'static Core,
        run: &'static Run,
    ) -> Result<(), SourceError> {
        control::disable_interrupts();
        if let Some(counting) = &run.counting {
            let timer = format::Source::ApicTimer;
            self.target.begin(core.index, timer, run.timing.clock.clock);
            counting.start(&self.engine.cores, core);
            return Ok(());
        }
        if let Some(aimed) = &run.aimed {
            debug::set_breakpoint(aimed.aim.address);
        }
        run.source.enable(core);
        self.target
            .begin(core.index, run.source.kind(), run.timing.clock.clock);
        control::enable_interrupts();
        if let Some(output) = core.output.get() {
            fast::prepare(&self.engine, &self.target, core, run, output);
        }
        if let Source::Pmu(pmu) = run.source {
            core.pmu.begin_to_count_smis();
            let started = pmu.start(core);
            let fault = core.pmu.fault();
            let refused = fault.map(|it| SourceError::of_pmu(core.index, it.into()));
            return refused
                .map_or(started, Err)
                .inspect_err(|_| self.engine.end());
        }
        core.note_armed();
        run.source.arm(core, run.arming.count);
        match run.source {
            Source::Ipi(driver) if core.index == 0 => {
                let period = run.arming.count.into();
                let is_over = || self.engine.cores.phase() == Phase::Ended;
                driver.drive(self.engine.cores.all(), period, is_over);
            }
            Source::Step => control::set_trap_flag(),
            _ => {}
        }
        Ok(())
    }
}
