//! The handler of every interrupt that has to do with counting.

use core::arch::asm;
use core::sync::atomic::Ordering;

use super::Context;
use crate::format::count::Reading;
use crate::hw::apic::{self, Delivery, Destination, Message, PerformanceEntry, Vector};
use crate::hw::tsc;
use crate::pmu::multiplex::{Group, Multiplexer};
use crate::pmu::registers::MsrFault;
use crate::pmu::this_core::ThisCore;
use crate::sampler::engine::Engine;
use crate::sampler::per_core::Core;
use crate::sampler::phase::Phase;
use crate::sampler::run::Run;
use crate::sampler::source::apic_timer;
use crate::sampler::target::Target;
use crate::sampler::vector;

/// Where the counters' overflows go.
const LVTPC: PerformanceEntry =
    PerformanceEntry::new(Delivery::Fixed(Vector::new(vector::COUNT_OVERFLOW)));

/// The running core begins to count.
#[inline(always)]
pub(in crate::sampler) fn begin_counting() {
    // SAFETY: the gate's handler returns; its end of interrupt finds nothing to end.
    unsafe { asm!("int {begin}", begin = const vector::COUNT_BEGIN) };
}

/// The running core has done its units: writes what it has counted to its ring.
#[inline(always)]
pub(in crate::sampler) fn end_counting() {
    // SAFETY: as above.
    unsafe { asm!("int {end}", end = const vector::COUNT_END) };
}

impl<T: Target> Context<'_, T> {
    /// Handles an interrupt of counting, by its vector. Interrupts are off.
    pub(in crate::sampler) fn on_count_interrupt(&self, vector: u8) {
        let groups = self.core.counting.groups.seen();
        let counters = &self.core.counting.multiplexer;
        let was_on = counters.pause(&ThisCore, groups, tsc::ticks());
        // Code that an instruction has called from may have one to end itself.
        if vector != vector::COUNT_BEGIN {
            apic::registers().end_of_interrupt();
        }
        let is_on = match vector {
            vector::COUNT_BEGIN if was_on => {
                counters.take_off_call(groups);
                self.change_process(|event| counters.so_far(groups, event));
                true
            }
            vector::COUNT_BEGIN => {
                self.check(counters.begin(&ThisCore, groups));
                self.begin_processes(groups);
                self.start_timer(groups);
                !groups.is_empty()
            }
            vector::COUNT_END => {
                self.end_counting(counters, groups, was_on);
                false
            }
            vector::COUNT_TIMER => {
                self.on_timer(counters, groups, was_on);
                was_on
            }
            _ => was_on,
        };
        if self.core.index == 0 && self.engine.run().is_some_and(|run| run.is_over()) {
            self.finish_run();
        }
        if is_on {
            counters.resume(&ThisCore, groups, LVTPC, tsc::ticks());
        }
    }

    fn on_timer(&self, counters: &Multiplexer, groups: &[Group], was_on: bool) {
        if was_on && groups.len() > 1 {
            self.check(counters.rotate(&ThisCore, groups));
        }
        if let Some(run) = self.engine.run() {
            run.look_for_request(self.core);
        }
        if self.engine.cores.phase() == Phase::Ended {
            apic_timer::give_back(self.core);
            return;
        }
        // Where nothing is counted any more, the others want company.
        self.start_timer(groups);
    }

    fn end_counting(&self, counters: &Multiplexer, groups: &[Group], was_on: bool) {
        if was_on {
            counters.end(&ThisCore, groups, true);
        }
        if self.core.counting.is_workload.load(Ordering::Relaxed) {
            self.change_process(|event| counters.reading(event));
            write_counts(self.engine, self.core);
        }
    }

    fn begin_processes(&self, groups: &[Group]) {
        let counting = &self.core.counting;
        let is_asked = |run: &Run| run.counting.as_ref().is_some_and(|it| it.by_process);
        let is_workload = counting.is_workload.load(Ordering::Relaxed);
        if is_workload && !groups.is_empty() && self.engine.run().is_some_and(is_asked) {
            counting.processes.begin();
        }
    }

    /// What was counted up to now, in all these totals, is of the process that ran.
    fn change_process(&self, total: impl Fn(usize) -> Reading) {
        let processes = &self.core.counting.processes;
        let (Some(run), Some(output)) = (self.engine.run(), self.core.output.get()) else {
            return;
        };
        let Some(counting) = run.counting.as_ref().filter(|_| processes.is_on()) else {
            return;
        };
        let events = counting.events.as_slice().len();
        let mut take = |number, event, part| {
            counting.write_part((number, event, part), &run.timing.clock, output);
        };
        processes.change(total, events, &mut take);
    }

    /// A processor may refuse what it took on another core; then there are no counts.
    fn check(&self, outcome: Result<(), MsrFault>) {
        if let Err(problem) = outcome {
            self.target.failed(&format_args!(
                "counting: core {}: {problem}",
                self.core.index
            ));
        }
    }

    /// Starts the timer for what comes next. Not in a trial.
    fn start_timer(&self, groups: &[Group]) {
        if !self.core.counting.is_workload.load(Ordering::Relaxed) {
            return;
        }
        if let Some(counting) = self.engine.run().and_then(|run| run.counting.as_ref()) {
            counting.start_timer(groups.len());
        }
    }
}

/// The running core, `core`, has done its units.
fn write_counts(engine: &Engine, core: &Core) {
    let (Some(run), Some(output)) = (engine.run(), core.output.get()) else {
        return;
    };
    if let Some(counting) = &run.counting {
        counting.write_counts(core, &run.timing.clock, output);
    }
    if run.leave() && core.index != 0 {
        let message = Message::Fixed(vector::COUNT_DONE);
        let first = Destination::Core(engine.cores.first().apic_id);
        // SAFETY: the vector has a handler, on all cores.
        unsafe { apic::registers().send(message, first) };
    }
}
