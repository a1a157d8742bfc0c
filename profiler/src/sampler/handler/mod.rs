//! From an interrupt to a record in the ring, and back.
//!
//! Nothing here allocates, locks, logs or can fault, and every loop has a bound:
//! this code runs on top of anything, code that holds every lock included.
//!
//! * [`timer`]: an interrupt of a source that is armed for one overflow at a time.
//! * [`pmu`]: an interrupt of the performance counters.
//! * [`count`]: an interrupt of a run that counts.
//! * [`debug`]: a debug exception: a step, or an aim.
//! * [`record`]: the walk, and the sample that is written.
//! * `fast`: the usual interrupt of a timer, in few instructions; `xapic`: in assembly.
//!
//! # What a period counts
//!
//! The source is re-armed as the handler's last step, so a period counts what
//! the interrupted code executes and nothing of the handler, however long that
//! takes. Between the reading of the clock beside the arming and the next one
//! in the entry lie, apart from the interrupted code, only the exit and the entry
//! themselves. They are calibrated at start and taken off ([`super::overhead`]).

mod count;
mod debug;
pub(super) mod fast;
pub(super) mod fast_counters;
mod pmu;
mod record;
mod timer;
mod xapic;

pub(super) use count::{begin_counting, end_counting};

use super::engine::Engine;
use super::halt;
use super::per_core::Core;
use super::phase::Phase;
use super::run::Run;
use super::source::Source;
use super::source::pmu::Pmu;
use super::target::{Interrupted, Target};
use super::wait;
use crate::address::CodeAddress;
use crate::format::region::CoreCounters;
use crate::format::{Clock, Delivery};
use crate::hw::debug as breakpoint;
use crate::sync::CoreLocal as _;

/// An interrupt that may be an overflow, as its handler sees it.
pub(super) struct Context<'a, T> {
    pub engine: &'static Engine,
    pub target: &'a T,
    /// The running core.
    pub core: &'static Core,
    pub interrupted: &'a mut Interrupted,
    /// The time stamp counter at the entry.
    pub entry_tsc: u64,
    /// How the interrupt came.
    pub delivery: Delivery,
    /// It is the trap flag's.
    pub is_step: bool,
}

/// How a handler ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum HandlerExit {
    /// Arm the source with this count and return.
    Rearm(u32),
    /// Resume the source unchanged and return.
    Resume,
    /// Return.
    Done,
}

/// What a sample is of.
#[derive(Clone, Copy)]
struct Overflow {
    /// Its number on this core.
    sequence: u64,
    /// The number of its event.
    event: u8,
    /// What the interrupted code ran since the one before, in ticks or events.
    period: u64,
    /// The instruction that it is for, where the processor says it.
    exact: Option<CodeAddress>,
}

