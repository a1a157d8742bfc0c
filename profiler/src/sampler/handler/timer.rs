//! An interrupt of a source that is armed for one overflow at a time.

use core::sync::atomic::Ordering::Relaxed;

use super::{Context, HandlerExit, Overflow};
use crate::format::{Delivery, Sample};
use crate::hw::tsc;
use crate::sampler::engine::Engine;
use crate::sampler::per_core::{Core, Output};
use crate::sampler::phase::Phase;
use crate::sampler::run::Run;
use crate::sampler::source::Source;
use crate::sampler::target::Target;
use crate::sampler::trial;

impl<T: Target> Context<'_, T> {
    /// Returns how the handler ends, and whether the interrupt is counted in the run.
    #[inline]
    pub(super) fn on_timer_interrupt(&mut self, source: &Source) -> (HandlerExit, bool) {
        match (self.engine.cores.phase(), self.engine.run()) {
            (Phase::Sampling, Some(run)) => match self.core.output.get() {
                Some(output) => (self.on_timer_overflow(source, run, output), true),
                None => (HandlerExit::Done, false),
            },
            (phase, _) if phase.is_trial() && self.is_of_trial(source) => {
                let at = self.interrupted.registers.pc.0;
                self.core.trial.interrupted_at.store(at, Relaxed);
                let count = trial::on_trial_overflow(self.core, self.entry_tsc);
                (count.map_or(HandlerExit::Done, HandlerExit::Rearm), true)
            }
            // Who has ended the run cannot reach the trap flags of all cores.
            (Phase::Ended, _) if self.is_step && matches!(source, Source::Step) => {
                self.end_stepping();
                (HandlerExit::Done, true)
            }
            (Phase::Ended, _) => {
                self.stop_for_good(source);
                (HandlerExit::Done, false)
            }
            _ => (HandlerExit::Done, false),
        }
    }

    /// Returns true if the interrupt is what the trial waits for: a chipset's NMI, or what comes
    /// late of a source that was tried before, is not. By a source that can tell, it has fired.
    fn is_of_trial(&self, source: &Source) -> bool {
        if !self.core.trial.awaits_source() {
            // One that software has raised.
            return true;
        }
        let is_by_step = matches!(source, Source::Step);
        let is_due = match source {
            Source::ApicTimer(_) | Source::Hpet(_) => source.has_fired(self.core),
            Source::Pmu(_) | Source::Ipi(_) | Source::Step => true,
        };
        let delivery = self.engine.probed.delivery();
        self.delivery == delivery && self.is_step == is_by_step && is_due
    }

    /// Stops the source if it is armed still: who has ended the run cannot reach those of all
    /// cores. Once only: it is the kernel's from then on.
    fn stop_for_good(&self, source: &Source) {
        if self.core.overflow.is_armed() {
            self.core.overflow.set_fired();
            source.stop(self.core);
        }
    }

    fn on_timer_overflow(
        &mut self,
        source: &Source,
        run: &'static Run,
        output: &'static Output,
    ) -> HandlerExit {
        let core = self.core;
        // An NMI that another core sent does not come as this run's overflows do, though
        // one may be due.
        let is_by_step = matches!(source, Source::Step);
        let comes_right = self.delivery == run.delivery && self.is_step == is_by_step;
        let claimed = self.interrupted.handover.claimed;
        let has_fired =
            claimed.is_some() || comes_right && core.overflow.is_armed() && source.has_fired(core);
        let claim = match claimed {
            Some(_) => Some(false),
            None => core.overflow.claim(has_fired),
        };
        let Some(is_within_another) = claim else {
            self.count_without_overflow(output.counters);
            self.put_off_arming(run);
            return HandlerExit::Done;
        };
        self.count_interrupt(output.counters);
        let armed_tsc = core.timing.began_tsc();
        // What is aimed since the fast handler has claimed this one is another one.
        let is_own = claimed.is_none() && has_fired;
        let aimed_tsc = if is_own {
            self.take_aim(armed_tsc)
        } else {
            None
        };
        let overflow = Overflow {
            sequence: claimed.map_or_else(|| core.share.take(), u64::from),
            event: aimed_tsc.map_or(0, |_| Sample::AIMED),
            period: self.ticks_since(aimed_tsc.unwrap_or(armed_tsc), run),
            exact: None,
        };
        self.record(overflow, run, output);
        if is_within_another {
            return HandlerExit::Done;
        }
        core.timing.entry_tsc.store(self.entry_tsc, Relaxed);
        if core.share.is_taken() {
            self.end_stepping();
            source.stop(core);
            self.finish_share(run);
            return HandlerExit::Done;
        }
        wait_for_turn(self.engine, core, run, self.delivery);
        HandlerExit::Rearm(run.arming.count)
    }

    /// Returns when the source was armed for the overflow, if it was aimed; `armed_tsc` is when it was
    /// armed for one of the period.
    fn take_aim(&self, armed_tsc: u64) -> Option<u64> {
        let core = self.core;
        let aimed_tsc = core.aim.armed_tsc().unwrap_or(armed_tsc);
        let is_aimed = core.aim.take(self.interrupted.is_nested);
        core.overflow.set_aiming(|| core.aim.matters());
        // In a fast handler, whose last step was to arm it again.
        let is_overwritten = aimed_tsc < armed_tsc;
        (is_aimed && !is_overwritten).then_some(aimed_tsc)
    }

    /// What the interrupted code ran since the source was armed, in ticks of the run.
    #[inline]
    fn ticks_since(&self, armed_tsc: u64, run: &Run) -> u64 {
        // Saturating: an overflow in this handler may have armed the source meanwhile.
        let between = self.entry_tsc.saturating_sub(armed_tsc);
        let own = between.saturating_sub(run.timing.overhead.ticks);
        run.timing.clock.ticks(own)
    }

    /// What an interrupt that is no overflow took is not the interrupted code's. The
    /// source counts on, so its overflow comes early by that much, and the record will
    /// say so. Not if a handler was interrupted: its sample's period is over.
    fn put_off_arming(&self, run: &Run) {
        let core = self.core;
        if core.overflow.is_armed() && !core.overflow.in_handler() {
            let own = tsc::ticks().saturating_sub(self.entry_tsc);
            let taken = own + run.timing.overhead.ticks;
            core.timing.armed_tsc.fetch_add(taken, Relaxed);
        }
    }
}

