//! The walk over the interrupted code's stack, and the sample that comes of it.

use core::sync::atomic::Ordering::Relaxed;

use super::{Context, Overflow};
use crate::address::{CodeAddress, CodeRange, StackAddress};
use crate::format::sample::Chain;
use crate::format::{Delivery, Sample, State};
use crate::hw::control::INTERRUPT_FLAG;
use crate::sampler::engine::Engine;
use crate::sampler::per_core::Output;
use crate::sampler::run::Run;
use crate::sampler::source::Source;
use crate::sampler::target::Target;
use crate::unwind::user::UserMemory;
use crate::unwind::{self, Rule, StackBounds, TrapFrameLayout};

impl<T: Target> Context<'_, T> {
    /// Walks the stack and writes the sample.
    pub(super) fn record(&self, overflow: Overflow, run: &Run, output: &Output) {
        let interrupted = self.interrupted.registers;
        let view = StackView {
            target: self.target,
            engine: self.engine,
            core: self.core.index,
        };
        let mut chain = Chain::new();
        let start = self.interrupted.start();
        let walked = unwind::walk_with_top(start, &view, &mut chain);
        let since_start = since(
            run.timing.start_tsc.load(Relaxed),
            self.core.clock.as_first(self.entry_tsc),
        );
        // Counts that are cut to their fields: a sequence number wraps, and a handler
        // that takes 2³² ticks is not to be had.
        #[allow(clippy::cast_possible_truncation)]
        let sample = Sample {
            sequence: overflow.sequence as u32,
            handler_cost: self.cost_of_handler_before(overflow.sequence, run) as u32,
            event: overflow.event,
            task: self.target.task(self.core.index),
            state: self.processor_state(&view),
            time: run.timing.clock.ticks(since_start),
            period: overflow.period,
            sp: interrupted.sp,
            stack_top: walked.stack_top,
            pc: walked.pc,
            exact: overflow
                .exact
                .map(|exact| unwind::recorded(exact, start, &view)),
            end: walked.end,
            // Those of `chain`, where they stand.
            chain_words: &[],
        };
        output.write_sample(&sample, &mut chain);
    }

    /// What the handler before this one took, in ticks of the run, without its wait for
    /// the core's turn; 0 if there was none.
    fn cost_of_handler_before(&self, sequence: u64, run: &Run) -> u64 {
        if sequence == 0 {
            return 0;
        }
        let timing = &self.core.timing;
        if matches!(run.source, Source::Pmu(_)) {
            let own = u64::from(timing.own_ticks.load(Relaxed));
            return run.timing.clock.ticks(own + run.timing.overhead.ticks);
        }
        let armed_tsc = timing.began_tsc();
        let before = armed_tsc.saturating_sub(timing.entry_tsc.load(Relaxed));
        let own = before.saturating_sub(timing.turn_wait_ticks.load(Relaxed));
        run.timing.clock.ticks(own + run.timing.overhead.ticks)
    }

    fn processor_state(&self, view: &StackView<'_, T>) -> State {
        let pc = self.interrupted.registers.pc;
        let mut state = self.interrupted.privilege & State::RING;
        if self.interrupted.flags & INTERRUPT_FLAG != 0 {
            state |= State::INTERRUPTS_ON;
        }
        if self.delivery == Delivery::Nmi && !self.is_step {
            state |= State::NMI;
        }
        // A program may be about to execute an address of the kernel's, and fault.
        if self.interrupted.privilege == 0 {
            if self.target.is_halted_at(pc) {
                state |= State::IDLE;
            }
            if unwind::is_caller_known(pc, view) {
                state |= State::CALLER_KNOWN;
            }
        }
        State(state)
    }
}

/// The ticks from `start` to `now`; none if that is before it: what a core's counter is known
/// to within may put its first samples there.
#[inline]
fn since(start: u64, now: u64) -> u64 {
    now.wrapping_sub(start).cast_signed().max(0).cast_unsigned()
}

/// The kernel and its running core, as the walk sees them.
pub(super) struct StackView<'a, T> {
    pub target: &'a T,
    pub engine: &'static Engine,
    pub core: u32,
}

// SAFETY:
// 1. As `Target::stack_of` promises (its condition 1), and the sampler's own stack is mapped for
//    ever.
// 2. As `Target::user_memory` promises (the same).
unsafe impl<T: Target> unwind::Target for StackView<'_, T> {
    #[inline]
    fn text(&self) -> CodeRange {
        self.target.text()
    }

    #[inline]
    fn rule(&self, address: CodeAddress) -> Rule {
        self.target.rule(address)
    }

    #[inline]
    fn has_root_rules(&self) -> bool {
        T::HAS_ROOT_RULES
    }

    #[inline]
    fn is_called_by_stub(&self, address: CodeAddress) -> bool {
        self.target.is_called_by_stub(address)
    }

    #[inline]
    fn trap_frame_layout(&self) -> TrapFrameLayout {
        self.target.trap_frame_layout()
    }

    #[inline]
    fn rcx_in_trap_frame(&self) -> Option<u64> {
        self.target.rcx_in_trap_frame()
    }

    #[inline]
    fn user_memory(&self, stack: Option<StackAddress>) -> Option<UserMemory> {
        self.target.user_memory(self.core, stack)
    }

    #[inline]
    fn user_sp(&self) -> Option<StackAddress> {
        self.target.user_sp(self.core)
    }

    #[inline]
    fn stack_of(&self, sp: StackAddress) -> Option<StackBounds> {
        let own = || self.engine.own_stack.get()?.bounds_at(sp);
        self.target.stack_of(self.core, sp).or_else(own)
    }
}

#[cfg(test)]
mod tests {
    use super::since;

    #[test]
    fn time_does_not_begin_before_the_run() {
        assert_eq!(since(1000, 1000), 0);
        assert_eq!(since(1000, 5000), 4000);
        assert_eq!(since(1000, 999), 0);
        // Round zero.
        assert_eq!(since(u64::MAX - 1, 3), 5);
        assert_eq!(since(3, u64::MAX - 1), 0);
    }
}
