//! What the other cores do: they come, do the first one's errands, and wait for the run.

use core::sync::atomic::Ordering;

use crate::hw::apic::{self, Mode};
use crate::hw::{control, tsc};
use crate::sampler::Sampler;
use crate::sampler::error::{CoresError, OtherMode, WrongPlace};
use crate::sampler::per_core::{Core, Errand};
use crate::sampler::phase::Phase;
use crate::sampler::target::Target;

/// The first core did not start a run, or it has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotStarted;

impl core::fmt::Display for NotStarted {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("no run was started")
    }
}

impl core::error::Error for NotStarted {}

impl<T: Target> Sampler<T> {
    /// Every other core: comes to take part in the run that the first core starts, and
    /// waits for it. Returns when this core is sampled, interrupts on.
    ///
    /// `index` is the core's place in [`Config::apic_ids`](crate::sampler::Config::apic_ids).
    ///
    /// # Errors
    ///
    /// There is no run: the first core could not start it, or it has ended; or the place with
    /// that index is another core's, or there is none; or the core's APIC is in another mode
    /// than the first one's. Interrupts may be off.
    pub fn join(&'static self, index: u32) -> Result<(), NotStarted> {
        let core = loop {
            let cores = self.engine.cores.all();
            if let Some(core) = cores.get(index as usize) {
                break core;
            }
            if !cores.is_empty() || self.engine.cores.phase() == Phase::Ended {
                return Err(NotStarted);
            }
            core::hint::spin_loop();
        };
        control::disable_interrupts();
        if let Err(problem) = enable_apic(core) {
            self.engine.refused.set(problem);
            return Err(NotStarted);
        }
        core.wait.has_joined.store(true, Ordering::Release);
        let run = self.engine.cores.wait_until(core, || {
            self.run_errand(core);
            let has_begun = matches!(self.engine.cores.phase(), Phase::Sampling | Phase::Counting);
            let run = self.engine.run().filter(|_| has_begun)?;
            let turn = run.round_robin.as_ref();
            turn.is_none_or(|turn| turn.is_turn_of(core)).then_some(run)
        });
        let run = run.ok_or(NotStarted)?;
        self.begin(core, run).map_err(|problem| {
            self.target.failed(&problem);
            NotStarted
        })
    }

    /// Does what the first core asks of `core`, the running one.
    fn run_errand(&'static self, core: &'static Core) {
        let errand = core.wait.take_errand();
        let work = || match errand {
            Errand::None => {}
            Errand::ProbePmu => {
                if let Some(events) = self.engine.events_to_probe.get() {
                    core.pmu.probe(events);
                }
            }
            Errand::ListPmu => self.list_pmu(core),
            Errand::CompareClocks => core.clock.answer(tsc::ordered_ticks),
        };
        // SAFETY: 1: a kernel's panics do not unwind. 2: it is this core's, which waits.
        unsafe { core.wait.stack.get().run(work) };
    }
}

/// Lets the APIC of the running core take interrupts, which has come in the place of `core`.
fn enable_apic(core: &Core) -> Result<(), CoresError> {
    let (registers, mode) = (apic::registers(), Mode::of_this_core());
    // First: its registers are elsewhere in another mode.
    if mode != Some(registers.mode()) {
        return Err(CoresError::OtherMode(OtherMode {
            core: core.index,
            mode,
            first: registers.mode(),
        }));
    }
    // SAFETY: gates for the sampler's vectors are what it asks of a kernel.
    unsafe { registers.enable() };
    let running = registers.id();
    if running != core.apic_id {
        return Err(CoresError::WrongPlace(WrongPlace {
            index: core.index,
            listed: core.apic_id,
            running,
        }));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampler::prepare::tests::started;
    use crate::sampler::target::tests::NoKernel;

    #[test]
    fn a_core_without_a_place_does_not_wait_for_one() {
        assert_eq!(started().join(2), Err(NotStarted));
        let never_started = Box::leak(Box::new(Sampler::new(NoKernel)));
        never_started.stop();
        assert_eq!(never_started.join(0), Err(NotStarted));
    }
}