/// Waits for the turn of `core`, the running one, where cores run one at a time.
#[inline]
pub(super) fn wait_for_turn(engine: &Engine, core: &Core, run: &Run, delivery: Delivery) {
    let waited = if has_turns(engine, run) {
        let before = tsc::ticks();
        pass_turn(engine, core, run, delivery);
        tsc::ticks().saturating_sub(before)
    } else {
        0
    };
    core.timing.turn_wait_ticks.store(waited, Relaxed);
}

/// Returns true if there is another core to pass the turn to.
pub(super) fn has_turns(engine: &Engine, run: &Run) -> bool {
    run.round_robin.is_some() && engine.cores.count() > 1
}

/// Passes the turn on, if there are turns, and waits until it comes back.
#[inline]
pub(super) fn pass_turn(engine: &Engine, core: &Core, run: &Run, delivery: Delivery) {
    if let Some(round_robin) = &run.round_robin {
        match delivery {
            Delivery::Nmi => round_robin.pass_to_next(&engine.cores, core),
            Delivery::Irq => round_robin.wait_turn_or_timeout(&engine.cores, core, || {
                run.source.arm(core, run.arming.watchdog_count);
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hw::control::TRAP_FLAG;
    use crate::hw::hpet::Register;
    use crate::hw::hpet::tests::Registers;
    use crate::sampler::engine::Engine;
    use crate::sampler::per_core::tests::cores;
    use crate::sampler::source::hpet::HpetTimers;
    use crate::sampler::target::Interrupted;
    use crate::sampler::target::tests::NoKernel;

    /// Lets a core be stepped once. Returns whether the step was the sampler's, and the
    /// flags that it goes on with.
    fn step(engine: &'static Engine, source: Source) -> (bool, u64) {
        let mut interrupted = Interrupted::new(0, 0, 0, TRAP_FLAG | 2);
        let core = &cores(&[0])[0];
        let by_step = (Delivery::Nmi, true);
        let mut context = Context::of_test(engine, &NoKernel, core, &mut interrupted, by_step);
        let (exit, is_claimed) = context.on_timer_interrupt(&source);
        assert_eq!(exit, HandlerExit::Done);
        (is_claimed, interrupted.flags)
    }

    #[test]
    fn a_timer_interrupts_once_at_most_when_the_run_is_ended() {
        let registers = Registers::new(1);
        let engine = Box::leak(Box::new(Engine::new()));
        engine.end();
        let core = &cores(&[0])[0];
        let timers = HpetTimers::of_test(&registers);
        let source = Source::Hpet(timers);
        let interrupt = || {
            timers.enable(core);
            let mut interrupted = Interrupted::new(0, 0, 0, 2);
            let came = (Delivery::Nmi, false);
            let mut context = Context::of_test(engine, &NoKernel, core, &mut interrupted, came);
            let ended = context.on_timer_interrupt(&source);
            assert_eq!(ended, (HandlerExit::Done, false));
            registers.get(Register::TimerConfiguration(0)) & 1 << 2 != 0
        };
        core.overflow.set_armed();
        assert!(!interrupt());
        assert!(!core.overflow.is_armed());
        // What the kernel does with the timer then is its own.
        assert!(interrupt());
    }

    /// Interrupts a core where `timers`, whose comparator is at 100, are tried by NMI. Returns the
    /// number of overflows that were counted.
    fn trial(registers: &Registers, count: u64, delivery: Delivery, is_step: bool) -> u64 {
        let engine = Box::leak(Box::new(Engine::new()));
        assert!(engine.cores.set_phase(Phase::Probing));
        let core = &cores(&[0])[0];
        let timers = HpetTimers::of_test(registers);
        engine
            .probed
            .make_current(Source::Hpet(timers), Delivery::Nmi, &[]);
        registers.set(Register::MainCounter, 0);
        timers.arm(core, 100);
        registers.set(Register::MainCounter, count);
        core.trial.set_awaits_source(true);
        let interrupt = || {
            let mut interrupted = Interrupted::new(0, 0, 0, 2);
            let came = (delivery, is_step);
            let mut context = Context::of_test(engine, &NoKernel, core, &mut interrupted, came);
            context.on_timer_interrupt(&Source::Hpet(timers));
            core.trial.overflows()
        };
        let overflows = interrupt();
        // One that software raises is one whatever the source says.
        core.trial.set_awaits_source(false);
        assert_eq!(interrupt(), overflows + 1);
        overflows
    }

    #[test]
    fn a_trial_waits_for_its_own_source() {
        let registers = Registers::new(1);
        for (count, delivery, is_step, overflows) in [
            (100, Delivery::Nmi, false, 1),
            // A chipset's NMI.
            (99, Delivery::Nmi, false, 0),
            // What was tried before.
            (100, Delivery::Irq, false, 0),
            (100, Delivery::Nmi, true, 0),
        ] {
            let counted = trial(&registers, count, delivery, is_step);
            assert_eq!(
                counted, overflows,
                "{count}, {delivery:?}, a step: {is_step}"
            );
        }
    }

    #[test]
    fn no_core_is_stepped_once_the_run_is_ended() {
        let engine = Box::leak(Box::new(Engine::new()));
        assert_eq!(step(engine, Source::Step), (false, TRAP_FLAG | 2));
        engine.end();
        assert_eq!(step(engine, Source::Step), (true, 2));
    }
}
