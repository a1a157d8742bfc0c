//! The clock of a run, and how far the cores' time stamp counters are apart.

use crate::format::Clock;
use crate::hw::tsc;
use crate::sampler::Sampler;
use crate::sampler::clock::{Differences, RunClock};
use crate::sampler::per_core::{Core, Errand};
use crate::sampler::target::Target;
use crate::sampler::wait;

impl<T: Target> Sampler<T> {
    /// Finds the clock. Where it is time, each core's time stamp counter is compared with the
    /// first one's; where instructions are counted, all cores have the same.
    pub(super) fn find_clock(&'static self) -> RunClock {
        let cores = &self.engine.cores;
        let mut clock = RunClock::detect(cores.timers());
        if clock.clock != Clock::Instructions && cores.count() > 1 {
            clock.differences = compare_clocks(cores.all(), wait::wake);
            cores.settle();
        }
        clock
    }
}

/// Compares the counter of each core, which waits for the run until `wake` ends that, with that of
/// the first, the running one; and corrects it from now on.
fn compare_clocks(cores: &'static [Core], wake: impl Fn(&'static Core)) -> Differences {
    let mut differences = Differences::NONE;
    for core in cores.iter().skip(1) {
        core.clock.reset();
        core.wait.set_errand(Errand::CompareClocks);
        wake(core);
        if let Some(offset) = differences.add(core.clock.ask(tsc::ordered_ticks)) {
            core.clock.correct(offset);
        }
    }
    differences
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Barrier};

    use super::*;
    use crate::sampler::per_core::tests::cores;

    /// The second core's counter is far behind, the third one's far ahead.
    #[test]
    fn what_is_found_of_a_cores_counter_is_corrected() {
        const FAR: u64 = 1 << 40;
        let behind = [0, FAR, 0_u64.wrapping_sub(FAR)];
        let cores = cores(&[0, 1, 2]);
        let wake = |core: &'static Core| {
            let behind = behind[core.index as usize];
            let is_running = Arc::new(Barrier::new(2));
            let runs = Arc::clone(&is_running);
            std::thread::spawn(move || {
                runs.wait();
                assert_eq!(core.wait.take_errand(), Errand::CompareClocks);
                core.clock
                    .answer(|| tsc::ordered_ticks().wrapping_sub(behind));
            });
            is_running.wait();
        };
        let differences = compare_clocks(cores, wake);
        let off = |a: u64, b: u64| a.wrapping_sub(b).cast_signed().unsigned_abs();
        assert_eq!(differences.unknown, 0);
        assert!(off(differences.largest, FAR) <= differences.within);
        for (core, behind) in cores.iter().zip(behind) {
            let read = 1_u64 << 50;
            let as_first = core.clock.as_first(read.wrapping_sub(behind));
            assert!(off(as_first, read) <= differences.within, "{}", core.index);
        }
        assert!(differences.within < FAR / 1000, "{differences:?}");
    }
}
