//! A debug exception: a step, where overflows are the trap flag's, or an aim.

use super::Context;
use crate::hw::control::{RESUME_FLAG, TRAP_FLAG};
use crate::hw::{debug, tsc};
use crate::sampler::phase::Phase;
use crate::sampler::source::Source;
use crate::sampler::target::Target;

impl<T: Target> Context<'_, T> {
    /// Handles the debug exception. Returns true if it was the sampler's.
    pub(in crate::sampler) fn handle_debug(self) -> bool {
        if !debug::take_breakpoint_hit() {
            // Another's step, a program's for instance, is no overflow.
            let is_step = matches!(self.engine.source(), Some(Source::Step));
            return is_step && self.handle();
        }
        // The instruction is executed this time, whatever comes of it.
        self.interrupted.flags |= RESUME_FLAG;
        // Perhaps in the middle of another handler, which resumes as if nothing had
        // happened.
        if let Some(count) = self.count_at_aim() {
            self.core.aim.begin();
            self.core.overflow.set_aiming(|| self.core.aim.matters());
            self.give_up_fast();
            self.note_aimed();
            if let Some(source) = self.engine.source() {
                source.arm(self.core, count);
            }
        }
        true
    }

    /// The source is about to be armed for the aim. What a handler that is at work makes of the arming
    /// before is as if nothing had happened.
    fn note_aimed(&self) {
        let core = self.core;
        if core.overflow.in_handler() {
            core.overflow.set_armed();
            core.aim.note_armed(tsc::ticks());
        } else {
            core.note_armed();
        }
    }

    /// A fast handler that is at work would arm the source over what was aimed.
    fn give_up_fast(&self) {
        if let Some(output) = self.core.output.get() {
            output.writer.interrupt_in_place();
        }
    }

    /// The instruction that was aimed at is about to be executed: the count to arm the
    /// source with, if the aim is to be taken.
    fn count_at_aim(&self) -> Option<u32> {
        let core = self.core;
        match self.engine.cores.phase() {
            // The trial of the aim's own calibration.
            Phase::Probing => core.trial.take_rearm_count(),
            Phase::Sampling => {
                let aimed = self.engine.run()?.aimed.as_ref()?;
                let count = core.aim.count_at_hit(aimed)?;
                let source = self.engine.source()?;
                // The source is armed anew, and forgets that.
                if core.overflow.is_armed() && source.has_fired(core) {
                    core.overflow.set_pending();
                }
                // No overflow of the period from here on: it would be taken for the
                // aimed one.
                source.disarm(core);
                Some(count)
            }
            _ => None,
        }
    }

    /// Lets the interrupted code resume without the trap flag.
    pub(super) fn end_stepping(&mut self) {
        self.interrupted.flags &= !TRAP_FLAG;
    }
}