impl<T: Target> Context<'_, T> {
    /// Handles the interrupt, whatever it came for. Returns true if it was the sampler's,
    /// or is counted in the run.
    #[inline]
    pub(super) fn handle(mut self) -> bool {
        let (exit, is_claimed) = match self.engine.source() {
            Some(Source::Pmu(pmu)) => self.on_pmu_interrupt(pmu),
            Some(source) => self.on_timer_interrupt(source),
            None => (HandlerExit::Done, false),
        };
        // Not before: it reads what was interrupted, and no counter is to count that.
        let skips_halt = self.skips_halt();
        if skips_halt {
            halt::skip(self.interrupted);
        }
        self.leave(exit, skips_halt);
        is_claimed
    }

    /// Returns true if the code resumes behind the `hlt` that it is about to execute.
    #[inline]
    fn skips_halt(&self) -> bool {
        halt::is_at(self.target, self.interrupted) && self.ends_shadow()
    }

    /// Returns true if the interrupt can have come between `sti` and `hlt`: an NMI, or a step
    /// of the sampler's.
    #[cold]
    fn ends_shadow(&self) -> bool {
        let is_ours = || matches!(self.engine.source(), Some(Source::Step));
        self.delivery == Delivery::Nmi && (!self.is_step || is_ours())
    }

    /// The last step of the handler. What follows is the way back to the interrupted
    /// code, the same instructions each time; `skips_halt`: behind a `hlt` in it.
    #[inline]
    fn leave(&self, exit: HandlerExit, skips_halt: bool) {
        if let Some(Source::Pmu(pmu)) = self.engine.source() {
            return self.leave_counters(pmu, exit);
        }
        let count = match exit {
            HandlerExit::Rearm(count) => {
                if self.core.aim.is_under_way() {
                    self.drop_aimed();
                }
                // A `hlt` that is skipped counts as executed.
                let skipped = u32::from(skips_halt && self.counts_instructions());
                self.core.note_skipped(skipped.into());
                // 0 would stop the source.
                let count = count.saturating_sub(skipped).max(1);
                if self.interrupted.handover.defers {
                    // Not here: until then what comes is no overflow.
                    return self.core.path.arm_at_exit(count);
                }
                self.core.overflow.leave_handler();
                self.core.note_armed_now();
                count
            }
            HandlerExit::Resume => 0,
            HandlerExit::Done => return,
        };
        if let Some(source) = self.engine.source() {
            source.arm(self.core, count);
        }
    }

    /// The same of counters, which count on from where they are.
    #[inline]
    fn leave_counters(&self, pmu: &Pmu, exit: HandlerExit) {
        let has_sampled = match exit {
            HandlerExit::Rearm(_) => {
                self.core.overflow.leave_handler();
                self.core.note_armed();
                true
            }
            HandlerExit::Resume => false,
            HandlerExit::Done => return,
        };
        if self.interrupted.handover.defers {
            pmu.arm_at_exit(self.core, has_sampled);
        } else {
            pmu.arm(self.core);
        }
    }

    /// Returns true if the source counts single instructions.
    #[inline]
    fn counts_instructions(&self) -> bool {
        let run = self.engine.run();
        run.is_some_and(|run| {
            run.timing.clock.clock == Clock::Instructions
                && matches!(run.source, Source::ApicTimer(_))
        })
    }

    /// Gives up the overflow that was aimed beyond the handler's end, while it would still
    /// find the handler at work. Later it would come between the accounts of the arming and
    /// the arming.
    #[cold]
    fn drop_aimed(&self) {
        if let Some(source) = self.engine.source() {
            source.disarm(self.core);
        }
        self.core.aim.cancel();
        self.core.overflow.set_aiming(|| self.core.aim.matters());
    }

    /// Counts one interrupt of the core in a run, whatever its cause.
    #[inline]
    fn count_interrupt(&self, counters: &CoreCounters) {
        counters.taken.add_local(1);
        if self.interrupted.is_nested {
            counters.nested.add_local(1);
        }
    }

    /// Counts an interrupt that no overflow came of, in the run if there is one. Returns
    /// true if so.
    fn count_unclaimed(&self) -> bool {
        let is_run = self.engine.cores.phase().is_run();
        let Some(output) = self.core.output.get().filter(|_| is_run) else {
            return false;
        };
        self.count_without_overflow(output.counters);
        true
    }

    /// Counts an interrupt that no overflow came of as unclaimed, unless it is the kernel's.
    fn count_without_overflow(&self, counters: &CoreCounters) {
        let is_kernels = self.interrupted.is_kernels || self.target.is_own_nmi(self.core.index);
        if !is_kernels {
            self.count_interrupt(counters);
            counters.unclaimed.add_local(1);
        }
    }

    /// The core has taken its last sample: it waits here until all have, and resumes what
    /// it did only if the kernel goes on then.
    #[cold]
    fn finish_share(&self, run: &'static Run) {
        if run.aimed.is_some() {
            breakpoint::clear_breakpoint();
        }
        if let Some(round_robin) = &run.round_robin {
            round_robin.leave(&self.engine.cores, self.core);
        }
        let is_last = run.leave();
        if self.core.index != 0 {
            if is_last {
                wait::wake(self.engine.cores.first());
            }
            let _ = self.engine.cores.wait_until(self.core, || None::<()>);
            return;
        }
        // It is the one that would answer.
        run.mailbox().close();
        if let Source::Ipi(driver) = run.source {
            let period = run.arming.count.into();
            let is_over = || run.is_over() || self.engine.cores.phase() == Phase::Ended;
            driver.drive(self.engine.cores.all(), period, is_over);
        }
        let _ = self
            .engine
            .cores
            .wait_until(self.core, || run.is_over().then_some(()));
        self.finish_run();
    }

    /// Every core has taken its share, or counted its units: the first core ends the run,
    /// in its handler.
    pub(super) fn finish_run(&self) {
        if self.engine.cores.phase() == Phase::Ended {
            return;
        }
        self.engine.finish(|core| self.target.unclaimed_nmis(core));
        self.target.finished();
        self.engine.cores.wake_all();
    }
}

#[cfg(test)]
impl<'a, T> Context<'a, T> {
    /// An interrupt of `core`, which has come so.
    fn of_test(
        engine: &'static Engine,
        target: &'a T,
        core: &'static Core,
        interrupted: &'a mut Interrupted,
        (delivery, is_step): (Delivery, bool),
    ) -> Self {
        Self {
            engine,
            target,
            core,
            interrupted,
            entry_tsc: 0,
            delivery,
            is_step,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampler::halt::tests::{Kernel, at_halt};
    use crate::sampler::per_core::tests::cores;

    /// Interrupts a core that is about to halt. Returns true if it resumes behind the halt.
    fn skips_halt(delivery: Delivery, is_step: bool, source: Option<Source>) -> bool {
        let engine = Box::leak(Box::new(Engine::new()));
        if let Some(source) = source {
            engine.probed.make_current(source, delivery, &[]);
        }
        let mut interrupted = Interrupted::new(at_halt().0, 0, 0, 0x202);
        let came = (delivery, is_step);
        let core = &cores(&[0])[0];
        let context = Context::of_test(engine, &Kernel, core, &mut interrupted, came);
        // A check expects its interrupt there.
        let expected = context.resumes_at();
        assert!(!context.handle());
        assert_eq!(interrupted.registers.pc.0, expected.pc);
        interrupted.registers.pc.0 == at_halt().0 + 1
    }

    #[test]
    fn what_can_come_before_a_halt_resumes_behind_it() {
        for (delivery, is_step, source, skips) in [
            (Delivery::Nmi, false, None, true),
            (Delivery::Nmi, false, Some(Source::Step), true),
            (Delivery::Nmi, true, Some(Source::Step), true),
            // Somebody else's debug exception.
            (Delivery::Nmi, true, None, false),
            // None comes in the shadow of `sti`.
            (Delivery::Irq, false, None, false),
        ] {
            assert_eq!(
                skips_halt(delivery, is_step, source),
                skips,
                "{delivery:?}, a step: {is_step}, {source:?}"
            );
        }
    }
}
