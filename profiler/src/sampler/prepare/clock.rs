//! The clock of a run, and how far the cores' time stamp counters are apart.

use crate::format::Clock;
use crate::hw::tsc;
use crate::sampler::Sampler;
use crate::sampler::clock::{Differences, RunClock};
use crate::sampler::per_core::Errand;
use crate::sampler::target::Target;
use crate::sampler::wait;

impl<T: Target> Sampler<T> {
    /// Finds the clock. Where it is time, each core's time stamp counter is compared with the
    /// first one's; where instructions are counted, all cores have the same.
    pub(super) fn find_clock(&'static self) -> RunClock {
        let cores = &self.engine.cores;
        let mut clock = RunClock::detect(cores.timers());
        if clock.clock == Clock::Instructions || cores.all().len() < 2 {
            return clock;
        }
        let mut differences = Differences::NONE;
        for core in cores.all().iter().skip(1) {
            core.clock.reset();
            core.wait.set_errand(Errand::CompareClocks);
            wait::wake(core);
            if let Some(offset) = differences.add(core.clock.ask(tsc::ordered_ticks)) {
                core.clock.correct(offset);
            }
        }
        cores.settle();
        clock.differences = differences;
        clock
    }
}
